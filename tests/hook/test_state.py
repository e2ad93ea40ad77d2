"""Whether the patch is there: looked up where it is, after reloads, repeated switching, and in any spelling."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support import COMMAND, REPO, further, python, run

STATE = "import yolo_focal; print('active', yolo_focal.is_active())"
BUILDS = "print(type(YOLO('yolov8n-focal.yaml').model.model[9]).__name__)"


@pytest.mark.parametrize(
    "again",
    [
        "import importlib, ultralytics.nn.tasks as tasks; importlib.reload(tasks)",
        "import sys; del sys.modules['ultralytics.nn.tasks']; import ultralytics.nn.tasks",
    ],
)
def test_after_ultralytics_was_imported_anew(again: str, tmp_path: Path) -> None:
    code = f"""
from ultralytics import YOLO
{again}
{STATE}
yolo_focal.activate()
{STATE}
from ultralytics.nn.tasks import parse_model, yaml_model_load
print([type(layer).__name__ for layer in parse_model(yaml_model_load('yolov8n-focal.yaml'), 3)[0]][9])
yolo_focal.deactivate()
{STATE}
"""
    lines = python(code, tmp_path).splitlines()
    assert [line for line in lines if line.startswith(("active", "Focal"))] == [
        "active False",
        "active True",
        "FocalModulation",
        "active False",
    ]


def test_it_can_be_switched_any_number_of_times(tmp_path: Path) -> None:
    code = f"""
from ultralytics import YOLO
from ultralytics.nn import tasks
import yolo_focal
yolo_focal.deactivate()
before = [tasks.parse_model.__code__, tasks.yaml_model_load, tasks.torch_safe_load]
for _ in range(3):
    yolo_focal.activate(); yolo_focal.activate()
    {BUILDS}
    yolo_focal.deactivate(); yolo_focal.deactivate()
    print(before == [tasks.parse_model.__code__, tasks.yaml_model_load, tasks.torch_safe_load])
"""
    lines = python(code, tmp_path).splitlines()
    assert [line for line in lines if line in ("FocalModulation", "True", "False")] == 3 * ["FocalModulation", "True"]


# What every name in Ultralytics' modules and classes means, or where that is defined.
SNAPSHOT = """
import sys, ultralytics.data, ultralytics.engine.trainer, ultralytics.models, ultralytics.utils.dist
def snapshot(describe):
    modules = [module for name, module in sys.modules.items() if name.partition('.')[0] == 'ultralytics']
    classes = [(module, value) for module in modules for value in vars(module).values() if isinstance(value, type)]
    owners = [(m.__name__, m) for m in modules] + [(f'{m.__name__}.{c.__name__}', c) for m, c in classes]
    return {(place, name): describe(value) for place, owner in owners for name, value in vars(owner).items()
            if callable(value)}
def code(value):
    return getattr(value, '__code__', None)
def source(value):
    file = getattr(code(value), 'co_filename', '')
    return [getattr(value, '__module__', ''), getattr(value, '__qualname__', ''), file]
"""


def test_deactivated_everything_is_as_it_was_before_anything_was_active(tmp_path: Path) -> None:
    code = f"""
{SNAPSHOT}
same = lambda value: (value, code(value))
before, finders = snapshot(same), [*sys.meta_path]
import yolo_focal
yolo_focal.activate()
changed = {{name for (_, name), value in snapshot(same).items() if value != before.get((_, name), value)}}
print("active:", len(sys.meta_path) - len(finders), sorted(changed))
from yolo_focal.hook import layer_seed
layer_seed.seed_layers(7)
yolo_focal.deactivate()
after = snapshot(same)
print("deactivated:", sys.meta_path == finders, [key for key in before if after[key] != before[key]])
yolo_focal.activate()
import torch
from ultralytics import YOLO
layers = []
for seed in (0, 1):
    torch.manual_seed(seed)
    layers.append(YOLO('yolov8n-focal.yaml').model.model[9])
