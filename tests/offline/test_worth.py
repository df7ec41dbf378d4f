"""The worth of a signal: the decisions without it equal those if it had never been collected."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import pytest
from msgspec.structs import replace

from riskd.core.attempt import Attempt, Outcome
from riskd.core.features import NAMES
from riskd.core.record import AssessmentRecord
from riskd.core.signals import PURPOSE
from riskd.offline.policies.worth import COLLECTED, SETS, TOLD_TOGETHER, without
from tests.doubles import ListLog
from tests.offline.town import Town

ATTEMPTS: Final = 200
OF_DEVICE: Final[dict[str, dict[str, Any]]] = {
    "agent": {"user_agent": "", "platform": "", "mobile": None},
    "device_id": {"device_id": ""},
    "fingerprint": {"fingerprint": ""},
    "languages": {"languages": ()},
    "timezone": {"timezone": ""},
    "screen": {"screen": ""},
    "attestation": {"attestation": ""},
}
LOOKS: Final = {"agent", "device_id", "fingerprint", "screen"}
"""Signals that the features of `TOLD_TOGETHER` use."""


def stripped(one: Attempt, source: str) -> Attempt:
    """The attempt without a signal."""
    if source in OF_DEVICE:
        return one if one.device is None else replace(one, device=replace(one.device, **OF_DEVICE[source]))
    if source == "rtt":
        return replace(one, network=replace(one.network, rtt_ms=None))
    return replace(one, **{"place" if source == "reported_place" else source: None})


class Discreet(Town):
    """A town that never collects some signals. What is taught does not depend on what was required."""

    def __init__(self, log: ListLog, unasked: frozenset[str]) -> None:
        super().__init__(log, seed=3)
        self.unasked = unasked

    def signalled(self, one: Attempt) -> Attempt:
        """As usual, without those signals."""
        one = super().signalled(one)
        for source in sorted(self.unasked):
            one = stripped(one, source)
        return one

    def tell(self, assessment_id: str, tenant: str = "") -> None:
        """The attempt was the owner's."""
        self.now += self.random.random()
        told = Outcome(assessment_id=assessment_id, tenant=tenant, kind="confirmed_legitimate")
        self.engine.record(told, 10.0)


@lru_cache
def lived(unasked: frozenset[str]) -> list[AssessmentRecord]:
    """The assessments of a town."""
    log = ListLog()
    Discreet(log, unasked).live(ATTEMPTS)
    return [record for record in log.records() if isinstance(record, AssessmentRecord)]


@pytest.mark.parametrize("name", SETS)
def test_a_decision_without_a_signal_is_that_of_an_engine_that_never_got_it(name: str) -> None:
    """Removing a signal gives exactly the vector and gaps of a town that never sent it. Features computed from several
    signals keep their value while one of these remains."""
    unasked = SETS[name]
    untold = TOLD_TOGETHER.keys() if unasked & LOOKS else set()
    for one, never in zip(lived(frozenset()), lived(unasked), strict=True):
        imagined = without(one, unasked)
        for feature, ours, theirs in zip(NAMES, imagined.vector, never.vector, strict=True):
            untellable = feature in untold and not TOLD_TOGETHER[feature] <= unasked
            assert ours == theirs or untellable, (feature, ours, theirs)
        assert imagined.facts.agent == never.facts.agent
        assert {gap.source for gap in imagined.facts.missing} == {gap.source for gap in never.facts.missing}


def test_without_nothing_a_decision_is_as_it_was() -> None:
    """Removing no signal changes nothing."""
    for one in lived(frozenset()):
        assert without(one, frozenset()) == one


def test_every_signal_that_needs_consent_is_weighed() -> None:
    """Every signal that needs consent is measured, and each purpose with several signals also as a whole."""
    assert set(PURPOSE) <= set(COLLECTED)
    for purpose in set(PURPOSE.values()):
        assert frozenset(source for source, of in PURPOSE.items() if of == purpose) in SETS.values()
