"""Store failures in a running service: sign-ins are answered in time, and everything acknowledged is kept."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from random import Random
from statistics import median

import lmdb
import pytest

from riskd.adapters.lmdb_store import LmdbStore, due_until, open_or_begin
from riskd.core.errors import InvalidStore, Unavailable
from riskd.core.history import DAY, EMPTY
from riskd.core.stored import Swap
from tests.contract.hammer import NOW, SHARED, counted
from tests.e2e.service import ROOT, Service, eventually, serving
from tests.faults.disks import largest_file, nobody
from tests.faults.witness import OWN, Witness, causes, gaps, witness
from tests.rebuild.world import remembered

SMALL = {"RISKD_STORE__MAP_SIZE_MB": "16", "RISKD_STORE__SWEEP_S": "1"}
NOT_WRITTEN = {"store:not_written"}
REBUILT = 200.0
"""Seconds to rebuild histories on a busy machine; the rebuild has a low priority."""
UNREADABLE = {"history:unavailable", "reputation:unavailable"}


@contextmanager
def holding(store: Path, mode: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a transaction open."""
    command = [sys.executable, "-m", "tests.contract.hammer", str(store), "holder", mode]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def fill(store: LmdbStore, expires: float) -> list[bytes]:
    """Write documents until the store is full, and return their keys."""
    keys: list[bytes] = []
    for size in (100_000, 3000, 300):
        with suppress(Unavailable):
            while True:
                key = b"filler %08d" % len(keys)
                assert store.write((), (Swap(key, None, bytes(size), expires),), NOW, 1.0)
                keys.append(key)
    return keys


@pytest.mark.slow
def test_a_process_stopped_while_it_holds_the_write_lock(tmp_path: Path) -> None:
    """If a process is stopped while it holds the write lock, others answer in time and write nothing; SIGCONT or
    SIGKILL restores everything."""
    with serving(tmp_path, workers=2) as service, witness(service) as caller:
        with holding(tmp_path / "store", "write") as holder:
            holder.send_signal(signal.SIGSTOP)
            seen = caller.several(20)
            assert causes(seen) == NOT_WRITTEN
            assert gaps(seen) == set()
            assert median(each.seconds for each in seen) < OWN, "only the first call waits"
            assert caller.failures("store") >= 20
            assert caller.is_refused(caller.acknowledged[0])
        caller.recovered()
        caller.finds_everything()


@pytest.mark.slow
@pytest.mark.parametrize("remedy", ["sweep", "erase", "growth"])
def test_a_full_map(remedy: str, tmp_path: Path) -> None:
    """With a full map, answers come in time and nothing is written; expiry, an erasure or a larger map in another
    process makes room."""
    with serving(tmp_path, settings=SMALL) as service, witness(service) as caller:
        with closing(LmdbStore(tmp_path / "store", map_size=16 << 20)) as other:
            keys = fill(other, expires=time.time() if remedy == "sweep" else NOW + 9999 * DAY)
            if remedy != "sweep":
                eventually(lambda: caller.sign_in().causes == NOT_WRITTEN)
                assert gaps(caller.several()) == set()
                assert caller.failures("store") > 0
            if remedy == "erase":
                assert other.erase(keys) == len(keys)
        if remedy == "growth":
            with closing(LmdbStore(tmp_path / "store", map_size=64 << 20)) as larger:
                assert larger.write(counted(*SHARED), (), NOW, 1.0)
        caller.recovered()
        caller.several(20)
        caller.finds_everything()


@pytest.mark.slow
def test_a_deleted_store_directory(tmp_path: Path) -> None:
    """If the store is removed, callers are still answered; within seconds there is a new store that keeps what is
    acknowledged from then on."""
    with serving(tmp_path, workers=2) as service, witness(service) as caller:
        shutil.rmtree(tmp_path / "store")
        caller.several(10)
        eventually((tmp_path / "store" / "data.mdb").exists)
        caller.recovered()
        eventually(lambda: is_found(service, caller.sign_in().answer.assessment_id))
        caller.acknowledged.clear()
        caller.several(10)
        caller.finds_everything()


def is_found(service: Service, assessment_id: str) -> bool:
    """Whether the store at the path has the receipt: the first 8 bytes of an assessment's id are the place of its
    records."""
    with closing(LmdbStore(service.state / "store")) as store:
        return any(key.endswith(b"R") for key in store.held(bytes.fromhex(assessment_id[:16]), NOW, 100))


@pytest.mark.slow
def test_a_replaced_store_directory(tmp_path: Path) -> None:
    """If the store is replaced by a copy, the service switches to it and finds the copy's records."""
    with serving(tmp_path, workers=2) as service, witness(service) as caller:
        with lmdb.open(str(tmp_path / "store")) as copied:
            (tmp_path / "copy").mkdir()
            copied.copy(str(tmp_path / "copy"))
        kept = list(caller.acknowledged)
        (tmp_path / "store").rename(tmp_path / "old")
        (tmp_path / "copy").rename(tmp_path / "store")
        eventually(lambda: is_found(service, caller.sign_in().answer.assessment_id))
        for assessment_id in kept:
            caller.tell(assessment_id)


