"""Wrappers of functions of Ultralytics, which `patch` puts in their place."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import yaml

from yolo_focal import environment
from yolo_focal.errors import ConfigError
from yolo_focal.hook import alignment, configs, forks
from yolo_focal.hook.modules import origins, plugins, registry, safe_globals
from yolo_focal.hook.rows import downloads


def with_packaged_models(tasks: ModuleType, yaml_model_load: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `yaml_model_load` so that it also finds the packaged model configs, and suggests one for a mistyped name."""

    @functools.wraps(yaml_model_load)
    def load(path: Any) -> Any:
        plugins.load(beside=str(path))
        config = _load(path)
        fork = forks.current()
        if fork is not None and fork.contains(configs.find(path) or config["yaml_file"]):
            config[forks.FROM_FORK] = True
        return config

    def _load(path: Any) -> Any:
        file = configs.find(path)
        if file is None:
            try:
                config = yaml_model_load(path)
            except FileNotFoundError as error:
                raise _not_found(path, error) from None
            configs.check_model(path, config)
            return config
        # Read here, because Ultralytics removes the scale letter by a regular expression from the whole path: below a
        # folder such as run2n it removes that folder's letter and reads another file. Like Ultralytics it passes over
        # what is not UTF-8, such as comments in another encoding.
        config = yaml.safe_load(file.read_text(encoding="utf-8", errors="ignore"))
        configs.check_model(path, config)
        return {**config, "scale": tasks.guess_model_scale(path), "yaml_file": str(path)}

    return load


def with_modules(torch_safe_load: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `torch_safe_load` so that the user's files are imported before a checkpoint is loaded.

    One that is not found is named then; Ultralytics would install a package of its name.
    """

    @functools.wraps(torch_safe_load)
    def load(weight: Any, *args: Any, **kwargs: Any) -> Any:
        from ultralytics.utils.downloads import attempt_download_asset  # by now it is imported

        plugins.load()
        registry.allow_users_classes()
        fork = forks.current()
        try:
            named = origins.check(Path(attempt_download_asset(weight)))  # which Ultralytics asks first too
            if fork is not None:
                safe_globals.allow_layers_of(fork.imported(named))
            loaded = torch_safe_load(weight, *args, **kwargs)
            for network in (loaded[0].get("model"), loaded[0].get("ema")):
                downloads.leave_out(network)
                if fork is not None:
                    fork.restore(network)
            return loaded
        except AttributeError as error:  # a name that a fork has added to a file of Ultralytics'
            if "ultralytics.nn.modules" not in str(error) or fork is not None:
                raise
            raise ConfigError(
                f"{weight}: {error}, as a fork of Ultralytics has that it was trained in; write where that is: "
                f"{environment.MODULES}=/path/their-fork yolo val model={weight}"
            ) from error
        except FileNotFoundError as error:
            derivation = configs.derivation_of(weight)
            if derivation is None:
                raise
            raise FileNotFoundError(
                f"'{weight}' does not exist: {derivation.how}: yolo-focal derive {derivation.arguments} save={weight}"
            ) from error

    return load


def with_packaged_configs(check_file: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `check_file` so that it also finds the packaged data configs."""

    @functools.wraps(check_file)
    def check(file: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            path = check_file(file, *args, **kwargs)
        except FileNotFoundError as error:
            packaged = configs.find(str(file))
            if packaged is None:
                raise _not_found(file, error) from None
        else:
            packaged = None if path else configs.find(str(file))
        return path if packaged is None else str(packaged)

    return check


def with_layers_found(load: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `BaseModel.load` so that a model with inserted rows takes over all weights that it has layers for.

    Only models with registered modules are looked at, and in a comparison all: others load as they always do.
    """

    @functools.wraps(load)
    def load_aligned(self: Any, weights: Any, *args: Any, **kwargs: Any) -> Any:
        network = (weights.get("ema") or weights["model"]) if isinstance(weights, dict) else weights
        layers = getattr(network, "model", None)
        if isinstance(layers, torch.nn.Sequential) and (
            alignment.looks_in_every_model() or registry.has_registered(self.model)
        ):
            found = alignment.align(network, self)
            alignment.note_origins(network, self, found)
            if found is not None:
                logging.getLogger("ultralytics").info(f"yolo-focal: {'; '.join(found.moves)}")
                weights = found.weights
        return load(self, weights, *args, **kwargs)

    return load_aligned


def _not_found(file: Any, error: FileNotFoundError) -> FileNotFoundError:
    """Return the error for a config that is not found, with similar names; Ultralytics' own if there are none."""
    hint = configs.suggestion(file) if Path(file).suffix in {"", ".yaml", ".yml"} else ""
    return FileNotFoundError(f"'{file}' does not exist; {hint}") if hint else error


def with_package_import(generate_ddp_file: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `generate_ddp_file` so that each GPU's process activates the patch even if torch's entry points are off."""

    @functools.wraps(generate_ddp_file)
    def generate(trainer: Any) -> Any:
        file = Path(generate_ddp_file(trainer))
        script = file.read_text(encoding="utf-8")
        # Where the script sets `sys.path`, this package may be found only behind that line.
        path = next(re.finditer(r"^([ \t]*)sys\.path = .*\n", script, re.MULTILINE), None)
        indent, position = (path[1], path.end()) if path else ("", 0)
        lines = ("import os", f'os.environ["{environment.AUTOLOAD}"] = "1"', "import yolo_focal")
        activation = "".join(f"{indent}{line}\n" for line in lines)
        file.write_text(script[:position] + activation + script[position:], encoding="utf-8")
        return str(file)

    return generate
