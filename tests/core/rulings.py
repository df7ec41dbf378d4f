"""Builders for the inputs of a ruling."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from riskd.core.context import Context, Missing, Place, Remembered

NOW: Final = 1_700_000_000.0
HERE: Final = Place("NO", 59.9, 10.7, 20.0)
scores = st.floats(0, 1)


def context_of(missing: tuple[Missing, ...] = (), stale: tuple[str, ...] = ()) -> Context:
    return Context(
        now=NOW,
        values={},
        place=HERE,
        route=Missing("route", "not_installed"),
        agent=Missing("agent", "not_sent"),
        remembered=Remembered(),
        missing=missing,
        stale=stale,
    )
