"""Charts of reports as SVG text: no library, no script, readable in any browser and without telling colours apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from riskd.offline.page import scrolled

WIDTH: Final = 760
"""Width of every chart, in SVG units."""
_LETTER: Final = 7.8
"""Width of a letter of a label in a wide font, in SVG units."""
_MARKS: Final = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-3.5-3.5h7v7h-7z",
    "M0-5L5 0L0 5L-5 0z",
    "M0-4.5L4.5 3.5h-9z",
    "M0 4.5L4.5-3.5h-9z",
    "M-4.5-1.5h3v-3h3v3h3v3h-3v3h-3v-3h-3z",
)
BARS: Final = {
    "recorded": "r",
    "active": "r",
    "candidate": "c",
    "reference": "r",
    "now": "c",
    "good": "g",
    "fraud": "f",
}
"""CSS class of the bar for each name that a legend may have."""


def text(x: float, y: float, said: str, anchor: str, kind: str = "") -> str:
    """A label; `anchor` is `start`, `middle` or `end`."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(said)}</text>'


def mark(number: int, x: float, y: float, said: str = "") -> str:
    """A point of one of six series. Each series has its own shape as well as its colour."""
    return (
        f'<path class="m{number}" transform="translate({x:.1f} {y:.1f})" d="{_MARKS[number]}">'
        f"<title>{escape(said)}</title></path>"
    )


def room(labels: Iterable[str]) -> float:
    """The width to reserve for labels beside a chart, spacing included."""
    return max((len(label) for label in labels), default=0) * _LETTER + 20


def bars(*names: str) -> tuple[tuple[str, str], ...]:
    """Legend entries for bars."""
    return tuple((f'<rect class="{BARS[name]}" x="1" y="1" width="22" height="10"/>', name) for name in names)


def lines(*names: str) -> tuple[tuple[str, str], ...]:
    """Legend entries for lines."""
    return tuple((f'<path class="l{BARS[name]}" d="M0 6H24"/>', name) for name in names)


def figure(title: str, height: float, parts: Sequence[str], key: Iterable[tuple[str, str]] = ()) -> str:
    """A chart that is `WIDTH` wide, with its title and legend. `key`: (sample as SVG, name) of each legend entry."""
    entries = "".join(
        f'<li><svg viewBox="0 0 24 12" aria-hidden="true">{sample}</svg>{escape(name)}</li>' for sample, name in key
    )
    picture = (
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {WIDTH} {height:.0f}"'
        f' xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )
    legend = f'<ul class="key">{entries}</ul>' if entries else ""
    return f"<figure><figcaption>{escape(title)}</figcaption>{legend}{scrolled(title, picture)}</figure>"
