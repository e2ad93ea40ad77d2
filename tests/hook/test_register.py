"""Modules of the user's own: registered, refused with what to write instead, and known to every process."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import REPO, python, run
from conftest import YOLO as COMMAND_YOLO
from torch import nn
from ultralytics import YOLO

import yolo_focal
from yolo_focal import ConfigError, plugins, registry


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what a test registers."""
    before = dict(registry._modules)
    monkeypatch.setenv(plugins.VARIABLE, "")
    monkeypatch.setenv(plugins._FOLDERS, "")
    yield
    registry._modules.clear()
    registry._modules.update(before)


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

    def __init__(self, widths: list[int], c2: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width, c2, 1) for width in widths)

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack([conv(x) for conv, x in zip(self.convs, maps)]).sum(0)


def write(folder: Path, row: list[Any], **top: Any) -> Path:
    """Write a model whose row 2 is `row`, behind rows of 16 and 24 channels, and whose row 3 reads it."""
    file = folder / "tiny.yaml"
    rows = [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [24, 3, 1]], row, [-1, 1, "Conv", [8]]]
    head = [[-1, 1, "Classify", ["nc"]]]
    file.write_text(yaml.safe_dump({"nc": 3, **top, "backbone": rows, "head": head}))
    return file


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
        (Scales, {"channels": "scaled"}, [-1, 1, "Scales", [40]], {}, {"conv": [24, 40, 1]}),
        (Scales, {"channels": "scaled"}, [-1, 1, "Scales", [40, 3]], SCALED, {"conv": [16, 24, 3]}),
        (Scales, {"channels": "scaled"}, [-1, 1, "Scales", [512]], SCALED, {"conv": [16, 32, 1]}),
        (Scales, {"channels": "scaled"}, [-1, 1, "Scales", ["nc"]], SCALED, {"conv": [16, 3, 1]}),
        (nn.Conv2d, {"name": "Plain", "channels": "scaled"}, [-1, 1, "Plain", [40, 1]], {}, {"": [24, 40, 1]}),
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
    yolo_focal.register(Repeats, channels="scaled", repeats=True)
    yolo_focal.register(Keeps)
    once = build(write(tmp_path, [-1, 6, "Repeats", [40, 3]], **SCALED))[2]
    assert type(once) is Repeats and len(once.convs) == 1 + 3  # the scale's depth is 0.5
    stacked = build(write(tmp_path, [-1, 6, "Keeps", []], **SCALED))[2]
    assert [type(one) for one in stacked] == [Keeps] * 3


def test_a_rule_of_ones_own_reads_several_layers(tmp_path: Path) -> None:
    def rule(channels: list[int], args: list[Any], scaling: yolo_focal.Scaling) -> tuple[int, list[Any]]:
        c2 = scaling.channels(args[0])
        return c2, [channels, c2]

    yolo_focal.register(Fuses, channels=rule)
    layer = build(write(tmp_path, [[0, -1], 1, "Fuses", [40]], **SCALED))[2]
    assert [(conv.in_channels, conv.out_channels) for conv in layer.convs] == [(8, 24), (16, 24)]


def attribute(name: str, kind: str) -> type[nn.Module]:
    """Make a module that has something by a name."""

    def __init__(self: Any, dim: int) -> None:  # noqa: N807
        nn.Module.__init__(self)
        if kind == "buffer":
            self.register_buffer(name, torch.ones(dim))
        else:
            setattr(self, name, nn.Identity() if kind == "module" else nn.Parameter(torch.ones(dim)))

    return type("Bad", (nn.Module,), {"__init__": __init__})


def rule_that(returns: object) -> Any:
    """Make a channel rule that returns or raises something."""

    def rule(*_: object) -> object:
        if isinstance(returns, Exception):
            raise returns
        return returns

    return rule


RULE = "return the row's channels, a whole number, and the constructor's arguments, a list"
RESERVED = "and Ultralytics sets i, f, type, np on every layer; give it another name"


