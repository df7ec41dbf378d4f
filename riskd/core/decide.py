"""The ruling: which tier to require of an attempt, and whether the attempt already satisfies it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from riskd.core.assessment import Hit, Reason
from riskd.core.attempt import Attempt, Federation, Session
from riskd.core.context import Context, Missing, coverage
from riskd.core.policy import Issuer, Journey, Policy, Rung
from riskd.core.requirement import STANDALONE, Requirement, Tier, counting_methods

_OWN: Final = Issuer()
"""The issuer of a session's methods and `acr`: the caller itself."""


class Ruling(Struct, frozen=True):
    """What is required and why. `raised`: the tier is above the journey's floor.

    `reasons` are those of the rules that hit and of the gaps that raised the tier, each code once. `gaps` are the
    expected sources that are missing or stale, and all whose purpose was not granted. `coverage` is the share 0..1 of
    expected sources that were there, stale ones included. `withheld` is the tier that would be required if the journey
    were not learning; None if it is not above the floor.
    """

    tier: Tier
    level: str
    requirement: Requirement
    reasons: tuple[Reason, ...]
    gaps: tuple[Missing, ...]
    coverage: float
    valid_for_s: int
    raised: bool
    withheld: Tier | None = None


def decide(policy: Policy, attempt: Attempt, context: Context, score: float, hits: Sequence[Hit]) -> Ruling:
    """Require the strictest of floor, score band, rule hits, gap postures and cold start.

    1. The policy's floor always holds. Risk raises the tier above it and never lowers it: fraud indicators do not
       change an assurance level (NIST SP 800-63B-4, section 2).
    2. The score's band may raise the tier. The same bands apply to a subject without history, as the model
       distinguishes a missing fact from a suspicious one.
    3. Each rule that hit raises it to the rule's tier, unless the rule is in shadow.
    4. Each gap in an expected source raises it to the source's posture. A gap with the cause "none yet" could not have
       been filled: for the history it raises the tier to cold start instead, for other sources not at all. A stale
       fact was there and was used: it is listed among the gaps, and only a rule can raise the tier because of it.
    5. While a journey is learning, only its floor is required; the higher tier is returned as `withheld`.
    6. The requirement is satisfied if one authentication alone meets it (see `satisfied`). If only a restricted
       method does, the answer says so as a reason (NIST SP 800-63B-4, section 3.2.9).
    """
    journey = policy.journeys[attempt.journey]
    floor = journey.floor
    tier = max(floor, journey.bands.at(score))  # (1) (2)
    acting = [hit for hit in hits if not hit.shadow]
    for hit in acting:  # (3)
        tier = max(tier, hit.tier)
    reasons = _reasons(acting) if acting else []
    postures = journey.postures
    gaps = [gap for gap in context.missing if gap.source in postures or gap.why == "not_consented"]
    expected = [gap for gap in gaps if gap.source in postures]
    for gap in expected:  # (4)
        posture = _posture(journey, gap)
        if posture is not None and posture > floor:
            tier = max(tier, posture)
            reasons.append(gap_reason(gap))
    withheld = tier if tier > floor and context.now < journey.learning_until else None
    if withheld is not None:  # (5)
        tier = floor
        reasons.insert(0, learning_reason(withheld.name))
    if context.stale:
        gaps += [Missing(source, "stale") for source in context.stale if source in postures]
    rung, suspect = policy.ladder[tier], attempt.journey == "session" and tier > floor
    met = satisfied(policy, attempt, context.now, rung, suspect=suspect)  # (6)
    if met and rung.unrestricted and not satisfied(policy, attempt, context.now, rung.unrestricted, suspect=suspect):
        reasons.append(RESTRICTED_METHOD)
    return Ruling(
        tier=tier,
        level=policy.level(score),
        requirement=rung.met if met else rung.unmet,
        reasons=tuple(reasons),
        gaps=tuple(gaps),
        coverage=coverage(len(expected), len(postures)),
        valid_for_s=journey.valid_for_s,
        raised=tier > floor,
        withheld=withheld,
    )


