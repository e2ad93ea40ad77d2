"""Says in words what a comparison has found, and what a reader has to know besides."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from yolo_focal.comparison.report import layers, models
from yolo_focal.comparison.report.analysis import Analysis, Pair, fraction, looks, pairs, standard_deviations
from yolo_focal.comparison.report.i18n import phrase
from yolo_focal.comparison.stats import power
from yolo_focal.comparison.stats.bootstrap import ImagesInterval
from yolo_focal.comparison.stats.paired_t import CONFIDENCE, Difference
from yolo_focal.comparison.store.run_folder import LOG, short
from yolo_focal.comparison.study.dataset import first_images
from yolo_focal.comparison.study.plan import Plan
from yolo_focal.comparison.study.results import RunOutcome

_FEW = 3  # with fewer seeds the interval is too wide to say much
_BUSY = 1.5  # seconds of the clock for one of the CPU, from which on something else kept the machine busy


def verdicts(analysis: Analysis) -> list[str]:
    """Say of each pair whether a model is better, by how much, how sure that is, and what else may be the reason."""
    return [
        verdict(
            analysis.plan,
            pair,
            difference,
            analysis.over_images.get(pair),
            found_nothing=not any(any(analysis.scores[label].values()) for label in pair),
        )
        + ("" if difference is None else "".join(_what_else(analysis, pair)))
        for pair, difference in analysis.over_seeds.items()
    ]


def verdict(
    plan: Plan, pair: Pair, difference: Difference | None, images: ImagesInterval | None, found_nothing: bool = False
) -> str:
    """Say whether a model is better than another, by how much, and whether that is more than noise.

    Args:
        plan: The comparison.
        pair: The models.
        difference: Their difference over the seeds; None if no seed was finished by both.
        images: The interval over seeds and images; None if it cannot be told.
        found_nothing: Whether every score of both is 0.
    """
    lang, metric = plan.options.lang, short(plan.metric)
    names = {"first": pair.first, "other": pair.other, "metric": metric}
    if difference is None:
        return phrase(lang, "none", **names)
    values = {
        **names,
        "mean": difference.mean,
        "size": abs(difference.mean),
        "low": difference.low,
        "high": difference.high,
        "seeds": difference.seeds,
        "units": _units(plan),
        "level": CONFIDENCE,
        "margin": difference.margin,
    }
    if difference.seeds < 2:
        return phrase(lang, "one_seed", **values)
    if not difference.seeds_varied:
        identical = "found_nothing" if found_nothing else "identical"
        return phrase(lang, identical if difference.is_identical else "not_varied", **values)
    if difference.is_more_than_noise:
        values["interval"] = phrase(lang, "interval", **values)
        said = phrase(lang, "better" if difference.mean > 0 else "worse", **values)
        said += _about_images(lang, images)
        return said + (phrase(lang, "few", few=_FEW) if difference.seeds < _FEW else "")
    if difference.is_equivalent:
        return phrase(lang, "equal", **values)
    if difference.is_no_worse:
        return phrase(lang, "no_worse", **values)
    minimum = difference.minimum_detectable_difference
    would_show = phrase(lang, "none_would_show" if math.isnan(minimum) else "would_show", minimum=minimum)
    return phrase(lang, "cannot_tell", would_show=would_show, **values)


def scored_by(plan: Plan) -> str:
    """Say which score the verdict is about."""
    key = "score_folds" if plan.options.folds else "score_test" if plan.test else "score_mean_of_last"
    return phrase(plan.options.lang, key, epochs=plan.per_run["last_epochs"])


def warnings(analysis: Analysis, outcomes: Sequence[RunOutcome]) -> list[str]:
    """Say what a reader has to know besides."""
    plan = analysis.plan
    return [
        *about_screening(plan),
        *_about_runs(analysis, outcomes),
        *_about_labels(plan),
        *_about_scores(analysis),
        *_about_work(plan, outcomes),
    ]


def about_power(plan: Plan, outcomes: Sequence[RunOutcome]) -> str:
    """Say which difference the plan can show, by the standard deviation so far or else by the number of images."""
    if plan.options.seeds * plan.options.runs_of_seed < 2:
        return phrase(plan.options.lang, "power_of_one")
    said, is_guess = what_shows(plan, outcomes)
    return said + (phrase(plan.options.lang, "power_guess") if is_guess else "")


def what_shows(plan: Plan, outcomes: Sequence[RunOutcome]) -> tuple[str, bool]:
    """Say which difference two seeds or more can show, and return whether that is a guess before the first run."""
    seeds = plan.options.seeds * plan.options.runs_of_seed
    values = {"seeds": seeds, "units": _units(plan)}
    compared, known = len(list(pairs(plan))), standard_deviations(plan, outcomes)
    if known and max(known) > 0:
        std = max(known)
        minimum = power.minimum_detectable_difference(std, seeds, compared, looks(plan), fraction(plan))
        return phrase(plan.options.lang, "power_after", std=std, will_show=will_show(plan, minimum), **values), False
    images = images_of_run(plan)
    minimum = power.expected_minimum_detectable_difference(images, seeds, compared)
    return phrase(plan.options.lang, "power_before", images=images, will_show=will_show(plan, minimum), **values), True


def images_of_run(plan: Plan) -> int:
    """Return the number of images that each run is scored on."""
    return max(1, len(plan.dataset.splits[plan.scored_split].images) // plan.options.runs_of_seed)


def will_show(plan: Plan, minimum: float) -> str:
    """Say what the minimum detectable difference will be about."""
    key = "will_show" if minimum <= 1 else "none_will_show"
    return phrase(plan.options.lang, key, minimum=minimum, metric=short(plan.metric))


def _units(plan: Plan) -> str:
    return phrase(plan.options.lang, "folds" if plan.options.folds else "seeds")


def _about_images(lang: str, images: ImagesInterval | None) -> str:
    if images is None:
        return ""
    holds = images.low > 0 or images.high < 0
    return phrase(lang, "holds" if holds else "may_not_hold", low=images.low, high=images.high)


def _what_else(analysis: Analysis, pair: Pair) -> Iterator[str]:
    """Say what else may be the reason for a difference between two models, or for there being none."""
    yield from models.about(analysis.plan, pair, analysis.works)
    if pair.first == analysis.plan.labels[0]:
        yield layers.blind(analysis.plan, analysis.layers, pair.other)


def _name(outcome: RunOutcome) -> str:
    return f"{outcome.run.label}, {outcome.run.folder.name}"


def about_screening(plan: Plan) -> Iterator[str]:
    """Say which models the budget was not spent on, and what that choice means for the verdict."""
    lang, screening = plan.options.lang, plan.screening
    if screening is None:
        return
    for rung in screening.rungs:
        if rung.dropped:
            best_first = sorted(rung.dropped, key=lambda label: -(rung.scores[label] or 0))
            listed = ", ".join(f"{label} {_score(rung.scores[label])}" for label in best_first)
            first = f"{plan.labels[0]} {_score(rung.scores[plan.labels[0]])}"
            yield phrase(lang, "dropped", list=listed, first=first, epochs=rung.epochs, budget=screening.budget)
    if any(rung.dropped for rung in screening.rungs):
        yield phrase(lang, "screened", seed=screening.seed)
        if not plan.test and not plan.options.folds:
            yield phrase(lang, "screened_by_val")


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.4f}"


def failures(lang: str, outcomes: Sequence[RunOutcome]) -> Iterator[str]:
    """Say which runs have failed, and why."""
    for outcome in outcomes:
        if outcome.result is None:
            log = outcome.run.folder / LOG
            yield phrase(lang, "failed", run=_name(outcome), failure=outcome.failure, log=log)


def _about_runs(analysis: Analysis, outcomes: Sequence[RunOutcome]) -> Iterator[str]:
    lang = analysis.plan.options.lang
    yield from failures(lang, outcomes)
    yield from _about_the_release(lang, outcomes)
    unrecorded = [
        _name(outcome)
        for outcome in outcomes
        if outcome.result and not outcome.result.recorded and "records" not in outcome.result.without
    ]
    if unrecorded:
        yield phrase(lang, "unrecorded", runs="; ".join(unrecorded))
    for outcome in outcomes:
        if outcome.result is not None and not _is_finite(outcome.result.scores.get(analysis.score)):
            yield phrase(lang, "nan_scores", run=_name(outcome))
        if outcome.curve.nan_epoch is not None:
            yield phrase(lang, "nan", run=_name(outcome), epoch=outcome.curve.nan_epoch)


def _about_the_release(lang: str, outcomes: Sequence[RunOutcome]) -> Iterator[str]:
    """Say what the runs went on without, because their release of Ultralytics lacks what it needs."""
    runs: dict[tuple[str, str, str], list[str]] = {}
    for outcome in outcomes:
        if outcome.result is not None:
            for part, name in outcome.result.without.items():
                runs.setdefault((part, name, outcome.result.environment["ultralytics"]), []).append(_name(outcome))
    for (part, name, release), of_part in runs.items():
        yield phrase(lang, f"without_{part}", lacking=name, release=release, runs="; ".join(of_part))


def _about_labels(plan: Plan) -> Iterator[str]:
    lang, names = plan.options.lang, plan.dataset.names
    split = plan.scored_split
    boxes = plan.dataset.splits[split].boxes
    missing = [name for index, name in enumerate(names) if not boxes.get(index)]
    if not boxes:
        yield phrase(lang, "no_labels", split=split)
    elif missing:
        yield phrase(lang, "no_labels_of", split=split, classes=", ".join(missing))
    if plan.task != "classify" and not plan.options.folds and not plan.arguments.get("single_cls"):
        trained = first_images(plan.dataset.splits["train"], plan.arguments.get("fraction", 1.0))
        unknown = [name for index, name in enumerate(names) if boxes.get(index) and not trained.boxes.get(index)]
        if unknown:
            yield phrase(lang, "no_training_labels_of", count=len(trained.images), classes=", ".join(unknown))
    if len(names) == 1 and plan.task != "classify":
        yield phrase(lang, "one_class")


def _about_scores(analysis: Analysis) -> Iterator[str]:
    plan = analysis.plan
    lang = plan.options.lang
    scores = [score for of_label in analysis.scores.values() for score in of_label.values()]
    if scores and not any(scores):
        yield phrase(lang, "zero")
    if len(analysis.over_seeds) > 1:
        yield phrase(lang, "many", count=len(analysis.over_seeds), level=CONFIDENCE)
    if len(plan.looks) > 1:
        looks = ", ".join(map(str, plan.looks[:-1]))
        yield phrase(lang, "extended", looks=looks, times=len(plan.looks))


def _about_work(plan: Plan, outcomes: Sequence[RunOutcome]) -> Iterator[str]:
    """Name what the models did not do alike, whatever they were told."""
    lang = plan.options.lang
    works = {label: [o.result.work for o in outcomes if o.result and o.run.label == label] for label in plan.labels}
    for key, told_by in (("transferred", _fresh), ("batch", str), ("imgsz", str), ("epochs", str)):
        by_label = {label: [getattr(work, key) for work in of_label] for label, of_label in works.items() if of_label}
        if len({tuple(sorted({*map(told_by, values)})) for values in by_label.values()}) > 1:
            listed = "; ".join(
                f"{label} {', '.join(sorted({*map(_shown, values)}))}" for label, values in by_label.items()
            )
            yield phrase(lang, f"differs_{key}", list=listed)
    frozen = {model.label: model.freeze for model in plan.models if model.freeze is not None}
    if frozen:
        asked = plan.arguments["freeze"]
        listed = "; ".join(f"{label} freeze={str(value).replace(' ', '')}" for label, value in frozen.items())
        yield phrase(lang, "frozen", freeze=asked, list=listed)
    for seed in sorted({outcome.run.seed for outcome in outcomes}):
        orders = {(o.run.fold, o.result.work.order) for o in outcomes if o.result and o.run.seed == seed}
        if len(orders) > plan.options.runs_of_seed:
            yield phrase(lang, "differs_order", seed=seed)
    for label in plan.labels:
        results = [o.result for o in outcomes if o.result and o.run.label == label]
        seconds, cpu = sum(result.seconds for result in results), sum(result.cpu_seconds for result in results)
        on_cpu = all(result.environment["device"].startswith("cpu") for result in results)
        if results and on_cpu and seconds > _BUSY * cpu:
            yield phrase(lang, "busy", label=label, seconds=seconds, cpu=cpu)


def _fresh(transferred: list[int] | None) -> str:
    """Return how many tensors were not taken over; models that are alike in that have taken over all that they can."""
    return "all" if transferred is None else str(transferred[1] - transferred[0])


def _shown(value: object) -> str:
    if isinstance(value, list):
        return "/".join(map(str, value))
    return "0" if value is None else str(value)


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
