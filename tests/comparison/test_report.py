"""What a comparison says: in words, in tables, in a summary and on a page, in two languages."""

from __future__ import annotations

import json
import math
import re
import string
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import polars as pl
import pytest
import runs
import yaml
from simulate_bootstrap import simulated

from yolo_focal.comparison.launch.devices import Slot
from yolo_focal.comparison.report import report, verdicts
from yolo_focal.comparison.report.analysis import Pair, analyse
from yolo_focal.comparison.report.i18n import phrase
from yolo_focal.comparison.report.model_cost import Cost
from yolo_focal.comparison.stats import bootstrap
from yolo_focal.comparison.stats.bootstrap import ImagesInterval
from yolo_focal.comparison.stats.paired_t import Difference, difference
from yolo_focal.comparison.store import validations
from yolo_focal.comparison.store.results_csv import Curve
from yolo_focal.comparison.store.run_folder import validation_file
from yolo_focal.comparison.study.dataset import Dataset, Label, Split
from yolo_focal.comparison.study.models import Model
from yolo_focal.comparison.study.plan import Plan, Run
from yolo_focal.comparison.study.request import LANGUAGES, Options
from yolo_focal.comparison.study.results import RunOutcome, table
from yolo_focal.comparison.study.screened import Rung, Screening

PHRASES = Path(report.__file__).with_name("locales")
SCHEMA = json.loads(Path(report.__file__).with_name("summary.schema.json").read_text(encoding="utf-8"))
METRIC = "metrics/mAP50-95(B)"
PAIR = Pair("a", "b")


def plan(folder: Path, labels: str = "ab", **options: Any) -> Plan:
    labelled = [Label("1", {0: 3}), Label("2", {1: 2})]
    splits = {name: Split(["1.jpg", "2.jpg"], labelled) for name in ("train", "val", "test")}
    dataset = Dataset("d.yaml", "detect", ["cat", "dog"], splits, {})
    options = {"seeds": 5, **options}
    return Plan(
        folder=folder,
        models=[Model(label, f"{label}.yaml", f"{label}.yaml", "detect", "0", 3_000_000) for label in labels],
        dataset=dataset,
        options=Options(**options),
        user_arguments={"epochs": 50},
        arguments={"epochs": 50, "device": None},
        per_run={"workers": 2, "threads": 1, "last_epochs": 5},
        looks=[options["seeds"]],
        test=False,
        slots=[Slot("cpu", None, "cpu")],
        fingerprint="0",
    )


def outcome(folder: Path, label: str, seed: int, score: float, **other: Any) -> RunOutcome:
    """Return a run that has finished, with what it has done on top."""
    result = runs.result(score, {"order": f"{seed}", **other.pop("work", {})}, **other)
    run = Run(folder / label / f"seed{seed}", label, seed, None, "d.yaml", "0")
    return RunOutcome(run, result, "", Curve([score / 2, score], None))


def changed(ended: RunOutcome, **other: Any) -> RunOutcome:
    """Return a run that has come to something else."""
    assert ended.result is not None
    return ended._replace(result=replace(ended.result, **other))


def outcomes(folder: Path, apart: float = 0.1, seeds: int = 5, labels: str = "ab") -> list[RunOutcome]:
    rng = np.random.default_rng(0)
    return [
        outcome(folder, label, seed, 0.5 + apart * index + float(rng.normal(0, 0.01)))
        for seed in range(seeds)
        for index, label in enumerate(labels)
    ]


# Words


def test_both_languages_have_the_same_sentences_with_the_same_places() -> None:
    def places(text: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}

    english, chinese = (yaml.safe_load((PHRASES / f"{lang}.yaml").read_text("utf-8")) for lang in ("en", "zh"))
    assert LANGUAGES == ("en", "zh")
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert places(text) >= places(chinese[key]), key
        assert places(text) - places(chinese[key]) <= {"level"}, key


