"""The embedded store shared by several processes, some of which are killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from riskd.adapters.lmdb_store import LmdbStore
from riskd.core.history import EMPTY
from tests.contract.hammer import NOW, SHARED, counted, own

ROOT = Path(__file__).parents[2]
Start = Callable[..., "subprocess.Popen[str]"]
ENDLESS = 1_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    opened = LmdbStore(tmp_path / "lmdb")
    yield opened
    opened.close()


@pytest.fixture
def start(tmp_path: Path, store: LmdbStore) -> Iterator[Start]:
    """Start hammer processes on the store; those still running at the end are killed."""
    running: list[subprocess.Popen[str]] = []

    def begin(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.contract.hammer", str(tmp_path / "lmdb"), *map(str, arguments)]
        process = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def counts(store: LmdbStore, *keys: bytes) -> list[int]:
    histories, _ = store.read(keys, (), NOW, 1.0)
    return [sum(found.tallies.of("attempt").get("", [])[1:]) for found in histories]


def acknowledged(process: subprocess.Popen[str]) -> int:
    """The next acknowledgement of the process; waits for it."""
    assert process.stdout is not None
    return int(process.stdout.readline())


def kill(process: subprocess.Popen[str]) -> list[str]:
    """SIGKILL the process and return the rest of its output."""
    assert process.stdout is not None
    process.kill()
    return process.stdout.read().splitlines()


@pytest.mark.slow
def test_eight_processes_lose_no_count(store: LmdbStore, start: Start) -> None:
    """Every count of eight processes is kept, in shared histories and in each one's own."""
    names = [str(number) for number in range(8)]
    for process in [start(name, "count", 500) for name in names]:
        process.communicate()
        assert process.returncode == 0

    assert counts(store, *SHARED) == [4000] * len(SHARED)
    assert counts(store, *map(own, names)) == [500] * 8


@pytest.mark.slow
def test_a_killed_process_loses_nothing_that_it_acknowledged(store: LmdbStore, start: Start) -> None:
    """After SIGKILL under load, at most the unacknowledged write in progress is uncertain, and other processes
    continue."""
    survivor = start("survivor", "count", ENDLESS)
    for round_ in range(4):
        victim = start(f"victim {round_}", "count", ENDLESS)
        seen = [acknowledged(victim) for _ in range(20 + 7 * round_)]
        last = int([*map(str, seen), *kill(victim)][-1])
        (kept,) = counts(store, own(f"victim {round_}"))
        assert last <= kept <= last + 1

        before = acknowledged(survivor)
        assert acknowledged(survivor) == before + 1
    assert store.write(counted(SHARED[0]), (), NOW, 1.0)


def test_a_writer_killed_in_its_turn_leaves_it_to_the_next(store: LmdbStore, start: Start) -> None:
    """A process killed while it holds the write lock blocks nobody and leaves nothing half-written."""
    victim = start("victim", "write")
    assert victim.stdout is not None
    assert victim.stdout.readline() == "held\n"
    kill(victim)

    assert store.write(counted(SHARED[0]), (), NOW, 1.0)
    assert store.read((own("victim"),), (), NOW, 1.0) == ([EMPTY], [])
    assert counts(store, SHARED[0]) == [1]


def test_the_reader_slot_of_a_killed_process_is_freed(store: LmdbStore, start: Start) -> None:
    """A dead reader would keep old pages for ever; the sweep detects it and frees its slot."""
    victim = start("victim", "read")
    assert victim.stdout is not None
    assert victim.stdout.readline() == "held\n"
    assert str(victim.pid) in store._env.readers()
    kill(victim)
    store.sweep(NOW, 1)

    assert str(victim.pid) not in store._env.readers()
