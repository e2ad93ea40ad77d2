"""Rows that Ultralytics' own parser reads as those of one of its classes."""

from __future__ import annotations

import copy
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from blocks import write
from stock_files import FILES, build, of, rows, shapes
from torch import nn
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.nn.modules import C2f, C3k2, Detect, Segment

import yolo_focal
from yolo_focal import ConfigError
from yolo_focal.hook.rows import stock


@pytest.fixture
def subclasses(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Register an empty subclass of every class that Ultralytics' YAML files name, with the decorator alone."""
    module = types.ModuleType("subclasses")
    monkeypatch.setitem(sys.modules, "subclasses", module)
    names = {row[2] for config in FILES.values() for row in rows(config) if not row[2].startswith("nn.")}
    for name in names:
        cls = type(f"My{name}", (getattr(tasks, name),), {"__module__": "subclasses"})
        setattr(module, cls.__name__, yolo_focal.register(cls))
    return {name: f"My{name}" for name in names}


def check_subclasses(cases: list[tuple[str, str]], subclasses: dict[str, str]) -> None:
    for file, scale in cases:
        theirs, ours = build(FILES[file], scale), build(of(subclasses, FILES[file]), scale)
        assert shapes(ours[0]) == shapes(theirs[0]), (file, scale)
        assert ours[1] == theirs[1]
        for row, layer, other in zip(rows(FILES[file]), ours[0], theirs[0], strict=True):
            if row[2] in subclasses:
                assert layer.type == f"subclasses.My{row[2]}"
            if row[2] == "SPPF":  # the parser changes it after it is built
                assert type(layer.cv1.act) is type(other.cv1.act)


def scales(file: str) -> list[str]:
    return [*(FILES[file].get("scales") or [""])]


def has(file: str, name: str) -> bool:
    return any(row[2] == name for row in rows(FILES[file]))


CASES = [(file, scale) for file in FILES for scale in scales(file)]
FIRST = {next(file for file in FILES if has(file, row[2])) for config in FILES.values() for row in rows(config)}


def test_an_empty_subclass_of_every_stock_class_has_the_same_layers(subclasses: dict[str, str]) -> None:
    check_subclasses([(file, scales(file)[0]) for file in sorted(FIRST)], subclasses)


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, -1])
def test_an_empty_subclass_of_every_stock_class_has_the_same_layers_at_every_scale(
    order: int, subclasses: dict[str, str]
) -> None:
    check_subclasses(CASES[::order], subclasses)  # another order: nothing depends on what was built before


class K2(C3k2):
    """A tutorial's variant of C3k2."""


class PlainK2(nn.Module):
    """The same without a base of Ultralytics'."""

    def __init__(self, c1: int, c2: int, n: int = 1, c3k: bool = False, e: float = 0.5) -> None:
        super().__init__()
        self.inner = C3k2(c1, c2, n, c3k, e)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


class Refined(Detect):
    """A head as tutorials write it, which knows nothing of what a release adds."""

    def __init__(self, nc: int = 80, ch: Any = ()) -> None:
        super().__init__(nc, ch=ch)


class Copied(Detect):
    """A head that was copied with the whole body of Ultralytics' own."""

    legacy = False


class Ignorant(Detect):
    """A head that does not take its maps' channels."""

    def __init__(self, nc: int = 80) -> None:
        super().__init__(nc)


class Masks(Segment):
    """A head of another task."""


class Derived(Masks):
    """A subclass of a subclass."""


