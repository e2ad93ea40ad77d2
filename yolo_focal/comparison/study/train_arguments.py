"""The arguments of `yolo train` that every run is given, each of them explicitly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ultralytics.cfg import DEFAULT_CFG_DICT, check_dict_alignment, get_cfg
from ultralytics.utils.checks import check_yaml

from yolo_focal.errors import ConfigError, one_line

# What `compare` sets itself, and why.
_OWN = {
    "model": "models= names them",
    "task": "it is the models'",
    "project": "everything goes to runs/compare/",
    "exist_ok": "a run goes on where it was",
    "resume": "the same command goes on by itself",
    "mode": "it trains",
    "save": "the weights are needed",
    "val": "each epoch is validated",
}

_OF_A_RUN = ("seed", "data", "name", "save_dir", "split")  # arguments of `compare` that mean more than for one run

# A comparison may go on with other values of these: they change where and how fast a run computes, and what it shows.
WITHOUT_EFFECT = frozenset({"device", "cache", "plots", "verbose", "save_period", "profile"})


def given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `yolo train` that are not the defaults': those of the command, then of its `cfg=` file.

    What `compare` sets itself is left out of the file, which may be a copy of Ultralytics' own with all arguments.

    Raises:
        ConfigError: An argument is unknown, or one that `compare` sets itself.
    """
    for key, why in _OWN.items():
        if key in arguments:
            raise ConfigError(f"{key}={arguments[key]}: compare sets it itself: {why}; leave it out")
    try:
        check_dict_alignment(DEFAULT_CFG_DICT, dict(arguments))
        from_file = _read(check_yaml(str(arguments["cfg"]))) if arguments.get("cfg") else {}
        check_dict_alignment(DEFAULT_CFG_DICT, from_file)
    except (SyntaxError, TypeError, ValueError, FileNotFoundError) as error:
        raise ConfigError(one_line(error)) from None
    own = {key: value for key, value in from_file.items() if key not in {*_OWN, *_OF_A_RUN}}
    return {**own, **{key: value for key, value in arguments.items() if key != "cfg"}}


def check(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return all arguments of `yolo train` for a run: the given ones, and the defaults; `workers` only if it is given.

    A run is given every one of them, because Ultralytics would take some from a checkpoint otherwise: its own `imgsz`,
    for one, goes before the default.

    Args:
        arguments: What `given` has returned.

    Raises:
        ConfigError: An argument is invalid.
    """
    try:
        effective = vars(get_cfg(overrides={**DEFAULT_CFG_DICT, **arguments}))
    except (SyntaxError, TypeError, ValueError, FileNotFoundError) as error:
        raise ConfigError(one_line(error)) from None
    if isinstance(effective["batch"], bool) or not isinstance(effective["batch"], int) or effective["batch"] < 1:
        raise ConfigError(
            f"batch={effective['batch']}: write a number of images of at least 1, such as batch=16; a size that is "
            "found automatically would differ from model to model"
        )
    left_out = {*_OWN, *_OF_A_RUN, "cfg", "pretrained", *({"workers"} - arguments.keys())}
    return {key: value for key, value in effective.items() if key not in left_out}


def _read(file: str) -> dict[str, Any]:
    return yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {}


def plain(value: Any) -> Any:
    """Return a value as JSON has it: a path as text."""
    return str(value) if isinstance(value, Path) else value
