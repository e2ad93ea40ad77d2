"""What only a GPU can show, in one table: the tests marked gpu, what the module and models cost, and a comparison.

python scripts/experiments/gpu.py [device=0] [data=my.yaml] [out=gpu-results]

Runs `pytest -m gpu`, `scripts/benchmark.py device=0` in three data types, both memory formats and compiled, and, with
data=, `yolo-focal compare` of SPPF, FocalModulation, C2Focal and FocalNet. Each step writes its lines to a file in
out=, beside the rows or the report that they are of, and is not run again by a later call: delete its file for that.
All of them are in gpu.md there, a Markdown table. device=cpu tries the same at small sizes.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path

import polars as pl
import torch
import ultralytics

REPO = Path(__file__).resolve().parents[2]
KINDS = [*product(("float16", "bfloat16", "float32"), ("contiguous", "channels_last"), ("eager",))]
KINDS += [(dtype, "channels_last", "compiled") for dtype in ("float16", "float32")]
# What device=cpu tries.
SMALL = {
    "tests": ("-m", "not gpu and not slow", "-k", "norm"),
    "benchmark": ("seconds=0", "dims=8", "sizes=6", "batches=2", "models=yolov8n-focal.yaml", "pixels=32"),
    "compare": ("seeds=2", "epochs=1", "imgsz=64", "batch=8", "plots=False", "workers=0", "warmup_epochs=0"),
}
FULL = {
    "tests": ("-m", "gpu"),
    "benchmark": ("seconds=1", "models=" + ",".join(f"yolov8{scale}-focal.yaml" for scale in "nsmlx")),
    "compare": ("seeds=5", "epochs=100", "imgsz=640"),
}
MODELS = ("yolov8n.yaml", "yolov8n-focal.yaml", "yolov8n-c2focal.yaml", "yolov8n-focalnet.yaml")


def main(device: str = "0", data: str = "", out: str = "gpu-results") -> int:
    """Run the steps that have no result yet, and write the table; return 1 if one failed."""
    if device != "cpu" and not (device.isdecimal() and int(device) < torch.cuda.device_count()):
        raise SystemExit(f"device={device}: there is no such GPU; write device=cpu to try this at small sizes")
    if data and Path(data).exists():
        data = str(Path(data).resolve())
    folder = Path(out).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    chosen, kinds, models = (SMALL, KINDS[:1], MODELS[:2]) if device == "cpu" else (FULL, KINDS, MODELS)
    steps: dict[str, Callable[[], Iterator[str]]] = {"tests": partial(run_tests, folder, chosen["tests"])}
    for kind in kinds:
        steps["-".join(kind)] = partial(run_benchmark, folder, kind, (f"device={device}", *chosen["benchmark"]))
    if data:
        given = (f"data={data}", f"models={','.join(models)}", f"device={device}", *chosen["compare"])
        steps["compare"] = partial(run_comparison, folder, given)
    machine = platform.machine() if device == "cpu" else torch.cuda.get_device_name(int(device))
    versions = f"torch {torch.__version__}, Ultralytics {ultralytics.__version__}, Python {platform.python_version()}"
    table, failed = [line("what", "how", "result"), "| --- | --- | --- |", line("machine", machine, versions)], False
    for name, step in steps.items():
        file = folder / f"{name}.txt"
        print(f"{name}: {'already there' if file.exists() else 'running'}", flush=True)
        try:
            lines = file.read_text("utf-8").splitlines() if file.exists() else [*step()]
            file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        except subprocess.CalledProcessError as error:
            lines, failed = [line(name, "", f"failed: exit status {error.returncode}, see {name}.log")], True
        table += lines
        (folder / "gpu.md").write_text("\n".join(table) + "\n", encoding="utf-8")
    print("\n".join(table))
    return int(failed)


def command(log: Path, *words: object, cwd: Path, check: bool = True) -> str:
    """Run a command in a folder; what it prints goes to a file, and is returned."""
    with log.open("w") as opened:
        subprocess.run([*map(str, words)], cwd=cwd, stdout=opened, stderr=subprocess.STDOUT, check=check)
    return log.read_text()


def run_tests(folder: Path, chosen: tuple[str, ...]) -> Iterator[str]:
    """Run the tests of tests/gpu; one that fails is a result."""
    pytest = (sys.executable, "-m", "pytest", "-n", "0", "-q", *chosen, "tests/gpu")
    *others, counts = command(folder / "tests.log", *pytest, cwd=REPO, check=False).splitlines()
    yield line("tests", "pytest " + " ".join(chosen), counts)
    for text in others:
        if text.startswith(("FAILED tests", "ERROR tests")):
            yield line("tests", "", text)


def run_benchmark(folder: Path, kind: tuple[str, str, str], given: tuple[str, ...]) -> Iterator[str]:
    """Run scripts/benchmark.py; of each kind of rows, yield the geometric mean of the ratios."""
    dtype, layout, mode = kind
    name = "-".join(kind)
    part = "part=module,model" if mode == "eager" else "part=module"
    words = (part, f"dtype={dtype}", f"layout={layout}", f"mode={mode}", f"save={name}.csv", *given)
    command(folder / f"{name}.log", sys.executable, REPO / "scripts" / "benchmark.py", *words, cwd=folder)
    # Where there are several rows of the same things, the last one is their mean.
    rows = pl.read_csv(folder / f"{name}.csv").unique(["what", "other"], keep="last", maintain_order=True)
    for (what,), of_what in rows.group_by("what", maintain_order=True):
        ratios = of_what.select("other", "ratio", "low", "high").rows()
        listed = (f"{other} {ratio:.2f} ({low:.2f} to {high:.2f})" for other, ratio, low, high in ratios)
        yield line(str(what), ", ".join(kind), "ratio to " + ", ".join(listed))


def run_comparison(folder: Path, given: tuple[str, ...]) -> Iterator[str]:
    """Run `yolo-focal compare`, which goes on where it was interrupted; yield what it says in words."""
    compare = (sys.executable, "-c", "from yolo_focal.cli import main; main()", "compare", "name=gpu")
    command(folder / "compare.log", *compare, *given, cwd=folder)
    summary = json.loads((folder / "runs" / "compare" / "gpu" / "summary.json").read_text("utf-8"))
    for words in summary["words"]:
        yield line("compare", Path(given[0].removeprefix("data=")).name, words)


def line(*cells: str) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


if __name__ == "__main__":
    sys.exit(main(**dict(argument.split("=", 1) for argument in sys.argv[1:])))
