"""Modules of the user's own: registered, refused with what to write instead, and known to every process."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from blocks import BLOCKS, SEES, write
from registrations import forget
from support import run
from torch import nn
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.nn.modules import Classify

import yolo_focal
from yolo_focal import ConfigError
from yolo_focal.collection import EMA
from yolo_focal.hook.holder import Holder
from yolo_focal.hook.modules import registry

BUILT_IN = list(registry.registered())


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from forget(monkeypatch)


class Keeps(nn.Module):
    """Keeps its channels."""

    def __init__(self, dim: int, k: int = 3, *, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, k, padding=k // 2, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class Scales(nn.Module):
    """Changes its channels."""

    def __init__(self, c1: int, c2: int, k: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, padding=k // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class Repeats(nn.Module):
    """Repeats itself."""

    def __init__(self, c1: int, c2: int, n: int, k: int = 1) -> None:
        super().__init__()
        self.convs = nn.Sequential(nn.Conv2d(c1, c2, 1), *(nn.Conv2d(c2, c2, k, padding=k // 2) for _ in range(n)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convs(x)


class Fuses(nn.Module):
    """Reads two layers."""

    def __init__(self, channels: list[int], c2: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(c1, c2, 1) for c1 in channels)

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack([conv(x) for conv, x in zip(self.convs, maps, strict=True)]).sum(0)


def build(file: Path) -> Any:
    """Build the model, run it, and return its layers."""
    model = YOLO(str(file)).model.eval()
    assert model(torch.rand(1, 3, 64, 64))[0].shape == (1, 3)
    return model.model


SCALED = {"scales": {"n": [0.5, 0.5, 64]}}


@pytest.mark.parametrize(
    ("cls", "options", "row", "top", "args"),
    [
        (Keeps, {}, [-1, 1, "Keeps", []], {}, {"conv": [24, 24, 3]}),
        (Keeps, {}, [-1, 1, "Keeps", [5]], {}, {"conv": [24, 24, 5]}),
        (Keeps, {}, [0, 1, "Keeps", [{"k": 1, "bias": False}]], {}, {"conv": [16, 16, 1]}),
        (Keeps, {"name": "Mine"}, [-2, 1, "Mine", []], {}, {"conv": [16, 16, 3]}),
        (Scales, {"like": "Conv"}, [-1, 1, "Scales", [40]], {}, {"conv": [24, 40, 1]}),
        (Scales, {"like": "Conv"}, [-1, 1, "Scales", [40, 3]], SCALED, {"conv": [16, 24, 3]}),
        (Scales, {"like": "Conv"}, [-1, 1, "Scales", [512]], SCALED, {"conv": [16, 32, 1]}),
        (Scales, {"like": tasks.Conv}, [-1, 1, "Scales", [40, {"k": 3}]], {}, {"conv": [24, 40, 3]}),
        (Keeps, {"like": "nn.Identity"}, [-1, 1, "Keeps", [24]], {}, {"conv": [24, 24, 3]}),
        (nn.Conv2d, {"name": "Plain", "like": "Conv"}, [-1, 1, "Plain", [40, 1]], {}, {"": [24, 40, 1]}),
    ],
)
def test_a_registered_module_builds(
    cls: type, options: dict[str, Any], row: list[Any], top: dict[str, Any], args: dict[str, list[int]], tmp_path: Path
) -> None:
    assert yolo_focal.register(**options)(cls) is cls
    layer = build(write(tmp_path, row, **top))[2]
    assert type(layer) is cls
    ((name, (c1, c2, k)),) = args.items()
    conv = layer.get_submodule(name)
    assert (conv.in_channels, conv.out_channels, conv.kernel_size[0]) == (c1, c2, k)


def test_repeats_go_to_the_constructor_or_stack_the_module(tmp_path: Path) -> None:
    yolo_focal.register(Repeats, like="C2f")
    yolo_focal.register(Keeps)
    once = build(write(tmp_path, [-1, 6, "Repeats", [40, 3]], **SCALED))[2]
    assert type(once) is Repeats and len(once.convs) == 1 + 3  # the scale's depth is 0.5
    stacked = build(write(tmp_path, [-1, 6, "Keeps", []], **SCALED))[2]
    assert [type(layer) for layer in stacked] == [Keeps] * 3


def test_a_rule_of_ones_own_reads_several_layers(tmp_path: Path) -> None:
    def rule(channels: list[int], args: list[Any], scaling: yolo_focal.Scaling) -> tuple[int, list[Any]]:
        c2 = scaling.channels(args[0])
        return c2, [channels, c2]

    yolo_focal.register(Fuses, channels=rule)
    layer = build(write(tmp_path, [[0, -1], 1, "Fuses", [40]], **SCALED))[2]
    assert [(conv.in_channels, conv.out_channels) for conv in layer.convs] == [(8, 24), (16, 24)]


def factory(dim: int) -> int:
    """Return no module."""
    return dim


def rule_that(returns: object) -> Any:
    """Make a channel rule that returns or raises something."""

    def rule(*_: object) -> object:
        if isinstance(returns, Exception):
            raise returns
        return returns

    return rule


LINE = next(n for n, line in enumerate(Path(__file__).read_text("utf-8").splitlines(), 1) if "raise returns" in line)
TASKS = Path(tasks.__file__)
READS = "c1, c2 = ch[f], args[0]"
LINE_OF_READS = next(n for n, line in enumerate(TASKS.read_text("utf-8").splitlines(), 1) if READS in line)
READS_CHANNELS = f"{TASKS}, line {LINE_OF_READS}: {READS}"
RULE = "return the row's channels, an integer, and the constructor's arguments, a list"


@pytest.mark.parametrize(
    ("cls", "options", "row", "message"),
    [
        (Keeps, {}, [[0, 1], 1, "Keeps", []], "from=[0, 1]: it reads one layer; write one index, such as -1"),
        (
            Fuses,
            {"channels": rule_that((8, []))},
            [[], 1, "Fuses", []],
            "from=[]: write the indices of the layers that it reads, such as [-1, 6]",
        ),
        (
            Fuses,
            {"channels": rule_that((8, []))},
            [[-1, "x"], 1, "Fuses", []],
            "from=[-1, 'x']: write layer indices",
        ),
        (Keeps, {}, [5, 1, "Keeps", []], "from=5: there is no such layer before it; write -1 for the previous one"),
        (Keeps, {}, [-1, 1, "Keeps", [3, 4]], "2 arguments [3, 4]: write at most 1, in the order k"),
        (Keeps, {}, [-1, 1, "Keeps", [{"kk": 3}]], "unknown argument kk=3: write k"),
        (Keeps, {}, [-1, 1, "Keeps", [3, {"k": 3}]], "k is given twice, as 3 and as 3: write it once"),
        (Keeps, {}, [-1, 0, "Keeps", []], "repeats=0: write an integer of at least 1"),
        (Keeps, {}, [-1, "two", "Keeps", []], "repeats='two': write an integer of at least 1"),
        (Keeps, {}, [-1, 1, "Keeps", 3], "arguments 3: write a list, such as []"),
        (Keeps, {}, [-1, 1, "Keeps"], "[-1, 1, 'Keeps']: write four parts, [from, repeats, module, arguments]"),
        (
            Scales,
            {"like": "Conv"},
            [-1, 1, "Scales", []],
            "arguments []: it is read as a row of Conv, which stops with IndexError: list index out of range "
            f"({READS_CHANNELS})",
        ),
        (
            Scales,
            {"like": "Conv"},
            [-1, 1, "Scales", [0.5]],
            "arguments [0.5]: it is read as a row of Conv, whose first argument is its output channels: write a "
            "number, such as [256]",
        ),
        (
            Scales,
            {"like": "Conv"},
            [-1, 1, "Scales", [40, 1, 2]],
            "it is called as Conv is, with (24, 40, 1, 2), and its constructor is (c1: 'int', c2: 'int', k: 'int' = 1) "
            "-> 'None': too many positional arguments",
        ),
        (Scales, {"like": "Conv"}, [-1, 1, "Scales", [40, {"kk": 3}]], "unknown argument kk=3: write k"),
        (factory, {"channels": "same"}, [-1, 1, "factory", []], "it returned 24; return a torch.nn.Module"),
        (
            Scales,
            {"like": "Conv"},
            [-1, 2, "Scales", [40]],
            "repeats=2: it has 24 input and 40 output channels and cannot be stacked; write 1",
        ),
        (Keeps, {"channels": rule_that(7)}, [-1, 1, "Keeps", []], f"its channel rule returned 7; {RULE}"),
        (Keeps, {"channels": rule_that((0, []))}, [-1, 1, "Keeps", []], f"its channel rule returned (0, []); {RULE}"),
        (
            Keeps,
            {"channels": rule_that(IndexError("out of range"))},
            [-1, 1, "Keeps", []],
            f"its channel rule raised IndexError: out of range ({__file__}, line {LINE}: raise returns)",
        ),
    ],
)
def test_a_wrong_row_is_refused(
    cls: type, options: dict[str, Any], row: list[Any], message: str, tmp_path: Path
) -> None:
    yolo_focal.register(**options)(cls)
    file = write(tmp_path, row)
    with pytest.raises(ConfigError) as caught:
        YOLO(str(file))
    assert str(caught.value) == f"{file}, row 2 ({row[2]}): {message}"


class Narrow(nn.Module):
    """Takes no arguments."""

    def __init__(self) -> None:
        super().__init__()


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (
            int,
            {},
            "register: <class 'int'> is no nn.Module class; register a class that inherits from torch.nn.Module, or "
            "a function that returns a module",
        ),
        (
            nn.ReLU(),
            {},
            "register: ReLU() is no nn.Module class; register a class that inherits from torch.nn.Module, or "
            "a function that returns a module",
        ),
        (Narrow, {}, "register Narrow: its constructor is () -> 'None', and it is called with (dim, ...)"),
        (
            Keeps,
            {"channels": "scaled"},
            "register Keeps: channels='scaled': write a function or \"same\"; or like= with the module of Ultralytics "
            'whose rows are read in the same way, such as like="Conv"',
        ),
        (
            Keeps,
            {"channels": "same", "like": "Conv"},
            "register Keeps: like='Conv' and channels='same': write one of them",
        ),
        (
            factory,
            {},
            "register factory: what a function is called with is not to be guessed; write channels= with a function, "
            'or like= with the module of Ultralytics whose rows are read in the same way, such as like="Conv"',
        ),
        (Keeps, {"like": 3}, 'register Keeps: like=3: write a class or its name in rows, such as like="C2f"'),
        (
            Keeps,
            {"name": "my keeps"},
            "register my keeps: name='my keeps': write a name of letters, digits and underscores",
        ),
        (
            Keeps,
            {"name": "SPPF"},
            "register SPPF: Ultralytics has that name already; write name= with another, or override=True",
        ),
        (
            Keeps,
            {"name": "FocalModulation"},
            "register FocalModulation: yolo_focal.focal.FocalModulation has that name already; "
            "write name= with another, or override=True for the rows of your own YAML files",
        ),
    ],
)
def test_a_wrong_registration_is_refused(cls: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        yolo_focal.register(cls, **options)
    assert str(caught.value) == message
    assert list(registry.registered()) == BUILT_IN


@pytest.mark.parametrize("name", ["EMA", "C2Focal"])
def test_a_module_of_the_users_own_replaces_one_of_this_package(name: str, tmp_path: Path) -> None:
    file = write(tmp_path, [-1, 1, name, []])
    assert type(build(file)[2]).__module__.startswith("yolo_focal.")
    yolo_focal.register(Keeps, name=name)
    assert type(build(file)[2]) is Keeps
    with pytest.raises(ConfigError) as caught:  # the user's own is not replaced silently
        yolo_focal.register(Scales, name=name, like="Conv")
    assert str(caught.value) == f"register {name}: {__name__}.Keeps has that name already; write name= with another"


@pytest.mark.slow
def test_a_child_process_replaces_it_too(tmp_path: Path) -> None:
    (tmp_path / "my_blocks.py").write_text(BLOCKS.replace("@yolo_focal.register", '@yolo_focal.register(name="EMA")'))
    write(tmp_path, [-1, 1, "EMA", []])
    code = f"""
