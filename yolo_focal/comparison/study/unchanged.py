"""What a comparison was begun with, and may not go on without."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from yolo_focal.comparison.store.run_folder import LOG, RESULT, SCHEMA
from yolo_focal.comparison.study.request import Request
from yolo_focal.errors import ConfigError

PLAN = "plan.json"


def check_same(known: Any, conditions: dict[str, Any], request: Request, folder: Path) -> None:
    """Refuse what a comparison was not begun with; more seeds may be added.

    Args:
        known: What its file of the plan holds.
        conditions: All that changes results, as it is now.
        request: What is asked for now.
        folder: Its folder.

    Raises:
        ConfigError: Something has changed.
    """
    check_schema(known, folder / PLAN)
    found = list(changes(known["conditions"], conditions))
    workers = (known["per_run"]["workers"], request.arguments.get("workers"))
    if workers[1] not in {None, workers[0]}:
        found.append(("workers", *workers))
    refuse_changes(folder, found, request.whole.name if request.whole else folder.name)
    refuse_fewer_seeds(folder, max(known["looks"]), request.options.seeds)


def has_begun(folder: Path) -> bool:
    """Return whether a run in a comparison's folder has begun, be it to choose models; until then no plan binds."""
    return any(file for name in (LOG, RESULT) for file in folder.rglob(f"seed*/{name}"))


def check_schema(known: Any, file: Path) -> None:
    """Raise ConfigError if a file of a plan is not what this release writes."""
    if not isinstance(known, dict) or known.get("schema") != SCHEMA:
        raise ConfigError(f"{file}: it is not what this release of compare writes; write name= with another name")


def refuse_fewer_seeds(folder: Path, most: int, seeds: int) -> None:
    """Raise ConfigError if a comparison had more seeds already."""
    if seeds < most:
        raise ConfigError(f"{folder} was begun with seeds={most}, and now it is {seeds}: write {most} or more")


def refuse_changes(folder: Path, found: Iterable[tuple[str, Any, Any]], name: str) -> None:
    """Refuse the first thing that a comparison was not begun with.

    Args:
        folder: The comparison's folder.
        found: What has changed, and its values then and now.
        name: The comparison's `name=`.

    Raises:
        ConfigError: Something has changed.
    """
    for what, before, after in found:
        raise ConfigError(
            f"{folder} was begun with {what}={before}, and now it is {after}: write name= with another name than "
            f"{name}, or what it was begun with"
        )


def changes(known: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield what changes results and has changed, and its values then and now.

    Args:
        known: The conditions of a plan, as they were.
        now: The same as they are now; of a comparison over data sets without `data`.
    """
    names = [",".join(model["name"] for model in conditions["models"]) for conditions in (known, now)]
    if names[0] != names[1]:
        yield "models", names[0], names[1]
    for before, after in zip(known["models"], now["models"], strict=False):
        if before != after:
            yield f"models: {before['name']}", "the file and modules as they were", "others of that name"
    if known.get("data") != now.get("data"):
        yield "data", "its images and labels as they were", "others"
    for key in sorted({*known["arguments"], *now["arguments"]}):
        before, after = (conditions["arguments"].get(key) for conditions in (known, now))
        if before != after:
            yield key, before, after
    if known["pretrained"] != now["pretrained"]:
        yield "pretrained", "the file as it was", "another one"
    if known["folds"] != now["folds"]:
        yield "folds", known["folds"], now["folds"]
    scored = now.get("scored")  # older plans do not say; of a comparison over data sets, its data sets do
    if known.get("scored", scored) != scored:
        yield "the split that is scored", known["scored"], scored
    for key, default in (("gpus_per_run", 1), ("seed", 0)):
        before, after = (conditions.get(key, default) for conditions in (known, now))
        if before != after:
            yield key, before, after
    for package, before in known["versions"].items():
        if before != now["versions"].get(package):
            yield package, before, now["versions"].get(package)
