"""Formats numbers and times for people."""

from __future__ import annotations

import time


def quantity(count: float, noun: str, nouns: str = "") -> str:
    """A count with its noun: `1 decision`, `12,000 decisions`. `nouns`: the plural, if it is irregular."""
    return f"{count:,.0f} {noun if count == 1 else nouns or f'{noun}s'}"


def figure(value: float | None) -> str:
    """The value of a feature or metric, to six digits; `missing` if there is none."""
    return "missing" if value is None else f"{value:.6g}"


def date(moment: float) -> str:
    """The UTC date of an epoch time: 2026-11-26."""
    return time.strftime("%Y-%m-%d", time.gmtime(moment))


def when(moment: float) -> str:
    """An epoch time to the minute: 2026-11-26 14:05Z."""
    return time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(moment))


def second(moment: float) -> str:
    """An epoch time to the second, as ISO 8601: 2026-11-26T14:05:09Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
