"""The parts of what only a GPU can show, tried on the CPU at small sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import REPO, run

SCRIPT = REPO / "scripts" / "experiments" / "gpu.sh"
SMALL = ("device=cpu", "size=small")


@pytest.mark.slow
def test_each_part_writes_its_tables_and_is_not_measured_twice(tmp_path: Path) -> None:
    parts = ("module", "tail", "models", "exact", "runtimes")
    run("bash", SCRIPT, *parts, *SMALL, f"out={tmp_path}", cwd=tmp_path)
    before = {}
    for part in parts:
        content = json.loads((tmp_path / f"{part}.json").read_text())
        before[part] = content["measured"]
        assert content["measured"] and all("rows" in measured for measured in content["measured"].values())
        assert (tmp_path / f"{part}.md").read_text().startswith(f"# {part}\n")
    (last,) = (rows for name, rows in before["exact"].items() if name.endswith("=True"))
    assert [row["tensors that differ"] for row in last["rows"]] == [0, 0]  # on a CPU
    errors = [row for measured in before["tail"].values() for row in measured["rows"] if "lost" in row]
    ours, float32 = ([row["relative error"] for row in errors if row["tail"] == name] for name in ("ours", "float32"))
    assert ours == pytest.approx(float32)
    printed = run("bash", SCRIPT, *parts, *SMALL, f"out={tmp_path}", cwd=tmp_path).stdout
    assert "module: 6 of 6 measured" in printed
    assert {part: json.loads((tmp_path / f"{part}.json").read_text())["measured"] for part in parts} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("modul", *SMALL), "modul: there is no such part; write some of tests module models tail compare exact"),
        (("tail", "device=gpu"), "device=gpu: write cuda or cpu"),
        (("tail", "minutes=a"), "minutes=a: write a number, such as minutes=8.0"),
        (("compare", *SMALL), "data= is missing: write a data set's YAML file, such as data=my.yaml"),
        (("tail", "seconds=1"), "seconds=1: write key=value, with a key of device, out, minutes, data, size"),
    ],
)
def test_wrong_arguments_are_named(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = run("bash", SCRIPT, *arguments, cwd=tmp_path, check=False)
    assert done.returncode == 1 and message in done.stdout.splitlines()[-1]
