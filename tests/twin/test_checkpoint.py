"""The focal twin of a trained checkpoint: what is refused, what is left where it is stopped, and how near it comes."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import ultralytics
from support import COMMAND, YOLO, further, python, run, start
from ultralytics.utils import LOGGER

from yolo_focal import ConfigError
from yolo_focal.twin import checkpoint, warm
from yolo_focal.twin.derive import DEFAULTS, derive

ASSETS = Path(ultralytics.__file__).parent / "assets"


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("untrained")
    save = "from ultralytics import YOLO\nfor name in 'yolov8n', 'yolov8n-cls': YOLO(name + '.yaml').save(name + '.pt')"
    python(save, folder)
    wider = (
        "from ultralytics import YOLO\nfrom ultralytics.nn.tasks import DetectionModel\n"
        "four = YOLO('yolov8n.pt'); four.model = DetectionModel('yolov8n.yaml', ch=4); four.save('four.pt')"
    )
    python(wider, folder)
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["model=yolov8n.pt"],
            "yolo-focal derive: images= is missing: write a folder of images like those that the network is for, "
            "without labels; the new layer is fitted to what the old one computes on them",
        ),
        (
            ["model=yolov8n.pt", "save=yolov8n.pt"],
            "yolov8n.pt: there is another file of that name; write save= with a new one",
        ),
        *further(
            (["model=yolov8n.pt", "images=no"], "images=no: there is no such folder; write one that holds images"),
            (
                ["model=yolov8n-cls.pt", "replace=SPP"],
                "yolov8n-cls.pt: no row names SPP; write replace= with one of C2f, Classify, Conv",
            ),
            (["model=four.pt", "images=."], "images=.: it holds no image; write a folder that holds some"),
            (
                ["model=four.pt", f"images={ASSETS}"],
                "model=four.pt: it takes 4 channels, and a warm start reads RGB images only",
            ),
            (
                ["model=none.pt"],
                "model=none.pt: there is no such file; write a checkpoint, such as runs/detect/train/weights/best.pt",
            ),
        ),
    ],
)
def test_wrong_arguments_are_named_and_leave_nothing(arguments: list[str], message: str, untrained: Path) -> None:
    before = {file: file.read_bytes() for file in untrained.iterdir()}
    done = run(COMMAND, "derive", *arguments, cwd=untrained, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, message)
    assert {file: file.read_bytes() for file in untrained.iterdir()} == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"model": "weights.pt"},
            "model=weights.pt: it cannot be loaded as a checkpoint of Ultralytics (",
        ),
        (
            {"model": "yolov8n.pt", "save": "four.pt/twin.pt"},
            f"save={Path('four.pt/twin.pt')}: four.pt is a file and no folder; write save= with another one",
        ),
        (
            {"model": "yolov8n.pt", "save": "twin.yaml"},
            "yolo-focal derive: save=twin.yaml: it is a checkpoint that is written; write a name that ends in .pt",
        ),
        (
            {"model": "yolov8n.yaml", "save": "twin.pt"},
            "yolo-focal derive: save=twin.pt: it is a model YAML that is written; write a name that ends in .yaml",
        ),
        ({"model": "yolov8n.pt", "images": str(ASSETS), "data": "broken.yaml"}, "data=broken.yaml: "),
    ],
)
def test_what_cannot_be_derived_is_told_before_anything_is_fitted(
    given: dict[str, str], message: str, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("yolov8n.pt", "four.pt"):
        (tmp_path / name).symlink_to(untrained / name)
    torch.save({"state_dict": {}}, "weights.pt")
    Path("broken.yaml").write_text("train: images\n")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigError) as caught:
        derive({**DEFAULTS, **given})
    assert str(caught.value).startswith(message)
    assert sorted(tmp_path.iterdir()) == before


def test_a_classifier_needs_no_images(untrained: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin.pt"
    out = run(COMMAND, "derive", "model=yolov8n-cls.pt", f"save={twin}", cwd=untrained).stdout
    assert out.splitlines()[-3:] == [
        "row 9: FocalModulation, [] before Classify, as there is no SPPF",
        f"{twin}: written",
        f"yolo train model={twin} data=my.yaml",
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["twin.pt"]
    models = [ultralytics.YOLO(file).model.eval() for file in (untrained / "yolov8n-cls.pt", twin)]
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(models[0](x)[0], models[1](x)[0])


@pytest.mark.parametrize("stopped", ["fit", "_draw"])
def test_whoever_stops_it_finds_nothing_written(
    stopped: str, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(warm, "fit", lambda *_: [warm.Point(9, 1, 0.5, 0.5)])
    monkeypatch.setattr(warm if stopped == "fit" else checkpoint, stopped, stop)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.derive_checkpoint(str(untrained / "yolov8n.pt"), tmp_path / "twin.pt", str(ASSETS))
    assert not list(tmp_path.iterdir())


def test_whoever_stops_the_validation_has_the_twin(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(model: str | Path, _: str) -> dict[str, float]:
        if model == twin:
            raise KeyboardInterrupt
        return {"top1": 0.5}

    lines: list[str] = []
    monkeypatch.setattr(checkpoint.evaluation, "difference", lambda *_: "")
    monkeypatch.setattr(checkpoint.evaluation, "validate", stop)
    monkeypatch.setattr(LOGGER, "info", lines.append)
    twin = tmp_path / "twin.pt"
    checkpoint.derive_checkpoint(str(untrained / "yolov8n-cls.pt"), twin, data="my.yaml")
    assert lines[-3:] == [
        f"{twin}: written",
        f"{twin}: written, but not validated",
        f"yolo train model={twin} data=my.yaml",
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["twin.pt"]


@pytest.mark.slow
def test_ctrl_c_during_the_fit(untrained: Path, tmp_path: Path) -> None:
    command = [COMMAND, "derive", f"model={untrained / 'yolov8n.pt'}", f"images={ASSETS}", "save=new/twin.pt"]
    with start(*command, cwd=tmp_path) as process:
        printed = ""
        while "Fitting" not in printed:
            printed += process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        printed += process.stdout.read()
    assert process.returncode == 130
    assert printed.splitlines()[-1].startswith("yolo-focal derive: stopped; nothing was written")
    assert "Traceback" not in printed
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_twin_of_a_trained_checkpoint_finds_what_it_found(
    of_task: Callable[[str], Path], images: Path, tmp_path: Path
) -> None:
    stock = of_task("detect")
    unlabelled = images.parent / "train"
    out = run(
        *(COMMAND, "derive", f"model={stock}", f"images={unlabelled}", "data=shapes.yaml", "save=new/twin.pt"),
        cwd=tmp_path,
    ).stdout
    *_, report, command = lines = out.splitlines()
    explained = re.compile(
        r"layer 9: explains (\S+)% of the old layer's variance on images that were held out from the fit"
    )
    assert 50 < float(next(found[1] for found in map(explained.fullmatch, lines) if found)) < 100
    assert command == "yolo train model=new/twin.pt data=shapes.yaml"
    scores = re.fullmatch(r"mAP50-95\(B\): (\S+) before, (\S+) after \((\S+)%\)", report)
    before, after, share = map(float, scores.groups())
    assert share == pytest.approx(100 * after / before, abs=0.5)
    assert before > 0.6
    assert after > 0.95 * before
    assert {file.name for file in (tmp_path / "new").iterdir()} == {"twin.pt", "twin-fit.png"}
    code = """
import json, torch
from ultralytics import YOLO
ckpt = torch.load("new/twin.pt", weights_only=False)
model = YOLO("new/twin.pt").model
arguments = ckpt["train_args"]
stale = sorted({"best_fitness", "train_metrics", "train_results"} & ckpt.keys())
row = model.yaml["backbone"][-1][2]
print(json.dumps([model.names, arguments["imgsz"], arguments["data"], model.task, row, stale]))
"""
    names, imgsz, data, task, row, stale = json.loads(python(code, tmp_path).splitlines()[-1])
    assert list(names.values()) == ["circle", "square", "triangle", "star"]
    assert (imgsz, Path(data).name, task, row, stale) == (128, "shapes.yaml", "detect", "FocalModulation", [])
    small = ("data=shapes.yaml", "imgsz=64", "fraction=0.2", "workers=0", "plots=False", "epochs=1")
    done = run(YOLO, "train", "model=new/twin.pt", *small, cwd=tmp_path).stdout
    assert "Transferred 351/351 items" in done and "starts fresh" not in done
