"""Parses client addresses into a canonical form, and classifies them by the IANA special-purpose registries.

`parse` accepts exactly what `ipaddress.ip_address` accepts, except scope identifiers, which have a meaning only on
one machine. IPv6 addresses that embed an IPv4 client become that IPv4 address: IPv4-mapped ones (RFC 4291, section
2.5.5.2) and those of the well-known NAT64 prefix (RFC 6052, section 2.1; RFC 7755). 6to4 (RFC 7526) and Teredo (RFC
4380) are obsolete, and anybody can relay into them: these addresses stay IPv6 and count as unroutable.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Final

from msgspec import Struct

_LONGEST: Final = 45
_OCTETS: Final = {str(number): number for number in range(256)}
_GROUPS: Final = re.compile(r"[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){0,7}").fullmatch
_ZERO_RUNS: Final = tuple(":0" * length + ":" for length in range(8, 1, -1))
_CARRIERS: Final = ([0, 0, 0, 0, 0, 0xFFFF], [0x64, 0xFF9B, 0, 0, 0, 0])
"""The first six groups of the two prefixes that embed an IPv4 client in the last 32 bits."""


class Address(Struct, frozen=True, gc=False):
    """A client address. `text` is its canonical form (RFC 5952); `network`, its /24 or /48, is what the log has of it.

    `routable` is False for addresses that no client on the public Internet can have: private, shared, loopback,
    link-local, documentation, benchmarking, multicast, unallocated and protocol addresses.
    """

    text: str
    version: int
    value: int
    network: str
    routable: bool


def parse(text: str) -> Address | None:
    """The address written in `text`; None if it is not one."""
    if len(text) > _LONGEST:
        return None
    if ":" not in text:
        value = _quad(text)
        return None if value is None else _ipv4(value, text)
    groups = _groups(text)
    if groups is None:
        return None
    if groups[:6] in _CARRIERS:
        high, low = groups[6:]
        return _ipv4(high << 16 | low, f"{high >> 8}.{high & 255}.{low >> 8}.{low & 255}")
    return _ipv6(groups)


def _ipv4(value: int, text: str) -> Address:
    network = text[: text.rindex(".")] + ".0/24"
    return Address(text, 4, value, network, bisect_right(_UNROUTABLE_4, value) % 2 == 0)


def _ipv6(groups: list[int]) -> Address:
    a, b, c, d, e, f, g, h = groups
    value = (a << 48 | b << 32 | c << 16 | d) << 64 | e << 48 | f << 32 | g << 16 | h
    network = f"{a:x}:{b:x}:{c:x}::/48" if c else _compressed([a, b, 0, 0, 0, 0, 0, 0]) + "/48"
    return Address(_compressed(groups), 6, value, network, bisect_right(_UNROUTABLE_6, a << 16 | b) % 2 == 0)


def _quad(text: str) -> int | None:
    """The value of an IPv4 address in dotted-quad form; None if the text is not one."""
    try:
        first, second, third, fourth = text.split(".")
        return _OCTETS[first] << 24 | _OCTETS[second] << 16 | _OCTETS[third] << 8 | _OCTETS[fourth]
    except (ValueError, KeyError):
        return None


def _groups(text: str) -> list[int] | None:
    """The eight 16-bit groups of an IPv6 address; None if the text is not one."""
    if "." in text:
        head, _, tail = text.rpartition(":")
        low = _quad(tail)
        if low is None:
            return None
        text = f"{head}:{low >> 16:x}:{low & 0xFFFF:x}"
    left, gap, right = text.partition("::")
    if (left and not _GROUPS(left)) or (right and not _GROUPS(right)):
        return None
    groups = [int(group, 16) for group in left.split(":")] if left else []
    after = [int(group, 16) for group in right.split(":")] if right else []
    absent = 8 - len(groups) - len(after)
    if absent < 1 if gap else absent:
        return None
    return groups + [0] * absent + after if gap else groups


def _compressed(groups: list[int]) -> str:
    """The canonical text of an IPv6 address (RFC 5952): the first of the longest runs of zeros becomes `::`."""
    a, b, c, d, e, f, g, h = groups
    text = f":{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{f:x}:{g:x}:{h:x}:"
    if ":0:0:" in text:
        for run in _ZERO_RUNS:
            if run in text:
                head, _, tail = text.partition(run)
                return f"{head[1:]}::{tail[:-1]}"
    return text[1:-1]


def _edges(*networks: str) -> tuple[int, ...]:
    """The boundaries of ascending networks: for each its first address, and the first address after it.

    IPv6 addresses are in units of /32, as none of these networks is smaller.
    """
    edges: list[int] = []
    for network in networks:
        text, _, length = network.partition("/")
        groups = _groups(text)
        start = groups[0] << 16 | groups[1] if groups else _quad(text) or 0
        edges += (start, start + (1 << 32 - int(length)))
    return tuple(edges)


_UNROUTABLE_4: Final = _edges(
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
)
_UNROUTABLE_6: Final = _edges("::/3", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "4000::/2", "8000::/1")
