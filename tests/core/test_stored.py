"""A write of many changes gives the same records as writing the changes one after another."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskd.core.history import DAY, HOUR, TABLES, Delta, inverse
from riskd.core.stored import changes, document, expired, expiry, pack, payload

START = 20_000.0 * DAY
KEYS = (b"a", b"b")


@st.composite
def written(draw: st.DrawFn) -> list[Delta]:
    """Changes of two histories, some taken back and some already expired."""
    one = st.builds(
        lambda key, time, kept, count: Delta(key, time, time + kept, (("sign_in", "", count),), (("visit", (time,)),)),
        st.sampled_from(KEYS),
        st.floats(START, START + DAY),
        st.sampled_from([HOUR, 10 * DAY]),
        st.integers(1, 3),
    )
    deltas = draw(st.lists(one, max_size=8))
    return (
        draw(st.permutations([*deltas, *(inverse(delta) for delta in draw(st.lists(st.sampled_from(deltas))))]))
        if deltas
        else []
    )


def after(records: dict[bytes, bytes], deltas: list[Delta], now: float) -> dict[bytes, bytes]:
    """The records after one write."""
    for key, record in (changes(records.get, deltas, (), now) or {}).items():
        if record is None:
            records.pop(key, None)
        else:
            records[key] = record
    return records


@given(written(), written(), st.floats(START, START + 2 * DAY))
def test_a_batch_equals_its_deltas_applied_one_by_one(before: list[Delta], deltas: list[Delta], now: float) -> None:
    """A batch gives the same records, byte for byte and with the same expiry, also if a history is emptied and started
    again."""
    at_once = after(after({}, before, START), deltas, now)
    singly = after({}, before, START)
    for delta in deltas:
        singly = after(singly, [delta], now)
    assert at_once == singly


@pytest.mark.parametrize(
    ("tallies", "count"),
    [
        ({"c": {f"c{number}": [] for number in range(TABLES["country"].capacity)}}, ("country", "GB", 1)),
        ({"A": {"": [int(START // 600), 2**64 - 1]}}, ("attempt", "", 1)),
    ],
    ids=["no tally that [] stands for", "beyond 64 bits"],
)
def test_a_write_to_a_damaged_record_is_refused(tallies: object, count: tuple[str, str, int]) -> None:
    """A record that can be decoded, but to which a change cannot be applied, raises DecodeError, as one that cannot be
    decoded does."""
    record = pack(START + DAY, msgspec.msgpack.encode([tallies, {}, {}]))
    with pytest.raises(msgspec.DecodeError):
        changes({b"a": record}.get, [Delta(b"a", START, START + DAY, (count,))], (), START)


@given(st.floats(1, 2.0**32 - 1), st.binary(max_size=9))
def test_a_record_expires_within_its_second(expires: float, content: bytes) -> None:
    """A record never expires early, and less than a second late."""
    record = pack(expires, content)
    ends = expiry(record)

    assert 0 <= ends - expires < 1
    assert payload(record) == content
    assert (expired(record, ends - 0.5), expired(record, ends)) == (False, True)
    assert (document(record, ends - 0.5), document(record, ends), document(None, 0.0)) == (content, None, None)


def test_the_latest_expiry_is_2106() -> None:
    """A record that never expires gets the largest expiry of 32 bits, in 2106."""
    assert expiry(pack(math.inf, b"")) == expiry(pack(1e12, b"")) == 2**32 - 1
