"""Decides at which batches the optimizer takes a step, so that a resumed training steps where the whole one would."""

from __future__ import annotations

from typing import Any

from yolo_focal.comparison.worker import ultralytics_trainer as ultralytics


class Stepping:
    """The steps of Ultralytics' trainer, counted from outside.

    Its loop takes a step at a batch where `ni - last_opt_step >= self.accumulate`: `ni` counts the batches of all
    epochs, and `last_opt_step` is the batch of the last step. It is a local variable that begins at -1 in every
    process, so a resumed loop would take its first step at once, wherever the last one had been; and in the warm-up the
    loop computes `accumulate` anew for each batch, so that it cannot be set from outside to make up for it.

    Therefore the loop is made to call `optimizer_step` at every batch, by a subclass in which `accumulate` always reads
    as 1, and the condition is checked in here: with the value that the loop has assigned to `accumulate`, and with a
    batch of the last step that snapshots keep.
    """

    def __init__(self) -> None:
        self._accumulate = 1  # what the loop has assigned
        self._last_step = -1  # the batch of the last step, counted over all epochs
        self._batch = 0  # of the epoch

    def take_over(self, trainer: Any) -> None:
        """Decide a trainer's steps from now on; called when it has computed its own `accumulate`."""

        def assign(value: int) -> None:
            self._accumulate = value

        def step_if_due(step: Any) -> None:
            batch = self._batch + ultralytics.first_batch(trainer)
            if batch - self._last_step >= self._accumulate:
                step()
                self._last_step = batch

        self._accumulate = ultralytics.call_at_every_batch(trainer, step_if_due, assign)

    def begin_epoch(self, restarted: bool) -> None:
        """Begin to count an epoch's batches; a trainer that went back to an earlier state begins at -1 again."""
        self._batch = 0
        if restarted:
            self._last_step = -1

    def on_train_batch_end(self, _: Any) -> None:
        """Count a batch."""
        self._batch += 1

    def state(self) -> dict[str, int]:
        """Return what a snapshot keeps."""
        return {"accumulate": self._accumulate, "last_step": self._last_step}

    def restore(self, state: dict[str, int]) -> None:
        """Take over what a snapshot has kept."""
        self._accumulate, self._last_step = state["accumulate"], state["last_step"]
