"""Which signals an attempt brought, which others have told since, and which of them it may be judged by."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from riskd.core.attempt import PURPOSES, RISK_LEVELS, Attempt, Device, Outside
from riskd.core.context import Agent, Context, Missing, Place, Remembered, Route
from riskd.core.history import History, newest
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
"""Purpose by source; every other source is `security` and needs no consent."""

_NOTHING: Final = Device()


def consented(attempt: Attempt, *, explicit: bool = False) -> Attempt:
    """The attempt without the signals whose purpose was not granted: they are neither used nor stored.

    An attempt that names no purposes grants all of them, or none where consent must be `explicit`.
    """
    if explicit and attempt.consent is None:
        attempt = replace(attempt, consent=())
    granted = attempt.consent
    if granted is None or set(PURPOSES[1:]) <= set(granted):
        return attempt
    if "device" not in granted and attempt.device is not None:
        device = attempt.device
        kept = Device(user_agent=device.user_agent, platform=device.platform, mobile=device.mobile)
        attempt = replace(attempt, device=kept)
    return replace(
        attempt,
        place=attempt.place if "location" in granted else None,
        behaviour=attempt.behaviour if "behaviour" in granted else None,
        outside=attempt.outside if "sharing" in granted else None,
    )


def informed(attempt: Attempt, remembered: Remembered, now: float, keep: float) -> Attempt:
    """The attempt with what other parties have told of its subject in the last `keep` seconds (`learn.reported`): the
    worse of what it says itself and what is remembered counts. Where nothing is, or the purpose `sharing` was not
    granted, the attempt as it is."""
    marks = remembered.subject.activity.marks
    if "reported" not in marks and "breached" not in marks:
        return attempt
    granted, activity = attempt.consent, remembered.subject.activity
    if granted is not None and PURPOSE["outside"] not in granted:
        return attempt
    own = attempt.outside or _UNSAID
    told, breach = (_last(activity, kind, now, keep) for kind in ("reported", "breached"))
    level = max(own.risk_level, RISK_LEVELS[int(told[1]) + 1] if told[1:] else "", key=RISK_LEVELS.index)
    breached = True if breach[1:] == (1,) else own.credential_breached
    said = Outside(credential_breached=breached, risk_level=level)
    return attempt if said == own else replace(attempt, outside=said)


def _last(activity: History, kind: str, now: float, keep: float) -> Mark:
    mark = newest(activity, kind, now)
    return mark if mark and mark[0] > now - keep else ()


_UNSAID: Final = Outside()


def missing(attempt: Attempt) -> list[Missing]:
    """The signals that the attempt itself did not bring, each with the reason."""
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
    """The hour and the weekday, in UTC: values that follow from the time."""
    return {"hour": str(int(now // 3600) % 24), "weekday": str(int(now // 86400 + 3) % 7)}


def values(
    attempt: Attempt, place: Place | Missing, route: Route | Missing, agent: Agent | Missing, now: float
) -> dict[str, str]:
    """This attempt's value in each history table that has one, as the subject's history will know it."""
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
        said = zip(_SAID, (device.user_agent, language, device.timezone, device.screen), strict=True)
        found |= {table: value for table, value in said if value}
    if attempt.federation is not None and attempt.federation.issuer:
        found["issuer"] = attempt.federation.issuer
    return found


_SAID: Final = ("agent", "language", "timezone", "screen")


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
) -> Context:
    """All facts of an attempt together, with the lists of those that are missing and of those that are stale."""
    gaps = missing(attempt)
    gaps += [fact for fact in facts if isinstance(fact, Missing)]
    gaps += unremembered(remembered)
    place, route, agent = facts
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
    )


def unremembered(remembered: Remembered | Missing) -> list[Missing]:
    """What of the histories is missing."""
    if isinstance(remembered, Missing):
        return [remembered, Missing("reputation", remembered.why)]
    return [] if remembered.subject.profile.tallies.sign_in else [_NONE_YET]


_NONE_YET: Final = Missing("history", "none_yet")
