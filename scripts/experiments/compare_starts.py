"""Fine-tune a trained detector's focal twin from several initialisations and print the accuracy of each.

python scripts/experiments/compare_starts.py model=yolov8n.pt data=my.yaml [seeds=3] [epochs=15] [imgsz=256]
    [only=SPPF,warm]

All have the checkpoint's weights in every layer but FocalModulation, which is:

SPPF            the checkpoint itself, for comparison
fresh           PyTorch's initialisation, as `pretrained=` leaves it
identity        the identity
zero projection zero in its output projection, so that its output is zero at first
normalised      fresh, with a LayerNorm before the output projection (`use_postln`)
warm            fitted to SPPF's output on the training images, as `yolo-focal derive` does
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from ultralytics import YOLO
from ultralytics.data.utils import check_det_dataset
from ultralytics.utils import LOGGER, TQDM

from yolo_focal.twin import config
from yolo_focal.twin.checkpoint import derive_checkpoint
from yolo_focal.twin.graft import pass_through

STARTS = ("SPPF", "fresh", "identity", "zero projection", "normalised", "warm")


def main(
    model: str, data: str, seeds: str = "3", epochs: str = "15", imgsz: str = "256", only: str = ",".join(STARTS)
) -> None:
    """Print a line for each initialisation: mAP50-95 of every seed's best epoch, and their mean."""
    LOGGER.setLevel(logging.ERROR)
    runs = [(start, seed) for start in only.split(",") for seed in range(int(seeds))]
    scores: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for start, seed in TQDM(runs, desc="Trainings", file=sys.stderr):
            yolo = prepare(start, seed, model, data, Path(folder, "warm.pt"))
            arguments = {"batch": 16, "workers": 0, "plots": False, "verbose": False, "project": folder}
            metrics = yolo.train(
                data=data, epochs=int(epochs), imgsz=int(imgsz), seed=seed, name=f"{start}{seed}", **arguments
            )
            scores.setdefault(start, []).append(metrics.box.map)
            if len(scores[start]) == int(seeds):
                all_scores = ", ".join(f"{score:.3f}" for score in scores[start])
                print(f"{start:<16} {mean(scores[start]):.3f}  ({all_scores})", flush=True)


def prepare(start: str, seed: int, model: str, data: str, file: Path) -> Any:
    """Return the detector with one of the initialisations in `STARTS`."""
    torch.manual_seed(seed)
    if start == "SPPF":
        return YOLO(model)
    if start == "warm":
        if not file.exists():  # the same fit for all seeds, which only change the training
            derive_checkpoint(model, file, check_det_dataset(data)["train"])
        return YOLO(file)
    yolo = YOLO(model)
    twin = config.parsed_twin(yolo.model.yaml, model)
    rows = [*twin.config["backbone"], *twin.config["head"]]
    (index,) = twin.positions.replaced
    rows[index][3] = [{"use_postln": True}] if start == "normalised" else []
    network = type(yolo.model)(twin.config, verbose=False)
    network.load(yolo.model, verbose=False)
    network.names, network.args = yolo.model.names, yolo.model.args
    layer = network.model[index]
    if start == "identity":
        pass_through(layer)
    elif start == "zero projection":
        torch.nn.init.zeros_(layer.proj.weight)
        torch.nn.init.zeros_(layer.proj.bias)
    yolo.model = network
    return yolo


if __name__ == "__main__":
    main(**dict(argument.split("=", 1) for argument in sys.argv[1:]))
