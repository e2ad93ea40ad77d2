"""25 backbones of timm, each of another family: built, a step of a training, and the ONNX file against PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import ultralytics
from timm_backbones import BACKBONES
from ultralytics.cfg import get_cfg

from yolo_focal.twin.derive import DEFAULTS, derive


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_it_is_built_trained_and_exported(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    derive({**DEFAULTS, "model": "yolov8n-timm.yaml", "backbone": name, "save": "yolov8-own.yaml"})
    torch.manual_seed(0)
    model = ultralytics.YOLO("yolov8n-own.yaml")
    network = model.model.train()
    given, network.args = network.args, get_cfg()  # the loss reads them as a trainer's
    boxes = torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.3, 0.6, 0.2, 0.3]])
    batch = {"img": torch.rand(2, 3, 64, 96), "bboxes": boxes, "cls": torch.zeros(2, 1), "batch_idx": torch.arange(2.0)}
    loss, _ = network(batch)
    loss.sum().backward()
    gradients = [parameter.grad for parameter in network.model[0].parameters() if parameter.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[0].any()  # the first convolution's

    network.args = given
    network.eval()
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = network(images)[0]
    file = model.export(format="onnx", dynamic=True, imgsz=(128, 128))
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-2)
