"""`replace=`, `after=` and `with=` of `yolo-focal derive`: what is refused, and what the command says."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import COMMAND, run

from yolo_focal import ConfigError
from yolo_focal.hook.modules import registry
from yolo_focal.hook.modules.channels import KEEPING_CHANNELS
from yolo_focal.hook.rows import stock
from yolo_focal.twin import rows
from yolo_focal.twin.checkpoint import derive_checkpoint

UNKNOWN = " One of your own is registered by a file: YOLO_FOCAL_MODULES=my_blocks.py"


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"module": "c2focal"}, f"with=c2focal: no module is registered by that name; did you mean C2Focal?{UNKNOWN}"),
        ({"module": "C2Focl"}, f"with=C2Focl: no module is registered by that name; did you mean C2Focal?{UNKNOWN}"),
        (
            {"module": "SPPF"},
            f"with=SPPF: no module is registered by that name; write one of SUITABLE.{UNKNOWN}",
        ),
        (
            {"module": "Own"},
            "with=Own: its output channels are for its row to say, as it is registered with another rule than "
            'channels="same"; write with= a module that keeps the shape: SUITABLE',
        ),
        (
            {"module": "EMA", "images": "photos"},
            "yolo-focal derive: images=photos: nothing is fitted to images where with=EMA; leave images= out",
        ),
        (
            {"after": "SPPF", "images": "photos"},
            "yolo-focal derive: images=photos: nothing is fitted to images where after=SPPF; leave images= out",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        derive_checkpoint("yolov8n.pt", tmp_path / "twin.pt", **arguments)
    suitable = [name for name, entry in registry.registered().items() if stock.rule_of(name, entry) in KEEPING_CHANNELS]
    assert str(caught.value) == message.replace("SUITABLE", ", ".join(sorted(suitable)))


MODULES = ["Conv", "SPPF", "Concat", "C2f", "Detect"]


@pytest.mark.parametrize(
    ("modules", "replace", "after", "message"),
    [
        (MODULES, "SPPF", "SPP", "m: no row names SPP; write after= with one of C2f, Concat, Conv, Detect, SPPF"),
        (MODULES, "5", "", "m: there is no row 5; write replace= with an index up to 4"),
        (MODULES, "SPPF", "5", "m: there is no row 5; write after= with an index up to 4"),
        (
            MODULES,
            "SPPF",
            "Detect",
            "m, row 4: after=Detect: it is the last row, and nothing would read a row behind it; write after= with "
            "another",
        ),
        (["Conv", "Classify"], "SPP", "", "m: no row names SPP; write replace= with one of Classify, Conv"),
    ],
)
def test_rows_that_are_not_there_are_named(modules: list[str], replace: str, after: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rows.find(modules, "m", replace, after)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            ["model=yolo11n-seg.yaml", "after=SPPF", "with=C2Focal"],
            [
                "row 10: C2Focal, [] behind SPPF",
                "rows from 10 on: moved, and the indices that they read with them",
                "yolo11-c2focal-seg.yaml: written",
                "yolo train model=yolo11n-c2focal-seg.yaml data=my.yaml",
            ],
        ),
        (
            ["model=yolov8n-cls.yaml", "after=SPPF", "with=C2Focal", "save=new.yaml"],
            [
                "row 9: C2Focal, [] before Classify, as there is no SPPF",
                "new.yaml: written",
                "yolo train model=new.yaml data=my.yaml",
            ],
        ),
        (
            ["model=yolov8n.yaml", "replace=SPPF", "after=SPPF"],
            [
                "yolo-focal derive: replace=SPPF after=SPPF: a module is put in the place of another or behind it; "
                "write one of them"
            ],
        ),
        (
            ["model=yolov8n.yaml", "after=SPPF", "with=C2Focl"],
            [f"with=C2Focl: no module is registered by that name; did you mean C2Focal?{UNKNOWN}"],
        ),
    ],
)
def test_the_command_says_what_it_did(arguments: list[str], lines: list[str], tmp_path: Path) -> None:
    done = run(COMMAND, "derive", *arguments, cwd=tmp_path, check=False)
    assert done.stdout.splitlines() == lines
    assert done.returncode == (len(lines) == 1)
    assert len(list(tmp_path.iterdir())) == done.returncode ^ 1
