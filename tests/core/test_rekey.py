"""Merging two records of one history gives what writing all deltas under one key would have given."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from riskd.core.history import SLOTS, WEEK, Delta, History, decode, encode, fold
from riskd.core.rekey import merged
from riskd.core.stored import expiry, pack, payload

START = 3000 * WEEK
sign_ins = st.builds(
    lambda time, country, often, slot: Delta(
        b"P",
        time,
        time + WEEK,
        (("sign_in", "", 1), ("country", country, 1), ("hour", "7", often)),
        (("place", (int(time), 1, 2, 3)),),
        (("owner", slot), ("subject", slot)),
    ),
    st.floats(START, START + 20 * WEEK),
    st.sampled_from(["NO", "SE", "FI"]),
    st.integers(1, 2),
    st.sampled_from(SLOTS),
)


def record(deltas: list[Delta]) -> bytes:
    """The stored record of a history with these deltas."""
    history = History()
    for delta in deltas:
        fold(history, delta)
    return pack(max(delta.expires for delta in deltas), encode(history))


@settings(deadline=None, max_examples=100)
@given(st.lists(sign_ins, min_size=1, max_size=8), st.lists(sign_ins, min_size=1, max_size=8))
def test_two_records_of_a_history_add_up(one: list[Delta], other: list[Delta]) -> None:
    """Counts, timestamps and values seen are merged, in tables with weekly and with two-hour periods."""
    both, whole = merged(record(one), record(other)), record(one + other)

    assert decode(payload(both)) == decode(payload(whole))
    assert expiry(both) == expiry(whole)
