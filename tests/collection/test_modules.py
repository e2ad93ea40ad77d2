"""What every module of the collection does beside its equations: precision, compilers, export, errors."""

from __future__ import annotations

import io
import pickle
import warnings
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from yolo_focal import collection
from yolo_focal.hook.modules import registry

ARGUMENTS: dict[str, list[Any]] = {
    "EMA": [16],
    "MSDA": [16],
    "CAFM": [16],
    "MSFN": [16],
    "ODConv": [16, 24, 3, 2],
    "DynamicConv": [16, 24, 3, 2],
    "C2fDynamic": [16, 24, 2, True],
    "DySnakeConv": [16, 24],
    "C2fSnake": [16, 24, 2, True],
}
NAMES = list(ARGUMENTS)


def made(name: str) -> nn.Module:
    """A module that has seen a batch, in evaluation mode."""
    torch.manual_seed(0)
    module: nn.Module = getattr(collection, name)(*ARGUMENTS[name])
    with torch.no_grad():
        module(torch.randn(4, 16, 9, 7))
    return module.eval()


def test_every_module_is_here_and_registered_under_its_name() -> None:
    assert set(NAMES) == set(collection.__all__)
    for name in NAMES:
        cls = getattr(collection, name)
        entry = registry.find(name)
        assert entry is not None and entry.cls is cls and registry.is_built_in(name)
        assert cls.__module__ == "yolo_focal.collection"  # what checkpoints name it by
        assert b"yolo_focal.collection" in pickle.dumps(cls)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (13, 6)], ids=str)
def test_a_training_step_on_one_sample_of_any_size(name: str, size: tuple[int, int]) -> None:
    module = made(name).train()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()  # torch refuses to normalise one value
    x = torch.randn(1, 16, *size, requires_grad=True)
    out = module(x)
    out.square().sum().backward()
    strides = -(-size[0] // 2), -(-size[1] // 2)
    channels = ARGUMENTS[name][1] if len(ARGUMENTS[name]) > 1 else 16
    assert out.shape == (1, channels, *(strides if ARGUMENTS[name][3:] == [2] else size))
    for tensor in (x, *module.parameters()):
        assert tensor.grad is not None and tensor.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_autocast_and_half_precision_stay_close(name: str, dtype: torch.dtype) -> None:
    module = made(name)
    x = torch.randn(2, 16, 9, 7, requires_grad=True)
    expected = module(x).detach()
    tolerance = 0.05 if dtype is torch.bfloat16 else 0.01
    with torch.autocast("cpu", dtype):
        out = module(x)
    out.float().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
    torch.testing.assert_close(out.float(), expected, rtol=tolerance, atol=tolerance)
    with torch.no_grad():
        out = module.to(dtype)(x.to(dtype))  # as `yolo val half=True` does
    assert out.dtype is dtype
    torch.testing.assert_close(out.float(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["MSDA", "CAFM", "EMA"])
def test_large_values_do_not_overflow_float16(name: str) -> None:
    module = made(name).half()
    with torch.no_grad():
        assert module(50 * torch.randn(1, 16, 40, 40).half()).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_channels_last_is_the_same(name: str) -> None:
    module = made(name)
    x = torch.randn(2, 16, 9, 7)
    with torch.no_grad():
        expected = module(x)
        out = module.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


def exported(module: nn.Module, dynamic: bool) -> onnxruntime.InferenceSession:
    """The ONNX file that Ultralytics' exporter would write."""
    axes = {0: "batch", 2: "height", 3: "width"}
    file = io.BytesIO()
    options: dict[str, Any] = {"dynamo": False} if "dynamo" in torch.onnx.export.__code__.co_varnames else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's, of the exporter that Ultralytics uses
        # A value would be recorded as a constant. Torch's own layers have such places.
        warnings.filterwarnings("error", category=torch.jit.TracerWarning, module="yolo_focal")
        torch.onnx.export(
            module,
            (torch.randn(1, 16, 10, 8),),
            file,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": axes, "y": axes} if dynamic else None,
            opset_version=17,
            **options,
        )
    return onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dynamic", [False, True])
def test_onnx_computes_the_same(name: str, dynamic: bool) -> None:
    module = made(name)
    session = exported(module, dynamic)
    for shape in [(1, 16, 10, 8), *([(3, 16, 7, 13), (2, 16, 1, 5)] if dynamic else [])]:
        x = torch.randn(shape)
        with torch.no_grad():
            expected = module(x).numpy()
        np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "backend"), [("EMA", "inductor"), *((name, "aot_eager") for name in NAMES)])
