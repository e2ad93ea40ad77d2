"""Simulate comparisons of models that do not differ, and print how often a difference is claimed, as Markdown tables.

python scripts/experiments/simulate_statistics.py [part=single,some,fixed,adaptive,epochs,folds,coverage] [runs=100000]

single    one look, at 2 to 10 seeds
some      one look, where some of the compared models do differ: how often another is claimed to
fixed     comparisons that are extended to numbers of seeds that were chosen before
adaptive  comparisons whose user extends them by what the p value is
epochs    a model with noisier validation, scored by its best epoch and otherwise: claimed to be better, and worse
folds     cross-validations of two models that learn from the same data, by one to three seeds of five folds
coverage  how often the intervals cover the true difference of two simulated detectors (simulate_bootstrap.py)

Several models are compared with the same first one, so that their differences are correlated. An error is a claim about
any of them at any look. The differences are:

normal           differences of normal scores
rounded to sd/4  of normal scores that are rounded to a quarter of their standard deviation, as 0.004 to three decimals
rounded to sd    of normal scores that are rounded to their standard deviation, as 0.001 to three decimals
gamma scores     differences of gamma variables of shape 0.5: skewed scores, but the differences are symmetric
skewness 1       sums of two gamma variables of shape 2, centred
skewness 2       sums of two gamma variables of shape 0.5, centred
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, product

import numpy as np
import numpy.typing as npt
from simulate_bootstrap import coverage

from yolo_focal.comparison.stats.alpha_spending import p_values
from yolo_focal.comparison.stats.paired_t import CONFIDENCE
from yolo_focal.comparison.study.folds import test_fraction

Array = npt.NDArray[np.float64]
# Takes each comparison's smallest p value and the looks so far; returns each number of seeds to extend to, 0 for none.
Rule = Callable[[Array, tuple[int, ...]], npt.NDArray[np.int64]]
Rows = Iterator[tuple[object, ...]]

ALPHA = 1 - CONFIDENCE
DISTRIBUTIONS = ("normal", "rounded to sd/4", "rounded to sd", "gamma scores", "skewness 1", "skewness 2")
COMPARISONS = (1, 3, 9)
PROMISING = 0.3  # the p value up to which a user goes on
_CHUNK = 10_000  # simulated comparisons at a time, for memory


def main(part: str = "", runs: str = "100000") -> None:
    """Print the tables of the parts, or of all."""
    for name in part.split(",") if part else TABLES:
        head, *rows = TABLES[name](int(runs))
        for row in (head, ["---"] * len(head), *rows):
            print(f"| {' | '.join(map(str, row))} |")
        print(flush=True)


def percent(rate: float, runs: int) -> str:
    """Format a rate in percent with its Monte Carlo standard error."""
    return f"{100 * rate:.2f} ({100 * np.sqrt(rate * (1 - rate) / runs):.2f})"


def single_look(runs: int) -> Rows:
    """Yield the table of one look."""
    seeds = (2, 3, 5, 10)
    yield "differences", "comparisons", *(f"{number} seeds" for number in seeds)
    for distribution, comparisons in product(DISTRIBUTIONS, COMPARISONS):
        rates = [errors(distribution, comparisons, (number,), runs) for number in seeds]
        yield distribution, comparisons, *(percent(rate, runs) for rate in rates)


def some_differ(runs: int) -> Rows:
    """Yield the table of one look at models of which some differ from the first by five standard deviations."""
    yield "comparisons", "that differ", "5 seeds", "10 seeds"
    for comparisons, differing in ((3, 1), (3, 2), (9, 4), (9, 8)):
        rates = [false_claims(comparisons, differing, number, runs) for number in (5, 10)]
        yield comparisons, differing, *(percent(rate, runs) for rate in rates)


def extended(rules: dict[str, tuple[int, int, Rule]], runs: int) -> Rows:
    """Yield a table with a row for each rule: its first and its largest number of seeds, and the rule."""
    settings = [*(("normal", comparisons) for comparisons in COMPARISONS), *((name, 1) for name in DISTRIBUTIONS[1:])]
    yield "seeds", "uncorrected", *(f"{distribution}, {comparisons}" for distribution, comparisons in settings)
    for name, (start, most, rule) in rules.items():
        rates = [errors("normal", 1, (start,), runs, rule, most, corrected=False)]
        rates += [errors(*setting, (start,), runs, rule, most) for setting in settings]
        yield name, *(percent(rate, runs) for rate in rates)


def along(path: Sequence[int]) -> Rule:
    """Return the rule that extends to the next number of a path whatever the p value."""
    following = dict(pairwise(path))
    return lambda p, looks: np.full(len(p), following.get(looks[-1], 0))


def one_more(p: Array, looks: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Add a seed while the p value is promising."""
    return np.where(p < PROMISING, looks[-1] + 1, 0)


