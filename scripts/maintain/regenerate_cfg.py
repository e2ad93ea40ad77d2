"""Regenerate the packaged focal configs from the installed Ultralytics' own.

python scripts/maintain/regenerate_cfg.py

Those with FocalModulation are what `yolo-focal derive` writes. Those with FocalNet have the heads of the originals, and
the backbone and the comments of `yolov8-focalnet.yaml`, which are written by hand, as `yolov8-focalnet-cls.yaml` is.
The originals' comments are replaced by a header and the index of each row.
"""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import yaml

from yolo_focal.hook import configs
from yolo_focal.twin import config

TASKS = ("", "-seg", "-pose", "-obb", "-cls")
# The stock model, and what `yolo-focal derive` is asked for beside it.
FILES: list[tuple[str, dict[str, str]]] = [
    *((f"yolov8{suffix}", {}) for suffix in (*TASKS, "-p2", "-p6", "-seg-p6", "-pose-p6")),
    *((f"yolov8{suffix}", {}) for suffix in ("-ghost", "-ghost-p2", "-ghost-p6", "-world", "-worldv2", "-rtdetr")),
    *((f"yolo11{suffix}", {}) for suffix in TASKS),
    *((f"yolo26{suffix}", {}) for suffix in (*TASKS, "-p2", "-p6")),
    *((f"yolov8{suffix}", {"after": "SPPF", "with": "C2Focal"}) for suffix in TASKS),
    *((f"yolo{n}{suffix}", {"replace": "C2PSA", "with": "C2Focal"}) for n in (11, 26) for suffix in TASKS),
]
FOCALNETS = [*(f"yolov8{suffix}" for suffix in ("", "-seg", "-pose", "-obb")), "yolo11", "yolo26"]


def texts() -> dict[str, str]:
    """Return the text of every config that is not written by hand, by its file name."""
    return {**dict(derived(*file) for file in FILES), **dict(map(with_focalnet, FOCALNETS))}


def derived(original: str, words: dict[str, str]) -> tuple[str, str]:
    """Return the name and the text of a config that is derived from a stock one."""
    module = words.get("with", config.FOCAL)
    name = config.name_of_twin(f"{original}.yaml", module)
    text = config.read(configs.model(f"{original}.yaml"))
    twin = config.twin(text, f"{original}.yaml", words.get("replace", "SPPF"), words.get("after", ""), module)
    plain = re.sub(r"\s*#.*", "", twin.text)
    index = itertools.count()
    rows = re.sub(r"(?m)^ *- \[.*$", lambda row: f"{row[0]} # {next(index)}", plain)
    changed = "\n".join(f"# {change}" for change in twin.changes)
    command = " ".join([f"yolo-focal derive model={original}.yaml", *(f"{key}={words[key]}" for key in words)])
    scaled = re.sub(r"(\d+)", r"\1n", name, count=1)
    return name, (
        f"# {original} with {module}, the rows as `{command}` writes them:\n"
        f"{changed}\n"
        f"# yolo train model={scaled} data=... (scales as for {original}: the letter behind the number chooses)\n\n"
        f"{rows.strip()}\n"
    )


def with_focalnet(original: str) -> tuple[str, str]:
    """Return the name and the text of a config with FocalNet.

    Args:
        original: The stock model's name, such as `yolov8-seg`.
    """
    name = config.name_of_twin(f"{original}.yaml").replace("-focal", "-focalnet")
    comments, rows = config.read(configs.model("yolov8-focalnet.yaml")).split("\n\n")
    comments = comments.replace("yolov8s-focalnet.yaml", name.replace("-", "s-", 1))
    comments = re.sub(r"yolov8(?=,| with)", original, comments)
    backbone = re.search(r"(?s)backbone:\n.*(?=head:)", rows)[0]
    stock = yaml.safe_load(config.read(configs.model(f"{original}.yaml")))
    top = [f"{key}: {_flow(value)}" for key, value in stock.items() if key not in {"backbone", "head", "scales"}]
    scales = [f"  {letter}: {_flow(stock['scales'][letter])}" for letter in "nsmlx"]
    old, new = len(stock["backbone"]), backbone.count("- [")
    outputs = {4: new - 3, 6: new - 2, old - 1: new - 1}  # the backbones' maps that the head reads

    def moved(source: Any) -> Any:
        if isinstance(source, list):
            return [moved(index) for index in source]
        return source if source < 0 else outputs[source] if source < old else source + new - old

    head = [_flow([moved(source), *rest]) for source, *rest in stock["head"]]
    head = [f"  - {row} # {index}" for index, row in enumerate(head, new)]
    return name, "\n".join([comments, "", *top, "scales:", *scales, f"{backbone}head:", *head, ""])


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=math.inf).removesuffix("...\n").strip()


if __name__ == "__main__":
    for name, text in texts().items():
        (configs.folder() / name).write_text(text, encoding="utf-8")
