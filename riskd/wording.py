"""Formats numbers for people."""

from __future__ import annotations


def quantity(count: float, noun: str, nouns: str = "") -> str:
    """A count with its noun: `1 decision`, `12,000 decisions`. `nouns`: the plural, if it is irregular."""
    return f"{count:,.0f} {noun if count == 1 else nouns or f'{noun}s'}"


def figure(value: float | None) -> str:
    """The value of a feature or metric, to six digits; `missing` if there is none."""
    return "missing" if value is None else f"{value:.6g}"
