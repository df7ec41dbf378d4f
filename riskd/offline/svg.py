"""What pictures of reports are drawn with: SVG text, readable by any browser and by eyes that see no colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

WIDTH: Final = 760


def text(x: float, y: float, said: str, anchor: str = "start", kind: str = "") -> str:
    """A label."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(said)}</text>'


def svg(title: str, height: float, parts: Sequence[str]) -> str:
    """A figure with its caption."""
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg role="img" aria-label="{escape(title)}"'
        f' viewBox="0 0 {WIDTH} {height:.0f}" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg></figure>'
    )


def nice(value: float) -> float:
    """The next larger of 1, 2 or 5 times a power of ten, at most 1."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-6)))
    return min(next(power * step for step in (1, 2, 5, 10) if power * step >= value * 0.999), 1.0)
