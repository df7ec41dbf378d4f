"""Converts a line of the decision log to an OCSF event; docs/siem.md describes the mapping.

An assessment becomes class Authentication with the profile `security_control`. An outcome becomes Authentication, too,
except confirmed fraud, which becomes a Detection Finding. `metadata.correlation_uid` of all is the assessment's id.
"""

from __future__ import annotations

from typing import Final

from riskd.core.context import Agent, Place, Route
from riskd.core.record import AssessmentRecord, Facts, OutcomeRecord, written
from riskd.core.requirement import METHODS
from riskd.core.stored import PLACE
from riskd.offline.siem import schema, words
from riskd.offline.siem.schema import OTHER, Authentication, DetectionFinding, Observable, Unmapped

_MACHINE: Final = 4
_PERSON: Final = 1
_ANYWHERE_KM: Final = 20_000.0
"""Half of the earth's circumference: coordinates with this uncertainty mean that the place is unknown."""


def event(record: AssessmentRecord | OutcomeRecord) -> schema.Event:
    """The event of a line. It contains only what the line says. Never raises for any record that could be decoded."""
    if isinstance(record, AssessmentRecord):
        return _assessment(record)
    return _finding(record) if record.kind == words.FRAUD else _outcome(record)


def _assessment(one: AssessmentRecord) -> Authentication:
    activity, level, control, facts = _activity(one.journey), words.LEVELS[one.level], _control(one), one.facts
    status = _status(one)
    user = _user(one.id, one.domain, one.subject)
    endpoint = _endpoint(facts, one.signals.ja4 if one.signals else "")
    protocol = _protocol(one.federation.protocol if one.federation else "")
    started = one.session.start_time if one.session else None
    return Authentication(
        category_uid=words.AUTHENTICATION // 1000,
        class_uid=words.AUTHENTICATION,
        activity_id=activity[0],
        activity_name=activity[1],
        type_uid=_type(words.AUTHENTICATION, activity),
        time=_milliseconds(one.time),
        message=_message(one),
        status_id=status[0],
        status=status[1],
        status_code=one.tier,
        status_detail=f"credential {one.credential_result}",
        severity_id=level.severity[0],
        severity=level.severity[1],
        metadata=_metadata(one, one.id, one.id, "assessment", (schema.CONTROL,)),
        user=user,
        service=schema.Service(one.domain),
        is_remote=True,
        auth_protocol_id=protocol[0] if protocol else None,
        auth_protocol=protocol[1] if protocol else "",
        src_endpoint=endpoint,
        session=schema.Session(created_time=_milliseconds(started)) if started is not None else None,
        action_id=control.action[0],
        action=control.action[1],
        disposition_id=control.disposition[0],
        disposition=control.disposition[1],
        risk_score=round(100 * one.score),
        risk_level_id=level.risk[0],
        risk_level=level.risk[1],
        risk_details=", ".join(one.reasons),
        is_alert=one.level == "high" or one.tier == "DENY",
        attacks=tuple(dict.fromkeys(attack for code in one.reasons for attack in words.ATTACKS.get(code, ()))),
        policy=schema.Policy(name=one.domain, uid=one.release, is_applied=not one.withheld),
        observables=_observables(user, endpoint),
        enrichments=_enrichments(facts.route),
        unmapped=_unmapped(one, facts),
    )


def _outcome(one: OutcomeRecord) -> Authentication:
    meaning = words.OUTCOMES[one.kind]
    activity, legitimate = _activity(one.journey, end=meaning.end), one.kind == words.LEGITIMATE
    user = _user(one.assessment_id, one.domain)
    return Authentication(
        category_uid=words.AUTHENTICATION // 1000,
        class_uid=words.AUTHENTICATION,
        activity_id=activity[0],
        activity_name=activity[1],
        type_uid=_type(words.AUTHENTICATION, activity),
        time=_milliseconds(one.time),
        message=f"{_sentence(one.kind)}: {_spoken(one.journey)} of {one.domain}",
        status_id=meaning.status[0],
        status=meaning.status[1],
        status_code=one.kind,
        severity_id=1,
        severity="Informational",
        metadata=_metadata(one, _uid(one), one.assessment_id, one.kind, (schema.CONTROL,) if legitimate else ()),
        user=user,
        service=schema.Service(one.domain),
        is_remote=True,
        is_mfa=_several(one.amr) or None,
        auth_factors=tuple(
            schema.Factor(factor_type_id=factor[0], factor_type=factor[1])
            for factor in dict.fromkeys(words.FACTORS[method] for method in one.amr if method in words.FACTORS)
        ),
        duration=_milliseconds(one.seconds) if one.seconds is not None else None,
        disposition_id=words.EXONERATED[0] if legitimate else None,
        disposition=words.EXONERATED[1] if legitimate else "",
        observables=_observables(user, None),
        unmapped=Unmapped(journey=one.journey, amr=one.amr),
    )


