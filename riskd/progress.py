"""How whoever waits for long work hears of it: each step by its name and size, then how much more of it is done."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int], None]
"""Told how much more of a step is done, in the step's own units: bytes of segments, rows, models."""
Begin = Callable[[str, int], Progress]
"""Told that a step begins, and how much it is."""


def unseen(step: str, total: int) -> Progress:  # noqa: ARG001 - a `Begin`
    """Progress that nobody looks at."""
    return _ignored


def _ignored(done: int) -> None:
    """Nobody looks."""
