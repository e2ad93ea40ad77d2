"""Export a focal model and its stock twin to every format that runs here, run each file, and print a table.

python scripts/export_matrix.py model=best.pt twin=stock.pt data=my.yaml [formats=onnx,openvino] [variants=half,int8]
                                [imgsz=640] [rounds=30]

`model` and `twin` are trained checkpoints of a focal model and of the same model with SPPF. Each format that
Ultralytics lists for the CPU is tried in the variants that it offers (`variants=static` is the one without options),
both models in one process of its own: what a runtime does to a process, and how long it takes to start, concerns no
other. The columns:

runs        whether the focal model was exported and its file ran; otherwise what failed, the error or the package that
            is missing, and whether the stock model fails as well
apart       largest difference of a class score to PyTorch's over all anchors of the validation set's images, focal and
            stock; where `nms` is part of the graph the outputs are of another kind
mAP         change of mAP50-95 against the same model in PyTorch, focal and stock
time        focal against stock, median over `rounds` images that alternate between the two, with the quartiles
MB          size of the focal model's file or folder
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import distributions
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics import YOLO, __version__
from ultralytics.data.utils import check_det_dataset
from ultralytics.engine.exporter import FP16_FORMATS, FP32_UNSUPPORTED_FORMATS, INT8_FORMATS, export_formats
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.utils import TQDM

from yolo_focal import pictures

OPSETS = range(12, 21)
MINUTES = 15  # for one row
# What makes or runs the files, as the package index names it.
PACKAGES = {
    *("onnx", "onnxruntime", "onnxslim", "openvino", "nncf", "coremltools", "coreai-torch", "tensorflow", "onnx2tf"),
    *("litert-torch", "ai-edge-litert", "ai-edge-quantizer", "paddlepaddle", "x2paddle", "mnn", "ncnn", "pnnx"),
    "executorch",
}
HEAD = ("format", "variant", "runs", "apart", "mAP", "time", "MB")


def main(
    model: str, twin: str, data: str, formats: str = "", variants: str = "", imgsz: str = "640", rounds: str = "30"
) -> None:
    """Print the table, a row as soon as it is there."""
    table = export_formats()
    known = dict(zip(table["Argument"], zip(table["Format"], table["Arguments"], table["CPU"])))
    here = [name for name, (_, _, cpu) in known.items() if cpu and name != "-"]
    names = formats.split(",") if formats else here
    for name in names:
        if name not in known:
            sys.exit(f"formats={formats}: there is no format {name}; write some of {','.join(here)}")
    for argument, file in (("model", model), ("twin", twin)):
        if not Path(file).is_file():
            sys.exit(f"{argument}={file}: there is no such file; write a trained checkpoint, such as best.pt")
    # The exports run in folders of their own. A name that is no file here is one of Ultralytics' data sets.
    data = str(Path(data).resolve()) if Path(data).exists() else data
    common = {"data": data, "imgsz": int(imgsz), "rounds": int(rounds)}
    common.update(model=str(Path(model).resolve()), twin=str(Path(twin).resolve()))
    tries = [
        (name, variant, options)
        for name in names
        for variant, options in offered(name, known[name][1], data)
        if not variants or variant in variants.split(",")
    ]
    given = " ".join(shlex.quote(argument) for argument in sys.argv[1:])
    print(f"```console\npython scripts/export_matrix.py {given}\n```\n")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, Ultralytics {__version__}{installed()}\n")
    print("\n".join((row(HEAD), row(["---"] * len(HEAD)))), flush=True)
    for name, variant, options in TQDM(tries, desc="Exports", file=sys.stderr):
        found = tried({**common, "format": name, "options": options})
        print(row((known[name][0], variant, *cells(found))), flush=True)


def installed() -> str:
    """Name what is there of the packages that make or run the files, and their versions."""
    there = {one.metadata["Name"].lower(): one.version for one in distributions()}
    return "".join(f", {name} {there[name]}" for name in sorted(PACKAGES & there.keys()))


def offered(name: str, arguments: list[str], data: str) -> list[tuple[str, dict[str, Any]]]:
    """List the variants of a format: their names and what they ask the exporter for."""
    int8 = {"quantize": 8, "data": data} if "data" in arguments else {"quantize": 8}
    always = int8 if name in FP32_UNSUPPORTED_FORMATS else {}
    found: list[tuple[str, dict[str, Any]]] = [] if always else [("static", {})]
    if "dynamic" in arguments:
        found.append(("dynamic", {"dynamic": True}))
    if "batch" in arguments:
        found.append(("batch 4", {"batch": 4}))
    if name in FP16_FORMATS:
        found.append(("half", {"quantize": 16}))
    if name in INT8_FORMATS:
        found.append(("int8", int8))
    if "nms" in arguments:
        found.append(("nms", {"nms": True, "conf": 0.001, "iou": 0.7}))  # as in validation
    if name == "onnx":
        found += [(f"opset {opset}", {"opset": opset}) for opset in OPSETS]
    return [(variant, {**always, **options}) for variant, options in found]


def tried(task: dict[str, Any]) -> dict[str, Any]:
    """Try both models in one process; where that process is lost, find out whether the stock model alone loses it."""
    found = in_a_process(task)
    if "lost" not in found:
        return found
    alone = in_a_process({**task, "model": task["twin"]})
    stock = alone.get("lost") or alone.get("error")
    return {"error": found["lost"], **({"stock error": stock} if stock else {})}


def in_a_process(task: dict[str, Any]) -> dict[str, Any]:
    """Run `one` in a process of its own and return what it found, or how the process was lost."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [sys.executable, str(Path(__file__).resolve()), f"task={json.dumps(task)}"],
                cwd=folder,
                env={**os.environ, "YOLO_AUTOINSTALL": "false"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=60 * MINUTES,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"lost": f"not done after {MINUTES} minutes"}
    reports = [line.partition(" ")[2] for line in done.stdout.splitlines() if line.startswith("REPORT ")]
    return json.loads(reports[-1]) if reports else {"lost": f"the process ended with {done.returncode}"}


