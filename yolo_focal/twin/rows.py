"""The rows of a twin: which are new, and which layers the others read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from yolo_focal.errors import ConfigError


class Positions(NamedTuple):
    """Where a twin differs from its original. Rows are counted from 0 through backbone and head.

    Attributes:
        replaced: Rows of the original whose module is replaced.
        before: Rows of the original before which a row is inserted.
        is_before_head: Whether that is the head of a classifier that has no row to replace or to insert behind.
        attention: Rows of the original whose C3k2 holds attention, and is replaced by one without.
    """

    replaced: list[int]
    before: list[int]
    is_before_head: bool = False
    attention: list[int] = []  # noqa: RUF012  a NamedTuple's default, which nothing changes

    @property
    def new(self) -> list[int]:
        """The replacing and the inserted rows of the twin."""
        return [*self.replaced, *self.attention, *(index + k for k, index in enumerate(self.before))]

    def moved(self, index: int) -> int:
        """Return the index in the twin of a row of the original."""
        return index + sum(row <= index for row in self.before)

    def reads(self, source: Any, index: int) -> Any:
        """Return what a row reads in the twin: in the place of a row that another was inserted behind, that one.

        Args:
            source: The row's `from`: an index, or a list of them. A negative one is relative to the row.
            index: The row's index in the original.
        """

        def one(read: Any) -> Any:
            if isinstance(read, bool) or not isinstance(read, int) or index + read < 0:
                return read  # the model's input, or what Ultralytics' parser refuses
            absolute = index + read if read < 0 else read
            new = absolute + sum(row - 1 <= absolute for row in self.before)
            return new - self.moved(index) if read < 0 else new

        return [one(read) for read in source] if isinstance(source, list) else one(source)


def find(modules: Sequence[str], file: str, replace: str, after: str) -> Positions:
    """Find the rows to replace, or to insert behind.

    Args:
        modules: The module of each row of the original.
        file: The config's name, for messages.
        replace: The module to replace, or a row's index.
        after: The module to insert a row behind, or a row's index; empty to replace.

    Raises:
        ConfigError: There is no such row, or nothing reads what is behind it.
    """
    key, value = ("after", after) if after else ("replace", replace)
    last = len(modules) - 1
    if value.isdecimal():
        chosen = [index for index in range(len(modules)) if index == int(value)]
        problem, expected = f"there is no row {value}", f"an index up to {last}"
    else:
        chosen = [index for index, module in enumerate(modules) if module == value]
        problem, expected = f"no row names {value}", f"one of {', '.join(sorted(set(modules)))}"
    if not chosen and value == "SPPF" and modules[-1] == "Classify":
        return Positions([], [last], is_before_head=True)
    if not chosen:
        raise ConfigError(f"{file}: {problem}; write {key}= with {expected}")
    if not after:
        return Positions(chosen, [])
    if last in chosen:
        raise ConfigError(
            f"{file}, row {last}: after={after}: it is the last row, and nothing would read a row behind it; "
            "write after= with another"
        )
    return Positions([], [index + 1 for index in chosen])