def test_compiled_as_one_graph_it_computes_the_same_forward_and_backward(name: str, backend: str) -> None:
    """The second backend generates no C++, which takes a compiler minutes, and traces the same graphs."""
    module = made(name)
    torch.compiler.reset()
    compiled = torch.compile(module, fullgraph=True, backend=backend)
    for batch in (2, 3):
        x = torch.randn(batch, 16, 9, 7, requires_grad=True)
        expected = module(x)
        (gradient,) = torch.autograd.grad(expected.square().sum(), x)
        out = compiled(x)
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(torch.autograd.grad(out.square().sum(), x)[0], gradient, rtol=1e-3, atol=1e-4)


INTEGER = "write an integer of at least 1"
WRONG = [
    ("EMA", [0], ValueError, f"dim=0: {INTEGER}"),
    ("EMA", [20], ValueError, "factor=8: 20 channels do not divide into 8 equal parts; write 10"),
    ("EMA", [16, 2.5], TypeError, f"factor=2.5: {INTEGER}"),
    ("MSDA", [20], ValueError, "heads=8: 20 channels do not divide into 8 equal parts; write 10"),
    ("MSDA", [16, 2], ValueError, "heads=2: 4 dilations need a multiple of 4 heads; write heads=4, or dilations of"),
    ("MSDA", [16, 8, 4], ValueError, "kernel=4: a kernel must be odd; write 3 or 5"),
    ("MSDA", [16, 8, 3, 2], TypeError, "dilations=2: write a list of integers of at least 1, such as [1, 2, 3, 4]"),
    ("MSDA", [16, 8, 3, [1, 0]], ValueError, f"dilations=0: {INTEGER}"),
    ("CAFM", [6], ValueError, "heads=4: 6 channels do not divide into 4 equal parts; write 3"),
    ("MSFN", [16, 0], ValueError, "expansion=0: write a number above 0, such as 2.66"),
    ("MSFN", [16, "2"], TypeError, "expansion='2': write a number above 0, such as 2.66"),
    ("MSFN", [4, 0.1], ValueError, "expansion=0.1: 4 channels would become none; write at least 0.25"),
    ("ODConv", [16, 24, 4], ValueError, "k=4: a kernel must be odd; write 3 or 5"),
    ("ODConv", [16, 24, 3, 0], ValueError, f"s=0: {INTEGER}"),
    ("ODConv", [16, 24, 3, 1, -1], ValueError, "reduction=-1: write a number above 0, such as 0.0625"),
    ("ODConv", [16, 24, 3, 1, 0.1, True], TypeError, f"kernels=True: {INTEGER}"),
    ("DynamicConv", [16, 24, 2], ValueError, "k=2: a kernel must be odd; write 1 or 3"),
    ("DynamicConv", [16, 24, 1, 1, 0], ValueError, f"experts=0: {INTEGER}"),
    ("C2fDynamic", [16, 25], ValueError, "c2=25: half of the channels pass the bottlenecks; write 24 or 26"),
    ("C2fDynamic", [16, 24, 0], ValueError, f"n=0: {INTEGER}"),
    ("C2fDynamic", [16, 24, 1, 3], TypeError, "shortcut=3: write True or False"),
    ("DySnakeConv", [16, 24, 1], ValueError, "k=1: write an integer of at least 3"),
    ("DySnakeConv", [16, 24, 6], ValueError, "k=6: a kernel must be odd; write 5 or 7"),
    ("C2fSnake", [16, 24, 1, True, 6], ValueError, "k=6: a kernel must be odd; write 5 or 7"),
]


@pytest.mark.parametrize(("name", "args", "error", "message"), WRONG, ids=[f"{w[0]}{w[1]}" for w in WRONG])
def test_wrong_arguments_are_named(name: str, args: list[Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        getattr(collection, name)(*args)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("C2f")])
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(16, 5, 5), ValueError, "expected an input of shape (B, 16, H, W), got (16, 5, 5)"),
        (torch.zeros(1, 8, 5, 5), ValueError, "expected an input of shape (B, 16, H, W), got (1, 8, 5, 5)"),
        (torch.zeros(1, 16, 5, 5, dtype=torch.int32), TypeError, "expected an input of a floating-point dtype, got"),
    ],
    ids=["three dimensions", "channels", "integers"],
)
def test_wrong_inputs_are_named(name: str, x: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        made(name)(x)
    assert str(caught.value).startswith(f"{name}: {message}")


def test_a_stock_c2f_hands_its_weights_to_the_snake() -> None:
    from ultralytics.nn.modules import C2f

    stock, snake = C2f(16, 24, 2, True).state_dict(), collection.C2fSnake(16, 24, 2, True).state_dict()
    fitting = {name for name, value in stock.items() if name in snake and snake[name].shape == value.shape}
    assert {name for name in stock if ".cv2." not in name} == fitting
