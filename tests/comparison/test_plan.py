"""What a comparison consists of: models, weights, arguments and data, and what it may not go on with."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import few
import pytest
from ultralytics import YOLO
from ultralytics.utils import SETTINGS

from yolo_focal import ConfigError
from yolo_focal.comparison.pipeline import _task
from yolo_focal.comparison.study import dataset, models, plan, train_arguments
from yolo_focal.comparison.study.plan import begin
from yolo_focal.comparison.study.request import Options, check
from yolo_focal.hook import configs
from yolo_focal.shapes import draw

PAIR = ["yolov8n.yaml", "yolov8n-focal.yaml"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "own.pt"
    YOLO("yolov8n.yaml").save(file)
    return file


@pytest.fixture
def small_set() -> str:
    """A few images of the shapes, described by `my.yaml`."""
    few.draw(Path("set"), train=6, val=6)
    Path("my.yaml").write_text(few.yaml_of(Path("set")))
    return "my.yaml"


# Models


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["yolov8n.yaml", "cfg/yolov8n-focal.yaml"], ["yolov8n", "yolov8n-focal"]),
        (["a.pt", "runs/detect/train/weights/best.pt"], ["a", "best"]),
        (["runs/detect/train/weights/best.pt", "runs/detect/train2/weights/best.pt"], ["train", "train2"]),
        (["x/1/best.pt", "y/1/best.pt", "a.yaml"], ["x", "y", "a"]),
        (["yolov8n.yaml", "yolov8n.yaml"], ["yolov8n", "yolov8n-2"]),
        (["模型.yaml", "別の.yaml"], ["模型", "別の"]),
    ],
)
def test_what_models_are_called(names: list[str], labels: list[str]) -> None:
    assert models._labels(names) == labels


def test_weights_are_found_where_yolo_train_finds_them(checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(SETTINGS["weights_dir"]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(checkpoint, folder / "shelved.pt")
    try:
        assert models.weights("shelved.pt") == str(folder / "shelved.pt")
        (found,) = models.find(["shelved.pt"])
        assert (found.file, found.label) == (str(folder / "shelved.pt"), "shelved")
    finally:
        (folder / "shelved.pt").unlink()
    shutil.copy(checkpoint, "here.pt")
    assert models.weights("here.pt") == str(tmp_path / "here.pt")
    assert models.weights(True) is True


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "yolov8n-focal.pt",
            "; make it with yolo-focal derive model=yolov8n.pt images=FOLDER save=yolov8n-focal.pt",
        ),
        ("none.pt", "; write the path of a checkpoint"),
    ],
)
def test_weights_that_are_nowhere(name: str, message: str) -> None:
    for call, argument in ((models.weights, "pretrained"), (lambda name: models.find([name]), "models")):
        with pytest.raises(ConfigError) as caught:
            call(name)
        assert str(caught.value) == (
            f"{argument}={name}: there is no such file here or among Ultralytics' weights, and it could not be "
            f"downloaded{message}"
        )


# Arguments


def test_every_argument_is_explicit_and_the_users_go_first() -> None:
    Path("own.yaml").write_text("epochs: 7\nlr0: 0.5\nmodel: other.yaml\n")
    every = train_arguments.check({"cfg": "own.yaml", "lr0": 0.25, "imgsz": 64})
    assert (every["epochs"], every["lr0"], every["imgsz"], every["mosaic"]) == (7, 0.25, 64, 1.0)
    assert train_arguments.check({})["imgsz"] == 640  # and not a checkpoint's own
    assert not every.keys() & {"model", "data", "seed", "project", "name", "cfg", "pretrained"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"resume": True}, "resume=True: compare sets it itself: the same command goes on by itself; leave it out"),
        (
            {"batch": -1},
            "batch=-1: write a number of images of at least 1, such as batch=16; a size that is found automatically "
            "would differ from model to model",
        ),
        (
            {"batch": 0.7},
            "batch=0.7: write a number of images of at least 1, such as batch=16; a size that is found automatically "
            "would differ from model to model",
        ),
    ],
)
def test_arguments_that_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        train_arguments.check(given)
    assert str(caught.value) == message


def test_an_unknown_argument_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'epoch' is not a valid.*epochs"):
        train_arguments.check({"epoch": 3})


# Data


def contents(data: str, task: str = "detect") -> str:
    return dataset.digest(dataset.read(data, task))


def test_data_are_told_by_names_sizes_and_labels_and_not_by_their_path(small_set: str) -> None:
    before = contents(small_set)
    shutil.copytree("set", "moved")
    Path("other.yaml").write_text(Path(small_set).read_text().replace(str(Path("set").absolute()), "moved"))
    assert contents("other.yaml") == before
    for change in (
        lambda: Path("set/labels/val/0001.txt").write_text("0 0.5 0.5 0.1 0.1\n"),
        lambda: Path("set/labels/val/0001.txt").unlink(),
        lambda: Path("set/images/train/0002.bmp").write_bytes(Path("set/images/train/0003.bmp").read_bytes() + b"0"),
        lambda: Path("set/images/train/0002.bmp").rename("set/images/train/0002b.bmp"),
        lambda: Path("set/images/train/0005.bmp").unlink(),
        lambda: Path(small_set).write_text(Path(small_set).read_text().replace("star", "sun")),
    ):
        change()
        now = contents(small_set)
        assert now != before
        before = now


def test_no_image_is_read_and_each_label_file_once(small_set: str) -> None:
    """An image of a tebibyte, none of it on the disk, takes no time; what labels say is known without their files."""
    os.truncate("set/images/train/0001.bmp", 1 << 40)
    found = dataset.read(small_set, "detect")
    train, digest = found.splits["train"], dataset.digest(found)
    assert digest == contents(small_set)
    rows = [Path(f"set/labels/train/000{index}.txt").read_text().splitlines() for index in range(len(train.images))]
    shutil.rmtree("set/labels")
    assert dataset.digest(found) == digest
    assert dataset.first_images(train, 2).boxes == Counter(int(row.split()[0]) for row in rows[0] + rows[1])
    assert train.boxes == Counter(int(row.split()[0]) for of_image in rows for row in of_image)


@pytest.mark.usefixtures("small_set")
def test_lists_are_read_as_ultralytics_reads_them() -> None:
    """With a byte-order mark, relative to the list or to the current folder, and with an image that is missing."""
    images = sorted(str(path) for path in Path("set/images/train").iterdir())
    Path("train.txt").write_text("\ufeff" + "\n".join([*images, "./set/images/train/missing.bmp"]) + "\n", "utf-8")
    both = Path("train.txt").absolute()
    Path("lists.yaml").write_text(f"train: {both}\nval: {both}\nnames: [a, b, c, d]\n")
    found = dataset.read("lists.yaml", "detect")
    names = {Path(image).name for image in found.splits["train"].images}
    assert names == {*(Path(image).name for image in images), "missing.bmp"}
    assert contents("lists.yaml")
    assert sum(found.splits["train"].boxes.values()) > 6


def test_a_classification_set_without_val_is_validated_on_test() -> None:
    draw("cls", "classify")
    Path("cls/val").rename("cls/test")
    found = dataset.read("cls", "classify")
    assert (len(found.splits["val"].images), "test" in found.splits) == (120, False)
    shutil.rmtree("cls/test")
    with pytest.raises(ConfigError) as caught:
        dataset.read("cls", "classify")
    assert str(caught.value) == "data=cls: it has no val images; write data= with a set that has train and val"


# Plans


def refusal(**given: Any) -> str:
    options = {key: given.pop(key) for key in list(given) if key in Options._fields}
    names = given.pop("models", PAIR)
    with pytest.raises(ConfigError) as caught:
        check(given.pop("data", "shapes.yaml"), names, Options(**options), given)
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"models": ["yolov8n.yaml"]},
            "models=yolov8n.yaml: write two or more, such as models=yolov8n.yaml,yolov8n-focal.yaml",
        ),
        ({"seeds": 0}, "seeds=0: write an integer of at least 1, such as seeds=5"),
        ({"seeds": "x"}, "seeds=x: write an integer of at least 1, such as seeds=5"),
        ({"seed": -1}, "seed=-1: write an integer of at least 0, such as seed=5"),
        ({"parallel": 1.5}, "parallel=1.5: write an integer of at least 1, such as parallel=5"),
        ({"per_device": 0}, "per_device=0: write an integer of at least 1, such as per_device=5"),
        ({"device": "0,0"}, "device=0,0: it names a GPU twice; write per_device=2 for two runs at once on each"),
        ({"gpus_per_run": 0}, "gpus_per_run=0: write an integer of at least 1, such as gpus_per_run=5"),
        (
            {"gpus_per_run": 2, "per_device": 2, "device": "0,1"},
            "per_device= and gpus_per_run=: write one of them; a run of several GPUs has them for itself",
        ),
        (
            {"gpus_per_run": 2, "device": "0,1", "rect": True},
            "rect=True and gpus_per_run=: write one of them; processes that share batches shuffle them",
        ),
        (
            {"gpus_per_run": 2, "device": "0,1", "batch": 7},
            "batch=7: gpus_per_run=2 GPUs share each batch; write a multiple of it",
        ),
        ({"split": "train"}, "split=train: write split=test or split=val"),
        ({"split": "test"}, "split=test: shapes.yaml has no test images; add test: to it, or leave split= out"),
        ({"margin": 5}, "margin=5: write a difference that does not matter, such as margin=0.005"),
        ({"lang": "de"}, "lang=de: write lang=en or lang=zh"),
        ({"folds": 5, "time": 1}, "folds= and time=: write one of them"),
        (
            {"models": ["yolov8n.yaml", "yolov8n-seg.yaml"]},
            "models=: yolov8n is for detect, yolov8n-seg for segment; compare models of one task",
        ),
        (
            {"models": ["yolov8n.yaml", "yolov8n"]},
            "models=yolov8n: write model YAMLs or checkpoints, such as yolov8n.yaml or best.pt",
        ),
        (
            {"models": ["yolov8n.yaml", "yolov8n-focl.yaml"]},
            "models=yolov8n-focl.yaml: there is no such model YAML; did you mean yolov8n-focal.yaml, ",
        ),
    ],
)
def test_what_cannot_work_is_refused_and_leaves_nothing(given: dict[str, Any], message: str) -> None:
    assert refusal(**given).startswith(message)
    assert list(Path().iterdir()) == []


@pytest.fixture
def begun(small_set: str) -> Iterator[Any]:
    """A function that goes on with a comparison, with other models, options or arguments."""
    shutil.copy(configs.folder() / "yolov8-focal.yaml", "own.yaml")
    folder = Path("runs/compare/one")
    folder.mkdir(parents=True)

    def go_on(data: str = small_set, names: Any = ("yolov8n.yaml", "own.yaml"), seeds: int = 2, **given: Any) -> Any:
        options = {key: given.pop(key) for key in list(given) if key in Options._fields}
        request = check(data, list(names), Options(seeds=seeds, **options), {"epochs": 3, **given})
        return begin(folder, request)

    go_on()
    yield go_on


def test_what_changes_no_result_may_change(begun: Any, small_set: str) -> None:
    first, runs = begun()
    shutil.copytree("set", "moved")
    Path(small_set).write_text(Path(small_set).read_text().replace(str(Path("set").absolute()), "moved"))
    again, more = begun(seeds=3, parallel=2, device="cpu", cache="ram", plots=False)
    assert again.fingerprint == first.fingerprint
    assert [run.fingerprint for run in more[: len(runs)]] == [run.fingerprint for run in runs]
    assert (len(runs), len(more)) == (4, 6)
    assert again.per_run == first.per_run
    assert again.looks == [2, 3]


@pytest.mark.parametrize("pretrained", [True, False])
@pytest.mark.parametrize(
    ("freeze", "frozen"),
    [
        (10, [10, 9, [0, 1, 2, 3, 4, 5, 6, 10, 11], 10]),
        (13, [13, [0, 1, 2, 3, 4, 5, 6, 7, 8, 12], [0, 1, 2, 3, 4, 5, 6, 10, 11], [*range(10), 13]]),
        (15, [15, [0, 1, 2, 3, 4, 5, 6, 7, 8, 12], [0, 1, 2, 3, 4, 5, 6, 10, 11], [*range(10), 13]]),
        (5, [5, 5, 5, 5]),
        ([0, 9], [[0, 9]] * 4),
        (None, [None] * 4),
    ],
)
def test_an_integer_freeze_means_the_same_layers_for_all_models(
    freeze: Any, frozen: list[Any], pretrained: bool, small_set: str, checkpoint: Path
) -> None:
    """Those of the weights, or else of the first model: in a P6 model two layers stand before its eighth."""
    names = ["yolov8n.yaml", "yolov8n-focal.yaml", "yolov8n-p6.yaml", "yolov8n-c2focal.yaml"]
    given = {"epochs": 3, "freeze": freeze, **({"pretrained": str(checkpoint)} if pretrained else {})}
    its_plan, runs = begin(Path("runs/compare/one"), check(small_set, names, Options(seeds=1), given))
    assert [_task(its_plan, run).arguments["freeze"] for run in runs] == frozen


def test_the_scale_that_a_name_leaves_open() -> None:
    Path("open.yaml").write_text((configs.folder() / "yolov8-focal.yaml").read_text())
    found = models.find(["yolov8.yaml", "yolov8s.yaml", "open.yaml", "yolov8n-focal.yaml", "yolov8-focal.yaml"])
    assert [model.assumed for model in found] == ["n", "", "n", "", "n"]


@pytest.mark.parametrize(("epochs", "last"), [(1, 1), (3, 3), (20, 3), (50, 5)])
def test_no_more_epochs_are_scored_than_there_are(epochs: int, last: int, small_set: str) -> None:
    its_plan, _ = begin(Path("runs/compare/one"), check(small_set, PAIR, Options(), {"epochs": epochs}))
    assert its_plan.per_run["last_epochs"] == last


def test_fresh_seeds_are_those_from_the_first_one_on(small_set: str) -> None:
    folder = Path("runs/compare/fresh")
    folder.mkdir(parents=True)
    for seeds, looks in ((2, [2]), (3, [2, 3])):
        its_plan, runs = begin(folder, check(small_set, PAIR, Options(seeds=seeds, seed=3), {"epochs": 3}))
        assert [run.seed for run in runs] == [seed for seed in range(3, 3 + seeds) for _ in PAIR]
        assert its_plan.looks == looks


BLOCK = """
import yolo_focal
from torch import nn

