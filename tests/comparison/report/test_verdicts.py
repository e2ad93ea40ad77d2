"""What a comparison says of a difference between two models, and of one that it could show, in two languages."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from comparison.outcomes import changed, outcome, outcomes, plan
from simulate_bootstrap import simulated

from yolo_focal.comparison.report import report, verdicts
from yolo_focal.comparison.report.analysis import Pair, analyse
from yolo_focal.comparison.stats import bootstrap
from yolo_focal.comparison.stats.bootstrap import ImagesInterval
from yolo_focal.comparison.stats.paired_t import difference
from yolo_focal.comparison.store import validations
from yolo_focal.comparison.store.run_folder import validation_file
from yolo_focal.comparison.study.request import LANGUAGES
from yolo_focal.comparison.study.results import RunOutcome, table

PHRASES = Path(report.__file__).with_name("locales")
PAIR = Pair("a", "b")


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
