"""Pictures of a backtest: what was recorded, beside what the candidate would do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from riskd.offline.charts import WIDTH, date, figure, text
from riskd.offline.intervals import Share
from riskd.offline.policies.report import Group, Scores

_LEFT: Final = 150
_ROW: Final = 34
_STYLE_OF: Final = {"recorded": "r", "candidate": "c"}


def shares(title: str, rows: Sequence[tuple[str, Share, Share]]) -> str:
    """Recorded and candidate share of each row, as bars with their confidence intervals, on one scale."""
    told = [row for row in rows if row[1].share is not None or row[2].share is not None]
    top = _nice(max((share.high for _, *both in told for share in both if share.share is not None), default=1.0))
    width, height = WIDTH - _LEFT - 120, len(told) * _ROW + 30
    parts = [_ticks(top, width, height)]
    for number, (name, *both) in enumerate(told):
        y = number * _ROW + 8
        parts.append(text(_LEFT - 8, y + 17, name, "end"))
        for side, share, offset in zip(_STYLE_OF, both, (0, 12), strict=True):
            if share.share is None:
                continue
            low, middle, high = (_LEFT + width * min(value / top, 1) for value in (share.low, share.share, share.high))
            said = escape(f"{name}, {side}: {share} of {share.total:,}")
            parts.append(
                f'<rect class="{_STYLE_OF[side]}" x="{_LEFT}" y="{y + offset}" width="{middle - _LEFT:.1f}"'
                f' height="10"><title>{said}</title></rect>'
                f'<path class="i" d="M{low:.1f} {y + offset + 5}H{high:.1f}"/>'
            )
            parts.append(text(high + 6, y + offset + 9, f"{share.share * 100:.3g} %", "start", "n"))
    return figure(title, height, parts)


def scores(title: str, found: Scores) -> str:
    """Good and fraudulent decisions by score, each on a scale of its own, and where the bands begin."""
    bins = len(found.good)
    width, height, base = WIDTH - 20, 190, 160
    step = width / bins
    parts = []
    for counts, kind in ((found.good, "g"), (found.fraud, "f")):
        most = max([*counts, 1])
        for number, count in enumerate(counts):
            tall = (base - 20) * count / most
            low = found.low + number * found.width
            said = f"{_probability(low)} to {_probability(low + found.width)}: {count:,} {_KINDS[kind]}"
            if count:
                parts.append(
                    f'<rect class="{kind}" x="{10 + number * step:.1f}" y="{base - tall:.1f}" width="{step - 1:.1f}"'
                    f' height="{tall:.1f}"><title>{escape(said)}</title></rect>'
                )
    ticks = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.8)
    parts += [text(_at(tick, found, step), base + 14, f"{tick:g}", "middle", "n") for tick in ticks]
    for number, (tier, edge) in enumerate(found.edges.items()):
        x = _at(edge, found, step)
        parts.append(f'<path class="e" d="M{x:.1f} 6V{base}"/>')
        parts.append(text(x + 4, 14 + 11 * number, f"{tier} from {edge:g}", "start", "n"))
    return figure(title, height, parts)


_KINDS: Final = {"g": "good", "f": "fraud"}


def days(title: str, groups: Sequence[Group]) -> str:
    """The share of decisions that is challenged, day by day."""
    width, height, base = WIDTH - 60, 170, 140
    lines = {
        "r": [group.recorded.challenged / group.decisions for group in groups],
        "c": [group.candidate.challenged / group.decisions for group in groups],
    }
    top = _nice(max([*lines["r"], *lines["c"], 1e-6]))
    step = width / max(len(groups) - 1, 1)
    parts = [text(44, 18, f"{top * 100:.3g} %", "end", "n"), text(44, base, "0", "end", "n")]
    parts.append(f'<path class="a" d="M50 {base}H{50 + width}M50 12V{base}"/>')
    for kind, values in lines.items():
        points = " ".join(
            f"{50 + at * step:.1f},{base - (base - 12) * value / top:.1f}" for at, value in enumerate(values)
        )
        parts.append(f'<polyline class="l{kind}" points="{points}"/>')
    for at in {0, len(groups) - 1}:
        anchor = "start" if at == 0 else "end"
        parts.append(text(50 + at * step, base + 16, date(int(groups[at].value) * 86_400.0), anchor, "n"))
    return figure(title, height, parts)


def heat(moves: Mapping[str, Mapping[str, int]], tiers: Sequence[str]) -> str:
    """Recorded tier by candidate tier, as a table: above the diagonal laxer became stricter."""
    head = "".join(f"<th>{escape(tier)}</th>" for tier in tiers)
    rows = []
    for recorded in tiers:
        row, cells = moves.get(recorded, {}), []
        for candidate in tiers:
            count = row.get(candidate, 0)
            order = tiers.index(candidate) - tiers.index(recorded)
            kind = "same" if not order else "up" if order > 0 else "down"
            cells.append(f'<td class="{kind if count else ""}">{f"{count:,}" if count else ""}</td>')
        rows.append(f"<tr><th>{escape(recorded)}</th>{''.join(cells)}</tr>")
    return f'<table class="heat"><tr><th>recorded \\ candidate</th>{head}</tr>{"".join(rows)}</table>'


def _at(probability: float, found: Scores, step: float) -> float:
    odds = math.log(max(probability, 1e-9) / max(1 - probability, 1e-9))
    place = (odds - found.low) / found.width
    return 10 + step * min(max(place, 0), len(found.good))


def _probability(odds: float) -> str:
    return f"{1 / (1 + math.exp(-odds)):.3g}"


def _nice(value: float) -> float:
    """The next larger of 1, 2 or 5 times a power of ten, at most 1."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-6)))
    return min(next(power * step for step in (1, 2, 5, 10) if power * step >= value * 0.999), 1.0)


def _ticks(top: float, width: float, height: float) -> str:
    lines = [f'<path class="a" d="M{_LEFT + width * part:.1f} 0V{height - 22}"/>' for part in (0, 0.5, 1)]
    texts = [text(_LEFT + width * part, height - 8, f"{top * part * 100:.3g} %", "middle", "n") for part in (0, 0.5, 1)]
    return "".join(lines + texts)
