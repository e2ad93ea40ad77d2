"""Draws what a FocalModulation computes on a picture as heat maps over it."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from yolo_focal.maps import Maps
from yolo_focal.pictures import Image

# In inches. The places are counted out, because matplotlib's own layouts cut off titles that are wider than a picture.
_MARGIN = 0.2
_CELL = 4.0  # width of a panel: the picture, its scale with numbers, and the longest title
_PICTURE = (3.0, 4.0)  # width and height that a picture may have
_SCALE = 1.2  # height that a scale has at least, so that its numbers do not meet
_TITLE = 0.53  # height of a title of two lines
_LINE = 0.2  # height of one
_LETTERS = 12  # of the legend that an inch has room for

_OPACITY = 0.65  # of a heat map
_DPI = 120
_LEGEND = (
    "At each position the layer adds up the contexts of all levels, each weighted by its gate (white is 0, blue "
    "subtracts). A projection of this sum is the modulator, and the query is multiplied with it. Every map has a scale "
    "of its own."
)


def draw(square: Image, inside: tuple[slice, slice], maps: Maps, title: str, file: Path) -> None:
    """Write a figure: the picture and the modulator, below them a column for each level with its gate and its context.

    Args:
        square: The padded picture that the maps were computed on, BGR.
        inside: The rows and the columns of it that the picture takes; only they are shown.
        maps: What to draw.
        title: Of the figure.
        file: Where to write the figure, a PNG.
    """
    side, (levels, height, width) = len(square), maps.gates.shape
    sheet = _Sheet(square[inside], levels, f"{title}: {width} x {height} positions over {side} x {side} pixels")

    def show(row: int, column: int, name: str, words: str, values: Tensor, signed: bool = False) -> None:
        shown = cv2.resize(values.numpy(), (side, side))[inside]
        sheet.overlay(row, column, f"{name}\n{words}, {shown.min():.3g} to {shown.max():.3g}", shown, signed)

    sheet.picture(0, 0, "Picture\nas the network sees it, without its padding")
    show(0, 1, "Modulator", "norm over the channels", maps.modulator_norm)
    below = "weight of the context below"
    for level, field in enumerate(maps.fields):
        show(1, level, f"Gate of level {level + 1}", below, maps.gates[level], signed=True)
        name = f"Context of level {level + 1}: {field} x {field} positions"
        show(2, level, name, "norm over the channels", maps.context_norms[level])
    show(1, levels - 1, "Gate of the global level", below, maps.gates[-1], signed=True)
    norm = float(maps.context_norms[-1, 0, 0])  # one number needs no colours
    words = f"Context of the global level: all positions\nnorm over the channels, {norm:.3g} everywhere"
    sheet.picture(2, levels - 1, words, gray=True)
    sheet.figure.savefig(file)


class _Sheet:
    """Three rows of panels between a title and the legend.

    Args:
        picture: What every panel shows, BGR.
        columns: Number of panels in a row.
        title: Of the figure.
    """

    def __init__(self, picture: Image, columns: int, title: str) -> None:
        self._picture = picture
        height, width = picture.shape[:2]
        inches = min(_PICTURE[0] / width, _PICTURE[1] / height)
        self._width, self._height = width * inches, height * inches
        self._row = _TITLE + max(self._height, _SCALE) + _LINE
        legend = textwrap.wrap(_LEGEND, round(_LETTERS * columns * _CELL))
        self._size = (2 * _MARGIN + columns * _CELL, 2 * _MARGIN + 3 * self._row + (2 + len(legend)) * _LINE)
        self.figure = Figure(figsize=self._size, dpi=_DPI)
        self._write(0, 0, title, "large")
        self._write(0, self._size[1] - 2 * _MARGIN - len(legend) * _LINE, "\n".join(legend))

    def picture(self, row: int, column: int, title: str, gray: bool = False) -> Any:
        """Show the picture below a title; return the axes."""
        left, top = self._corner(row, column)
        self._write(left, top - _TITLE, title)
        axes = self._axes(left, top, self._width, self._height)
        axes.axis("off")
        if gray:
            axes.imshow(cv2.cvtColor(self._picture, cv2.COLOR_BGR2GRAY), cmap="gray", vmin=0, vmax=255)
        else:
            axes.imshow(self._picture[..., ::-1])
        return axes

    def overlay(self, row: int, column: int, title: str, values: Any, signed: bool) -> None:
        """Show values in colours over the picture in gray, with their scale; a signed one has 0 in the middle.

        Args:
            row: Of the panel.
            column: Of the panel.
            title: Of the panel.
            values: As many as the picture has pixels, `(height, width)`.
            signed: Whether they may be of either sign.
        """
        top = float(np.abs(values).max())
        colors = {"cmap": "RdBu_r", "vmin": -top, "vmax": top} if signed else {"cmap": "viridis"}
        shown = self.picture(row, column, title, gray=True).imshow(values, alpha=_OPACITY, **colors)
        left, upper = self._corner(row, column)
        scale = self._axes(left + self._width + 0.1, upper, 0.15, max(self._height, _SCALE))
        self.figure.colorbar(shown, cax=scale)

    def _corner(self, row: int, column: int) -> tuple[float, float]:
        """Return where a panel's picture begins, in inches from the margins: left, top."""
        return column * _CELL, 1.5 * _LINE + row * self._row + _TITLE

    def _axes(self, left: float, top: float, width: float, height: float) -> Any:
        """Add axes, placed in inches from the margins."""
        whole_width, whole_height = self._size
        bottom = whole_height - _MARGIN - top - height
        return self.figure.add_axes(
            ((_MARGIN + left) / whole_width, bottom / whole_height, width / whole_width, height / whole_height)
        )

    def _write(self, left: float, top: float, text: str, size: str = "medium") -> None:
        x, y = (_MARGIN + left) / self._size[0], 1 - (_MARGIN + top) / self._size[1]
        self.figure.text(x, y, text, va="top", fontsize=size)
