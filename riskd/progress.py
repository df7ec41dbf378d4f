"""Progress callbacks of long work: each step announces its name and size, then reports what has been done."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int], None]
"""Called with the amount done since the last call, in the step's unit: bytes of segments, rows, models."""
Begin = Callable[[str, int], Progress]
"""Called at the start of a step with its name and total amount."""


def ignore_progress(step: str, total: int) -> Progress:  # noqa: ARG001 - a `Begin`
    """A `Begin` that reports nothing."""
    return _ignored


def _ignored(done: int) -> None:
    pass
