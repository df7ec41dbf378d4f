"""The time of gathering facts, in microseconds. Needs `riskd geo install` once, then:

python -m benchmarks.gather [--dir DIR]
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TypeVar

from benchmarks import program
from riskd.adapters.asn_table import read_asn_table
from riskd.adapters.geoip import GeoIp
from riskd.adapters.timezones import Timezones
from riskd.adapters.user_agent import AgentParser
from riskd.config import load
from riskd.core.address import Address, parse

COUNT = 20_000
NOW = 1_783_000_000.0
AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.{}.0 Safari/537.36"
)

Item = TypeVar("Item")


def measure(name: str, work: Callable[[Item], object], items: Iterable[Item]) -> None:
    """Print p50 and p99 of a call, including the 0.1 us that the clock takes."""
    clock = time.perf_counter_ns
    spent = []
    for item in items:
        start = clock()
        work(item)
        spent.append(clock() - start)
    spent.sort()
    print(f"{name:40}{spent[len(spent) // 2] / 1000:8.2f}{spent[len(spent) * 99 // 100] / 1000:8.2f}")


def routable(texts: Iterable[str]) -> list[Address]:
    """The addresses among `texts` that clients on the internet can have."""
    return [address for text in texts if (address := parse(text)) and address.routable]


def main() -> None:
    """Measure each source of facts separately, on random public addresses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path(load().geo.dir))
    directory = parser.parse_args().dir
    dice = random.Random(1)
    texts4 = [str(IPv4Address(dice.getrandbits(32))) for _ in range(COUNT)]
    texts6 = [str(IPv6Address(0x2A << 120 | dice.getrandbits(120))) for _ in range(COUNT)]
    geo = GeoIp.open(
        sorted(directory.glob("*.mmdb")),
        read_asn_table(Path(__file__).parents[1] / "data" / "asns.csv"),
        Timezones(),
    )
    agents = AgentParser()
    kinds = ", ".join(f"{database.name}" for database in geo.databases()) or "no databases"
    print(f"{kinds}; {COUNT} addresses of each family\n{'us':40}{'p50':>8}{'p99':>8}")
    measure("address.parse, IPv4", parse, texts4)
    measure("address.parse, IPv6", parse, texts6)
    for name, texts in (("IPv4", texts4), ("IPv6", texts6)):
        addresses = routable(texts)
        measure(f"locate, {name}, pages cold", lambda address: geo.locate(address, NOW), addresses)
        measure(f"locate, {name}, warm", lambda address: geo.locate(address, NOW), addresses)
    measure("offset of a timezone", lambda name: geo.offset(name, NOW), ["Europe/Oslo"] * COUNT)
    fresh = [AGENT.format(dice.randrange(80, 140), number) for number in range(2_000)]
    measure("agent, never seen", lambda text: agents.parse(text, "Windows", False), fresh)
    measure(
        "agent, seen", lambda text: agents.parse(text, "Windows", False), [text.encode().decode() for text in fresh]
    )


if __name__ == "__main__":
    program(main)
