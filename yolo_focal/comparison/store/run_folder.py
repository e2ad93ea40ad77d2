"""A run's folder: what is to be trained, what comes of it, and the files that say so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from yolo_focal.comparison.store.files import read_json, write_json
from yolo_focal.comparison.store.run_result import RunResult

SCHEMA = 4
TASK, RESULT, LOG, TIMES = "task.json", "result.json", "log.txt", "times.json"
BEST, TEST = "best.npz", "test.npz"
SNAPSHOTS = "snapshots"

# The metric that the models of a task are compared by.
METRICS = {
    "detect": "metrics/mAP50-95(B)",
    "obb": "metrics/mAP50-95(B)",
    "segment": "metrics/mAP50-95(M)",
    "pose": "metrics/mAP50-95(P)",
    "classify": "metrics/accuracy_top1",
}


def short(name: str) -> str:
    """Return a metric's name without Ultralytics' prefix."""
    return name.partition("/")[2] or name


ZEROS, INPUT = "zeros", "input"  # what the output of a layer is replaced by


class Ablation(NamedTuple):
    """Layers whose outputs are replaced, to see what they are good for.

    Attributes:
        rows: Their indices.
        by: `ZEROS` or `INPUT`, each layer's own input.
    """

    rows: list[int]
    by: str


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """What to train.

    Attributes:
        model: A model YAML or a checkpoint.
        data: The data set.
        seed: Of the training.
        arguments: Everything else that `yolo train` is given.
        threads: CPU threads of each process.
        last_epochs: Number of epochs at the end whose validations are kept.
        test: Validate the best checkpoint on the test split too.
        snapshot_every: Epochs from one snapshot to the next; 0 for none.
        metric: The metric that it is compared by.
        ablations: Layers whose outputs are replaced in further validations of the best checkpoint.
        place: The device that it is trained on, for people to read, such as "GPU 1".
        fingerprint: Digest of all that changes the result.
    """

    model: str
    data: str
    seed: int
    arguments: dict[str, Any]
    threads: int
    last_epochs: int
    test: bool
    snapshot_every: int
    metric: str
    ablations: list[Ablation]
    place: str
    fingerprint: str


def read_task(folder: Path) -> RunSpec | None:
    """Return what a run is to train; None if its file is missing, cut off or of another release."""
    try:
        task = RunSpec(**read_json(folder / TASK))
        return replace(task, ablations=[Ablation(*one) for one in task.ablations])
    except TypeError:
        return None


def training_folder(folder: Path) -> Path:
    """Return the folder of a run's training, whose name tells the run apart in every logger of Ultralytics'."""
    return folder / f"{folder.parent.name}-{folder.name}"


def validation_file(folder: Path, epoch: int) -> Path:
    """Return the file of the validation after an epoch, counted from 0."""
    return folder / "validations" / f"epoch-{epoch}.npz"


def validation_files(folder: Path) -> list[Path]:
    """Return the files of the validations after the last epochs, the earliest first."""
    return sorted((folder / "validations").glob("epoch-*.npz"), key=lambda file: int(file.stem.partition("-")[2]))


def complete_snapshots(snapshots: Path) -> list[Path]:
    """Return the snapshots that were renamed when they were written, in a folder of them, the oldest first."""
    return sorted(snapshots.glob("epoch-*[0-9]"), key=lambda path: int(path.name.partition("-")[2]))


def write_result(folder: Path, result: RunResult) -> None:
    """Write what a run has come to in the end."""
    write_json(folder / RESULT, {"schema": SCHEMA, **result.as_json()})


def result_of(folder: Path, fingerprint: str) -> RunResult | None:
    """Return what a run has written in the end; None if it has not, or not as a whole, or it was another run."""
    content = read_json(folder / RESULT)
    if (
        not isinstance(content, dict)
        or content.pop("schema", None) != SCHEMA
        or content.get("fingerprint") != fingerprint
    ):
        return None
    return RunResult.from_json(content)
