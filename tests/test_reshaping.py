"""What others do to modules: they trace them with torch.fx, and shrink their channels after they were built."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from yolo_focal import collection, focal

MODULES: dict[str, tuple[type[nn.Module], list[Any], dict[str, Any]]] = {
    "FocalModulation": (focal.FocalModulation, [16], {}),
    "FocalModulation, post-norm": (focal.FocalModulation, [16], {"use_postln": True, "normalize_modulator": True}),
    "C2Focal": (focal.C2Focal, [16], {}),
    "C2Focal, LayerNorm": (focal.C2Focal, [16, 2], {"norm": "layer"}),
    "C3k2Focal": (focal.C3k2Focal, [16, 24, 2], {}),
    "FocalNorm": (focal.FocalNorm, [16], {}),
    "FocalEmbed": (focal.FocalEmbed, [16, 24, 2], {}),
    "FocalEmbed, overlapping": (focal.FocalEmbed, [16, 24, 4, True], {}),
    "FocalStage": (focal.FocalStage, [16, 2], {"drop_path": 0.1, "layerscale_value": 1e-4}),
    "EMA": (collection.EMA, [16, 2], {}),
    "MSDA": (collection.MSDA, [16], {}),
    "CAFM": (collection.CAFM, [16], {}),
    "MSFN": (collection.MSFN, [16], {}),
    "ODConv": (collection.ODConv, [16, 24, 3, 2], {}),
    "DynamicConv": (collection.DynamicConv, [16, 24, 3, 2], {}),
    "C2fDynamic": (collection.C2fDynamic, [16, 24, 2, True], {}),
    "DySnakeConv": (collection.DySnakeConv, [16, 24], {}),
    "C2fSnake": (collection.C2fSnake, [16, 24, 2, True], {}),
}


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    cls, args, kwargs = MODULES[name]
    return cls(*args, **kwargs)


def test_every_module_is_here() -> None:
    inside_others = {"C2FocalBlock", "DropPath", "FocalBlock", "LayerScale", "Mlp", "ShortcutBottleneck"}
    public = {*collection.__all__, *focal.__all__} - inside_others - {"FocalNet"}  # stages in sequence
    assert {cls.__name__ for cls, _, _ in MODULES.values()} == public


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", MODULES)
def test_torch_fx_traces_it(name: str, training: bool) -> None:
    module = made(name).train(training)
    graph = torch.fx.symbolic_trace(module)
    for shape in [(2, 16, 9, 7), (3, 16, 8, 8)]:
        x = torch.randn(shape)
        outputs = []
        for function in (graph, module):
            torch.manual_seed(1)  # of what drop_path leaves out
            outputs.append(function(x))
        torch.testing.assert_close(*outputs)
    outputs[0].square().sum().backward()
    assert all(parameter.grad is not None for parameter in graph.parameters())


def shrink(module: nn.Module, small: nn.Module) -> None:
    """Put a smaller module's layers and parameters in a module's, as tools for pruning do; ours learn nothing of it."""
    for (name, part), (_, other) in zip([*module.named_modules()], [*small.named_modules()], strict=True):
        parent, _, child = name.rpartition(".")
        if type(part).__module__.startswith("torch.") and not list(part.children()):
            setattr(module.get_submodule(parent), child, other)
        elif isinstance(part, nn.LayerNorm):  # one of ours: tools know it for a LayerNorm
            part.normalized_shape = other.normalized_shape
        for kind, tensor in [*other.named_parameters(recurse=False), *other.named_buffers(recurse=False)]:
            setattr(part, kind, tensor)


@pytest.mark.parametrize("name", list(MODULES))
def test_shrunk_it_computes_as_one_that_was_built_small(name: str) -> None:
    cls, args, kwargs = MODULES[name]
    channels = [size // 2 if size in (16, 24) else size for size in args]
    module, small = made(name), cls(*channels, **kwargs)
    if isinstance(module, collection.MSDA):
        small.scale = module.scale  # a trained attention keeps its scale
    shrink(module, small)
    x = torch.randn(2, 8, 9, 7, requires_grad=True)
    outputs = []
    for each in (module, small):
        torch.manual_seed(1)
        outputs.append(each(x))
    torch.testing.assert_close(*outputs, rtol=0, atol=0)
    outputs[0].square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    with pytest.raises((ValueError, RuntimeError), match="8"):
        module(torch.randn(1, 16, 5, 5))


def test_query_and_context_may_lose_different_numbers_of_channels() -> None:
    """What torch-pruning 1.6 does. A channel that is left out is one that nobody reads."""
    module = made("FocalModulation")
    query, context = torch.tensor([0, 3, 4, 9, 15]), torch.tensor([1, 2, 3, 5, 8, 13, 14])
    x = torch.randn(2, 16, 9, 7)
    masks = [torch.zeros(16).index_fill(0, kept, 1)[:, None, None] for kept in (query, context)]
    with torch.no_grad():
        module.proj.weight.mul_(masks[0])
        module.h.weight.mul_(masks[1])
        expected = module(x)
        rows = torch.cat((query, 16 + context, torch.arange(32, 35)))
        for layer, inputs, outputs in (
            (module.proj_in, slice(None), rows),
            *((level[0], slice(None), context) for level in module.focal_layers),
            (module.h, context, query),
            (module.proj, query, slice(None)),
        ):
            layer.weight = nn.Parameter(layer.weight[outputs][:, inputs].clone())
            if layer.bias is not None:
                layer.bias = nn.Parameter(layer.bias[outputs].clone())
            layer.groups = min(layer.groups, len(context))
    out = module(x)
    torch.testing.assert_close(out, expected)
    out.sum().backward()
    assert module.focal_layers[0][0].weight.grad.shape == (7, 1, 7, 7)
