"""What changed between two models, in words, and how far scores move."""

from __future__ import annotations

from typing import Any, Final

import pytest
from msgspec.structs import replace

from riskd.core.forest import Forest
from riskd.core.model import ForestDocument, Split, Steps
from riskd.offline.models.diff import EXAMPLES, changes, shift

TOR: Final = Steps(feature="tor", cuts=(0.5,), values=(-0.3, 0.6), missing=0.0)
STUMP: Final = (Split(feature="tor", threshold=0.5, missing_left=True, left=1, right=2), -0.1, 0.1)
OTHER: Final = (Split(feature="vpn", threshold=0.5, missing_left=True, left=1, right=2), -0.1, 0.1)
OLD: Final = ForestDocument(
    baseline=-4.0, references={"tor": 0.0, "vpn": None}, steps=(TOR,), trees=(STUMP, STUMP, OTHER)
)
CHANGES: Final[dict[str, dict[str, Any]]] = {
    "": {},
    "baseline -4 becomes -3.5": {"baseline": -3.5},
    "tor: +1 (2), +2, missing -1, was -0.3 (0.5), +0.6, missing +0": {
        "steps": (replace(TOR, cuts=(2.0,), values=(1.0, 2.0), missing=-1.0),)
    },
    "tor: no weight of its own, was -0.3 (0.5), +0.6, missing +0": {"steps": ()},
    "tor: -0.3 (0.5), +0.6, missing +0 and -0.3 (0.5), +0.6, missing +0, was -0.3 (0.5), +0.6, missing +0": {
        "steps": (TOR, TOR)
    },
    "vpn: usual is 1, was missing": {"references": {"tor": 0.0, "vpn": 1.0}},
    "3 trees with 6 leaves, was 3 with 6; 1 are the same": {"trees": (STUMP, STUMP, (*OTHER[:2], 0.2))},
    "reads 1 more feature: os | os: -0.3 (0.5), +0.6, missing +0, was without weight": {
        "references": {**OLD.references, "os": 1.0}, "steps": (TOR, replace(TOR, feature="os"))
    },
    "no longer reads 1 feature: vpn | 4 trees with 8 leaves, was 3 with 6; 1 are the same"
    " | splits of the trees by feature, the largest changes: tor 2 -> 4, vpn 1 -> 0": {"trees": (STUMP,) * 4},
    "2 trees with 2 leaves, was 3 with 6"
    " | splits of the trees by feature, the largest changes: tor 2 -> 0, vpn 1 -> 0"
    " | no longer reads 1 feature: vpn": {"trees": ((0.1,), (0.2,))},
    "calibration: uncalibrated log-odds becomes 2 knots from 0.1 to 0.9": {"calibration": ((-4.0, 0.1), (4.0, 0.9))},
}  # fmt: skip


@pytest.mark.parametrize("said", CHANGES)
def test_each_change_of_a_model_is_one_sentence(said: str) -> None:
    """Each change of a model is one sentence that tells the new value and the old one; the same model has none."""
    assert sorted(changes(OLD, replace(OLD, **CHANGES[said]))) == sorted(filter(None, said.split(" | ")))


def scorer(*scores: float) -> Forest:
    """A model that gives rows 0, 1, 2 and so on these log-odds."""
    cuts = tuple(at + 0.5 for at in range(len(scores) - 1))
    steps = (Steps(feature="tor", cuts=cuts, values=scores, missing=0.0),)
    return Forest(ForestDocument(baseline=0.0, references={"tor": 0.0}, steps=steps), ("tor",))


def test_what_scores_do_is_counted() -> None:
    """Rows that rose and fell are counted; the rows that move most come first, with both scores."""
    rows = [(f"row {at}", (float(at),)) for at in range(7)]
    old, new = scorer(0, 0, 0, 0, 0, 0, 0), scorer(0, -0.1, 0.2, 0.3, 0.4, -0.5, 4)
    found = shift(old, new, rows)
    assert (found.rows, found.rose, found.fell) == (7, 4, 2)
    assert [name for name, _, _ in found.examples] == ["row 6", "row 5", "row 4", "row 3", "row 2"]
    assert len(found.examples) == EXAMPLES
    moves = sorted(abs(new.score(vector)[1] - 0.5) for _, vector in rows)
    assert (found.median, found.p99, found.largest) == pytest.approx((moves[3], moves[6], moves[6]))
    assert found.examples[0][1:] == pytest.approx((0.5, new.score((6.0,))[1]))


@pytest.mark.parametrize(
    ("old", "new", "order"),
    [
        ((0, 1, 2), (0, 3, 9), 1.0),
        ((0, 1, 2), (2, 1, 0), 0.0),
        ((0, 1, 2), (0, 2, 1), 0.5),
        ((0, 1, 1), (0, 1, 2), 0.5),
        ((0, 1, 1), (5, 6, 6), 1.0),
        ((0, 0, 0), (1, 1, 1), 1.0),
    ],
)
def test_the_order_of_rows_is_compared(old: tuple[float, ...], new: tuple[float, ...], order: float) -> None:
    """The share of neighbouring rows that both models rank alike; rows that neither tells apart say nothing."""
    assert shift(scorer(*old), scorer(*new), [(str(at), (float(at),)) for at in range(3)]).order == order


def test_the_largest_of_a_hundred_moves_is_beyond_the_99th_percentile() -> None:
    """Of a hundred rows of which one moves more than the others, the 99th percentile is that of the others."""
    rows = [(str(at), (float(at > 0),)) for at in range(100)]
    found = shift(scorer(0, 0), scorer(3, 0.1), rows)
    assert found.p99 == found.median < found.largest
    nothing = shift(scorer(0, 0), scorer(0, 1), [])
    assert (nothing.rows, nothing.median, nothing.p99, nothing.largest, nothing.order) == (0, 0.0, 0.0, 0.0, 1.0)
