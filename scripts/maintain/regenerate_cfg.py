"""Regenerate the packaged focal configs from the installed Ultralytics' own.

python scripts/maintain/regenerate_cfg.py [dir=cfg]

Those with FocalModulation are what `yolo-focal derive` writes; those with FocalNet are in `focalnet_cfg.py`. The
originals' comments are replaced by a header and the index of each row.
"""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path
from typing import NamedTuple

import focalnet_cfg

from yolo_focal.hook import configs
from yolo_focal.twin import config


class Packaged(NamedTuple):
    """A packaged config: what `yolo-focal derive` is asked for.

    Attributes:
        original: The stock model's name, such as `yolo11-seg`.
        replace: The module that is replaced.
        after: The module behind which a row is inserted; empty to replace.
        module: The new module.
    """

    original: str
    replace: str = "SPPF"
    after: str = ""
    module: str = config.FOCAL

    @property
    def name(self) -> str:
        """The file's name, such as `yolo11-focal-seg.yaml`."""
        return config.name_of_twin(f"{self.original}.yaml", self.module)

    @property
    def command(self) -> str:
        """The command that derives the rows."""
        where = f" after={self.after}" if self.after else f" replace={self.replace}" if self.replace != "SPPF" else ""
        new = f" with={self.module}" if self.module != config.FOCAL else ""
        return f"yolo-focal derive model={self.original}.yaml{where}{new}"


TASKS = ("", "-seg", "-pose", "-obb", "-cls")
FILES = [
    *(Packaged(f"yolov8{suffix}") for suffix in (*TASKS, "-p2", "-p6", "-seg-p6", "-pose-p6")),
    *(Packaged(f"yolov8{suffix}") for suffix in ("-ghost", "-ghost-p2", "-ghost-p6", "-world", "-worldv2", "-rtdetr")),
    *(Packaged(f"yolo11{suffix}") for suffix in TASKS),
    *(Packaged(f"yolo26{suffix}") for suffix in (*TASKS, "-p2", "-p6")),
    *(Packaged(f"yolov8{suffix}", after="SPPF", module="C2Focal") for suffix in TASKS),
    *(Packaged(f"{family}{suffix}", "C2PSA", module="C2Focal") for family in ("yolo11", "yolo26") for suffix in TASKS),
]


def main(arguments: list[str]) -> None:
    """Write every file; existing files are overwritten."""
    folder = Path(dict(argument.split("=", 1) for argument in arguments).get("dir", "cfg"))
    for name, text in texts().items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        print(path)


def texts() -> dict[str, str]:
    """Return the text of every packaged config by its file name."""
    focalnets = {focalnet_cfg.name_of(name): focalnet_cfg.text_of(name) for name in focalnet_cfg.ORIGINALS}
    return {**{file.name: packaged(file) for file in FILES}, **focalnets}


def packaged(file: Packaged) -> str:
    """Return the text of a packaged config that is derived from a stock one."""
    original, module = file.original, file.module
    text = config.read(configs.model(f"{original}.yaml"))
    twin = config.twin(text, f"{original}.yaml", file.replace, file.after, module)
    plain = re.sub(r"\s*#.*", "", twin.text)
    index = itertools.count()
    rows = re.sub(r"(?m)^ *- \[.*$", lambda row: f"{row[0]} # {next(index)}", plain)
    changed = "\n".join(f"# {change}" for change in twin.changes)
    command = re.sub(r"(\d+)", r"\1n", file.name, count=1)
    return (
        f"# {original} with {module}, the rows as `{file.command}` writes them:\n"
        f"{changed}\n"
        f"# yolo train model={command} data=... (scales as for {original}: the letter behind the number chooses)\n\n"
        f"{rows.strip()}\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
