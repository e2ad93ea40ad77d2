"""What a comparison warns of: runs that failed, data that lack something, work that differs, models left out."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison.outcomes import changed, outcome, outcomes, plan
from simulate_bootstrap import simulated

from yolo_focal.comparison.report import report, verdicts
from yolo_focal.comparison.report.analysis import analyse
from yolo_focal.comparison.report.i18n import phrase
from yolo_focal.comparison.stats import bootstrap
from yolo_focal.comparison.store import validations
from yolo_focal.comparison.store.results_csv import Curve
from yolo_focal.comparison.store.run_folder import validation_file
from yolo_focal.comparison.study.dataset import Label, Split
from yolo_focal.comparison.study.results import RunOutcome
from yolo_focal.comparison.study.screened import Rung, Screening


def warnings_of(found: list[RunOutcome], folder: Path, **options: Any) -> list[str]:
    its_plan = options.pop("plan", None) or plan(folder, **options)
    return verdicts.warnings(analyse(its_plan, found), found)


def test_nothing_is_warned_of_where_all_is_well(tmp_path: Path) -> None:
    assert warnings_of(outcomes(tmp_path), tmp_path) == []


def test_runs_that_failed_or_found_nothing_are_named(tmp_path: Path) -> None:
    found = outcomes(tmp_path)
    found[0] = found[0]._replace(result=None, failure="OSError: [Errno 28] No space left on device")
    found[1] = found[1]._replace(curve=Curve([0.1, math.nan], 2))
    found[3] = outcome(tmp_path, "b", 1, 0.5, scores={"mean_of_last": math.nan})
    assert warnings_of(found, tmp_path) == [
        f"a, seed0 failed: OSError: [Errno 28] No space left on device (the whole log: {tmp_path}/a/seed0/log.txt). "
        "The same command tries it again.",
        "b, seed0: the loss was not finite in epoch 2.",
        "b, seed1: its score is not a number and is left out.",
    ]
    nothing = [changed(one, scores={"mean_of_last": 0.0}) for one in outcomes(tmp_path)]
    assert warnings_of(nothing, tmp_path) == [
        "Every score is 0: the models have found nothing yet. Train for more epochs."
    ]
    assert verdicts.verdicts(analyse(plan(tmp_path), nothing)) == [
        "b and a have found nothing yet: every score is 0, and nothing can be said of them."
    ]


@pytest.mark.parametrize(
    ("names", "boxes", "said"),
    [
        (["cat", "dog"], {}, ["The val images have no labels at all: every score is 0 and says nothing."]),
        (["cat", "dog"], {1: 3}, ["The val images have no labels of cat: nothing is said about these classes."]),
        (["cat"], {0: 3}, ["The data have one class: the table by class says nothing beyond the verdict."]),
    ],
)
def test_labels_that_are_missing_are_named(
    names: list[str], boxes: dict[int, int], said: list[str], tmp_path: Path
) -> None:
    its_plan = plan(tmp_path)
    splits = {**its_plan.dataset.splits, "val": Split(["1.jpg"], [Label("1", boxes)])}
    its_plan = replace(its_plan, dataset=its_plan.dataset._replace(names=names, splits=splits))
    assert warnings_of(outcomes(tmp_path), tmp_path, plan=its_plan) == said


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({}, None),
        ({"fraction": 0.5}, 2),
        ({"fraction": 1}, None),
        ({"fraction": 3}, None),
        ({"fraction": 2}, 2),
        ({"fraction": [0.5, 1.0]}, 2),
        ({"fraction": []}, None),
        ({"fraction": 0.01}, 1),
        ({"fraction": 0.5, "single_cls": True}, None),
    ],
)
def test_classes_that_are_left_out_of_the_training_are_named(
    given: dict[str, Any], count: int | None, tmp_path: Path
) -> None:
    labels = [Label(f"{index}", {int(index > 1): 1}) for index in range(4)]
    train = Split([f"{index}.jpg" for index in range(4)], labels)
    its_plan = plan(tmp_path)
    splits = {**its_plan.dataset.splits, "train": train}
    its_plan = replace(
        its_plan, dataset=its_plan.dataset._replace(splits=splits), arguments={**its_plan.arguments, **given}
    )
    said = (
        f"The {count} training images have no labels of dog: no model can learn these classes, and fraction= takes the "
        "first images by name."
    )
    assert warnings_of(outcomes(tmp_path), tmp_path, plan=its_plan) == ([said] if count else [])


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (
            {"transferred": [343, 351]},
            "The models do not start alike: a 3/5; b 343/351 tensors were taken over from the weights.",
        ),
        ({"transferred": None}, "The models do not start alike: a 3/5; b 0 tensors were taken over from the weights."),
        ({"batch": 8}, "The batch differs: a 16; b 8. The trainer halves it when memory runs out."),
        ({"imgsz": 320}, "The image size differs: a 640; b 320 pixels."),
        ({"epochs": 40}, "The number of epochs differs: a 50; b 40."),
        ({"order": "x"}, "Seed 0: the images did not come in the same order and augmentation for all models."),
    ],
)
def test_work_that_differs_is_named(work: dict[str, Any], said: str, tmp_path: Path) -> None:
    found = [outcome(tmp_path, "a", 0, 0.5), outcome(tmp_path, "b", 0, 0.6, work=work)]
    assert warnings_of(found, tmp_path) == [said]


def test_models_that_took_over_all_that_they_have_start_alike(tmp_path: Path) -> None:
    taken = {"a": [355, 355], "b": [397, 397]}
    found = [outcome(tmp_path, label, 0, 0.5, work={"transferred": counts}) for label, counts in taken.items()]
    assert warnings_of(found, tmp_path) == []


def test_a_machine_that_others_used_is_noted(tmp_path: Path) -> None:
    found = [outcome(tmp_path, "a", 0, 0.5), outcome(tmp_path, "b", 0, 0.6, seconds=400.0)]
    assert warnings_of(found, tmp_path) == [
        "b: 400 s of training took 95 s of CPU time: other work held the machine up, and the times say little."
    ]


def test_looks_and_many_models_are_said(tmp_path: Path) -> None:
    its_plan = replace(plan(tmp_path, "abc"), looks=[3, 5])
    assert warnings_of(outcomes(tmp_path, labels="abc"), tmp_path, plan=its_plan) == [
        "2 comparisons are made; the intervals are widened so that with 95% confidence none of them leaves out zero by "
        "chance (Holm).",
        "The comparison was extended after a verdict at 3 seeds; the intervals are widened for having looked 2 times.",
    ]


def test_a_verdict_that_rests_on_the_curve_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of three models are recorded, and of them alone it is said whether the difference holds on other images."""
    monkeypatch.setattr(bootstrap, "_RESAMPLES", 5)
    its_plan, found = plan(tmp_path, "abc", seeds=3, lang="en"), outcomes(tmp_path, seeds=3, labels="abc")
    rng = np.random.default_rng(0)
    found = [changed(one, last_epochs=1) for one in found]
    for run_ in found:
        validations.save(simulated(rng, 10), validation_file(run_.run.folder, 0))
    assert None not in analyse(its_plan, found).over_images.values()
    found[2] = changed(found[2], recorded=False)
    assert [images is None for images in analyse(its_plan, found).over_images.values()] == [False, True]
    assert warnings_of(found, tmp_path, plan=its_plan)[0] == (
        "c, seed0: not every image of the validation is on record, or their score is not the one that Ultralytics "
        "says. The verdict rests on Ultralytics' scores (results.csv), and nothing is said of other images."
    )
    validation_file(found[1].run.folder, 0).unlink()  # the records of a run were removed
    assert set(analyse(its_plan, found).over_images.values()) == {None}


