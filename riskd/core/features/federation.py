"""Federation: how fresh and how strong the upstream assertion is, and whether its issuer is new to the subject."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import Context
from riskd.core.features.feature import Feature
from riskd.core.features.past import Past


def _feature(
    name: str,
    *,
    unit: str,
    direction: int,
    reason: str,
    why: str,
    text: str,
    sources: tuple[str, ...] = ("federation",),
    reads: tuple[str, ...] = (),
) -> Feature:
    return Feature(
        name=name,
        group="federation",
        unit=unit,
        direction=direction,
        reason=reason,
        why=why,
        text=text,
        sources=sources,
        reads=reads,
    )


FEATURES: Final = (
    _feature(
        "assertion_age_min",
        unit="minutes",
        direction=1,
        reason="STALE_ASSERTION",
        why="minutes since the assertion was issued: a genuine one is used within moments, a replayed one later",
        text="The upstream assertion is old.",
    ),
    _feature(
        "federated_authentication_age_min",
        unit="minutes",
        direction=1,
        reason="STALE_AUTHENTICATION",
        why="minutes since the upstream authenticated the person (OpenID Connect auth_time)",
        text="The upstream sign-in was long ago.",
    ),
    _feature(
        "new_issuer",
        unit="0 or 1",
        direction=1,
        reason="NEW_ISSUER",
        why="1 until the account has used this issuer since its beginning, repeatedly over weeks, or with a key",
        text="The account has not been used with this issuer.",
        sources=("federation", "history"),
        reads=("subject",),
    ),
    _feature(
        "federated_strength",
        unit="0 none, 1 one factor, 2 two factors, 3 phishing-resistant",
        direction=-1,
        reason="WEAK_FEDERATION",
        why="how strong the upstream sign-in was, by its methods (RFC 8176 `amr`) or by `phr`, `phrh` as `acr` "
        "(OpenID EAP); missing when neither is sent",
        text="The upstream sign-in was weak.",
    ),
)
_NONE: Final = (math.nan,) * len(FEATURES)
_RESISTANT: Final = frozenset({"hwk", "pop", "sc"})
_KNOWLEDGE: Final = frozenset({"pwd", "pin", "kba"})
_POSSESSION: Final = frozenset({"otp", "sms", "tel", "swk"}) | _RESISTANT
_INHERENCE: Final = frozenset({"face", "fpt", "iris", "retina", "vbm"})


def compute(attempt: Attempt, context: Context, past: Past | None) -> Sequence[float]:
    """The values of `FEATURES`."""
    federation, now = attempt.federation, context.now
    if federation is None:
        return _NONE
    return (
        _minutes(federation.issue_time, now),
        _minutes(federation.authentication_time, now),
        _new_issuer(past),
        strength(federation.acr, federation.amr),
    )


def strength(acr: str, amr: tuple[str, ...]) -> float:
    """The strength from 0 to 3, as in the unit of `federated_strength`; NaN if `acr` and `amr` do not tell."""
    if acr in ("phr", "phrh"):
        return 3.0
    if not amr:
        return math.nan
    methods = frozenset(amr)
    if methods & _RESISTANT:
        return 3.0
    kinds = sum(1 for kind in (_KNOWLEDGE, _POSSESSION, _INHERENCE) if methods & kind)
    return 2.0 if "mfa" in methods else float(min(kinds, 2))


def _minutes(time: float | None, now: float) -> float:
    """Minutes since `time`. A time in the future, by a clock that runs ahead, counts as now."""
    return math.nan if time is None else max((now - time) / 60, 0.0)


def _new_issuer(past: Past | None) -> float:
    if past is None or "issuer" not in past.settled:
        return math.nan
    return float(not past.settled["issuer"])
