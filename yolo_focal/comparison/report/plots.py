"""Draws a comparison: learning curves, accuracy against time, and paired differences."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure

from yolo_focal.comparison.report.analysis import Analysis, Pair
from yolo_focal.comparison.report.i18n import phrase
from yolo_focal.comparison.report.model_cost import Cost
from yolo_focal.comparison.store.run_folder import short
from yolo_focal.comparison.study.plan import Plan
from yolo_focal.comparison.study.results import RunOutcome

_WIDTH = 6.4  # inches
# Fonts that have Chinese characters, on the systems that people use; what a plot says in Chinese needs one of them.
_CHINESE = ("Noto Sans CJK SC", "Source Han Sans SC", "Microsoft YaHei", "PingFang SC", "SimHei", "WenQuanYi Zen Hei")

Plot = tuple[str, str, Figure | None]  # the file's name, the title, and the figure if there is anything to draw


def draw(
    analysis: Analysis, outcomes: Sequence[RunOutcome], costs: Mapping[str, Cost], folder: Path
) -> list[tuple[str, str]]:
    """Write the plots as PNG files and return their titles and SVG texts.

    Args:
        analysis: What the runs say.
        outcomes: What has become of them.
        costs: What the models cost; {} where that is not known yet.
        folder: Where to write the files.
    """
    plan = analysis.plan
    lang = language(plan)
    figures = [
        _curves_plot(plan, outcomes),
        ("accuracy-against-time", phrase(lang, "speed"), _speed(analysis, costs)),
    ]
    for number, pair in enumerate(analysis.over_seeds, 1):  # the number tells names apart that are alike without signs
        title = phrase(lang, "pairs", first=pair.first, other=pair.other)
        figures.append((file_name(f"differences-{number}-{pair.other}"), title, _pairs(analysis, pair)))
    return save(figures, folder, "png")


def draw_curves(plan: Plan, outcomes: Sequence[RunOutcome], folder: Path) -> list[tuple[str, str]]:
    """Draw the learning curves alone, as `draw` does."""
    return save([_curves_plot(plan, outcomes)], folder, "png")


def save(plots: Sequence[Plot], folder: Path, *kinds: str) -> list[tuple[str, str]]:
    """Write plots to a folder, in a file of each kind, and return their titles and SVG texts."""
    saved = []
    for name, title, figure in plots:
        if figure is not None:
            for kind in kinds:
                figure.savefig(folder / f"{name}.{kind}", dpi=150, bbox_inches="tight")
            saved.append((title, _svg(figure)))
    return saved


def _curves_plot(plan: Plan, outcomes: Sequence[RunOutcome]) -> Plot:
    return "learning-curves", phrase(language(plan), "curves"), _curves(plan, outcomes)


def language(plan: Plan) -> str:
    """Return the report's language, or English where no font here has its characters."""
    if plan.options.lang != "zh":
        return plan.options.lang
    return "zh" if _chinese_font() else "en"


def _chinese_font() -> str | None:
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return next((name for name in _CHINESE if name in installed), None)


def file_name(name: str) -> str:
    """Return a name for a file; letters of every script stay."""
    return re.sub(r"[^\w.-]+", "-", name)


