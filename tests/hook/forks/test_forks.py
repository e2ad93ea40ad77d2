"""A fork that is named by its folder: its YAML files, modules and checkpoints on the installed Ultralytics.

The reference is the same folder, run as the `ultralytics` of a process of its own.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import own_fork
import pytest
from filelock import FileLock
from support import COMMAND, YOLO, further, python, run, shared_folder

BUILD = """
import json, sys, warnings
warnings.filterwarnings("ignore")
from ultralytics.nn import tasks
models = {"segment": tasks.SegmentationModel, "pose": tasks.PoseModel, "obb": tasks.OBBModel}
found = {}
for name in %r:
    try:
        model = models.get(name, tasks.DetectionModel)(f"%s/yolov8s-{name}.yaml", verbose=False)
        found[name] = [list(tensor.shape) for tensor in model.state_dict().values()]
    except Exception as error:
        found[name] = str(error)
print("FOUND", json.dumps(found))
"""
SAVE = """
import torch
from ultralytics import YOLO
torch.manual_seed(0)
model = YOLO("%s")
for layer in model.model.modules():
    if isinstance(layer, torch.nn.BatchNorm2d):
        layer.running_mean.normal_(0, 0.1)
        layer.running_var.uniform_(0.5, 1.5)
model.save("%s")
"""
BOXES = """
import json, torch
from ultralytics import YOLO
model = YOLO("%s")
image = torch.rand(1, 3, 128, 160, generator=torch.Generator().manual_seed(0))
print("FOUND", json.dumps(model.model.eval()(image)[0].flatten().tolist()))
"""
LIFE = """
from ultralytics import ASSETS, YOLO
data = dict(data="%s", imgsz=64, batch=8, workers=0, plots=False)
model = YOLO("best.pt")
model.val(**data)
model.predict(ASSETS, imgsz=64)
YOLO(model.export(format="onnx", imgsz=64)).val(**data)
"""
OUTPUTS = """
import hashlib, torch
from ultralytics.nn.tasks import DetectionModel
for name in ("yolov8n.yaml", "yolo11n.yaml", "yolov8n-focal.yaml"):
    torch.manual_seed(0)
    model = DetectionModel(name, verbose=False).eval()
    tensors = [*model.state_dict().values(), model(torch.ones(1, 3, 64, 64))[0]]
    print("FOUND", hashlib.sha256(b"".join(tensor.detach().numpy().tobytes() for tensor in tensors)).hexdigest())
"""


@pytest.fixture(scope="session")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fork in a folder with a space in its name, written once for all processes."""
    shared = shared_folder(tmp_path_factory)
    folder = shared / "their fork"
    with FileLock(shared / "fork.lock"):
        if not folder.exists():
            own_fork.make(shared / "unfinished fork").rename(folder)
    return folder


@pytest.fixture
def in_fork(fork: Path, tmp_path: Path) -> Callable[[str], str]:
    """Runs Python code with the fork in the place of Ultralytics, and returns what it prints."""
    path = f"{fork}:{fork / 'present'}"
    return lambda code: python(code, cwd=tmp_path, PYTHONPATH=path, YOLO_FOCAL_AUTOLOAD="0")


def found(printed: str) -> list[str]:
    return [line.removeprefix("FOUND ") for line in printed.splitlines() if line.startswith("FOUND ")]


def models_of(fork: Path) -> Path:
    return fork / "ultralytics" / "cfg" / "models"


def test_rows_build_what_they_build_in_the_fork(fork: Path, in_fork: Callable[[str], str], tmp_path: Path) -> None:
    names = ["plain", "added", "focal-named", "backbone", "keyed", "elsewhere"]
    (theirs,) = found(in_fork(BUILD % (names, models_of(fork))))
    (ours,) = found(python(BUILD % (names, models_of(fork)), cwd=tmp_path, YOLO_FOCAL_MODULES=str(fork)))
    assert json.loads(ours) == json.loads(theirs)
    assert all(isinstance(shapes, list) for shapes in json.loads(ours).values()), ours


