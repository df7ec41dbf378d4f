"""Directories that commands fill for people: whole, or left as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from riskd.core.errors import InvalidSettings, Problem
from riskd.files import DRAFTS, drafting, place


@contextmanager
def filling(out: Path) -> Iterator[Path]:
    """A directory to write in; `out`, which is empty or not there yet, gets what is in it when this is left well.

    Otherwise it gets nothing, and what a killed process left in it is cleared away by the next. Raises InvalidSettings
    where there is something already, or somebody else who fills it, or nothing can be written.
    """
    with ExitStack() as held:
        try:
            draft = held.enter_context(drafting(out))
            others = [path.name for path in out.iterdir() if path != draft]
        except OSError as error:
            remedy = "name a directory that can be written"
            raise InvalidSettings([Problem(str(out), f"cannot be used: {error.strerror}", remedy)]) from error
        if any(name.startswith(DRAFTS) for name in others):
            what, remedy = "is being filled by another process", "name another directory, or wait for it"
            raise InvalidSettings([Problem(str(out), what, remedy)])
        if others:
            what, remedy = f"is not empty: it has {min(others)}", "name another directory, or empty it"
            raise InvalidSettings([Problem(str(out), what, remedy)])
        yield draft
        for made in sorted(draft.iterdir()):
            place(made, out / made.name)
