"""What a detector says of an image, by PyTorch, by the engines that run ONNX, by `yolo predict` and by our scripts."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
import ultralytics

PHOTOS = sorted((Path(ultralytics.__file__).parent / "assets").glob("*.jpg"))
CONF = 0.05


def blob(photo: Path) -> np.ndarray:
    return cv2.dnn.blobFromImage(cv2.imread(str(photo)), 1 / 255, (320, 320), swapRB=True)


def by_pytorch(checkpoint: Path, image: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    with torch.no_grad():
        model = ultralytics.YOLO(checkpoint).model.to(dtype).eval()
        return model(torch.from_numpy(image).to(dtype))[0].double().numpy()


def by_engine(engine: str, file: Path, image: np.ndarray) -> np.ndarray:
    if engine == "ort":
        return onnxruntime.InferenceSession(file).run(None, {"images": image})[0]
    network = cv2.dnn.readNetFromONNX(str(file))
    network.setInput(image)
    return network.forward()


def read(lines: str) -> list[tuple[str, float, np.ndarray]]:
    rows = [line.split() for line in lines.splitlines()]
    return [(row[0], float(row[1]), np.array(row[2:6], float)) for row in rows if len(row) == 6]


def by_yolo(model: Path, source: Path, **options: object) -> list[tuple[str, float, np.ndarray]]:
    result = ultralytics.YOLO(model, task="detect").predict(source, conf=CONF, imgsz=320, verbose=False, **options)[0]
    return [
        (result.names[int(cls)], float(score), corners)
        for *corners, score, cls in (np.array(box) for box in result.boxes.data.tolist())
    ]


def same(ours: list, theirs: list, pixels: float = 1) -> None:
    """Assert that both are the same boxes; those of equal score may stand in another order."""
    left = list(theirs)
    for name, score, corners in ours:
        found = [
            index
            for index, (their_name, their_score, their_corners) in enumerate(left)
            if name == their_name
            and score == pytest.approx(their_score, abs=2e-3)
            and abs(corners - their_corners).max() < pixels
        ]
        assert found, f"{name} {score} {corners} is not among {left}"
        left.pop(found[0])
    assert not left
