"""Infrastructure: data centres, anonymizers and automated clients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from riskd.core.attempt import Attempt
from riskd.core.context import Agent, Context, Route
from riskd.core.features.feature import Feature
from riskd.core.features.past import Past


def _route(name: str, *, direction: int, reason: str, why: str, text: str) -> Feature:
    return Feature(
        name=name,
        group="infrastructure",
        unit="0 or 1",
        direction=direction,
        reason=reason,
        why=why,
        text=text,
        sources=("route",),
    )


FEATURES: Final = (
    _route(
        "hosting",
        direction=1,
        reason="HOSTING_NETWORK",
        why="1 when the address belongs to a data centre: people sign in from access networks, tools and rented "
        "proxies from data centres",
        text="The address belongs to a data centre.",
    ),
    _route(
        "vpn",
        direction=1,
        reason="ANONYMIZER",
        why="1 when the address belongs to a VPN, which hides where the connection comes from",
        text="The address belongs to a VPN.",
    ),
    _route(
        "tor",
        direction=1,
        reason="ANONYMIZER",
        why="1 when the address is a Tor exit, which hides where the connection comes from",
        text="The address is a Tor exit.",
    ),
    _route(
        "proxy",
        direction=1,
        reason="ANONYMIZER",
        why="1 when the address is an open proxy, which hides where the connection comes from",
        text="The address is an open proxy.",
    ),
    _route(
        "relay",
        direction=0,
        reason="PRIVACY_RELAY",
        why="1 when the address belongs to a privacy relay of the device's maker: it hides the place, and many honest "
        "people use one",
        text="The address belongs to a privacy relay, so the location is unknown.",
    ),
    _route(
        "satellite",
        direction=0,
        reason="SATELLITE",
        why="1 when the connection comes by satellite: the place of the ground station is not the person's",
        text="The connection is by satellite, so the location is unknown.",
    ),
    Feature(
        name="automated_agent",
        group="infrastructure",
        unit="0 or 1",
        direction=1,
        reason="AUTOMATED_CLIENT",
        why="1 when the user agent says that it is a script, a headless browser or a crawler",
        text="The client is a program, not a person's browser.",
        sources=("agent",),
    ),
)
_NO_ROUTE: Final = (math.nan,) * 6
_KINDS: Final = ("vpn", "tor", "proxy", "relay", "satellite")
_OPEN: Final = (0.0,) * len(_KINDS)
_ANONYMITY: Final = {kind: tuple(float(kind == other) for other in _KINDS) for kind in _KINDS}


def compute(_attempt: Attempt, context: Context, _past: Past | None) -> Sequence[float]:
    """The values of `FEATURES`."""
    route, agent = context.route, context.agent
    automated = float(agent.automated) if isinstance(agent, Agent) else math.nan
    if not isinstance(route, Route):
        return (*_NO_ROUTE, automated)
    return (float(route.hosting), *_ANONYMITY.get(route.anonymizer, _OPEN), automated)