import subprocess, sys, my_blocks
subprocess.run([sys.executable, "-c", {SEES!r}], check=True)
"""
    assert run(sys.executable, "-c", code, cwd=tmp_path).stdout.splitlines()[-1] == "Twice"


def test_a_module_of_ultralytics_is_preferred_to_one_of_this_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.nn import tasks

    monkeypatch.setattr(tasks, "EMA", nn.Identity, raising=False)  # as in a fork
    assert type(build(write(tmp_path, [-1, 1, "EMA", []]))[2]) is nn.Identity
    yolo_focal.register(EMA)  # it is ours, and changes nothing
    assert type(build(write(tmp_path, [-1, 1, "EMA", []]))[2]) is nn.Identity
    with pytest.raises(ConfigError) as caught:
        yolo_focal.register(Keeps, name="EMA")
    assert str(caught.value) == (
        "register EMA: Ultralytics has that name already; write name= with another, or override=True"
    )


def test_a_name_can_be_taken_from_ultralytics(tmp_path: Path) -> None:
    yolo_focal.register(Scales, name="SPPF", like="Conv", override=True)
    assert type(build(write(tmp_path, [-1, 1, "SPPF", [40]]))[2]) is Scales


@pytest.mark.parametrize("name", ["FocalStage", "Classifier"])
def test_a_module_of_the_users_own_takes_precedence_over_the_packages_of_that_name(name: str, tmp_path: Path) -> None:
    yolo_focal.register(Keeps, name=name)
    assert type(build(write(tmp_path, [-1, 1, name, []]))[2]) is Keeps
    with pytest.raises(ConfigError) as caught:
        yolo_focal.register(Scales, name=name)
    assert str(caught.value) == f"register {name}: {__name__}.Keeps has that name already; write name= with another"


def test_the_same_name_twice_is_refused_unless_it_is_the_same_class() -> None:
    yolo_focal.register(Keeps)
    again = type("Keeps", (Keeps,), {"__module__": Keeps.__module__, "__qualname__": "Keeps"})  # a file imported anew
    yolo_focal.register(again)
    assert registry.registered()["Keeps"].cls is again
    with pytest.raises(ConfigError) as caught:
        yolo_focal.register(Scales, name="Keeps")
    assert str(caught.value) == f"register Keeps: {__name__}.Keeps has that name already; write name= with another"


def test_an_unknown_name_says_what_is_registered_and_what_is_meant(tmp_path: Path) -> None:
    yolo_focal.register(Keeps)
    file = write(tmp_path, [-1, 1, "Keep", []])
    with pytest.raises(KeyError) as caught:
        YOLO(str(file))
    assert isinstance(caught.value, ConfigError)
    assert str(caught.value) == (
        f"{file}, row 2: there is no module called Keep; did you mean Keeps? (registered: "
        f"{', '.join([*BUILT_IN, 'Keeps'])}). A module of your own is registered by a file: "
        "YOLO_FOCAL_MODULES=my_blocks.py"
    )


class Head(Classify):
    """Uses a name that Ultralytics sets."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 4)
        self.f = channels


