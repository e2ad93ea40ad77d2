"""The links of the pages lead somewhere, and their commands name commands, keys, files and models that exist."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import pytest
from pages import PAGES, anchors, commands, links, name
from support import REPO
from ultralytics.cfg import DEFAULT_CFG_DICT, MODES, TASKS

from yolo_focal import cli, compare, environment
from yolo_focal.hook import configs

OWN = {"mine", "my", "my-model", "models", "yolov8s-resnet50"}  # the reader's model YAMLs, or those that a page writes
COMMANDS = [(name(page), line) for page in PAGES for line in commands(page)]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_sections(page: Path) -> None:
    for link in links(page):
        file, _, section = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.is_file(), link
        assert not section or section in anchors(target), link


def test_commands_exist() -> None:
    assert len(COMMANDS) > 100
    assert [problem for page, line in COMMANDS for problem in problems(page, line)] == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("yolo trian model=yolov8n.yaml", "trian"),
        ("yolo train modle=yolov8n.yaml", "modle"),
        ("yolo train model=yolov8n-focl.yaml", "yolov8n-focl.yaml"),
        ("YOLO_FOCAL_MODULE=a.py yolo val", "YOLO_FOCAL_MODULE"),
        ("yolo-focal drive model=yolov8n.yaml", "drive"),
        ("yolo-focal derive image=photos/", "image"),
        ("yolo-focal compare data=a.yaml sedes=3", "sedes"),
        ("python scripts/nothing.py", "scripts/nothing.py"),
    ],
)
def test_a_mistake_in_a_command_is_found(line: str, problem: str) -> None:
    assert problems("page", line) == [f"page: {line}: {problem}"]


def problems(page: str, line: str) -> list[str]:
    """Return what a command line names that does not exist."""
    words = [word for word in shlex.split(line) if word not in {"...", "&"}]
    wrong = []
    while words and re.match(r"[A-Z_]+=", words[0]):
        variable = words.pop(0).partition("=")[0]
        wrong += [variable] if variable not in {environment.AUTOLOAD, environment.MODULES} else []
    if words[:1] == ["yolo-focal"]:
        wrong += own(words[1:])
    elif words[:1] == ["yolo"]:
        wrong += stock(words[1:])
    wrong += [word for word in words if re.match(r"(scripts|cfg|tests)/[\w/]", word) and not (REPO / word).exists()]
    return [f"{page}: {line}: {part}" for part in wrong]


def own(words: list[str]) -> list[str]:
    """Return the unknown words of a `yolo-focal` command."""
    if not words or words[0] in {"version", "help"}:
        return []
    command = " ".join(words[:2]) if " ".join(words[:2]) in cli._COMMANDS else words[0]
    if command not in cli._COMMANDS:
        return stock(words)
    keys = set(cli._COMMANDS[command][1])
    if command == "compare":
        keys |= {*inspect.signature(compare).parameters, *DEFAULT_CFG_DICT}
    rest = words[len(command.split()) :]
    if command in cli._FIRST and rest and "=" not in rest[0]:
        rest = rest[1:]
    return unknown(rest, keys)


def stock(words: list[str]) -> list[str]:
    """Return the unknown words of a `yolo` command."""
    known = {*MODES, *TASKS, "checks", "version", "settings", "help"}
    return [word for word in words if "=" not in word and word not in known] + unknown(
        [word for word in words if "=" in word], set(DEFAULT_CFG_DICT)
    )


def unknown(words: list[str], keys: set[str]) -> list[str]:
    wrong = [word.partition("=")[0] for word in words if word.partition("=")[0] not in keys]
    for word in words:
        key, _, value = word.partition("=")
        wrong += [model for model in value.split(",") if key in {"model", "models"} and not exists(model)]
    return wrong


def exists(model: str) -> bool:
    """Return whether a model YAML exists; a checkpoint is the reader's."""
    if not model.endswith(".yaml") or Path(model).stem in OWN or model.startswith("~/their-fork"):
        return True
    try:
        return configs.model(model).is_file()
    except configs.ConfigError:
        return False