class Alone(nn.Module):
    """A head that is none of Ultralytics'."""

    def __init__(self, nc: int, ch: list[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(c, nc, 1) for c in ch)

    def forward(self, x: list[torch.Tensor]) -> list[torch.Tensor]:
        return [conv(y) for conv, y in zip(self.convs, x, strict=True)]


def parameters(layers: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layers.parameters())


@pytest.mark.parametrize(
    ("file", "scale", "name", "cls", "options"),
    [
        ("yolo11.yaml", "n", "C3k2", K2, {}),
        ("yolo11.yaml", "m", "C3k2", K2, {}),
        ("yolo11.yaml", "m", "C3k2", PlainK2, {"like": "C3k2"}),
        ("yolo11.yaml", "n", "C3k2", PlainK2, {"like": C3k2}),
        ("yolo11.yaml", "n", "Detect", Refined, {}),
        ("yolov8.yaml", "n", "Detect", Refined, {}),
        ("yolov8.yaml", "n", "Detect", Copied, {}),
        ("yolo11.yaml", "n", "Detect", Copied, {"like": "Detect"}),
        ("yolo11-seg.yaml", "n", "Segment", Masks, {}),
        ("yolo11-seg.yaml", "n", "Segment", Derived, {}),
    ],
)
def test_a_variant_is_read_as_the_class_that_it_is_a_variant_of(
    file: str, scale: str, name: str, cls: type, options: dict[str, Any]
) -> None:
    for before in ("yolov8.yaml", "yolo11.yaml"):  # either leaves its own mark on the class Detect
        build(FILES[before], "n")
        expected = parameters(build(FILES[file], scale)[0])
        build(FILES[before], "n")
        yolo_focal.register(cls, **options)
        assert parameters(build(of({name: cls.__name__}, FILES[file]), scale)[0]) == expected


def test_the_nearest_class_that_the_parser_knows_decides() -> None:
    def read_as(cls: type) -> type | None:
        yolo_focal.register(cls)
        return stock.read_as(cls.__name__, yolo_focal.hook.modules.registry.registered()[cls.__name__])

    assert [read_as(cls) for cls in (K2, Derived, PlainK2, Alone)] == [C3k2, Segment, None, None]


NO_LOSS = (
    "it is the model's last row, and Alone is no subclass of a head of Ultralytics, so there is no loss for it; "
    "inherit from the head of its task, such as ultralytics.nn.modules.Detect"
)
SIGNATURE = "(nc: 'int' = 80) -> 'None'"


@pytest.mark.parametrize(
    ("file", "cls", "options", "message"),
    [
        (
            "yolo26.yaml",
            Refined,
            {},
            "its constructor is (nc: 'int' = 80, ch: 'Any' = ()) -> 'None', and this model's Detect has {added}: add "
            "the argument {name}",
        ),
        (
            "yolov8.yaml",
            Ignorant,
            {},
            f"its constructor is {SIGNATURE}, and this model's Detect has ch=[64, 128, 256]: add the argument ch",
        ),
        (
            "yolov8.yaml",
            Alone,
            {"like": "Detect"},
            NO_LOSS,
        ),
        (
            "yolov8.yaml",
            Alone,
            {"channels": lambda channels, args, _: (channels[0], [*args, channels])},
            NO_LOSS,
        ),
        (
            "yolov8.yaml",
            K2,
            {"like": "Nothing"},
            "register K2: like='Nothing': Ultralytics has no module of that name; write the name of one as in a row, "
            'such as like="C2f"',
        ),
    ],
)
def test_a_head_that_cannot_be_is_refused(file: str, cls: type, options: dict[str, Any], message: str) -> None:
    yolo_focal.register(cls, **options)
    config = of({"Detect": cls.__name__}, FILES[file])
    added = {name: config[name] for name in ("reg_max", "end2end") if name in config}
    with pytest.raises(ConfigError) as caught:
        build(config, "n")
    said = [message.format(name=name, added=f"{name}={value}") for name, value in added.items()] or [message]
    where = "" if message.startswith("register") else f"own.yaml, row {len(rows(config)) - 1} ({cls.__name__}): "
    assert str(caught.value) in [f"{where}{line}" for line in said]


class MyClassifier(nn.Module):
    """A classifier of the user's own, whose loss is that of any logits."""

    def __init__(self, c1: int, c2: int) -> None:
        super().__init__()
        self.linear = nn.Linear(c1, c2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.mean((2, 3)))


def test_a_classifier_needs_no_base(tmp_path: Path) -> None:
    yolo_focal.register(MyClassifier, name="Classifier", like="Classify")
    file = write(tmp_path, [-1, 1, "Conv", [8]])
    file.write_text(file.read_text().replace("Classify", "Classifier"))
    assert YOLO(str(file)).model(torch.rand(1, 3, 64, 64)).shape == (1, 3)


def test_a_file_of_a_fork_with_longer_scales_builds_without_a_registered_module() -> None:
    config = copy.deepcopy(FILES["yolov8.yaml"])
    config["scales"] = {letter: [*numbers, 1.5] for letter, numbers in config["scales"].items()}
    assert shapes(build(config, "s")[0]) == shapes(build(FILES["yolov8.yaml"], "s")[0])


def test_the_class_of_a_fork_is_left_to_the_forks_own_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forked(C2f):
        """A class that the parser of a fork has under the name of one of this package's."""

    monkeypatch.setattr(tasks, "ODConv", Forked, raising=False)
    config = {"nc": 3, "backbone": [[-1, 1, "Conv", [16]], [-1, 1, "nn.Identity", []]], "head": []}
    config["backbone"][1][2] = "ODConv"
    with pytest.raises(TypeError):  # stock dispatch knows no such class, and gives it no channels
        build(config, "")
