"""The familiarity formula against an outside oracle.

`freeman_reference_vectors.json` holds a generated sign-in log and the scores that the authors' own code
(das-group/rba-algorithm, commit 28fec46, MIT, (c) 2022 Stephan Wiefling / DAS Group) gave for it. Its
counts of a value run over the whole log, later rows included: `closed_form_n` of each row.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from msgspec import Struct

from riskd.core.familiarity import global_term, ratio, user_term


class Score(Struct, frozen=True):
    """The score of the log's row `i`, with all earlier rows as history."""

    i: int
    userid: int
    score: float
    closed_form_n: dict[str, int]


VECTORS: Final = json.loads((Path(__file__).parent / "freeman_reference_vectors.json").read_text())
LOG: Final[list[dict[str, str]]] = [{name: str(value) for name, value in row.items()} for row in VECTORS["log"]]
LEVELS: Final[list[dict[str, float]]] = [dict(levels) for levels in VECTORS["weights"].values()]
SCORES: Final = [Score(row["i"], row["userid"], row["score"], row["closed_form_n"]) for row in VECTORS["scores"]]


def scored(row: Score) -> float:
    """S(x, u) from plain counts of the rows before this one."""
    before, now = LOG[: row.i], LOG[row.i]
    own = [past for past in before if past["userid"] == str(row.userid)]
    score = 1.0 / len({past["userid"] for past in before}) * len(before) / len(own)
    for levels in LEVELS:
        names, weights = list(levels), list(levels.values())
        everybody = {name: Counter(past[name] for past in before) for name in names}
        unseen = 1 + sum(len(everybody[name]) for name in names[1:])
        population = global_term(
            [everybody[name][now[name]] for name in names],
            len(before),
            weights,
            occurrences=row.closed_form_n[names[0]],
            unseen=unseen,
        )
        known = [sum(past[name] == now[name] for past in own) for name in names]
        score *= ratio(population, user_term(known, len(own), weights))
    return score


@pytest.mark.parametrize("row", SCORES, ids=lambda row: str(row.i))
def test_familiarity_is_freemans(row: Score) -> None:
    """From plain counts, the two terms and their ratio give the score of the authors' own code."""
    assert scored(row) == pytest.approx(row.score, rel=1e-9)
