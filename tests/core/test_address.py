"""Address parsing agrees with `ipaddress`, gives the canonical form, and follows the IANA registries."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from riskd.core.address import Address, parse

_ALPHABET = "0123456789abcdefABCDEF:.%/[] \n\tgx+_-\u0661\uff11"
_REFUSED = (
    "",
    " ",
    "localhost",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.256",
    "01.2.3.4",
    "1.2.3.04",
    "1.2.3.4 ",
    " 1.2.3.4",
    "1.2.3.4\n",
    "+1.2.3.4",
    "1_0.2.3.4",
    "0x1.2.3.4",
    "1.2.3.4:443",
    "1.2.3.4/32",
    "\u0661.2.3.4",
    ":",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7::8",
    "::00001",
    "::g",
    "::+1",
    "::1 ",
    "::1.2.3",
    "1.2.3.4::",
    "1:2:3:4:5:6:7:1.2.3.4",
    "fe80::1%eth0",
    "fe80::1%1",
    "[::1]",
    "[2001:db8::1]:443",
    "2001:db8::/32",
    "::" + "0" * 1000,
)
_UNROUTABLE = (
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.9",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::1.2.3.4",
    "100::1",
    "2001::1",
    "2001:2::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:808:808::1",
    "3fff:fff:ffff::1",
    "4000::1",
    "5f00::1",
    "64:ff9b:1::1",
    "fc00::1",
    "fdff::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "::ffff:10.0.0.1",
)
_ROUTABLE = (
    "1.0.0.0",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.88.98.255",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2000::",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2003::1",
    "3ffe:ffff::1",
    "3fff:1000::1",
)
_GLOBAL_BUT_NO_CLIENTS = tuple(
    map(
        ip_network,
        ("192.0.0.0/24", "192.88.99.0/24", "224.0.0.0/4", "2001::/23", "2002::/16", "3fff::/20", "fec0::/10"),
    )
)
"""Global in some version of `ipaddress`, but no client has one: anycast, multicast, obsolete tunnels, RFC 3879."""


def _expected(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = None if "%" in text else ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address in ip_network("64:ff9b::/96"):
            return IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address
    return address


def _parsed(text: str) -> Address:
    address = parse(text)
    assert address is not None, text
    return address


def _agrees(text: str) -> None:
    expected, address = _expected(text), parse(text)
    if expected is None:
        assert address is None
        return
    assert address is not None
    assert (address.text, address.version, address.value) == (str(expected), expected.version, int(expected))


_hextets = st.lists(
    st.sampled_from(["0", "0", "00", "0000", "1", "ab", "0Db8", "ffff", "FFFF"]), min_size=1, max_size=9
)
_quads = st.lists(st.sampled_from(["0", "1", "01", "00", "9", "99", "255", "256", "1000", ""]), min_size=3, max_size=5)


@given(st.text(_ALPHABET, max_size=50))
@example("1:2:3:4:5:6:7::")
@example("::2:3:4:5:6:7:8")
@example("::ffff:1.2.3.4")
@example("64:ff9b::1.2.3.4")
@example("1:0:0:2:0:0:0:3")
@example("0:0:1::")
def test_any_text_is_read_as_ipaddress_reads_it(text: str) -> None:
    """riskd accepts exactly the texts that `ipaddress` accepts, and reads the same address from them."""
    _agrees(text)


@given(_hextets, _hextets, st.booleans(), st.none() | _quads)
def test_near_misses_are_read_as_ipaddress_reads_them(
    left: list[str], right: list[str], gap: bool, quad: list[str] | None
) -> None:
    """The same holds for texts composed of valid and invalid parts of addresses."""
    tail = [".".join(quad)] if quad else []
    _agrees("::".join((":".join(left), ":".join(right + tail))) if gap else ":".join(left + tail))
    _agrees(".".join(quad or left))


@given(st.ip_addresses())
def test_every_address_is_read_and_written_back(address: IPv4Address | IPv6Address) -> None:
    """The short and long forms of an address parse to the same value, and its text parses back to it."""
    read = _parsed(str(address))
    assert read == parse(address.exploded) == parse(str(address).upper())
    assert read == parse(read.text)


@given(st.ip_addresses())
def test_the_network_is_the_24_or_the_48(address: IPv4Address | IPv6Address) -> None:
    """An IPv4 address is logged as its /24, an IPv6 address as its /48."""
    read = _parsed(str(address))
    length = 24 if read.version == 4 else 48
    assert read.network == str(ip_network(f"{read.text}/{length}", strict=False))


@given(st.ip_addresses())
@example(IPv6Address("fec0::"))
def test_routable_means_global(address: IPv4Address | IPv6Address) -> None:
    """A routable address is global for `ipaddress`; the reverse holds except in networks that have no clients."""
    read = _parsed(str(address))
    judged = ip_address(read.text)
    if read.routable:
        assert judged.is_global
    elif judged.is_global and not judged.is_multicast:
        assert any(judged in network for network in _GLOBAL_BUT_NO_CLIENTS) or judged.is_reserved


@pytest.mark.parametrize("text", _REFUSED)
def test_only_plain_addresses_are_accepted(text: str) -> None:
    """A text with leading zeros, signs, spaces, ports, brackets, prefixes or scope identifiers is refused."""
    assert parse(text) is None


@pytest.mark.parametrize("text", _UNROUTABLE)
def test_special_purpose_addresses_are_unroutable(text: str) -> None:
    """An address in a special-purpose network is not routable, since no public client has one."""
    assert not _parsed(text).routable


@pytest.mark.parametrize("text", _ROUTABLE)
def test_neighbours_of_special_networks_are_routable(text: str) -> None:
    """The addresses just outside a special-purpose network are routable."""
    assert _parsed(text).routable


@pytest.mark.parametrize("text", ["::ffff:8.8.4.4", "::FFFF:808:404", "64:ff9b::8.8.4.4", "64:ff9b::808:404"])
def test_a_translated_ipv4_client_is_that_client(text: str) -> None:
    """IPv4-mapped and NAT64 addresses are read as the IPv4 address they carry, so they share its history."""
    assert parse(text) == parse("8.8.4.4")