@pytest.mark.parametrize(
    ("scores", "options", "images", "said"),
    [
        (
            ([0.5, 0.51, 0.52], [0.6, 0.62, 0.61]),
            {},
            None,
            "b is better than a by 0.1000 mAP50-95(B) (95% interval +0.0720 to +0.1280 over 3 seeds): more than seed "
            "noise.",
        ),
        (
            ([0.5, 0.51, 0.52], [0.4, 0.42, 0.41]),
            {},
            ImagesInterval(-0.2, 0.01, 0.05, 1000),
            "b is worse than a by 0.1000 mAP50-95(B) (95% interval -0.1280 to -0.0720 over 3 seeds): more than seed "
            "noise. On other images it may be otherwise: over seeds and images the interval is -0.2000 to +0.0100.",
        ),
        (
            ([0.5, 0.51, 0.52], [0.6, 0.62, 0.61]),
            {"lang": "zh"},
            ImagesInterval(0.05, 0.15, 0.05, 1000),
            "b 优于 a，高出 0.1000 mAP50-95(B)（3 个种子上的 95% 区间为 +0.0720 到 +0.1280）：超过种子噪声。"
            "换一批图像也会成立（同时考虑种子与图像：+0.0500 到 +0.1500）。",
        ),
        (
            ([0.5, 0.51, 0.52], [0.51, 0.5, 0.53]),
            {},
            None,
            "Cannot tell b from a: the difference is between -0.0290 and +0.0357 mAP50-95(B) (95% interval over 3 "
            "seeds). The minimum detectable difference is 0.0422: this many would show it four times out of five.",
        ),
        (
            ([0.5, 0.51, 0.52], [0.5001, 0.51, 0.5199]),
            {"margin": 0.005},
            None,
            "b and a are equal within 0.005 mAP50-95(B): the difference is between -0.0003 and +0.0003 (95% "
            "interval over 3 seeds).",
        ),
        (
            ([0.5, 0.51, 0.52], [0.51, 0.5, 0.53]),
            {"margin": 0.03},
            None,
            "b is not worse than a by as much as 0.03 mAP50-95(B): the difference is between -0.0290 and +0.0357 (95% "
            "interval over 3 seeds).",
        ),
        (
            ([0.5], [0.6]),
            {},
            None,
            "b scores +0.1000 mAP50-95(B) against a with one seed. One seed says nothing about noise: write seeds=5.",
        ),
        (
            ([0.5, 0.5], [0.55, 0.55]),
            {},
            None,
            "b scores +0.0500 mAP50-95(B) against a with every seed: the seeds did not "
            "vary, so nothing can be said about noise.",
        ),
        (([0.5, 0.6], [0.5, 0.6]), {}, None, "b and a give the same results."),
    ],
)
def test_what_is_said_of_a_difference(
    scores: tuple[list[float], list[float]], options: dict[str, Any], images: Any, said: str, tmp_path: Path
) -> None:
    compared = difference(*scores, margin=options.get("margin"))
    assert verdicts.verdict(plan(tmp_path, **options), PAIR, compared, images) == said


def test_without_a_seed_that_both_finished_nothing_is_said(tmp_path: Path) -> None:
    assert verdicts.verdict(plan(tmp_path), PAIR, None, None) == (
        "b and a have no seed that both finished: nothing can be said."
    )


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


def two_seeds(folder: Path) -> Iterator[RunOutcome]:
    """Yield runs whose differences are as far apart as -0.2 and +0.5."""
    for seed, scores in enumerate([(0.5, 0.3), (0.1, 0.6)]):
        for label, score in zip("ab", scores, strict=True):
            yield outcome(folder, label, seed, score)


@pytest.mark.parametrize(
    ("lang", "said"),
    [
        (
            "en",
            "Cannot tell b from a: the difference is between -1.0000 and +1.0000 mAP50-95(B) (95% interval over 2 "
            "seeds). With this many, no possible difference would show.",
        ),
        (
            "zh",
            "无法区分 b 与 a：差值在 -1.0000 与 +1.0000 mAP50-95(B) 之间（2 个种子上的 95% 区间）。"
            "以这样的数量，任何可能的差值都无法显现。",
        ),
    ],
)
def test_no_figure_is_said_that_cannot_be(
    lang: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "_RESAMPLES", 5)
    its_plan, found = plan(tmp_path, seeds=2, lang=lang), [changed(one, last_epochs=1) for one in two_seeds(tmp_path)]
    for run_ in found:
        validations.save(simulated(np.random.default_rng(run_.run.seed), 4), validation_file(run_.run.folder, 0))
    assert report.write_report(analyse(its_plan, found), found, table(its_plan, found))[0] == said
    (pair,) = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["differences"]
    every = [pair["over_seeds"], *(of for name in ("by_score", "by_class", "by_size") for of in pair[name].values())]
    assert [(one["low"], one["high"], one["minimum_detectable_difference"]) for one in every] == [(-1, 1, None)] * len(
        every
    )
    assert -1 <= pair["over_images"]["low"] <= pair["over_images"]["high"] <= 1
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    tables = re.sub("<svg.*?</svg>", "", page, flags=re.DOTALL)
    assert {*re.findall(r"[-+][1-9]\.\d{4}", tables)} == {"-1.0000", "+1.0000"}


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        (({"6-a": [6, 6], "2-b": [2]}, {"6-a": [6, 6], "9-c": [0]}), ""),
        (
            ({"6-a": [6, 6], "2-b": [2]}, {"6-a": [6, 0], "2-b": [0]}),
            " The start may be the reason: of 14 tensors in layers that both have, a took 14 over from weights and b "
            "6.",
        ),
        (({"6-a": [6, 6]}, {"6-a": [6]}), ""),  # the other one has one such layer, and it has all of it
        (
            ({"6-a": [6, 5]}, {"6-a": [0, 0]}),
            " The start may be the reason: of 12 tensors in layers that both have, a took 11 over from weights and b "
            "0.",
        ),
    ],
)
def test_a_start_that_new_layers_do_not_explain_is_said_in_the_verdict(layers: Any, said: str, tmp_path: Path) -> None:
    found = [
        outcome(tmp_path, label, seed, 0.5 + 0.1 * index + 0.01 * seed * (index + 1), work={"layers": layers[index]})
        for seed in range(3)
        for index, label in enumerate("ab")
    ]
    (verdict,) = verdicts.verdicts(analyse(plan(tmp_path), found))
    assert verdict.startswith("b is better than a by 0.1100 mAP50-95(B)")
    assert verdict.endswith(f"more than seed noise.{said}")


