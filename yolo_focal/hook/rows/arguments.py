"""A row's arguments: by position, by name in a trailing mapping, and each scale's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from yolo_focal.errors import ConfigError

_OTHERWISE = "else"  # the key of the scales that a mapping does not name
_USUAL = "nsmlx"  # a config may have had more of Ultralytics' scales than are left in it


def of_scale(args: Sequence[Any], scale: str, scales: Sequence[str], where: str) -> list[Any]:
    """Resolve arguments that are given for each scale, such as `{n: 32, else: 96}`.

    Such a mapping has the letters of scales as keys, the config's own or Ultralytics', and `else` where it does not
    name all of the config's. Any other mapping stays as it is.

    Args:
        args: The row's arguments, the last of which may be a mapping of keyword arguments.
        scale: The model's scale.
        scales: The config's scales; without any, the arguments are returned as they are.
        where: File, row and module name, for messages.

    Returns:
        The arguments of the model's scale.

    Raises:
        ConfigError: A mapping names some scales only.
    """

    def resolve(value: Any) -> Any:
        if not (isinstance(value, dict) and value and scales and value.keys() <= {*scales, *_USUAL, _OTHERWISE}):
            return value
        missing = [letter for letter in scales if letter not in value]
        if missing and _OTHERWISE not in value:
            raise ConfigError(f"{where}: {value}: no value for {', '.join(missing)}; write it, or else: for the others")
        return value[scale] if scale in value else value[_OTHERWISE]

    positional, keywords = split(args)
    return [
        *map(resolve, positional),
        *([{name: resolve(value) for name, value in keywords.items()}] if keywords else []),
    ]


def split(args: Sequence[Any]) -> tuple[Sequence[Any], dict[str, Any]]:
    """Split arguments into positional ones and the trailing mapping of keyword arguments."""
    if args and isinstance(args[-1], dict):
        return args[:-1], args[-1]
    return args, {}
