"""Merging two records of one history gives what writing all deltas under one key would have given."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from riskd.core.history import DAY, SLOTS, WEEK, Delta, History, decode, encode, fold
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


@given(st.lists(sign_ins, min_size=1, max_size=8), st.lists(sign_ins, min_size=1, max_size=8))
def test_two_records_of_a_history_add_up(one: list[Delta], other: list[Delta]) -> None:
    """Counts, timestamps and values seen are merged, in tables with weekly and with two-hour periods."""
    both, whole = merged(record(one), record(other)), record(one + other)

    assert decode(payload(both)) == decode(payload(whole))
    assert expiry(both) == expiry(whole)


attempts = st.builds(
    lambda time, rare: Delta(b"A", time, time + WEEK, (("attempt", "", 1), *rare), keep=4 * WEEK),
    st.floats(START, START + 2 * DAY),
    st.lists(st.sampled_from([("failure", "", 1), ("failure_day", "", 1), ("journey_day", "payment", 1)]), max_size=2),
)


@given(st.lists(attempts, min_size=2, max_size=8), st.data())
def test_a_merged_history_keeps_nothing_that_a_later_attempt_dropped(tried: list[Delta], data: st.DataObject) -> None:
    """What was tried before and after is merged as if one record had counted all of it: failures that are too old by
    the latest attempt are gone."""
    tried.sort(key=lambda delta: delta.time)
    half = data.draw(st.integers(1, len(tried) - 1))
    both = merged(record(tried[:half]), record(tried[half:]))
    assert decode(payload(both)) == decode(payload(record(tried)))
