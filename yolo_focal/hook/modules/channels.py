"""Channel rules: how many channels a registered module's row has, and what its constructor is called with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from yolo_focal.backbones.timm import Map, feature_maps


class Scaling(NamedTuple):
    """What a model's scale changes, for one row of its YAML.

    Attributes:
        width: The scale's width multiple.
        max_channels: The scale's largest number of channels, before the width multiple is applied.
        nc: The number of classes; None if the YAML has none.
        scale: The scale's letter; "" in a YAML without scales.
        depth: The scale's depth multiple.
        repeats: The row's repeats, with the depth multiple applied.
        rest: What the scale has behind its three numbers, as some forks' YAML files do.
        unscaled: A number of channels that the installed Ultralytics leaves as it is: `nc` in releases that take any
            row of so many channels for a classifier's; None in newer ones.
    """

    width: float
    max_channels: float
    nc: int | None
    scale: str = ""
    depth: float = 1.0
    repeats: int = 1
    rest: tuple[Any, ...] = ()
    unscaled: int | None = None

    def channels(self, c2: int) -> int:
        """Return a row's number of channels at this scale, computed as in Ultralytics.

        Args:
            c2: The number of channels in the YAML.

        Returns:
            The scaled number of channels, rounded up to a multiple of 8.
        """
        return c2 if c2 == self.unscaled else math.ceil(min(c2, self.max_channels) * self.width / 8) * 8


# (channels of the layer that the row reads, or a list of them; the row's arguments; the scaling)
# -> (channels of the row; arguments of the constructor; optionally how many layers are stacked)
Rule = Callable[[Any, "list[Any]", Scaling], "tuple[int, list[Any]] | tuple[int, list[Any], int]"]


def same_channels(channels: int, args: list[Any], scaling: Scaling) -> tuple[int, list[Any]]:  # noqa: ARG001
    """Apply the rule "same": as many output channels as input channels, which the constructor takes first."""
    return channels, [channels, *args]


def same_channels_and_repeats(channels: int, args: list[Any], scaling: Scaling) -> tuple[int, list[Any], int]:
    """Apply the rule of C2Focal's rows: as "same", and the constructor takes the repeats second."""
    return channels, [channels, scaling.repeats, *args], 1


def given_channels(channels: int, args: list[Any], scaling: Scaling) -> tuple[int, list[Any]]:  # noqa: ARG001
    """Apply the rule of FocalEmbed's rows: the first argument is the output channels, which are not scaled.

    Raises:
        ValueError: The first argument is not a number of channels.
    """
    if not args or isinstance(args[0], bool) or not isinstance(args[0], int) or args[0] < 1:
        raise ValueError(f"arguments {args}: write its output channels first, such as [96, 4]")
    return args[0], [channels, *args]


class MapChannels(int):
    """The channels of a backbone that returns several maps: a number, those of its last map, with the others' beside.

    Attributes:
        maps: The maps, in order.
    """

    maps: Sequence[Map]

    @classmethod
    def of(cls, maps: Sequence[Map]) -> MapChannels:
        """Return the channels of a backbone with these maps."""
        channels = cls(maps[-1].channels)
        channels.maps = maps
        return channels


def timm_channels(channels: int, args: list[Any], scaling: Scaling) -> tuple[int, list[Any], int]:  # noqa: ARG001
    """Apply the rule of Timm's rows: timm says what channels the model's maps have.

    Raises:
        ValueError: The first argument is not the name of a suitable model.
    """
    if not args or not isinstance(args[0], str):
        raise ValueError(f"arguments {args}: write timm's name of a model first, such as [convnext_tiny, True]")
    return MapChannels.of(feature_maps(args[0])), [channels, *args], 1


def timm_map_channels(channels: int, args: list[Any], scaling: Scaling) -> tuple[int, list[Any], int]:  # noqa: ARG001
    """Apply the rule of TimmMap's rows: the argument is the stride of a map of the Timm row that it reads.

    Raises:
        ValueError: It does not read a Timm row, or that has no map of this stride.
    """
    maps = channels.maps if isinstance(channels, MapChannels) else ()
    if not maps:
        raise ValueError("it does not read a Timm row; write the index of one, such as [0, 1, TimmMap, [8]]")
    strides = [map_.stride for map_ in maps]
    if len(args) != 1 or args[0] not in strides:
        raise ValueError(f"arguments {args}: write the stride of one map, {', '.join(map(str, strides))}, such as [8]")
    index = strides.index(args[0])
    return maps[index].channels, [index], 1


# The rules of modules that have as many output channels as input channels.
KEEPING_CHANNELS: tuple[Rule, ...] = (same_channels, same_channels_and_repeats)
# How many constructor arguments a rule is responsible for; the others are the row's own.
LEADING_ARGUMENTS: dict[Rule, int] = {
    same_channels: 1,
    same_channels_and_repeats: 2,
    given_channels: 2,
    timm_channels: 1,
    timm_map_channels: 0,
}
