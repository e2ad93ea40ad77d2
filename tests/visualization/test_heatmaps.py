"""A figure of heat maps: a panel for each, in the right place over the image, with all of its text to be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from support import further

from yolo_focal.visualization import heatmaps, maps


def some_maps(levels: int, positions: int) -> maps.Maps:
    torch.manual_seed(0)
    contexts = torch.rand(levels + 1, 8, positions, positions)
    contexts[-1] = 0.5
    gates = torch.randn(levels + 1, positions, positions)
    return maps.Maps(torch.rand(8, positions, positions), gates, contexts, list(range(3, 3 + levels)))


def test_a_panel_for_each_map(tmp_path: Path, figures: list[Figure]) -> None:
    square = np.full((64, 64, 3), 90, np.uint8)
    heatmaps.draw(square, (slice(16, 48), slice(0, 64)), some_maps(2, 8), "Title", tmp_path / "figure.png")
    (figure,) = figures
    titles = [text.get_text().split("\n")[0] for text in figure.texts]
    assert titles == [
        "Title: 8 x 8 positions over 64 x 64 pixels",
        heatmaps._LEGEND[: len(titles[1])],
        "Image",
        "Modulator",
        "Gate of level 1",
        "Context of level 1: 3 x 3 positions",
        "Gate of level 2",
        "Context of level 2: 4 x 4 positions",
        "Gate of the global level",
        "Context of the global level: all positions",
    ]
    assert figure.texts[-1].get_text().endswith(f"norm over the channels, {8**0.5 / 2:.3g} everywhere")
    overlays = [axes.images[1] for axes in figure.axes if len(axes.images) == 2]
    assert all(overlay.get_array().shape == (32, 64) for overlay in overlays)  # the padding is gone
    for overlay, signed in zip(overlays, (False, True, False, True, False, True), strict=True):
        values, (least, most) = overlay.get_array(), overlay.get_clim()
        assert (least, most) == ((-abs(values).max(), abs(values).max()) if signed else (values.min(), values.max()))
        assert overlay.colorbar is not None and len(overlay.colorbar.get_ticks()) > 1
        assert overlay.get_cmap().name == ("RdBu_r" if signed else "viridis")


def test_a_map_lies_where_it_was_computed(tmp_path: Path, figures: list[Figure]) -> None:
    image_maps = some_maps(1, 4)
    image_maps.modulator.zero_()
    image_maps.modulator[:, 1, 3] = 1  # rows 32 to 64 and columns 96 to 128 of the square
    square = np.full((128, 128, 3), 90, np.uint8)
    heatmaps.draw(square, (slice(32, 96), slice(0, 128)), image_maps, "", tmp_path / "figure.png")
    shown = figures[0].axes[1].images[1].get_array()
    rows, columns = np.nonzero(shown > 0.9 * shown.max())
    assert rows.min() < 16 <= rows.max() < 32 and columns.min() < 112 <= columns.max()


@pytest.mark.parametrize(
    ("height", "width", "levels"), [(60, 120, 2), (120, 60, 1), (1, 120, 1), (120, 1, 3), (120, 120, 5)]
)
@pytest.mark.parametrize("scale", [1.0, float("nan"), *further(0.0, -1e-4, 1e30, float("inf"))])
@pytest.mark.filterwarnings("error")
def test_no_text_is_cut_off_or_covered(
    height: int, width: int, levels: int, scale: float, tmp_path: Path, figures: list[Figure]
) -> None:
    image_maps = some_maps(levels, 4)
    image_maps.gates.mul_(scale)
    square = np.full((120, 120, 3), 90, np.uint8)
    heatmaps.draw(square, (slice(0, height), slice(0, width)), image_maps, "Title", tmp_path / "figure.png")
    (figure,) = figures
    boxes = [text.get_window_extent() for text in figure.texts]
    ticks = [axes.get_tightbbox() for axes in figure.axes]
    for box in (*boxes, *ticks):
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in (*boxes[:number], *ticks))
    for axes in figure.axes:
        if axes.images:
            seen = axes.get_window_extent()
            assert seen.width / seen.height == pytest.approx(width / height, rel=0.01)
