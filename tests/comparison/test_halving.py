"""Successive halving: which models a budget is spent on."""

from __future__ import annotations

import pytest

from yolo_focal import ConfigError
from yolo_focal.comparison.study.halving import Decision, Trial, decide, lengths, parse


@pytest.mark.parametrize(
    ("text", "amount", "is_time"),
    [("12h", 43200, True), ("1.5h", 5400, True), ("90min", 5400, True), ("500epochs", 500, False)],
)
def test_a_budget_is_a_time_or_a_number_of_epochs(text: str, amount: float, is_time: bool) -> None:
    assert parse(text) == (text, amount, is_time)


@pytest.mark.parametrize("text", [12, 0.5, "12", "0h", "h", "12 hours", "12h30", "-1h", "nanh", "", True])
def test_a_wrong_one_is_named(text: object) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(caught.value) == (
        f"budget={text}: write what all runs together may take, such as budget=12h, budget=90min or budget=500epochs"
    )


@pytest.mark.parametrize(
    ("epochs", "expected"), [(1, [1]), (3, [1]), (4, [1, 2]), (12, [1, 2, 4]), (50, [6, 12, 24]), (100, [12, 24, 48])]
)
def test_each_screening_is_twice_as_long_and_none_longer_than_half(epochs: int, expected: list[int]) -> None:
    assert lengths(epochs) == expected


def trials(**scores: float) -> dict[str, Trial]:
    return {label: Trial(score, 0.0, 1.0) for label, score in scores.items()}


# Five models of which "c" is the best, "first" being the one that the others are compared with; 10 runs of 10 epochs.
FIVE = trials(first=0.1, a=0.2, b=0.3, c=0.5, d=0.4)


@pytest.mark.parametrize(
    ("left", "next_length", "expected"),
    [
        (500, 2, Decision(["first", "c", "d", "b", "a"], is_final=True)),  # it pays for all of them
        (499, 2, Decision(["first", "c", "d", "b"], is_final=True)),
        (300, 2, Decision(["first", "c", "d"], is_final=True)),  # the better half
        (299, 2, Decision(["first", "c", "d"], is_final=False)),  # less than that: they are screened again
        (206, 2, Decision(["first", "c", "d"], is_final=False)),
        (205, 2, Decision(["first", "c"], is_final=True)),  # another screening would leave too little for one of them
        (299, None, Decision(["first", "c"], is_final=True)),
        (199, None, Decision(["first"], is_final=True)),
        (99, None, Decision([], is_final=True)),
    ],
)
def test_the_better_ones_go_on(left: float, next_length: int | None, expected: Decision) -> None:
    assert decide(FIVE, 10, 10, left, next_length) == expected


def test_a_model_that_takes_longer_costs_more() -> None:
    slow_best = {"first": Trial(0.1, 0, 1), "slow": Trial(0.9, 0, 5), "fast": Trial(0.5, 0, 1)}
    assert decide(slow_best, 1, 10, 60, None).kept == ["first", "slow"]
    assert decide(slow_best, 1, 10, 70, None).kept == ["first", "slow", "fast"]
    assert decide(slow_best, 1, 10, 59, None).kept == ["first", "fast"]


def test_what_a_run_takes_before_its_first_epoch_counts() -> None:
    assert Trial(0.5, 7.0, 2.0).cost(runs=3, epochs=10) == 3 * (7 + 20)


def test_the_first_model_is_never_dropped() -> None:
    for left in range(200, 600, 7):
        assert decide(FIVE, 10, 10, left, 2).kept[0] == "first"
