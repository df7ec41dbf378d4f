from __future__ import annotations

import pytest
from msgspec.structs import replace

from riskd.core import signals
from riskd.core.attempt import Attempt, Behaviour, Device, Network, Outside, ReportedPlace
from riskd.core.context import Missing

FULL = Attempt(
    domain="customer",
    subject="s",
    journey="login",
    network=Network(client_ip="192.0.2.1"),
    device=Device(user_agent="UA", device_id="d", fingerprint="f"),
    place=ReportedPlace(latitude=1.0, longitude=2.0),
    behaviour=Behaviour(pasted=True),
    outside=Outside(credential_breached=True),
)


def test_without_a_list_of_purposes_all_signals_are_used() -> None:
    """If an attempt names no purposes, all its signals are used."""
    assert signals.consented(FULL) == FULL


def test_explicit_consent_withholds_what_was_not_granted() -> None:
    """If the policy requires explicit consent and the attempt names no purposes, only its security signals are used."""
    kept = signals.consented(FULL, explicit=True)
    assert (kept.device, kept.place, kept.behaviour, kept.outside) == (Device(user_agent="UA"), None, None, None)
    gaps = signals.missing(kept)
    assert {Missing(source, "not_consented") for source in signals.PURPOSE} <= set(gaps)
    assert Missing("rtt", "not_sent") in gaps


@pytest.mark.parametrize("explicit", [False, True])
def test_a_list_of_purposes_grants_only_those(explicit: bool) -> None:
    """If an attempt names purposes, only those are granted, whether or not consent must be explicit."""
    attempt = replace(FULL, consent=("location",))
    kept = signals.consented(attempt, explicit=explicit)
    assert kept.place == FULL.place
    assert kept.behaviour is None