is_equal = torch.equal(*(next(layer.parameters()) for layer in layers))
print("again:", type(layers[0]).__name__, len(sys.meta_path) - len(finders), is_equal)
"""
    lines = python(code, tmp_path, YOLO_FOCAL_AUTOLOAD="0").splitlines()
    names = ["check_file", "generate_ddp_file", "load", "parse_model", "torch_safe_load", "yaml_model_load"]
    assert [line for line in lines if line.startswith(("active", "deactivated", "again"))] == [
        f"active: 2 {names}",
        "deactivated: True []",
        "again: FocalModulation 2 False",
    ]


def test_deactivated_after_the_start_it_is_as_in_a_process_that_never_had_it(tmp_path: Path) -> None:
    out = [
        python(
            f"{SNAPSHOT}\nimport json, yolo_focal; yolo_focal.deactivate()\n"
            "print(json.dumps(sorted([str(key), value] for key, value in snapshot(source).items())))\n"
            "print([finder for finder in sys.meta_path if 'yolo_focal' in repr(finder)])",
            tmp_path,
            YOLO_FOCAL_AUTOLOAD=switch,
        ).splitlines()[-2:]
        for switch in ("0", "1")
    ]
    assert out[0][1] == out[1][1] == "[]"
    off, on = (dict(json.loads(lines[0])) for lines in out)
    assert [f"{key}: {on.get(key)}" for key in off if on.get(key) != off[key]] == []


def test_an_import_that_is_under_way_still_asks_every_finder(tmp_path: Path) -> None:
    """As one in another thread that deactivates meanwhile."""
    code = """
import sys
from importlib.machinery import PathFinder
from yolo_focal.hook.modules import finder
class Meanwhile:
    @staticmethod
    def find_spec(name, path=None, target=None):
        finder.uninstall()
finder.install()
sys.meta_path.insert(sys.meta_path.index(PathFinder), Meanwhile)
import of_mine
print([f for f in sys.meta_path if 'yolo_focal' in repr(f)])
"""
    (tmp_path / "of_mine.py").touch()
    assert python(code, tmp_path, YOLO_FOCAL_AUTOLOAD="0").splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("value", "active"),
    [("OFF ", False), ("1", True), *further(("0", False), ("false", False), ("No", False), ("", True))],
)
def test_the_switch_has_the_usual_spellings(value: str, active: bool, tmp_path: Path) -> None:
    out = python(f"from ultralytics import YOLO; {STATE}", tmp_path, YOLO_FOCAL_AUTOLOAD=value)
    assert out.splitlines()[-1] == f"active {active}"


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["mode=predict"], ["task=detect", "mode=predict"], ["detect", "predict"]])
def test_the_command_takes_ultralytics_other_ways_of_naming_a_mode(arguments: list[str], tmp_path: Path) -> None:
    code = "from ultralytics import YOLO; YOLO('yolov8n-focal.yaml').save('focal.pt')"
    python(code, tmp_path)
    photo = f"source={REPO / 'docs' / 'predictions.jpg'}"
    run(COMMAND, *arguments, "model=focal.pt", photo, "imgsz=64", cwd=tmp_path, YOLO_FOCAL_AUTOLOAD="0")
    assert list((tmp_path / "runs/detect/predict").iterdir())  # saved, as `yolo predict` does


PYPROJECTS = ['[project]\nname = "somebody-elses"\n', "not even TOML"]


@pytest.mark.parametrize("text", PYPROJECTS)
def test_another_projects_file_does_not_hide_the_packaged_configs(text: str, tmp_path: Path) -> None:
    """As where the package is installed into a project's own folder by `pip install --target .`."""
    shutil.copytree(REPO / "yolo_focal", tmp_path / "yolo_focal", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPO / "cfg", tmp_path / "yolo_focal" / "cfg")
    (tmp_path / "cfg").mkdir()
    (tmp_path / "pyproject.toml").write_text(text)
    code = "from yolo_focal.hook import configs; print(configs.folder())"
    assert python(code, tmp_path).strip() == str(tmp_path / "yolo_focal" / "cfg")


@pytest.mark.slow
def test_the_script_for_several_gpus_finds_the_package_by_its_own_path(tmp_path: Path) -> None:
    """It sets `sys.path` to that of the process that wrote it, where alone the package may be."""
    code = """
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.dist import generate_ddp_file
arguments = dict(model="yolov8n-focal.yaml", data="shapes.yaml", imgsz=64, epochs=1, device="cpu", plots=False)
print("FILE", generate_ddp_file(DetectionTrainer(overrides=arguments)))
"""
    script = Path(python(code, tmp_path).split("FILE ")[-1].strip()).read_text(encoding="utf-8").splitlines()
    path = next(index for index, line in enumerate(script) if line.strip().startswith("sys.path = "))
    assert [line.strip() for line in script[path + 1 : path + 4]] == [
        "import os",
        'os.environ["YOLO_FOCAL_AUTOLOAD"] = "1"',
        "import yolo_focal",
    ]
    compile("\n".join(script), "script", "exec")
