"""Pool comparisons of the same models, with the same seeds, on several data sets.

python scripts/experiments/pool_comparisons.py runs/compare/confirm-a runs/compare/confirm-b [plot=confirm.png]

Prints a Markdown table: each model's mean difference to the first one, with its interval, on each data set and over all
of them; the highest mean first. Over all of them, the score of a seed is the mean of its scores on the data sets. The
intervals are corrected by Holm's procedure: those of the data sets together, and those of the means together.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
from matplotlib.figure import Figure

from yolo_focal.comparison.stats.holm import compare_all
from yolo_focal.comparison.stats.paired_t import Difference

Scores = dict[int, float]
Columns = dict[str, dict[str, Difference]]  # by data set, the mean first, and by model


def main(*folders: str, plot: str = "") -> None:
    """Print the table and draw the plot."""
    scores = {Path(folder).name: read(Path(folder)) for folder in folders}
    first, *others = next(iter(scores.values()))
    by_set = compare_all({(name, other): (of[first], of[other]) for name, of in scores.items() for other in others})
    means = {model: mean_over_sets([of[model] for of in scores.values()]) for model in [first, *others]}
    of_means = compare_all({other: (means[first], means[other]) for other in others})
    columns = {"mean": of_means, **{name: {other: by_set[name, other] for other in others} for name in scores}}
    models = sorted(others, key=lambda other: -of_means[other].mean)
    print(f"| against {first} | {' | '.join(columns)} | p of the mean |\n|{' --- |' * (len(columns) + 2)}")
    for model in models:
        cells = [f"{d.mean:+.4f} ({d.low:+.4f} to {d.high:+.4f})" for d in (of[model] for of in columns.values())]
        print(f"| {model} | {' | '.join(cells)} | {of_means[model].p:.3f} |")
    if plot:
        draw(columns, models, first).savefig(plot, dpi=150)


def read(folder: Path) -> dict[str, Scores]:
    """Return each model's scores by seed, counted from the first one, as the comparison in a folder has them."""
    rows = pl.read_csv(folder / "results.csv").filter(pl.col("finished"))
    first = min(rows["seed"])
    scores: dict[str, Scores] = {}
    for model, seed, score in rows.select("model", "seed", "score mean_of_last").iter_rows():
        scores.setdefault(model, {})[seed - first] = score
    return scores


def mean_over_sets(of_sets: list[Scores]) -> Scores:
    """Return the mean score of each seed that every set has."""
    seeds = set.intersection(*(set(scores) for scores in of_sets))
    return {seed: sum(scores[seed] for scores in of_sets) / len(of_sets) for seed in sorted(seeds)}


def draw(columns: Columns, models: list[str], first: str) -> Figure:
    """Draw each model's differences with their intervals, one below the other."""
    figure = Figure(figsize=(7, 1 + 0.14 * len(models) * (len(columns) + 1)), layout="constrained")
    axes = figure.add_subplot(xlabel=f"difference of mAP50-95 to {first}, with the 95 % interval over seeds")
    for index, (name, differences) in enumerate(columns.items()):
        style = {"fmt": "D", "color": "black", "zorder": 3} if name == "mean" else {"fmt": "o", "markersize": 4}
        in_order = [differences[model] for model in models]
        axes.errorbar(
            [difference.mean for difference in in_order],
            [row + 0.7 * (index / len(columns) - 0.4) for row in range(len(models))],
            xerr=[difference.high - difference.mean for difference in in_order],
            label=name,
            capsize=2,
            **style,
        )
    axes.set_yticks(range(len(models)), models)
    axes.invert_yaxis()
    axes.axvline(0, color="gray", linewidth=1, linestyle=":")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize="small")
    return figure


if __name__ == "__main__":
    options = dict(argument.split("=", 1) for argument in sys.argv[1:] if "=" in argument)
    main(*(argument for argument in sys.argv[1:] if "=" not in argument), **options)