def test_what_cannot_be_built_is_said(fork: Path, tmp_path: Path) -> None:
    printed = python(
        BUILD % (["absent", "short", "formless"], models_of(fork)), cwd=tmp_path, YOLO_FOCAL_MODULES=str(fork)
    )
    said = json.loads(found(printed)[0])
    assert said["absent"] == (
        f"{models_of(fork)}/yolov8s-absent.yaml, row 6 (Absent): {fork}/ultralytics/nn/modules/absent.py cannot be "
        "imported: ModuleNotFoundError: No module named 'a_package_that_is_not_there'"
    )
    assert said["short"] == (
        f"{models_of(fork)}/yolov8s-short.yaml, row 3 (SameAttention): [-1, 1, 'SameAttention']: write four parts, "
        "[from, repeats, module, arguments]"
    )
    assert said["formless"] == (
        f"{models_of(fork)}/yolov8s-formless.yaml, row 10 (FormlessOutput): it is the model's last row, and "
        "FormlessOutput is no subclass of a head of Ultralytics, so there is no loss for it; inherit from the head of "
        "its task, such as ultralytics.nn.modules.Detect"
    )


@pytest.mark.slow
def test_other_models_are_what_they_are_without_the_fork(fork: Path, tmp_path: Path) -> None:
    with_fork = python(OUTPUTS, cwd=tmp_path, YOLO_FOCAL_MODULES=str(fork))
    assert found(with_fork) == found(python(OUTPUTS, cwd=tmp_path))
    assert len(found(with_fork)) == 3


