"""The outputs of layers are replaced, in whatever becomes of the network, and a run's result is as without that."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import few
import pytest
import torch
import yaml
from support import python
from torch import nn
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

from yolo_focal.comparison.store.files import write_json
from yolo_focal.comparison.store.run_folder import METRICS, TASK, Ablation, RunSpec, result_of
from yolo_focal.comparison.store.run_result import RunResult
from yolo_focal.comparison.study import train_arguments
from yolo_focal.comparison.worker.ablation import CannotReplaceError, replace_outputs
from yolo_focal.hook import configs

ROWS = (
    "nc: 4\nbackbone:\n- [-1, 1, Conv, [16, 3, 8]]\n- [-1, 1, Conv, [16, 3]]\n- [-1, 1, Conv, [32, 3, 2]]\nhead:\n"
    "- [[1, 2], 1, Detect, [nc]]\n"
)


@pytest.fixture
def network(tmp_path: Path) -> Any:
    (tmp_path / "small.yaml").write_text(ROWS)
    return DetectionModel(str(tmp_path / "small.yaml"), verbose=False).eval()


def given_to(layer: nn.Module, network: Any) -> torch.Tensor:
    """Return what a layer of a network is given."""
    seen: list[torch.Tensor] = []
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        network(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    return seen[-1]


@pytest.mark.parametrize("become", [lambda x: x, copy.deepcopy, lambda x: x.fuse(verbose=False)])
def test_layers_stay_replaced_in_copies_and_where_they_are_fused(become: Callable[[Any], Any], network: Any) -> None:
    before = given_to(network.model[2], network)
    entered = given_to(network.model[1], network)
    assert before.shape == entered.shape and not torch.allclose(before, entered)
    passing, empty = copy.deepcopy(network), copy.deepcopy(network)
    replace_outputs([passing.model[1]], "input")
    replace_outputs([empty.model[1]], "zeros")
    passing, empty = become(passing), become(empty)
    assert torch.allclose(given_to(passing.model[2], passing), entered, atol=1e-6)
    assert not given_to(empty.model[2], empty).any()
    assert torch.equal(given_to(network.model[2], network), before)


def test_a_layer_that_works_in_place_hands_on_what_it_was_given() -> None:
    layers = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(inplace=True))
    replace_outputs([layers[1]], "input")
    x = torch.tensor([[[[-3.0, 3.0]]]])
    assert torch.equal(layers(x), layers[0](x)) and bool((layers(x) < 0).any())


def test_outputs_that_cannot_be_replaced(network: Any) -> None:
    for row, by in ((0, "input"), (2, "input"), (3, "zeros"), (3, "input")):  # another shape, and the head
        replaced = copy.deepcopy(network)
        replace_outputs([replaced.model[row]], by)
        with pytest.raises(CannotReplaceError):
            replaced(torch.zeros(1, 3, 64, 64))


def executed(folder: Path, model: str, ablations: list[Ablation], test: bool) -> RunResult:
    """Return the result of a run in a process of its own."""
    every = train_arguments.check({"epochs": 1, "imgsz": 64, "batch": 8, "plots": False, "workers": 0, "device": "cpu"})
    task = RunSpec(
        model=model,
        data=str(folder.parents[1] / "few.yaml"),
        seed=0,
        arguments={**every, "pretrained": str(few.START)},
        threads=1,
        last_epochs=1,
        test=test,
        snapshot_every=1,
        metric=METRICS["detect"],
        ablations=ablations,
        place="cpu",
        fingerprint="0",
    )
    folder.mkdir(parents=True)
    write_json(folder / TASK, asdict(task))
    code = f"from pathlib import Path\nfrom yolo_focal.comparison.worker import run\nrun.main(Path({str(folder)!r}))"
    python(code, folder)
    result = result_of(folder, "0")
    assert result is not None
    return result


def write_further(file: Path) -> None:
    """Write YOLOv8 with FocalModulation and a convolution behind it."""
    config = yaml.safe_load(configs.model("yolov8n-focal.yaml").read_text(encoding="utf-8"))
    for row in config["head"]:
        row[0] = [one + (one > 9) for one in row[0]] if isinstance(row[0], list) else row[0]
    config["backbone"].append([-1, 1, "Conv", [1024, 3]])
    file.write_text(yaml.safe_dump(config), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "row", "by", "test"),
    [
        ("yolov8n-focal", 9, "zeros", False),
        ("yolov8n-focal", 9, "zeros", True),
        ("yolov8n-further", 10, "input", False),
    ],
)
def test_a_run_says_what_it_scores_without_a_layer(
    model: str, row: int, by: str, test: bool, checkpoint: Path, tmp_path: Path
) -> None:
    """As a hook that is written by hand does, and all else in its result is as without that."""
    few.write(checkpoint)
    write_further(tmp_path / "yolov8n-further.yaml")
    (tmp_path / "few.yaml").write_text(few.yaml_of(few.FOLDER / "set", "test: images/train\n"))
    asked = [Ablation([row], by), Ablation([4, 6], "zeros"), Ablation([3], "input")]  # row 3 halves the maps
    folder, file = tmp_path / model / "seed0", f"{model}.yaml"
    file = str(tmp_path / file) if (tmp_path / file).exists() else file
    result = executed(folder, file, asked, test)
    other = executed(tmp_path / model / "seed1", file, [], test)
    for part in ("curve", "scores", "metrics", "classes", "sizes", "test", "recorded"):
        assert getattr(result, part) == getattr(other, part)
    assert other.ablations == []

    def score(**hooks: Any) -> float:
        best = YOLO(folder / f"{model}-seed0" / "weights" / "best.pt")
        for name, hook in hooks.items():
            best.model.model[int(name[1:])].register_forward_hook(hook)
        split = "test" if test else "val"
        found = best.val(data=tmp_path / "few.yaml", split=split, imgsz=64, batch=8, workers=0, plots=False)
        return float(found.results_dict[METRICS["detect"]])

    known = result.ablations
    assert [(one.rows, one.by) for one in known] == [(one.rows, one.by) for one in asked]
    assert {one.score for one in known} == {score()} and score() > 0
    if test:
        assert score() == result.scores["test"]
    by_hand = (lambda _, given, __: given[0]) if by == "input" else (lambda _, __, output: 0 * output)
    assert known[0].without == score(**{f"_{row}": by_hand}) != score()
    zero = {f"_{one}": lambda _, __, output: 0 * output for one in (4, 6)}
    assert known[1].without == score(**zero) != score()
    assert known[2].without is None
