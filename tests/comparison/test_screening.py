"""Comparisons with a budget: which models it goes to, and what is said of the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support import COMMAND, run

import yolo_focal
from yolo_focal import ConfigError
from yolo_focal.comparison.report import model_cost

SCHEMA = json.loads(Path(model_cost.__file__).with_name("summary.schema.json").read_text(encoding="utf-8"))
MODELS = ["yolov8n.yaml", "yolov8n-focal.yaml", "yolov8n-ema.yaml", "yolov8n-c2focal.yaml"]
SMALL: dict[str, Any] = {"imgsz": 64, "batch": 8, "fraction": 0.1, "plots": False, "warmup_epochs": 1}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"budget": "12 hours"},
            "budget=12 hours: write what all runs together may take, such as budget=12h, budget=90min or "
            "budget=500epochs",
        ),
        ({"budget": "12h", "time": 0.5}, "budget= and time=: write one of them"),
        (
            {"budget": "43epochs"},
            "budget=43epochs: 4 models of 1 epochs, and then two of them with 5 runs of 4, take 44 epochs; write "
            "budget=44epochs or more",
        ),
    ],
)
def test_a_budget_that_cannot_work_is_named_before_anything_runs(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        yolo_focal.compare("shapes.yaml", MODELS, epochs=4, **SMALL, **options)
    assert str(caught.value) == message


@pytest.mark.slow
def test_a_budget_goes_to_the_better_models() -> None:
    small = [f"{key}={value}" for key, value in SMALL.items()]
    command = (
        *(COMMAND, "compare", "data=shapes.yaml", f"models={','.join(MODELS)}", "seeds=1", "epochs=2"),
        *("parallel=2", "name=b", *small),
    )
    out = run(*command, "budget=10epochs", cwd=Path.cwd()).stdout
    folder = Path("runs/compare/b")
    assert "Screening: 4 models of 1 epochs with seed 1000" in out
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    jsonschema.validate(summary, SCHEMA)
    screening = summary["screening"]
    assert (screening["models"], screening["budget"], screening["seed"]) == (MODELS, "10epochs", 1000)
    (rung,) = screening["rungs"]
    others = sorted(["yolov8n-focal", "yolov8n-ema", "yolov8n-c2focal"], key=lambda label: -rung["scores"][label])
    assert rung["epochs"] == 1 and rung["dropped"] == others[2:]  # four epochs of the budget, and six for three models
    assert {*summary["models"]} == {"yolov8n", *others[:2]}
    assert not (folder / others[2]).exists()
    assert {path.parent.name for path in folder.glob("*/seed*/result.json")} == {"seed0"}
    first, last = (f"{label} {rung['scores'][label]:.4f}" for label in ("yolov8n", others[2]))
    said = f"Dropped after 1 epochs with one seed, for a budget of 10epochs, and not beaten: {last} (against {first})."
    assert summary["warnings"][:3] == [
        said,
        "The models were chosen by a seed (1000) that has no part in the verdict.",
        "The validation images chose the models too, so that the difference may be a little smaller on others: test "
        "images (`test:` in the data YAML) would choose nothing.",
    ]
    assert said in (folder / "report.html").read_text(encoding="utf-8")
    assert "models=yolov8n.yaml,yolov8n-focal.yaml,yolov8n-ema.yaml,yolov8n-c2focal.yaml" in summary["command"]
    assert "budget=10epochs" in summary["command"] and " seed=" not in summary["command"]

    trained = {file: file.stat().st_mtime_ns for file in folder.rglob("result.json")}
    run(*command, "budget=10epochs", cwd=Path.cwd())
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("result.json")} == trained
    done = run(*command, "budget=12epochs", cwd=Path.cwd(), check=False)
    assert done.returncode == 1 and done.stdout.splitlines()[-1].endswith(
        f"{folder} was begun with budget=10epochs, and now it is 12epochs: write name= with another name than b, or "
        "what it was begun with"
    )
    (folder / "plan.json").unlink()  # as while the screening goes on
    status = run(COMMAND, "compare", "status", "name=b", cwd=Path.cwd()).stdout.splitlines()
    assert status[-6] == f"{folder}/screening/b-1-epochs: 4 of 4 runs have finished"


@pytest.mark.slow
def test_a_time_that_does_not_pay_for_two_models_is_named_and_what_was_trained_kept() -> None:
    pair, data = MODELS[:2], "shapes.yaml"
    with pytest.raises(ConfigError) as caught:
        yolo_focal.compare(data, pair, seeds=50, epochs=4, budget="0.5min", **SMALL)
    message = str(caught.value)
    assert message.startswith("budget=0.5min: ")
    assert (
        " of it are left after the screening, and 50 runs of 4 epochs of yolov8n and of yolov8n-focal take" in message
    )
    assert message.endswith("h or more, and what has been trained is kept")
    assert len([*Path("runs/compare/compare/screening").rglob("result.json")]) == 2
