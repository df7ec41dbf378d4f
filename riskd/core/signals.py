"""Prepares an attempt's signals: removes those without consent, adds security events, and lists what is missing."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from riskd.core.attempt import OPTIONAL, RISK_LEVELS, Attempt, Device, Outside
from riskd.core.context import Agent, Context, Missing, Place, Remembered, Route
from riskd.core.counters import counts
from riskd.core.history import PROFILE_SECONDS, History, newest
from riskd.core.marks import Mark

PURPOSE: Final = {
    "device_id": "device",
    "fingerprint": "device",
    "languages": "device",
    "timezone": "device",
    "screen": "device",
    "attestation": "device",
    "reported_place": "location",
    "behaviour": "behaviour",
    "outside": "sharing",
}
"""The purpose of each source. All other sources have the purpose `security` and need no consent."""

_NOTHING: Final = Device()


def consented(attempt: Attempt, *, explicit: bool = False) -> Attempt:
    """The attempt without the signals whose purpose was not granted, which must be neither used nor stored.

    An attempt that names no purposes grants all of them; if consent must be `explicit`, it grants none.
    """
    if explicit and attempt.consent is None:
        attempt = replace(attempt, consent=())
    granted = attempt.consent
    if granted is None or set(OPTIONAL) <= set(granted):
        return attempt
    if "device" not in granted and attempt.device is not None:
        device = attempt.device
        allowed = Device(user_agent=device.user_agent, platform=device.platform, mobile=device.mobile)
        attempt = replace(attempt, device=allowed)
    return replace(
        attempt,
        place=attempt.place if "location" in granted else None,
        behaviour=attempt.behaviour if "behaviour" in granted else None,
        outside=attempt.outside if "sharing" in granted else None,
    )


def with_events(attempt: Attempt, remembered: Remembered, now: float, keep: float) -> Attempt:
    """The attempt with the subject's security events of the last `keep` seconds (`learn.event_deltas`) in `outside`.

    The worse of what the attempt itself says and what is remembered counts. If there were no events, or the purpose
    `sharing` was not granted, the attempt is returned unchanged.
    """
    marks = remembered.subject.activity.marks
    if "reported" not in marks and "breached" not in marks:
        return attempt
    granted, activity = attempt.consent, remembered.subject.activity
    if granted is not None and PURPOSE["outside"] not in granted:
        return attempt
    own = attempt.outside or _NO_REPORTS
    report, breach = (_last(activity, kind, now, keep) for kind in ("reported", "breached"))
    level = max(own.risk_level, RISK_LEVELS[int(report[1]) + 1] if report[1:] else "", key=RISK_LEVELS.index)
    breached = True if breach[1:] == (1,) else own.credential_breached
    worse = Outside(credential_breached=breached, risk_level=level)
    return attempt if worse == own else replace(attempt, outside=worse)


def _last(activity: History, kind: str, now: float, keep: float) -> Mark:
    mark = newest(activity, kind, now)
    return mark if mark and mark[0] > now - keep else ()


_NO_REPORTS: Final = Outside()


def missing(attempt: Attempt) -> list[Missing]:
    """The signals that the attempt itself lacks, each with the reason."""
    device, granted = attempt.device or _NOTHING, attempt.consent
    session, federation = attempt.session, attempt.federation
    sent = (
        ("device_id", device.device_id),
        ("fingerprint", device.fingerprint),
        ("languages", device.languages),
        ("timezone", device.timezone),
        ("screen", device.screen),
        ("attestation", device.attestation),
        ("reported_place", attempt.place),
        ("rtt", attempt.network.rtt_ms is not None),
        ("behaviour", attempt.behaviour),
        ("credential", attempt.credential_result != "not_checked"),
        ("session", session),
        ("federation", federation),
        ("outside", attempt.outside),
    )
    if granted is None:
        return [_NOT_SENT[source] for source, value in sent if not value]
    return [
        _NOT_SENT[source] if PURPOSE.get(source, "security") in (*granted, "security") else _WITHHELD[source]
        for source, value in sent
        if not value
    ]


_ALL: Final = (*PURPOSE, "rtt", "credential", "session", "federation")
_NOT_SENT: Final = {source: Missing(source, "not_sent") for source in _ALL}
_WITHHELD: Final = {source: Missing(source, "not_consented") for source in _ALL}


def rhythm(now: float) -> dict[str, str]:
    """The values of the tables `hour` and `weekday` (0 is Monday), in UTC. `now` is in epoch seconds."""
    return {"hour": str(int(now // 3600) % 24), "weekday": str(int(now // 86400 + 3) % 7)}


def values(
    attempt: Attempt, place: Place | Missing, route: Route | Missing, agent: Agent | Missing, now: float
) -> dict[str, str]:
    """By history table, the attempt's value, if it has one. Identifying values are still raw; see `Pseudonyms.keys`."""
    found = rhythm(now)
    if isinstance(place, Place) and place.country:
        found["country"] = place.country
    if isinstance(route, Route) and route.asn:
        found["asn"] = str(route.asn)
    if isinstance(agent, Agent):
        found["browser"] = f"{agent.browser} {agent.browser_version}"
        if agent.os:
            found["os"] = f"{agent.os} {agent.os_version}"
        found["device_class"] = agent.device_class
    device = attempt.device
    if device is not None:
        language = device.languages[0] if device.languages else ""
        reported = zip(_REPORTED, (device.user_agent, language, device.timezone, device.screen), strict=True)
        found |= {table: value for table, value in reported if value}
    if attempt.federation is not None and attempt.federation.issuer:
        found["issuer"] = attempt.federation.issuer
    return found


_REPORTED: Final = ("agent", "language", "timezone", "screen")


def context(
    attempt: Attempt,
    now: float,
    values: dict[str, str],
    *,
    facts: tuple[Place | Missing, Route | Missing, Agent | Missing],
    remembered: Remembered | Missing,
    device_offset_min: int | None,
    measured_from: Place | None = None,
    stale: tuple[str, ...] = (),
    kept: float = PROFILE_SECONDS,
) -> Context:
    """The context of an attempt: all its facts, and which of them are missing or stale."""
    gaps = missing(attempt)
    gaps += [fact for fact in facts if isinstance(fact, Missing)]
    gaps += unremembered(remembered)
    place, route, agent = facts
    counted = counts(remembered, now) if isinstance(remembered, Remembered) and remembered.counted else {}
    return Context(
        now=now,
        values=values,
        place=place,
        route=route,
        agent=agent,
        remembered=remembered,
        device_offset_min=device_offset_min,
        measured_from=measured_from,
        missing=tuple(gaps),
        stale=stale,
        counted=counted,
        kept=kept,
    )


def unremembered(remembered: Remembered | Missing) -> list[Missing]:
    """The sources among the histories that are missing, each with the reason. `reputation` is missing if any history
    other than the subject's could not be read."""
    if isinstance(remembered, Missing):
        return [remembered, Missing("reputation", remembered.why)]
    gaps: list[Missing] = []
    if "subject" in remembered.unread:
        gaps.append(_UNREAD)
    elif not remembered.subject.profile.tallies.sign_in:
        gaps.append(_NONE_YET)
    if remembered.unread not in ((), ("subject",)):
        gaps.append(_UNREAD_OTHERS)
    return gaps


_NONE_YET: Final = Missing("history", "none_yet")
_UNREAD: Final = Missing("history", "unavailable")
_UNREAD_OTHERS: Final = Missing("reputation", "unavailable")