@pytest.mark.parametrize(("name", "safe"), [("added", "1"), *further(("backbone", "0"), ("named", "0"))])
def test_a_checkpoint_of_the_fork_finds_the_same_boxes(
    name: str, safe: str, fork: Path, in_fork: Callable[[str], str], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "theirs.pt"
    in_fork(SAVE % (models_of(fork) / f"yolov8n-{name}.yaml", checkpoint))
    theirs = json.loads(found(in_fork(BOXES % checkpoint))[0])
    given = {"YOLO_FOCAL_MODULES": str(fork), "ULTRALYTICS_SAFE_LOAD": safe}
    ours = json.loads(found(python(BOXES % checkpoint, cwd=tmp_path, **given))[0])
    assert len(ours) == len(theirs)
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < 1e-4
    refused = run(YOLO, "val", f"model={checkpoint}", "data=shapes.yaml", cwd=tmp_path, check=False).stdout
    where = "write where that is: YOLO_FOCAL_MODULES=/path/their-fork yolo val model="
    assert where in refused, refused
    assert ("ultralytics.nn.modules.added" in refused) == (name != "named")


def test_a_fork_is_one_folder_and_not_the_installed_package(fork: Path, tmp_path: Path) -> None:
    import ultralytics

    installed = Path(ultralytics.__file__).parent
    build = 'from ultralytics import YOLO; YOLO("yolov8n.yaml")'
    printed = python(build, cwd=tmp_path, YOLO_FOCAL_MODULES=str(installed))
    assert f"{installed} is the installed Ultralytics: its modules are there already." in printed
    own_fork.make(tmp_path / "second")
    printed = python(build, cwd=tmp_path, YOLO_FOCAL_MODULES=f"{fork},second")
    assert f"{tmp_path / 'second'}: {fork} is named already: name one fork" in printed


def test_adopt_says_what_a_fork_has_and_writes_nothing_into_it(fork: Path, tmp_path: Path) -> None:
    before = sorted(fork.rglob("*"))
    printed = run(COMMAND, "adopt", fork, f"model={models_of(fork) / 'yolov8-added.yaml'}", cwd=tmp_path).stdout
    assert "16 modules that only this fork has: Absent, Beside, C2f_Added," in printed
    assert "1 of 1 model YAML files build on this release; adopt.csv has a line for each" in printed
    printed = run(COMMAND, "adopt", fork, f"model={models_of(fork) / 'yolov8-absent.yaml'}", cwd=tmp_path).stdout
    assert "the package a_package_that_is_not_there is not installed; try pip install" in printed
    with (tmp_path / "adopt.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["file"] == "yolov8-absent.yaml" and row["parameters"] == "" and "row 6 (Absent)" in row["reason"]
    refused = run(COMMAND, "adopt", tmp_path, cwd=tmp_path, check=False).stdout
    assert refused.strip() == (
        f"yolo-focal adopt {tmp_path}: write the folder of a fork, in which ultralytics/nn/tasks.py is"
    )
    refused = run(COMMAND, "adopt", fork, "model=none.yaml", cwd=tmp_path, check=False).stdout
    assert refused.strip() == "yolo-focal adopt model=none.yaml: there is no such file; write the path of a model YAML"
    assert sorted(fork.rglob("*")) == before


@pytest.mark.slow
def test_doctor_names_it(fork: Path, tmp_path: Path) -> None:
    printed = run(COMMAND, "doctor", cwd=tmp_path, YOLO_FOCAL_MODULES=str(fork)).stdout
    assert f"fork: {fork}, 16 modules that only it has; `yolo-focal adopt {fork}` tries its files" in printed


@pytest.mark.slow
def test_deactivated_it_is_not_found(fork: Path, tmp_path: Path) -> None:
    code = (
        "import yolo_focal; from ultralytics import YOLO; import ultralytics.nn.modules.block as block\n"
        f"build = lambda: YOLO({str(models_of(fork) / 'yolov8n-added.yaml')!r})\n"
        "build(); print('FOUND', hasattr(block, 'Named'))\n"
        "yolo_focal.deactivate(); print('FOUND', hasattr(block, 'Named'))\n"
        "yolo_focal.activate(); build(); print('FOUND', hasattr(block, 'Named'))\n"
    )
    assert found(python(code, cwd=tmp_path, YOLO_FOCAL_MODULES=str(fork))) == ["True", "False", "True"]


@pytest.mark.slow
def test_a_changed_file_of_the_fork_is_another_model_to_compare(
    tmp_path: Path,
) -> None:
    fork = own_fork.make(tmp_path / "fork")
    code = (
        "from yolo_focal.comparison.study.models import _content; from ultralytics.nn.tasks import DetectionModel\n"
        f"for name in ('{models_of(fork)}/yolov8n-added.yaml', 'yolov8n.yaml'):\n"
        "    print('FOUND', _content(name, DetectionModel(name, verbose=False)))\n"
    )
    first = found(python(code, cwd=tmp_path, YOLO_FOCAL_MODULES=str(fork)))
    added = fork / "ultralytics" / "nn" / "modules" / "added.py"
    added.write_text(added.read_text() + "\n# changed\n")
    second = found(python(code, cwd=tmp_path, YOLO_FOCAL_MODULES=str(fork)))
    assert first[0] != second[0] and first[1] == second[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("added", "shapes.yaml"),
        ("backbone", "shapes.yaml"),
        ("detect", "shapes.yaml"),
        ("segment", "shapes-seg.yaml"),
        ("pose", "shapes-pose.yaml"),
        ("obb", "shapes-obb.yaml"),
    ],
)
def test_it_trains_validates_predicts_and_is_exported(name: str, data: str, fork: Path, tmp_path: Path) -> None:
    model = models_of(fork) / f"yolov8n-{name}.yaml"
    small = ("imgsz=64", "batch=8", "workers=0", "plots=False", "project=.", "exist_ok=True")
    known = {"YOLO_FOCAL_MODULES": str(fork)}
    task = ("detect",) if name == "detect" else ()  # the head's name does not say it there
    train = (YOLO, *task, "train", f"data={data}", "epochs=1", "fraction=0.05", "name=train", *small)
    run(*train, f"model={model}", cwd=tmp_path, **known)
    (best,) = tmp_path.rglob("best.pt")
    best = best.rename(tmp_path / "best.pt")
    if name in {"added", "backbone"}:  # the heads' own tests are long enough
        run(*train, f"model={best}", cwd=tmp_path, **known)
    python(LIFE % data, cwd=tmp_path, ULTRALYTICS_SAFE_LOAD="1", **known)
    refused = run(YOLO, "val", f"model={best}", cwd=tmp_path, check=False).stdout
    assert f"It was trained with {fork}; write: YOLO_FOCAL_MODULES='{fork}' yolo val" in refused, refused


@pytest.mark.slow
def test_every_process_of_a_comparison_knows_it(fork: Path, tmp_path: Path) -> None:
    models = f"models=yolov8n.yaml,{models_of(fork) / 'yolov8n-added.yaml'}"
    small = ("imgsz=64", "batch=8", "workers=0", "plots=False", "epochs=1", "fraction=0.05", "seeds=2")
    out = run(COMMAND, "compare", "data=shapes.yaml", models, *small, cwd=tmp_path, YOLO_FOCAL_MODULES=str(fork))
    assert "yolov8n-added" in out.stdout and "failed" not in out.stdout
