"""The stored form of receipts is small and loses nothing that an outcome needs."""

from __future__ import annotations

from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.core import learn, receipts
from riskd.core.address import parse
from riskd.core.attempt import DOMAINS, JOURNEYS, OUTCOMES, Attempt, Behaviour, Device, Federation, Network
from riskd.core.context import Agent, Missing, Place, Remembered, Route
from riskd.core.history import PROFILE_TABLES
from riskd.core.learn import Receipt
from riskd.core.pseudonym import Layer, Pseudonyms
from riskd.core.requirement import Requirement, Terms, Tier
from riskd.core.signals import context, values
from riskd.core.stored import PLACE

PSEUDONYMS: Final = Pseudonyms(b"p" * 32)
OTHERS: Final = Pseudonyms(b"q" * 32)

words = st.sampled_from(["", "a", "Zürich", "日本", "x" * 200])
devices = st.builds(Device, user_agent=words, device_id=words, fingerprint=words, screen=words,
                    languages=st.sampled_from([(), ("nb-NO", "en")]), timezone=words)  # fmt: skip
attempts = st.builds(
    Attempt,
    domain=st.sampled_from(DOMAINS),
    subject=st.text(min_size=1, max_size=20),
    journey=st.sampled_from(JOURNEYS),
    tenant=words,
    network=st.sampled_from([Network(client_ip="81.167.1.2"), Network(client_ip="2a02:810d:8000::1")]),
    device=st.none() | devices,
    behaviour=st.none() | st.just(Behaviour(typing_intervals_ms=(90.0, 110.5) * 10)),
    federation=st.none() | st.just(Federation(issuer="https://idp.example")),
    attributes=st.fixed_dictionaries({}, optional={"payee": words, "phone": words}),
)
OSLO: Final = Place("NO", 59.9127, 10.7461, 20.04)
CHROME: Final = Agent("Chrome", "153", "Windows", "10", "desktop")
places: st.SearchStrategy[Place | Missing]
routes: st.SearchStrategy[Route | Missing]
agents: st.SearchStrategy[Agent | Missing]
places = st.sampled_from([Missing("place", "not_found"), OSLO, Place("", -90.0, 180.0, 1.0)])
routes = st.sampled_from([Missing("route", "not_found"), Route(2119), Route(2119, anonymizer="tor"), Route(0)])
agents = st.sampled_from([Missing("agent", "not_sent"), CHROME, Agent("Firefox", "128")])
MET: Final = Requirement(Tier.BASELINE, Terms(1), satisfied=True)
ACCEPTED: Final = ((), (("hwk",),), (("otp",), ("swk", "pin")))
DERIVED: Final = ("subject", "owners", "address", "network", "common", "domain", "values")
"""The fields of a lesson that are pseudonyms, or are derived from one."""


def kept(
    attempt: Attempt,
    now: float,
    facts: tuple[Place | Missing, Route | Missing, Agent | Missing],
    requirement: Requirement = MET,
    accepted: tuple[tuple[str, ...], ...] = (("pwd",),),
) -> Receipt:
    """The receipt that an assessment creates."""
    address = parse(attempt.network.client_ip)
    assert address is not None
    found = values(attempt, *facts, now)
    keys = PSEUDONYMS.keys(attempt, address, found, ("payee", "phone"))
    known = context(attempt, now, found, facts=facts, remembered=Remembered(), device_offset_min=None)
    return learn.new_receipt(attempt, known, keys, requirement, accepted)


@st.composite
def issued(draw: st.DrawFn) -> tuple[Receipt, str]:
    """A receipt after some outcomes, and its tenant."""
    attempt, now = draw(attempts), draw(st.floats(1_700_000_000, 1_900_000_000))
    requirement = Requirement(draw(st.sampled_from(list(Tier))), Terms(1), draw(st.booleans()))
    facts = (draw(places), draw(routes), draw(agents))
    first = kept(attempt, now, facts, requirement, draw(st.sampled_from(ACCEPTED)))
    reported = draw(st.lists(st.sampled_from(OUTCOMES), unique=True).map(tuple))
    left = replace(
        first,
        taught=draw(st.integers(0, 9)),
        fraud=draw(st.booleans()),
        reported=reported,
        probation=draw(st.booleans()),
    )
    return learn.with_lateness(left, now + draw(st.floats(-300, 1e9))), attempt.tenant


@given(issued())
def test_an_encoded_receipt_decodes_to_the_same_receipt(one: tuple[Receipt, str]) -> None:
    """A receipt decodes to exactly what was encoded, so that fraud can take back what was taught."""
    receipt, tenant = one
    stored = receipts.encode(receipt, tenant)

    assert receipts.decode(stored, receipt.lesson.subject[:PLACE], PSEUDONYMS) == (receipt, tenant)


@given(issued())
def test_a_receipt_does_not_contain_the_subject(one: tuple[Receipt, str]) -> None:
    """The stored form does not contain the subject's pseudonym, and deriving shared keys needs the pepper."""
    receipt, tenant = one
    stored = receipts.encode(receipt, tenant)
    elsewhere, _ = receipts.decode(stored, receipt.lesson.subject[:PLACE], OTHERS)

    assert receipt.lesson.subject not in stored
    assert elsewhere.lesson.domain != receipt.lesson.domain
    assert set(elsewhere.lesson.common).isdisjoint(receipt.lesson.common)


