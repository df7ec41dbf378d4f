"""Faults of the store in a running service: sign-ins are answered in time, and what was acknowledged is found."""

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
from riskd.core.history import DAY
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
    """Another process in the middle of a transaction."""
    command = [sys.executable, "-m", "tests.contract.hammer", str(store), "holder", mode]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def fill(store: LmdbStore, expires: float) -> list[bytes]:
    """Write documents until the store is full. Returns their keys."""
    keys: list[bytes] = []
    for size in (100_000, 3000, 300):
        with suppress(Unavailable):
            while True:
                key = b"filler %08d" % len(keys)
                assert store.write((), (Swap(key, None, bytes(size), expires),), NOW, 1.0)
                keys.append(key)
    return keys


@pytest.mark.slow
def test_a_process_stopped_in_its_turn(tmp_path: Path) -> None:
    """SIGSTOP of a process that holds the write lock: answers come in time, and nothing is counted. SIGCONT or SIGKILL
    restores everything."""
    with serving(tmp_path, workers=2) as service, witness(service) as caller:
        with holding(tmp_path / "store", "write") as holder:
            holder.send_signal(signal.SIGSTOP)
            seen = caller.several(20)
            assert causes(seen) == NOT_WRITTEN
            assert gaps(seen) == set()
            assert median(each.seconds for each in seen) < OWN, "after one long wait nobody waits"
            assert caller.failures("store") >= 20
            assert caller.is_refused(caller.acknowledged[0])
        caller.recovered()
        caller.finds_everything()


@pytest.mark.slow
@pytest.mark.parametrize("remedy", ["sweep", "erase", "growth"])
def test_a_full_map(remedy: str, tmp_path: Path) -> None:
    """Answers come in time, and nothing is counted. Expiry, an erasure, or another process with a larger map makes
    space."""
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
def test_a_store_that_is_removed(tmp_path: Path) -> None:
    """All calls are answered. Within seconds there is a new store, which has what is acknowledged from then on."""
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
    """Whether the store at the path has the receipt. The first 8 bytes of an assessment's id are the place of its
    records."""
    with closing(LmdbStore(service.state / "store")) as store:
        return any(key.endswith(b"R") for key in store.held(bytes.fromhex(assessment_id[:16]), NOW, 100))


@pytest.mark.slow
def test_a_store_that_another_replaces(tmp_path: Path) -> None:
    """A copy that replaces the store is opened, and its records are found."""
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
    """Subjects whose records are on the page are answered with a gap. Others are not affected. Repairing the page needs
    no restart."""
    with serving(tmp_path) as service, witness(service) as caller:
        data = tmp_path / "store" / "data.mdb"
        caller.several(30)
        sound = data.read_bytes()
        with data.open("r+b") as file:
            for page in range(2, len(sound) // 4096):
                if sound[page * 4096 + 10] & 2:  # a leaf
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
def test_a_store_that_was_cut_off(tmp_path: Path) -> None:
    """Reading beyond the end of a mapped file kills the process. The next one checks the file, sets it aside, reports
    that, and serves. What is acknowledged from then on is found, and soon also what was acknowledged before."""
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
        is_begun_anew(service, caller)
        comes_back(service, before)
        (aside,) = tmp_path.glob("store.corrupt-*")
        assert (aside / "data.mdb").stat().st_size >= 2 * 4096


def is_begun_anew(service: Service, caller: Witness) -> None:
    """The store was set aside once, even if several processes found the damage. This was logged and counted, and the
    new store works."""
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


def comes_back(service: Service, before: dict[bytes, bytes]) -> None:
    """The histories are rebuilt without an operator, and this is logged: every earlier record is as before."""
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


DAMAGES = {
    "noise": lambda data: data.write_bytes(Random(1).randbytes(data.stat().st_size)),
    "zeros": lambda data: data.write_bytes(bytes(data.stat().st_size)),
    "half": lambda data: os.truncate(data, data.stat().st_size // 2),
    "a hundred bytes": lambda data: os.truncate(data, 100),
}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_start_with_a_damaged_store(damage: Callable[[Path], object], tmp_path: Path) -> None:
    """Two workers that find the damage set the store aside once and start a new one. Nothing is deleted, and all
    histories are rebuilt from the log."""
    with serving(tmp_path) as service, witness(service) as caller:
        for seen in caller.several(30):
            caller.tell(seen.answer.assessment_id)
    before = remembered(tmp_path / "store")
    data = tmp_path / "store" / "data.mdb"
    damage(data)
    spoiled = data.read_bytes()
    with serving(tmp_path, workers=2) as service, service.stub() as stub:
        is_begun_anew(service, Witness(service, stub, "another"))
        comes_back(service, before)
    (aside,) = tmp_path.glob("store.corrupt-*")
    assert (aside / "data.mdb").read_bytes() == spoiled


def test_what_is_no_damaged_store_of_ours_is_left_alone(tmp_path: Path) -> None:
    """Another program's file, a file of another format, and the fourth damaged store are rejected and left
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
def test_a_kill_while_a_damaged_store_is_set_aside_forgets_no_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    """No rebuild is due before the old store is moved. After that it is due, even if the new store was never
    created."""
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


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """A simulated full disk: writes are unavailable, reads work, and free space alone restores everything."""
    with closing(LmdbStore(tmp_path, sync_seconds=0.05)) as store:
        assert store.write(counted(*SHARED), (), NOW, 1.0)
        with largest_file((tmp_path / "data.mdb").stat().st_size):
            fill(store, NOW + DAY)
            with pytest.raises(Unavailable, match="check that the disk has space"):
                store.write((), (Swap(b"large one", None, bytes(200_000), NOW + DAY),), NOW, 1.0)
            assert store.read(SHARED[:1], (), NOW, 1.0)[0] != [None]
        eventually(lambda: works(store))


def test_more_readers_than_slots(tmp_path: Path) -> None:
    """Without a free reader slot, a read is unavailable. The next read frees the slots of dead readers."""
    with closing(LmdbStore(tmp_path, max_readers=2)) as store:
        with holding(tmp_path, "read") as one, holding(tmp_path, "read") as other:
            with pytest.raises(Unavailable, match="more readers than slots"):
                store.read(SHARED, (), NOW, 1.0)
            other.send_signal(signal.SIGSTOP)
            one.kill()
            one.wait()
            assert store.read(SHARED, (), NOW, 1.0) == ([None] * len(SHARED), [])
        assert store.write(counted(*SHARED), (), NOW, 1.0)


def test_a_panic_of_lmdb(tmp_path: Path) -> None:
    """After a disk error during a commit LMDB stops working on the file. The file is reopened, and nothing is lost."""

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


def test_permission_that_is_taken_away(tmp_path: Path) -> None:
    """An open store continues to work. Opening it again is refused with a reason, until the permission is restored."""
    place = tmp_path / "store"
    with closing(LmdbStore(place)) as store:
        place.chmod(0)
        with nobody():
            assert store.write(counted(*SHARED), (), NOW, 1.0)
            with pytest.raises(InvalidStore, match="Permission denied"):
                LmdbStore(place)
        place.chmod(0o700)
        assert store.write(counted(*SHARED), (), NOW, 1.0)
