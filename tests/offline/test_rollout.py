"""The two releases of a rollout, compared on a log: which decisions count, as what, and how sure a difference is."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.core.activation import Activation, ActivationRequest, planned, restored
from riskd.core.record import Record
from riskd.offline.clusters import Cells, added
from riskd.offline.intervals import Share, share
from riskd.offline.policies.rollout import (
    FIGURES,
    SIDES,
    Comparison,
    Pair,
    Rollout,
    compare,
    difference,
    latest,
    share_by_account,
)
from riskd.offline.policies.rollout_page import page
from riskd.progress import ignore_progress
from tests.decision_log import SEGMENT, decision, outcome, write

OLD, NEW, OTHER = "0" * 16, "1" * 16, "2" * 16
ROLLOUT: Final = Rollout(active=OLD, candidate=NEW, percent=5, begin=1_000.0, end=9_000.0)
CHALLENGED: Final = {"tier": "STEP_UP", "satisfied": False}
DENIED: Final = {"tier": "DENY", "satisfied": False}


def activations(*wishes: tuple[str, float] | str) -> list[Activation]:
    """A second each: a release and its percentage, a release in `shadow`, or a `rollback`."""
    past: list[Activation] = []
    for second, wish in enumerate(wishes):
        if wish == "rollback":
            past.append(restored(past, "sre", "", str(second), second))
            continue
        release, percent = (wish, 100.0) if isinstance(wish, str) else wish
        request = ActivationRequest(release=release, percent=percent, shadow=isinstance(wish, str), actor="sre")
        past.append(planned(past, request, str(second), second))
    return past


@pytest.mark.parametrize(
    ("wishes", "found"),
    [
        ([], None),
        ([(OLD, 100)], None),
        ([(OLD, 100), (NEW, 5)], (OLD, NEW, 5, 1, math.inf)),
        ([(OLD, 100), (NEW, 5), (NEW, 20)], (OLD, NEW, 20, 2, math.inf)),
        ([(OLD, 100), (NEW, 5), OTHER], (OLD, NEW, 5, 1, math.inf)),
        ([(OLD, 100), (NEW, 5), "rollback"], (OLD, NEW, 5, 1, 2)),
        ([(OLD, 100), (NEW, 5), OTHER, (NEW, 100), (OTHER, 100)], (OLD, NEW, 5, 1, 3)),
        ([(OLD, 100), (NEW, 5), (NEW, 100), (OTHER, 1)], (NEW, OTHER, 1, 3, math.inf)),
    ],
)
def test_the_latest_rollout_is_found(
    wishes: list[tuple[str, float] | str], found: tuple[str, str, float, float, float] | None
) -> None:
    """It begins when its share was set and ends when its roles do; an activation in shadow changes neither."""
    expected = found and Rollout(active=found[0], candidate=found[1], percent=found[2], begin=found[3], end=found[4])
    assert latest(activations(*wishes)) == expected


def figures(compared: Comparison, which: str = "figures") -> dict[str, tuple[int, int, int, int]]:
    """Hits and totals of both releases, by figure."""
    (domain,) = compared.domains
    pairs: tuple[Pair, ...] = getattr(domain, which)
    return {
        pair.name: (pair.active.hits, pair.active.total, pair.candidate.hits, pair.candidate.total) for pair in pairs
    }


def compared(log: Path, *lines: Record, rollout: Rollout = ROLLOUT) -> Comparison:
    """What the command makes of these lines."""
    write(log / SEGMENT, *lines)
    return compare(log, rollout, 1, ignore_progress)[0]


def test_a_decision_counts_for_the_release_that_made_it(tmp_path: Path) -> None:
    """Tiers, outcomes, whenever they came, and causes count for the release that decided. Decisions of another time or
    release, repeats and wrong credentials are in no share."""
    found = compared(
        tmp_path,
        decision(1, 2_000, release=OLD),
        decision(2, 2_000, release=OLD, **CHALLENGED),
        decision(3, 2_000, release=NEW, **CHALLENGED),
        decision(4, 2_000, release=NEW, **DENIED, journey="payment"),
        decision(5, 2_000, release=NEW, causes=("rule:new",)),
        decision(6, 2_000, release=NEW, **DENIED, credential_result="failed"),
        decision(7, 999, release=OLD, **DENIED),
        decision(8, 9_000, release=NEW, **DENIED),
        decision(9, 2_000, release=OTHER, **DENIED),
        outcome(1, 99_000, "confirmed_fraud"),
        outcome(2, 2_030, "challenge_passed"),
        outcome(3, 2_030, "challenge_abandoned"),
        outcome(3, 2_040, "sign_in_abandoned"),
        outcome(5, 2_040, "session_established"),
    )
    assert figures(found) == {
        "challenged": (1, 2, 2, 3),
        "denied": (0, 2, 1, 3),
        "challenge passed": (1, 2, 0, 3),
        "challenge failed or abandoned": (0, 2, 1, 3),
        "sign-in abandoned": (0, 2, 1, 3),
        "fraud confirmed": (1, 2, 0, 3),
        "degraded": (0, 2, 1, 3),
    }
    assert figures(found, "journeys") == {"login": (1, 2, 1, 2), "payment": (0, 0, 1, 1)}
    assert found.domains[0].wrong_credential == {"active": 0, "candidate": 1}
    assert (found.counts["decisions"], found.domains[0].worse) == (6, ())


def test_a_satisfied_attempt_is_not_challenged(tmp_path: Path) -> None:
    """A tier that the attempt met already, and a baseline that it did not, challenge nobody."""
    found = compared(
        tmp_path,
        decision(1, 2_000, release=NEW, tier="STEP_UP", satisfied=True),
        decision(2, 2_000, release=NEW, tier="BASELINE", satisfied=False),
    )
    assert figures(found)["challenged"] == (0, 0, 0, 2)


def crowd(
    log: Path, challenged: float, causes: tuple[str, ...] = (), rollout: Rollout = ROLLOUT, size: int = 400
) -> Comparison:
    """So many accounts of each release, with one decision each; a tenth of the old ones are challenged."""
    lines = []
    for number in range(2 * size):
        release, part = (OLD, 0.1) if number % 2 else (NEW, challenged)
        asked = CHALLENGED if number // 2 < size * part else {}
        failed = {"causes": causes} if release == NEW else {}
        lines.append(decision(number, 2_000, release=release, subject=f"{number:032x}", **asked, **failed))
    return compared(log, *lines, rollout=rollout)


def test_a_candidate_that_surely_asks_twice_as_many_is_worse(tmp_path: Path) -> None:
    """A rollout should end if the candidate surely challenges more than twice as many, or fails more often; not if it
    is a little stricter, or laxer, or the rollout has ended: the next rollback would restore what decided before it."""
    worse = {part: crowd(tmp_path / str(part), part).domains[0].worse for part in (0.02, 0.1, 0.2, 0.4)}
    assert worse[0.4] == ("the candidate challenges more than twice as many",)
    assert (worse[0.02], worse[0.1], worse[0.2]) == ((), (), ())
    assert crowd(tmp_path / "failing", 0.1, ("rule:new",)).domains[0].worse == (
        "more of the candidate's answers are degraded",
    )
    assert crowd(tmp_path / "few", 0.9, size=30).domains[0].worse == ()
    assert crowd(tmp_path / "failing a little", 0.1, ("rule:new",), size=10).domains[0].worse == ()
    running = crowd(tmp_path / "0.4", 0.4, rollout=replace(ROLLOUT, end=math.inf))
    ended = crowd(tmp_path / "0.4", 0.4)
    assert (running.should_end, ended.should_end) == (True, False)
    surely = {part: crowd(tmp_path / str(part), part).domains[0].figures[0].surely for part in (0.02, 0.1, 0.2)}
    assert surely == {0.02: "fewer", 0.1: "", 0.2: "more"}


shares: Final = st.integers(1, 400).flatmap(lambda total: st.integers(0, total).map(lambda hits: share(hits, total)))


@given(shares, shares)
def test_the_interval_of_a_difference_holds_it(one: Share, other: Share) -> None:
    """It holds the difference, turns round with the sides, and is never wider than shares can differ."""
    low, high = difference(one, other)
    assert -1 - 1e-9 <= low <= (other.share or 0) - (one.share or 0) <= high <= 1 + 1e-9
    assert difference(other, one) == pytest.approx((-high, -low))


def test_accounts_are_what_was_drawn() -> None:
    """Two releases that decide alike differ surely in hardly more than one of twenty rollouts, although a few accounts
    come often and are challenged often. Decisions counted one by one would differ in far more."""
    random = Random(7)
    wrong, naive = 0, 0
    for _ in range(120):
        cells: Cells[str] = Cells()
        for account in range(400):
            side, group = "candidate" if account % 4 == 0 else "active", random.randrange(64)
            often = 20 if random.random() < 0.15 else 2
            prone = random.betavariate(0.4, 3.6)
            for _ in range(often):
                cells.count(side, (group,))
                if random.random() < prone:
                    cells.count(f"{side} hit", (group,))
        one, other = (made(cells, side) for side in SIDES)
        low, high = difference(one, other)
        wrong += low > 0 or high < 0
        low, high = difference(*(share(each.hits, each.total) for each in (one, other)))
        naive += low > 0 or high < 0
    assert wrong <= 0.1 * 120 < 0.25 * 120 < naive


def made(cells: Cells[str], side: str) -> Share:
    return share_by_account(added([cells[f"{side} hit"]]), added([cells[side]]))


def test_the_page_has_every_figure_and_escapes(tmp_path: Path) -> None:
    """The report names the releases and every figure, and shows text of the log as text."""
    shown = page(replace(crowd(tmp_path, 0.4), rollout=replace(ROLLOUT, candidate="<b>")))
    assert all(name in shown for name in FIGURES)
    assert "the candidate challenges more than twice as many" in shown
    assert "<b>&lt;b&gt;" not in shown
    assert "&lt;b&gt;" in shown
    assert "<svg" in shown
