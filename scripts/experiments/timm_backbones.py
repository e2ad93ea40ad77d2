"""Measure what YOLOv8s costs with 25 backbones of timm, beside stock YOLOv8s, at 640 pixels.

python scripts/experiments/timm_backbones.py [seconds=2] [save=timm.csv]

Prints a Markdown table of parameters, GFLOPs and the time of one image as a fraction of the stock model's, in PyTorch
and in onnxruntime, the cheapest first. The models' YAML files are written to the folder `timm-models`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import benchmark
import polars as pl
from ultralytics import YOLO
from ultralytics.utils.torch_utils import get_flops

from yolo_focal.twin.derive import DEFAULTS, derive

BACKBONES = (
    *("resnet18", "resnext50_32x4d", "resnest14d", "res2net50d", "regnety_004", "densenet121", "vgg11_bn", "dla34"),
    *("cs3darknet_s", "ese_vovnet19b_dw", "hgnetv2_b0", "hrnet_w18_small", "mobilenetv4_conv_small", "mobileone_s0"),
    *("efficientnet_b0", "rexnet_100", "repvit_m1", "starnet_s1", "convnextv2_nano", "inception_next_tiny"),
    *("focalnet_tiny_lrf", "poolformer_s12", "fastvit_t8", "davit_tiny", "pvt_v2_b0"),
)
MODEL = "yolov8s"
ENGINES = ("PyTorch", "onnxruntime")


def main(seconds: str = "2", save: str = "timm.csv") -> None:
    """Write the models and the CSV file; print the table."""
    folder = Path("timm-models")
    costs = {}
    for name in BACKBONES:
        file = folder / f"{MODEL}-{name}.yaml"
        derive({**DEFAULTS, "model": f"{MODEL}-timm.yaml", "backbone": name, "save": str(file)})
        network = YOLO(file, verbose=False).model
        costs[str(file)] = sum(parameter.numel() for parameter in network.parameters()), get_flops(network, 640)
    times = benchmark.main(["part=model", f"models={','.join(costs)}", f"seconds={seconds}", f"save={save}.rows"])
    rows = []
    for file, (parameters, flops) in costs.items():
        of_model = times.filter(pl.col("where") == f"{Path(file).stem}, 640 pixels")
        row = {"backbone": Path(file).stem.partition("-")[2], "parameters, M": parameters / 1e6, "GFLOPs": flops}
        for engine in ENGINES:
            ratio = of_model.row(by_predicate=pl.col("what") == f"model, {engine}", named=True)
            row |= {engine: ratio["ratio"], f"{engine}, low": ratio["low"], f"{engine}, high": ratio["high"]}
        rows.append(row)
    table = pl.DataFrame(rows).sort("onnxruntime").with_columns(pl.selectors.float().round(2))
    table.write_csv(save)
    print("| backbone | parameters, M | GFLOPs | PyTorch | onnxruntime |\n| --- | ---: | ---: | --- | --- |")
    for row in table.iter_rows(named=True):
        ratios = [f"{row[e]:.2f} ({row[f'{e}, low']:.2f} to {row[f'{e}, high']:.2f})" for e in ENGINES]
        print(f"| `{row['backbone']}` | {row['parameters, M']:.2f} | {row['GFLOPs']:.2f} | {' | '.join(ratios)} |")


if __name__ == "__main__":
    main(**dict(argument.split("=", 1) for argument in sys.argv[1:]))