@pytest.mark.parametrize(
    ("assumed", "said"),
    [(("n", ""), " The name of a says no scale: Ultralytics took n."), (("n", "n"), ""), (("", ""), "")],
)
def test_a_scale_that_was_assumed_beside_one_that_was_named_is_said_in_the_verdict(
    assumed: tuple[str, str], said: str, tmp_path: Path
) -> None:
    its_plan = plan(tmp_path)
    models = [model._replace(assumed=scale) for model, scale in zip(its_plan.models, assumed, strict=True)]
    (verdict,) = verdicts.verdicts(analyse(replace(its_plan, models=models), outcomes(tmp_path)))
    assert verdict.endswith(f"more than seed noise.{said}")


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


def test_what_the_plan_can_show(tmp_path: Path) -> None:
    its_plan = plan(tmp_path)
    guess = (
        "This is a guess before the first run, from the standard deviation that one other set of 36 images had, and "
        "may be half or twice as much."
    )
    assert verdicts.about_power(its_plan, []) == (
        f"5 seeds and 2 images: the minimum detectable difference is about 0.317 mAP50-95(B). {guess}"
    )
    assert verdicts.about_power(plan(tmp_path, seeds=2), []) == (
        f"2 seeds and 2 images: no possible difference would show. {guess}"
    )
    said = verdicts.about_power(its_plan, outcomes(tmp_path, seeds=3))
    assert re.fullmatch(
        r"At the standard deviation seen so far \(0\.0\d+\), 5 seeds: the minimum detectable difference is about "
        r"0\.0\d+ mAP50-95\(B\)\.",
        said,
    )
    far_apart = verdicts.about_power(plan(tmp_path, seeds=2), [*two_seeds(tmp_path)])
    assert far_apart == "At the standard deviation seen so far (0.4950), 2 seeds: no possible difference would show."
    one = replace(its_plan, options=its_plan.options._replace(seeds=1))
    assert (
        verdicts.about_power(one, [])
        == "One seed will show no difference, because it says nothing about noise; write seeds=5."
    )


# Tables, summary and page


def test_models_are_compared_with_the_first_or_all_with_all(tmp_path: Path) -> None:
    found = outcomes(tmp_path, labels="abc")
    assert list(analyse(plan(tmp_path, "abc"), found).over_seeds) == [("a", "b"), ("a", "c")]
    all_pairs = analyse(plan(tmp_path, "abc", all_pairs=True), found)
    assert list(all_pairs.over_seeds) == [("a", "b"), ("a", "c"), ("b", "c")]
    difference = all_pairs.over_seeds[Pair("b", "c")]
    assert difference is not None and difference.is_more_than_noise


def test_the_table_has_scores_metrics_classes_and_failures(tmp_path: Path) -> None:
    found = outcomes(tmp_path, seeds=1)
    found.append(found[0]._replace(run=found[0].run._replace(seed=1), result=None, failure="it has not been started"))
    frame = table(plan(tmp_path), found)
    assert frame.columns == [
        *("model", "seed", "finished", "epochs", "score best", "score last", "score mean_of_last", METRIC, "seconds"),
        *("cpu_seconds", "peak_memory_mib", "failure", "AP50-95 cat", "AP50-95 dog"),
        *("AP50-95 of small objects", "AP50-95 of large objects"),
    ]
    assert frame["failure"].to_list() == ["", "", "it has not been started"]
    assert frame["AP50-95 cat"][2] is None