LEARNING: Final = Reason("LEARNING_MODE", 0.0, "This journey is learning: {} was not required.")
"""The first reason of an answer with a withheld tier."""
RESTRICTED_METHOD: Final = Reason("RESTRICTED_METHOD", 0.0, "The sign-in rests on a call or a text message.")
"""A reason of an answer that is satisfied only by a restricted method (NIST SP 800-63B-4, section 3.2.9)."""


def learning_reason(withheld: str) -> Reason:
    """The reason of an answer that would have required the tier of this name."""
    return replace(LEARNING, text=LEARNING.text.format(withheld))


def gap_reason(gap: Missing) -> Reason:
    """The reason of an answer whose tier a gap raised."""
    if gap.why == "none_yet":
        return Reason("NO_HISTORY", 0.0, "Nothing is remembered of this account yet.")
    return Reason(f"MISSING_{gap.source.upper()}", 0.0, f"An expected fact could not be had: {gap.source}.")


def _reasons(hits: Sequence[Hit]) -> list[Reason]:
    """One reason per code, with the text of its strictest rule."""
    strictest: dict[str, Hit] = {}
    for hit in hits:
        if hit.reason not in strictest or hit.tier > strictest[hit.reason].tier:
            strictest[hit.reason] = hit
    return [Reason(code, 0.0, hit.text) for code, hit in strictest.items()]


def _posture(journey: Journey, gap: Missing) -> Tier | None:
    if gap.why != "none_yet":
        return journey.postures[gap.source]
    return journey.cold_start if gap.source == "history" else None


def satisfied(policy: Policy, attempt: Attempt, now: float, rung: Rung, *, suspect: bool = False) -> bool:
    """Whether the attempt already meets the tier of `rung`.

    - A failed credential meets nothing, and nothing meets DENY.
    - Up to three authentications are considered: that of the session; the federated one, if the policy trusts its
      issuer, with its `acr` as the policy maps it; and a credential that succeeded, which counts as a password
      entered now unless the session names its methods. One of them must meet the tier by itself: two partial ones
      do not add up, and a session is no stronger than its authentication event (NIST SP 800-63B-4, section 5.1).
    - With `suspect`, the risk of the session itself raised the tier. The session and the assertion then do not count:
      whoever stole the session's cookie also presents the owner's methods. The same is true of a session that is bound
      to a key which the attempt did not prove, whatever is required.
    - The authentication must be at most `max_age_s` old (reauthentication, sections 2.1.3, 2.2.3, 2.3.3). One of
      unknown age meets only a tier without a limit.
    - It must have an accepted `acr`, or methods that include an accepted combination (see `counting_methods`). BASELINE
      accepts any `acr` except '0', and any method that authenticates by itself. `acr` '0' means that nobody
      authenticated, as with a remembered browser (OpenID Connect Core, section 2). Methods that neither RFC 8176 nor
      the policy names do not count.
    """
    credential = attempt.credential_result
    if rung.met.tier is Tier.DENY or credential == "failed":
        return False
    session, federation = attempt.session, attempt.federation
    suspect = suspect or (session is not None and session.binding == "failed")
    if session is not None and not suspect and _meets(rung, _OWN, session, now):
        return True
    issuer = None if federation is None or suspect else policy.trusted_issuers.get(federation.issuer)
    if federation is not None and issuer is not None and _meets(rung, issuer, federation, now):
        return True
    if credential != "succeeded":
        return False
    if rung.any_method:
        return True
    named = session is not None and session.amr != ()
    return not named and _meets(rung, _OWN, Session(amr=("pwd",), authentication_time=now), now)


def _meets(rung: Rung, issuer: Issuer, event: Session | Federation, now: float) -> bool:
    """Whether one authentication event meets a tier, by the rules of `satisfied`."""
    time, acr = event.authentication_time, event.acr
    if rung.max_age_s is not None and (time is None or now - time > rung.max_age_s):
        return False
    if issuer.reaches(rung, acr):
        return True
    amr = issuer.methods(acr, event.amr)
    methods = counting_methods(amr)
    if rung.any_method:
        return acr not in ("", "0") or not methods.isdisjoint(STANDALONE) or (time is not None and not amr and not acr)
    return any(combination <= methods for combination in rung.combinations)
