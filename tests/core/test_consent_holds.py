"""A signal whose purpose was not granted leaves no trace in the answer, the log or the store."""

from __future__ import annotations

from itertools import combinations
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.adapters.memory import MemoryStore
from riskd.core import signals
from riskd.core.assess import Release
from riskd.core.assessment import Assessment
from riskd.core.attempt import DOMAINS, JOURNEYS, PURPOSES, Attempt, Behaviour, Device, Outcome, Outside, ReportedPlace
from riskd.core.context import Missing
from riskd.engine import Engine
from tests.bench import parts
from tests.cases.world import attempt
from tests.doubles import ListLog
from tests.shipped import shipped_release

CONSENTS: Final = [
    ("security", *granted) for size in range(len(PURPOSES)) for granted in combinations(PURPOSES[1:], size)
]
LAPTOP: Final = attempt({}).device
assert LAPTOP is not None
SIGNALS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "device_id": st.sampled_from(["", "phone-9", "laptop-1"]),
    "fingerprint": st.sampled_from(["", "print-9", "print-1"]),
    "languages": st.sampled_from([(), ("tlh-QX", "nb"), ("en-GB",)]),
    "timezone": st.sampled_from(["", "Asia/Kolkata", "Europe/London"]),
    "screen": st.sampled_from(["", "1366x768", "1920x1080"]),
    "attestation": st.sampled_from(["", "failed", "hardware"]),
    "reported_place": st.none() | st.builds(ReportedPlace, latitude=st.floats(-60, 60), longitude=st.floats(-90, 90)),
    "behaviour": st.none()
    | st.builds(
        Behaviour,
        typing_intervals_ms=st.sampled_from([(), (90.0,) * 8, (400.0,) * 6]),
        pasted=st.none() | st.booleans(),
        form_seconds=st.none() | st.floats(0, 60),
        form_failures=st.none() | st.integers(0, 9),
    ),
    "outside": st.none()
    | st.builds(Outside, credential_breached=st.none() | st.booleans(), risk_level=st.sampled_from(["", "high"])),
}
"""Every signal that needs consent, with values to draw from; `signals.PURPOSE` gives its purpose."""
sent = st.fixed_dictionaries(SIGNALS)


@pytest.fixture(scope="module")
def release() -> Release:
    return shipped_release()


def made(who: str, journey: str, told: dict[str, Any]) -> Attempt:
    """An attempt from home that sends these signals, by source."""
    own = {source: told[source] for source in told if signals.PURPOSE[source] == "device"}
    device = Device(user_agent=LAPTOP.user_agent, platform=LAPTOP.platform, **own) if LAPTOP else None
    plain = attempt({"who": who, "journey": journey, "request_id": "one"})
    others = {"place": told["reported_place"], "behaviour": told["behaviour"], "outside": told["outside"]}
    return replace(plain, device=device, **others)


def lived(one: Attempt, release: Release) -> tuple[Assessment, list[bytes], list[tuple[bytes, object]]]:
    """The answer, every line of the log and every record of the store, after the attempt and its confirmation."""
    store, log = MemoryStore(), ListLog()
    engine = Engine(
        parts(
            store=store,
            log=log,
        ),
        release,
    )
    answer = engine.assess(one, 10.0, explain=True)
    engine.record(Outcome(assessment_id=answer.id, kind="confirmed_legitimate"), 10.0)
    keys, _ = store.walk(b"", 1000)
    return answer, log.lines, list(zip(keys, store.load(keys), strict=True))


def test_every_source_that_needs_a_purpose_is_tried() -> None:
    """This module covers every source that needs consent, so a new one cannot be forgotten."""
    assert SIGNALS.keys() == signals.PURPOSE.keys()


@given(
    who=st.sampled_from(["alex", "sam", "batch"]),
    journey=st.sampled_from(JOURNEYS),
    told=sent,
    instead=sent,
    granted=st.sampled_from(CONSENTS),
    explicit=st.booleans(),
)
def test_a_withheld_signal_leaves_no_trace(
    release: Release,
    *,
    who: str,
    journey: str,
    told: dict[str, Any],
    instead: dict[str, Any],
    granted: tuple[str, ...],
    explicit: bool,
) -> None:
    """The value of a withheld signal changes no byte of answer, decision log, histories and receipt; the answer names
    it as not consented."""
    release = replace(
        release, policies={name: replace(release.policies[name], explicit_consent=explicit) for name in DOMAINS}
    )
    withheld = {source for source, purpose in signals.PURPOSE.items() if purpose not in granted}
    other = told | {source: instead[source] for source in withheld}
    one, two = (replace(made(who, journey, said), consent=granted) for said in (told, other))

    first, second = lived(one, release), lived(two, release)

    assert first == second
    assert {Missing(source, "not_consented") for source in withheld} <= set(first[0].gaps)
    assert {gap.source for gap in first[0].gaps if gap.why == "not_consented"} == withheld


def test_silence_where_consent_must_be_explicit_grants_nothing(release: Release) -> None:
    """If consent must be explicit, an attempt that names no purposes is treated as one that grants security only."""
    customer = replace(release.policies["customer"], explicit_consent=True)
    strict = replace(release, policies={**release.policies, "customer": customer})
    told = {"reported_place": ReportedPlace(latitude=1.0, longitude=2.0), "behaviour": Behaviour(pasted=True)}
    own = {name: getattr(LAPTOP, name) for name, purpose in signals.PURPOSE.items() if purpose == "device"}
    loud = made("alex", "login", told | own | {"outside": Outside(credential_breached=True)})

    assert lived(loud, strict) == lived(replace(loud, consent=("security",)), release)
