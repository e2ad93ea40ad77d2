"""The exceptions of yolo-focal, and the messages of others'."""


def one_line(error: BaseException) -> str:
    """Return an error's message in one line."""
    return " ".join(str(error).split())


class YoloFocalError(Exception):
    """Base class of yolo-focal's own exceptions."""


class ConfigError(YoloFocalError, ValueError):
    """An invalid model YAML, data set, registration or argument; the message says what to write instead."""


class UnsupportedUltralyticsError(YoloFocalError, RuntimeError):
    """The model parser of the installed Ultralytics cannot be patched."""


class UnknownModuleError(ConfigError, KeyError):
    """A row names a module that neither Ultralytics nor a registered one has; a KeyError, as in Ultralytics' parser."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show its repr
