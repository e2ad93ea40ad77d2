"""Measure what variants cost, in turns: parameters, GFLOPs, and the time of one image in PyTorch and onnxruntime.

python scripts/experiments/focal_variants/measure_costs.py yolov8n.pt variants/*.pt [imgsz=640]

Prints a Markdown table. Times are medians over 30 rounds in which each model has one turn, as fractions of the first
model's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("YOLO_FOCAL_MODULES", str(Path(__file__).with_name("focal_controls.py")))

from yolo_focal.comparison.report.model_cost import measure


def main(*files: str, imgsz: str = "640") -> None:
    """Print the table."""
    costs = measure({Path(file).stem: Path(file) for file in files}, int(imgsz), "cpu")
    first = next(iter(costs.values()))
    print("| model | parameters | GFLOPs | PyTorch | onnxruntime |\n| --- | ---: | ---: | ---: | ---: |")
    for label, cost in costs.items():
        times = [_ratio(cost.cpu, first.cpu), _ratio(cost.onnxruntime, first.onnxruntime)]
        print(f"| {label} | {cost.parameters:,} | {cost.gflops:.2f} | {' | '.join(times)} |")
        for note in cost.notes:
            print(f"{label}: {note}", file=sys.stderr)


def _ratio(quartiles: list[float] | None, of_first: list[float] | None) -> str:
    return f"{quartiles[1] / of_first[1]:.2f}" if quartiles and of_first else ""


if __name__ == "__main__":
    options = dict(argument.split("=", 1) for argument in sys.argv[1:] if "=" in argument)
    main(*(argument for argument in sys.argv[1:] if "=" not in argument), **options)
