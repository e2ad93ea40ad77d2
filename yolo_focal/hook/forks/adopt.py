"""`yolo-focal adopt`: what a fork adds, and which of its model YAML files build on the installed release."""

from __future__ import annotations

import copy
import csv
import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ultralytics.nn import tasks
from ultralytics.utils import LOGGER, TQDM

from yolo_focal import environment
from yolo_focal.errors import ConfigError, one_line
from yolo_focal.hook.forks.fork import current, is_fork, package_of, use

TABLE = "adopt.csv"


class Tried(NamedTuple):
    """A model YAML that was tried.

    Attributes:
        file: The file, below the fork's folder of models.
        parameters: Of the model at its first scale; None where it does not build.
        group: Why it does not, in a few words, the same for all of a kind; "" where it does.
        reason: The whole message.
    """

    file: str
    parameters: int | None
    group: str
    reason: str


def adopt(folder: str, model: str = "") -> list[str]:
    """Try a fork's model YAML files on the installed release; writes `adopt.csv` in the working directory.

    Args:
        folder: The fork.
        model: One file to try; by default all.

    Returns:
        The lines to print.

    Raises:
        ConfigError: There is no fork in the folder, or no such file.
    """
    place = Path(folder).expanduser()
    if not is_fork(place):
        raise ConfigError(f"yolo-focal adopt {folder}: write the folder of a fork, in which ultralytics/nn/tasks.py is")
    use(place)
    fork = current()
    assert fork is not None
    models = package_of(fork.folder) / "cfg" / "models"
    files = [Path(model).resolve()] if model else sorted(models.rglob("*.yaml"))
    if model and not files[0].is_file():
        raise ConfigError(f"yolo-focal adopt model={model}: there is no such file; write the path of a model YAML")
    own = sorted(name for name in fork.rows if name not in vars(tasks))
    level, LOGGER.level = LOGGER.level, logging.ERROR
    try:
        tried = [_try(file, models) for file in TQDM(files, desc="Building")]
    finally:
        LOGGER.level = level
    _write(tried)
    built = [row for row in tried if not row.group]
    lines = [f"{len(own)} modules that only this fork has: {', '.join(own[:8])}{', ...' if len(own) > 8 else ''}"]
    lines += [f"{len(built)} of {len(tried)} model YAML files build on this release; {TABLE} has a line for each"]
    for group, count in Counter(row.group for row in tried if row.group).most_common():
        lines.append(f"{count:>6}  {group}")
    uses_own = (
        row.file for row in built if any(name in (models / row.file).read_text("utf-8", "ignore") for name in own)
    )
    example = models / next(uses_own, "one.yaml")
    lines.append(f"{environment.MODULES}={fork.folder} yolo train model={example} data=my.yaml")
    lines.append(f"(on Windows: set {environment.MODULES}={fork.folder} first)")
    return lines


def _try(file: Path, models: Path) -> Tried:
    """Build a model as its layers alone, without memory for its weights where they need none."""
    name = str(file.relative_to(models)) if file.is_relative_to(models) else str(file)
    error: Exception | None = None
    for device in ("meta", "cpu"):  # some modules compute with their weights while they are built
        try:
            config = tasks.yaml_model_load(file)
            with torch.device(device):
                layers, _ = tasks.parse_model(_with_scale(config), config.get("channels", 3), verbose=False)
            return Tried(name, sum(parameter.numel() for parameter in layers.parameters()), "", "")
        except Exception as stopped:  # whatever a fork's file raises
            error = stopped
    assert error is not None
    return Tried(name, None, _group(error), one_line(error))


def _with_scale(config: dict[str, Any]) -> dict[str, Any]:
    scales = config.get("scales")
    return {**copy.deepcopy(config), **({"scale": next(iter(scales))} if scales else {})}


def _group(error: BaseException) -> str:
    """Return what keeps a file from being built: a package, a name, or the module's own error."""
    chain: list[BaseException] = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    missing = next((e for e in chain if isinstance(e, ModuleNotFoundError) and e.name), None)
    if missing is not None:
        package = str(missing.name).partition(".")[0]
        return f"the package {package} is not installed; try pip install {_PIP_NAMES.get(package, package)}"
    if isinstance(error, ConfigError) and "there is no module called" in str(error):
        return f"neither the fork nor this release has {str(error).split('there is no module called ')[1].split()[0]}"
    last = chain[-1]
    return f"{type(last).__name__}: {one_line(last)}"[:120]


# Where the package that Python imports has another name on PyPI.
_PIP_NAMES = {"cv2": "opencv-python", "pywt": "PyWavelets", "skimage": "scikit-image", "sklearn": "scikit-learn"}


def _write(tried: Iterable[Tried]) -> None:
    with Path(TABLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Tried._fields)
        writer.writerows(tried)
