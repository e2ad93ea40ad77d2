"""The plan of a comparison: its runs, and what it may not go on with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from yolo_focal import ConfigError
from yolo_focal.comparison.study import dataset, plan
from yolo_focal.comparison.study.plan import begin
from yolo_focal.comparison.study.request import Options, check
from yolo_focal.comparison.training import task
from yolo_focal.hook import configs

PAIR = ["yolov8n.yaml", "yolov8n-focal.yaml"]


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
        ({"all_pairs": "no"}, "all_pairs=no: write all_pairs=True or all_pairs=False"),
        (
            {"freeze": 10},
            "freeze=10: yolov8n.yaml starts from random weights, and its first layers would stay random; write "
            "pretrained= with the weights that all models start from, or leave freeze= out",
        ),
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

    _, (run, *_) = go_on()
    run.folder.mkdir(parents=True)
    (run.folder / "log.txt").touch()
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


def test_a_checkpoint_keeps_its_own_weights(checkpoint: Path, small_set: str) -> None:
    """Ultralytics would take those of `pretrained=` alone: another model than the one that was named."""
    file = str(checkpoint)
    assert refusal(models=["yolov8n.yaml", file], pretrained=file, data=small_set) == (
        f"models={file} and pretrained={file}: the weights in {file} would be left out; leave pretrained= out, and "
        "write each model as a checkpoint with the weights that it starts from"
    )
    assert refusal(models=["yolov8n.yaml", file], pretrained=False, data=small_set).startswith(
        f"models={file} and pretrained=False: the weights in {file} would be left out; "
    )
    Path("own.yaml").write_text("pretrained: false\n")
    assert refusal(models=["yolov8n.yaml", file], cfg="own.yaml", data=small_set).startswith(f"models={file} and ")
    check(small_set, f"yolov8n.yaml, {file}", Options(), {})


def test_what_a_cfg_file_says_counts_as_if_it_was_written(small_set: str, checkpoint: Path) -> None:
    Path("own.yaml").write_text(f"pretrained: {checkpoint}\ndevice: cpu\nworkers: 3\n")
    in_file, written = (
        begin(Path("runs/compare") / name, check(small_set, PAIR, Options(), given))[0]
        for name, given in (
            ("a", {"cfg": "own.yaml"}),
            ("b", {"pretrained": str(checkpoint), "device": "cpu", "workers": 3}),
        )
    )
    assert in_file.arguments == written.arguments and in_file.fingerprint == written.fingerprint
    assert [in_file.arguments[key] for key in ("pretrained", "device", "workers")] == [str(checkpoint), "cpu", 3]
    Path("own.yaml").write_text("time: 0.5\n")
    assert refusal(cfg="own.yaml", folds=2) == "folds= and time=: write one of them"


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
    freeze: Any, frozen: list[Any], small_set: str, checkpoint: Path
) -> None:
    """Those of the weights: in a P6 model two layers stand before its eighth."""
    names = ["yolov8n.yaml", "yolov8n-focal.yaml", "yolov8n-p6.yaml", "yolov8n-c2focal.yaml"]
    given = {"epochs": 3, "freeze": freeze, "pretrained": str(checkpoint)}
    its_plan, runs = begin(Path("runs/compare/one"), check(small_set, names, Options(seeds=1), given))
    assert [task(its_plan, run).arguments["freeze"] for run in runs] == frozen


@pytest.mark.parametrize(("epochs", "last"), [(1, 1), (3, 3), (20, 3), (50, 5)])
def test_no_more_epochs_are_scored_than_there_are(epochs: int, last: int, small_set: str) -> None:
    its_plan, _ = begin(Path("runs/compare/one"), check(small_set, PAIR, Options(), {"epochs": epochs}))
    assert its_plan.per_run["last_epochs"] == last


def test_fresh_seeds_are_those_from_the_first_one_on(small_set: str) -> None:
    folder = Path("runs/compare/fresh")
    folder.mkdir(parents=True)
    for seeds, looks in ((2, [2]), (3, [2, 3])):
        its_plan, runs = begin(folder, check(small_set, PAIR, Options(seeds=seeds, seed=3), {"epochs": 3}))
        runs[0].folder.mkdir(parents=True, exist_ok=True)
        (runs[0].folder / "log.txt").touch()
        assert [run.seed for run in runs] == [seed for seed in range(3, 3 + seeds) for _ in PAIR]
        assert its_plan.looks == looks


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
    with pytest.raises(ConfigError) as caught:
        begin(Path("runs/compare/three"), check(small_set, PAIR, Options(folds=7), {"epochs": 3}))
    assert str(caught.value) == "folds=7: write an integer from 2 to 6, the number of training images of my.yaml"
