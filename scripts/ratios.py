"""The rows of scripts/benchmark.py: ratios of what was measured, and their geometric means."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import NamedTuple

import polars as pl
from polars import selectors


class Row(NamedTuple):
    """The ratio of ours to another, with both medians. Its fields are the columns of the CSV file."""

    what: str
    where: str
    unit: str
    ours: float
    other: str
    others: float
    ratio: float
    low: float
    high: float
    rounds: int


def ratios(what: str, where: str, times: dict[str, list[float]], unit: str = "ms") -> Iterator[Row]:
    """Yield a row for each series but the first, which is ours."""
    (_, ours), *others = times.items()
    for name, theirs in others:
        low, ratio, high = statistics.quantiles([a / b for a, b in zip(ours, theirs, strict=True)], n=4)
        medians = statistics.median(ours), statistics.median(theirs)
        yield Row(what, where, unit, medians[0], name, medians[1], ratio, low, high, len(ours))


def with_means(table: pl.DataFrame) -> pl.DataFrame:
    """Add the geometric mean of the ratios, where there are several of the same things."""
    ratio = pl.col("ratio")
    means = (
        table.filter(ratio.is_finite() & (ratio > 0))
        .group_by("what", "other", maintain_order=True)
        .agg(ratio=ratio.log().mean().exp(), low=ratio.min(), high=ratio.max(), rounds=pl.len())
    )
    several = means.filter(pl.col("rounds") > 1).with_columns(where=pl.lit("geometric mean"))
    return pl.concat([table, several], how="diagonal_relaxed").with_columns(selectors.float().round_sig_figs(5))
