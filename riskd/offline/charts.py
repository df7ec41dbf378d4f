"""Pictures of reports, as SVG text: no library, no script, readable by any browser and by eyes that see no colour."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape
from typing import Final

WIDTH: Final = 760
"""Of every picture, in its own units."""


def date(moment: float) -> str:
    """The day of an epoch second, UTC: 2026-11-26."""
    return time.strftime("%Y-%m-%d", time.gmtime(moment))


def text(x: float, y: float, said: str, anchor: str, kind: str = "") -> str:
    """A label; `anchor` is `start`, `middle` or `end`."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(said)}</text>'


def figure(title: str, height: float, parts: Sequence[str]) -> str:
    """A picture `WIDTH` wide, with its title."""
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg role="img" aria-label="{escape(title)}"'
        f' viewBox="0 0 {WIDTH} {height:.0f}" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg></figure>'
    )
