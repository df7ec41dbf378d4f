"""Laws of writing: what many changes of one write make is what they make one after another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from riskd.core.history import DAY, HOUR, Delta, inverse
from riskd.core.stored import changes

START = 20_000.0 * DAY
KEYS = (b"a", b"b")


@st.composite
def written(draw: st.DrawFn) -> list[Delta]:
    """Changes of two histories, given and taken back, some of them expired before they come."""
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
    for key, record in changes(records.get, deltas, (), now) or ():
        if record is None:
            records.pop(key, None)
        else:
            records[key] = record
    return records


@given(written(), written(), st.floats(START, START + 2 * DAY))
def test_a_batch_is_its_changes_one_after_another(before: list[Delta], deltas: list[Delta], now: float) -> None:
    """The same records, byte for byte and with the same expiry; also where a history is emptied and begun again."""
    at_once = after(after({}, before, START), deltas, now)
    singly = after({}, before, START)
    for delta in deltas:
        singly = after(singly, [delta], now)
    assert at_once == singly
