"""Traits of raw attempts that could reveal the simulator rather than the attacker. The engine never sees them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
from msgspec import Struct

from riskd.core.attempt import Attempt, Behaviour, Device
from riskd.offline.truth import Truth
from riskd.offline.world.sample import Sample, sampled

_NOTHING: Final = Device()
_STILL: Final = Behaviour()


class Trait(Struct, frozen=True):
    """A number that must not reveal an attacker, unless the class of attack allows it."""

    name: str
    group: str
    of: Callable[[Attempt], float]


def _digit(place: int, base: int) -> Callable[[Attempt], float]:
    return lambda attempt: float(int(attempt.network.client_ip.split(".")[place]) % base)


def _device(attempt: Attempt) -> Device:
    return attempt.device or _NOTHING


def _behaviour(attempt: Attempt) -> Behaviour:
    return attempt.behaviour or _STILL


def _log_spread(attempt: Attempt) -> float:
    intervals = _behaviour(attempt).typing_intervals_ms
    return float(np.std(np.log(np.maximum(intervals, 1.0)))) if len(intervals) > 1 else math.nan


def _hex_sum(text: str) -> float:
    return float(sum(map(ord, text)) % 32) if text else math.nan


def _time(attempt: Attempt) -> float:
    return attempt.time or 0.0


TRAITS: Final = (
    Trait("has_device_id", "presence", lambda a: float(bool(_device(a).device_id))),
    Trait("has_fingerprint", "presence", lambda a: float(bool(_device(a).fingerprint))),
    Trait("has_timezone", "presence", lambda a: float(bool(_device(a).timezone))),
    Trait("has_screen", "presence", lambda a: float(bool(_device(a).screen))),
    Trait("has_rtt", "presence", lambda a: float(a.network.rtt_ms is not None)),
    Trait("has_forwarded", "presence", lambda a: float(bool(a.network.forwarded))),
    Trait("has_place", "presence", lambda a: float(a.place is not None)),
    Trait("has_behaviour", "presence", lambda a: float(a.behaviour is not None)),
    Trait("has_typing", "presence", lambda a: float(bool(_behaviour(a).typing_intervals_ms))),
    Trait("has_outside", "presence", lambda a: float(a.outside is not None)),
    Trait("has_consent", "presence", lambda a: float(a.consent is not None)),
    Trait("has_session", "presence", lambda a: float(a.session is not None)),
    Trait("has_attributes", "presence", lambda a: float(len(a.attributes))),
    Trait("last_octet", "address_digits", _digit(3, 256)),
    Trait("last_octet_by_10", "address_digits", _digit(3, 10)),
    Trait("last_octet_by_16", "address_digits", _digit(3, 16)),
    Trait("third_octet_by_16", "address_digits", _digit(2, 16)),
    Trait("agent_length", "user_agent", lambda a: float(len(_device(a).user_agent))),
    Trait("has_hints", "user_agent", lambda a: float(bool(_device(a).platform))),
    Trait("mobile_agent", "user_agent", lambda a: float("Mobile" in _device(a).user_agent)),
    Trait("second", "clock", lambda a: _time(a) % 60),
    Trait("minute", "clock", lambda a: _time(a) // 60 % 60),
    Trait("thousandth", "clock", lambda a: round(_time(a) * 1000) % 1000),
    Trait("subject_length", "lengths", lambda a: float(len(a.subject))),
    Trait("subject_digits", "lengths", lambda a: _hex_sum(a.subject)),
    Trait("request_id_length", "lengths", lambda a: float(len(a.request_id))),
    Trait("request_id_digits", "lengths", lambda a: _hex_sum(a.request_id)),
    Trait("device_id_length", "lengths", lambda a: float(len(_device(a).device_id)) or math.nan),
    Trait("device_id_digits", "lengths", lambda a: _hex_sum(_device(a).device_id)),
    Trait("fingerprint_length", "lengths", lambda a: float(len(_device(a).fingerprint)) or math.nan),
    Trait("fingerprint_digits", "lengths", lambda a: _hex_sum(_device(a).fingerprint)),
    Trait("languages", "lengths", lambda a: float(len(_device(a).languages))),
    Trait("keys", "hand", lambda a: float(len(_behaviour(a).typing_intervals_ms))),
    Trait("key_spread", "hand", _log_spread),
    Trait("pointer_events", "hand", lambda a: float(_behaviour(a).pointer_events or 0) if a.behaviour else math.nan),
    Trait("form_hundredth", "hand", lambda a: round((_behaviour(a).form_seconds or 0) * 100) % 100),
    Trait("rtt_tenth", "hand", lambda a: round((a.network.rtt_ms or 0) * 10) % 10),
)
"""Traits of a single attempt. `RARITY` and `ORDER` depend on other attempts."""
RARITY: Final = ("agent_rarity", "screen_rarity")
ORDER: Final = ("gap_before_s", "parity")
NAMES: Final = (*(each.name for each in TRAITS), *RARITY, *ORDER)
GROUPS: Final = (*(each.group for each in TRAITS), *("user_agent",) * len(RARITY), *("order",) * len(ORDER))


def traits(attempts: Iterable[tuple[Attempt, Truth]]) -> Sample:
    """The traits of attempts in order of time. The rarity of a value is the logarithm of the number of subjects that
    use it."""
    tried = list(attempts)
    agents, screens = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for attempt, _ in tried:
        agents[_device(attempt).user_agent].add(attempt.subject)
        screens[_device(attempt).screen].add(attempt.subject)
    values = np.empty((len(tried), len(NAMES)))
    before = 0.0
    for row, (attempt, _) in enumerate(tried):
        device, time = _device(attempt), _time(attempt)
        values[row] = (
            *[trait.of(attempt) for trait in TRAITS],
            math.log(len(agents[device.user_agent])),
            math.log(len(screens[device.screen])),
            min(time - before, 3600.0),
            row % 2,
        )
        before = time
    rows = [(attempt.subject, _time(attempt), attempt.domain, attempt.journey, truth) for attempt, truth in tried]
    return sampled(NAMES, GROUPS, values, rows)
