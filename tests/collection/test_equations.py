"""Each module of the collection against its paper's equations, written plainly and computed in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from yolo_focal import collection

# Height and width: odd, even, one row, one column, one position, smaller than a window.
SIZES = [(5, 4), (1, 6), (3, 1), (1, 1)]


def at(x: Tensor, c: int, i: int, j: int) -> Tensor:
    """A value of a map `(C, H, W)`, zero outside of it."""
    inside = 0 <= c < x.shape[0] and 0 <= i < x.shape[1] and 0 <= j < x.shape[2]
    return x[c, i, j] if inside else x.new_zeros(())


def conv(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution of one map, tap by tap, with the layer's padding, dilation and groups."""
    weight, bias = layer.weight, layer.bias
    filters, per_group, kh, kw = weight.shape
    _, h, w = x.shape
    (ph, pw), (dh, dw) = layer.padding, layer.dilation
    of_group = filters // layer.groups
    rows = []
    for o in range(filters):
        total = torch.zeros(h, w, dtype=x.dtype)
        for c in range(per_group):
            source = x[o // of_group * per_group + c]
            for a in range(kh):
                for b in range(kw):
                    total = total + weight[o, c, a, b] * shifted(source, a * dh - ph, b * dw - pw)
        rows.append(total if bias is None else total + bias[o])
    return torch.stack(rows)


def shifted(x: Tensor, down: int, right: int) -> Tensor:
    """A map of one channel read `down` rows below and `right` columns beside each position; zero outside."""
    h, w = x.shape
    out = torch.zeros_like(x)
    if abs(down) < h and abs(right) < w:
        out[max(0, -down) : h - max(0, down), max(0, -right) : w - max(0, right)] = x[
            max(0, down) : h - max(0, -down), max(0, right) : w - max(0, -right)
        ]
    return out


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return layer.weight @ x + layer.bias


def silu_of_norm(module: Any, y: Tensor) -> Tensor:
    """SiLU of the batch norm with its running mean and variance."""
    bn = module.bn
    scale = bn.weight / (bn.running_var + bn.eps).sqrt()
    y = (y - bn.running_mean[:, None, None]) * scale[:, None, None] + bn.bias[:, None, None]
    return y * y.sigmoid()


def group_norm(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    out = []
    for group in x.chunk(norm.num_groups):
        out.append((group - group.mean()) / (group.var(correction=0) + norm.eps).sqrt())
    return torch.cat(out) * norm.weight[:, None, None] + norm.bias[:, None, None]


def ema(module: Any, x: Tensor) -> Tensor:
    out = []
    for group in x.chunk(module.groups):
        along_w = conv(module.conv1x1, group.mean(2, keepdim=True)).sigmoid()
        along_h = conv(module.conv1x1, group.mean(1, keepdim=True)).sigmoid()
        a = group_norm(module.norm, group * along_w * along_h)
        b = conv(module.conv3x3, group)
        weigh_b, weigh_a = a.mean((1, 2)).softmax(0), b.mean((1, 2)).softmax(0)
        channels = range(len(group))
        gate = sum(weigh_b[c] * b[c] + weigh_a[c] * a[c] for c in channels)
        out.append(group * torch.sigmoid(gate))
    return torch.cat(out)


def msda(module: Any, x: Tensor) -> Tensor:
    query, key, value = conv(module.qkv, x).chunk(3)
    heads = module.heads * len(module.dilations)
    d, reach = module.qkv.weight.shape[1] // heads, module.kernel // 2
    out = torch.zeros_like(x)
    for head in range(heads):
        r = module.dilations[head // module.heads]
        channels = range(head * d, (head + 1) * d)
        for i in range(x.shape[1]):
            for j in range(x.shape[2]):
                window = [(i + p * r, j + q * r) for p in range(-reach, reach + 1) for q in range(-reach, reach + 1)]
                scores = [sum(query[c, i, j] * at(key, c, *place) for c in channels) / math.sqrt(d) for place in window]
                weights = torch.stack(scores).softmax(0)
                for c in channels:
                    out[c, i, j] = sum(
                        weight * at(value, c, *place) for weight, place in zip(weights, window, strict=True)
                    )
    return conv(module.proj, out)


def cafm(module: Any, x: Tensor) -> Tensor:
    channels, (height, width) = len(x), x.shape[1:]
    volume = conv(module.local1x1, x)
    per_group = channels // module.heads
    volume = torch.stack([volume[c % module.heads * per_group + c // module.heads] for c in range(channels)])
    local = torch.zeros_like(x)
    steps = (-1, 0, 1)
    for c in range(channels):
        for a in steps:
            for i in range(height):
                for j in range(width):
                    for b in steps:
                        for d in steps:
                            weight = module.local3x3x3[0, a + 1, b + 1, d + 1]
                            local[c, i, j] += weight * at(volume, c + a, i + b, j + d)
    query, key, value = conv(module.qkv3x3, conv(module.qkv1x1, x)).flatten(1).chunk(3)
    attended = []
    for head in range(module.heads):
        q, k, v = (part[head * per_group : (head + 1) * per_group] for part in (query, key, value))
        q, k = (part / part.square().sum(1, keepdim=True).sqrt() for part in (q, k))
        attended.append((q @ k.T * module.temperature[head]).softmax(1) @ v)
    return local + conv(module.proj, torch.cat(attended).reshape(x.shape)) + x


def msfn(module: Any, x: Tensor) -> Tensor:
    first, second, third = conv(module.expand, x).chunk(3)
    first = conv(module.near, first)
    gelu = first * (1 + torch.erf(first / math.sqrt(2))) / 2
    return conv(module.proj, gelu * conv(module.dilated2, second) * conv(module.dilated3, third))


def strided(kernel: Tensor, x: Tensor, stride: int) -> Tensor:
    """A convolution with a kernel `(c2, c1, k, k)`, of which every `stride`-th row and column is kept."""
    k = kernel.shape[-1]
    layer = nn.Conv2d(kernel.shape[1], kernel.shape[0], k, padding=k // 2, bias=False)
    layer.weight = nn.Parameter(kernel.detach())
    return conv(layer, x)[:, ::stride, ::stride]


def odconv(module: Any, x: Tensor) -> Tensor:
    z = linear(module.fc, x.mean((1, 2))).clamp(min=0)
    places = (
        linear(module.spatial, z).sigmoid().reshape(*module.weight.shape[2:])
        if module.weight.shape[2] > 1
        else torch.ones(1, 1)
    )
    inputs, filters = linear(module.inputs, z).sigmoid(), linear(module.filters, z).sigmoid()
    numbers = linear(module.number, z).softmax(0)
    attention = filters[:, None, None, None] * inputs[None, :, None, None] * places[None, None]
    kernel = sum(number * attention * w for number, w in zip(numbers, module.weight.chunk(module.kernels), strict=True))
    return silu_of_norm(module, strided(kernel, x, module.stride))


def dynamic(module: Any, x: Tensor) -> Tensor:
    hidden = linear(module.route[0], x.mean((1, 2))).clamp(min=0)
    weights = linear(module.route[2], hidden).softmax(0)
    kernel = sum(weight * w for weight, w in zip(weights, module.weight.chunk(module.experts), strict=True))
    return silu_of_norm(module, strided(kernel, x, module.stride))


def between(x: Tensor, c: int, i: Tensor, j: Tensor) -> Tensor:
    """Read a map between its positions, bilinearly."""
    top, left = int(i.floor()), int(j.floor())
    down, right = i - top, j - left
    return (
        (1 - down) * (1 - right) * at(x, c, top, left)
        + (1 - down) * right * at(x, c, top, left + 1)
        + down * (1 - right) * at(x, c, top + 1, left)
        + down * right * at(x, c, top + 1, left + 1)
    )


def snake(module: Any, x: Tensor) -> Tensor:
    reach = module.reach
    offsets = conv(module.offset, x).tanh().unflatten(0, (4, reach))  # left, right, top, bottom; near to far
    filters = len(module.plain.weight)
    lines = torch.zeros(2, filters, *x.shape[1:], dtype=x.dtype)
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            for tap in range(-reach, reach + 1):
                sides = ((0, 1), (2, 3))
                aside = [sum(offsets[side[tap > 0], :, i, j][: abs(tap)], x.new_zeros(())) for side in sides]
                one = torch.ones((), dtype=x.dtype)
                places = ((i * one + aside[0], (j + tap) * one), ((i + tap) * one, j * one + aside[1]))
                for line, layer, place in zip(lines, (module.along_x, module.along_y), places, strict=True):
                    for c in range(len(x)):
                        line[:, i, j] += layer.weight[:, c, 0, tap + reach] * between(x, c, *place)
    lines = lines + torch.stack((module.along_x.bias, module.along_y.bias))[:, :, None, None]
    y = group_norm(module.norm, conv(module.join, torch.cat((conv(module.plain, x), *lines))))
    return y * y.sigmoid()


def cross_stage(block: Callable[[Any, Tensor], Tensor], second: Callable[[Any, Tensor], Tensor]) -> Callable[..., Any]:
    def c2f(module: Any, x: Tensor) -> Tensor:
        parts = list(block(module.cv1, x).chunk(2))
        for bottleneck in module.m:
            y = second(bottleneck.cv2, block(bottleneck.cv1, parts[-1]))
            parts.append(y + parts[-1] if module.shortcut else y)
        return block(module.cv2, torch.cat(parts))

    return c2f


def plain(module: Any, x: Tensor) -> Tensor:
    return silu_of_norm(module, conv(module.conv, x))


CASES: list[tuple[str, list[Any], Callable[[Any, Tensor], Tensor]]] = [
    ("EMA", [8], ema),
    ("EMA, 2 groups", [8, 2], ema),
    ("MSDA", [8], msda),
    ("MSDA, 2 dilations", [12, 4, 5, [1, 3]], msda),
    ("CAFM", [8], cafm),
    ("CAFM, 1 head", [3, 1], cafm),
    ("MSFN", [4], msfn),
    ("ODConv", [3, 5], odconv),
    ("ODConv, 1x1, stride 2", [4, 2, 1, 2, 1.0, 3], odconv),
    ("ODConv, 5x5, stride 2", [2, 3, 5, 2], odconv),
    ("DynamicConv", [3, 5], dynamic),
    ("DynamicConv, 3x3, stride 2", [3, 4, 3, 2, 2], dynamic),
    ("C2fDynamic", [3, 4, 2, True], cross_stage(dynamic, dynamic)),
    ("DySnakeConv", [2, 4, 5], snake),
    ("DySnakeConv, 6 channels", [1, 6, 3], snake),
    ("C2fSnake", [2, 4, 2, False, 3], cross_stage(plain, snake)),
]


def made(name: str, args: list[Any]) -> nn.Module:
    """A module in float64 with parameters and running statistics far from their initial values."""
    torch.manual_seed(0)
    module = getattr(collection, name.partition(",")[0])(*args).double().eval()
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.is_floating_point():
            tensor.data = torch.rand_like(tensor) + 0.5 if tensor.data.dim() == 1 else torch.randn_like(tensor)
    return module


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("name", "args", "equations"), CASES, ids=[c[0] for c in CASES])
def test_equals_its_equations(name: str, args: list[Any], equations: Any, size: tuple[int, int]) -> None:
    module = made(name, args)
    x = torch.randn(2, args[0], *size, dtype=torch.float64)
    with torch.no_grad():
        out = module(x)
        for image, result in zip(x, out, strict=True):
            torch.testing.assert_close(result, equations(module, image), rtol=1e-9, atol=1e-10)


def test_every_module_has_its_equations() -> None:
    assert {name.partition(",")[0] for name, *_ in CASES} == set(collection.__all__)