def _finding(one: OutcomeRecord) -> DetectionFinding:
    time, user = _milliseconds(one.time), _user(one.assessment_id, one.domain)
    title = f"{_sentence(one.kind)}: {_spoken(one.journey)} of {one.domain}"
    created: words.Word = (1, "Create")
    return DetectionFinding(
        category_uid=words.FINDING // 1000,
        class_uid=words.FINDING,
        activity_id=created[0],
        activity_name=created[1],
        type_uid=_type(words.FINDING, created),
        time=time,
        message=title,
        metadata=_metadata(one, _uid(one), one.assessment_id, one.kind, (schema.INCIDENT,)),
        finding_info=schema.FindingInfo(
            uid=one.assessment_id,
            title=title,
            created_time=time,
            related_events=(
                schema.RelatedEvent(
                    uid=one.assessment_id, type_uid=_type(words.AUTHENTICATION, _activity(one.journey))
                ),
            ),
            attacks=() if one.journey == "registration" else (words.TAKEN_OVER,),
        ),
        evidences=(schema.Evidence(user),),
        observables=_observables(user, None, "evidences[0].user.uid"),
        unmapped=Unmapped(journey=one.journey, amr=one.amr),
        severity_id=4,
        severity="High",
        confidence_id=3,
        confidence="High",
        is_alert=True,
        verdict_id=2,
        verdict="True Positive",
        is_suspected_breach=True,
    )


def _activity(journey: str, *, end: bool = False) -> words.Word:
    if journey == "login":
        return words.END if end else words.STEP
    return OTHER, words.JOURNEYS[journey]


def _type(kind: int, activity: words.Word) -> int:
    return kind * 100 + activity[0]


def _control(one: AssessmentRecord) -> words.Control:
    if one.tier == "DENY":
        return words.DENIED
    if one.wrong_credential:
        return words.REFUSED
    if one.challenged:
        return words.Control(words.CHALLENGED, (OTHER, one.tier))
    return words.OBSERVED if one.withheld else words.ALLOWED


def _status(one: AssessmentRecord) -> words.Word:
    if one.tier == "DENY" or one.wrong_credential:
        return words.FAILURE
    return words.CHALLENGED if one.challenged else words.SUCCESS


def _protocol(protocol: str) -> words.Word | None:
    return words.PROTOCOLS.get(protocol, (OTHER, protocol)) if protocol else None


def _message(one: AssessmentRecord) -> str:
    answer = "DENY" if one.tier == "DENY" else f"{one.tier} {'satisfied' if one.satisfied else 'required'}"
    reasons = f": {', '.join(one.reasons)}" if one.reasons else ""
    return f"{_sentence(one.journey)} of {one.domain}: {one.level} risk ({one.score:.4f}), {answer}{reasons}"


def _spoken(word: str) -> str:
    return word.replace("_", " ")


def _sentence(word: str) -> str:
    return _spoken(word).capitalize()


def _metadata(
    record: AssessmentRecord | OutcomeRecord, uid: str, assessment: str, code: str, profiles: tuple[str, ...]
) -> schema.Metadata:
    return schema.Metadata(
        version=schema.VERSION,
        product=schema.Product(),
        uid=uid,
        correlation_uid=assessment,
        event_code=code,
        logged_time=_milliseconds(written(record)),
        profiles=profiles,
        tenant_uid=record.tenant,
    )


def _uid(one: OutcomeRecord) -> str:
    return f"{one.assessment_id}-{one.kind}-{_milliseconds(one.time)}"


