"""Velocity: how many attempts and failures there were lately, by account, address, network, operator and device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import Context, Missing
from riskd.core.features.feature import Feature
from riskd.core.features.past import Past
from riskd.core.history import DAY, HOUR, distinct, lately, window

CLEAN: Final = 4.0
"""Successful attempts that are added to every failure ratio, so that few attempts do not give a high one."""


def _feature(
    name: str,
    *,
    unit: str,
    reason: str,
    why: str,
    text: str,
    sources: tuple[str, ...],
    purpose: str = "security",
    of_address: bool = False,
) -> Feature:
    return Feature(
        name=name,
        group="velocity",
        unit=unit,
        direction=1,
        reason=reason,
        why=why,
        text=text,
        sources=sources,
        reads=(name.partition("_")[0].replace("asn", "operator"),),  # it is named for what it counts the attempts of
        purpose=purpose,
        of_address=of_address,
    )


_BUSY: Final = "There are many attempts on this account."
_FAILING: Final = "There were failed attempts on this account."
_BUSY_ADDRESS: Final = "There are many attempts from this address or network."
_FAILING_ADDRESS: Final = "Attempts from this address or network keep failing."
_SHARED: Final = "Many different accounts are tried from here."

_STRANGERS: Final = "More accounts are tried from here than are known to be used from here."

FEATURES: Final = (
    _feature(
        "subject_attempts_10m",
        unit="attempts",
        reason="MANY_ATTEMPTS",
        why="attempts on this account in the last ten minutes: guessing and prompt bombing",
        text=_BUSY,
        sources=("history",),
    ),
    _feature(
        "subject_attempts_24h",
        unit="attempts",
        reason="MANY_ATTEMPTS",
        why="attempts on this account in the last day: slow guessing",
        text=_BUSY,
        sources=("history",),
    ),
    _feature(
        "subject_failures_1h",
        unit="failures",
        reason="RECENT_FAILURES",
        why="failed attempts on this account in the last hour: password guessing",
        text=_FAILING,
        sources=("history",),
    ),
    _feature(
        "subject_failures_24h",
        unit="failures",
        reason="RECENT_FAILURES",
        why="failed attempts on this account in the last day: slow password guessing",
        text=_FAILING,
        sources=("history",),
    ),
    _feature(
        "subject_unmet_1h",
        unit="challenges, at most 4",
        reason="CHALLENGES_UNMET",
        why="challenges on this account that failed or were abandoned in the last hour: somebody with the password "
        "sends prompts until the owner accepts one",
        text="Challenges on this account were not met.",
        sources=("history",),
    ),
    _feature(
        "subject_addresses_24h",
        unit="addresses, estimated",
        reason="MANY_ADDRESSES",
        why="addresses that tried this account in the last day: guessing spread over many addresses",
        text="Many addresses try this account.",
        sources=("history",),
    ),
    _feature(
        "address_attempts_10m",
        unit="attempts",
        reason="BUSY_ADDRESS",
        why="attempts from this address in the last ten minutes: credential stuffing",
        text=_BUSY_ADDRESS,
        sources=("reputation",),
        of_address=True,
    ),
    _feature(
        "address_attempts_24h",
        unit="attempts",
        reason="BUSY_ADDRESS",
        why="attempts from this address in the last day: slow credential stuffing",
        text=_BUSY_ADDRESS,
        sources=("reputation",),
        of_address=True,
    ),
    _feature(
        "address_failures_1h",
        unit="failures",
        reason="FAILING_ADDRESS",
        why="failed attempts from this address in the last hour: credential stuffing",
        text=_FAILING_ADDRESS,
        sources=("reputation",),
        of_address=True,
    ),
    _feature(
        "address_failure_ratio_24h",
        unit="share, 4 good attempts assumed",
        reason="FAILING_ADDRESS",
        why="share of the last day's attempts from this address that failed: tells credential stuffing from a busy "
        "office",
        text=_FAILING_ADDRESS,
        sources=("reputation",),
        of_address=True,
    ),
    _feature(
        "address_subjects_24h",
        unit="accounts, estimated",
        reason="MANY_ACCOUNTS",
        why="accounts tried from this address in the last day: spraying",
        text=_SHARED,
        sources=("reputation",),
        of_address=True,
    ),
    _feature(
        "network_attempts_1h",
        unit="attempts",
        reason="BUSY_ADDRESS",
        why="attempts from this /24 or /48 network in the last hour: stuffing from a rented subnet",
        text=_BUSY_ADDRESS,
        sources=("reputation",),
        of_address=True,
    ),
    _feature(
        "network_failures_1h",
        unit="failures",
        reason="FAILING_ADDRESS",
        why="failed attempts from this network in the last hour: stuffing from a rented subnet",
        text=_FAILING_ADDRESS,
        sources=("reputation",),
        of_address=True,
    ),
    _feature(
        "network_subjects_24h",
        unit="accounts, estimated",
        reason="MANY_ACCOUNTS",
        why="accounts tried from this network in the last day: spraying from a rented subnet",
        text=_SHARED,
        sources=("reputation",),
        of_address=True,
    ),
    _feature(
        "asn_failure_ratio_24h",
        unit="share, 4 good attempts assumed",
        reason="FAILING_OPERATOR",
        why="share of the last day's attempts through this network operator that failed: attacks through one hoster "
        "or proxy seller",
        text="Attempts through this network operator keep failing.",
        sources=("reputation", "route"),
    ),
    _feature(
        "device_attempts_1h",
        unit="attempts",
        reason="BUSY_DEVICE",
        why="attempts on this device in the last hour: a farm of accounts on one device",
        text="There are many attempts on this device.",
        sources=("reputation", "device_id"),
        purpose="device",
    ),
    _feature(
        "device_subjects_24h",
        unit="accounts, estimated",
        reason="MANY_ACCOUNTS",
        why="accounts tried on this device in the last day: a farm of accounts on one device",
        text="Many different accounts are tried on this device.",
        sources=("reputation", "device_id"),
        purpose="device",
    ),
    _feature(
        "address_strangers_24h",
        unit="accounts, estimated",
        reason="MANY_ACCOUNTS",
        why="accounts tried from this address in the last day, beyond the number known to share it: tells spraying "
        "from a busy office",
        text=_STRANGERS,
        sources=("reputation",),
        of_address=True,
    ),
    _feature(
        "network_strangers_24h",
        unit="accounts, estimated",
        reason="MANY_ACCOUNTS",
        why="accounts tried from this network in the last day, beyond the number known to share it: spraying from a "
        "rented subnet",
        text=_STRANGERS,
        sources=("reputation",),
        of_address=True,
    ),
    _feature(
        "address_failures_per_account_1h",
        unit="failures an account",
        reason="FAILING_ADDRESS",
        why="failed attempts in the last hour for each account known to share this address: many people mistype more "
        "often than one",
        text=_FAILING_ADDRESS,
        sources=("reputation",),
        of_address=True,
    ),
    _feature(
        "network_failures_per_account_1h",
        unit="failures an account",
        reason="FAILING_ADDRESS",
        why="failed attempts in the last hour for each account known to share this network",
        text=_FAILING_ADDRESS,
        sources=("reputation",),
        of_address=True,
    ),
)
_NONE: Final = (math.nan,) * len(FEATURES)


def compute(_attempt: Attempt, context: Context, past: Past | None) -> Sequence[float]:
    """The values of `FEATURES`: 0 if nothing happened; missing if the store failed, or the device or operator is
    unknown."""
    remembered, now = context.remembered, context.now
    if past is None or isinstance(remembered, Missing):
        return _NONE
    subject, address = remembered.subject.activity, remembered.address.activity
    network, device = remembered.network.activity, remembered.device.activity
    asn = remembered.asn.activity.tallies
    minutes, hour, day = window("attempt", now, 600), window("attempt", now, HOUR), window("attempt_day", now, DAY)
    tried, known = day.count(address.tallies.attempt_day), "device" in context.values
    failed, failed_around = hour.count(address.tallies.failure), hour.count(network.tallies.failure)
    subjects, subjects_around = distinct(address, "subject", now, DAY), distinct(network, "subject", now, DAY)
    return (
        minutes.count(subject.tallies.attempt),
        day.count(subject.tallies.attempt_day),
        hour.count(subject.tallies.failure),
        day.count(subject.tallies.failure_day),
        lately(subject, "unmet", now, HOUR),
        distinct(subject, "address", now, DAY),
        minutes.count(address.tallies.attempt),
        tried,
        failed,
        _ratio(day.count(address.tallies.failure_day), tried),
        subjects,
        hour.count(network.tallies.attempt),
        failed_around,
        subjects_around,
        _ratio(day.count(asn.failure_day), day.count(asn.attempt_day)) if "asn" in context.values else math.nan,
        hour.count(device.tallies.attempt) if known else math.nan,
        distinct(device, "subject", now, DAY) if known else math.nan,
        max(subjects - past.at_address, 0.0),
        max(subjects_around - past.at_network, 0.0),
        failed / max(past.at_address, 1.0),
        failed_around / max(past.at_network, 1.0),
    )


def _ratio(failures: float, attempts: float) -> float:
    return failures / (max(attempts, failures) + CLEAN)