def test_a_head_that_would_be_held_is_refused(tmp_path: Path) -> None:
    yolo_focal.register(Head, channels="same")
    file = write(tmp_path, [-1, 1, "Head", []])
    with pytest.raises(ConfigError) as caught:
        YOLO(str(file))
    assert str(caught.value) == (
        f"{file}, row 2 (Head): Head has an attribute called f or i or np or type, which are Ultralytics' own on a "
        "head: rename it in the class"
    )


def test_a_class_inside_a_function_is_refused() -> None:
    class Local(nn.Module):
        def __init__(self, *_: int) -> None:
            super().__init__()

    with pytest.raises(ConfigError) as caught:
        yolo_focal.register(Local)
    assert str(caught.value) == (
        "register Local: it is defined inside the function test_a_class_inside_a_function_is_refused, and a checkpoint "
        "names a class by its file alone; define it at the top of the file"
    )


class Picky(nn.Module):
    """Raises what a constructor may raise."""

    def __init__(self, dim: int, kind: str) -> None:
        super().__init__()
        if kind == "bare":
            raise AssertionError
        if kind == "key":
            self.size = {"a": 1}["b"]
        self.conv = nn.Conv2d(dim, dim, 1, groups=7)


def line_of(text: str) -> str:
    """Return how a line of this file is named in a message."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    number = next(n for n, line in enumerate(lines, 1) if line.strip() == text)
    return f"({__file__}, line {number}: {text})"


@pytest.mark.parametrize(
    ("kind", "error", "line"),
    [
        ("bare", "AssertionError", "raise AssertionError"),
        ("key", "KeyError: 'b'", 'self.size = {"a": 1}["b"]'),
        (
            "torch",
            "ValueError: in_channels must be divisible by groups",
            "self.conv = nn.Conv2d(dim, dim, 1, groups=7)",
        ),
    ],
)
def test_a_constructors_error_is_shown_with_its_type_and_line(kind: str, error: str, line: str, tmp_path: Path) -> None:
    yolo_focal.register(Picky)
    file = write(tmp_path, [-1, 1, "Picky", [kind]])
    with pytest.raises(ConfigError) as caught:
        YOLO(str(file))
    assert str(caught.value) == f"{file}, row 2 (Picky): {error} {line_of(line)}"


def test_a_missing_argument_is_named(tmp_path: Path) -> None:
    yolo_focal.register(Picky)
    file = write(tmp_path, [-1, 1, "Picky", []])
    with pytest.raises(ConfigError) as caught:
        YOLO(str(file))
    assert str(caught.value) == (
        f"{file}, row 2 (Picky): Picky.__init__() missing 1 required positional argument: 'kind'"
    )


@pytest.mark.slow
def test_what_is_registered_in_main_gives_a_warning(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(BLOCKS)
    out = run(sys.executable, "train.py", cwd=tmp_path).stdout
    assert re.fullmatch(
        r".*train.py:5: UserWarning: register Twice: what is defined in __main__ is not available in child processes "
        r"or where a checkpoint is loaded; move it to a file of its own and name that in YOLO_FOCAL_MODULES\n"
        r"  @yolo_focal.register\n",
        out,
        re.DOTALL,
    )
    (tmp_path / "my_blocks.py").write_text(BLOCKS)
    (tmp_path / "train.py").write_text("import my_blocks")
    assert run(sys.executable, "train.py", cwd=tmp_path).stdout == ""


def test_a_registered_class_may_be_in_a_restricted_checkpoint() -> None:
    yolo_focal.register(Keeps)
    assert Keeps in torch.serialization.get_safe_globals()


class Attributes(nn.Module):
    """Has all four attributes that Ultralytics sets on a layer, one of each kind, and uses them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.f = nn.Conv2d(dim, dim, 1)
        self.i = nn.Parameter(torch.ones(dim, 1, 1))
        self.register_buffer("np", torch.ones(1))
        self.type = "scaled"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.f(x) * self.i * self.np * {"scaled": 2}[self.type]


