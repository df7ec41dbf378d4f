"""The drift report as one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from riskd.offline import charts
from riskd.offline.drift.compare import Drift, Origin, Signal
from riskd.offline.page import document, table, tiles
from riskd.wording import date, quantity

PICTURES: Final = 12
"""How many signals of a domain get a chart."""
RAREST: Final = 0.0001
"""A smaller probability is shown as "less than" this one."""
_WORDS: Final = """
<p><small><b>Index</b>: the population stability index over all rows; <b>by chance</b>: its average if nothing has
changed; <b>chance</b>: how often it would then be as large (Yurdakul 2018, with the design effects of Rao and Scott
1981). <b>Shift</b>: the index of the rows since the day on which the change began, less chance. <b>K-S</b>: the largest
difference of the two cumulative distributions. A signal has <b>drifted</b> if the index is beyond chance, over all
signals together (Holm 1979), and the shift reaches the threshold.</small></p>
"""
REFERENCES: Final[dict[Origin, str]] = {
    "model": "the reference of the model",
    "log": "the chosen reference",
    "past": "earlier decisions, since the model has no reference",
}
HEAD: Final = ("signal", "drifted", "since", "shift", "index", "by chance", "chance", "K-S", "missing")


def page(log: str, found: Sequence[Drift]) -> str:
    """The report as an HTML document."""
    return document(f"Drift of {log}", _WORDS + "".join(map(_domain, found)))


def _domain(drift: Drift) -> str:
    span = f"{date(drift.began)} to {date(drift.ended)}"
    beside = f"{date(drift.reference_began)} to {date(drift.reference_ended)}"
    figures = [
        (f"{len(drift.drifted)} of {len(drift.signals)}", f"signals have drifted, by {drift.threshold:g} or more"),
        (f"{drift.rows:,}", f"decisions, {span}"),
        (f"{drift.reference_rows:,}", f"decisions compared with, {beside}: {REFERENCES[drift.reference]}"),
    ]
    pictures = "".join(map(_pictures, drift.signals[: max(len(drift.drifted), 1)][:PICTURES]))
    drifted, others = ([cells(each) for each in drift.signals if each.drifted is told] for told in (True, False))
    title = f"<h2>{escape(drift.domain)}: model {escape(drift.model)}</h2>"
    return "".join(
        [
            title,
            tiles(figures),
            table("Signals that have drifted", HEAD, drifted),
            pictures,
            table("Signals that have not", HEAD, others),
        ]
    )


def cells(signal: Signal) -> tuple[str, ...]:
    """A signal as a row of a table."""
    return (
        signal.name,
        "yes" if signal.drifted else "",
        date(signal.since) if signal.since is not None else "",
        f"{signal.shift:.3f}" if signal.since is not None else "",
        f"{signal.index:.4f}",
        f"{signal.noise:.4f}",
        f"{signal.chance:.2g}" if signal.chance >= RAREST else f"< {RAREST}",
        f"{signal.distance:.3f}",
        f"{signal.missing_before:.1%} → {signal.missing_now:.1%}",
    )


def _pictures(signal: Signal) -> str:
    return _histogram(signal) + _days(signal)


def _histogram(signal: Signal) -> str:
    """The share of each bin, in the reference and now, side by side."""
    both = [[count / max(sum(counts), 1) for count in counts] for counts in (signal.before.counts, signal.now)]
    names = _bins(signal.before.cuts)
    top, left, base = max(*both[0], *both[1], 1e-9), 60, 140
    step = (charts.WIDTH - left) / len(names)
    crowded = max(map(charts.room, ([name] for name in names))) > step + 12
    parts = [
        charts.text(left - 6, 18, f"{top:.3g}" if top < 0.001 else f"{top:.1%}", "end", "n"),
        charts.text(left - 6, base, "0%", "end", "n"),
        f'<path class="a" d="M{left} 14V{base}H{charts.WIDTH}"/>',
    ]
    for at, name in enumerate(names):
        for kind, offset, shares in (("r", 0.1, both[0]), ("c", 0.5, both[1])):
            tall = (base - 14) * shares[at] / top
            x = left + (at + offset) * step
            label = f"{name}: {shares[at]:.2%} {'in the reference' if kind == 'r' else 'now'}"
            parts.append(
                f'<rect class="{kind}" x="{x:.1f}" y="{base - tall:.1f}" width="{0.4 * step:.1f}" height="{tall:.1f}">'
                f"<title>{escape(label)}</title></rect>"
            )
        down = 28 if crowded and at % 2 else 14
        parts.append(charts.text(left + (at + 0.5) * step, base + down, name, "middle", "n"))
    key = charts.bars("reference", "now")
    return charts.figure(f"{signal.name}: share of each range of values", base + 34, parts, key)


def _days(signal: Signal) -> str:
    """The index by day, and when the change began."""
    left, high, base = 60, 24, 122
    width = charts.WIDTH - left - 10
    top = max([*(day.index for day in signal.days), 0.1])
    step = width / max(len(signal.days) - 1, 1)
    points = [(left + at * step, base - (base - high) * day.index / top) for at, day in enumerate(signal.days)]
    parts = [
        f'<path class="a" d="M{left} {base}H{left + width}M{left} {high}V{base}"/>',
        charts.text(left - 6, high + 4, f"{top:.2g}", "end", "n"),
        charts.text(left - 6, base, "0", "end", "n"),
        f'<polyline class="lc" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>',
    ]
    for (x, y), day in zip(points, signal.days, strict=True):
        label = f"{date(day.time)}: index {day.index:.3f}, {day.missing:.1%} missing, {quantity(day.rows, 'row')}"
        parts.append(f'<circle class="c" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{escape(label)}</title></circle>')
        if day.time == signal.since:
            late = x > charts.WIDTH / 2
            label = f"since {date(day.time)}"
            parts.append(f'<path class="e" d="M{x:.1f} 0V{base}"/>')
            parts.append(charts.text(x - 4 if late else x + 4, 12, label, "end" if late else "start", "n"))
    for at in {0, len(points) - 1}:
        anchor = "start" if at == 0 else "end"
        parts.append(charts.text(points[at][0], base + 16, date(signal.days[at].time), anchor, "n"))
    return charts.figure(f"{signal.name}: index by day", base + 24, parts)


def _bins(cuts: Sequence[float]) -> list[str]:
    if not cuts:
        return ["missing", "any"]
    return ["missing", *(f"≤ {cut:.3g}" for cut in cuts), f"> {cuts[-1]:.3g}"]
