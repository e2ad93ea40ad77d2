"""What only a GPU can show, in one table: the tests marked gpu, what the module and models cost, and a comparison.

python scripts/experiments/gpu.py [device=0] [data=my.yaml] [out=gpu-results]

Runs `pytest -m gpu`, `scripts/benchmark.py device=0` in three data types, both memory formats and compiled, and, with
data=, `yolo-focal compare` of SPPF, FocalModulation, C2Focal and FocalNet. Each step writes its lines to a file in
out=, beside the rows or the report that they are of, and is not run again by a later call: delete its file for that.
All of them are in gpu.md there, a Markdown table. device=cpu tries the same at small sizes.
"""

from __future__ import annotations

import csv
import json
import platform
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import product
from pathlib import Path

import torch
import ultralytics

REPO = Path(__file__).resolve().parents[2]
MODELS = "yolov8n.yaml,yolov8n-focal.yaml,yolov8n-c2focal.yaml,yolov8n-focalnet.yaml"
KINDS = [*product(("float16", "bfloat16", "float32"), ("contiguous", "channels_last"), ("eager",))]
KINDS += [(dtype, "channels_last", "compiled") for dtype in ("float16", "float32")]
# What device=cpu tries.
SMALL = {
    "pytest": ("-m", "not gpu and not slow", "-k", "norm"),
    "benchmark": ("seconds=0", "dims=8", "sizes=6", "batches=2", "models=yolov8n-focal.yaml", "pixels=32"),
    "compare": ("seeds=2", "epochs=1", "imgsz=64", "batch=8", "plots=False", "workers=0", "warmup_epochs=0"),
}
FULL = {
    "pytest": ("-m", "gpu"),
    "benchmark": ("seconds=1", "models=" + ",".join(f"yolov8{scale}-focal.yaml" for scale in "nsmlx")),
    "compare": ("seeds=5", "epochs=100", "imgsz=640"),
}
Lines = Iterator[str]


def main(device: str = "0", data: str = "", out: str = "gpu-results") -> int:
    """Run the steps that have no result yet, and write the table; return 1 if one failed."""
    if device != "cpu" and not (device.isdecimal() and int(device) < torch.cuda.device_count()):
        raise SystemExit(f"device={device}: there is no such GPU; write device=cpu to try this at small sizes")
    if data and Path(data).exists():
        data = str(Path(data).resolve())
    folder = Path(out).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    chosen = SMALL if device == "cpu" else FULL
    steps: dict[str, Callable[[], Lines]] = {"tests": partial(run_tests, folder, chosen["pytest"])}
    for kind in KINDS[:1] if device == "cpu" else KINDS:
        steps["-".join(kind)] = partial(run_benchmark, folder, device, kind, chosen["benchmark"])
    if data:
        steps["compare"] = partial(run_comparison, folder, device, data, chosen["compare"])
    written, failed = [], False
    for name, step in steps.items():
        file = folder / f"{name}.txt"
        print(f"{name}: {'already there' if file.exists() else 'running'}", flush=True)
        try:
            lines = file.read_text("utf-8").splitlines() if file.exists() else [*step()]
            file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        except Failed as error:
            lines, failed = [line(name, "", f"failed: {error}")], True
        written += lines
        table = [line("what", "how", "result"), "| --- | --- | --- |", environment(device), *written]
        (folder / "gpu.md").write_text("\n".join(table) + "\n", encoding="utf-8")
    print((folder / "gpu.md").read_text("utf-8"))
    return int(failed)


class Failed(Exception):  # noqa: N818
    """A step has failed, which does not stop the others."""


def environment(device: str) -> str:
    """Return the line that says what the results are of."""
    name = platform.machine() if device == "cpu" else torch.cuda.get_device_name(int(device))
    versions = f"torch {torch.__version__}, Ultralytics {ultralytics.__version__}, Python {platform.python_version()}"
    return line("machine", name, versions)


def command(folder: Path, log: str, *words: object, cwd: Path | None = None, accept: Iterable[int] = (0,)) -> None:
    """Run a command; what it prints goes to a file.

    Raises:
        Failed: Its exit status is none of those to accept.
    """
    with (folder / log).open("w") as opened:
        done = subprocess.run([*map(str, words)], cwd=cwd or folder, stdout=opened, stderr=subprocess.STDOUT)
    if done.returncode not in accept:
        raise Failed(f"exit status {done.returncode}, see {log}")


def run_tests(folder: Path, chosen: tuple[str, ...]) -> Lines:
    """Run the tests of tests/gpu; one that fails is a result."""
    report = folder / "tests.xml"
    pytest = (sys.executable, "-m", "pytest", "-n", "0", *chosen, f"--junitxml={report}", "tests/gpu")
    command(folder, "tests.log", *pytest, cwd=REPO, accept=(0, 1))
    (suite,) = ElementTree.parse(report).iter("testsuite")
    counts = ", ".join(f"{suite.get(key)} {key}" for key in ("tests", "failures", "errors", "skipped"))
    yield line("tests", "pytest " + " ".join(chosen), counts)
    for case in suite.iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            yield line("tests", str(case.get("name")), "failed")


def run_benchmark(folder: Path, device: str, kind: tuple[str, str, str], chosen: tuple[str, ...]) -> Lines:
    """Run scripts/benchmark.py; of each kind of rows, yield the geometric mean of the ratios."""
    dtype, layout, mode = kind
    save = folder / f"{'-'.join(kind)}.csv"
    part = "part=module,memory,model" if mode == "eager" else "part=module"
    given = (part, f"device={device}", f"dtype={dtype}", f"layout={layout}", f"mode={mode}", *chosen)
    command(folder, f"{save.stem}.log", sys.executable, REPO / "scripts" / "benchmark.py", *given, f"save={save}")
    with save.open() as file:
        rows = [*csv.DictReader(file)]
    several = {(row["what"], row["other"]) for row in rows if row["where"] == "geometric mean"}
    results: dict[str, list[str]] = {}
    for row in rows:
        if row["where"] == "geometric mean" or (row["what"], row["other"]) not in several:
            ratio = f"{row['other']} {float(row['ratio']):.2f} ({float(row['low']):.2f} to {float(row['high']):.2f})"
            results.setdefault(row["what"], []).append(ratio)
    for what, of_others in results.items():
        yield line(what, ", ".join(kind), "ratio to " + ", ".join(of_others))


def run_comparison(folder: Path, device: str, data: str, chosen: tuple[str, ...]) -> Lines:
    """Run `yolo-focal compare`, which goes on where it was interrupted; yield what it says in words."""
    compare = (sys.executable, "-c", "from yolo_focal.cli import main; main()", "compare", "name=gpu")
    models = MODELS if device != "cpu" else ",".join(MODELS.split(",")[:2])
    command(folder, "compare.log", *compare, f"data={data}", f"models={models}", f"device={device}", *chosen)
    summary = json.loads((folder / "runs" / "compare" / "gpu" / "summary.json").read_text("utf-8"))
    for words in summary["words"]:
        yield line("compare", Path(data).name, words)


def line(*cells: str) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


if __name__ == "__main__":
    sys.exit(main(**dict(argument.split("=", 1) for argument in sys.argv[1:])))
