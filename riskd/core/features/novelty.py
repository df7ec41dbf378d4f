"""Novelty: whether a value is new to the account, and whether new and known values occur together suspiciously.

A known identifier on a device that looks different was copied; a new device that looks like a known one may imitate it.
A sum of single features cannot express this: a new device is riskier than a known one, but a strange screen is riskier
on the known one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import Context
from riskd.core.features.feature import Feature
from riskd.core.features.past import Past, standing
from riskd.core.tallies import UNCOUNTED


def _feature(
    what: str, noun: str, *, source: str, purpose: str = "security", word: str = "", of_address: bool = False
) -> Feature:
    return Feature(
        name=f"new_{what}",
        group="novelty",
        unit="0 or 1",
        direction=1,
        reason=f"NEW_{what.upper()}",
        why=f"1 until the account has used this {word or noun} since its beginning, repeatedly over weeks, or "
        "with a key",
        text=f"The account has not been used with this {noun} before.",
        sources=tuple(dict.fromkeys(("history", source))),
        reads=("subject",),
        purpose=purpose,
        of_address=of_address,
    )


_NEW: Final = (
    _feature("country", "country", source="place"),
    _feature("asn", "network operator", source="route"),
    _feature("network", "network", source="history", word="/24 or /48 network", of_address=True),
    _feature("device", "device", source="device_id", purpose="device"),
    _feature("browser", "browser", source="agent", word="browser (any version)"),
    _feature("os", "operating system", source="agent", word="system (any version)"),
)
FEATURES: Final = (
    *_NEW,
    Feature(
        name="copied_device",
        group="novelty",
        unit="0 to 4",
        direction=1,
        reason="COPIED_DEVICE",
        why="how many of fingerprint, screen, browser and system differ from the account's, or are left out, although "
        "the device identifier is the account's, as with a copied cookie; 0 if the identifier is not the account's",
        text="The device identifier is known, but the device looks different, or hides how it looks.",
        sources=("history", "device_id"),
        reads=("subject",),
        purpose="device",
    ),
    Feature(
        name="imitated_device",
        group="novelty",
        unit="0 to 3",
        direction=1,
        reason="IMITATED_DEVICE",
        why="how many of screen, browser and system are the account's although neither the device identifier nor the "
        "fingerprint is, as when an attacker imitates the owner's device; 0 if either is, missing if neither was sent",
        text="The browser looks like one that the account is used with, but the device is not the account's.",
        sources=("history",),
        reads=("subject",),
        purpose="device",
        revision=2,
    ),
)
_TABLES: Final = tuple(feature.name.removeprefix("new_") for feature in _NEW)
_DEVICE, _BROWSER, _OS = (_TABLES.index(table) for table in ("device", "browser", "os"))
_VERSIONED: Final = ("browser", "os")
_NONE: Final = (math.nan,) * len(FEATURES)


def compute(_attempt: Attempt, context: Context, past: Past | None) -> Sequence[float]:
    """The values of `FEATURES`."""
    if past is None or not past.settled:
        return _NONE
    settled, values = past.settled, context.values
    found = [
        math.nan
        if table not in settled
        else 0.0
        if settled[table]
        else float(not (table in _VERSIONED and _upgraded(past, table, values[table], context.now)))
        for table in _TABLES
    ]
    found += _together(settled, found[_BROWSER], found[_OS])
    return found


def _together(settled: dict[str, float], browser: float, os: float) -> tuple[float, float]:
    """The values of `copied_device` and `imitated_device`. What was not sent counts for neither; `left_out` adds to the
    first what the account always sends."""
    device, looks, screen = settled.get("device"), settled.get("fingerprint"), settled.get("screen")
    copied = math.nan if device is None else 0.0
    imitated = math.nan if device is None and looks is None else 0.0
    if device:
        copied = float((looks == 0.0) + (screen == 0.0) + (browser == 1.0) + (os == 1.0))
    elif imitated == 0.0 and not looks:
        imitated = float(bool(screen) + (browser == 0.0) + (os == 0.0))
    return copied, imitated


def _upgraded(past: Past, table: str, value: str, now: float) -> bool:
    """Whether another version of the same browser or system is settled: browsers update every few weeks."""
    product = value.rpartition(" ")[0]
    return any(
        standing(known or past.account, past.began, now)[1]
        for other, known in (getattr(past.profile.tallies, table) or UNCOUNTED).items()
        if product and other.rpartition(" ")[0] == product
    )
