"""Output directories of commands: filled completely, or left unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from riskd.core.errors import InvalidSettings, Problem
from riskd.host.files import DRAFTS, drafting, place


@contextmanager
def filling(out: Path) -> Iterator[Path]:
    """A temporary directory to write to. Its files move to `out` if the block ends without an error.

    Otherwise they are removed. `out` must be empty or absent. What a killed process left in it is removed. Raises
    InvalidSettings if `out` has files, another process is filling it, or it cannot be written.
    """
    with ExitStack() as held:
        try:
            draft = held.enter_context(drafting(out))
            others = [path.name for path in out.iterdir() if path != draft]
        except OSError as error:
            remedy = "name a directory that you can write to"
            raise InvalidSettings([Problem(str(out), f"cannot be used: {error.strerror}", remedy)]) from error
        if any(name.startswith(DRAFTS) for name in others):
            what, remedy = "is being filled by another process", "name another directory, or wait for it"
            raise InvalidSettings([Problem(str(out), what, remedy)])
        if others:
            what, remedy = f"is not empty: it holds {min(others)}", "name another directory, or empty it"
            raise InvalidSettings([Problem(str(out), what, remedy)])
        yield draft
        for made in sorted(draft.iterdir()):
            place(made, out / made.name)
