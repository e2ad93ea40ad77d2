"""How the hook starts in every process, stays out of the way, and never stops `import torch`."""

from __future__ import annotations

import re
import shutil
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import ultralytics
from support import YOLO, further, python, run

ACTIVE = "import yolo_focal.hook.patch; print('active:', yolo_focal.hook.patch.is_active())"


def test_importing_the_package_imports_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys, yolo_focal; print(sorted({'torch', 'ultralytics', 'cv2', 'numpy', 'yaml'} & set(sys.modules)))"
    assert python(code, tmp_path).strip() == "[]"


def test_the_public_names_are_all_there(tmp_path: Path) -> None:
    code = (
        "import yolo_focal; print([n for n in yolo_focal.__all__ if getattr(yolo_focal, n) is None], dir(yolo_focal))"
    )
    out = python(code, tmp_path)
    assert out.startswith("[] ['C2Focal', 'C3k2Focal', 'ConfigError', 'FocalModulation'")
    with pytest.raises(AttributeError, match="module 'yolo_focal' has no attribute 'nothing'"):
        __import__("yolo_focal").nothing  # noqa: B018


@pytest.mark.parametrize(
    "first",
    [
        "from ultralytics import YOLO",
        "import torch, ultralytics.nn.modules, ultralytics.nn.tasks",
        "import yolo_focal, ultralytics.nn.tasks",
        *further(
            "import ultralytics",
            "import ultralytics.nn.tasks",
            "from ultralytics.nn import tasks",
            "import yolo_focal.focal",
            "import ultralytics.engine.trainer, yolo_focal",
        ),
    ],
)
def test_whatever_is_imported_first(first: str, tmp_path: Path) -> None:
    code = f"{first}\nfrom ultralytics import YOLO\nprint(type(YOLO('yolov8n-focal.yaml').model.model[9]).__name__)"
    assert python(code, tmp_path).splitlines()[-1] == "FocalModulation"


def test_torch_names_the_hook_among_its_entry_points() -> None:
    points = entry_points()
    group = points.select(group="torch.backends") if hasattr(points, "select") else points["torch.backends"]
    assert ("yolo_focal", "yolo_focal._startup:arm") in {(p.name, p.value) for p in group}


@pytest.mark.slow
def test_switched_off_by_the_environment(tmp_path: Path) -> None:
    off = {"YOLO_FOCAL_AUTOLOAD": "0"}
    done = run(YOLO, "train", "model=yolov8n-focal.yaml", "data=shapes.yaml", cwd=tmp_path, check=False, **off)
    assert done.returncode != 0
    assert re.search(r"FileNotFoundError: 'yolov8n?-focal.yaml' does not exist", done.stdout)
    assert "yolo_focal" not in done.stdout
    state = "import sys, ultralytics.nn.tasks; print(sorted(m for m in sys.modules if m.startswith('yolo_focal.')))"
    assert python(state, tmp_path, **off).strip() == "['yolo_focal._startup', 'yolo_focal.environment']"
    assert python(f"import ultralytics.nn.tasks, yolo_focal; {ACTIVE}", tmp_path, **off).strip() == "active: False"


def test_switched_off_it_can_still_be_activated_by_hand(tmp_path: Path) -> None:
    code = f"import yolo_focal; yolo_focal.activate(); {ACTIVE}"
    assert python(code, tmp_path, YOLO_FOCAL_AUTOLOAD="0").strip() == "active: True"


def test_a_failure_while_arming_is_one_line_and_torch_works(tmp_path: Path) -> None:
    (tmp_path / "wrapt.py").write_text("raise RuntimeError('a broken\\n installation')")
    code = "import torch; from ultralytics import YOLO; YOLO('yolov8n.yaml'); print(torch.ones(2).sum().item())"
    lines = [line for line in python(code, tmp_path, PYTHONPATH=str(tmp_path)).splitlines() if line]
    assert lines == [
        "yolo-focal is off: RuntimeError: a broken installation (YOLO_FOCAL_AUTOLOAD=0 silences this line)",
        "2.0",
    ]


def test_warnings_as_errors_do_not_make_it_fail(tmp_path: Path) -> None:
    (tmp_path / "wrapt.py").write_text("raise RuntimeError('broken')")
    done = run(sys.executable, "-W", "error::UserWarning", "-c", "import torch", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.stdout.count("\n") == 1


@pytest.fixture
def other_parser(tmp_path: Path) -> Path:
    """A folder with a copy of Ultralytics whose parser ends its dispatch in another way."""
    shutil.copytree(
        Path(ultralytics.__file__).parent, tmp_path / "ultralytics", ignore=shutil.ignore_patterns("assets")
    )
    tasks = tmp_path / "ultralytics" / "nn" / "tasks.py"
    text = tasks.read_text(encoding="utf-8")
    assert text.count("            c2 = ch[f]\n") == 1
    tasks.write_text(text.replace("            c2 = ch[f]\n", "            c2 = ch[f] if f else 0\n"), encoding="utf-8")
    return tmp_path


def test_a_parser_of_another_shape_is_named_and_stock_models_work(other_parser: Path) -> None:
    code = "from ultralytics import YOLO; print('layers:', len(YOLO('yolov8n.yaml').model.model))"
    *_, warning, last = python(code, other_parser, PYTHONPATH=str(other_parser)).splitlines()
    assert last == "layers: 23"
    assert warning == (
        f"yolo-focal is off: UnsupportedUltralyticsError: Ultralytics {ultralytics.__version__} cannot be extended: "
        "parse_model ends 0 branches with `else: c2 = ch[f]`, where one is expected. Tested are 8.1.0 to 8.4.190: "
        "install one of these, such as `pip install ultralytics==8.4.190` (YOLO_FOCAL_AUTOLOAD=0 silences this line)"
    )


def test_activating_by_hand_raises_where_the_parser_has_another_shape(other_parser: Path) -> None:
    code = """
import yolo_focal
try:
    yolo_focal.activate()
except yolo_focal.UnsupportedUltralyticsError as error:
    print("refused:", error)
"""
    out = python(code, other_parser, PYTHONPATH=str(other_parser), YOLO_FOCAL_AUTOLOAD="0")
    assert f"refused: Ultralytics {ultralytics.__version__} cannot be extended: parse_model ends 0 branches" in out