@yolo_focal.register
class Twice(nn.Identity):
    def __init__(self, dim):
        super().__init__()
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 4}, "epochs=3, and now it is 4"),
        ({"lr0": 0.5}, "lr0=0.01, and now it is 0.5"),
        ({"imgsz": 320}, "imgsz=640, and now it is 320"),
        ({"names": ("own.yaml", "yolov8n.yaml")}, "models=yolov8n.yaml,own.yaml, and now it is own.yaml,yolov8n.yaml"),
        ({"folds": 3}, "folds=0, and now it is 3"),
        ({"gpus_per_run": 2, "device": "0,1"}, "gpus_per_run=1, and now it is 2"),
        ({"seed": 2}, "seed=0, and now it is 2"),
        ({"pretrained": False}, "pretrained=the file as it was, and now it is another one"),
        ({"workers": 3}, "workers={workers}, and now it is 3"),
        ({"cfg": "other.yaml"}, "mosaic=1.0, and now it is 0.0"),
    ],
)
def test_what_changes_results_is_refused(change: dict[str, Any], message: str, begun: Any) -> None:
    Path("other.yaml").write_text("mosaic: 0.0\n")
    workers = begun()[0].per_run["workers"]
    with pytest.raises(ConfigError) as caught:
        begun(**change)
    assert str(caught.value) == (
        f"{Path('runs/compare/one')} was begun with {message.format(workers=workers)}: write name= with another name "
        "than one, or what it was begun with"
    )


