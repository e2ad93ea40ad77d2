"""What a run writes when it has ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, TypeVar

_Kind = TypeVar("_Kind", bound="Trained")


LEAST_SCORE = 0.01  # of a model that finds less, nothing says which layers it uses


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a trainer has really done, which need not be what it was told.

    Attributes:
        batch: Images of a batch.
        imgsz: Side of an image in pixels.
        images: Number of images; None where it is not known.
        epochs: Number of epochs.
        transferred: How many tensors were taken over from weights, and of how many; None if nothing was loaded.
        layers: What each layer has taken over, as `starts.of` returns it.
        order: Digest of the order in which the images came.
    """

    batch: int
    imgsz: int
    images: int | None
    epochs: int
    transferred: list[int] | None
    layers: dict[str, list[int]]
    order: str


@dataclass(frozen=True, kw_only=True)
class OnTestImages:
    """What the best checkpoint has found on the test images; the attributes are those of `RunResult`."""

    metrics: dict[str, float]
    classes: dict[str, float]
    names: list[str]
    sizes: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Ablated:
    """What the best checkpoint scores without the work of some layers, on the images that the verdict is about.

    Attributes:
        rows: Indices of the layers whose outputs were replaced.
        by: What they were replaced by.
        score: The score with their outputs, of a validation of the same kind.
        without: The score without them; None where the outputs cannot be replaced.
    """

    rows: list[int]
    by: str
    score: float
    without: float | None

    @property
    def share(self) -> float | None:
        """The share of the score that the layers carry; None if the score is near 0 or it cannot be told."""
        return None if self.without is None or not self.score >= LEAST_SCORE else 1 - self.without / self.score


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training says of itself.

    Attributes:
        task: Ultralytics' name of the task.
        metrics: Ultralytics' metrics of the best checkpoint on the validation images.
        classes: AP of each class that has labels.
        names: Names of all classes.
        seconds: Of all epochs.
        cpu_seconds: Of all epochs.
        peak_memory_mib: Largest memory in use.
        work: What the trainer has done.
        environment: Versions and machine.
        without: What the run went on without, and the name that its release of Ultralytics lacks for it.
    """

    task: str
    metrics: dict[str, float]
    classes: dict[str, float]
    names: list[str]
    seconds: float
    cpu_seconds: float
    peak_memory_mib: float
    work: Work
    environment: dict[str, str]
    without: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)

    @classmethod
    def from_json(cls: type[_Kind], content: dict[str, Any]) -> _Kind:
        """Return what `as_json` has written.

        Raises:
            TypeError: The content has other keys.
        """
        return cls(**{**content, "work": Work(**content["work"])})


@dataclass(frozen=True, kw_only=True)
class RunResult(Trained):
    """What a run writes when it has ended.

    Attributes:
        fingerprint: That of its task.
        sizes: AP of small, medium and large objects; empty where boxes are not upright or there is no record.
        scores: What a run may be compared by: "best", "last", "mean_of_last", and "test" where there are test images.
        last_epochs: Number of epochs that "mean_of_last" is of.
        recorded: Whether there are records of all validations that the score is made of.
        curve: The metric after each epoch.
        nan_epoch: The first epoch, counted from 1, whose loss was not finite; None if there is none.
        test: On the test images; None where there are none.
        ablations: What it scores without the layers in which the models differ.
    """

    fingerprint: str
    sizes: dict[str, float]
    scores: dict[str, float | None]
    last_epochs: int
    recorded: bool
    curve: list[float]
    nan_epoch: int | None
    test: OnTestImages | None
    ablations: list[Ablated]

    @classmethod
    def from_json(cls: type[_Kind], content: dict[str, Any]) -> _Kind:
        """Return what `as_json` has written; see `Trained.from_json`."""
        test, ablations = content["test"], content["ablations"]
        own = {"test": test and OnTestImages(**test), "ablations": [Ablated(**one) for one in ablations]}
        return super().from_json({**content, **own})
