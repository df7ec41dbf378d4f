"""Named lists of networks, operators, countries, issuers or devices, to which rule conditions can refer.

A list of networks is stored as the sorted edges of disjoint ranges, so that a look-up takes one bisection.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from msgspec import Struct

from riskd.core.address import Address, parse
from riskd.core.attempt import Attempt
from riskd.core.context import Context, Place, Route

Member = Address | str

KINDS: Final = {
    "networks": "the client's address is in one of these networks (CIDR), or is one of these addresses",
    "asns": "the address belongs to one of these autonomous systems",
    "countries": "the address is in one of these countries (ISO 3166-1 alpha-2 codes)",
    "issuers": "the assertion is from one of these issuers, exactly as in `iss`",
    "device_ids": "the device identifier is one of these",
}
"""The kinds of lists, and when an attempt is on a list of that kind."""
Edges = tuple[int, ...]
"""Ascending boundaries of disjoint ranges: the first address of each, and the first address after it."""


class NamedList(Struct, frozen=True):
    """A list of one of `KINDS`: `members` as text, or, for networks, the edges by IP version."""

    kind: str
    members: frozenset[str] = frozenset()
    networks: Mapping[int, Edges] = {}

    def holds(self, member: Member) -> bool:
        """Whether `member` is on the list."""
        if isinstance(member, Address):
            return bisect_right(self.networks.get(member.version, ()), member.value) % 2 == 1
        return member in self.members

    def holds_all(self, version: int, first: int, last: int) -> bool | None:
        """Whether every address from `first` to `last` is on the list; None when only some of them are."""
        edges = self.networks.get(version, ())
        at = bisect_right(edges, first)
        return at % 2 == 1 if at == bisect_right(edges, last) else None


def of_networks(ranges: Iterable[tuple[int, int, int]]) -> NamedList:
    """A list of networks, from ranges (IP version, first address, last address), which may overlap, in any order."""
    edges: dict[int, list[int]] = {4: [], 6: []}
    for version, first, last in sorted(ranges):
        found = edges[version]
        if found and first <= found[-1]:
            found[-1] = max(found[-1], last + 1)
        else:
            found += (first, last + 1)
    return NamedList("networks", networks={version: tuple(found) for version, found in edges.items()})


def listed(lists: Mapping[str, NamedList], attempt: Attempt, context: Context) -> dict[str, bool]:
    """By list name, whether the attempt is on it. Lists whose fact is unknown are left out."""
    if not lists:
        return {}
    members = {kind: MEMBER[kind](attempt, context) for kind in {each.kind for each in lists.values()}}
    return {name: each.holds(member) for name, each in lists.items() if (member := members[each.kind]) is not None}


def _asn(_attempt: Attempt, context: Context) -> str | None:
    route = context.route
    return str(route.asn) if isinstance(route, Route) else None


def _country(_attempt: Attempt, context: Context) -> str | None:
    place = context.place
    return place.country or None if isinstance(place, Place) else None


def _issuer(attempt: Attempt, _context: Context) -> str | None:
    return attempt.federation.issuer or None if attempt.federation else None


def _device_id(attempt: Attempt, _context: Context) -> str | None:
    return attempt.device.device_id or None if attempt.device else None


MEMBER: Final[Mapping[str, Callable[[Attempt, Context], Member | None]]] = {
    "networks": lambda attempt, _context: parse(attempt.network.client_ip),
    "asns": _asn,
    "countries": _country,
    "issuers": _issuer,
    "device_ids": _device_id,
}
"""By kind of list, the function that returns what to look up; None if it is unknown."""
