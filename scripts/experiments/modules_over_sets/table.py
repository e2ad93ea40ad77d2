"""Print what a comparison of modules over data sets has found, with costs, and draw it as a forest plot.

python table.py rows[,more-rows] [first=yolov8n] [models=folder] [latency=latency.csv] [plot=forest.png]

Each folder is what `rows.py` has written of a comparison, in which the others are compared with the model `first=`. A
model that several have is taken from the last. `models=` has the YAML files that are not packaged, such as the
control's, and `latency=` is what `scripts/benchmark.py part=model` has written of the same models. The models are
sorted by effect; p values and intervals are corrected by Holm's procedure over all of them.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
from matplotlib.figure import Figure
from ultralytics import YOLO
from ultralytics.utils.torch_utils import get_flops

from yolo_focal.comparison.stats.layer_share import BLIND
from yolo_focal.comparison.stats.over_sets import BySet, OverSets, compare_all
from yolo_focal.comparison.study.ablation import between

FAR = 0.1  # mAP50-95
ENGINES = ("PyTorch", "onnxruntime")


def main(folders: str, first: str = "yolov8n", models: str = ".", latency: str = "", plot: str = "") -> None:
    """Print the table and draw the plot."""
    runs: dict[str, pl.DataFrame] = {}  # by model: its rows, with what they are compared with beside them
    for folder in folders.split(","):
        files = sorted(Path(folder).glob("*.csv"))
        table = pl.concat([pl.read_csv(file, infer_schema_length=None) for file in files], how="diagonal_relaxed")
        stock = table.filter(pl.col("model") == first)
        for label in table["model"].unique(maintain_order=True):
            if label != first:
                runs[label] = table.filter(pl.col("model") == label).join(stock, on=["set", "seed"], suffix=" of stock")
    found = compare_all(
        {label: (scores(of_model, "score of stock"), scores(of_model, "score")) for label, of_model in runs.items()}
    )
    in_order = sorted(found, key=lambda label: -mean(found[label]))
    times = pl.read_csv(latency) if latency else None
    stock_rows = network(first, models)
    head = ["model", "difference", "p", "better, worse", "share", "parameters, M", "GFLOPs", "training", *ENGINES]
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for label in in_order:
        over, of_model = found[label], runs[label]
        assert over.difference is not None
        built = network(label, models)
        cells = [f"{over.difference.mean:+.4f} ({over.difference.low:+.4f} to {over.difference.high:+.4f})"]
        cells += [f"{over.difference.p:.3f}", f"{over.better}, {over.worse}", share(of_model, stock_rows, built)]
        cells += [f"{sum(p.numel() for p in built.parameters()) / 1e6:.2f}", f"{get_flops(built, 640):.2f}"]
        cells.append(f"{median(of_model['cpu_seconds'] / of_model['cpu_seconds of stock']):.2f}")
        for engine in ENGINES if times is not None else ():
            one = times.filter(
                (pl.col("what") == f"model, {engine}") & pl.col("where").str.starts_with(f"{of_yaml(label)}, ")
            )
            cells.append(f"{one['ratio'][0]:.2f} ({one['low'][0]:.2f} to {one['high'][0]:.2f})" if len(one) else "")
        print(f"| {label} | {' | '.join(cells)} |")
    if plot:
        draw({label: found[label] for label in in_order}, first).savefig(plot, dpi=150)


def scores(table: pl.DataFrame, column: str) -> BySet:
    """Return a column's scores by set and seed."""
    by_set: dict[str, dict[int, float]] = {}
    for name, seed, score in table.select("set", "seed", column).iter_rows():
        by_set.setdefault(name, {})[seed] = score
    return by_set


def mean(over: OverSets) -> float:
    """Return the mean difference."""
    return over.difference.mean if over.difference else -math.inf


def network(label: str, folder: str) -> Any:
    """Return an untrained network of a model."""
    own = Path(folder, f"{label}.yaml")
    return YOLO(own if own.is_file() else f"{of_yaml(label)}.yaml", verbose=False).model


def of_yaml(label: str) -> str:
    """Return what the model YAML of a model is called, which a warm start does not change."""
    return label.removesuffix("-warm")


def share(table: pl.DataFrame, stock: Any, other: Any) -> str:
    """Return the median share of the stock model's score that the layers carry, and on how many sets it is small."""
    first, second = ([*one.yaml["backbone"], *one.yaml["head"]] for one in (stock, other))
    places = between(first, second)
    column = f"share of rows {', '.join(map(str, places.first.rows))} of stock" if places else ""
    if column not in table.columns:
        return ""
    known = [value for value in table[column] if value is not None and math.isfinite(value)]
    return (
        f"{round(median(known), 2) + 0.0:.2f} ({sum(value < BLIND for value in known)} of {len(known)} below {BLIND})"
        if known
        else ""
    )


def draw(found: dict[str, OverSets], first: str) -> Figure:
    """Draw each model's differences, and their mean with its interval; models that are far behind have axes below."""
    near = [label for label in found if mean(found[label]) > -FAR]
    groups = [group for group in (near, [label for label in found if label not in near]) if group]
    figure = Figure(figsize=(8, 1.5 + 0.36 * len(found)), layout="constrained")
    places = figure.subplots(len(groups), squeeze=False, height_ratios=[len(group) for group in groups])[:, 0]
    for axes, group in zip(places, groups, strict=True):
        for row, over in enumerate(found[label] for label in group):
            assert over.difference is not None
            axes.plot([*over.of_sets.values()], [row] * len(over.of_sets), "o", color="C0", alpha=0.35, markersize=4)
            ends = [[over.difference.mean - over.difference.low], [over.difference.high - over.difference.mean]]
            axes.errorbar(over.difference.mean, row, xerr=ends, fmt="D", color="black", capsize=3, zorder=3)
        axes.set_yticks(range(len(group)), group)
        axes.margins(y=0.5 / len(group))
        axes.invert_yaxis()
        axes.axvline(0, color="gray", linewidth=1, linestyle=":")
    axes.set_xlabel(f"mAP50-95 less that of {first}: each set, and the mean with its 95 % interval")
    return figure


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if "=" not in argument]
    main(*given, **dict(argument.split("=", 1) for argument in sys.argv[1:] if "=" in argument))
