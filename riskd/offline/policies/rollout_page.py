"""The comparison of a rollout's releases as one HTML file, and its cells for people."""

from __future__ import annotations

from html import escape
from typing import Final

from riskd.offline.page import Cell, document, table, tiles
from riskd.offline.policies.charts import shares
from riskd.offline.policies.rollout import SIDES, Comparison, DomainComparison, Pair
from riskd.wording import quantity, when

HEAD: Final = ("of all decisions", "active", "candidate", "difference", "")
_WORDS: Final = """
<p><small>The subjects of the candidate were drawn at random, so a difference between the two is the release's, or
chance. All shares are of the decisions of a release; those with a wrong credential are left out, as nobody comes in
with one. Intervals are at 95 %, and decisions of one account count as fewer. <b>More</b> and <b>fewer</b>: the interval
of the difference (Newcombe 1998) excludes 0. One of twenty such intervals is wrong by chance, so look at the first row
first. Outcomes follow later, fraud weeks later.</small></p>
"""


def cells(pair: Pair) -> tuple[str, ...]:
    """A figure as cells for people, below `HEAD`."""
    if pair.difference is None:
        return pair.name, str(pair.active), str(pair.candidate), "-", ""
    points = f"{pair.difference * 100:+.3g} ({pair.low * 100:+.3g} to {pair.high * 100:+.3g})"
    return pair.name, str(pair.active), str(pair.candidate), points, pair.surely


def summary(comparison: Comparison) -> str:
    """Which releases, for whom, and when."""
    rollout = comparison.rollout
    ended = "" if rollout.end == float("inf") else f" to {when(rollout.end)}"
    return (
        f"candidate {rollout.candidate} for {rollout.percent:g} % of the subjects, beside active {rollout.active}, "
        f"{'since' if not ended else 'from'} {when(rollout.begin)}{ended}"
    )


def decisions(domain: DomainComparison) -> str:
    """How many decisions are compared, and how many had a wrong credential."""
    first = domain.figures[0]
    counted = (first.active.total, first.candidate.total)
    of = [
        f"{quantity(number, 'decision')} of the {side} and {domain.wrong_credential[side]:,} with a wrong credential"
        for side, number in zip(SIDES, counted, strict=True)
    ]
    return "; ".join(of)


def page(comparison: Comparison) -> str:
    """The comparison as an HTML document. Everything that comes from the log is escaped."""
    rollout = comparison.rollout
    decided = f"{comparison.counts.get('decisions', 0):,}"
    figures = tiles([(decided, "decisions"), (f"{rollout.percent:g} %", "of the subjects drawn")])
    body = "".join(map(_domain, comparison.domains))
    said = f"<p>{escape(summary(comparison))}</p>{figures}{body}{_WORDS}"
    return document(f"Rollout of {rollout.candidate}", said)


def _domain(domain: DomainComparison) -> str:
    worse = "".join(f"<p><b>{escape(why)}</b></p>" for why in domain.worse)
    rows = [(pair.name, pair.active, pair.candidate) for pair in domain.figures]
    journeys = [(pair.name, pair.active, pair.candidate) for pair in domain.journeys]
    return (
        f"<h2>{escape(domain.domain)}</h2>{worse}<p>{escape(decisions(domain))}</p>"
        + shares("Shares of all decisions", rows, SIDES)
        + table("Figures, differences in percentage points", HEAD, [_row(pair) for pair in domain.figures])
        + shares("Challenged, by journey", journeys, SIDES)
        + table("Challenged, by journey", HEAD, [_row(pair) for pair in domain.journeys])
    )


def _row(pair: Pair) -> list[str | Cell]:
    *words, surely = cells(pair)
    return [*words, Cell(surely, kind={"more": "up", "fewer": "down"}.get(surely, ""))]