class ClassAttribute(nn.Module):
    """Has such an attribute on its class."""

    type = 0.5

    def __init__(self, *_: int) -> None:
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.type


class Method(nn.Module):
    """Has such a method."""

    def __init__(self, *_: int) -> None:
        super().__init__()

    def f(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.f(x)


class Assigns(nn.Module):
    """Has methods that set such attributes on other objects, and has none itself."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        other = nn.Module()
        other.f = other.i = other.np = other.type = 1
        return self.conv(x)


@pytest.mark.parametrize("cls", [Attributes, ClassAttribute, Method])
def test_attributes_that_ultralytics_sets_too_keep_their_values(cls: type, tmp_path: Path) -> None:
    yolo_focal.register(cls)
    layer = build(write(tmp_path, [0, 1, cls.__name__, []]))[2]
    assert type(layer) is Holder and type(layer.module) is cls
    assert (layer.i, layer.f, layer.type) == (2, 0, f"{__name__}.{cls.__name__}")
    assert layer.np == sum(p.numel() for p in layer.parameters())
    x = torch.randn(1, 16, 4, 4)
    alone = cls(16)
    alone.load_state_dict(layer.module.state_dict())
    for _ in range(2):
        torch.testing.assert_close(layer(x), alone(x))


@pytest.mark.parametrize("cls", [Keeps, Assigns])
def test_other_modules_are_built_as_they_are(cls: type, tmp_path: Path) -> None:
    yolo_focal.register(cls)
    assert type(build(write(tmp_path, [-1, 1, cls.__name__, []]))[2]) is cls
    assert type(YOLO("yolov8n-focal.yaml").model.model[9]).__name__ == "FocalModulation"
