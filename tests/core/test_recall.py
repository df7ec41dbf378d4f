"""Recall: each record that was loaded is returned under its own role."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from riskd.core.context import NOTHING, Memory, Remembered
from riskd.core.counters import counts
from riskd.core.history import EMPTY, History
from riskd.core.pseudonym import POPULARITY, Keys
from riskd.core.recall import ACTIVITY, COMMON, OWN, PROFILE, history_keys, recall, unread
from riskd.core.stored import PLACE


def absent_or(name: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from((b"", name))


known = st.builds(
    Keys,
    subject=st.just(b"subject"),
    domain=st.just(b"domain"),
    address=st.just(b"address"),
    network=st.just(b"network"),
    device=absent_or(b"device"),
    fingerprint=absent_or(b"fingerprint"),
    asn=absent_or(b"asn"),
    popularity=st.sets(st.sampled_from(POPULARITY)).map(lambda tables: {table: table.encode() for table in tables}),
    counted=st.sets(st.sampled_from(("payee", "phone"))).map(lambda names: {name: name.encode() for name in names}),
)


@given(known)
def test_each_record_has_its_role(keys: Keys) -> None:
    """Whatever signals the attempt has, each record is assigned to its entity, as profile or activity."""
    asked = history_keys(keys)
    records = {key: History(marks={"visit": [(number,)]}) for number, key in enumerate(asked)}

    def memory(key: bytes, profile: bytes = PROFILE) -> Memory:
        return Memory(records[key + profile], records.get(key + ACTIVITY, EMPTY)) if key else NOTHING

    assert len(records) == len(asked)
    assert recall(keys, [records[key] for key in asked]) == Remembered(
        subject=memory(keys.subject),
        address=memory(keys.address),
        network=memory(keys.network),
        device=memory(keys.device),
        fingerprint=memory(keys.fingerprint),
        asn=memory(keys.asn, COMMON),
        domain=records[keys.domain + COMMON],
        popularity={table: records[key + COMMON] for table, key in keys.popularity.items()},
        counted={
            counter: Memory(records[keys.subject[:PLACE] + key + OWN], records[key + ACTIVITY])
            for counter, key in keys.counted.items()
        },
    )


@given(known)
def test_absent_records_are_empty(keys: Keys) -> None:
    """Absent records are read as empty histories."""
    assert recall(keys, [EMPTY] * len(history_keys(keys))) == Remembered(
        popularity=dict.fromkeys(keys.popularity, EMPTY), counted=dict.fromkeys(keys.counted, NOTHING)
    )


@given(known, st.data())
def test_every_lost_record_is_named(keys: Keys, data: st.DataObject) -> None:
    """If records of some pseudonyms could not be read, exactly those entities and tables are named as unread. What a
    counter counted is then unknown, not 0."""
    roles = {
        **{name: getattr(keys, name) for name in ("subject", "device", "fingerprint", "address", "network", "domain")},
        "asn": keys.asn,
        "operator": keys.asn,
        **keys.popularity,
        **{f"counted.{counter}": key for counter, key in keys.counted.items()},
    }
    lost = data.draw(st.sets(st.sampled_from(sorted(set(roles.values()) - {b""}))))
    gone = frozenset(key for key in history_keys(keys) if key[:-1] in lost)

    names = unread(keys, gone)
    assert set(names) == {name for name, key in roles.items() if key in lost}
    known = counts(recall(keys, [EMPTY] * len(history_keys(keys)), names), 0.0)
    assert {f"{counter}.subjects_24h" for counter, key in keys.counted.items() if key not in lost} <= known.keys()
    assert {f"{counter}.own" for counter in keys.counted if keys.subject not in lost} <= known.keys()
    assert len(known) == sum((key not in lost) * 5 + (keys.subject not in lost) for key in keys.counted.values())


def test_an_operator_whose_popularity_was_cached_is_lost_in_part() -> None:
    """If only the activity of an operator could not be read, how common it is remains known."""
    keys = Keys(subject=b"s", domain=b"d", address=b"a", network=b"n", asn=b"asn")

    assert unread(keys, {b"asn" + ACTIVITY}) == ("operator",)
    assert unread(keys, {b"asn" + COMMON}) == ("asn",)
