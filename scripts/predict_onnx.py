"""Run an exported detection model on an image, with neither torch nor ultralytics nor yolo_focal installed.

    python scripts/predict_onnx.py model=best.onnx source=image.jpg [engine=ort|opencv] [conf=0.25] [iou=0.7]
        [imgsz=640] [save=image-predicted.jpg]

Needs opencv-python and numpy, with onnxruntime for `engine=ort` and onnx for `engine=opencv`. Prints a line per box:
class, confidence, and left, top, right and bottom in pixels of the image. `imgsz` is for models exported with
`dynamic=True`; others have a fixed size.
"""

from __future__ import annotations

import ast
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

GRAY = 114  # Ultralytics' padding value
MAX_BOXES = 300
DEFAULTS = {"engine": "ort", "conf": 0.25, "iou": 0.7, "imgsz": 640}
USAGE = "python scripts/predict_onnx.py model=best.onnx source=image.jpg engine=ort"


class Model(NamedTuple):
    """An exported model: a function that runs it, and its metadata."""

    run: Callable[[np.ndarray], np.ndarray]  # (1, 3, H, W) to (1, 4 + classes, boxes)
    size: tuple[int, int]  # height and width of its input
    stride: int  # 0 if the input has exactly this size; otherwise its sides are multiples of the stride up to it
    names: dict[int, str]


def main(argv: list[str]) -> None:
    """Predict, print the boxes and save the image with them."""
    args = parse(argv)
    source = Path(args["source"])
    image = cv2.imread(str(source))
    if image is None:
        raise SystemExit(f"source={source}: no image can be read there; write the path of a JPEG, PNG or BMP file")
    load = {"ort": load_ort, "opencv": load_opencv}[args["engine"]]
    model = load(args["model"], args["imgsz"])
    boxes = predict(model, image, args["conf"], args["iou"])
    for cls, score, *corners in boxes:
        print(f"{model.names[int(cls)]} {score:.3f} " + " ".join(f"{v:.1f}" for v in corners))
    save = Path(args.get("save") or source.with_name(f"{source.stem}-predicted{source.suffix}"))
    if not cv2.imwrite(str(save), annotate(image, boxes, model.names)):
        raise SystemExit(f"save={save}: the image cannot be written there; write a path in a folder that exists")
    print(f"{len(boxes)} boxes, drawn in {save}")


def parse(argv: list[str]) -> dict[str, Any]:
    """Parse `key=value` arguments."""
    keys = {"model", "source", "save", *DEFAULTS}
    args: dict[str, Any] = dict(DEFAULTS)
    for item in argv:
        key, equals, value = item.partition("=")
        if not equals or key not in keys:
            known = ", ".join(sorted(keys))
            raise SystemExit(f"{item}: unknown argument; write key=value, key one of {known}: {USAGE}")
        try:
            args[key] = type(DEFAULTS[key])(value) if key in DEFAULTS else value
        except ValueError:
            raise SystemExit(f"{item}: write a number, such as {key}={DEFAULTS[key]}") from None
    for key in ("model", "source"):
        if key not in args:
            raise SystemExit(f"{key}= is missing: {USAGE}")
    if args["engine"] not in {"ort", "opencv"}:
        raise SystemExit(f"engine={args['engine']}: write engine=ort or engine=opencv")
    if not Path(args["model"]).is_file():
        raise SystemExit(f"model={args['model']}: no such file; make it with: yolo export model=best.pt format=onnx")
    return args


def load_ort(path: str, imgsz: int) -> Model:
    """Load a model with onnxruntime."""
    try:
        import onnxruntime
    except ImportError:
        raise SystemExit("engine=ort needs onnxruntime: pip install onnxruntime, or write engine=opencv") from None
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    name = session.get_inputs()[0].name

    def run(blob: np.ndarray) -> np.ndarray:
        return session.run(None, {name: blob})[0]

    return describe(run, metadata, session.get_inputs()[0].shape, imgsz)


def load_opencv(path: str, imgsz: int) -> Model:
    """Load a model with OpenCV's DNN module, and its metadata with onnx."""
    try:
        import onnx
    except ImportError:
        raise SystemExit("engine=opencv needs onnx: pip install onnx, or write engine=ort") from None
    network = cv2.dnn.readNetFromONNX(path)
    model = onnx.load(path)
    shape = [side.dim_value or side.dim_param for side in model.graph.input[0].type.tensor_type.shape.dim]

    def run(blob: np.ndarray) -> np.ndarray:
        network.setInput(blob)
        return network.forward()

    return describe(run, {entry.key: entry.value for entry in model.metadata_props}, shape, imgsz)


