"""FocalModulation by itself: its output, its shapes, and what a training does with a module."""

from __future__ import annotations

import copy
import io
import logging
import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from yolo_focal import FocalModulation
from yolo_focal.focal import FocalStage

CONFIGS = st.fixed_dictionaries(
    {
        "dim": st.integers(1, 24),
        "focal_level": st.integers(1, 4),
        "focal_window": st.sampled_from([1, 3, 5, 7]),
        "focal_factor": st.sampled_from([0, 2, 4]),
        "use_postln": st.booleans(),
        "bias": st.booleans(),
        "normalize_modulator": st.booleans(),
    }
)


def by_the_paper(module: FocalModulation, x: Tensor) -> Tensor:
    """Compute focal modulation as in section 3.2 of arXiv 2203.11926, for one image, `(H, W, C)`."""

    def linear(conv: torch.nn.Conv2d, x: Tensor) -> Tensor:
        return x @ conv.weight[:, :, 0, 0].T + (0 if conv.bias is None else conv.bias)

    def depthwise(weight: Tensor, x: Tensor) -> Tensor:
        height, width, _ = x.shape
        k = weight.shape[-1]
        padded = F.pad(x, (0, 0, k // 2, k // 2, k // 2, k // 2))
        return sum(padded[i : i + height, j : j + width] * weight[:, 0, i, j] for i in range(k) for j in range(k))  # type: ignore[return-value]

    dim, levels = module.dim, module.focal_level
    mixed = linear(module.proj_in, x)
    query, context, gates = mixed[..., :dim], mixed[..., dim : 2 * dim], mixed[..., 2 * dim :]
    total = torch.zeros_like(query)
    for level in range(levels):
        context = F.gelu(depthwise(module.focal_layers[level][0].weight, context))
        total = total + gates[..., level, None] * context
    total = total + gates[..., levels, None] * F.gelu(context.mean((0, 1)))
    if module.normalize_modulator:
        total = total / (levels + 1)
    out = query * linear(module.h, total)
    return linear(module.proj, out if module.ln is None else module.ln(out))


@settings(deadline=None, max_examples=60)
@given(CONFIGS, st.integers(0, 3), st.integers(1, 17), st.integers(1, 17), st.integers(0, 1000))
def test_equals_the_papers_definition(config: dict, batch: int, height: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    module = FocalModulation(**config).double()
    x = torch.randn(batch, config["dim"], height, width, dtype=torch.float64)
    out = module(x)
    assert out.shape == x.shape
    for image, result in zip(x, out, strict=True):
        expected = by_the_paper(module, image.permute(1, 2, 0)).permute(2, 0, 1)
        torch.testing.assert_close(result, expected, rtol=1e-10, atol=1e-12)


def test_defaults_are_the_papers() -> None:
    module = FocalModulation(16)
    assert [layer[0].kernel_size for layer in module.focal_layers] == [(7, 7), (9, 9)]
    assert list(module.state_dict()) == [
        "proj_in.weight",
        "proj_in.bias",
        "focal_layers.0.0.weight",
        "focal_layers.1.0.weight",
        "h.weight",
        "h.bias",
        "proj.weight",
        "proj.bias",
    ]


def test_dropout_is_applied_in_training_only() -> None:
    module = FocalModulation(8, 0.5)
    x = torch.randn(2, 8, 9, 9)
    dropped = (module(x) == 0).float().mean()
    assert 0.3 < dropped < 0.7
    assert not (module.eval()(x) == 0).any()


@pytest.mark.parametrize("copied", ["deepcopy", "pickle", "torch.save"])
def test_a_module_that_has_just_run_can_be_copied(copied: str) -> None:
    module = FocalModulation(8, use_postln=True)
    x = torch.randn(2, 8, 6, 5, requires_grad=True)
    out = module(x)
    if copied == "deepcopy":
        twin = copy.deepcopy(module)
    elif copied == "pickle":
        twin = pickle.loads(pickle.dumps(module))
    else:
        buffer = io.BytesIO()
        torch.save(module, buffer)
        buffer.seek(0)
        twin = torch.load(buffer, weights_only=False)
    torch.testing.assert_close(twin(x), out, rtol=0, atol=0)
    assert vars(twin).keys() == vars(module).keys() == vars(FocalModulation(8, use_postln=True)).keys()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dim": 0}, ValueError, "dim=0: write an integer of at least 1"),
        ({"focal_level": 0}, ValueError, "focal_level=0: write an integer of at least 1"),
        ({"focal_level": 2.0}, TypeError, "focal_level=2.0: write an integer of at least 1"),
        ({"focal_level": True}, TypeError, "focal_level=True: write an integer of at least 1"),
        ({"focal_window": 4}, ValueError, "focal_window=4: a kernel must be odd; write 3 or 5"),
        ({"focal_window": -3}, ValueError, "focal_window=-3: write an integer of at least 1"),
        ({"focal_window": "7"}, TypeError, "focal_window='7': write an integer of at least 1"),
        ({"focal_factor": -2}, ValueError, "focal_factor=-2: write an integer of at least 0"),
        (
            {"focal_factor": 1},
            ValueError,
            "focal_factor=1: a kernel must be odd, and the second level's would be 8; write 0 or 2",
        ),
        (
            {"proj_drop": 1.5},
            ValueError,
            "proj_drop=1.5: write a number from 0 up to but not including 1, such as 0.1",
        ),
        ({"proj_drop": float("nan")}, ValueError, "proj_drop=nan: write a number from 0 up to"),
        ({"use_postln": 1}, TypeError, "use_postln=1: write True or False"),
        ({"bias": "yes"}, TypeError, "bias='yes': write True or False"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        FocalModulation(**{"dim": 8, **arguments})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(8, 5, 5), ValueError, "expected an input of shape (B, 8, H, W), got (8, 5, 5)"),
        (torch.zeros(1, 5, 5, 8), ValueError, "expected an input of shape (B, 8, H, W), got (1, 5, 5, 8)"),
        (torch.zeros(1, 8, 5, 5, dtype=torch.int32), TypeError, "expected an input of a floating-point dtype, got"),
    ],
)
def test_wrong_inputs_are_named(x: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        FocalModulation(8)(x)
    assert str(caught.value).startswith(f"FocalModulation: {message}")


def test_an_odd_factor_is_right_where_there_is_one_level() -> None:
    assert FocalModulation(8, focal_level=1, focal_factor=1)(torch.randn(1, 8, 4, 4)).shape == (1, 8, 4, 4)


def test_weights_that_fit_in_part_are_named(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("ultralytics")
    monkeypatch.setattr(logger, "propagate", False)  # as Ultralytics sets it where it is imported
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO, "ultralytics"):
            source = FocalModulation(8).state_dict()
            FocalModulation(8).load_state_dict(source)
            assert caplog.messages == []
            fitting = {name: value for name, value in source.items() if not name.startswith("proj_in")}
            FocalModulation(8, focal_level=3).load_state_dict(fitting, strict=False)
    finally:
        logger.removeHandler(caplog.handler)
    assert caplog.messages == [
        "a module (FocalModulation) starts partly fresh: "
        "the weights have no fitting proj_in.weight, proj_in.bias, focal_layers.2.0.weight for it"
    ]


# Modules, an input and what they made of it, each saved when its class was defined in the file that is named.
SAVED = {
    "module_before_regrouping.torch": FocalModulation,  # yolo_focal/focal.py
    "focalnet_before_renaming.torch": FocalStage,  # yolo_focal/focal/net.py
}


@pytest.mark.parametrize(("file", "cls"), SAVED.items())
def test_a_checkpoint_made_before_the_class_moved_loads(file: str, cls: type[nn.Module]) -> None:
    saved = torch.load(Path(__file__).with_name(file), weights_only=False)
    assert cls in map(type, saved["module"].modules())
    torch.testing.assert_close(saved["module"](saved["input"]), saved["output"])


@pytest.mark.parametrize(("file", "cls"), SAVED.items())
def test_it_loads_in_restricted_mode(file: str, cls: type[nn.Module]) -> None:
    from yolo_focal.hook.modules import registry  # noqa: F401  importing it allows the class

    parts = [nn.Conv2d, nn.ModuleList, nn.Sequential, nn.GELU, nn.Dropout, nn.Identity]
    with torch.serialization.safe_globals(parts):
        saved = torch.load(Path(__file__).with_name(file), weights_only=True)
    assert cls in map(type, saved["module"].modules())


def test_a_pickle_names_the_class_by_its_public_path() -> None:
    assert FocalModulation.__module__ == "yolo_focal.focal"
    assert b"yolo_focal.focal.modulation" not in pickle.dumps(FocalModulation(8))
