"""What yolo-focal raises."""


class YoloFocalError(Exception):
    """Base class of every error that yolo-focal raises on its own account."""


class ConfigError(YoloFocalError, ValueError):
    """A model or data YAML asks for something that cannot be built; the message names the file and the row."""


class UnsupportedUltralyticsError(YoloFocalError, RuntimeError):
    """The installed Ultralytics has a model parser of another shape than the one that yolo-focal can extend."""
