"""Validates attempts, outcomes and security events. Each check returns all violations at once."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Final

from riskd.core import attempt as words
from riskd.core.attempt import (
    Attempt,
    Behaviour,
    Device,
    Federation,
    Network,
    Outcome,
    ReportedPlace,
    SecurityEvent,
    Session,
)
from riskd.core.errors import Problem

ID: Final = 256
"""Most characters in an identifier (subject, tenant, device, session, issuer)."""
TEXT: Final = 1024
"""Most characters in free text (user agent)."""
WORD: Final = 64
"""Most characters in a code (acr, amr value, language, timezone, platform)."""
ITEMS: Final = 16
"""Most entries in a list (languages, forwarded addresses, amr)."""
INTERVALS: Final = 512
"""Most typing intervals; more would not improve their mean."""
ATTRIBUTES: Final = 32
"""Most custom attributes."""
FUTURE_S: Final = 300
"""Clock skew tolerated, in seconds."""
EARLIEST: Final = 946_684_800
"""2000-01-01 in epoch seconds. An earlier time is a mistake of the unit, such as days."""
EARLIEST_ACCOUNT: Final = 31_536_000
"""1971-01-01 in epoch seconds: accounts may be older than 2000. A time in 1970 is an unset one, or another unit."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]").search


class _Findings(list[Problem]):
    """The problems found so far, with one method per kind of check."""

    def add(self, where: str, what: str, remedy: str) -> None:
        self.append(Problem(where, what, remedy))

    def text(self, where: str, value: str, limit: int) -> None:
        if len(value) > limit:
            self.add(where, f"{len(value)} characters", f"send at most {limit}")
        elif "\0" in value:
            self.add(where, "contains a NUL character", "remove it")
        elif not value.isascii() and _SURROGATE(value):
            self.add(where, "contains an unpaired surrogate", "send text that UTF-8 can encode")

    def choice(self, where: str, value: str, known: Iterable[str]) -> None:
        if value not in known:
            allowed = ", ".join(word for word in known if word)
            self.add(where, f"unknown value {value[:WORD]!r}" if value else "missing", f"use one of: {allowed}")

    def items(self, where: str, values: tuple[str, ...], limit: int = WORD) -> None:
        if len(values) > ITEMS:
            self.add(where, f"{len(values)} entries", f"send at most {ITEMS}")
            return
        for at, value in enumerate(values):
            self.text(f"{where}[{at}]", value, limit)

    def number(self, where: str, value: float | None, low: float, high: float) -> None:
        if value is not None and not low <= value <= high:
            self.add(where, f"{value} is not within {low:g} and {high:g}", "send a finite number in this range")

    def moment(self, where: str, value: float | None, now: float) -> None:
        if value is None:
            return
        if not math.isfinite(value) or value < EARLIEST:
            self.add(where, f"{value} is not a moment after 2000", "send seconds since the Unix epoch")
        elif value > now + FUTURE_S:
            self.add(where, f"{value - now:.0f} s in the future", f"check the clock; {FUTURE_S} s are tolerated")


def subject_violations(tenant: str, domain: str, subject: str) -> list[Problem]:
    """Everything that is wrong with the names of a subject."""
    found = _Findings()
    found.choice("domain", domain, words.DOMAINS)
    _subject(found, tenant, subject)
    return found


def _subject(found: _Findings, tenant: str, subject: str) -> None:
    if not subject:
        found.add("subject", "missing", "send a stable identifier of the account")
    found.text("subject", subject, ID)
    found.text("tenant", tenant, ID)


def violations(attempt: Attempt, now: float, *, address_known: bool, declared: frozenset[str]) -> list[Problem]:
    """Everything that is wrong with an attempt.

    `address_known`: whether `network.client_ip` could be parsed; `declared`: names of custom
    attributes that this deployment accepts; `now`: epoch seconds.
    """
    found = _Findings()
    found.choice("domain", attempt.domain, words.DOMAINS)
    found.choice("journey", attempt.journey, words.JOURNEYS)
    found.choice("credential_result", attempt.credential_result, words.CREDENTIAL_RESULTS)
    _subject(found, attempt.tenant, attempt.subject)
    found.text("request_id", attempt.request_id, ID)
    found.moment("time", attempt.time, now)
    _network(found, attempt.network, address_known)
    if attempt.device is not None:
        _device(found, attempt.device)
    if attempt.place is not None:
        _place(found, attempt.place)
    if attempt.behaviour is not None:
        _behaviour(found, attempt.behaviour)
    if attempt.session is not None:
        _session(found, attempt.session, now)
    if attempt.federation is not None:
        _federation(found, attempt.federation, now)
    if attempt.outside is not None:
        found.choice("outside.risk_level", attempt.outside.risk_level, words.RISK_LEVELS)
    if attempt.consent:
        _consent(found, attempt.consent)
    if attempt.attributes:
        _attributes(found, attempt.attributes, declared)
    if attempt.registration_time is not None:
        _registration(found, attempt.registration_time, now if attempt.time is None else attempt.time)
    return found


def outcome_violations(outcome: Outcome, now: float) -> list[Problem]:
    """Everything that is wrong with an outcome."""
    found = _Findings()
    found.choice("kind", outcome.kind, words.OUTCOMES)
    if len(outcome.assessment_id) != 32 or not set(outcome.assessment_id) <= set("0123456789abcdef"):
        found.add("assessment_id", "not an assessment id", "send the id that Assess answered: 32 hex digits")
    found.text("tenant", outcome.tenant, ID)
    found.moment("time", outcome.time, now)
    found.items("amr", outcome.amr)
    found.number("seconds", outcome.seconds, 0, 86_400)
    return found


