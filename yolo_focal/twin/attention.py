"""The attention of YOLO11 and YOLO26: C2PSA, and C3k2 rows that end each stage with it, as row 22 of YOLO26 does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from yolo_focal.errors import ConfigError

C2PSA, C2FOCAL = "C2PSA", "C2Focal"
_C3K2, _C3K2FOCAL = "C3k2", "C3k2Focal"


def in_c3k2(row: Sequence[Any]) -> bool:
    """Return whether a row is a C3k2 with attention: `[from, repeats, C3k2, [c2, c3k, e, attn]]`."""
    return bool(row[2] == _C3K2 and row[3][3:4] == [True])


def without(row: Sequence[Any], where: str) -> tuple[str, list[Any]]:
    """Return the module and the arguments of a C3k2 row with attention when C3k2Focal stands in it.

    Args:
        row: The row.
        where: File and row, for messages.

    Raises:
        ConfigError: It has arguments that C3k2Focal does not take.
    """
    c2, _, e, _, *others = row[3]
    if others:
        raise ConfigError(
            f"{where}: {row[3]}: {_C3K2FOCAL} takes its place with c2 and e alone; write {[*row[3][:4]]} in it"
        )
    return _C3K2FOCAL, [c2, e]


@torch.no_grad()
def take_over(new: Any, old: Any) -> None:
    """Copy to a layer that replaces one with attention what means the same in both.

    To a C3k2Focal everything but the norm and FocalModulation; to a C2Focal in C2PSA's place the convolution that
    splits the channels and the feed-forward networks; in another layer's place nothing.
    """
    pairs: list[tuple[nn.Module, nn.Module]] = []
    if type(old).__name__ == C2PSA:
        pairs = [(new.split, old.cv1), *((block.ffn, own.ffn) for block, own in zip(new.blocks, old.m, strict=True))]
    elif type(old).__name__ == _C3K2:
        pairs = [(new, old)]
    for to, source in pairs:
        places = to.state_dict()
        for name, tensor in source.state_dict().items():
            if name in places and places[name].shape == tensor.shape:
                places[name].copy_(tensor)
