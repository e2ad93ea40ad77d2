"""The plan of a comparison over data sets, written with its digest and the time before the first run.

A reader sees by it that models, data sets, seeds and criterion were not chosen by the results. More seeds and more data
sets extend the plan; that is on record with its own time, and the verdict is corrected for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from yolo_focal.comparison.store.files import read_json, write_json
from yolo_focal.comparison.store.run_folder import LOG, METRICS, SCHEMA
from yolo_focal.comparison.study import dataset as datasets
from yolo_focal.comparison.study.plan import conditions, digest
from yolo_focal.comparison.study.request import Request
from yolo_focal.comparison.study.unchanged import (
    PLAN,
    changes,
    check_schema,
    has_begun,
    refuse_changes,
    refuse_fewer_seeds,
)
from yolo_focal.errors import ConfigError

SETS = "sets.json"


class Registered(NamedTuple):
    """A plan on record.

    Attributes:
        time: When it was written, in UTC.
        digest: Its digest.
        begun: Number of runs that had begun then.
        sets: What its data sets are called.
        seeds: Number of seeds.
    """

    time: str
    digest: str
    begun: int
    sets: list[str]
    seeds: int


def register(folder: Path, requests: Mapping[str, Request]) -> list[Registered]:
    """Put a plan on record if it is new, and return all that were, the first one first.

    Args:
        folder: The comparison's.
        requests: What is asked for, by data set.

    Raises:
        ConfigError: Two data sets are the same, or it is not an extension of what the comparison was begun with.
    """
    plan = _plan(requests)
    _check_different(plan["sets"])
    known = read_json(folder / SETS)
    if known is None:
        if (folder / PLAN).exists():
            refuse_changes(folder, [("data", "one data set", ",".join(requests))], folder.name)
        known = {"schema": SCHEMA, "plans": []}
    check_schema(known, folder / SETS)
    if known["plans"] and not has_begun(folder) and known["plans"][-1]["digest"] != digest(plan):
        known["plans"] = []
    if known["plans"]:
        last = known["plans"][-1]["plan"]
        refuse_changes(folder, _changes(last, plan), folder.name)
        refuse_fewer_seeds(folder, last["seeds"], plan["seeds"])
    if not known["plans"] or (last["seeds"], {*last["sets"]}) != (plan["seeds"], {*plan["sets"]}):
        known["plans"].append(
            {
                "time": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
                "digest": digest(plan),
                "begun": len(list(folder.glob(f"*/*/seed*/{LOG}"))),
                "plan": plan,
            }
        )
        write_json(folder / SETS, known)
    return [
        Registered(one["time"], one["digest"], one["begun"], [*one["plan"]["sets"]], one["plan"]["seeds"])
        for one in known["plans"]
    ]


def refuse_one(folder: Path, data: str) -> None:
    """Refuse to go on with one data set in the folder of a comparison over several.

    Raises:
        ConfigError: It is one.
    """
    known = read_json(folder / SETS)
    if isinstance(known, dict):
        refuse_changes(folder, [("data", ",".join(known["plans"][-1]["plan"]["sets"]), data)], folder.name)


def _plan(requests: Mapping[str, Request]) -> dict[str, Any]:
    first = next(iter(requests.values()))
    options = first.options
    return {
        "models": [model.name for model in first.models],
        "sets": {
            label: {
                "data": request.dataset.name,
                "content": datasets.digest(request.dataset),
                "images": "folds" if options.folds else "test" if request.test else "val",
            }
            for label, request in requests.items()
        },
        "seeds": options.seeds,
        "metric": METRICS.get(first.models[0].task, "fitness"),
        "margin": options.margin,
        "all_pairs": options.all_pairs,
        "budget": options.budget,
        "conditions": {key: value for key, value in conditions(first).items() if key not in {"data", "scored"}},
    }


def _check_different(sets: Mapping[str, Mapping[str, str]]) -> None:
    seen: dict[str, str] = {}
    for one in sets.values():
        twin = seen.setdefault(one["content"], one["data"])
        if twin != one["data"]:
            raise ConfigError(f"data=: {one['data']} has the images and labels of {twin}; write each data set once")


def _changes(known: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    if not known["sets"].keys() <= now["sets"].keys():
        yield "data", ",".join(known["sets"]), ",".join(now["sets"])
    for label, before in known["sets"].items():
        if before["content"] != now["sets"][label]["content"]:
            yield f"data: {label}", "its images and labels as they were", "others"
        if before["images"] != now["sets"][label]["images"]:
            yield f"images that {label} is scored on", before["images"], now["sets"][label]["images"]
    yield from changes(known["conditions"], now["conditions"])
    for key in ("margin", "all_pairs", "budget"):
        if known[key] != now[key]:
            yield key, known[key], now[key]
