"""Write a CSV file for each data set of a comparison, with a row for each run that has finished so far.

python scripts/experiments/modules_over_sets/rows.py runs/compare/modules scripts/experiments/modules_over_sets/rows
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl

from yolo_focal.comparison.store.run_result import Ablated


def main(comparison: str, target: str) -> None:
    """Write the files and print how many runs each has."""
    by_set: dict[str, list[dict[str, object]]] = {}
    for file in sorted(Path(comparison).glob("*/*/seed*/result.json")):
        name, model, seed = file.relative_to(comparison).parts[:3]
        result = json.loads(file.read_text("utf-8"))
        row = {"set": name, "model": model, "seed": int(seed.removeprefix("seed"))}
        row |= {"score": result["scores"]["mean_of_last"], "best": result["scores"]["best"]}
        transferred, tensors = result["work"]["transferred"] or (0, None)
        row |= {"tensors carried over": transferred, "tensors": tensors}
        row |= {key: result[key] for key in ("seconds", "cpu_seconds", "peak_memory_mib")}
        for one in result["ablations"]:  # which share of the score they carry
            found = Ablated(**one)
            row[f"share of rows {', '.join(map(str, found.rows))}"] = found.share
        by_set.setdefault(name, []).append(row)
    Path(target).mkdir(parents=True, exist_ok=True)
    for name, rows in by_set.items():
        pl.DataFrame(rows, infer_schema_length=None).write_csv(Path(target, f"{name}.csv"))
        print(f"{name}: {len(rows)} runs")


if __name__ == "__main__":
    main(*sys.argv[1:])