class Page(HTMLParser):
    """Collects a page's text and checks that its elements are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002
        if tag not in {"meta", "path", "use", "rect", "circle", "br", "link", "clippath"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


COST = Cost(3_000_000, 8.5, [10.0, 11.0, 12.0], None, None, ["onnxruntime: RuntimeError: <none>"])


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


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_report_is_whole_without_a_network(lang: str, tmp_path: Path) -> None:
    its_plan, found = plan(tmp_path, lang=lang, seeds=5), outcomes(tmp_path)
    found[0] = found[0]._replace(result=None, failure="no <b>luck</b>")
    said = report.write_report(analyse(its_plan, found), found, table(its_plan, found))
    before = (tmp_path / "report.html").read_text(encoding="utf-8")
    report._write(analyse(its_plan, found), found, table(its_plan, found), {"a": COST, "b": COST})
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert all(line in page.text for line in said)
    assert "no <b>luck</b>" in page.text and "<b>luck" not in text
    assert ("3,000,000" in page.text, "3,000,000" in before) == (True, False)
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    assert text.count("<svg") == 3
    assert f'<html lang="{lang}">' in text
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    jsonschema.validate(summary, SCHEMA)
    (apart,) = summary["differences"]
    assert apart["over_seeds"]["seeds"] == 4
    assert apart["by_class"].keys() == {"cat", "dog"} and apart["by_score"].keys() == {"best", "last"}
    assert apart["by_size"].keys() == {"small", "large"}
    assert summary["command"] == (
        f"yolo-focal compare data=d.yaml models=a.yaml,b.yaml seeds=5 name={tmp_path.name}"
        f"{' lang=zh' if lang == 'zh' else ''} epochs=50"
    )
    assert pl.read_csv(tmp_path / "results.csv").height == 10
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "learning-curves.png",
        "accuracy-against-time.png",
        "differences-1-b.png",
    }


def test_fresh_seeds_are_named_by_their_numbers(tmp_path: Path) -> None:
    its_plan = replace(plan(tmp_path, seed=3), looks=[2, 5])
    found = [o._replace(run=o.run._replace(seed=o.run.seed + 3)) for o in outcomes(tmp_path)]
    report.write_report(analyse(its_plan, found), found, table(its_plan, found))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Each model was trained with the seeds 3 to 7 by" in page
    assert dict.fromkeys(re.findall(r"seed \d+", page)) == dict.fromkeys(f"seed {seed}" for seed in range(3, 8))
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert " seeds=5 " in summary["command"] and " seed=3 " in summary["command"]
    from_zero = analyse(replace(plan(tmp_path), looks=[2, 5]), outcomes(tmp_path))
    assert analyse(its_plan, found).over_seeds == from_zero.over_seeds


def test_the_pages_table_of_runs_has_what_fits_a_sheet_of_paper(tmp_path: Path) -> None:
    its_plan, found = plan(tmp_path), outcomes(tmp_path)
    report.write_report(analyse(its_plan, found), found, table(its_plan, found))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    runs = page.partition("<h2>Runs</h2>")[2].partition("</table>")[0]
    assert "results.csv beside this page holds this table with the AP of each class and each size of object." in runs
    assert re.findall(r"<th>(.*?)</th>", runs)[-3:] == ["seconds", "cpu_seconds", "peak_memory_mib"]


def test_a_failed_run_does_not_cut_the_curves_of_the_others(tmp_path: Path) -> None:
    from yolo_focal.comparison.report.plots import _curves

    found = [o._replace(curve=Curve([0.1 * n for n in range(10)], None)) for o in outcomes(tmp_path)]
    found[0] = found[0]._replace(result=None, curve=Curve([0.5], None))
    figure = _curves(plan(tmp_path), found)
    assert figure is not None
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [10, 10]


def test_names_that_differ_in_signs_alone_get_files_of_their_own(tmp_path: Path) -> None:
    its_plan = plan(tmp_path, "abc")
    labels = ["a", "模 型", "模+型"]
    models = [model._replace(label=label) for model, label in zip(its_plan.models, labels, strict=True)]
    found = [outcome(tmp_path, label, seed, 0.5 + 0.01 * seed) for seed in range(3) for label in labels]
    report.write_report(analyse(replace(its_plan, models=models), found), found, table(its_plan, found))
    assert {path.name for path in tmp_path.glob("differences*")} == {
        "differences-1-模-型.png",
        "differences-2-模-型.png",
    }


def test_a_difference_of_one_value_has_no_interval_in_the_tables() -> None:
    assert report._figures(Difference(0.1, math.nan, math.nan, 1), "en") == ["+0.1000", "-", "-"]
