"""The store of a single run: its records are on disk, and it costs no more than it has to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from riskd.adapters.lmdb_store import DATA, ScratchStore, scratch
from riskd.core.errors import Unavailable
from riskd.core.history import EMPTY, WEEK, Delta
from riskd.core.stored import Swap
from tests.faults.disks import largest_file

NOW = 1_800_000_000.0
BATCH = 5


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScratchStore]:
    monkeypatch.setattr(scratch, "BATCH", BATCH)
    opened = ScratchStore(tmp_path)
    yield opened
    opened.close()


def paper(number: int, size: int = 3000) -> Swap:
    return Swap(b"R%06d" % number, None, bytes(size), NOW + WEEK)


def fill(store: ScratchStore) -> Iterator[int]:
    """Write some batches of documents; yields how many there are."""
    for number in range(10 * BATCH):
        store.write((), [paper(number)], NOW, 1.0)
        yield number + 1


def test_what_was_written_is_read_at_once(store: ScratchStore) -> None:
    """Records are read back from the write on, before and after they are committed, and a swap that is refused changes
    nothing."""
    for number in range(3 * BATCH):
        delta = Delta(b"P%06d" % number, NOW, NOW + WEEK, (("attempt", "", 1),))
        assert store.write([delta], [paper(number)], NOW, 1.0)
        (history,), (document,) = store.read((delta.key,), (paper(number).key,), NOW, 1.0)
        assert history != EMPTY
        assert document == paper(number).document
        assert not store.write([delta], [paper(number)], NOW, 1.0)
        assert store.read((delta.key,), (), NOW, 1.0)[0] == [history]


def test_few_changes_are_in_memory(store: ScratchStore) -> None:
    """After each batch everything is in the file."""
    for written in fill(store):
        assert written - BATCH <= store.size()[0] <= written


def test_it_syncs_nothing(store: ScratchStore) -> None:
    """It starts no thread that waits for the disk."""
    before = threading.active_count()
    store.write((), [paper(1)], NOW, 1.0)
    assert threading.active_count() == before


def test_a_full_disk_is_reported(store: ScratchStore, tmp_path: Path) -> None:
    """If the disk is full, that is the error, and not a half of what was written."""
    with largest_file((tmp_path / DATA).stat().st_size), pytest.raises(Unavailable, match="check that the disk has"):
        list(fill(store))
