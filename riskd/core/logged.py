"""Makes the records of the decision log of what happened; and attempts, contexts, keys and events of records."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import Final

from msgspec import convert
from msgspec.structs import replace

from riskd.core.assess import Decision
from riskd.core.assessment import Assessment
from riskd.core.attempt import OPTIONAL, Attempt, Device, Federation, Network, Outcome, SecurityEvent, Session
from riskd.core.context import Agent, Context, Missing, Place, Remembered, Route
from riskd.core.counters import counts
from riskd.core.features import NAMES
from riskd.core.features.consistency import begins_elsewhere, systems
from riskd.core.learn import Receipt
from riskd.core.pseudonym import ENTITIES, POPULARITY, Keys, Pseudonyms, short
from riskd.core.record import (
    AssessmentRecord,
    Authentication,
    Facts,
    OutcomeRecord,
    RepeatRecord,
    SecurityEventRecord,
    ShadowRecord,
    Signals,
)
from riskd.core.signals import unremembered

_UNKNOWN: Final = Device()
_NOTHING: Final = Signals()
_OTHER: Final = "-"
"""Stands for a forwarded address that is not the client's; the log does not say which it was."""


def assessment_record(
    attempt: Attempt,
    context: Context,
    decision: Decision,
    answer: Assessment,
    *,
    subject: bytes,
    network: str,
    now: float,
    signals: bool,
) -> AssessmentRecord:
    """The record of a decision. `network`: the client's /24 or /48; `now`: epoch seconds by the service's clock;
    `signals`: whether to include them."""
    contributions = decision.contributions
    return AssessmentRecord(
        id=answer.id,
        time=context.now,
        tenant=attempt.tenant,
        domain=attempt.domain,
        journey=attempt.journey,
        subject=subject.hex(),
        request_id=attempt.request_id,
        credential_result=attempt.credential_result,
        facts=Facts(
            now=context.now,
            network=network,
            values=context.values,
            place=context.place if isinstance(context.place, Place) else None,
            route=context.route if isinstance(context.route, Route) else None,
            agent=context.agent if isinstance(context.agent, Agent) else None,
            missing=context.missing,
            stale=context.stale,
            counted=dict(context.counted),
            unread=context.remembered.unread if isinstance(context.remembered, Remembered) else (),
        ),
        vector=tuple(decision.vector),
        log_odds=decision.log_odds,
        score=answer.score,
        level=answer.level,
        tier=answer.requirement.tier.name,
        satisfied=answer.requirement.satisfied,
        hits=tuple([hit.rule for hit in decision.hits if not hit.shadow]),
        shadow_hits=tuple([hit.rule for hit in decision.hits if hit.shadow]),
        reasons=tuple([reason.code for reason in answer.reasons]),
        contributions=dict(zip(NAMES, contributions, strict=True)) if contributions is not None else None,
        gaps=answer.gaps,
        coverage=answer.coverage,
        causes=answer.causes,
        release=answer.release,
        model=answer.model,
        session=_session(attempt.session),
        federation=_federation(attempt.federation),
        attributes=attempt.attributes,
        registration_time=attempt.registration_time,
        lists=decision.lists,
        withheld=decision.withheld.name if decision.withheld else "",
        probation=decision.receipt.probation,
        signals=_signals(attempt, context) if signals else None,
        written=now if now != context.now else None,
    )


def _session(sent: Session | None) -> Authentication | None:
    if sent is None:
        return None
    return Authentication(
        acr=sent.acr,
        amr=sent.amr,
        authentication_time=sent.authentication_time,
        start_time=sent.start_time,
        binding=sent.binding,
    )


def _federation(sent: Federation | None) -> Authentication | None:
    """What is logged of an assertion, including an issuer that is not trusted: another policy may trust it."""
    if sent is None:
        return None
    return Authentication(
        acr=sent.acr,
        amr=sent.amr,
        authentication_time=sent.authentication_time,
        issuer=sent.issuer,
        protocol=sent.protocol,
        issue_time=sent.issue_time,
    )


