"""How the models of a comparison with a budget were chosen."""

from __future__ import annotations

from typing import Any, NamedTuple


class Rung(NamedTuple):
    """A screening of models by short trainings.

    Attributes:
        epochs: Length of the trainings.
        scores: Each model's score on the validation images; None if it has none.
        dropped: Labels of the models that did not go on.
    """

    epochs: int
    scores: dict[str, float | None]
    dropped: list[str]


class Screening(NamedTuple):
    """How the models of a comparison with a budget were chosen.

    Attributes:
        models: What was asked for.
        budget: What all runs together may take.
        seed: The seed of the short trainings.
        rungs: The screenings, each of the models that the one before has left.
    """

    models: list[str]
    budget: str
    seed: int
    rungs: list[Rung]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**self._asdict(), "rungs": [rung._asdict() for rung in self.rungs]}