@pytest.mark.parametrize(
    ("cls", "options", "row", "message"),
    [
        (Keeps, {}, [[0, 1], 1, "Keeps", []], "from=[0, 1]: it reads one layer; write one number, such as -1"),
        (
            Fuses,
            {"channels": rule_that((8, []))},
            [[], 1, "Fuses", []],
            "from=[]: write the numbers of the layers that it reads, such as [-1, 6]",
        ),
        (
            Fuses,
            {"channels": rule_that((8, []))},
            [[-1, "x"], 1, "Fuses", []],
            "from=[-1, 'x']: write numbers of layers",
        ),
        (Keeps, {}, [5, 1, "Keeps", []], "from=5: there is no such layer before it; write -1 for the previous one"),
        (Keeps, {}, [-1, 1, "Keeps", [3, 4]], "2 arguments [3, 4]: write at most 1, in the order k"),
        (Keeps, {}, [-1, 1, "Keeps", [{"kk": 3}]], "unknown argument kk=3: write k"),
        (Keeps, {}, [-1, 1, "Keeps", [3, {"k": 3}]], "k is given twice, as 3 and as 3: write it once"),
        (Keeps, {}, [-1, 0, "Keeps", []], "repeats=0: write a whole number from 1 on"),
        (Keeps, {}, [-1, "two", "Keeps", []], "repeats='two': write a whole number from 1 on"),
        (Keeps, {}, [-1, 1, "Keeps", 3], "arguments 3: write a list, such as []"),
        (Keeps, {}, [-1, 1, "Keeps"], "[-1, 1, 'Keeps']: write four parts, [from, repeats, module, arguments]"),
        (Scales, {"channels": "scaled"}, [-1, 1, "Scales", []], "arguments []: write its width first, such as [256]"),
        (
            Scales,
            {"channels": "scaled"},
            [-1, 1, "Scales", [0.5]],
            "arguments [0.5]: write its width first, such as [256]",
        ),
        (
            Scales,
            {"channels": "scaled"},
            [-1, 2, "Scales", [40]],
            "repeats=2: it makes 40 channels of 24 and cannot follow itself; write 1",
        ),
        (attribute("f", "module"), {}, [-1, 1, "Bad", []], f"it has a module called f, {RESERVED}"),
        (attribute("np", "parameter"), {}, [-1, 1, "Bad", []], f"it has a parameter called np, {RESERVED}"),
        (attribute("type", "module"), {}, [-1, 1, "Bad", []], f"it has a module called type, {RESERVED}"),
        (attribute("i", "buffer"), {}, [-1, 1, "Bad", []], f"it has a buffer called i, {RESERVED}"),
        (Keeps, {"channels": rule_that(7)}, [-1, 1, "Keeps", []], f"its channel rule returned 7; {RULE}"),
        (Keeps, {"channels": rule_that((0, []))}, [-1, 1, "Keeps", []], f"its channel rule returned (0, []); {RULE}"),
        (
            Keeps,
            {"channels": rule_that(IndexError("out of range"))},
            [-1, 1, "Keeps", []],
            "its channel rule raised IndexError('out of range')",
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
            "register: <class 'int'> is no nn.Module class; register a class that inherits from torch.nn.Module",
        ),
        (
            nn.ReLU(),
            {},
            "register: ReLU() is no nn.Module class; register a class that inherits from torch.nn.Module",
        ),
        (Narrow, {}, "register Narrow: its constructor is () -> 'None', and it is called with (dim, ...)"),
        (
            Narrow,
            {"channels": "scaled"},
            "register Narrow: its constructor is () -> 'None', and it is called with (c1, c2, ...)",
        ),
        (
            Narrow,
            {"channels": "scaled", "repeats": True},
            "register Narrow: its constructor is () -> 'None', and it is called with (c1, c2, n, ...)",
        ),
        (Keeps, {"channels": "wide"}, 'register Keeps: channels=\'wide\': write "same", "scaled" or a function'),
        (
            Keeps,
            {"repeats": True},
            'register Keeps: repeats=True goes with channels="scaled", whose constructor is (c1, c2, n, *args)',
        ),
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
            "write name= with another",
        ),
    ],
)
def test_a_wrong_registration_is_refused(cls: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        yolo_focal.register(cls, **options)
    assert str(caught.value) == message
    assert list(registry.registered()) == ["FocalModulation"]


def test_a_name_can_be_taken_from_ultralytics(tmp_path: Path) -> None:
    yolo_focal.register(Scales, name="SPPF", channels="scaled", override=True)
    assert type(build(write(tmp_path, [-1, 1, "SPPF", [40]]))[2]) is Scales


def test_the_same_name_twice_is_refused_unless_it_is_the_same_class() -> None:
    yolo_focal.register(Keeps)
    again = type("Keeps", (Keeps,), {"__module__": Keeps.__module__, "__qualname__": "Keeps"})  # a file imported anew
    yolo_focal.register(again)
    assert registry.registered()["Keeps"].cls is again
    with pytest.raises(ConfigError) as caught:
        yolo_focal.register(Scales, name="Keeps")
    assert str(caught.value) == f"register Keeps: {__name__}.Keeps has that name already; write name= with another"


def test_an_unknown_name_says_what_is_registered(tmp_path: Path) -> None:
    yolo_focal.register(Keeps)
    with pytest.raises(KeyError) as caught:
        YOLO(str(write(tmp_path, [-1, 1, "Keep", []])))
    assert caught.value.args[0] == (
        "Keep: neither Ultralytics nor a registered module has this name (registered: FocalModulation, Keeps); modules "
        "of your own are registered by the files that YOLO_FOCAL_MODULES names"
    )


BLOCKS = """
import yolo_focal
from torch import nn

@yolo_focal.register
class Twice(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 1)

    def forward(self, x):
        return 2 * self.conv(x)
"""
SEES = "from ultralytics import YOLO; print(type(YOLO('tiny.yaml').model.model[2]).__name__)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a module of the user's own and a model that has it."""
    (tmp_path / "my_blocks.py").write_text(BLOCKS)
    write(tmp_path, [-1, 1, "Twice", []])
    return tmp_path


def test_the_environment_names_files_of_modules(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "package.py").write_text(BLOCKS.replace("Twice", "Thrice"))
    names = {plugins.VARIABLE: "my_blocks, other.package"}
    out = run(COMMAND_YOLO, "export", "model=tiny.yaml", "imgsz=64", cwd=folder, **names).stdout
    assert "export success" in out
    code = "import ultralytics.nn.tasks, yolo_focal.registry as r; print(list(r.registered()))"
    assert python(code, folder, **names).splitlines()[-1] == "['FocalModulation', 'Twice', 'Thrice']"


def test_the_readme_is_right(tmp_path: Path) -> None:
    section = (REPO / "README.md").read_text(encoding="utf-8").partition("## Modules of your own")[2]
    block, rule = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[:2]
    (tmp_path / "my_blocks.py").write_text(
        f"{block}\n\n{rule}\nyolo_focal.register(nn.Conv2d, name='Wide', channels=rule)"
    )
    for row, built in (([-1, 1, "Residual", [5]], "Residual"), ([-1, 1, "Wide", [40, 1]], "Conv2d")):
        write(tmp_path, row)
        assert python(SEES, tmp_path, **{plugins.VARIABLE: "my_blocks"}).splitlines()[-1] == built


def test_child_processes_inherit_what_was_registered(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "tiny.yaml").write_text((folder / "tiny.yaml").read_text())
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SEES!r}], cwd='elsewhere', check=True)"
    assert python(f"import my_blocks; {child}", folder).splitlines()[-1] == "Twice"
    assert python(f"{SEES}; {child}", folder, **{plugins.VARIABLE: "my_blocks"}).splitlines()[-1] == "Twice"


