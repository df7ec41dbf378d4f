"""Recall: each record that was loaded is returned under its own role."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from riskd.core.context import NOTHING, Memory, Remembered
from riskd.core.history import EMPTY, History
from riskd.core.pseudonym import POPULARITY, Keys
from riskd.core.recall import ACTIVITY, COMMON, PROFILE, history_keys, recall


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
        counted={counter: records[key + ACTIVITY] for counter, key in keys.counted.items()},
    )


@given(known)
def test_absent_records_are_empty(keys: Keys) -> None:
    """Absent records are read as empty histories."""
    assert recall(keys, [EMPTY] * len(history_keys(keys))) == Remembered(
        popularity=dict.fromkeys(keys.popularity, EMPTY), counted=dict.fromkeys(keys.counted, EMPTY)
    )
