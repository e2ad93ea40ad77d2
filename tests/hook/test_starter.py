"""`yolo-focal new`: the file that it writes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from lifecycle import write_detector
from support import COMMAND, YOLO, run

from yolo_focal import ConfigError
from yolo_focal.hook import starter


def test_it_writes_a_module_and_says_what_to_do_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = starter.write("my_blocks.py", "MyBlock")
    assert lines[0] == "my_blocks.py: written, with the module MyBlock"
    assert lines[2] == "  - [-1, 1, MyBlock, []]"
    assert lines[4] == (
        "  YOLO_FOCAL_MODULES=my_blocks.py yolo train model=my-model.yaml data=shapes.yaml epochs=1 imgsz=128"
    )
    text = (tmp_path / "my_blocks.py").read_text(encoding="utf-8")
    assert "@yolo_focal.register\nclass MyBlock(nn.Module):" in text and "NAME" not in text
    with pytest.raises(ConfigError) as caught:
        starter.write("my_blocks.py", "Other")
    assert str(caught.value) == (
        "yolo-focal new: my_blocks.py: there is a file of that name, which is left as it is; write another"
    )
    assert (tmp_path / "my_blocks.py").read_text(encoding="utf-8") == text


NAME = "write a file name of letters, digits and underscores, such as my_blocks.py"
CLASS = "write a class name of letters, digits and underscores, such as name=MyBlock"


@pytest.mark.parametrize(
    ("file", "name", "message"),
    [
        ("my-blocks.py", "A", f"my-blocks.py: {NAME}"),
        ("my_blocks", "A", f"my_blocks: {NAME}"),
        ("class.py", "A", f"class.py: {NAME}"),
        ("none/my_blocks.py", "A", "none/my_blocks.py: there is no folder none; make it first"),
        ("torch.py", "A", "torch.py: Python imports another module by the name torch, "),
        ("my_blocks.py", "My Block", f"name=My Block: {CLASS}"),
        ("my_blocks.py", "class", f"name=class: {CLASS}"),
        ("my_blocks.py", "C2f", "name=C2f: Ultralytics has a module of that name; write another"),
    ],
)
def test_what_cannot_be_is_refused(
    file: str, name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        starter.write(file, name)
    assert str(caught.value).startswith(f"yolo-focal new: {message}")
    assert not list(tmp_path.iterdir())


def test_the_command_takes_the_file_without_a_key(tmp_path: Path) -> None:
    out = run(COMMAND, "new", cwd=tmp_path, check=False).stdout
    assert out == "yolo-focal new: file= and name= are missing, such as file=my_blocks.py name=MyBlock\n"


@pytest.mark.slow
def test_what_it_wrote_trains(tmp_path: Path) -> None:
    out = run(COMMAND, "new", "my_blocks.py", "name=MyBlock", cwd=tmp_path).stdout
    command = next(line for line in out.splitlines() if "yolo train" in line).split()
    (variable, file), arguments = command[0].split("="), command[2:]
    assert arguments[:2] == ["train", "model=my-model.yaml"]
    write_detector(tmp_path, [-1, 1, "MyBlock", []])
    (tmp_path / "own.yaml").rename(tmp_path / "my-model.yaml")
    out = run(YOLO, *arguments, "fraction=0.1", "workers=0", "plots=False", cwd=tmp_path, **{variable: file}).stdout
    assert "my_blocks.MyBlock " in out
    assert list(tmp_path.glob("runs/detect/train/weights/best.pt"))