def test_changed_files_and_versions_are_refused(begun: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    anew = "write name= with another name than one, or what it was begun with"

    def refused(**given: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            begun(**given)
        return str(caught.value).removeprefix("runs/compare/one was begun with ")

    text = Path("own.yaml").read_text()
    Path("own.yaml").write_text(f"{text}\n# changed\n")
    assert refused() == f"models: own.yaml=the file and modules as they were, and now it is others of that name: {anew}"
    Path("own.yaml").write_text(text)
    label = Path("set/labels/train/0000.txt")
    before = label.read_text()
    label.write_text(before + "0 0.5 0.5 0.1 0.1\n")
    assert refused() == f"data=its images and labels as they were, and now it is others: {anew}"
    label.write_text(before)
    assert refused(seeds=1) == "seeds=2, and now it is 1: write 2 or more"
    version = plan.version
    monkeypatch.setattr(plan, "version", lambda name: "9.9" if name == "torch" else version(name))
    assert refused() == f"torch={version('torch')}, and now it is 9.9: {anew}"


def test_the_code_of_a_users_module_counts(small_set: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("own_block_of_a_test.py").write_text(BLOCK)
    monkeypatch.setenv("YOLO_FOCAL_MODULES", "own_block_of_a_test")
    for variable in ("_YOLO_FOCAL_FILES", "_YOLO_FOCAL_REGISTERED"):
        monkeypatch.setenv(variable, "")
    text = (configs.folder() / "yolov8-focal.yaml").read_text().replace("FocalModulation, []", "Twice, []")
    Path("own.yaml").write_text(text)
    (before,) = models.find(["own.yaml"])
    Path("own_block_of_a_test.py").write_text(BLOCK + "# changed\n")
    (after,) = models.find(["own.yaml"])
    assert before.content != after.content
    assert small_set


def test_a_plan_that_was_cut_off_is_begun_anew_and_another_kind_is_refused(begun: Any) -> None:
    file = Path("runs/compare/one/plan.json")
    whole, runs = file.read_text(), begun()[1]
    for length in range(0, len(whole), 397):
        file.write_text(whole[:length])
        assert begun()[1] == runs
    file.write_text('{"conditions": {}}')
    with pytest.raises(ConfigError) as caught:
        begun()
    assert str(caught.value) == f"{file}: it is not what this release of compare writes; write name= with another name"


def test_folds_hold_each_image_out_once(small_set: str) -> None:
    folder = Path("runs/compare/two")
    folder.mkdir(parents=True)
    found, runs = begin(folder, check(small_set, PAIR, Options(seeds=2, folds=3), {"epochs": 3}))
    assert [(run.label, run.seed, run.fold) for run in runs[:4]] == [
        ("yolov8n", 0, 0),
        ("yolov8n-focal", 0, 0),
        ("yolov8n", 0, 1),
        ("yolov8n-focal", 0, 1),
    ]
    assert len(runs) == 2 * 3 * 2 and len({run.fingerprint for run in runs}) == len(runs)
    for seed in (0, 1):
        held_out = [
            image
            for run in runs
            if (run.label, run.seed) == ("yolov8n", seed)
            for image in dataset.read(run.data, "detect").splits["val"].images
        ]
        assert sorted(held_out) == sorted(str(Path(image).absolute()) for image in found.dataset.splits["train"].images)
        for run in runs:
            splits = dataset.read(run.data, "detect").splits
            assert not set(splits["train"].images) & set(splits["val"].images)
    Path("runs/compare/three").mkdir()
    with pytest.raises(ConfigError, match=r"^folds=7: write an integer from 2 to 6, the number of training images$"):
        begin(Path("runs/compare/three"), check(small_set, PAIR, Options(folds=7), {"epochs": 3}))
