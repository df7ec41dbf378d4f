"""Sharing: how many accounts use the same address. Offices, schools, carriers and relays share one among many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import Context, Missing
from riskd.core.features.feature import Feature
from riskd.core.features.past import Past
from riskd.core.history import owners

CROWD: Final = 40.0
"""Accounts from which on a crowd shares an address; its place then says little about where they are."""


def _feature(
    name: str, *, unit: str, direction: int, reason: str, why: str, text: str, reads: tuple[str, ...]
) -> Feature:
    return Feature(
        name=name,
        group="sharing",
        unit=unit,
        direction=direction,
        reason=reason,
        why=why,
        text=text,
        sources=("reputation",),
        reads=reads,
        of_address=True,
    )


_ACCOUNTS: Final = "accounts, estimated, at most 205"

FEATURES: Final = (
    _feature(
        "address_accounts",
        unit=_ACCOUNTS,
        direction=0,
        reason="SHARED_ADDRESS",
        why="accounts proven to come from this address in the last five weeks: few for a home, many for an office or "
        "a carrier's gateway",
        text="Many accounts share this address.",
        reads=("address",),
    ),
    _feature(
        "network_accounts",
        unit=_ACCOUNTS,
        direction=0,
        reason="SHARED_ADDRESS",
        why="accounts proven to come from this /24 or /48 network in the last five weeks",
        text="Many accounts share this network.",
        reads=("network",),
    ),
    _feature(
        "shared_accounts",
        unit=_ACCOUNTS,
        direction=1,
        reason="SHARED_ADDRESS",
        why="accounts that share the address, or else the network, that is familiar to this account: coming from "
        "where many do proves little; 0 if neither is familiar",
        text="The account is used from this address, but so are many others.",
        reads=("subject", "address", "network"),
    ),
)
_NONE: Final = (math.nan,) * len(FEATURES)


def compute(_attempt: Attempt, _context: Context, past: Past | None) -> Sequence[float]:
    """The values of `FEATURES`; missing only if the store failed."""
    if past is None:
        return _NONE
    here, around, settled = past.at_address, past.at_network, past.settled
    return (here, around, here if settled.get("address") else around if settled.get("network") else 0.0)


def crowded(context: Context) -> bool:
    """Whether a crowd shares the address, or may: nobody could read by how many accounts it is used."""
    remembered = context.remembered
    if isinstance(remembered, Missing):
        return False
    return "address" in remembered.unread or owners(remembered.address.profile, context.now) >= CROWD
