"""The writer of MMDB files: every reader finds what was written."""

from __future__ import annotations

from io import BytesIO
from ipaddress import IPv4Address, IPv6Address
from tempfile import NamedTemporaryFile

import maxminddb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskd.offline.geo.mmdb import MmdbWriter

_TOP = (1 << 128) - 1
_near_edges = st.integers(0, 2**33) | st.integers(0, _TOP) | st.integers(0, 127).map(lambda bit: 1 << bit)


def written(ranges: list[tuple[int, int, dict[str, str | int]]]) -> bytes:
    writer = MmdbWriter()
    for first, last, record in ranges:
        writer.add(first, last, writer.store(record))
    file = BytesIO()
    writer.write(file, "Test", 1_780_000_000)
    return file.getvalue()


def look_up(content: bytes, addresses: list[int]) -> list[object]:
    with NamedTemporaryFile(suffix=".mmdb") as file:
        file.write(content)
        file.flush()
        answers = []
        for mode in (maxminddb.MODE_MMAP_EXT, maxminddb.MODE_FILE):
            with maxminddb.open_database(file.name, mode) as reader:
                answers.append([reader.get(text(number)) for number in addresses])
        assert answers[0] == answers[1]
        return answers[0]


def text(number: int) -> str:
    return str(IPv4Address(number) if number < 2**32 else IPv6Address(number))


@given(st.lists(_near_edges, min_size=2, max_size=24, unique=True).map(sorted))
def test_every_edge_is_where_it_was_put(points: list[int]) -> None:
    """The first and last address of each range have its record, and their outer neighbours do not."""
    ranges = list(zip(points[::2], points[1::2], strict=False))
    content = written([(first, last, {"n": number}) for number, (first, last) in enumerate(ranges)])
    probes = sorted({probe for edge in points for probe in (edge - 1, edge, edge + 1) if 0 <= probe <= _TOP})
    expected = [
        next(({"n": number} for number, (first, last) in enumerate(ranges) if first <= probe <= last), None)
        for probe in probes
    ]
    assert look_up(content, probes) == expected


def test_all_sizes_of_values_come_back() -> None:
    """Texts around every length code, numbers of every width, and shared texts behind pointers of every width are read
    back."""
    lengths = [0, 1, 28, 29, 30, 284, 285, 286, 60_000]
    numbers = [0, 1, 255, 256, 65_535, 2**24, 2**32 - 1]
    records: list[dict[str, str | int]] = [{"text": "é" * (length // 2) + "x" * (length % 2)} for length in lengths]
    records += [{"number": number} for number in numbers]
    records += [{"text": str(number) * 100, "again": "shared text"} for number in range(6000)]
    records += [{"text": "5999" * 100, "again": "shared text"}]
    content = written([(number, number, record) for number, record in enumerate(records)])
    assert look_up(content, list(range(len(records)))) == records
    assert content.count(b"shared text") == 1


def test_metadata() -> None:
    """Readers see the format, type, build time and both address families."""
    with NamedTemporaryFile(suffix=".mmdb") as file:
        file.write(written([(0, 1, {"n": 1})]))
        file.flush()
        with maxminddb.open_database(file.name) as reader:
            meta = reader.metadata()
    assert (meta.database_type, meta.build_epoch, meta.ip_version) == ("Test", 1_780_000_000, 6)
    assert (meta.binary_format_major_version, meta.record_size, meta.node_count) == (2, 32, 127)


@pytest.mark.parametrize(("first", "last"), [(5, 9), (3, 4), (12, 11), (-1, 20), (11, 1 << 128)])
def test_ranges_out_of_order_are_refused(first: int, last: int) -> None:
    """Ranges must be ascending, disjoint and within the address space."""
    writer = MmdbWriter()
    record = writer.store({"n": 1})
    writer.add(5, 10, record)
    with pytest.raises(ValueError, match="the range from"):
        writer.add(first, last, record)
