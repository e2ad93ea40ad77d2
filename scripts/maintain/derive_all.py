"""Derive and build the focal twin of every model YAML of the installed Ultralytics and print the results.

python scripts/maintain/derive_all.py

The exit status is 1 if a twin does not build although its original does.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

import torch
import ultralytics
from ultralytics import RTDETR, YOLO
from ultralytics.utils import LOGGER

from yolo_focal import ConfigError
from yolo_focal.twin import config, layers

FOLDER = Path(ultralytics.__file__).parent / "cfg" / "models"


def main() -> bool:
    """Print a line for each file; return whether no twin failed whose original builds."""
    LOGGER.setLevel(logging.ERROR)
    passed = True
    print(f"Ultralytics {ultralytics.__version__}")
    for file in sorted(FOLDER.rglob("*.yaml")):
        name = f"{file.relative_to(FOLDER)}"
        text = config.read(file)
        try:
            twin = config.twin(text, file.name)
            layers.check_config(twin.original, twin.positions.replaced, file.name, "SPPF")
            outcome = f"{build(twin.text, config.name_of_twin(file.name))} parameters"
        except ConfigError as error:
            outcome = f"refused: {str(error).removeprefix(f'{file.name}: ')}"
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
            if builds(text, file.name):
                passed, outcome = False, f"FAILED: {outcome}"
            else:
                outcome = f"not built, nor is the original: {outcome}"
        print(f"{name:<32} {outcome}", flush=True)
    return passed


def build(text: str, name: str) -> str:
    """Return the number of parameters of a model YAML at the first of its scales, after a forward pass."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_text(text, encoding="utf-8")
        model = (RTDETR(path) if "rtdetr" in name else YOLO(path, verbose=False)).model.eval()
    with torch.no_grad():
        model(torch.zeros(1, 3, 128, 128))
    return f"{sum(p.numel() for p in model.parameters()):,}"


def builds(text: str, name: str) -> bool:
    """Return whether a model YAML builds; some need weights that Ultralytics downloads."""
    try:
        build(text, name)
    except Exception:
        return False
    return True


if __name__ == "__main__":
    sys.exit(not main())
