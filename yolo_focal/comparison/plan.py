"""What a comparison consists of: its models, seeds, data and arguments, checked before the first run starts."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ultralytics import YOLO
from ultralytics.cfg import DEFAULT_CFG_DICT, check_dict_alignment, get_cfg
from ultralytics.data.utils import check_cls_dataset, check_det_dataset, img2label_paths

from yolo_focal import configs
from yolo_focal.comparison.files import write_json
from yolo_focal.errors import ConfigError

_OURS = {
    "model": "models= names them",
    "seed": "seeds= says how many",
    "project": "everything goes to runs/compare/",
    "exist_ok": "a run goes on where it was",
    "resume": "the same command goes on by itself",
    "mode": "it trains",
    "time": "runs have to be of equal length; write epochs=",
    "save": "the weights are needed",
    "val": "each epoch is validated",
    "split": "the curves are those of the validation images",
}
_FILE = "plan.json"


class Plan(NamedTuple):
    """A comparison.

    Attributes:
        folder: Where its runs and its report go.
        given: The models, as the user named them.
        models: What each model is called, and its YAML or checkpoint.
        data: The data set, as the user named it.
        task: Of all the models.
        seeds: How many: 0, 1, 2...
        arguments: What else the user gave `yolo train`.
        loaders: Data loader workers of each run.
        threads: CPU threads of each run.
    """

    folder: Path
    given: list[str]
    models: dict[str, str]
    data: str
    task: str
    seeds: int
    arguments: dict[str, Any]
    loaders: int
    threads: int


class Run(NamedTuple):
    """One model trained with one seed.

    Attributes:
        folder: Where everything about it goes.
        label: What the model is called.
        seed: The seed.
    """

    folder: Path
    label: str
    seed: int


def make(
    folder: Path, data: str, models: Sequence[str], seeds: int, workers: int, arguments: dict[str, Any]
) -> tuple[Plan, list[Run]]:
    """Check a comparison, or that it is the one that was begun in the folder, and write it there.

    Raises:
        ConfigError: Something that cannot work, or that is not what the comparison was begun with.
    """
    _check(models, seeds, workers, arguments)
    labels = _labels(models)
    files = {label: _file(model) for label, model in zip(labels, models)}
    tasks = {label: _task(label, file) for label, file in files.items()}
    task = tasks[labels[0]]
    for label, other in tasks.items():
        if other != task:
            raise ConfigError(f"models=: {labels[0]} is for {task}, {label} for {other}; compare models of one task")
    cores = os.cpu_count() or 1
    numbers = {"loaders": min(8, max(1, cores // workers)), "threads": max(1, cores // workers)}
    begun = folder / _FILE
    facts = {
        "models": {label: {"file": model, "content": _digest(files[label])} for label, model in zip(labels, models)},
        "data": {"file": str(data), "content": _content(data, task)},
        "arguments": {key: _plain(value) for key, value in sorted(arguments.items())},
        "weights": _weights(arguments.get("pretrained")),
    }
    if begun.exists():
        known = _begun(begun)
        _check_same(known["facts"], facts, folder)
        numbers = known["numbers"]  # the same results, whatever runs side by side now
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(begun, {"facts": facts, "numbers": numbers})
    paths = {label: str(file) for label, file in files.items()}
    plan = Plan(folder, [*models], paths, data, task, seeds, arguments, **numbers)
    return plan, [Run(folder / label / f"seed{seed}", label, seed) for seed in range(seeds) for label in labels]


def _begun(file: Path) -> dict[str, Any]:
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        return {"facts": known["facts"], "numbers": known["numbers"]}
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{file}: it is not what a comparison writes; write name= with another name") from None


def _check(models: Sequence[str], seeds: int, workers: int, arguments: dict[str, Any]) -> None:
    if len(models) < 2:
        raise ConfigError(
            f"models={','.join(map(str, models))}: write two or more, such as models=yolov8n.yaml,yolov8n-focal.yaml"
        )
    for name, value in (("seeds", seeds), ("workers", workers)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"{name}={value}: write a whole number from 1 on, such as {name}=5")
    for key, why in _OURS.items():
        if key in arguments:
            raise ConfigError(f"{key}={arguments[key]}: compare sets it itself: {why}; leave it out")
    if len(str(arguments.get("device") or "0").split(",")) > 1:
        raise ConfigError(f"device={arguments['device']}: each run trains on one device; write one, such as device=0")
    try:
        check_dict_alignment(DEFAULT_CFG_DICT, arguments)
        get_cfg(overrides=arguments)
    except (SyntaxError, TypeError, ValueError) as error:
        raise ConfigError(" ".join(str(error).split())) from None


def _labels(models: Sequence[str]) -> list[str]:
    """Return what to call the models: their files' names, told apart where two are alike."""
    labels: list[str] = []
    for model in models:
        stem = Path(model).stem
        number = 2
        label = stem
        while label in labels:
            label, number = f"{stem}-{number}", number + 1
        labels.append(label)
    return labels


