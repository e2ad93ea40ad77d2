"""Processes that build a model from a bare interpreter: spawned ones, and those of data-parallel training."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from support import python, run

_SPAWN = """
import torch.multiprocessing as mp

def work(queue):
    from ultralytics import YOLO
    queue.put([layer.type.rpartition(".")[2] for layer in YOLO("{model}").model.model])

if __name__ == "__main__":
    context = mp.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=work, args=(queue,))
    process.start()
    print(queue.get(timeout=120))
    process.join()
"""


def built_by_a_spawned_worker(model: str, cwd: Path, **env: str) -> list[str]:
    """Return the names of a model's layers, as a process builds it that multiprocessing has spawned."""
    (cwd / "spawn.py").write_text(_SPAWN.format(model=model))
    names: list[str] = ast.literal_eval(run(sys.executable, "spawn.py", cwd=cwd, **env).stdout.splitlines()[-1])
    return names


_DATA_PARALLEL = """
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.dist import generate_ddp_file
args = dict(model="{model}", data="shapes.yaml", imgsz=64, batch=8, fraction=0.1, workers=0, epochs=1,
            plots=False, device="cpu", name="ddp")
print("FILE", generate_ddp_file(DetectionTrainer(overrides=args)))
"""


def train_by_the_data_parallel_script(model: str, cwd: Path, before: str = "", **env: str) -> str:
    """Run the script that Ultralytics starts its data-parallel workers with, which imports nothing of ours.

    Args:
        model: The model YAML.
        cwd: The working folder.
        before: Code that the process runs first that writes the script.
        env: Environment variables of both processes.

    Returns:
        What the script prints.
    """
    script = python(before + _DATA_PARALLEL.format(model=model), cwd, **env).split("FILE ")[-1].strip()
    out = run(sys.executable, script, cwd=cwd, **env).stdout
    assert list((cwd / "runs/detect").glob("ddp*/weights/best.pt"))
    return out