@given(issued())
def test_an_older_receipt_is_read(one: tuple[Receipt, str]) -> None:
    """A receipt stored before lateness, counters and probation were recorded is read as reported in time, not counted,
    and of a known device."""
    receipt, tenant = one
    fields = msgspec.msgpack.decode(receipts.encode(receipt, tenant))
    stored = msgspec.msgpack.encode(fields[:17])

    known = replace(receipt, lesson=replace(receipt.lesson, counted=()), late=0, probation=False)
    assert receipts.decode(stored, receipt.lesson.subject[:PLACE], PSEUDONYMS) == (known, tenant)


@given(issued())
def test_a_newer_receipt_is_read(one: tuple[Receipt, str]) -> None:
    """A receipt to which a newer riskd on the same store has added fields at the end is read without them."""
    receipt, tenant = one
    place = receipt.lesson.subject[:PLACE]
    fields = msgspec.msgpack.decode(receipts.encode(receipt, tenant))
    fields += [receipt.lesson.counted, receipt.probation][len(fields) - 18 :]
    stored = msgspec.msgpack.encode([*fields, "more", {"than": [b"this"]}])

    assert receipts.decode(stored, place, PSEUDONYMS) == (receipt, tenant)
    assert receipts.pseudonyms_in(stored, place)[0] == receipt.lesson.subject


@given(issued(), st.binary(min_size=16, max_size=64))
def test_a_receipt_under_another_layer_names_the_same(one: tuple[Receipt, str], pepper: bytes) -> None:
    """After adding a layer, each pseudonym is the same one under that layer; absent ones stay absent, and the rest does
    not change."""
    receipt, tenant = one
    place, layer, later = receipt.lesson.subject[:PLACE], Layer(pepper), Pseudonyms(b"p" * 32, [pepper])
    stored = receipts.encode(receipt, tenant)
    subject, owners, shared, counted = receipts.pseudonyms_in(stored, place)
    moved, above = receipts.layered(stored, place, layer), layer.over_place(place)
    again, tenant_again = receipts.decode(moved, above, later)

    over = (layer.over(subject), *(tuple(map(layer.over, each)) for each in (owners, shared, counted)))
    assert receipts.pseudonyms_in(moved, above) == over
    assert again.lesson.values.keys() == receipt.lesson.values.keys()
    for table in ("device", "fingerprint", "address", "network", "issuer"):
        if table in receipt.lesson.values:
            assert again.lesson.values[table] == layer.over_short(receipt.lesson.values[table])
    lesson = replace(receipt.lesson, **{name: getattr(again.lesson, name) for name in DERIVED}, counted=over[3])
    assert (again, tenant_again) == (
        replace(receipt, lesson=lesson, activity=again.activity),
        tenant,
    )


@given(issued())
def test_a_receipt_has_no_room_for_what_it_lacks(one: tuple[Receipt, str]) -> None:
    """A receipt of an attempt on a known device, of which nothing is counted, is as short as one that cannot be
    counted."""
    receipt, tenant = one
    fields = msgspec.msgpack.decode(receipts.encode(receipt, tenant))

    assert len(fields) == (20 if receipt.probation else 19 if receipt.lesson.counted else 18)


def test_a_typical_receipt_is_small() -> None:
    """The receipt of a browser's sign-in with all signals takes at most 180 bytes."""
    device = Device(
        user_agent="Mozilla/5.0", device_id="d", screen="1920x1080", languages=("nb-NO",), timezone="Europe/Oslo"
    )
    attempt = Attempt(
        domain="customer",
        subject="anna",
        journey="login",
        network=Network(client_ip="81.167.1.2"),
        device=device,
        behaviour=Behaviour(typing_intervals_ms=(90.0, 110.5) * 10),
    )

    assert len(receipts.encode(kept(attempt, 1_800_000_000.0, (OSLO, Route(2119), CHROME)), "")) <= 180


def test_every_learned_value_is_stored_in_the_receipt_or_derived() -> None:
    """Every table that attempts have values for is in the stored form or derived."""
    derived = {"hour", "weekday", "address", "network", "device", "fingerprint"}
    counted = {"sign_in", "typing"}

    assert set(receipts.VALUES) | derived | counted == set(PROFILE_TABLES)


@pytest.mark.parametrize("scrap", [b"", b"\x90", b"\xc1", bytes(40), b"\xdc\x00\x12\xa1\xff"])
def test_anything_else_is_refused(scrap: bytes) -> None:
    """A damaged record raises DecodeError from every function that reads it."""
    with pytest.raises(msgspec.DecodeError):
        receipts.decode(scrap, bytes(PLACE), PSEUDONYMS)
    with pytest.raises(msgspec.DecodeError):
        receipts.pseudonyms_in(scrap, bytes(PLACE))
    with pytest.raises(msgspec.DecodeError):
        receipts.layered(scrap, bytes(PLACE), Layer(bytes(16)))
