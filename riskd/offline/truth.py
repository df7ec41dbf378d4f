"""What a simulation knows of each assessment and no live log can: one JSON object a line of `truth.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from riskd.core.errors import UNDECODABLE, InvalidFile, Problem
from riskd.wording import quantity

FILE: Final = "truth.jsonl"


class Truth(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Who really made an assessed attempt. Defaults are left out of the line."""

    assessment_id: str
    attack: str = ""
    """Class of attack; empty for the owner's own."""
    segments: tuple[str, ...] = ()
    """Sub-populations, `traveller`, `vpn`."""
    campaign: str = ""
    """Which attack of its class; empty for the owner's own."""
    step: int = 0
    """How many attempts of the same visit were before it."""


_OWN: Final = Truth(assessment_id="")
_DECODER: Final = msgspec.json.Decoder(Truth)


def read_truth(path: Path) -> dict[str, Truth]:
    """Every line, by assessment id. Raises InvalidFile with the first line that is none."""
    found: dict[str, Truth] = {}
    try:
        with path.open("rb") as lines:
            for line in lines:
                one = _DECODER.decode(line)
                found[one.assessment_id] = one
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
        raise InvalidFile([Problem(str(path), why, "name the truth.jsonl of a simulation")]) from error
    except UNDECODABLE as error:
        where = f"{path}:{len(found) + 1}"
        raise InvalidFile([Problem(where, f"is not a line of truth: {error}", "simulate it again")]) from error
    return found


def truths(path: Path | None, ids: Sequence[str]) -> list[Truth]:
    """The truth of each of these assessments; without a file, that of an owner.

    Raises InvalidFile, also where the file says nothing of one of them.
    """
    if path is None:
        return [_OWN] * len(ids)
    known = read_truth(path)
    if untold := [one for one in ids if one not in known]:
        what = f"says nothing of {quantity(len(untold), 'assessment')} of the log, as {min(untold)}"
        raise InvalidFile([Problem(str(path), what, "name the truth of the same simulation")])
    return [known[one] for one in ids]
