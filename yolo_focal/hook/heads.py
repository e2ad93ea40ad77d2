"""Heads that inherit from Ultralytics' own; importing this file imports Ultralytics.

Ultralytics' trainers, validators and exporters recognise a head by its class, and what a head returns changes from
release to release. A subclass of the installed release's head is recognised and returns the same.
"""

from __future__ import annotations

from torch import nn
from ultralytics.nn.modules.head import Classify

from yolo_focal.focal import FocalNorm
from yolo_focal.hook.modules import registry


class Classifier(Classify):  # type: ignore[misc]
    """The head of a FocalNet classifier: norm, global average pooling and a linear layer.

    It is Ultralytics' Classify with a LayerNorm in the place of its convolution. Rows name it `Classifier`, one of the
    names by which Ultralytics finds out that a config is a classifier's.

    Args:
        c1: Channels of the input.
        c2: Number of classes.

    Shape:
        Input `(B, c1, H, W)`; logits and probabilities `(B, c2)`, returned as the installed release's Classify does.
    """

    def __init__(self, c1: int, c2: int) -> None:
        super().__init__(1, c2)
        self.conv = FocalNorm(c1)
        self.linear = nn.Linear(c1, c2)
        nn.init.trunc_normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)


def add() -> None:
    """Register the heads."""
    registry.add_built_in("Classifier", registry.Registered(Classifier, like="Classify"))
