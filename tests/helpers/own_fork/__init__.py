"""A fork as people make them: the installed Ultralytics with modules of our own, pasted in the ways that forks use."""

from __future__ import annotations

import shutil
from pathlib import Path

from own_fork.configs import CONFIGS
from own_fork.edits import EDITS
from own_fork.modules import ADDED, BESIDE, FOLDER


def make(folder: Path) -> Path:
    """Write a fork of the installed Ultralytics with model YAML files, and return its folder.

    Beside it lies what the fork needs and the tests' environment does not have: the folder `present`.
    """
    import ultralytics

    root = folder / "ultralytics"
    shutil.copytree(Path(ultralytics.__file__).parent, root, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    (root / "nn" / "modules" / "added.py").write_text(ADDED)
    (root / "nn" / "modules" / "absent.py").write_text(
        "import a_package_that_is_not_there as other\nfrom .conv import Conv\n\n\n"
        "class Absent(Conv):\n    norm = other.norm\n"
    )
    (root / "nn" / "beside.py").write_text(BESIDE)
    (root / "nn" / "more").mkdir()
    for name, text in FOLDER.items():
        (root / "nn" / "more" / name).write_text(text)
    (folder / "present").mkdir()
    (folder / "present" / "a_package_that_is_not_there.py").write_text("norm = None\n")
    for name, text in CONFIGS.items():
        (root / "cfg" / "models" / name).write_text(text)
    for file, edits in EDITS.items():
        text = (root / file).read_text(encoding="utf-8")
        for old, new in edits:
            assert old in text, (file, old)
            text = text.replace(old, new)
        (root / file).write_text(text, encoding="utf-8")
    return folder
