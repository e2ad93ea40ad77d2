"""One process at a time works in a folder, and a dead one's lock does not stay."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support import environment

from yolo_focal import ConfigError
from yolo_focal.comparison import lock
from yolo_focal.comparison.lock import locked


def owner(**other: object) -> dict[str, object]:
    process = psutil.Process()
    host = os.uname().nodename
    return {"host": host, "pid": process.pid, "began": process.create_time(), "since": time.time(), **other}


def test_a_second_one_is_told_who_works_there(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(ConfigError) as caught, locked(tmp_path):
        pass
    assert re.fullmatch(
        rf"{tmp_path}: process {os.getpid()} on \S+ has been working there since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d; "
        r"wait until it ends, or write name= with another name",
        str(caught.value),
    )
    with locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "age", "free"),
    [
        (owner(began=0.0), 0, True),  # the number of a process that is another one now
        (owner(pid=2**22 - 1), 0, True),
        (owner(), 3600, False),  # of this machine, and alive
        (owner(host="elsewhere"), 0, False),
        (owner(host="elsewhere"), 3600, True),
        ("cut off", 0, False),
        ("cut off", 3600, True),
    ],
)
def test_a_lock_is_taken_over_where_its_owner_is_dead(content: object, age: int, free: bool, tmp_path: Path) -> None:
    file = tmp_path / ".lock.json"
    file.write_text(json.dumps(content)[: None if isinstance(content, dict) else 5])
    os.utime(file, (time.time() - age,) * 2)
    if free:
        with locked(tmp_path):
            assert json.loads(file.read_text())["pid"] == os.getpid()
    else:
        with pytest.raises(ConfigError), locked(tmp_path):
            pass


def test_an_owner_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_BEAT", 0.05)
    with locked(tmp_path):
        os.utime(tmp_path / ".lock.json", (0, 0))
        time.sleep(0.5)
        assert time.time() - (tmp_path / ".lock.json").stat().st_mtime < 60


RACE = """
import sys, time
from pathlib import Path
from yolo_focal.comparison.lock import locked
folder = Path(sys.argv[1])
for _ in range(20):
    with locked(folder, wait=60):
        (folder / "inside").touch(exist_ok=False)
        time.sleep(0.002)
        (folder / "inside").unlink()
"""


def test_many_at_once_come_in_one_by_one(tmp_path: Path) -> None:
    (tmp_path / ".lock.json").write_text(json.dumps(owner(began=0.0)))  # of a dead process: all want to take it over
    command = [sys.executable, "-c", RACE, str(tmp_path)]
    processes = [subprocess.Popen(command, env=environment()) for _ in range(4)]
    assert [process.wait(120) for process in processes] == [0, 0, 0, 0]
    assert list(tmp_path.iterdir()) == []
