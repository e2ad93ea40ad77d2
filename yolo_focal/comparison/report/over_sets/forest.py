"""Draws the differences of two models on each data set and over all, with their intervals: a forest plot."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from yolo_focal.comparison.report.analysis import Pair
from yolo_focal.comparison.report.i18n import phrase
from yolo_focal.comparison.report.over_sets.analysis import SetsAnalysis
from yolo_focal.comparison.report.over_sets.tables import in_order
from yolo_focal.comparison.report.plots import Plot, file_name, language, new_axes
from yolo_focal.comparison.store.run_folder import short

_ROOM = 0.3  # of what the means and the interval over all sets span, on both sides; wider intervals end in arrows


def plot(analysis: SetsAnalysis, number: int, pair: Pair) -> Plot:
    """Return a pair's plot: the name of its file, its title and the figure.

    Args:
        analysis: What the runs say.
        number: Of the pair; it tells names apart that are alike without signs.
        pair: The models.
    """
    title = phrase(analysis.plan.options.lang, "forest", **pair._asdict())
    return file_name(f"forest-{number}-{pair.other}"), title, _draw(analysis, pair)


def _draw(analysis: SetsAnalysis, pair: Pair) -> Figure | None:
    found = analysis.over_sets[pair]
    if found.difference is None:
        return None
    lang = language(analysis.plan)
    labels = [label for label in in_order(analysis, pair) if label in found.of_sets]
    differences = [analysis.sets[label].over_seeds[pair] for label in labels]
    names = [*labels, phrase(lang, "over_all")]
    spanned = [value for value in (*found.of_sets.values(), *found.difference[:3], 0.0) if math.isfinite(value)]
    room = _ROOM * (max(spanned) - min(spanned)) or 0.01
    least, most = min(spanned) - room, max(spanned) + room
    figure, plane = new_axes(1.4 + 0.32 * len(names))
    for row, difference in enumerate([*differences, found.difference]):
        assert difference is not None
        colour, mark = ("C1", "D") if row == len(labels) else ("C0", "o")
        if math.isfinite(difference.low):
            ends = max(difference.low, least), min(difference.high, most)
            plane.plot(ends, [row, row], color=colour)
            signs = ("|" if difference.low > least else "<"), ("|" if difference.high < most else ">")
            for end, sign in zip(ends, signs, strict=True):
                plane.plot([end], [row], color=colour, marker=sign, clip_on=False)
        plane.plot([difference.mean], [row], color=colour, marker=mark)
    plane.axvline(0, color="gray", linewidth=1, linestyle=":")
    plane.axhline(len(labels) - 0.5, color="gray", linewidth=0.5)
    plane.set_yticks(range(len(names)), names)
    plane.set_xlim(least, most)
    plane.invert_yaxis()
    plane.set(xlabel=phrase(lang, "less", metric=short(analysis.plan.metric), **pair._asdict()))
    return figure
