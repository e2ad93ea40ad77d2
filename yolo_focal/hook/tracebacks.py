"""Describes an error in a user's code: its type, its message, and the line that raised it."""

from __future__ import annotations

import linecache
import sys
import traceback
from pathlib import Path

from yolo_focal.errors import one_line

_PACKAGE = str(Path(__file__).resolve().parents[1])


def describe_error(error: BaseException, file: str | None = None) -> str:
    """Return an error's type and message, and where it was raised.

    Args:
        error: The error.
        file: The file whose last line in the traceback is named; by default the last line outside this package and the
            import system.
    """
    message = one_line(error)
    described = f"{type(error).__name__}: {message}" if message else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{type(error).__name__}: {error.msg} ({_place(error.filename, error.lineno)})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_of_interest(frame.filename)]
    frames = [frame for frame in frames if frame.filename == file] or frames
    if not frames or frames[-1].lineno is None:
        return described
    return f"{described} ({_place(frames[-1].filename, frames[-1].lineno)})"


def describe_refusal(error: BaseException) -> str:
    """Return an error's type and message, and the line outside this package that is being run."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{type(error).__name__}: {one_line(error)} ({_place(frame.f_code.co_filename, frame.f_lineno)})"


def is_raised_in_package(error: BaseException) -> bool:
    """Return whether this package raised an error itself."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename.startswith(_PACKAGE)


def _place(file: str, line: int) -> str:
    text = linecache.getline(file, line).strip()
    return f"{file}, line {line}{': ' if text else ''}{text}"


def _is_of_interest(file: str) -> bool:
    is_importing = file.startswith("<frozen importlib") or Path(file).parent.name == "importlib"
    return not is_importing and not file.startswith(_PACKAGE)