WITHOUT = [
    (
        "snapshots",
        "Ultralytics 8 has no T.x, which snapshots need. These runs were trained without, so that one that is "
        "interrupted begins anew: a, seed0; b, seed1.",
        "Ultralytics 8 没有快照所需的 T.x。以下训练没有快照，中断后从头开始：a, seed0; b, seed1。",
    ),
    (
        "records",
        "Ultralytics 8 has no T.x, which records of each image need. These runs were trained without: a, seed0; b, "
        "seed1. The verdict rests on Ultralytics' scores (results.csv), and nothing is said of other images.",
        "Ultralytics 8 没有逐图记录所需的 T.x。以下训练没有记录：a, seed0; b, seed1。结论以 Ultralytics "
        "的得分（results.csv）为准，对其他图像不作结论。",
    ),
    (
        "work",
        "Ultralytics 8 has no T.x, so that it is not known whether these runs had the batch, the image size and the "
        "order of images that they were told: a, seed0; b, seed1.",
        "Ultralytics 8 没有 T.x，因此不知道以下训练是否用了所要求的批大小、图像尺寸与图像顺序：a, seed0; b, seed1。",
    ),
]


@pytest.mark.parametrize(("part", "english", "chinese"), WITHOUT)
def test_what_a_release_of_ultralytics_lacks_is_said(part: str, english: str, chinese: str, tmp_path: Path) -> None:
    """Once for all runs, and in the place of what it is the reason for."""
    found = outcomes(tmp_path)
    for lang, said in (("en", english), ("zh", chinese)):
        its_plan = plan(tmp_path, lang=lang)
        claim = phrase(lang, "method_epochs")
        assert claim in report._methods(analyse(its_plan, outcomes(tmp_path)), outcomes(tmp_path))
        for index in (0, 3):
            found[index] = changed(found[index], without={part: "T.x"}, recorded=part != "records")
        assert warnings_of(found, tmp_path, plan=its_plan) == [said]
        assert (claim in report._methods(analyse(its_plan, found), found)) == (part != "snapshots")


