"""Says how far a comparison is, to whoever asks from another terminal: `yolo-focal compare status name=...`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from ultralytics.utils import RUNS_DIR

from yolo_focal.comparison import screening
from yolo_focal.comparison.store.files import read_json
from yolo_focal.comparison.store.lock import holder
from yolo_focal.comparison.store.progress import FINISHED, read_progress, summary, table
from yolo_focal.comparison.study.unchanged import PLAN
from yolo_focal.errors import ConfigError

_INTERVAL = 2.0  # seconds between two looks


def status(name: str, watch: bool = False) -> Iterator[str]:
    """Yield how far a comparison is: a line about it, and a table of its runs.

    Args:
        name: Its name.
        watch: Yield it anew every two seconds until nobody works on it any more.

    Raises:
        ConfigError: There is no comparison of that name.
    """
    folder = Path(RUNS_DIR / "compare" / name)
    yield "\n".join(_overview(folder))
    while watch and holder(folder) is not None:
        time.sleep(_INTERVAL)
        yield "\n".join(_overview(folder))


def _overview(whole: Path) -> Iterator[str]:
    """Yield how far a comparison is, or the screening of its models that goes before."""
    screenings = sorted((whole / screening.FOLDER).glob("*"), key=lambda folder: folder.stat().st_mtime)
    known = ((folder, _places(folder)) for folder in (whole, *reversed(screenings)))
    found = next(((folder, places) for folder, places in known if places), None)
    if found is None:
        raise ConfigError(f"name={whole.name}: there is no comparison in {whole}; write name= as it was begun with")
    folder, places = found
    runs = list(read_progress(folder))
    working = holder(whole)
    if working is None and any(run.state != FINISHED for run in runs):
        working = "nobody works on it; the same command goes on"
    yield f"{folder}: {summary(runs, places)}{f' ({working})' if working else ''}"
    yield from table(runs)


def _places(folder: Path) -> int | None:
    """Return how many runs at once a comparison's plan, or those of its data sets, have room for; None without one."""
    plans = [read_json(file) for file in (folder / PLAN, *folder.glob(f"*/{PLAN}"))]
    return min((plan["places"] for plan in plans if isinstance(plan, dict)), default=None)
