# ruff: noqa: E501 - user agents are as long as they are
"""Generates sign-ins for the benchmarks, from a seed: varied subjects, real user agents, addresses of real networks."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from random import Random
from typing import Final

from riskd.core.attempt import Attempt, Behaviour, Device, Network

HOMES: Final = tuple(
    ip_network(text)
    for text in (
        "73.162.0.0/16",
        "86.150.0.0/16",
        "90.200.0.0/16",
        "93.208.0.0/16",
        "87.122.0.0/16",
        "88.0.0.0/16",
        "81.167.0.0/16",
        "84.208.0.0/16",
        "2a02:810d:8000::/40",
    )
)
HOSTING: Final = tuple(ip_network(text) for text in ("5.9.60.0/24", "139.59.10.0/24", "51.15.20.0/24"))
AGENTS: Final = (
    ("Windows", False, "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/153.0.0.0 Safari/537.36"),
    ("Windows", False, "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/154.0.0.0 Safari/537.36 Edg/154.0.0.0"),
    ("macOS", False, "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/145.0.0.0 Safari/537.36"),
    ("macOS", False, "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/153.0.0.0 Safari/537.36"),
    ("iOS", True, "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.6.1 Mobile/15E148 Safari/604.1"),
    ("iOS", True, "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/27.0 Mobile/15E148 Safari/604.1"),
    ("iOS", True, "Mozilla/5.0 (iPhone; CPU iPhone OS 26_6_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/154.0.8037.55 Mobile/15E148 Safari/604.1"),
    ("Android", True, "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/153.0.0.0 Mobile Safari/537.36"),
    ("Android", True, "Mozilla/5.0 (Linux; Android 15; CPH2653) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/149.0.0.0 Mobile Safari/537.36"),
    ("Android", True, "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/151.0.0.0 Mobile Safari/537.36"),
)  # fmt: skip
"""Platform, mobile or not, and user agent. Common ones of npm's `user-agents` 2.1.198 (BSD-2-Clause)."""
ATTACKS: Final = 0.03
"""Share of attempts that come from a hosting network, with a failed credential."""


def attempts(subjects: int, seed: int = 1) -> Iterator[Attempt]:
    """An endless stream of logins: each of `subjects` customers once in random order, then each again, and so on.

    So no customer signs in twice within seconds, which would be suspicious. Some of the logins are attacks.
    """
    random = Random(seed)
    everybody = list(range(subjects))
    while True:
        random.shuffle(everybody)
        for who in everybody:
            yield attempt(who, random, attack=random.random() < ATTACKS)


def attempt(who: int, random: Random, *, attack: bool = False) -> Attempt:
    """A login of customer number `who` from home, or, if it is an attack, from a hosting network."""
    own = Random(who)
    platform, mobile, agent = own.choice(AGENTS)
    network = random.choice(HOSTING) if attack else own.choice(HOMES)
    host = random.randrange(200) if attack else own.randrange(2**16)
    return Attempt(
        domain="customer",
        subject=f"customer-{who}",
        journey="login",
        credential_result="failed" if attack else "succeeded",
        network=Network(client_ip=str(ip_address(int(network[0]) + host)), rtt_ms=20 + own.random() * 40),
        device=Device(
            user_agent=agent,
            platform=platform,
            mobile=mobile,
            device_id=f"device-{who}-{0 if not attack else random.randrange(99)}",
            screen="1920x1080" if not mobile else "390x844",
            languages=("en-GB", "en"),
            timezone="Europe/London",
        ),
        behaviour=Behaviour(typing_intervals_ms=tuple(float(80 + own.randrange(90)) for _ in range(12)), pasted=False),
    )