def _user(assessment: str, domain: str, pseudonym: str = "") -> schema.User:
    kind = _MACHINE if domain == "machine" else _PERSON
    return schema.User(uid=assessment[: 2 * PLACE], uid_alt=pseudonym, domain=domain, type_id=kind)


def _endpoint(facts: Facts, ja4: str) -> schema.Endpoint | None:
    """None if neither network nor device is known: OCSF requires an endpoint to be identified."""
    network, device, agent, route = facts.network, facts.values.get("device", ""), facts.agent, facts.route
    if not network and not device:
        return None
    kind = _device(agent)
    return schema.Endpoint(
        name=network,
        uid=device,
        type_id=kind[0] if kind else None,
        type=kind[1] if kind else "",
        os=_system(agent),
        location=_location(facts.place),
        autonomous_system=schema.AutonomousSystem(number=route.asn, name=route.organization) if route else None,
        fingerprints=(schema.Fingerprint(value=ja4),) if ja4 else (),
    )


def _device(agent: Agent | None) -> words.Word | None:
    if agent is None or agent.device_class in ("", "other"):
        return None
    return words.DEVICES.get(agent.device_class, (OTHER, agent.device_class))


def _system(agent: Agent | None) -> schema.System | None:
    if agent is None or not agent.os:
        return None
    number, caption = words.SYSTEMS.get(agent.os, (OTHER, agent.os))
    return schema.System(name=agent.os, type_id=number, type=caption, version=agent.os_version)


def _location(place: Place | None) -> schema.Location | None:
    if place is None or not (place.country or place.city):
        return None
    known = place.radius_km < _ANYWHERE_KM
    return schema.Location(
        country=place.country,
        city=place.city,
        desc=place.region,
        lat=place.latitude if known else None,
        long=place.longitude if known else None,
    )


def _observables(user: schema.User, endpoint: schema.Endpoint | None, name: str = "user.uid") -> tuple[Observable, ...]:
    observables = [(name, 31, "User Object: uid", user.uid)]
    if endpoint is not None:
        observables += [
            ("src_endpoint.name", 12, "Subnet", endpoint.name),
            ("src_endpoint.uid", 48, "Network Endpoint Object: uid", endpoint.uid),
            ("src_endpoint.location.country", 14, "Country", endpoint.location.country if endpoint.location else ""),
        ]
        observables += [("src_endpoint.fingerprints[0].value", 8, "Hash", one.value) for one in endpoint.fingerprints]
    return tuple(
        Observable(name=path, type_id=number, type=caption, value=value)
        for path, number, caption, value in observables
        if value
    )


def _enrichments(route: Route | None) -> tuple[schema.Enrichment, ...]:
    if route is None or not (route.hosting or route.anonymizer):
        return ()
    return (
        schema.Enrichment(
            name="src_endpoint.autonomous_system.number",
            value=str(route.asn),
            type="network operator",
            data={"hosting": route.hosting, "anonymizer": route.anonymizer},
        ),
    )


def _unmapped(one: AssessmentRecord, facts: Facts) -> Unmapped:
    agent, place = facts.agent, facts.place
    return Unmapped(
        journey=one.journey,
        tier=one.tier,
        satisfied=one.satisfied,
        score=one.score,
        log_odds=one.log_odds,
        coverage=one.coverage,
        model=one.model,
        withheld=one.withheld,
        reasons=one.reasons,
        hits=one.hits,
        shadow_hits=one.shadow_hits,
        lists=one.lists,
        gaps={gap.source: gap.why for gap in one.gaps},
        causes=one.causes,
        contributions={name: value for name, value in (one.contributions or {}).items() if value},
        attributes=one.attributes,
        counted=dict(facts.counted),
        request_id=one.request_id,
        session=one.session,
        federation=one.federation,
        address=facts.values.get("address", ""),
        fingerprint=facts.values.get("fingerprint", ""),
        browser=agent.browser if agent else "",
        browser_version=agent.browser_version if agent else "",
        automated=agent.automated if agent else False,
        radius_km=place.radius_km if place else None,
    )


def _several(amr: tuple[str, ...]) -> bool:
    """Whether the methods show that several factors were used."""
    kinds = {METHODS.get(method, "none") for method in amr} - {"none", "unspecified"}
    return len(kinds) > 1 or not {"mfa"}.isdisjoint(amr)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
