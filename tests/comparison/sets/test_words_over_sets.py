"""What a comparison over several data sets says in words, in two languages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import runs
from comparison import several
from comparison.several import BETTER, FOCAL, FOLDER, PLANS, Score, analysed, apart

from yolo_focal.comparison.report.over_sets import forest, words
from yolo_focal.comparison.study.registered import Registered


@pytest.fixture(autouse=True)
def sets(in_a_folder_of_its_own: None) -> None:  # noqa: ARG001
    several.draw_sets()


_FEW = "These are fewer than 5 data sets: the interval is wide, and a further set narrows it more than further seeds."
_HIGHER = " On a set like these a training of yolov8n-focal scores higher than one of yolov8n with a probability of "


@pytest.mark.parametrize(
    ("score", "options", "said"),
    [
        (
            BETTER,
            {},
            "Over 3 data sets yolov8n-focal differs from yolov8n by +0.0333 (-0.0371 to +0.1038) mAP50-95(B); better "
            "on 3, worse on 0. Which is better on sets like these cannot be told. The minimum detectable difference is "
            f"0.0919: this many sets would show it four times out of five.{_HIGHER}92% (56% to 100%).",
        ),
        (
            BETTER,
            {"lang": "zh"},
            "在 3 个数据集上，yolov8n-focal 与 yolov8n 相差 +0.0333（-0.0371 到 +0.1038）mAP50-95(B)；在 3 个上更好，"
            "在 0 个上更差。在这类数据集上哪个更好，无法判断。最小可检测差值为 0.0919：这么多数据集在五次中有四次能"
            "发现它。"
            "在这类数据集上，yolov8n-focal 的一次训练得分高于 yolov8n 的概率为 92%（56% 到 100%）。",
        ),
        (
            apart(a=0.030, b=0.031, c=0.032),
            {},
            "Over 3 data sets yolov8n-focal differs from yolov8n by +0.0310 (+0.0282 to +0.0338) mAP50-95(B); better "
            f"on 3, worse on 0. On sets like these it is better on average.{_HIGHER}100%.",
        ),
        (
            apart(a=-0.030, b=-0.031, c=-0.032),
            {},
            "Over 3 data sets yolov8n-focal differs from yolov8n by -0.0310 (-0.0338 to -0.0282) mAP50-95(B); better "
            f"on 0, worse on 3. On sets like these it is worse on average.{_HIGHER}0%.",
        ),
        (
            apart(a=0.001, b=-0.001, c=0.0),
            {"margin": 0.01},
            "Over 3 data sets yolov8n-focal differs from yolov8n by +0.0000 (-0.0028 to +0.0028) mAP50-95(B); better "
            "on 1, worse on 1. On sets like these the two are equal on average within 0.01."
            f"{_HIGHER}50% (0% to 100%).",
        ),
        (
            apart(a=0.02, b=0.0, c=0.04),
            {"margin": 0.04},
            "Over 3 data sets yolov8n-focal differs from yolov8n by +0.0200 (-0.0360 to +0.0760) mAP50-95(B); better "
            "on 2, worse on 0. On sets like these it is not worse on average by as much as 0.04."
            f"{_HIGHER}79% (15% to 100%).",
        ),
        (
            lambda _label, model, seed: 0.5 + 0.1 * seed + 0.25 * (model == FOCAL.other),
            {},
            "Over 3 data sets yolov8n-focal scores +0.2500 mAP50-95(B) against yolov8n on each: the sets did not vary, "
            "so nothing can be said about others.",
        ),
        (
            lambda *_: 0.5,
            {},
            "Over 3 data sets yolov8n-focal and yolov8n give the same results.",
        ),
        (
            lambda label, _, seed: 0.5 + 0.01 * seed if label == "b" else None,
            {},
            "yolov8n-focal scores +0.0000 mAP50-95(B) against yolov8n on one data set, b: one data set says nothing "
            "about others.",
        ),
        (
            lambda _label, model, seed: 0.5 if (model == FOCAL.other) == bool(seed) else None,
            {},
            "yolov8n-focal and yolov8n have no data set with a seed that both finished: nothing can be said.",
        ),
    ],
)
def test_what_is_said_over_sets(score: Score, options: dict[str, Any], said: str) -> None:
    assert words.verdict(analysed(score, options=options), FOCAL) == said


def test_models_that_do_not_start_alike_are_named_with_the_verdict() -> None:
    analysis = analysed(BETTER)
    unequal = {
        model: runs.result(work={"layers": {"12-x": [12 - 5 * index]}}).work for index, model in enumerate(FOCAL)
    }
    sets = {
        **analysis.sets,
        "b": analysis.sets["b"]._replace(works=unequal),
        "a": analysis.sets["a"]._replace(works={}),
    }
    assert words.verdict(analysis._replace(sets=sets), FOCAL) == (
        f"{words.verdict(analysis, FOCAL)} The start may be the reason: of 12 tensors in layers that both have, "
        "yolov8n took 12 over from weights and yolov8n-focal 7."
    )


def test_a_run_that_failed_leaves_out_its_seed_and_then_its_set() -> None:
    def score(label: str, model: str, seed: int) -> float | None:
        if model == FOCAL.other and (label == "a" or (label == "b" and seed == 1)):
            return None
        return BETTER(label, model, seed)

    analysis = analysed(score)
    failed = "The same command tries it again."
    log = f"it has not been started (the whole log: {FOLDER}/{{}}/yolov8n-focal/seed{{}}/log.txt). {failed}"
    assert words.warnings(analysis, {"a": [], "b": ["x", "y"], "c": ["z"]}) == [
        f"a: yolov8n-focal, seed0 failed: {log.format('a', 0)}",
        f"a: yolov8n-focal, seed1 failed: {log.format('a', 1)}",
        f"b: yolov8n-focal, seed1 failed: {log.format('b', 1)}",
        "Left out of the verdict on yolov8n-focal and yolov8n, because no seed was finished by both: a.",
        _FEW,
        "The reports of single data sets have notes to read: b (2), c (1).",
    ]
    found = analysis.over_sets[FOCAL]
    assert found.of_sets == pytest.approx({"b": 0.01, "c": 0.03})
    assert words.verdict(analysis, FOCAL).startswith("Over 2 data sets yolov8n-focal differs from yolov8n by +0.0200 ")
    assert forest._draw(analysis, FOCAL) is not None


def test_extensions_and_several_models_are_said() -> None:
    later = Registered("2026-11-28 00:00:00", "1123262fbfb305df", 12, ["a", "b", "c"], 3)
    models = [*several.PAIR, "yolov8n-ema.yaml"]
    analysis = analysed(lambda _, model, seed: 0.5 + len(model) / 100 + seed / 10, [*PLANS, later], models=models)
    assert words.warnings(analysis, {}) == [
        _FEW,
        "2 comparisons are made; the intervals are widened so that with 95% confidence none of them leaves out zero by "
        "chance (Holm).",
        "The comparison was extended, so that this is the verdict on its plan number 2; the intervals over data sets "
        "are widened for having looked 2 times.",
    ]
    assert words.about_plans(analysis) == [
        "The plan (models, arguments, metric, margin, data sets: 3, seeds: 2) was written on 2026-11-27 02:44:21 UTC, "
        "before the first run. Its digest is 023262fbfb305dfd; sets.json holds it.",
        "It was extended on 2026-11-28 00:00:00 UTC, when 12 runs had begun, to data sets: 3, seeds: 3. Its digest is "
        "1123262fbfb305df.",
    ]


def test_what_a_plan_can_show_is_said_of_each_set_and_of_all() -> None:
    guess = (
        "This is a guess before the first run, from the standard deviation that one other set of 36 images had, and "
        "may be half or twice as much."
    )
    before = analysed(lambda *_: None, options={"seeds": 5})
    assert list(words.about_power(before)) == [
        "a: classes 4, training images 3, val images 2. 5 seeds and 2 images: the minimum detectable difference is "
        "about 0.317 mAP50-95(B).",
        "b: classes 4, training images 4, val images 3. 5 seeds and 3 images: the minimum detectable difference is "
        "about 0.259 mAP50-95(B).",
        "c: classes 4, training images 5, val images 4. 5 seeds and 4 images: the minimum detectable difference is "
        "about 0.224 mAP50-95(B).",
        "All 3 data sets: the minimum detectable difference is about 0.245 mAP50-95(B), if the difference is the same "
        f"on each, and more if it varies. {guess}",
    ]


def test_after_some_runs_their_spread_is_taken() -> None:
    analysis = analysed(BETTER, options={"seeds": 1})
    assert next(words.about_power(analysis)) == (
        "a: classes 4, training images 3, val images 2. One seed shows nothing on this set alone."
    )
    assert list(words.about_power(analysis))[-1] == (
        "All 3 data sets, at the standard deviation over them seen so far (0.0252): the minimum detectable difference "
        "is about 0.092 mAP50-95(B)."
    )


def test_sets_that_are_scored_otherwise_are_named() -> None:
    Path("b.yaml").write_text(Path("b.yaml").read_text() + "test: images/val\n")
    assert words.scored_by(analysed(BETTER)) == (
        "It speaks of data sets like these, on average; the data set is the unit, each counts once. a, c: Scored by "
        "the mean of the last 3 epochs on the validation images, not by the best epoch, which those images choose "
        "themselves. Test images (`test:` in the data YAML) would choose nothing at all. b: Scored on the test images, "
        "by the best checkpoint of each run: they chose nothing."
    )