def _svg(figure: Figure) -> str:
    """Return a figure as SVG whose text and axes take the colour of the page around it."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    text = (
        re.sub("<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
        .replace("#000000", "currentColor")
        .replace("<text ", '<text fill="currentColor" ')
    )
    return re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r' height="[^"]*pt"', "", text, count=1), count=1)


def new_axes(height: float = 3.6) -> tuple[Figure, Any]:
    """Return a figure of the page's width and its axes, in a font that has Chinese characters if there is one.

    Args:
        height: In inches.
    """
    font = _chinese_font()
    with mpl.rc_context({"font.family": [font, "DejaVu Sans"]} if font else {}):
        figure = Figure(figsize=(_WIDTH, height))
        axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _curves(plan: Plan, outcomes: Sequence[RunOutcome]) -> Figure | None:
    """Draw each model's mean over the runs that have come so far, and a band from the least to the most of them."""
    figure, axes = new_axes()
    for index, label in enumerate(plan.labels):
        curves = [outcome.curve.values for outcome in outcomes if outcome.run.label == label and outcome.curve.values]
        if not curves:
            continue
        longest = max(map(len, curves))
        values = np.full((len(curves), longest), np.nan)  # a run that failed or stopped early has fewer epochs
        for row, curve in enumerate(curves):
            values[row, : len(curve)] = curve
        if np.isnan(values).all():
            continue
        epochs = np.arange(1, longest + 1)
        known = ~np.isnan(values).all(axis=0)
        epochs, values = epochs[known], values[:, known]
        marker = "." if len(epochs) == 1 else None
        axes.plot(epochs, np.nanmean(values, axis=0), color=f"C{index}", marker=marker, label=label)
        axes.fill_between(
            epochs, np.nanmin(values, axis=0), np.nanmax(values, axis=0), color=f"C{index}", alpha=0.2, linewidth=0
        )
    if not axes.lines:
        return None
    axes.set(xlabel=phrase(language(plan), "epoch"), ylabel=short(plan.metric))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return figure


def _pairs(analysis: Analysis, pair: Pair) -> Figure | None:
    """Draw the difference of each seed, and their mean with its intervals."""
    plan, difference = analysis.plan, analysis.over_seeds[pair]
    if difference is None:
        return None
    lang = language(plan)
    before, after = (analysis.scores[label] for label in pair)
    seeds = sorted(before.keys() & after.keys())
    figure, axes = new_axes(2.2 + 0.2 * len(seeds))
    axes.plot([after[number] - before[number] for number in seeds], [_run_name(plan, n) for n in seeds], "o")
    intervals = [(phrase(lang, "mean"), difference.low, difference.high)]
    images = analysis.over_images.get(pair)
    if images is not None:
        intervals.append((phrase(lang, "over_images"), images.low, images.high))
    for index, (name, low, high) in enumerate(intervals, 1):
        reach = np.nan_to_num([[difference.mean - low], [high - difference.mean]])
        axes.errorbar([difference.mean], [name], xerr=np.abs(reach), fmt="D", color=f"C{index}", capsize=4)
    axes.axvline(0, color="gray", linewidth=1, linestyle=":")
    axes.invert_yaxis()
    axes.set(xlabel=phrase(lang, "less", metric=short(plan.metric), first=pair.first, other=pair.other))
    return figure


def _run_name(plan: Plan, number: int) -> str:
    seed, fold = divmod(number, plan.options.runs_of_seed)
    name = f"seed {plan.options.seed + seed}"
    return f"{name}, fold {fold}" if plan.options.folds else name


def _speed(analysis: Analysis, costs: Mapping[str, Cost]) -> Figure | None:
    """Draw each model's accuracy over the time of an image, both with their range."""
    plan = analysis.plan
    where, times = _times(costs)
    if not times:
        return None
    figure, axes = new_axes()
    for index, label in enumerate(plan.labels):
        scores = list(analysis.scores[label].values())
        if label not in times or not scores:
            continue
        low, middle, high = times[label]
        mean = float(np.mean(scores))
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
    axes.set(xlabel=phrase(language(plan), "ms_of_image", where=where), ylabel=short(plan.metric))
    axes.legend(frameon=False)
    return figure


def _times(costs: Mapping[str, Cost]) -> tuple[str, dict[str, list[float]]]:
    """Return the times that most models have: on the GPU of the training, in onnxruntime, or in PyTorch on the CPU."""
    kinds = {
        "GPU": {label: cost.device for label, cost in costs.items()},
        "CPU (onnxruntime)": {label: cost.onnxruntime for label, cost in costs.items()},
        "CPU (PyTorch)": {label: cost.cpu for label, cost in costs.items()},
    }
    known = {where: {k: v for k, v in times.items() if v is not None} for where, times in kinds.items()}
    where = max(known, key=lambda kind: len(known[kind]))
    return where, known[where]
