"""A checkpoint of a user's module where its file is not named: the message names it, and nothing is installed."""

from __future__ import annotations

import collections
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
import torch
from blocks import BLOCKS, write
from support import python
from torch import nn

from yolo_focal import ConfigError
from yolo_focal.hook.modules import origins

SAVE = """
import sys, types, torch
from ultralytics import YOLO
from ultralytics.utils.torch_utils import strip_optimizer
model = YOLO("tiny.yaml")
model.save("best.pt")
strip_optimizer("best.pt")
del model.model.model[2].yolo_focal_origin
model.save("older.pt")
models = sys.modules["models"] = types.ModuleType("models")
models.Model = type("Model", (), {"__module__": "models"})
torch.save({"model": models.Model()}, "yolov5.pt")
torch.save({"model": models.Model(), "text": "yolo-focal: from /gone/models.py"}, "own_models.pt")
torch.jit.trace(torch.nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 2, 2)).save("script.pt")
"""
LOAD = """
import pathlib
from ultralytics import YOLO, settings
settings.update({"weights_dir": "kept"})
for name in ("best.pt", "older.pt", "kept.pt", "yolov5.pt", "own_models.pt", "script.pt", "torn.pt"):
    try:
        print(f"loaded {name}:", [type(layer).__name__ for layer in YOLO(name).model.model])
    except Exception as error:
        print(f"refused {name}: {type(error).__name__}: {error}")
"""
LAYERS = "['Conv', 'Conv', 'Twice', 'Conv', 'Classify']"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with checkpoints of a model with a module of the user's own, and of others; the file is elsewhere."""
    path, home = tmp_path_factory.mktemp("checkpoints"), tmp_path_factory.mktemp("my home")
    (home / "my_blocks.py").write_text(BLOCKS)
    write(path, [-1, 1, "Twice", []])
    python(SAVE, path, YOLO_FOCAL_MODULES=str(home / "my_blocks.py"))
    (path / "kept").mkdir()
    (path / "kept" / "kept.pt").write_bytes((path / "best.pt").read_bytes())
    (path / "torn.pt").write_bytes(b"no checkpoint")
    (path / "home").symlink_to(home)
    return path


@pytest.mark.parametrize("safe", ["0", "1"])
def test_the_message_names_the_file_and_nothing_is_installed(safe: str, folder: Path) -> None:
    out = python(LOAD, folder, YOLO_CONFIG_DIR=str(folder), ULTRALYTICS_SAFE_LOAD=safe)
    file = (folder / "home").resolve() / "my_blocks.py"
    told = dict(line[8:].split(": ", 1) for line in out.splitlines() if line.startswith("refused "))
    trained = (
        f"names my_blocks, which Python does not find. It was trained with {file}; write: "
        f"YOLO_FOCAL_MODULES='{file}' yolo val model=%s (on Windows: set YOLO_FOCAL_MODULES={file} first)"
    )
    assert told["best.pt"] == f"ConfigError: best.pt {trained % 'best.pt'}"
    assert told["kept.pt"] == f"ConfigError: kept/kept.pt {trained % 'kept/kept.pt'}"
    assert told["older.pt"] == (
        "ConfigError: older.pt names my_blocks, which Python does not find. Install the package that it was trained "
        "with; if it was a file, write where that is: YOLO_FOCAL_MODULES=/path/my_blocks.py yolo val model=older.pt "
        "(on Windows: set YOLO_FOCAL_MODULES=/path/my_blocks.py first)"
    )
    assert told["own_models.pt"] == (
        "ConfigError: own_models.pt names models, which Python does not find. It was trained with /gone/models.py; "
        "write where /gone/models.py is now: YOLO_FOCAL_MODULES=/gone/models.py yolo val model=own_models.pt (on "
        "Windows: set YOLO_FOCAL_MODULES=/gone/models.py first)"
    )
    assert [told[name].partition(":")[0] for name in ("yolov5.pt", "script.pt", "torn.pt")] == 3 * ["TypeError"]
    assert "AutoInstall" not in out


def test_named_it_loads(folder: Path) -> None:
    out = python(LOAD, folder, YOLO_CONFIG_DIR=str(folder), YOLO_FOCAL_MODULES=str(folder / "home" / "my_blocks.py"))
    loaded = [line for line in out.splitlines() if line.startswith("loaded ")]
    assert loaded == [f"loaded {name}: {LAYERS}" for name in ("best.pt", "older.pt", "kept.pt")]


def test_without_this_package_it_loads_beside_its_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "my_blocks.py").write_text(BLOCKS.replace("@yolo_focal.register", "").replace("import yolo_focal", ""))
    code = "import sys; sys.modules['yolo_focal'] = None\n" + LOAD  # it cannot be imported
    env = {"YOLO_CONFIG_DIR": str(folder), "PYTHONPATH": str(tmp_path), "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    assert f"loaded best.pt: {LAYERS}" in python(code, folder, **env).splitlines()


SERVED = """
import functools, http.server, threading, torch
from ultralytics.nn import tasks
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory={folder!r})
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
try:
    tasks.torch_safe_load(f"http://127.0.0.1:{{server.server_port}}/served.pt")
except ValueError as error:
    print("refused", error)
"""


def test_what_is_downloaded_is_looked_at_too(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(folder / "best.pt") as source, zipfile.ZipFile(tmp_path / "served.pt", "w") as served:
        for name in source.namelist():
            served.writestr(name, source.read(name))
        served.writestr("best/filler", bytes(200_000))  # Ultralytics takes what is smaller for an error page
    (tmp_path / "here").mkdir()
    out = python(SERVED.format(folder=str(tmp_path)), tmp_path / "here", YOLO_AUTOINSTALL="false", check=False)
    assert "refused served.pt names my_blocks, which Python does not find. It was trained with" in out


def checkpoint_of(file: Path, *values: object) -> Path:
    torch.save({"model": values}, file)
    return file


def test_a_missing_file_of_a_package_that_is_found_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as context:
        blocks = ModuleType("email.blocks")
        blocks.Block = type("Block", (), {"__module__": "email.blocks"})  # type: ignore[attr-defined]
        context.setitem(sys.modules, "email.blocks", blocks)
        file = checkpoint_of(tmp_path / "a.pt", blocks.Block())  # type: ignore[attr-defined]
    with pytest.raises(ConfigError) as caught:
        origins.check(file)
    assert str(caught.value) == (
        f"{file} names email.blocks, which Python does not find. Install the package that it was trained with; if it "
        f"was a file, write where that is: YOLO_FOCAL_MODULES=/path/email.py yolo val model={file} (on Windows: set "
        "YOLO_FOCAL_MODULES=/path/email.py first)"
    )


def test_what_python_finds_by_another_name_is_let_through(tmp_path: Path) -> None:
    """Pickles have Python 2's names of what all but the last are."""
    file = checkpoint_of(tmp_path / "a.pt", {1}, KeyError("a"), collections.UserDict(), tmp_path, nn.Conv2d(1, 1, 1))
    origins.check(file)
