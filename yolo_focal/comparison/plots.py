"""Draws a comparison: learning curves, paired differences, differences by class, and speed against accuracy."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from yolo_focal.comparison.plan import Plan
from yolo_focal.comparison.profile import Profile
from yolo_focal.comparison.statistics import difference
from yolo_focal.comparison.table import Outcome, class_differences, metric
from yolo_focal.comparison.words import short

_WIDTH = 6.4  # inches
_CLASSES = 40  # as many as can be read; those that differ most


def draw(plan: Plan, found: Sequence[Outcome], profiles: Mapping[str, Profile], folder: Path) -> list[tuple[str, str]]:
    """Write the plots as PNG and return their titles and themselves as SVG.

    Args:
        plan: The comparison.
        found: Its runs.
        profiles: What each model costs.
        folder: Where to write the files.
    """
    plots = {"Learning curves": _curves(plan, found), "Speed against accuracy": _speed(plan, found, profiles)}
    for label in list(plan.models)[1:]:
        plots[f"Paired differences of {label}"] = _pairs(plan, found, label)
        plots[f"Differences of {label} by class"] = _classes(plan, found, label)
    drawn = []
    for title, figure in plots.items():
        if figure is not None:
            figure.savefig(folder / f"{re.sub('[^a-z0-9]+', '-', title.lower())}.png", dpi=150, bbox_inches="tight")
            drawn.append((title, _svg(figure)))
    return drawn


def _svg(figure: Figure) -> str:
    """Return a figure as SVG whose text and axes take the colour of the page around it."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace("#000000", "currentColor").replace("<text ", '<text fill="currentColor" ')
    return re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r' height="[^"]*pt"', "", text, count=1), count=1)


def _axes(height: float = 3.6) -> tuple[Figure, Any]:
    figure = Figure(figsize=(_WIDTH, height))
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _curves(plan: Plan, found: Sequence[Outcome]) -> Figure | None:
    """The mean over the seeds, and between the least and the most of them a band."""
    figure, axes = _axes()
    for index, label in enumerate(plan.models):
        curves = [one.curve for one in found if one.run.label == label and one.curve]
        if not curves:
            continue
        length = min(map(len, curves))
        values = np.array([curve[:length] for curve in curves])
        epochs = np.arange(1, length + 1)
        axes.plot(epochs, values.mean(0), color=f"C{index}", marker="." if length == 1 else None, label=label)
        axes.fill_between(epochs, values.min(0), values.max(0), color=f"C{index}", alpha=0.2, linewidth=0)
    if not axes.lines:
        return None
    axes.set(xlabel="epoch", ylabel=short(metric(plan)))
    axes.legend(frameon=False)
    return figure


def _pairs(plan: Plan, found: Sequence[Outcome], label: str) -> Figure | None:
    """The difference of each seed, and their mean with its interval."""
    first = next(iter(plan.models))
    scores = {
        (one.run.label, one.run.seed): one.result["metrics"][metric(plan)] for one in found if one.result is not None
    }
    seeds = [seed for seed in range(plan.seeds) if (first, seed) in scores and (label, seed) in scores]
    if not seeds:
        return None
    before, after = ([scores[one, seed] for seed in seeds] for one in (first, label))
    whole = difference(before, after, len(plan.models) - 1)
    figure, axes = _axes(2.2 + 0.2 * len(seeds))
    rows = [f"seed {seed}" for seed in seeds]
    axes.plot(np.subtract(after, before), rows, "o", color="C0")
    low, high = np.nan_to_num([whole.mean - whole.low, whole.high - whole.mean])
    axes.errorbar([whole.mean], ["mean"], xerr=[[low], [high]], fmt="D", color="C1", capsize=4)
    axes.axvline(0, color="gray", linewidth=1, linestyle=":")
    axes.invert_yaxis()
    axes.set(xlabel=f"{short(metric(plan))}, {label} less {first}")
    return figure


def _classes(plan: Plan, found: Sequence[Outcome], label: str) -> Figure | None:
    """The mean difference of each class, with its interval."""
    by_class = class_differences(plan, found, label)
    if len(by_class) < 2:
        return None
    most = sorted(by_class, key=lambda name: -abs(by_class[name].mean))[:_CLASSES]
    shown = sorted(most, key=lambda name: by_class[name].mean)
    figure, axes = _axes(1 + 0.22 * len(shown))
    means = np.array([by_class[name].mean for name in shown])
    ends = np.nan_to_num([[m - by_class[n].low, by_class[n].high - m] for m, n in zip(means, shown)])
    axes.errorbar(means, shown, xerr=np.abs(ends).T, fmt="o", color="C0", ecolor="C0", elinewidth=1, markersize=4)
    axes.axvline(0, color="gray", linewidth=1, linestyle=":")
    axes.set(xlabel="difference of AP50-95")
    return figure


def _speed(plan: Plan, found: Sequence[Outcome], profiles: Mapping[str, Profile]) -> Figure | None:
    """Each model's accuracy, the mean with the seeds' range, over the time of an image."""
    if not profiles:
        return None
    figure, axes = _axes()
    everywhere = all(profile.onnxruntime for profile in profiles.values())
    for index, (label, profile) in enumerate(profiles.items()):
        scores = [one.result["metrics"][metric(plan)] for one in found if one.run.label == label and one.result]
        mean = float(np.mean(scores))
        low, middle, high = (everywhere and profile.onnxruntime) or profile.pytorch
        axes.errorbar(
            [middle],
            [mean],
            xerr=[[middle - low], [high - middle]],
            yerr=[[mean - min(scores)], [max(scores) - mean]],
            fmt="o",
            color=f"C{index}",
            capsize=3,
            label=label,
        )
    axes.set(
        xlabel=f"milliseconds of an image on the CPU, {'onnxruntime' if everywhere else 'PyTorch'}",
        ylabel=short(metric(plan)),
    )
    axes.legend(frameon=False)
    return figure
