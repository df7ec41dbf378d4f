"""What a simulation knows about each assessment, and no live log can: one JSON object per line of `truth.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from riskd.core.errors import UNDECODABLE, InvalidFile, Problem
from riskd.offline.labels import FRAUD, GOOD
from riskd.wording import quantity

FILE: Final = "truth.jsonl"


class Truth(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Who really made an attempt. Defaults are omitted from the line."""

    assessment_id: str
    attack: str = ""
    """Class of attack; empty for the owner's own attempt."""
    segments: tuple[str, ...] = ()
    """Sub-populations, such as `traveller` and `vpn`."""
    campaign: str = ""
    """Which attack of its class; empty for the owner's own attempt."""
    step: int = 0
    """How many attempts the same visit made before it."""


_OWN: Final = Truth(assessment_id="")
_DECODER: Final = msgspec.json.Decoder(Truth)


def read_truth(path: Path) -> dict[str, Truth]:
    """All lines, by assessment id. Raises InvalidFile for the first line that is invalid."""
    by_id: dict[str, Truth] = {}
    try:
        with path.open("rb") as lines:
            for line in lines:
                one = _DECODER.decode(line)
                by_id[one.assessment_id] = one
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
        raise InvalidFile([Problem(str(path), why, "name the truth.jsonl of a simulation")]) from error
    except UNDECODABLE as error:
        where = f"{path}:{len(by_id) + 1}"
        raise InvalidFile([Problem(where, f"is not a valid line: {error}", "run the simulation again")]) from error
    return by_id


def truths(path: Path | None, ids: Sequence[str]) -> list[Truth]:
    """The truth of each of these assessments. Without a file, every attempt counts as the owner's own.

    Raises InvalidFile if the file is unusable or lacks one of them.
    """
    if path is None:
        return [_OWN] * len(ids)
    known = read_truth(path)
    if untold := [one for one in ids if one not in known]:
        raise _lacks(path, untold)
    return [known[one] for one in ids]


class Truths:
    """Labels decisions by the truth of a simulation, in place of the outcomes of a live log."""

    def __init__(self, path: Path) -> None:
        self._path, self._known = path, read_truth(path)

    def label(self, assessment_id: str) -> int:
        """The index in `labels.LABELS` for an assessment. Raises InvalidFile if the file lacks it."""
        return FRAUD if self.attack(assessment_id) else GOOD

    def attack(self, assessment_id: str) -> str:
        """The class of attack; empty for the owner's own attempt. Raises InvalidFile as `label`."""
        if assessment_id not in self._known:
            raise _lacks(self._path, [assessment_id])
        return self._known[assessment_id].attack


def _lacks(path: Path, untold: Sequence[str]) -> InvalidFile:
    what = f"lacks {quantity(len(untold), 'assessment')} of the log, such as {min(untold)}"
    return InvalidFile([Problem(str(path), what, "name the truth.jsonl of the same simulation")])
