"""Export a focal model and its stock twin to every format that runs here, run each file, and print a table.

python scripts/export_matrix.py model=best.pt twin=stock.pt data=my.yaml [formats=onnx,openvino] [variants=half,int8]
                                [imgsz=640] [rounds=30]

`model` and `twin` are trained checkpoints of a focal model and of the same model with SPPF. Each format that
Ultralytics lists for the CPU is tried in its variants (`variants=static` is the one without options). Both models of a
row run in a separate process, so that the effects of a runtime on its process and its start-up time do not reach other
rows. The columns:

runs        whether the focal model was exported and its file ran; otherwise the step that failed, the error or the
            missing package, and whether the stock model fails as well
difference  largest difference of a class score to PyTorch's over all anchors of the validation set's images, focal and
            stock; empty if `nms` is part of the graph, because then the outputs have another form
mAP         change of mAP50-95 against the same model in PyTorch, focal and stock
time        focal against stock, median over `rounds` images that alternate between the two, with the quartiles
MB          size of the focal model's file or folder
"""

from __future__ import annotations

import json
import os
import platform
import shutil
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

from yolo_focal.images import find, letterboxed

OPSETS = range(12, 21)
MINUTES = 15  # time limit of a row
# Packages that write or run the files, by their names in the package index.
PACKAGES = {
    *("onnx", "onnxruntime", "onnxslim", "openvino", "nncf", "coremltools", "coreai-torch", "tensorflow", "onnx2tf"),
    *("litert-torch", "ai-edge-litert", "ai-edge-quantizer", "paddlepaddle", "x2paddle", "mnn", "ncnn", "pnnx"),
    "executorch",
}
HEAD = ("format", "variant", "runs", "difference", "mAP", "time", "MB")


def main(
    model: str, twin: str, data: str, formats: str = "", variants: str = "", imgsz: str = "640", rounds: str = "30"
) -> None:
    """Print the table, each row as soon as it is measured."""
    table = export_formats()
    columns = (table[key] for key in ("Argument", "Format", "Arguments", "CPU"))
    all_formats = {name: rest for name, *rest in zip(*columns, strict=True)}
    cpu_formats = [name for name, (_, _, cpu) in all_formats.items() if cpu and name != "-"]
    names = formats.split(",") if formats else cpu_formats
    for name in names:
        if name not in all_formats:
            sys.exit(f"formats={formats}: there is no format {name}; write some of {','.join(cpu_formats)}")
    for argument, file in (("model", model), ("twin", twin)):
        if not Path(file).is_file():
            sys.exit(f"{argument}={file}: there is no such file; write a trained checkpoint, such as best.pt")
    # Absolute, because the exports run in other folders. A name that is not a file is one of Ultralytics' data sets.
    data = str(Path(data).resolve()) if Path(data).exists() else data
    common = {"data": data, "imgsz": int(imgsz), "rounds": int(rounds)}
    common.update(model=str(Path(model).resolve()), twin=str(Path(twin).resolve()))
    print(f"Python {platform.python_version()}, torch {torch.__version__}, Ultralytics {__version__}{installed()}\n")
    print("\n".join((row(HEAD), row(["---"] * len(HEAD)))), flush=True)
    for name in names:
        label, arguments, _ = all_formats[name]
        for variant, options in variants_of(name, arguments, data):
            if not variants or variant in variants.split(","):
                outcome = try_both({**common, "file_format": name, "options": options})
                print(row((label, variant, *cells(outcome))), flush=True)


def installed() -> str:
    """Return the names and versions of the installed packages that write or run the files."""
    versions = {distribution.metadata["Name"].lower(): distribution.version for distribution in distributions()}
    return "".join(f", {name} {versions[name]}" for name in sorted(PACKAGES & versions.keys()))


