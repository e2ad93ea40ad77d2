"""One process at a time works in a folder, and a dead one's lock does not stay."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import environment

from yolo_focal import ConfigError
from yolo_focal.comparison.store.lock import holder, locked


def test_a_second_one_is_told_who_works_there(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(ConfigError) as caught, locked(tmp_path, wait=0.1):
        pass
    assert re.fullmatch(
        rf"{tmp_path}: process {os.getpid()} on \S+ has been working there since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d; "
        r"wait until it ends, or write name= with another name",
        str(caught.value),
    )
    with locked(tmp_path):
        assert str(holder(tmp_path)).startswith(f"process {os.getpid()} on ")
    assert holder(tmp_path) is None
    assert holder(tmp_path / "absent") is None
    assert [file.name for file in tmp_path.iterdir()] == [".lock"]


HOLD = """
import sys, time
from pathlib import Path
from yolo_focal.comparison.store.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    assert str(holder(tmp_path)).startswith(f"process {process.pid} on ")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert holder(tmp_path) is None
    (tmp_path / ".lock.json").write_text('{"host')  # cut off by a full disk
    with locked(tmp_path), pytest.raises(ConfigError, match=f"process {os.getpid()} on "), locked(tmp_path, wait=0.1):
        pass


RACE = """
import sys, time
from pathlib import Path
from yolo_focal.comparison.store.lock import locked
folder = Path(sys.argv[1])
for _ in range(20):
    with locked(folder, wait=60):
        (folder / "inside").touch(exist_ok=False)
        time.sleep(0.002)
        (folder / "inside").unlink()
"""


def test_many_at_once_come_in_one_by_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACE, str(tmp_path)]
    processes = [subprocess.Popen(command, env=environment()) for _ in range(4)]
    assert [process.wait(120) for process in processes] == [0, 0, 0, 0]
    assert not (tmp_path / "inside").exists()
