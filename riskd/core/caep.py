"""What an answer and its outcome changed, as events of CAEP 1.0 for those who transmit shared signals."""

from __future__ import annotations

from typing import Final

from riskd.core.assessment import Assessment
from riskd.core.requirement import Requirement, Tier

CAEP: Final = "https://schemas.openid.net/secevent/caep/event-type/"
LEVELS: Final = ("LOW", "MEDIUM", "HIGH")
Events = dict[str, dict[str, object]]


def risk_level_change(
    answer: Assessment, previous: str = "", outcome: str = "", *, time: float, principal: str = "USER"
) -> Events | None:
    """The claim `events` of a token that reports a changed risk (CAEP 1.0, section 3.8); None if there is no change.

    `previous` is the `current_level` of the last event about this principal; '' if there was none, which counts as LOW.
    `outcome` is the kind of the latest outcome, '' if there is none. `time` is when it happened, in epoch seconds.

    An outcome that proves the owner (a passed challenge, a completed recovery, a confirmation) makes it LOW, confirmed
    fraud HIGH. An answer whose requirement is not met raises it to the answer's level, and never lowers it: that the
    owner is back at home does not return a stolen password. Degraded answers change nothing, nor do satisfied ones.

    Call it only if the first factor was right: anybody can enter a wrong password. A challenge was passed only if its
    methods meet the requirement. Raises ValueError for another `previous`.
    """
    if previous not in ("", *LEVELS):
        raise ValueError(f"previous is {previous!r}; use '' or one of {', '.join(LEVELS)}, as in the last event")
    before, reason = previous or "LOW", outcome.upper()
    if outcome == "confirmed_fraud":
        level = "HIGH"
    elif outcome in ("confirmed_legitimate", "recovery_completed") or _passed(answer.requirement, outcome):
        level = "LOW"
    elif answer.requirement.satisfied or answer.causes or outcome == "session_established":
        return None
    else:
        level = max(before, answer.level.upper(), key=LEVELS.index)
        reason = answer.reasons[0].code if answer.reasons else ""
    if level == before:
        return None
    event: dict[str, object] = {"principal": principal, "current_level": level}
    if previous:
        event["previous_level"] = previous
    if reason:
        event["risk_reason"] = reason
    return {CAEP + "risk-level-change": event | {"event_timestamp": int(time)}}


def assurance_level_change(
    requirement: Requirement, previous: int = 0, outcome: str = "", *, time: float
) -> Events | None:
    """The claim `events` of a token that reports a raised assurance level (CAEP 1.0, section 3.4); None if it was not.

    `previous` is the authenticator assurance level of the session until now, 1 to 3; 0 if it is unknown. `outcome` and
    `time` are those of `risk_level_change`. The level is raised once a requirement of a higher one was met. A higher
    risk lowers none: it changes what is required, not how the subject authenticated (NIST SP 800-63B-4, section 2).
    """
    current = requirement.terms.aal
    if not (requirement.satisfied or _passed(requirement, outcome)) or current <= previous:
        return None
    event: dict[str, object] = {"namespace": "NIST-AAL", "current_level": f"nist-aal{current}"}
    if previous:
        event |= {"previous_level": f"nist-aal{previous}", "change_direction": "increase"}
    return {CAEP + "assurance-level-change": event | {"event_timestamp": int(time)}}


def _passed(requirement: Requirement, outcome: str) -> bool:
    return outcome == "challenge_passed" and requirement.tier is not Tier.DENY