def _signals(attempt: Attempt, context: Context) -> Signals:
    device, network, behaviour = attempt.device or _UNKNOWN, attempt.network, attempt.behaviour
    edge = context.measured_from
    if behaviour is not None and behaviour.typing_intervals_ms:
        behaviour = replace(behaviour, typing_intervals_ms=tuple(sorted(behaviour.typing_intervals_ms)))
    return Signals(
        consent=_granted(attempt.consent),
        systems=systems(device.user_agent) if device.platform or device.mobile is not None else "",
        platform=device.platform,
        mobile=device.mobile,
        languages=device.languages,
        attestation=device.attestation,
        offset_min=context.device_offset_min,
        forwarded=len(network.forwarded),
        forged=begins_elsewhere(network),
        ja4=network.ja4,
        rtt_ms=network.rtt_ms,
        edge=(edge.latitude, edge.longitude, edge.radius_km) if edge and network.rtt_ms is not None else None,
        reported=attempt.place,
        behaviour=behaviour,
        outside=attempt.outside,
    )


def _granted(consent: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The granted purposes of `OPTIONAL`, in its order; None if all of them are granted."""
    if consent is None or set(OPTIONAL) <= set(consent):
        return None
    return tuple([purpose for purpose in OPTIONAL if purpose in consent])


def repeat_record(attempt: Attempt, answer: Assessment, now: float) -> RepeatRecord:
    """The record of an answer that is returned again."""
    return RepeatRecord(
        id=answer.id,
        time=now,
        tenant=attempt.tenant,
        domain=attempt.domain,
        journey=attempt.journey,
        request_id=attempt.request_id,
        score=answer.score,
        level=answer.level,
        tier=answer.requirement.tier.name,
        satisfied=answer.requirement.satisfied,
        reasons=tuple(reason.code for reason in answer.reasons),
        causes=answer.causes,
        release=answer.release,
        model=answer.model,
    )


def shadow_record(attempt: Attempt, context: Context, decision: Decision, answer: Assessment) -> ShadowRecord:
    """The record of a decision by a release in shadow. `answer`: the one that was given."""
    shadow = decision.assessment
    return ShadowRecord(
        id=answer.id,
        time=context.now,
        tenant=attempt.tenant,
        domain=attempt.domain,
        journey=attempt.journey,
        log_odds=decision.log_odds,
        score=shadow.score,
        level=shadow.level,
        tier=shadow.requirement.tier.name,
        satisfied=shadow.requirement.satisfied,
        hits=tuple(hit.rule for hit in decision.hits if not hit.shadow),
        shadow_hits=tuple(hit.rule for hit in decision.hits if hit.shadow),
        causes=shadow.causes,
        release=shadow.release,
        model=shadow.model,
        beside=answer.release,
    )


def outcome_record(outcome: Outcome, receipt: Receipt, now: float) -> OutcomeRecord:
    """The record of an outcome. `receipt`: as the outcome left it; `now`: epoch seconds by the service's clock."""
    return OutcomeRecord(
        assessment_id=outcome.assessment_id,
        time=now if outcome.time is None else outcome.time,
        written=now if outcome.time not in (None, now) else None,
        tenant=outcome.tenant,
        domain=receipt.domain,
        journey=receipt.journey,
        kind=outcome.kind,
        amr=outcome.amr,
        seconds=outcome.seconds,
        taught=receipt.taught,
    )


def event_record(
    event: SecurityEvent, pseudonyms: Pseudonyms, subject: bytes, now: float, caller: str = ""
) -> SecurityEventRecord:
    """The record of a security event. `now`: epoch seconds by the service's clock; `caller`: who sent it."""
    return SecurityEventRecord(
        time=now if event.time is None else event.time,
        tenant=event.tenant,
        domain=event.domain,
        subject=subject.hex(),
        keyed=short(pseudonyms.common(event.tenant, event.domain, "domain", "")),
        kind=event.kind,
        issuer=event.issuer,
        level=event.level,
        credential_type=event.credential_type,
        hijacked=event.hijacked,
        caller=caller,
        written=now if event.time not in (None, now) else None,
    )


def vector_of(line: AssessmentRecord) -> list[float]:
    """The features of a record, as models and rules read them: NaN for a missing one."""
    return [nan if value is None else value for value in line.vector]


def attempt_of(line: AssessmentRecord, signals: Signals = _NOTHING) -> Attempt:
    """The attempt of a record: equal to the original for rules and rulings, with `signals` for every feature, too.
    Identifiers and addresses are empty: the log does not have them; `subject` is the pseudonym."""
    values = line.facts.values
    chain = (_OTHER if signals.forged else "", *[""] * (signals.forwarded - 1)) if signals.forwarded else ()
    return Attempt(
        domain=line.domain,
        subject=line.subject,
        journey=line.journey,
        network=Network(forwarded=chain, ja4=signals.ja4, rtt_ms=signals.rtt_ms),
        tenant=line.tenant,
        request_id=line.request_id,
        time=line.time,
        credential_result=line.credential_result,
        device=Device(
            user_agent=signals.systems,
            platform=signals.platform,
            mobile=signals.mobile,
            screen=values.get("screen", ""),
            languages=signals.languages,
            timezone=values.get("timezone", ""),
            attestation=signals.attestation,
        ),
        place=signals.reported,
        behaviour=signals.behaviour,
        session=_session_of(line.session),
        federation=_federation_of(line.federation),
        outside=signals.outside,
        consent=signals.consent,
        attributes=line.attributes,
        registration_time=line.registration_time,
    )


def _session_of(logged: Authentication | None) -> Session | None:
    """The session of a record, with the fields that were logged."""
    if logged is None:
        return None
    return Session(
        acr=logged.acr,
        amr=logged.amr,
        authentication_time=logged.authentication_time,
        start_time=logged.start_time,
        binding=logged.binding,
    )


def _federation_of(logged: Authentication | None) -> Federation | None:
    """The assertion of a record, with the fields that were logged."""
    if logged is None:
        return None
    return Federation(
        issuer=logged.issuer,
        protocol=logged.protocol,
        acr=logged.acr,
        amr=logged.amr,
        authentication_time=logged.authentication_time,
        issue_time=logged.issue_time,
    )


def context_of(facts: Facts, remembered: Remembered | Missing, signals: Signals = _NOTHING) -> Context:
    """The context of a record, with the given histories, and the counts that they give; without histories, the
    recorded counts."""
    gaps, edge = {gap.source: gap for gap in facts.missing}, signals.edge
    recorded = [gap for gap in facts.missing if gap.source not in _REMEMBERED]
    return Context(
        now=facts.now,
        values=facts.values,
        place=facts.place or gaps.get("place") or _NOT_FOUND["place"],
        route=facts.route or gaps.get("route") or _NOT_FOUND["route"],
        agent=facts.agent or gaps.get("agent") or _NOT_FOUND["agent"],
        remembered=remembered,
        device_offset_min=signals.offset_min,
        measured_from=Place("", edge[0], edge[1], edge[2]) if edge else None,
        missing=(*recorded, *unremembered(remembered)),
        stale=facts.stale,
        counted=facts.counted if isinstance(remembered, Missing) else counts(remembered, facts.now),
    )


_REMEMBERED: Final = ("history", "reputation")
"""The sources that are histories: their gaps depend on the store, not on the record."""
_NOT_FOUND: Final = {source: Missing(source, "not_found") for source in ("place", "route", "agent")}


def keys_of(line: AssessmentRecord, pseudonyms: Pseudonyms, counters: Sequence[str] = ()) -> Keys:
    """The keys of the attempt's histories, and of what `counters` count. Under the pepper of the record they are those
    of the service's store; under another, those of a store that is rebuilt from the log."""
    tenant, domain, values, common = line.tenant, line.domain, line.facts.values, pseudonyms.common
    asn = values.get("asn")
    address, network, device, fingerprint = (
        pseudonyms.from_short(tenant, domain, table, values[table]) if table in values else b"" for table in ENTITIES
    )
    return Keys(
        subject=bytes.fromhex(line.subject),
        domain=common(tenant, domain, "domain", ""),
        address=address,
        network=network,
        device=device,
        fingerprint=fingerprint,
        asn=common(tenant, domain, "asn", asn) if asn else b"",
        popularity={
            table: common(tenant, domain, table, value)
            for table in POPULARITY
            if (value := values.get(table)) is not None
        },
        counted=pseudonyms.counter_keys(tenant, domain, line.attributes, counters),
    )


def event_of(line: SecurityEventRecord) -> SecurityEvent:
    """The event of a record, with the pseudonym as its subject."""
    return convert(line, SecurityEvent, from_attributes=True)
