"""The tables of a comparison over data sets: on the page, in Markdown and in LaTeX."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from yolo_focal.comparison.report.analysis import Pair
from yolo_focal.comparison.report.i18n import phrase
from yolo_focal.comparison.report.layers import PairShares
from yolo_focal.comparison.report.over_sets.analysis import OneSet, SetsAnalysis
from yolo_focal.comparison.report.page import Link, Table
from yolo_focal.comparison.stats.paired_t import CONFIDENCE, Difference
from yolo_focal.comparison.store.run_folder import short

_NO_WIDER_THAN_TEXT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
_TEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def overview(analysis: SetsAnalysis) -> Table:
    """Return a row for each pair of models: what they differ by over all data sets."""
    lang = analysis.plan.options.lang
    keys = (
        "set_count",
        "better_worse",
        "difference",
        "interval_head",
        "p_corrected",
        "p_sign_flip",
        "superiority_head",
    )
    head = ["", *(phrase(lang, key, level=CONFIDENCE) for key in keys)]
    rows = []
    for pair, found in analysis.over_sets.items():
        one = found.superiority
        above = "-" if one is None else f"{one.mean:.2f}"
        if one is not None and not math.isnan(one.low):
            above += f" ({_interval(lang, f'{one.low:.2f}', f'{one.high:.2f}')})"
        counts = [str(len(found.of_sets)), f"{found.better} / {found.worse}"]
        rows.append([_less(pair), *counts, *_figures(lang, found.difference), _p(found.sign_flip_p), above])
    return Table(phrase(lang, "over_all_sets", metric=short(analysis.plan.metric)), head, rows)


def by_set(analysis: SetsAnalysis, pair: Pair) -> Table:
    """Return a row for each data set, the largest difference first, and one for all."""
    lang = analysis.plan.options.lang
    keys = ("set", "class_count", "image_count")
    head = [*(phrase(lang, key) for key in keys), *pair]
    head += [phrase(lang, key, level=CONFIDENCE) for key in ("difference", "interval_head", "p_corrected")]
    rows = [_row(lang, label, analysis.sets[label], pair) for label in in_order(analysis, pair)]
    shares = {label: one.shares(pair) for label, one in analysis.sets.items()}
    found = analysis.over_sets[pair]
    compared = [analysis.sets[label] for label in found.of_sets]
    means = [[mean for one in compared if (mean := one.mean(label)) is not None] for label in pair]
    total = [f"{sum(of_model) / len(of_model):.4f}" if of_model else "-" for of_model in means]
    rows.append([phrase(lang, "over_all"), "", "", *total, *_figures(lang, found.difference)])
    if any(found is not None and found.first for found in shares.values()):
        head.append(phrase(lang, "layer_share_head"))
        for row, label in zip(rows, [*in_order(analysis, pair), ""], strict=True):
            row.append(_share(lang, shares.get(label)))
    return Table(phrase(lang, "sets_table", **pair._asdict(), metric=short(analysis.plan.metric)), head, rows)


def in_order(analysis: SetsAnalysis, pair: Pair) -> list[str]:
    """Return what the sets are called, the one with the largest difference first, those without one last."""
    found = analysis.over_sets[pair].of_sets
    return sorted(analysis.sets, key=lambda label: -found.get(label, -math.inf))


def markdown(tables: Sequence[Table]) -> str:
    """Return tables as Markdown."""
    return "\n".join(line for table in tables for line in _markdown(table))


def latex(tables: Sequence[Table]) -> str:
    """Return tables as LaTeX, with the rules of booktabs."""
    lines = ["% \\usepackage{booktabs,graphicx}; for Chinese also \\usepackage{ctex}"]
    return "\n".join([*lines, *(line for table in tables for line in _latex(table))])


def _row(lang: str, label: str, one: OneSet, pair: Pair) -> list[str | Link]:
    dataset = one.plan.dataset
    images = f"{len(dataset.splits['train'].images)} / {len(dataset.splits[one.plan.scored_split].images)}"
    means = ["-" if (mean := one.mean(model)) is None else f"{mean:.4f}" for model in pair]
    link = Link(label, f"{label}/report.html")
    return [link, str(len(dataset.names)), images, *means, *_figures(lang, one.over_seeds[pair])]


def _figures(lang: str, difference: Difference | None) -> list[str]:
    """Return a difference, its interval and its corrected p value."""
    if difference is None:
        return ["-", "-", "-"]
    if math.isnan(difference.low):
        return [f"{difference.mean:+.4f}", "-", "-"]
    interval = _interval(lang, f"{difference.low:+.4f}", f"{difference.high:+.4f}")
    return [f"{difference.mean:+.4f}", interval, _p(difference.p)]


def _share(lang: str, shares: PairShares | None) -> str:
    """Return which share of the first model's score the layers carry in which models differ."""
    if shares is None or shares.first is None:
        return ""
    return f"{shares.first.mean:.2f}{phrase(lang, 'is_blind') if shares.is_blind else ''}"


def _interval(lang: str, low: str, high: str) -> str:
    return phrase(lang, "from_to", low=low, high=high)


def _p(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _less(pair: Pair) -> str:
    return f"{pair.other} - {pair.first}"


def _markdown(table: Table) -> Iterator[str]:
    yield from (f"**{table.title}**", "")
    rule = ["---", *["---:"] * (len(table.head) - 1)]
    for row in (table.head, rule, *table.rows):
        yield f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


def _latex(table: Table) -> Iterator[str]:
    yield from ("", "\\begin{table}", "\\centering", "\\small", f"\\caption{{{_tex(table.title)}}}")
    yield _NO_WIDER_THAN_TEXT
    yield f"\\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}"
    yield "\\toprule"
    yield _tex_row(table.head)
    yield "\\midrule"
    yield from map(_tex_row, table.rows)
    yield from ("\\bottomrule", "\\end{tabular}}", "\\end{table}", "")


def _tex_row(cells: Sequence[str | Link]) -> str:
    return " & ".join(_tex(str(cell)) for cell in cells) + " \\\\"


def _tex(text: str) -> str:
    """Return a text with LaTeX's special characters escaped, and minus signs in the place of hyphens before numbers."""
    escaped = "".join(_TEX.get(sign, sign) for sign in text)
    return re.sub(r"(?<!\w)-(?=\d)", "$-$", escaped)
