"""The tests marked gpu, a file at a time."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from results import Job, Options, Row

ROOT = Path(__file__).resolve().parents[4]


def jobs(options: Options) -> Iterator[tuple[str, Job]]:
    """Yield a job for each file of tests."""
    for file in sorted((ROOT / "tests" / "gpu").glob("test_*.py")):
        yield file.stem, partial(run, options, file)


def run(options: Options, file: Path) -> list[Row]:
    """Run a file's tests in one process; its output goes to a file beside the results."""
    out = Path(options.out).resolve()
    report, log = out / f"{file.stem}.xml", out / f"{file.stem}.log"
    marker = "gpu" if options.device == "cuda" else "not gpu and not slow"
    few = ["-k", "norm"] if options.small else []
    command = [sys.executable, "-m", "pytest", "-n", "0", "-m", marker, "-ra", "-s", *few, f"--junitxml={report}", file]
    with log.open("w") as opened:
        done = subprocess.run([*map(str, command)], cwd=ROOT, stdout=opened, stderr=subprocess.STDOUT, check=False)
    if done.returncode not in (0, 1, 5):  # passed, failed, none selected
        raise RuntimeError(f"pytest ended with exit status {done.returncode}; see {log}")
    (suite,) = ElementTree.parse(report).iter("testsuite")
    counts = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    failed = [str(case.get("name")) for case in suite.iter("testcase") if case.find("failure") is not None]
    rows: list[Row] = [
        {"file": file.name, **counts, "seconds": float(suite.get("time", 0)), "failed": ", ".join(failed)}
    ]
    rows += [{"recorded": p.get("name"), "value": p.get("value")} for p in suite.iter("property")]
    return rows
