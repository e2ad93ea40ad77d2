"""Random registrations and rows: each builds a model that runs and has the right channels, or is refused."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from ultralytics.nn import tasks

import yolo_focal
from yolo_focal import ConfigError
from yolo_focal.hook import patch
from yolo_focal.hook.modules import registration, registry


def module(leading: int, options: int, several: bool) -> type[nn.Module]:
    """Make a class whose constructor takes `(dim)`, `(c1, c2)` or `(c1, c2, n)`, and then some options."""

    class Made(nn.Module):
        def __init__(self, *arguments: Any) -> None:
            super().__init__()
            c1, c2 = arguments[0], arguments[min(1, leading - 1)]
            self.c2 = c2
            self.convs = nn.ModuleList(nn.Conv2d(c, c2, 1) for c in (c1 if several else [c1]))
            self.n = arguments[2] if leading == 3 else 1

        def forward(self, x: Any) -> torch.Tensor:
            inputs = x if isinstance(x, list) else [x]
            return torch.stack([conv(tensor) for conv, tensor in zip(self.convs, inputs, strict=True)]).sum(0)

    names = [*("c1", "c2", "n")[:leading], *("alpha", "beta", "gamma")[:options]]
    defaults = ", ".join(names[:leading] + [f"{name}=1" for name in names[leading:]])
    namespace: dict[str, Any] = {"Made": Made}
    exec(  # a signature is what is drawn here
        f"class Random(Made):\n    def __init__(self, {defaults}):\n        Made.__init__(self, {', '.join(names)})",
        namespace,
    )
    made: type[nn.Module] = namespace["Random"]
    return made


def fuse(channels: Any, args: list[Any], scaling: yolo_focal.Scaling) -> tuple[int, list[Any]]:
    """Apply the rule of a row that reads several layers and has its output channels as the first argument."""
    several = channels if isinstance(channels, list) else [channels]
    return scaling.channels(args[0]), [several, scaling.channels(args[0]), *args[1:]]


KINDS: dict[str, dict[str, Any]] = {
    "same": {"leading": 1, "register": {}},
    "scaled": {"leading": 2, "register": {"like": "Conv"}},
    "repeats": {"leading": 3, "register": {"like": "C2f"}},
    "rule": {"leading": 2, "register": {"channels": fuse}},
}
scalars = (
    st.none() | st.booleans() | st.integers(-2, 300) | st.floats(-1, 2) | st.sampled_from(["nc", "x", "-1", "None"])
)
keywords = st.dictionaries(st.sampled_from(["alpha", "beta", "gamma", "c1", "delta"]), scalars, max_size=2)
args = st.tuples(st.lists(scalars, max_size=4), st.lists(keywords, max_size=1)).map(
    lambda parts: [*parts[0], *parts[1]]
)
sources = st.integers(-4, 4) | st.lists(st.integers(-3, 3) | st.sampled_from(["x"]), max_size=3) | scalars
repeats = st.integers(1, 4) | scalars
scales = st.none() | st.tuples(st.floats(0.1, 2), st.floats(0.05, 2), st.integers(1, 512)).map(list)


@st.composite
def cases(draw: Any) -> tuple[str, int, list[Any], list[float] | None]:
    """Draw a kind of module, its number of options, a row of it and a scale."""
    kind, options = draw(st.sampled_from([*KINDS])), draw(st.integers(0, 3))

    def mostly(right: Any, wild: Any) -> Any:
        return draw(right if draw(st.integers(0, 4)) else wild)

    source = mostly(st.integers(-2, 1) if kind != "rule" else st.lists(st.integers(-2, 1), min_size=1), sources)
    right_args = [] if kind == "same" else [draw(st.integers(1, 300) | st.just("nc"))]
    right_args += draw(st.lists(scalars, max_size=options))
    row = [source, mostly(st.just(1), repeats), "Random", mostly(st.just(right_args), args)]
    if draw(st.integers(0, 30)) == 0:
        row = row[:3] if draw(st.booleans()) else [*row[:3], draw(scalars)]
    return kind, options, row, draw(scales)


def check(case: tuple[str, int, list[Any], list[float] | None]) -> str:
    """Build a model with the row, run it, and compare the channels of all layers with what the rules say."""
    kind, options, row, scale = case
    made = KINDS[kind]
    cls = module(made["leading"], options, several=kind == "rule")
    registry._modules.pop("Random", None)
    yolo_focal.register(cls, name="Random", **made["register"])
    convs = [[-1, 1, "Conv", [c]] for c in (16, 24)]
    config = {"nc": 3, "yaml_file": "random.yaml", "backbone": [*convs, row], "head": [[-1, 1, "Conv", [8]]]}
    if scale is not None:
        config |= {"scales": {"n": scale}, "scale": "n"}
    try:
        layers, _ = tasks.parse_model(config, 3, verbose=False)
    except ConfigError as error:
        assert re.match(r"random\.yaml, row 2 \(Random\): .", str(error)), error
        return "refused"
    depth, width, most = scale or (1.0, 1.0, math.inf)
    channels = [tasks.make_divisible(min(c, most) * width, 8) for c in (16, 24)]
    c2 = 3 if row[3][:1] == ["nc"] else row[3][0] if row[3] else None
    if kind == "same":
        channels.append(channels[row[0]])
    else:
        channels.append(tasks.make_divisible(min(c2, most) * width, 8))
    outputs: list[torch.Tensor] = []
    x = torch.rand(1, 3, 4, 4)
    for layer in layers:
        read = layer.f if isinstance(layer.f, list) else [layer.f]
        inputs = [outputs[index] if outputs else x for index in read]
        x = layer.eval()(inputs if isinstance(layer.f, list) else inputs[0])
        outputs.append(x)
    assert [y.shape[1] for y in outputs[:3]] == channels
    times = max(round(row[1] * depth), 1) if row[1] > 1 else row[1]
    if kind == "repeats":
        assert layers[2].n == times
    else:
        assert (len(layers[2]) if times > 1 else 1) == times
    return "built"


@pytest.mark.parametrize("examples", [300, pytest.param(4_000, marks=pytest.mark.slow)])
def test_random_rows(examples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "_tell_children", lambda *_: None)
    patch.activate()
    outcomes: list[str] = []

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=[*HealthCheck])
    @given(cases())
    def run(case: tuple[str, int, list[Any], list[float] | None]) -> None:
        outcomes.append(check(case))

    try:
        run()
    finally:
        registry._modules.pop("Random", None)
    assert min(outcomes.count("built"), outcomes.count("refused")) > examples / 5
