"""Says in words what a comparison over data sets has found, and what a reader has to know besides."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from yolo_focal.comparison.report import models, verdicts
from yolo_focal.comparison.report.analysis import Pair
from yolo_focal.comparison.report.i18n import phrase
from yolo_focal.comparison.report.over_sets.analysis import OneSet, SetsAnalysis
from yolo_focal.comparison.stats import power
from yolo_focal.comparison.stats.over_sets import OverSets, divisor
from yolo_focal.comparison.stats.paired_t import CONFIDENCE, Difference
from yolo_focal.comparison.store.run_folder import short

_FEW = 5  # with fewer sets the interval is too wide to say much


def verdict(analysis: SetsAnalysis, pair: Pair) -> str:
    """Say whether a model is better than another over data sets, by how much, and on how many."""
    plan, found = analysis.plan, analysis.over_sets[pair]
    lang, difference = plan.options.lang, found.difference
    names = {**pair._asdict(), "metric": short(plan.metric), "sets": len(found.of_sets)}
    if difference is None:
        return phrase(lang, "sets_none", **names)
    if difference.seeds == 1:
        (label,) = found.of_sets
        return phrase(lang, "sets_one", **names, set=label, mean=difference.mean)
    if not difference.seeds_varied:
        key = "sets_identical" if difference.is_identical else "sets_not_varied"
        return phrase(lang, key, **names, mean=difference.mean)
    values = {**names, **difference._asdict(), "better": found.better, "worse": found.worse}
    said = phrase(lang, "sets_verdict", **values) + phrase(lang, _conclusion(difference), **values)
    if not difference.is_more_than_noise and not difference.is_no_worse:
        minimum = difference.minimum_detectable_difference
        said += phrase(lang, "sets_none_would_show" if math.isnan(minimum) else "sets_would_show", minimum=minimum)
    said += _superiority(lang, pair, found) + _without_blind(analysis, pair)
    # A model starts alike on all sets, but for what their classes change: one set stands for the others.
    works = next((one.works for one in analysis.sets.values() if {*pair} <= one.works.keys()), {})
    return said + "".join(models.about(plan, pair, works))


def verdict_lines(analysis: SetsAnalysis) -> list[str]:
    """Say of each pair what its models differ by over data sets."""
    return [verdict(analysis, pair) for pair in analysis.over_sets]


def scored_by(analysis: SetsAnalysis) -> str:
    """Say what sets the verdict speaks of, and which score of each set it is about."""
    lang = analysis.plan.options.lang
    by_text: dict[str, list[str]] = {}
    for label, one in analysis.sets.items():
        by_text.setdefault(verdicts.scored_by(one.plan), []).append(label)
    texts = [
        text if len(by_text) == 1 else phrase(lang, "sets_of", sets=", ".join(labels), text=text)
        for text, labels in by_text.items()
    ]
    return phrase(lang, "sets_like_these") + "".join(phrase(lang, "sets_scored", text=text) for text in texts)


def warnings(analysis: SetsAnalysis, notes: Mapping[str, Sequence[str]]) -> list[str]:
    """Say what a reader has to know besides.

    Args:
        analysis: What the runs say.
        notes: The warnings of each set's own report.
    """
    plan, lang = analysis.plan, analysis.plan.options.lang
    found = [*verdicts.about_screening(plan)]
    for label, one in analysis.sets.items():
        found += [phrase(lang, "sets_of", sets=label, text=text) for text in verdicts.failures(lang, one.outcomes)]
    for pair, over in analysis.over_sets.items():
        left_out = [label for label in analysis.sets if label not in over.of_sets]
        if left_out:
            found.append(phrase(lang, "sets_left_out", **pair._asdict(), sets=", ".join(left_out)))
    if any(1 < len(over.of_sets) < _FEW for over in analysis.over_sets.values()):
        found.append(phrase(lang, "sets_few", few=_FEW))
    if len(analysis.over_sets) > 1:
        found.append(phrase(lang, "many", count=len(analysis.over_sets), level=CONFIDENCE))
    if len(analysis.registered) > 1:
        found.append(phrase(lang, "sets_extended", times=len(analysis.registered)))
    if any(notes.values()):
        listed = ", ".join(f"{label} ({len(of_set)})" for label, of_set in notes.items() if of_set)
        found.append(phrase(lang, "sets_notes", list=listed))
    return found


def about_plans(analysis: SetsAnalysis) -> list[str]:
    """Say when each plan was put on record, so that a reader sees what was chosen before the results."""
    lang = analysis.plan.options.lang
    said = []
    for index, one in enumerate(analysis.registered):
        when = phrase(lang, "registered_after" if one.begun else "registered_before", begun=one.begun)
        key = "registered_more" if index else "registered"
        values = {"time": one.time, "digest": one.digest, "sets": len(one.sets), "seeds": one.seeds}
        said.append(phrase(lang, key, when=when, **values))
    return said


def about_power(analysis: SetsAnalysis) -> Iterator[str]:
    """Say of each set what it has and what its plan can show, and then what all of them can."""
    plan, lang = analysis.plan, analysis.plan.options.lang
    for label, one in analysis.sets.items():
        splits, scored = one.plan.dataset.splits, one.plan.scored_split
        values = {"set": label, "classes": len(one.plan.dataset.names), "train": len(splits["train"].images)}
        values |= {"split": scored, "images": len(splits[scored].images), "power": _power_of_set(one)}
        yield phrase(lang, "set_line", **values)
    count, compared = len(analysis.sets), len(analysis.over_sets) * divisor(len(analysis.registered))
    known = [over.difference.std for over in analysis.over_sets.values() if over.difference and over.difference.std > 0]
    if known:
        minimum = power.minimum_detectable_difference(max(known), count, compared)
        said = {"std": max(known), "will_show": verdicts.will_show(plan, minimum)}
        yield phrase(lang, "sets_power_after", sets=count, **said)
        return
    images = [verdicts.images_of_run(one.plan) for one in analysis.sets.values()]
    runs = plan.options.seeds * plan.options.runs_of_seed
    minimum = power.expected_over_sets(images, runs, compared)
    yield phrase(lang, "sets_power_before", sets=count, will_show=verdicts.will_show(plan, minimum)) + phrase(
        lang, "power_guess"
    )


def _conclusion(difference: Difference) -> str:
    """Return which sentence says what follows for sets like these."""
    if difference.is_more_than_noise:
        return "sets_better" if difference.mean > 0 else "sets_worse"
    if difference.is_equivalent:
        return "sets_equal"
    return "sets_no_worse" if difference.is_no_worse else "sets_cannot_tell"


def _without_blind(analysis: SetsAnalysis, pair: Pair) -> str:
    """Say on which sets nothing can be seen of the layers in which models differ, and what the others say."""
    lang, blind = analysis.plan.options.lang, analysis.blind(pair)
    if not blind:
        return ""
    said = phrase(lang, "sets_blind", first=pair.first, sets=", ".join(blind), count=len(blind))
    difference = analysis.over_seeing[pair].difference
    if difference is None or not difference.seeds_varied:
        return said
    return said + phrase(lang, "sets_seeing", metric=short(analysis.plan.metric), **difference._asdict())


def _superiority(lang: str, pair: Pair, found: OverSets) -> str:
    one = found.superiority
    if one is None:
        return ""
    interval = "" if math.isnan(one.low) else phrase(lang, "superiority_interval", low=one.low, high=one.high)
    return phrase(lang, "superiority", **pair._asdict(), p=one.mean, interval=interval)


def _power_of_set(one: OneSet) -> str:
    lang = one.plan.options.lang
    if one.plan.options.seeds * one.plan.options.runs_of_seed < 2:
        return phrase(lang, "set_of_one_seed")
    return verdicts.what_shows(one.plan, one.outcomes)[0]