def twice(p: Array, looks: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Double the number of seeds while the p value is promising."""
    return np.where(p < PROMISING, 2 * looks[-1], 0)


def near_or_far(p: Array, looks: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Add a seed where significance is near, otherwise go far at once; only one extension."""
    return np.where(p < 0.1, looks[-1] + 1, 4 * looks[-1]) * (len(looks) == 1)


PLANNED = {
    **{", ".join(map(str, path)): (path[0], path[-1], along(path)) for path in ((3, 4, 5), (5, 10), (3, 5, 10, 20))},
    "3 to 12, one by one": (3, 12, along(range(3, 13))),
}
ADAPTIVE = {
    "from 3 by 1 while promising": (3, 20, one_more),
    "from 5 by 1 while promising": (5, 20, one_more),
    "3 doubled while promising": (3, 48, twice),
    "5 doubled while promising": (5, 40, twice),
    "from 3 by 1 if p < 0.1, else to 12": (3, 12, near_or_far),
    "from 5 by 1 if p < 0.1, else to 20": (5, 20, near_or_far),
}


def errors(
    distribution: str,
    comparisons: int,
    looks: tuple[int, ...],
    runs: int,
    rule: Rule | None = None,
    most: int = 0,
    corrected: bool = True,
) -> float:
    """Return the fraction of simulated comparisons of equal models in which a difference is claimed at any look.

    Args:
        distribution: One of `DISTRIBUTIONS`.
        comparisons: Number of models that are compared with the first.
        looks: The first look's number of seeds.
        runs: Number of simulated comparisons.
        rule: How the comparison is extended; without it, it is not.
        most: Number of seeds beyond which it is not extended.
        corrected: Whether the p values are corrected for the number of looks.
    """
    random = np.random.RandomState(0)
    claims = 0
    for start in range(0, runs, _CHUNK):
        count = min(_CHUNK, runs - start)
        differences = draw(random, distribution, (count, comparisons, max(most, looks[-1])))
        pending = [(looks, np.arange(count))]
        while pending:
            path, indices = pending.pop()
            p = smallest_p(differences[indices, :, : path[-1]], path, corrected)
            claims += int((p <= ALPHA).sum())
            if rule is not None:
                left, numbers = indices[p > ALPHA], rule(p[p > ALPHA], path)
                further = (int(number) for number in np.unique(numbers) if path[-1] < number <= most)
                pending += [((*path, number), left[numbers == number]) for number in further]
    return claims / runs


def smallest_p(differences: Array, looks: tuple[int, ...], corrected: bool) -> Array:
    """Return the smallest of each simulated comparison's p values, corrected for their number.

    Without `corrected` they are those of plain t tests, of which a first look spends 80 % of the error rate.
    """
    seeds = (differences.shape[-1],)
    p = single_p(differences, looks) if corrected else np.minimum(1, 0.8 * single_p(differences, seeds))
    return np.asarray(p.min(axis=1) * p.shape[1])


def single_p(differences: Array, looks: tuple[int, ...]) -> Array:
    """Return p values as `difference` does without further comparisons; 1 where the differences do not vary."""
    error = differences.std(axis=-1, ddof=1) / np.sqrt(differences.shape[-1])
    t = np.divide(differences.mean(axis=-1), error, out=np.zeros_like(error), where=error > 0)
    return np.where(np.ptp(differences, axis=-1) > 0, p_values(t, looks), 1)


def false_claims(comparisons: int, differing: int, seeds: int, runs: int) -> float:
    """Return the fraction of comparisons in which Holm's procedure rejects a true hypothesis, some being false."""
    differences = draw(np.random.RandomState(0), "normal", (runs, comparisons, seeds))
    differences[:, :differing] += 5
    p = single_p(differences, (seeds,))
    order = np.argsort(p, axis=1)
    ordered = np.take_along_axis(p, order, axis=1) * np.arange(comparisons, 0, -1)
    rejected = np.logical_and.accumulate(ordered <= ALPHA, axis=1)
    return float((rejected & (order >= differing)).any(axis=1).mean())


def draw(random: np.random.RandomState, distribution: str, shape: tuple[int, int, int]) -> Array:
    """Draw differences of other models to a first one, with a mean of 0, by comparison, model and seed."""
    runs, comparisons, seeds = shape
    shape = (runs, comparisons + 1, seeds)
    if distribution.startswith("skewness"):
        gamma_shape = 2 / float(distribution.split()[1]) ** 2
        scores = (random.gamma(gamma_shape, size=shape) - gamma_shape) / np.sqrt(gamma_shape)
        return np.asarray(scores[:, 1:] + scores[:, :1])
    scores = random.gamma(0.5, size=shape) if distribution == "gamma scores" else random.standard_normal(shape)
    if distribution.startswith("rounded"):  # the division by a power of two is exact, so that equal differences stay so
        steps = 4 if distribution.endswith("/4") else 1
        scores = np.round(scores * steps) / steps
    return np.asarray(scores[:, 1:] - scores[:, :1])


def best_epoch(runs: int) -> Rows:
    """Yield the table of two equal models, the other's validation being twice as noisy as the first's."""
    scored = {spread: epoch_scores(runs, spread) for spread in (0.5, 1, 2)}
    yield "scored by", *(f"seeds vary by {spread:g}" for spread in scored)
    for name in scored[1]:
        cells = []
        for of_spread in scored.values():
            claimed, mean = single_p(of_spread[name], (5,)) <= ALPHA, of_spread[name].mean(axis=1)
            cells.append(", ".join(percent((claimed & sign).mean(), runs) for sign in (mean > 0, mean < 0)))
        yield name, *cells


def epoch_scores(runs: int, spread: float) -> dict[str, Array]:
    """Return the paired differences of each way of scoring, by simulated comparison and seed, of 5 seeds and 50 epochs.

    Args:
        runs: Number of simulated comparisons.
        spread: Standard deviation over seeds of what a model truly scores, in units of the first's validation noise.
    """
    random = np.random.RandomState(0)
    ways: list[dict[str, Array]] = []
    for noise in (1, 2):
        truth = spread * random.standard_normal((runs, 5))
        validation = truth[..., None] + noise * random.standard_normal((runs, 5, 50))
        ways.append(
            {
                "best epoch": validation.max(axis=-1),
                "last epoch": validation[..., -1],
                "mean of the last 5 epochs": validation[..., -5:].mean(axis=-1),
                "best epoch, on test images": truth + noise * random.standard_normal((runs, 5)),
            }
        )
    first, other = ways
    return {name: other[name] - first[name] for name in first}


def cross_validation(runs: int) -> Rows:
    """Yield the table of cross-validations, with and without the correction for training data in common."""
    runs = min(runs, 2000)
    yield "images", "test", *(f"{seeds} x 5 folds" for seeds in (1, 2, 3))
    for images in (100, 400):
        random = np.random.RandomState(0)
        differences = np.array([fold_differences(random, images, seeds=3, folds=5) for _ in range(runs)])
        for name, fraction in (("plain t test", 0.0), ("corrected", test_fraction(5))):
            rates = []
            for number in (5, 10, 15):
                scores = differences[:, :number]
                error = scores.std(axis=-1, ddof=1) * np.sqrt(1 / number + fraction)
                rates.append(float((p_values(scores.mean(axis=-1) / error, (number,)) <= ALPHA).mean()))
            yield images, name, *(percent(rate, runs) for rate in rates)


def fold_differences(random: np.random.RandomState, images: int, seeds: int, folds: int) -> list[float]:
    """Return the paired differences of two linear regressions on one simulated data set, by fold of each seed.

    The target is the sum of ten features and noise; one model sees the first five and the other the last five, so that
    both are equally good on average, and both are fitted to the same samples.
    """
    features = random.standard_normal((images, 10))
    target = features.sum(axis=1) + random.standard_normal(images)
    found = []
    for _ in range(seeds):
        order = random.permutation(images)
        for fold in range(folds):
            test, train = order[fold::folds], np.delete(order, slice(fold, None, folds))
            losses = []
            for columns in (slice(0, 5), slice(5, 10)):
                weights = np.linalg.lstsq(features[train, columns], target[train], rcond=None)[0]
                losses.append(np.mean((features[test, columns] @ weights - target[test]) ** 2))
            found.append(float(losses[0] - losses[1]))
    return found


TABLES: dict[str, Callable[[int], Rows]] = {
    "single": single_look,
    "some": some_differ,
    "fixed": lambda runs: extended(PLANNED, runs),
    "adaptive": lambda runs: extended(ADAPTIVE, runs),
    "epochs": best_epoch,
    "folds": cross_validation,
    "coverage": coverage,
}


if __name__ == "__main__":
    main(**dict(argument.split("=", 1) for argument in sys.argv[1:]))