def test_layers_that_are_frozen_for_each_model_are_named(tmp_path: Path) -> None:
    its_plan = plan(tmp_path)
    models = [its_plan.models[0], its_plan.models[1]._replace(freeze=[0, 1, 3])]
    its_plan = replace(its_plan, models=models, arguments={**its_plan.arguments, "freeze": 3})
    assert warnings_of(outcomes(tmp_path), tmp_path, plan=its_plan) == [
        "freeze=3 means the same layers for all models, and leaves out those that start fresh: b freeze=[0,1,3]."
    ]


@pytest.mark.parametrize(
    ("test", "options", "last"),
    [
        (
            False,
            {},
            [
                "The validation images chose the models too, so that the difference may be a little smaller on others: "
                "test images (`test:` in the data YAML) would choose nothing."
            ],
        ),
        (True, {}, []),
        (False, {"folds": 5}, []),
    ],
)
def test_models_that_a_budget_dropped_are_said_to_be_dropped(
    test: bool, options: dict[str, Any], last: list[str], tmp_path: Path
) -> None:
    rungs = [Rung(6, {"a": 0.31, "b": 0.3, "c": 0.2, "d": None}, ["c", "d"]), Rung(12, {"a": 0.41, "b": 0.4}, [])]
    screening = Screening(["a.yaml", "b.yaml", "c.yaml", "d.yaml"], "12h", 1000, rungs)
    its_plan = replace(plan(tmp_path, budget="12h", **options), screening=screening, test=test)
    said = verdicts.warnings(analyse(its_plan, []), [])
    assert said[: 2 + len(last)] == [
        "Dropped after 6 epochs with one seed, for a budget of 12h, and not beaten: c 0.2000, d - (against a 0.3100).",
        "The models were chosen by a seed (1000) that has no part in the verdict.",
        *last,
    ]
    assert "models=a.yaml,b.yaml,c.yaml,d.yaml" in report.command(its_plan)
    kept_all = screening._replace(rungs=rungs[1:])
    assert verdicts.warnings(analyse(replace(its_plan, screening=kept_all), []), [])[:1] != said[:1]
