"""Fixtures for fault injection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disks import MOUNTABLE, Disk, mounted

collect_ignore = [] if MOUNTABLE else ["test_disk.py"]


def pytest_report_header() -> str:
    """Say whether the tests that mount file systems run, so that nothing is left out silently."""
    return f"file systems of the tests' own: {'mounted' if MOUNTABLE else 'NOT run, mounting takes root'}"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with mounted(tmp_path / "mnt") as mount:
        yield mount