def one(
    model: str,
    twin: str,
    data: str,
    imgsz: int,
    rounds: int,
    format: str,  # noqa: A002
    options: dict[str, Any],
) -> dict[str, Any]:
    """Export both models in one format and variant, run the files, and compare them with PyTorch and each other."""
    files = pictures.find(check_det_dataset(data)["val"])
    batch = options.get("batch", 1)
    # Contiguous, as a predictor's: ExecuTorch reads the memory and not the strides.
    single = [image.contiguous() for many in pictures.whole(files, imgsz) for image in many.split(1)]
    images = [torch.cat(single[start : start + batch]) for start in range(0, len(single) - batch + 1, batch)]
    # onnx2tf checks each operation on images that it would fetch from the network. Any do.
    small = torch.cat(list(islice(cycle(pictures.whole(files, 128)), 20)))[:20]
    np.save("calibration_image_sample_data_20x128x128x3_float32.npy", small.permute(0, 2, 3, 1))
    found: dict[str, Any] = {}
    loaded = []
    for prefix, checkpoint in (("", model), ("stock ", twin)):
        try:
            copy = shutil.copy(checkpoint, f"{prefix.strip() or 'focal'}.pt")
            failed = "not exported"
            exported = YOLO(copy).export(format=format, imgsz=imgsz, **options)
            failed = "exported, but does not run here"
            # rect=False: in the squares that a static file needs.
            common = {"data": data, "imgsz": imgsz, "batch": batch, "rect": False, "plots": False, "verbose": False}
            scores = [YOLO(file, task="detect").val(**common).box.map for file in (copy, exported)]
            backend = AutoBackend(exported)
            reference = AutoBackend(copy)
            apart = [difference(reference(image), backend(image)) for image in images]
            found[f"{prefix}apart"] = None if None in apart else max(apart)
            found[f"{prefix}mAP"] = scores[1] - scores[0]
            found[f"{prefix}MB"] = size(Path(exported)) / 1e6
            loaded.append(backend)
        except ModuleNotFoundError as error:
            found[f"{prefix}error"] = f"{failed}: it needs the package {error.name}"
        except Exception as error:  # whatever an exporter or a runtime raises is a cell of the table
            found[f"{prefix}error"] = f"{failed}: {type(error).__name__}: {' '.join(str(error).split())[:120]}"
    if len(loaded) == 2:
        found["time"] = ratios(loaded, images, rounds)
    return found


def difference(a: Any, b: Any) -> float | None:
    """Return the largest difference of the scores in two raw outputs, or None where they are of another kind."""
    a, b = (output[0] if isinstance(output, (list, tuple)) else output for output in (a, b))
    # (B, 4 + classes, anchors); the boxes are in pixels or in shares of the picture, as the runtime has them.
    return float((a[:, 4:].float() - b[:, 4:].float()).abs().max()) if a.shape == b.shape else None


def size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def ratios(loaded: list[Any], images: list[torch.Tensor], rounds: int) -> list[float]:
    """Time focal and stock in turn and return the quartiles of their ratio."""
    found = []
    for turn, image in enumerate(islice(cycle(images), rounds + 3)):
        seconds = []
        for backend in loaded if turn % 2 else loaded[::-1]:
            start = time.perf_counter()
            backend(image)
            seconds.append(time.perf_counter() - start)
        focal, stock = seconds if turn % 2 else seconds[::-1]
        found.append(focal / stock)
    return statistics.quantiles(found[3:])  # the first are warm-up


def cells(found: dict[str, Any]) -> list[str]:
    """Write what a process found."""
    if "error" in found:
        stock = f"is {found['stock error']}" if "stock error" in found else "**runs**"
        stock = "alike" if found.get("stock error") == found["error"] else stock
        return [f"{found['error']}; the stock model {stock}", "", "", "", ""]
    both = [[found.get(f"{prefix}{key}") for prefix in ("", "stock ")] for key in ("apart", "mAP")]
    apart, scores = (["" if value is None else value for value in values] for values in both)
    times = found.get("time")
    return [
        "yes" if "stock error" not in found else f"yes; the stock model is {found['stock error']}",
        ", ".join(f"{value:.1e}" for value in apart if value != ""),
        ", ".join(f"{value:+.3f}" for value in scores if value != ""),
        f"{times[1]:.2f} ({times[0]:.2f} to {times[2]:.2f})" if times else "",
        f"{found['MB']:.1f}",
    ]


def row(values: Any) -> str:
    """Write a row of a Markdown table."""
    return f"| {' | '.join(str(value).replace('|', '/') for value in values)} |"


if __name__ == "__main__":
    arguments = dict(argument.split("=", 1) for argument in sys.argv[1:])
    if "task" in arguments:
        print(f"REPORT {json.dumps(one(**json.loads(arguments['task'])))}")
    else:
        main(**arguments)