def event_violations(event: SecurityEvent, now: float) -> list[Problem]:
    """Everything that is wrong with a security event. One older than the retention is valid; it has no effect."""
    found = _Findings()
    found.choice("domain", event.domain, words.DOMAINS)
    _subject(found, event.tenant, event.subject)
    found.moment("time", event.time, now)
    found.text("issuer", event.issuer, ID)
    found.choice("event", event.kind, words.EVENTS)
    for name, kinds in words.EVENT_WORDS.items():
        where = f"{event.kind}.{name}"
        if event.kind not in kinds:
            if getattr(event, name) and event.kind in words.EVENTS:
                found.add(where, f"{event.kind} has no such field", "omit it")
        elif name == "level":
            found.choice(where, event.level, words.RISK_LEVELS[1:])
        elif name == "credential_type":
            if not event.credential_type:
                found.add(where, "missing", "send the type that the event names, such as `password`")
            found.text(where, event.credential_type, WORD)
    return found


def _network(found: _Findings, network: Network, address_known: bool) -> None:
    if not network.client_ip:
        found.add("network.client_ip", "missing", "send the address that the client connected from")
    elif not address_known:
        shown = network.client_ip[:WORD]
        found.add("network.client_ip", f"{shown!r} is not an address", "send IPv4 or IPv6, without port or zone")
    found.items("network.forwarded", network.forwarded)
    found.text("network.ja4", network.ja4, WORD)
    found.number("network.rtt_ms", network.rtt_ms, 0, 60_000)


def _device(found: _Findings, device: Device) -> None:
    found.text("device.user_agent", device.user_agent, TEXT)
    found.text("device.platform", device.platform, WORD)
    found.text("device.device_id", device.device_id, ID)
    found.text("device.fingerprint", device.fingerprint, ID)
    found.text("device.screen", device.screen, WORD)
    found.items("device.languages", device.languages)
    found.text("device.timezone", device.timezone, WORD)
    found.choice("device.attestation", device.attestation, words.ATTESTATIONS)


def _place(found: _Findings, place: ReportedPlace) -> None:
    found.number("place.latitude", place.latitude, -90, 90)
    found.number("place.longitude", place.longitude, -180, 180)
    found.number("place.accuracy_m", place.accuracy_m, 0, 20_000_000)


def _behaviour(found: _Findings, behaviour: Behaviour) -> None:
    intervals = behaviour.typing_intervals_ms
    if len(intervals) > INTERVALS:
        found.add("behaviour.typing_intervals_ms", f"{len(intervals)} entries", f"send at most {INTERVALS}")
    elif intervals and not (min(intervals) >= 0 and max(intervals) <= 600_000 and math.isfinite(sum(intervals))):
        found.add("behaviour.typing_intervals_ms", "not all within 0 and 600000", "send milliseconds, finite")
    found.number("behaviour.pointer_events", behaviour.pointer_events, 0, 1_000_000)
    found.number("behaviour.form_seconds", behaviour.form_seconds, 0, 86_400)
    found.number("behaviour.form_failures", behaviour.form_failures, 0, 1_000)


def _session(found: _Findings, session: Session, now: float) -> None:
    found.text("session.id", session.id, ID)
    found.moment("session.start_time", session.start_time, now)
    found.moment("session.authentication_time", session.authentication_time, now)
    found.text("session.acr", session.acr, ID)
    found.items("session.amr", session.amr)


def _federation(found: _Findings, federation: Federation, now: float) -> None:
    found.text("federation.issuer", federation.issuer, ID)
    found.choice("federation.protocol", federation.protocol, words.PROTOCOLS)
    found.text("federation.acr", federation.acr, ID)
    found.items("federation.amr", federation.amr)
    found.moment("federation.authentication_time", federation.authentication_time, now)
    found.moment("federation.issue_time", federation.issue_time, now)


def _consent(found: _Findings, purposes: tuple[str, ...]) -> None:
    if len(purposes) > ITEMS:
        found.add("consent", f"{len(purposes)} entries", f"send at most {ITEMS}")
        return
    for at, purpose in enumerate(purposes):
        found.choice(f"consent[{at}]", purpose, words.PURPOSES)


def _attributes(found: _Findings, attributes: dict[str, str], declared: frozenset[str]) -> None:
    if len(attributes) > ATTRIBUTES:
        found.add("attributes", f"{len(attributes)} entries", f"send at most {ATTRIBUTES}")
        return
    for name, value in attributes.items():
        if name not in declared:
            found.add(f"attributes[{name[:WORD]}]", "not declared", "declare it under [attributes] in the settings")
        found.text(f"attributes[{name[:WORD]}]", value, ID)


def _registration(found: _Findings, registered: float, at: float) -> None:
    """`at`: when the attempt happens."""
    where = "registration_time"
    if not math.isfinite(registered) or registered < EARLIEST_ACCOUNT:
        found.add(where, f"{registered} is not a moment after 1970", "send seconds since the Unix epoch, or omit it")
    elif registered > at + FUTURE_S:
        found.add(where, f"{registered - at:.0f} s after the attempt", f"check the clocks; {FUTURE_S} s are tolerated")
