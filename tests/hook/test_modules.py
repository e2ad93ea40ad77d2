"""Modules of the kind that people swap in, as a user brings them: files beside the model, named in the environment."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REPO, YOLO, python, run

MODULES = REPO / "tests" / "modules"
# Module -> its row, and the file that registers it. The rows read 64 channels at scale n.
ROWS = {
    "EMA": ([-1, 1, "EMA", []], "ema"),
    "MSDA": ([-1, 1, "MSDA", [{"kernel": 3}]], "msda"),
    "CAFM": ([-1, 1, "CAFM", []], "cafm"),
    "MSFN": ([-1, 1, "MSFN", [1.5]], "msfn"),
    "ODConv": ([-1, 1, "ODConv", [256, 3]], "odconv"),
    "DynamicConv": ([-1, 1, "DynamicConv", [256, 1]], "dynamic"),
    "C2fDynamic": ([-1, 6, "C2fDynamic", [256, True]], "dynamic"),
    "DySnakeConv": ([-1, 1, "DySnakeConv", [256]], "snake"),
}
SMALL = ("data=shapes.yaml", "imgsz=64", "batch=8", "fraction=0.1", "workers=0", "plots=False")


def write(folder: Path, *names: str) -> dict[str, str]:
    """Write a detector with these modules and the files that register them; return the environment that names them."""
    convs = [[-1, 1, "Conv", [width, 3, 2]] for width in (64, 128, 256)]
    backbone = [*convs, *(ROWS[name][0] for name in names), [-1, 1, "Conv", [512, 3, 2]]]
    head = [[[len(backbone) - 2, len(backbone) - 1], 1, "Detect", ["nc"]]]
    model = {"nc": 4, "scales": {"n": [0.33, 0.25, 1024]}, "backbone": backbone, "head": head}
    (folder / "own.yaml").write_text(yaml.safe_dump(model))
    files = sorted({ROWS[name][1] for name in names})
    for file in files:
        shutil.copy(MODULES / f"{file}.py", folder)
    return {"YOLO_FOCAL_MODULES": ",".join(files)}


LAYERS = "import sys; from ultralytics import YOLO; print([type(m).__name__ for m in YOLO(sys.argv[-1]).model.model])"
COMPARE = """
import numpy as np, onnxruntime, torch
from ultralytics import YOLO
x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    expected = YOLO("{weights}/last.pt").model.float().eval()(x)[0].numpy()
session = onnxruntime.InferenceSession("{weights}/last.onnx")
found = session.run(None, {{"images": x.numpy()}})[0]
print(f"apart {{np.abs(found - expected).max():.1e}}")
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_a_module_lives_through_the_stock_command(name: str, tmp_path: Path) -> None:
    known = write(tmp_path, name)
    out = run(YOLO, "train", "model=own.yaml", *SMALL, "epochs=2", "save_period=1", cwd=tmp_path, **known).stdout
    assert f"{ROWS[name][1]}.{name} " in out  # in the model's table
    weights = "runs/detect/train/weights"
    out = run(YOLO, "train", "resume=True", f"model={weights}/epoch0.pt", cwd=tmp_path, **known).stdout
    assert "from epoch 2 to 2 total epochs" in out
    restricted = {**known, "ULTRALYTICS_SAFE_LOAD": "1"}
    out = run(YOLO, "val", f"model={weights}/last.pt", *SMALL[:2], "workers=0", cwd=tmp_path, **restricted).stdout
    assert re.search(r"all\s+120 ", out)
    out = run(YOLO, "export", f"model={weights}/last.pt", "format=onnx", "imgsz=64", cwd=tmp_path, **known).stdout
    assert "export success" in out
    apart = float(python(COMPARE.format(weights=weights), tmp_path, **known).splitlines()[-1].split()[1])
    assert apart < 0.01  # of box corners up to 64 pixels


DDP = """
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.dist import generate_ddp_file
args = dict(model="own.yaml", data="shapes.yaml", imgsz=64, batch=8, fraction=0.1, workers=0, epochs=1,
            plots=False, device="cpu", name="ddp")
print("FILE", generate_ddp_file(DetectionTrainer(overrides=args)))
"""


@pytest.mark.parametrize(
    "env",
    [
        {},
        pytest.param({"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}, marks=pytest.mark.slow),
        pytest.param({"YOLO_FOCAL_AUTOLOAD": "0"}, marks=pytest.mark.slow),
    ],
)
def test_the_script_of_a_data_parallel_worker_knows_them(env: dict[str, str], tmp_path: Path) -> None:
    known = {**write(tmp_path, *ROWS), **env}
    script = python(f"import yolo_focal; yolo_focal.activate()\n{DDP}", tmp_path, **known).split("FILE ")[-1].strip()
    out = run(sys.executable, script, cwd=tmp_path, **known).stdout
    assert all(f"{file}.{name} " in out for name, (_, file) in ROWS.items())
    assert list((tmp_path / "runs/detect").glob("ddp*/weights/best.pt"))


SPAWN = """
import torch.multiprocessing as mp

def work(queue):
    from ultralytics import YOLO
    queue.put([type(layer).__name__ for layer in YOLO("own.yaml").model.model])

if __name__ == "__main__":
    context = mp.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=work, args=(queue,))
    process.start()
    print(queue.get(timeout=120))
    process.join()
"""


def test_a_spawned_worker_knows_them(tmp_path: Path) -> None:
    known = write(tmp_path, *ROWS)
    (tmp_path / "spawn.py").write_text(SPAWN)
    assert str([*ROWS])[1:-1] in run(sys.executable, "spawn.py", cwd=tmp_path, **known).stdout.splitlines()[-1]


RAY = """
import os, ray
from ray import tune
from ultralytics import YOLO
if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False)
    found = YOLO(os.path.abspath("own.yaml")).tune(use_ray=True, search_alg="random", iterations=2, gpu_per_trial=0,
                                  space={"lr0": tune.uniform(1e-3, 1e-2)},
                                  data="shapes.yaml", epochs=1, imgsz=64, batch=8, fraction=0.1, workers=0, plots=False)
    print("ERRORS", found.num_errors, "TRIALS", len(found))
"""


@pytest.mark.slow
def test_the_workers_of_ray_tune_know_them(tmp_path: Path) -> None:
    known = write(tmp_path, *ROWS)
    (tmp_path / "ray_tune.py").write_text(RAY)
    out = run(sys.executable, "ray_tune.py", cwd=tmp_path, RAY_AUTH_MODE="disabled", **known).stdout
    assert out.splitlines()[-1] == "ERRORS 0 TRIALS 2"
