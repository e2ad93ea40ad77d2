"""The results of a part: rows by measurement, in a JSON file that a later call goes on with, and as Markdown."""

from __future__ import annotations

import json
import platform
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Job = Callable[[], list[Row]]
PACKAGES = ("onnxruntime", "onnxruntime-gpu", "tensorrt", "timm", "torch", "transformers", "triton", "ultralytics")


@dataclass
class Options:
    """The command line arguments.

    Attributes:
        device: "cuda" or "cpu".
        out: Folder of the results.
        minutes: After which no measurement of a part begins.
        data: The data set of the part `compare`.
        size: "full", or "small" to try the parts.
    """

    device: str = "cuda"
    out: str = "gpu-results"
    minutes: float = 8.0
    data: str = ""
    size: str = "full"

    @property
    def small(self) -> bool:
        """Whether the parts are only tried."""
        return self.size == "small"

    @property
    def ultralytics_device(self) -> str:
        """The device as Ultralytics' argument names it."""
        return "0" if self.device == "cuda" else self.device


class Unfinished(Exception):  # noqa: N818
    """A measurement needs another call to go on; its rows so far are the exception's argument."""


class Results:
    """The results of a part.

    Args:
        options: The command line arguments.
        part: Name of the part.

    Raises:
        SystemExit: The file in `out` was begun on another machine or with other arguments.
    """

    def __init__(self, options: Options, part: str) -> None:
        self.part = part
        self.file = Path(options.out) / f"{part}.json"
        self._total = 0
        environment = {**environment_of(options), "size": options.size}
        self._content: dict[str, Any] = {"part": part, "environment": environment, "measured": {}}
        if self.file.is_file():
            self._content = json.loads(self.file.read_text(encoding="utf-8"))
            begun = self._content["environment"]
            other = [f"{key} {begun.get(key)}" for key in environment if begun.get(key) != environment[key]]
            if other:
                raise SystemExit(
                    f"out={options.out}: {self.file} was begun with {', '.join(other)}; write another out="
                )
        self.file.parent.mkdir(parents=True, exist_ok=True)

    def run(self, jobs: Iterable[tuple[str, Job]], end: float) -> None:
        """Run the jobs that have no result yet, until the clock `time.monotonic` is at `end`."""
        measured = self._content["measured"]
        jobs = list(jobs)
        self._total = len(jobs)
        for name, job in jobs:
            if "rows" in measured.get(name, {}):
                continue
            if time.monotonic() >= end:
                break
            print(f"{self.part}: {name}", flush=True)
            began = time.monotonic()
            try:
                outcome: dict[str, Any] = {"rows": job()}
            except Unfinished as unfinished:
                outcome = {"unfinished": unfinished.args[0]}
            except Exception as error:  # one that fails, of memory or a missing package, does not stop the others
                traceback.print_exc()
                outcome = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
            measured[name] = {**outcome, "seconds": round(time.monotonic() - began, 1)}
            self._save()

    def _save(self) -> None:
        unfinished = self.file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(self._content, indent=1) + "\n", encoding="utf-8")
        unfinished.replace(self.file)
        self.file.with_suffix(".md").write_text(self.markdown() + "\n", encoding="utf-8")

    def errors(self) -> list[str]:
        """Return a line for each measurement that failed."""
        return [f"{name}: {m['error']}" for name, m in self._content["measured"].items() if "error" in m]

    def state(self) -> str:
        """Return how many of the part's measurements are done."""
        done = sum("rows" in m for m in self._content["measured"].values())
        return f"{self.part}: {done} of {self._total} measured" + ("" if done == self._total else "; call it again")

    def markdown(self) -> str:
        """Return the tables: one for each set of columns, then what failed."""
        tables: dict[tuple[str, ...], list[Row]] = {}
        for measured in self._content["measured"].values():
            for row in measured.get("rows", measured.get("unfinished", [])):
                tables.setdefault(tuple(row), []).append(row)
        lines = [f"# {self.part}", "", ", ".join(f"{k} {v}" for k, v in self._content["environment"].items())]
        for columns, rows in tables.items():
            lines += ["", line(columns), line(["---"] * len(columns))]
            lines += [line(_shown(row[column]) for column in columns) for row in rows]
        if self.errors():
            lines += ["", "Failed:", "", *(f"- {error}" for error in self.errors())]
        return "\n".join(lines)


def environment_of(options: Options) -> dict[str, str]:
    """Return what the results depend on: the device and the packages."""
    found = {d.metadata["Name"].lower(): d.version for d in distributions() if d.metadata["Name"]}
    versions = {name: found[name] for name in PACKAGES if name in found}
    if options.device == "cpu":
        return {"device": platform.processor() or platform.machine(), "python": platform.python_version(), **versions}
    import torch

    properties = torch.cuda.get_device_properties(0)
    return {
        "device": f"{properties.name} ({properties.total_memory / 2**30:.0f} GiB)",
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
        "python": platform.python_version(),
        **versions,
    }


def line(cells: Iterable[str]) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