def variants_of(name: str, arguments: list[str], data: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the variants of a format: their names and their arguments of the exporter."""
    int8 = {"quantize": 8, "data": data} if "data" in arguments else {"quantize": 8}
    required = int8 if name in FP32_UNSUPPORTED_FORMATS else {}
    variants: list[tuple[str, dict[str, Any]]] = [] if required else [("static", {})]
    if "dynamic" in arguments:
        variants.append(("dynamic", {"dynamic": True}))
    if "batch" in arguments:
        variants.append(("batch 4", {"batch": 4}))
    if name in FP16_FORMATS:
        variants.append(("half", {"quantize": 16}))
    if name in INT8_FORMATS:
        variants.append(("int8", int8))
    if "nms" in arguments:
        variants.append(("nms", {"nms": True, "conf": 0.001, "iou": 0.7}))  # as in validation
    if name == "onnx":
        variants += [(f"opset {opset}", {"opset": opset}) for opset in OPSETS]
    return [(variant, {**required, **options}) for variant, options in variants]


def try_both(task: dict[str, Any]) -> dict[str, Any]:
    """Try both models in one process; if the process dies, try whether it also dies with the stock model alone."""
    outcome = run_in_process(task)
    if "lost" not in outcome:
        return outcome
    stock = run_in_process({**task, "model": task["twin"]})
    errors = {"error": outcome["lost"], "stock error": stock.get("lost") or stock.get("error")}
    return {key: error for key, error in errors.items() if error}


def run_in_process(task: dict[str, Any]) -> dict[str, Any]:
    """Run `measure` in a separate process and return its outcome, or `{"lost": reason}` if the process dies."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(__file__).resolve()
        command = [sys.executable, str(script), f"task={json.dumps(task)}"]
        env = {**os.environ, "YOLO_AUTOINSTALL": "false"}
        silent = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        try:
            process = subprocess.run(command, cwd=folder, env=env, timeout=60 * MINUTES, **silent)
        except subprocess.TimeoutExpired:
            return {"lost": f"not done after {MINUTES} minutes"}
        outcome = Path(folder, "outcome.json")
        return (
            json.loads(outcome.read_text())
            if outcome.exists()
            else {"lost": f"the process ended with {process.returncode}"}
        )


def measure(
    model: str, twin: str, data: str, imgsz: int, rounds: int, file_format: str, options: dict[str, Any]
) -> dict[str, Any]:
    """Export both models in one format and variant, run the files, and compare them with PyTorch and each other."""
    files = find(check_det_dataset(data)["val"])
    batch = options.get("batch", 1)
    # Contiguous, as in Ultralytics' predictor, because ExecuTorch ignores the strides.
    single = [image.contiguous() for images in letterboxed(files, imgsz) for image in images.split(1)]
    images = [torch.cat(single[start : start + batch]) for start in range(0, len(single) - batch + 1, batch)]
    # onnx2tf checks each operation on sample images, which it would download. Any images are suitable.
    small = torch.cat(list(islice(cycle(letterboxed(files, 128)), 20)))[:20]
    np.save("calibration_image_sample_data_20x128x128x3_float32.npy", small.permute(0, 2, 3, 1))
    outcome: dict[str, Any] = {}
    backends = []
    for prefix, checkpoint in (("", model), ("stock ", twin)):
        try:
            copy = shutil.copy(checkpoint, f"{prefix.strip() or 'focal'}.pt")
            failure = "not exported"
            exported = YOLO(copy).export(format=file_format, imgsz=imgsz, **options)
            failure = "exported, but does not run here"
            # rect=False, because a file with a static input size needs square images.
            common = {"data": data, "imgsz": imgsz, "batch": batch, "rect": False, "plots": False, "verbose": False}
            scores = [YOLO(file, task="detect").val(**common).box.map for file in (copy, exported)]
            backend = AutoBackend(exported)
            reference = AutoBackend(copy)
            differences = [difference(reference(image), backend(image)) for image in images]
            outcome[f"{prefix}difference"] = None if None in differences else max(differences)
            outcome[f"{prefix}mAP"] = scores[1] - scores[0]
            outcome[f"{prefix}MB"] = size(Path(exported)) / 1e6
            backends.append(backend)
        except ModuleNotFoundError as error:
            outcome[f"{prefix}error"] = f"{failure}: it needs the package {error.name}"
        except Exception as error:  # any error of an exporter or a runtime is reported in the table
            outcome[f"{prefix}error"] = f"{failure}: {type(error).__name__}: {' '.join(str(error).split())[:120]}"
    if len(backends) == 2:
        outcome["time"] = ratios(backends, images, rounds)
    return outcome


def difference(a: Any, b: Any) -> float | None:
    """Return the largest difference of the class scores in two raw outputs, or None if their shapes differ."""
    a, b = (output[0] if isinstance(output, (list, tuple)) else output for output in (a, b))
    # (B, 4 + classes, anchors). The boxes are not compared: they are in pixels or normalised, depending on the runtime.
    return float((a[:, 4:].float() - b[:, 4:].float()).abs().max()) if a.shape == b.shape else None


def size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def ratios(backends: list[Any], images: list[torch.Tensor], rounds: int) -> list[float]:
    """Time the focal and the stock model alternately and return the quartiles of their ratio."""
    seconds = np.zeros((rounds + 3, 2))
    for iteration, image in enumerate(islice(cycle(images), len(seconds))):
        for index in (0, 1) if iteration % 2 else (1, 0):
            start = time.perf_counter()
            backends[index](image)
            seconds[iteration, index] = time.perf_counter() - start
    return np.quantile(seconds[3:, 0] / seconds[3:, 1], (0.25, 0.5, 0.75)).tolist()  # without three warm-up iterations


def cells(outcome: dict[str, Any]) -> list[str]:
    """Return the cells of a row, from `runs` to `MB`."""
    if "error" in outcome:
        stock = f"is {outcome['stock error']}" if "stock error" in outcome else "**runs**"
        stock = "alike" if outcome.get("stock error") == outcome["error"] else stock
        return [f"{outcome['error']}; the stock model {stock}", "", "", "", ""]
    pairs = [[outcome.get(f"{prefix}{key}") for prefix in ("", "stock ")] for key in ("difference", "mAP")]
    differences, scores = ([value for value in pair if value is not None] for pair in pairs)
    times = outcome.get("time")
    return [
        "yes" if "stock error" not in outcome else f"yes; the stock model is {outcome['stock error']}",
        ", ".join(f"{value:.1e}" for value in differences),
        ", ".join(f"{value:+.3f}" for value in scores),
        f"{times[1]:.2f} ({times[0]:.2f} to {times[2]:.2f})" if times else "",
        f"{outcome['MB']:.1f}",
    ]


def row(values: Any) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(str(value).replace('|', '/') for value in values)} |"


if __name__ == "__main__":
    arguments = dict(argument.split("=", 1) for argument in sys.argv[1:])
    if "task" in arguments:
        Path("outcome.json").write_text(json.dumps(measure(**json.loads(arguments["task"]))))
    else:
        main(**arguments)
