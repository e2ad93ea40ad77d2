"""Write the packaged focal configs anew from the installed Ultralytics' own, as `yolo-focal derive` does.

python scripts/regenerate_cfg.py [dir=cfg]

The originals' comments are left out; a head of our own and each row's number are put in their place.
"""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path

from yolo_focal import configs, derive

ORIGINALS = [
    *(f"yolov8{suffix}" for suffix in ("", "-p2", "-p6", "-seg", "-seg-p6", "-pose", "-pose-p6", "-obb", "-cls")),
    *(f"yolov8{suffix}" for suffix in ("-ghost", "-ghost-p2", "-ghost-p6", "-world", "-worldv2", "-rtdetr")),
    *(f"yolo11{suffix}" for suffix in ("", "-seg", "-pose", "-obb", "-cls")),
    *(f"yolo26{suffix}" for suffix in ("", "-p2", "-p6", "-seg", "-pose", "-obb", "-cls")),
]


def main(arguments: list[str]) -> None:
    """Write every file; what is there already is overwritten."""
    folder = Path(dict(argument.split("=", 1) for argument in arguments).get("dir", "cfg"))
    for original in ORIGINALS:
        path = folder / derive.name_of_twin(f"{original}.yaml")
        path.write_text(packaged(original), encoding="utf-8")
        print(path)


def packaged(original: str) -> str:
    """Return the text of a packaged config.

    Args:
        original: The stock model's name, such as `yolo11-seg`.
    """
    source = configs.model(f"{original}.yaml").read_text(encoding="utf-8")
    twin = derive.twin(source, f"{original}.yaml")
    plain = re.sub(r"\s*#.*", "", twin.text)
    index = itertools.count()
    rows = re.sub(r"(?m)^ *- \[.*$", lambda row: f"{row[0]} # {next(index)}", plain)
    changed = "\n".join(f"# {change}" for change in twin.changes)
    name = derive.name_of_twin(f"{original}.yaml")
    command = re.sub(r"(\d+)", r"\1n", name, count=1)
    return (
        f"# {original} with FocalModulation, the rows as `yolo-focal derive model={original}.yaml` writes them:\n"
        f"{changed}\n"
        f"# yolo train model={command} data=... (scales as for {original}: the letter behind the number chooses)\n\n"
        f"{rows.strip()}\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
