"""Draws the modulator, the gates and the contexts of a FocalModulation as heat maps over an image."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from yolo_focal.images import Image
from yolo_focal.visualization.maps import Maps

# In inches. Positions are computed here, because matplotlib's layouts cut off titles that are wider than an image.
_MARGIN = 0.2
_CELL = 4.0  # width of a panel: the image, its colour bar with tick labels, and the longest title
_IMAGE = (3.0, 4.0)  # largest width and height of an image
_COLORBAR = 1.2  # smallest height of a colour bar, so that its tick labels do not overlap
_TITLE = 0.53  # height of a title of two lines
_LINE = 0.2  # height of a line of text
_CHARACTERS = 12  # characters of the legend in an inch

_OPACITY = 0.65  # opacity of a heat map
_DPI = 120
_LEGEND = (
    "At each position the layer adds up the contexts of all levels, each weighted by its gate (white is 0, blue "
    "subtracts). A projection of this sum is the modulator, and the query is multiplied with it. Every map has its own "
    "colour scale."
)


def draw(square: Image, inside: tuple[slice, slice], maps: Maps, title: str, file: Path) -> None:
    """Write a figure: the image and the modulator, below them a column for each level with its gate and its context.

    Args:
        square: The padded image that the maps were computed on, `(side, side, 3)`, BGR.
        inside: The rows and the columns of it that the image occupies; only these are shown.
        maps: The maps to draw.
        title: Title of the figure.
        file: The PNG file to write.
    """
    side, (_, height, width) = len(square), maps.gates.shape
    levels = len(maps.receptive_fields)
    title = f"{title}: {width} x {height} positions over {side} x {side} pixels"
    sheet = _Sheet(square[inside], levels + 1, title)

    def show(row: int, column: int, name: str, quantity: str, values: Tensor, signed: bool = False) -> None:
        visible = cv2.resize(values.numpy(), (side, side))[inside]
        panel_title = f"{name}\n{quantity}, {visible.min():.3g} to {visible.max():.3g}"
        sheet.overlay(row, column, panel_title, visible, signed)

    sheet.image(0, 0, "Image\nas the network sees it, without its padding")
    show(0, 1, "Modulator", "norm over the channels", maps.modulator_norm)
    gate_quantity = "weight of the context below"
    for level, field in enumerate(maps.receptive_fields):
        show(1, level, f"Gate of level {level + 1}", gate_quantity, maps.gates[level], signed=True)
        name = f"Context of level {level + 1}: {field} x {field} positions"
        show(2, level, name, "norm over the channels", maps.context_norms[level])
    show(1, levels, "Gate of the global level", gate_quantity, maps.gates[-1], signed=True)
    norm = float(maps.context_norms[-1, 0, 0])  # the same at every position, so no heat map is drawn
    panel_title = f"Context of the global level: all positions\nnorm over the channels, {norm:.3g} everywhere"
    sheet.image(2, levels, panel_title, gray=True)
    sheet.figure.savefig(file)


class _Sheet:
    """Three rows of panels between a title and the legend.

    Args:
        image: The image in every panel, BGR.
        columns: Number of panels in a row.
        title: Title of the figure.
    """

    def __init__(self, image: Image, columns: int, title: str) -> None:
        self._image = image
        height, width = image.shape[:2]
        inches_per_pixel = min(_IMAGE[0] / width, _IMAGE[1] / height)
        self._width, self._height = width * inches_per_pixel, height * inches_per_pixel
        self._row = _TITLE + max(self._height, _COLORBAR) + _LINE
        legend = textwrap.wrap(_LEGEND, round(_CHARACTERS * columns * _CELL))
        self._size = (2 * _MARGIN + columns * _CELL, 2 * _MARGIN + 3 * self._row + (2 + len(legend)) * _LINE)
        self.figure = Figure(figsize=self._size, dpi=_DPI)
        self._write(0, 0, title, "large")
        self._write(0, self._size[1] - 2 * _MARGIN - len(legend) * _LINE, "\n".join(legend))

    def image(self, row: int, column: int, title: str, gray: bool = False) -> Any:
        """Draw a panel with the image below a title; return its axes."""
        left, top = self._corner(row, column)
        self._write(left, top - _TITLE, title)
        axes = self._axes(left, top, self._width, self._height)
        axes.axis("off")
        if gray:
            axes.imshow(cv2.cvtColor(self._image, cv2.COLOR_BGR2GRAY), cmap="gray", vmin=0, vmax=255)
        else:
            axes.imshow(self._image[..., ::-1])
        return axes

    def overlay(self, row: int, column: int, title: str, values: Any, signed: bool) -> None:
        """Draw a panel with a heat map over the grayscale image, and its colour bar.

        Args:
            row: Row of the panel.
            column: Column of the panel.
            title: Title of the panel.
            values: A value for each pixel of the image, `(height, width)`.
            signed: Use a diverging colour map with 0 in the middle.
        """
        limit = float(np.abs(values).max())
        colors = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit} if signed else {"cmap": "viridis"}
        heatmap = self.image(row, column, title, gray=True).imshow(values, alpha=_OPACITY, **colors)
        left, top = self._corner(row, column)
        colorbar_axes = self._axes(left + self._width + 0.1, top, 0.15, max(self._height, _COLORBAR))
        self.figure.colorbar(heatmap, cax=colorbar_axes)

    def _corner(self, row: int, column: int) -> tuple[float, float]:
        """Return the upper left corner of a panel's image, in inches from the margins: left, top."""
        return column * _CELL, 1.5 * _LINE + row * self._row + _TITLE

    def _axes(self, left: float, top: float, width: float, height: float) -> Any:
        """Add axes at a position in inches from the margins."""
        figure_width, figure_height = self._size
        bottom = figure_height - _MARGIN - top - height
        return self.figure.add_axes(
            ((_MARGIN + left) / figure_width, bottom / figure_height, width / figure_width, height / figure_height)
        )

    def _write(self, left: float, top: float, text: str, size: str = "medium") -> None:
        x, y = (_MARGIN + left) / self._size[0], 1 - (_MARGIN + top) / self._size[1]
        self.figure.text(x, y, text, va="top", fontsize=size)
