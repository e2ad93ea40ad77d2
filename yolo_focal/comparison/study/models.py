"""The models of a comparison: their files, what they are called, their task, and the weights that they start from."""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ultralytics import YOLO
from ultralytics.utils.downloads import attempt_download_asset

from yolo_focal.comparison.store import files
from yolo_focal.errors import ConfigError
from yolo_focal.hook import configs, forks, freezing

_INSTALLED = tuple(sysconfig.get_path(key) for key in ("purelib", "platlib", "stdlib", "platstdlib"))
_PACKAGE = str(Path(__file__).resolve().parents[2])


class Model(NamedTuple):
    """A model of a comparison.

    Attributes:
        label: What it is called, and its folder.
        name: What the user wrote.
        file: The checkpoint's file, or the YAML's name as Ultralytics' parser takes it, with the scale letter.
        task: Its task.
        content: Digest of the file and of the users' files that define its layers.
        parameters: Number of parameters.
        assumed: The scale that Ultralytics takes because the YAML's name has none; "" if there is nothing to assume.
        freeze: Its `freeze` of `yolo train`, where it is not the one that was given.
        rows: Its rows, as its YAML has them; () where they are not to be looked at.
        width: The width multiple of a control; None for all other models.
    """

    label: str
    name: str
    file: str
    task: str
    content: str
    parameters: int
    assumed: str = ""
    freeze: int | list[int] | None = None
    rows: Sequence[Sequence[Any]] = ()
    width: float | None = None


def find(names: Sequence[str]) -> list[Model]:
    """Find the models, downloading checkpoints of Ultralytics' as `yolo train` does.

    Raises:
        ConfigError: There is no such file, or it cannot be built.
    """
    models = []
    for name, label in zip(names, _labels(names), strict=True):
        file = _file(str(name))
        yolo = _load(file, "models", name)
        parameters = sum(parameter.numel() for parameter in yolo.model.parameters())
        content, scale = _content(file, yolo.model), _assumed_scale(file, yolo)
        rows = [*yolo.model.yaml["backbone"], *yolo.model.yaml["head"]]
        models.append(Model(label, str(name), file, str(yolo.task), content, parameters, scale, rows=rows))
    return models


def with_same_layers_frozen(models: Sequence[Model], freeze: int, pretrained: Any) -> list[Model]:
    """Return the models with a `freeze` each that means the same layers for all, fresh ones excepted.

    Args:
        models: The models.
        freeze: How many of the first layers to freeze: of the weights that all start from, or else of the first model.
        pretrained: The file of those weights; True if each model is a checkpoint.
    """
    reference = YOLO(pretrained if isinstance(pretrained, str) else models[0].file).model
    of_each = [freezing.same_layers(freeze, reference, YOLO(model.file).model) for model in models]
    return [model._replace(freeze=own) if own != freeze else model for model, own in zip(models, of_each, strict=True)]


def weights(pretrained: Any) -> Any:
    """Return what every run's `pretrained` is: the absolute path of a file, found or downloaded once; else as given.

    Raises:
        ConfigError: There is no such file, or it is no checkpoint.
    """
    if not isinstance(pretrained, (str, Path)):
        return pretrained
    if Path(pretrained).suffix != ".pt":
        raise ConfigError(f"pretrained={pretrained}: write a checkpoint, such as yolov8n.pt, or True or False")
    file = str(_checkpoint(str(pretrained), "pretrained"))
    _load(file, "pretrained", pretrained)
    return file


def _load(file: str, argument: str, name: object) -> Any:
    """Load a checkpoint or build a model YAML, which is what the user can correct where it fails."""
    try:
        yolo = YOLO(file)
        yolo.model.yaml["backbone"]
    except Exception as error:  # whatever torch, Ultralytics or its parser raise
        raise ConfigError(f"{argument}={name}: {error}") from None
    return yolo


def digest(file: str | Path) -> str:
    """Return a digest of a file's bytes."""
    return files.digest(Path(file))[:16]


def _labels(names: Sequence[str]) -> list[str]:
    """Return what to call the models: their files' names, or of files of one name the folders that tell them apart."""
    paths = [Path(name) for name in names]
    labels: list[str] = []
    for path in paths:
        namesakes = [other for other in paths if other.stem == path.stem and other != path]
        folders = [part for part in reversed(path.parts[:-1]) if part not in {path.anchor, os.pardir}]
        label = next((part for part in folders if _tells_apart(part, path, namesakes)), path.stem)
        label = label if namesakes else path.stem
        number, unique = 2, label
        while unique in labels:
            unique, number = f"{label}-{number}", number + 1
        labels.append(unique)
    return labels


def _assumed_scale(file: str, yolo: YOLO) -> str:
    """Return the first of a YAML's scales if its name leaves open which."""
    config = yolo.model.yaml
    scales = list(config.get("scales") or ())
    is_open = Path(file).suffix != ".pt" and len(scales) > 1 and not config.get("scale")
    return str(scales[0]) if is_open else ""


def _tells_apart(part: str, path: Path, namesakes: Sequence[Path]) -> bool:
    position = len(path.parts) - path.parts[::-1].index(part) - 1 - len(path.parts)  # counted from the end
    return all(len(other.parts) < -position or other.parts[position] != part for other in namesakes)


def _file(name: str) -> str:
    """Return a checkpoint's absolute path, or a YAML's, or the bare name of a YAML that Ultralytics finds by it."""
    if Path(name).suffix == ".pt":
        return str(_checkpoint(name, "models"))
    if Path(name).suffix not in {".yaml", ".yml"}:
        raise ConfigError(f"models={name}: write model YAMLs or checkpoints, such as yolov8n.yaml or best.pt")
    found = configs.model(name, "models")
    # Beside the found file, under the name with the scale letter: that is where the parser reads the scale from.
    return str(found.with_name(Path(name).name).absolute()) if found.parent == Path(name).parent else name


def _checkpoint(name: str, argument: str) -> Path:
    file = Path(attempt_download_asset(name))
    if file.is_file():
        return file.absolute()
    derivation = configs.derivation_of(name)
    made = f"; make it with yolo-focal derive {derivation.arguments} save={name}" if derivation else ""
    raise ConfigError(
        f"{argument}={name}: there is no such file here or among Ultralytics' weights, and it could not be "
        f"downloaded{made or '; write the path of a checkpoint'}"
    )


def _content(file: str, network: Any) -> str:
    """Return a digest of a model's file and of the files of its layers that are not part of an installed package."""
    path = Path(file) if Path(file).is_file() else configs.model(file)
    whole = hashlib.sha256(path.read_bytes())
    sources: set[str] = set()
    fork = forks.current()
    for module in network.modules():
        of_fork = None if fork is None else fork.files_of(type(module))
        if of_fork:
            sources.update(map(str, of_fork))
            continue
        source = getattr(sys.modules.get(type(module).__module__), "__file__", None)
        if source is not None and not source.startswith((*_INSTALLED, _PACKAGE)):
            sources.add(source)
    for source in sorted(sources, key=lambda source: Path(source).name):
        whole.update(Path(source).read_bytes())
    return whole.hexdigest()[:16]