def test_an_entry_point_is_enough(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    installed = tmp_path_factory.mktemp("installed")
    (installed / "twice_blocks.py").write_text(BLOCKS)
    info = installed / "twice-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: twice\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[yolo_focal.modules]\nany = twice_blocks\n")
    (folder / "my_blocks.py").unlink()
    assert python(SEES, folder, PYTHONPATH=os.pathsep.join([str(installed), *sys.path])).splitlines()[-1] == "Twice"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "ModuleNotFoundError: No module named 'my_blocks'"),
        ("import nothing_at_all", "ModuleNotFoundError: No module named 'nothing_at_all'"),
        ("raise SystemExit('usage')", "SystemExit: usage"),
        (
            BLOCKS.replace("Twice", "SPPF"),
            "ConfigError: register SPPF: Ultralytics has that name already; write name= with another, or override=True",
        ),
    ],
)
def test_a_file_that_cannot_be_imported_is_a_line_and_the_rest_works(
    text: str | None, why: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "my_blocks.py").write_text(text)
    code = "from ultralytics import YOLO; YOLO('yolov8n-focal.yaml'); print('built')"
    lines = python(code, tmp_path, **{plugins.VARIABLE: "my_blocks"}).splitlines()
    lines = [line for line in lines if "YOLO_FOCAL" in line or line == "built"]
    assert lines == [f"yolo-focal: YOLO_FOCAL_MODULES: my_blocks cannot be imported: {why}", "built"]


def test_what_is_registered_in_main_gives_a_warning(folder: Path) -> None:
    (folder / "train.py").write_text(BLOCKS)
    out = run(sys.executable, "train.py", cwd=folder).stdout
    assert re.fullmatch(
        r".*train.py:5: UserWarning: register Twice: child processes and whoever loads a checkpoint do not know what "
        r"is defined or registered in __main__; move it to a file of its own and name that in YOLO_FOCAL_MODULES\n"
        r"  @yolo_focal.register\n",
        out,
        re.DOTALL,
    )
    (folder / "train.py").write_text("import my_blocks")
    assert run(sys.executable, "train.py", cwd=folder).stdout == ""


def test_a_registered_class_may_be_in_a_restricted_checkpoint() -> None:
    yolo_focal.register(Keeps)
    assert Keeps in torch.serialization.get_safe_globals()
    assert os.environ[plugins.VARIABLE] == __name__
