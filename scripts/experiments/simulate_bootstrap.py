"""Two simulated detectors, and how often the interval over seeds and images covers their true difference.

Detectors find each object with a probability that depends on the image (some are easy), on the detector and on the seed
of its training. Each simulated comparison validates two detectors with five seeds on the same 40 new images. Three
intervals are held against the true difference, which 20,000 other images give: that over seeds alone, that over seeds
and images, and the percentiles of a bootstrap that draws seeds and images anew.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
from ultralytics.utils import LOGGER

from yolo_focal.comparison.stats import bootstrap
from yolo_focal.comparison.stats.average_precision import Scorer
from yolo_focal.comparison.stats.bootstrap import over_images, resample
from yolo_focal.comparison.stats.paired_t import difference
from yolo_focal.comparison.store.validations import Validation

SKILLS = (0.6, 0.7)
SPREAD = 0.02  # of the skill over seeds

Scene = list[tuple[list[int], float]]  # of each image, its objects' classes and how easy they are to find


def scene(rng: np.random.Generator, images: int, classes: int = 3) -> Scene:
    """Return images that differ in how easy they are."""
    return [
        ([int(rng.integers(classes)) for _ in range(rng.poisson(2))], float(rng.normal(0, 0.2))) for _ in range(images)
    ]


def simulated(rng: np.random.Generator, images: int | Scene, classes: int = 3, skill: float = 0.7) -> Validation:
    """Return a validation in which objects are found with a probability, beside false detections."""
    targets, found = [], []
    images = scene(rng, images, classes) if isinstance(images, int) else images
    for image, (objects, ease) in enumerate(images):
        for cls in objects:
            targets.append((image, cls))
            if rng.random() < skill + ease:
                quality = rng.integers(1, 11)
                found.append((image, rng.beta(4, 2), cls, [t < quality for t in range(10)]))
        for _ in range(rng.poisson(2)):
            found.append((image, rng.beta(1, 4), int(rng.integers(classes)), [False] * 10))
    return Validation(
        np.array([f"{image:04}" for image in range(len(images))]),
        np.array([d[0] for d in found], np.int32),
        np.array([d[1] for d in found], np.float32),
        np.array([d[2] for d in found], np.int32),
        np.array([d[3] for d in found], bool).reshape(-1, 10),
        np.zeros((len(found), 4), np.float32),
        np.array([t[0] for t in targets], np.int32),
        np.array([t[1] for t in targets], np.int32),
        np.zeros((len(targets), 4), np.float32),
    )


def trained(rng: np.random.Generator, images: Scene, skill: float, seeds: int) -> list[Scorer]:
    """Return the validations of a detector trained with several seeds, on the same images."""
    return [Scorer(simulated(rng, images, skill=skill + rng.normal(0, SPREAD)), "detect") for _ in range(seeds)]


def percentiles(rng: np.random.Generator, first: list[Scorer], other: list[Scorer], images: int) -> tuple[float, float]:
    """Return the 95 % interval of a bootstrap that draws seeds and images anew, by its percentiles."""
    drawn = []
    for _ in range(bootstrap._RESAMPLES):
        weights = np.bincount(rng.integers(images, size=images), minlength=images).astype(float)
        apart = [b.score(weights) - a.score(weights) for a, b in zip(first, other, strict=True)]
        drawn.append(np.mean(rng.choice(apart, len(apart))))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def coverage(runs: int) -> Iterator[tuple[object, ...]]:
    """Yield the table of the share of simulated comparisons whose interval covers the true difference."""
    bootstrap._RESAMPLES = 100  # enough for a standard deviation
    LOGGER.setLevel(logging.ERROR)  # no progress bar for each comparison
    runs, seeds, images = min(runs, 100), 5, 40
    rng = np.random.default_rng(seeds * 1000 + images)
    large = [
        np.mean([s.score() for _ in range(10) for s in trained(rng, scene(rng, 2000), skill, 1)]) for skill in SKILLS
    ]
    truth = large[1] - large[0]
    covered = np.zeros(3)
    for _ in range(runs):
        shared = scene(rng, images)
        first, other = (trained(rng, shared, skill, seeds) for skill in SKILLS)
        by_seeds = difference([s.score() for s in first], [s.score() for s in other])
        by_both = over_images(*resample([{n: [s] for n, s in enumerate(model)} for model in (first, other)]))
        assert by_both is not None
        intervals = [(by_seeds.low, by_seeds.high), by_both[:2], percentiles(rng, first, other, images)]
        covered += [low < truth < high for low, high in intervals]
    yield "seeds", "images", "over seeds", "over seeds and images", "percentiles"
    yield seeds, images, *(f"{p:.1%} (± {np.sqrt(p * (1 - p) / runs):.1%})" for p in covered / runs)
