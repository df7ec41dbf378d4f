"""Charts of a backtest: what was recorded, beside what the candidate would do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from riskd.core.history import DAY
from riskd.offline.charts import BARS, WIDTH, bars, figure, lines, room, text
from riskd.offline.intervals import Share
from riskd.offline.page import Cell, table
from riskd.offline.policies.report import Group, Scores
from riskd.wording import date

_ROW: Final = 34
_SIDES: Final = ("recorded", "candidate")


def shares(title: str, rows: Sequence[tuple[str, Share, Share]], sides: tuple[str, str] = _SIDES) -> str:
    """The shares of both sides for each row, as bars with their confidence intervals, on one scale. A row of which one
    side has no decisions is left out."""
    known = [row for row in rows if row[1].total and row[2].total]
    top = _nice(max((share.high for _, *both in known for share in both), default=1.0))
    left = room(name for name, *_ in known)
    width, height = WIDTH - left - 80, len(known) * _ROW + 30
    parts = [_ticks(top, left, width, height)]
    for number, (name, *both) in enumerate(known):
        y = number * _ROW + 8
        parts.append(text(left - 8, y + 15, name, "end"))
        for side, share, offset in zip(sides, both, (0, 13), strict=True):
            found = share.hits / share.total
            low, middle, high = (left + width * value / top for value in (share.low, found, share.high))
            label = escape(f"{name}, {side}: {share} of {share.total:,}")
            parts.append(
                f'<rect class="{BARS[side]}" x="{left}" y="{y + offset}" width="{middle - left:.1f}"'
                f' height="10"><title>{label}</title></rect>'
                f'<path class="i" d="M{low:.1f} {y + offset + 5}H{high:.1f}"/>'
            )
            parts.append(text(high + 6, y + offset + 9, f"{found * 100:.3g} %", "start", "n"))
    return figure(title, height, parts, bars(*sides))


def scores(title: str, distribution: Scores) -> str:
    """Good and fraudulent decisions by score, each on its own scale, and where the bands begin."""
    top, tall_most = 14 * len(distribution.edges) + 6, 130
    base = top + tall_most
    step = (WIDTH - 20) / len(distribution.good)
    parts = []
    key = []
    for counts, name in ((distribution.good, "good"), (distribution.fraud, "fraud")):
        kind, most = BARS[name], max(counts)
        key += [(sample, f"{name}, at most {most:,} in a bar") for sample, _ in bars(name)]
        for number, count in enumerate(counts):
            tall = tall_most * count / max(most, 1)
            low = distribution.low + number * distribution.width
            label = f"{_probability(low)} to {_probability(low + distribution.width)}: {count:,} {name}"
            if count:
                parts.append(
                    f'<rect class="{kind}" x="{10 + number * step:.1f}" y="{base - tall:.1f}" width="{step - 1:.1f}"'
                    f' height="{tall:.1f}"><title>{escape(label)}</title></rect>'
                )
    ticks = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.8)
    parts += [text(_at(tick, distribution, step), base + 14, f"{tick:g}", "middle", "n") for tick in ticks]
    for number, (tier, edge) in enumerate(distribution.edges.items()):
        x, y, label = _at(edge, distribution, step), 14 * number, f"{tier} from {edge:g}"
        before = x + room([label]) > WIDTH
        parts.append(f'<path class="e" d="M{x:.1f} {y}V{base}"/>')
        parts.append(text(x - 4 if before else x + 4, y + 12, label, "end" if before else "start", "n"))
    return figure(title, base + 24, parts, key)


def days(title: str, groups: Sequence[Group]) -> str:
    """The share of decisions that are challenged, by day, of those whose credential was not wrong."""
    left, width, height, base = 60, WIDTH - 70, 170, 140
    shares = {
        "r": [_part(group.recorded.challenged, group) for group in groups],
        "c": [_part(group.candidate.challenged, group) for group in groups],
    }
    top = _nice(max([*shares["r"], *shares["c"], 1e-6]))
    step = width / max(len(groups) - 1, 1)
    parts = [text(left - 6, 18, f"{top * 100:.3g} %", "end", "n"), text(left - 6, base, "0 %", "end", "n")]
    parts.append(f'<path class="a" d="M{left} {base}H{left + width}M{left} 12V{base}"/>')
    for kind, values in shares.items():
        points = " ".join(
            f"{left + at * step:.1f},{base - (base - 12) * value / top:.1f}" for at, value in enumerate(values)
        )
        parts.append(f'<polyline class="l{kind}" points="{points}"/>')
    for at in {0, len(groups) - 1}:
        anchor = "start" if at == 0 else "end"
        parts.append(text(left + at * step, base + 16, date(int(groups[at].value) * DAY), anchor, "n"))
    return figure(title, height, parts, lines(*_SIDES))


def _part(challenged: int, group: Group) -> float:
    return challenged / max(group.decisions - group.wrong_credential, 1)


def moves(counts: Mapping[str, Mapping[str, int]], tiers: Sequence[str]) -> str:
    """A table of recorded tier by candidate tier: above the diagonal, the candidate is stricter."""

    def cell(row: int, column: int) -> str | Cell:
        count = counts.get(tiers[row], {}).get(tiers[column], 0)
        kind, arrow = ("up", " ↑") if column > row else ("down", " ↓") if column < row else ("same", "")
        return Cell(f"{count:,}{arrow}", kind=kind) if count else ""

    rows = [[tier, *(cell(row, column) for column in range(len(tiers)))] for row, tier in enumerate(tiers)]
    return table("Recorded tier (down) by the candidate's (across); ↑ stricter, ↓ laxer", ("", *tiers), rows)


def _at(probability: float, distribution: Scores, step: float) -> float:
    odds = math.log(max(probability, 1e-9) / max(1 - probability, 1e-9))
    place = (odds - distribution.low) / distribution.width
    return 10 + step * min(max(place, 0), len(distribution.good))


def _probability(odds: float) -> str:
    return f"{1 / (1 + math.exp(-odds)):.3g}"


def _nice(value: float) -> float:
    """The next larger of 1, 2 or 5 times a power of ten, at most 1."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-6)))
    return min(next(power * step for step in (1, 2, 5, 10) if power * step >= value * 0.999), 1.0)


def _ticks(top: float, left: float, width: float, height: float) -> str:
    return "".join(
        f'<path class="a" d="M{left + width * part:.1f} 0V{height - 22}"/>'
        + text(left + width * part, height - 8, f"{top * part * 100:.3g} %", "middle", "n")
        for part in (0, 0.5, 1)
    )
