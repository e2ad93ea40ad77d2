"""Modules of the kind that people swap in, as a user brings them: files beside the model, named in the environment."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from lifecycle import live, write_detector
from support import run
from workers import built_by_a_spawned_worker, train_by_the_data_parallel_script

FOLDERS = [Path(__file__).parent / name for name in ("modules", "tutorials")]
# Module -> its row, and the file that registers it. The rows read 64 channels at scale n. The second folder's files are
# written as tutorials write theirs, with nothing added but the line that registers the class.
ROWS = {
    "EMA": ([-1, 1, "EMA", []], "ema"),
    "MSDA": ([-1, 1, "MSDA", [{"kernel": 3}]], "msda"),
    "CAFM": ([-1, 1, "CAFM", []], "cafm"),
    "MSFN": ([-1, 1, "MSFN", [1.5]], "msfn"),
    "ODConv": ([-1, 1, "ODConv", [256, 3]], "odconv"),
    "DynamicConv": ([-1, 1, "DynamicConv", [256, 1]], "dynamic"),
    "C2fDynamic": ([-1, 6, "C2fDynamic", [256, True]], "dynamic"),
    "DySnakeConv": ([-1, 1, "DySnakeConv", [256]], "snake"),
    "FocalLinear": ([-1, 1, "FocalLinear", []], "focal_linear"),
    "ChannelGate": ([-1, 1, "ChannelGate", [8, "max"]], "gate_type"),
    "C2f_Shuffle": ([-1, 6, "C2f_Shuffle", [256, True]], "c2f_shuffle"),
    "StripAttention": ([-1, 1, "StripAttention", []], "strip"),
    "BiFPN_Concat": ([[-1, -1], 1, "BiFPN_Concat", []], "bifpn"),  # the last: it gives 128 channels
}
CLASSES = {"FocalLinear": "FocalModulation"}  # where the class has another name


def write(folder: Path, *names: str) -> dict[str, str]:
    """Write a detector with these modules and the files that register them; return the environment that names them."""
    write_detector(folder, *(ROWS[name][0] for name in names))
    files = sorted({ROWS[name][1] for name in names})
    for file in files:
        shutil.copy(next(place / f"{file}.py" for place in FOLDERS if (place / f"{file}.py").exists()), folder)
    return {"YOLO_FOCAL_MODULES": ",".join(files)}


@pytest.mark.slow
@pytest.mark.parametrize("place", FOLDERS, ids=lambda place: place.name)
def test_the_modules_of_a_folder_live_through_the_stock_command(place: Path, tmp_path: Path) -> None:
    names = [name for name, (_, file) in ROWS.items() if (place / f"{file}.py").exists()]
    modules = write(tmp_path, *names)
    # The modules that are in the model's table are the user's own, also where this package has one of that name.
    live(tmp_path, *(f"{ROWS[name][1]}.{CLASSES.get(name, name)}" for name in names), **modules)


@pytest.mark.slow
@pytest.mark.parametrize("env", [{}, {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}, {"YOLO_FOCAL_AUTOLOAD": "0"}])
def test_the_script_of_a_data_parallel_worker_knows_them(env: dict[str, str], tmp_path: Path) -> None:
    modules = {**write(tmp_path, *ROWS), **env}
    activate = "import yolo_focal; yolo_focal.activate()\n"
    out = train_by_the_data_parallel_script("own.yaml", tmp_path, activate, **modules)
    assert all(f"{file}.{CLASSES.get(name, name)} " in out for name, (_, file) in ROWS.items())


@pytest.mark.slow
def test_a_spawned_worker_knows_them(tmp_path: Path) -> None:
    modules = write(tmp_path, *ROWS)
    built = built_by_a_spawned_worker("own.yaml", tmp_path, **modules)
    assert str([CLASSES.get(name, name) for name in ROWS])[1:-1] in str(built)


RAY = """
import os, ray
from ray import tune
from ultralytics import YOLO
if __name__ == "__main__":
    ray.init("local", num_cpus=2, include_dashboard=False)
    results = YOLO(os.path.abspath("own.yaml")).tune(use_ray=True, search_alg="random", iterations=2, gpu_per_trial=0,
                                  space={"lr0": tune.uniform(1e-3, 1e-2)},
                                  data="shapes.yaml", epochs=1, imgsz=64, batch=8, fraction=0.1, workers=0, plots=False)
    print("ERRORS", results.num_errors, "TRIALS", len(results))
"""


@pytest.mark.slow
def test_the_workers_of_ray_tune_know_them(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    modules = write(tmp_path, *ROWS)
    (tmp_path / "ray_tune.py").write_text(RAY)
    out = run(sys.executable, "ray_tune.py", cwd=tmp_path, RAY_AUTH_MODE="disabled", **modules).stdout
    assert out.splitlines()[-1] == "ERRORS 0 TRIALS 2"