def describe(run: Callable[[np.ndarray], np.ndarray], metadata: dict[str, str], shape: list[Any], imgsz: int) -> Model:
    """Return a model from the function that runs it and its metadata: input size, stride and class names."""
    if "names" not in metadata or metadata.get("task", "detect") != "detect":
        raise SystemExit("this is no detection model exported by Ultralytics: yolo export model=best.pt format=onnx")
    names = ast.literal_eval(metadata["names"])
    fixed = all(isinstance(side, int) for side in shape[2:])
    size = tuple(shape[2:]) if fixed else (imgsz, imgsz)
    return Model(run, size, 0 if fixed else int(metadata.get("stride", 32)), names)


def predict(model: Model, image: np.ndarray, conf: float, iou: float) -> list[list[float]]:
    """Return boxes as class, confidence, left, top, right and bottom, the most confident first."""
    blob, scales, left, top = letterbox(image, model.size, model.stride)
    output = model.run(blob)[0]  # centre x and y, width, height, then a confidence per class
    scores = output[4:].max(axis=0)
    keep = scores > conf
    if not keep.any():
        return []
    classes, scores, (x, y, w, h) = output[4:].argmax(axis=0)[keep], scores[keep], output[:4, keep]
    corners = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1)
    kept = cv2.dnn.NMSBoxesBatched(np.stack([x - w / 2, y - h / 2, w, h], 1), scores, classes, conf, iou)[:MAX_BOXES]
    height, width = image.shape[:2]
    limits = np.array([width, height, width, height])
    corners = np.clip((corners - np.array([left, top, left, top])) / np.array([*scales, *scales]), 0, limits)
    return [[float(classes[k]), float(scores[k]), *map(float, corners[k])] for k in kept]


def letterbox(
    image: np.ndarray, size: tuple[int, int], stride: int
) -> tuple[np.ndarray, tuple[float, float], int, int]:
    """Resize an image to fit into `size`, keeping its aspect ratio, and pad it with gray as Ultralytics does.

    Args:
        image: `(H, W, 3)`, BGR.
        size: Height and width to fit into.
        stride: If not 0, pad only to multiples of it; otherwise to `size`.

    Returns:
        The input `(1, 3, H, W)`, the scales across and down (rounding a side to whole pixels makes them differ a
        little), and the padding at the left and at the top.
    """
    height, width = image.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    inner = max(round(width * scale), 1), max(round(height * scale), 1)
    if stride:
        size = math.ceil(inner[1] / stride) * stride, math.ceil(inner[0] / stride) * stride
    # Half of the padding on each side; if it is odd, the larger half is at the right and the bottom.
    left, top = round((size[1] - inner[0]) / 2 - 0.1), round((size[0] - inner[1]) / 2 - 0.1)
    if (width, height) != inner:
        image = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
    right, bottom = size[1] - inner[0] - left, size[0] - inner[1] - top
    padded = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(GRAY, GRAY, GRAY))
    return cv2.dnn.blobFromImage(padded, 1 / 255, swapRB=True), (inner[0] / width, inner[1] / height), left, top


def annotate(image: np.ndarray, boxes: list[list[float]], names: dict[int, str]) -> np.ndarray:
    """Return a copy of the image with the boxes drawn on it."""
    image = image.copy()
    line = max(round(sum(image.shape[:2]) / 2 * 0.003), 1)
    for cls, score, *corners in boxes:
        hue = int(cls) * 47 % 180
        color = tuple(map(int, cv2.cvtColor(np.uint8([[[hue, 220, 230]]]), cv2.COLOR_HSV2BGR)[0, 0]))
        left, top, right, bottom = (round(v) for v in corners)
        cv2.rectangle(image, (left, top), (right, bottom), color, line)
        text, size = f"{names[int(cls)]} {score:.2f}", max(min(image.shape[:2]) / 900, 0.35)
        place = left, max(top - 2 * line, 12)
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, color, line, cv2.LINE_AA)
    return image


if __name__ == "__main__":
    main(sys.argv[1:])