def _file(model: str) -> Path:
    """Return a checkpoint's file, or a YAML's as the parser will read it: by its name, where it is a packaged one."""
    if Path(model).suffix == ".pt":
        if not Path(model).is_file():
            raise ConfigError(f"models={model}: there is no such file; write a checkpoint or a model YAML")
        return Path(model).absolute()
    if Path(model).suffix not in {".yaml", ".yml"}:
        raise ConfigError(f"models={model}: write model YAMLs or checkpoints, such as yolov8n.yaml or best.pt")
    configs.model(model)
    return Path(model).absolute() if Path(model).exists() else Path(model)


def _task(label: str, file: Path) -> str:
    try:
        return str(YOLO(str(file)).task)
    except Exception as error:  # whatever the parser raises: the model is what the user can mend
        raise ConfigError(f"models={label}: {error}") from None


def _content(data: str, task: str) -> str:
    """Return a digest of a data set: the names and sizes of its images, and what its labels say."""
    try:
        found = check_cls_dataset(data) if task == "classify" else check_det_dataset(data)
    except Exception as error:
        raise ConfigError(f"data={data}: {' '.join(str(error).split())}") from None
    digest = hashlib.sha256(str(found["names"]).encode())
    for split in ("train", "val"):
        images = _images(found[split])
        labels = img2label_paths([str(image) for image in images]) if task != "classify" else []
        for image in images:
            digest.update(f"{split} {image.name} {image.stat().st_size}\n".encode())
        for label in map(Path, labels):
            digest.update(label.read_bytes() if label.exists() else b"-")
    return digest.hexdigest()[:16]


def _images(places: Any) -> list[Path]:
    """Return the files of a split: folders, or lists of files."""
    found: list[Path] = []
    for place in map(Path, places if isinstance(places, list) else [places]):
        if place.is_dir():
            found += (path for path in place.rglob("*") if path.is_file() and path.suffix not in {".cache", ".npy"})
        else:
            lines = (line.strip() for line in place.read_text(encoding="utf-8").splitlines())
            found += (place.parent / line for line in lines if line)
    return sorted(found)


def _weights(pretrained: Any) -> str | None:
    """Return a digest of the weights that every run starts from, where they are a file."""
    if isinstance(pretrained, (str, Path)):
        if not Path(pretrained).is_file():
            raise ConfigError(f"pretrained={pretrained}: there is no such file; write a checkpoint's path")
        return _digest(Path(pretrained))
    return None


def _digest(file: Path) -> str:
    content = file if file.exists() else configs.model(str(file))
    return hashlib.sha256(content.read_bytes()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _check_same(known: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Refuse what a comparison was not begun with; more seeds may be added."""
    anew = f"write name= with another name than {folder.name}, or what it was begun with"
    for what, before, after in _changes(known, now):
        raise ConfigError(f"{folder} was begun with {what}={before}, and now it is {after}: {anew}")


def _changes(known: dict[str, Any], now: dict[str, Any]) -> Iterable[tuple[str, Any, Any]]:
    first, second = (",".join(entry["file"] for entry in facts["models"].values()) for facts in (known, now))
    if first != second:
        yield "models", first, second
    for label, entry in known["models"].items():
        if entry != now["models"].get(label):
            yield f"models: {entry['file']}", "the file as it was", "another one of that name"
    if known["data"]["file"] != now["data"]["file"]:
        yield "data", known["data"]["file"], now["data"]["file"]
    if known["data"] != now["data"]:
        yield "data", f"{known['data']['file']} as it was", "other images or labels of that name"
    for key in sorted({*known["arguments"], *now["arguments"]}):
        before, after = (facts["arguments"].get(key, "its default") for facts in (known, now))
        if before != after:
            yield key, before, after
    if known["weights"] != now["weights"]:
        yield "pretrained", "the file as it was", "another one of that name"