@pytest.mark.slow
def test_a_store_with_a_damaged_page(tmp_path: Path) -> None:
    """Subjects whose records were on the damaged page get a gap; the others are unaffected, and a repair needs no
    restart."""
    with serving(tmp_path) as service, witness(service) as caller:
        data = tmp_path / "store" / "data.mdb"
        caller.several(30)
        sound = data.read_bytes()
        with data.open("r+b") as file:
            for page in range(2, len(sound) // 4096):
                if sound[page * 4096 + 10] & 2:  # a leaf page
                    file.seek(page * 4096)
                    file.write(bytes(4096))
        seen = caller.several(10)
        assert {cause for each in seen for cause in each.causes} >= UNREADABLE
        assert ("history", "unavailable") in gaps(seen)
        assert caller.failures("store") > 0
        (tmp_path / "store").rename(tmp_path / "damaged")
        caller.recovered()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_truncated_store_file(tmp_path: Path) -> None:
    """Reading beyond the end of the mapped file kills the process. Its successor checks the file, sets it aside,
    reports that and serves; later acknowledgements are kept, and earlier ones are soon rebuilt."""
    with serving(tmp_path, workers=2) as service, service.stub() as stub:
        caller = Witness(service, stub)
        caller.sign_in(5.0)
        caller.several(30)
        before = remembered(tmp_path / "store")
        with (tmp_path / "store" / "data.mdb").open("r+b") as file:
            file.truncate(2 * 4096)
        eventually(caller.is_unconnected)
        eventually(lambda: not caller.is_unconnected())
        eventually(lambda: service.metric("riskd_workers_serving") == 2)
        is_set_aside_once(service, caller)
        is_rebuilt(service, before)
        (aside,) = tmp_path.glob("store.corrupt-*")
        assert (aside / "data.mdb").stat().st_size >= 2 * 4096


def is_set_aside_once(service: Service, caller: Witness) -> None:
    """The damaged store was set aside once, reported and counted, and the new store keeps what it acknowledges."""
    told = [event for event in service.events() if event["event"] == "store_set_aside"]
    assert len(told) == service.metric("riskd_failures_total", part="store_damaged") >= 1
    assert "set aside as store.corrupt-" in str(told[0]["problems"])
    assert told[0]["level"] == "critical"
    caller.acknowledged.clear()
    caller.recovered()
    eventually(lambda: is_found(service, caller.sign_in().answer.assessment_id))
    caller.acknowledged.clear()
    caller.several(10)
    caller.finds_everything()


def is_rebuilt(service: Service, before: dict[bytes, bytes]) -> None:
    """Every earlier record is rebuilt without an operator, and the rebuild is reported."""
    deadline = time.monotonic() + REBUILT
    while "store_rebuild_finished" not in [event["event"] for event in service.events()]:
        assert time.monotonic() < deadline, service.events()
        time.sleep(0.1)
    eventually(lambda: service.metric("riskd_store_rebuild_pending") == 0.0)
    events = [event["event"] for event in service.events()]
    assert events.count("store_rebuild_finished") == 1
    assert "store_rebuild_failed" not in events
    after = remembered(service.state / "store")
    assert before.items() <= after.items()
    assert service.metric("riskd_store_rebuild_lines", line="attempts") >= 30
    assert service.metric("riskd_store_rebuild_ratio", half="records") == 1.0
    assert not (service.state / "store.rebuilding").exists()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "noise": lambda data: data.write_bytes(Random(1).randbytes(data.stat().st_size)),
    "zeros": lambda data: data.write_bytes(bytes(data.stat().st_size)),
    "half": lambda data: os.truncate(data, data.stat().st_size // 2),
    "a hundred bytes": lambda data: os.truncate(data, 100),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_store_is_set_aside_as_it_is(damage: Callable[[Path], object], tmp_path: Path) -> None:
    """Whatever the damage, the file is kept as it is beside a new, empty store, and a rebuild is due."""
    path = tmp_path / "store"
    with closing(LmdbStore(path, 16 << 20)) as sound:
        assert sound.write([], [Swap(b"%08d" % number, None, b"text", NOW) for number in range(500)], NOW, 1.0)
    damage(path / "data.mdb")
    spoiled = (path / "data.mdb").read_bytes()
    begun, found = open_or_begin(path, 16 << 20)
    with closing(begun):
        assert found is not None
        assert begun.size()[0] == 0
    (aside,) = tmp_path.glob("store.corrupt-*")
    assert (aside / "data.mdb").read_bytes() == spoiled
    assert due_until(path) is not None


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_store_that_is_damaged_at_startup(tmp_path: Path) -> None:
    """Two workers that start on a damaged store set it aside once and begin a new one, and the log restores all
    records."""
    with serving(tmp_path) as service, witness(service) as caller:
        for seen in caller.several(30):
            caller.tell(seen.answer.assessment_id)
    before = remembered(tmp_path / "store")
    DAMAGES["noise"](tmp_path / "store" / "data.mdb")
    with serving(tmp_path, workers=2) as service, service.stub() as stub:
        is_set_aside_once(service, Witness(service, stub, "another"))
        is_rebuilt(service, before)


def test_files_that_are_not_a_damaged_riskd_store_are_left_alone(tmp_path: Path) -> None:
    """Another program's file, a file of another format, and the fourth damaged store are refused and left
    unchanged."""
    other, format_, ours = tmp_path / "other", tmp_path / "format", tmp_path / "ours"
    other.mkdir()
    (other / "data.mdb").write_bytes(b"somebody's" * 1000)
    LmdbStore(format_).close()
    with lmdb.open(str(format_)) as env, env.begin(write=True) as transaction:
        transaction.put(b"\0format", b"riskd 99")
    for path in (other, format_):
        with pytest.raises(InvalidStore):
            open_or_begin(path, 16 << 20)
        assert list(tmp_path.glob(f"{path.name}.corrupt-*")) == []
    for number in range(4):
        LmdbStore(ours, 16 << 20).close()
        (ours / "data.mdb").write_bytes(b"noise" * 5000)
        if number == 3:
            with pytest.raises(InvalidStore, match="there are 3 damaged ones already"):
                open_or_begin(ours, 16 << 20)
        else:
            store, found = open_or_begin(ours, 16 << 20)
            store.close()
            assert found is not None
            next(tmp_path.glob("ours.corrupt-2*")).rename(tmp_path / f"ours.corrupt-{number}")
    assert (ours / "data.mdb").read_bytes() == b"noise" * 5000


@pytest.mark.parametrize("moved", [False, True])
def test_a_kill_while_a_store_is_set_aside_loses_no_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    """A kill before the damaged store has moved schedules no rebuild; a kill after that schedules one, even if the new
    store does not exist yet."""
    path, rename = tmp_path / "store", Path.rename
    LmdbStore(path, 16 << 20).close()
    (path / "data.mdb").write_bytes(b"noise" * 5000)

    def killed(source: Path, target: Path) -> Path:
        if moved:
            rename(source, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            open_or_begin(path, 16 << 20)
    assert (due_until(path) is None) == (not moved)
    open_or_begin(path, 16 << 20)[0].close()
    assert due_until(path) == pytest.approx(time.time(), abs=60)


def test_a_store_file_that_cannot_grow(tmp_path: Path) -> None:
    """A simulated full disk: writes are unavailable, reads work, and free space alone restores everything."""
    with closing(LmdbStore(tmp_path, sync_seconds=0.05)) as store:
        assert store.write(counted(*SHARED), (), NOW, 1.0)
        with largest_file((tmp_path / "data.mdb").stat().st_size):
            fill(store, NOW + DAY)
            with pytest.raises(Unavailable, match="check that the disk has space"):
                store.write((), (Swap(b"large one", None, bytes(200_000), NOW + DAY),), NOW, 1.0)
            assert store.read(SHARED[:1], (), NOW, 1.0)[0] != [EMPTY]
        eventually(lambda: works(store))


def test_more_readers_than_reader_slots(tmp_path: Path) -> None:
    """A read without a free slot is unavailable; the next read reclaims the slots of dead readers."""
    with closing(LmdbStore(tmp_path, max_readers=2)) as store:
        with holding(tmp_path, "read") as one, holding(tmp_path, "read") as other:
            with pytest.raises(Unavailable, match="more readers than slots"):
                store.read(SHARED, (), NOW, 1.0)
            other.send_signal(signal.SIGSTOP)
            one.kill()
            one.wait()
            assert store.read(SHARED, (), NOW, 1.0) == ([EMPTY] * len(SHARED), [])
        assert store.write(counted(*SHARED), (), NOW, 1.0)


def test_an_lmdb_environment_in_panic(tmp_path: Path) -> None:
    """After an LMDB panic in a commit, the store is reopened and nothing is lost."""

    def panic(_: object) -> None:
        raise lmdb.PanicError("commit")

    with closing(LmdbStore(tmp_path, sync_seconds=0.05)) as store:
        assert store.write(counted(*SHARED), (), NOW, 1.0)
        before = store._env
        with pytest.raises(Unavailable):
            store._run(panic)
        eventually(lambda: store._env is not before)
        eventually(lambda: works(store))
        assert store.size()[0] == len(SHARED)


def works(store: LmdbStore) -> bool:
    with suppress(Unavailable):
        return store.write(counted(*SHARED), (), NOW, 1.0)
    return False


def test_revoked_file_permission(tmp_path: Path) -> None:
    """Without permission, an open store continues, and reaches the disk; opening it again is refused with the reason,
    until permission is restored."""
    place = tmp_path / "store"
    with closing(LmdbStore(place, sync_seconds=1000.0)) as store:
        place.chmod(0)
        with nobody():
            assert store.write(counted(*SHARED), (), NOW, 1.0)
            store._sync()
            assert not store._dirty
            with pytest.raises(InvalidStore, match="Permission denied"):
                LmdbStore(place)
        place.chmod(0o700)
        assert store.write(counted(*SHARED), (), NOW, 1.0)
