"""Pool comparisons of the same models, with the same seeds, on several data sets.

python scripts/experiments/focal_variants/pool_comparisons.py runs/compare/confirm-raccoon runs/compare/confirm-fruit

Prints a Markdown table: each model's mean difference to the first one, with its interval, on each data set and over all
of them; the highest mean first. Over all of them, the score of a seed is the mean of its scores on the data sets. The
intervals are corrected by Holm's procedure: those of the data sets together, and those of the means together.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

from yolo_focal.comparison.holm import compare_all
from yolo_focal.comparison.statistics import Difference

Scores = dict[int, float]


def main(*folders: str) -> None:
    """Print the table."""
    scores = {Path(folder).name: read(Path(folder)) for folder in folders}
    first, *others = next(iter(scores.values()))
    by_set = compare_all({(name, other): (of[first], of[other]) for name, of in scores.items() for other in others})
    means = {model: mean_over_sets([of[model] for of in scores.values()]) for model in [first, *others]}
    pooled = compare_all({other: (means[first], means[other]) for other in others})
    print(f"| against {first} | {' | '.join(scores)} | mean | p |\n|{' --- |' * (len(scores) + 3)}")
    for other, difference in sorted(pooled.items(), key=lambda item: -item[1].mean if item[1] else 0):
        cells = [cell(by_set[name, other]) for name in scores]
        p = f"{difference.p:.3f}" if difference else ""
        print(f"| {other} | {' | '.join(cells)} | {cell(difference)} | {p} |")


def read(folder: Path) -> dict[str, Scores]:
    """Return each model's scores by seed, counted from the first one, as the comparison in a folder has them."""
    rows = pl.read_csv(folder / "results.csv").filter(pl.col("finished"))
    first = int(rows["seed"].to_numpy().min())
    scores: dict[str, Scores] = {}
    for model, seed, score in rows.select("model", "seed", "score mean_of_last").iter_rows():
        scores.setdefault(model, {})[seed - first] = score
    return scores


def mean_over_sets(of_sets: list[Scores]) -> Scores:
    """Return the mean score of each seed that every set has."""
    seeds = set.intersection(*(set(scores) for scores in of_sets))
    return {seed: sum(scores[seed] for scores in of_sets) / len(of_sets) for seed in sorted(seeds)}


def cell(difference: Difference | None) -> str:
    """Return a difference with its interval."""
    return f"{difference.mean:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})" if difference else ""


if __name__ == "__main__":
    main(*sys.argv[1:])
