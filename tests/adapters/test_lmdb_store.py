"""The embedded store on disk: what it refuses, what it reports, and how it recovers."""

from __future__ import annotations

import errno
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import lmdb
import msgspec
import pytest

from riskd.adapters.lmdb_store import LmdbStore, open_or_begin
from riskd.adapters.lmdb_store.file import refused
from riskd.adapters.lmdb_store.layout import inside
from riskd.core.errors import DamagedStore, InvalidStore, Unavailable
from riskd.core.history import EMPTY, WEEK, Delta
from riskd.core.stored import Change, Swap

ROOT = Path(__file__).parents[2]
NOW = 1_800_000_000.0
PAGE_BYTES, VERSION_AT = 4096, 20
"""Offsets in the two pages at the beginning of an LMDB file (MDB_meta, after the page's header)."""
KEY = b"P" + bytes(16)
DELTA = Delta(KEY, NOW, NOW + WEEK, (("attempt", "", 1),))


def paper(number: int, size: int = 3000) -> Swap:
    return Swap(b"R%06d" % number, None, bytes(size), NOW + WEEK)


def fill(store: LmdbStore) -> int:
    """Write documents until the store is full, and return their number."""
    for number in range(100_000):
        try:
            assert store.write((), [paper(number)], NOW, 1.0)
        except Unavailable:
            return number
    raise AssertionError("it never filled")


def test_a_reopened_store_has_the_same_records(tmp_path: Path) -> None:
    """After closing and reopening, the store has the same records and count."""
    first = LmdbStore(tmp_path)
    first.write([DELTA], [paper(1)], NOW, 1.0)
    first.close()
    second = LmdbStore(tmp_path)

    assert second.size()[0] == 2
    assert second.read((KEY,), (), NOW, 1.0)[0] != [EMPTY]
    second.close()


def test_only_this_user_may_look(tmp_path: Path) -> None:
    """The directory has mode 0700, and its files at most 0600."""
    directory = tmp_path / "var" / "history"
    LmdbStore(directory).close()

    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o177 for path in directory.iterdir()} == {0}


def test_another_programs_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    """An LMDB file of another program is refused with a remedy and not changed."""
    with lmdb.open(str(tmp_path)) as foreign, foreign.begin(write=True) as transaction:
        transaction.put(b"theirs", b"1")
    before = (tmp_path / "data.mdb").read_bytes()
    with pytest.raises(InvalidStore) as caught:
        LmdbStore(tmp_path)

    (problem,) = caught.value.problems
    assert problem.where == str(tmp_path)
    assert "another program" in problem.what
    assert "another directory" in problem.remedy
    with lmdb.open(str(tmp_path)) as foreign, foreign.begin() as transaction:
        assert transaction.stat()["entries"] == 1
    assert len((tmp_path / "data.mdb").read_bytes()) == len(before)


def test_another_format_is_refused(tmp_path: Path) -> None:
    """A store of a later format is refused instead of being misread."""
    LmdbStore(tmp_path).close()
    with lmdb.open(str(tmp_path)) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"\0format", b"riskd 9")

    with pytest.raises(InvalidStore, match=r"riskd 9.*run the version that wrote it"):
        LmdbStore(tmp_path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """A file that LMDB cannot read is refused as damaged, with a remedy."""
    (tmp_path / "data.mdb").write_bytes(b"no database" * 4096)

    with pytest.raises(InvalidStore, match=r"damaged, or not a store.*verify"):
        LmdbStore(tmp_path)


@pytest.mark.parametrize(
    ("error", "damaged"),
    [
        (lmdb.CorruptedError("page"), True),
        (lmdb.PageNotFoundError("page"), True),
        (lmdb.InvalidError("no LMDB file"), True),
        (msgspec.DecodeError("no record"), True),
        (struct.error("no expiry"), True),
        (lmdb.VersionMismatchError("another version"), False),
        (lmdb.MapFullError("full"), False),
        (lmdb.ReadersFullError("readers"), False),
        (lmdb.DiskError("no room"), False),
        (PermissionError(errno.EACCES, "no permission"), False),
        (OSError(errno.EIO, "the disk"), False),
        (OSError(errno.EMFILE, "descriptors"), False),
    ],
)
def test_only_what_is_damaged_may_be_set_aside(error: Exception, damaged: bool, tmp_path: Path) -> None:
    """A full disk, a missing permission or another LMDB version does not mean that the store is damaged."""
    assert isinstance(refused(tmp_path, error), DamagedStore) == damaged


def test_a_file_of_another_version_of_lmdb_is_no_damage(tmp_path: Path) -> None:
    """A file of another LMDB version is refused by name and not set aside."""
    LmdbStore(tmp_path / "store").close()
    data = tmp_path / "store" / "data.mdb"
    content = bytearray(data.read_bytes())
    for page in (0, 1):
        content[page * PAGE_BYTES + VERSION_AT] = 9
    data.write_bytes(content)
    with pytest.raises(InvalidStore, match="data format v9"):
        open_or_begin(tmp_path / "store", 16 << 20)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def restarted(directory: Path) -> None:
    """Pretend that the machine was restarted since the last check."""
    (directory / "checked-since-boot").write_text("another life")


def damage(directory: Path) -> bytes:
    """Lose one page, as a disk does that wrote the next one first. Returns the previous content."""
    data = directory / "data.mdb"
    sound = data.read_bytes()
    data.write_bytes(sound[:40960] + bytes(4096) + sound[45056:])
    return sound


def filled(directory: Path) -> None:
    """Create a closed store of some pages."""
    store = LmdbStore(directory)
    store.write((), [paper(number) for number in range(100)], NOW, 1.0)
    store.close()


def test_the_store_is_checked_after_a_machine_restart(tmp_path: Path) -> None:
    """Pages that never reached the disk are noticed before the store is used."""
    filled(tmp_path)
    restarted(tmp_path)
    sound = damage(tmp_path)
    with pytest.raises(InvalidStore, match=r"damaged, or not a store.*restore a copy"):
        LmdbStore(tmp_path)
    with pytest.raises(InvalidStore):
        LmdbStore(tmp_path)

    (tmp_path / "data.mdb").write_bytes(sound)
    LmdbStore(tmp_path).close()
    assert (tmp_path / "checked-since-boot").read_text() != "another life"


def test_one_life_of_the_machine_is_one_check(tmp_path: Path) -> None:
    """The file is checked once per boot, so a process that joins others does not read pages being written."""
    filled(tmp_path)
    damage(tmp_path)
    LmdbStore(tmp_path).close()


WRITER = """
import sys
from pathlib import Path
from riskd.adapters.lmdb_store import LmdbStore
from tests.adapters.test_lmdb_store import NOW, paper

store, number = LmdbStore(Path(sys.argv[1])), 0
while True:
    store.write((), [paper(number, 500)], NOW, 1.0)
    number += 1
    if number == 3000:
        print("writes", flush=True)
"""


def test_a_store_that_others_write_to_is_not_damaged(tmp_path: Path) -> None:
    """A check of a store that another process is writing to does not condemn it, although it reads pages of several
    moments. A process may check while others write: where it sees another boot id (systemd-nspawn, for one)."""
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={"PYTHONPATH": str(ROOT)}) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"writes\n"
            for _ in range(3):
                restarted(tmp_path)
                LmdbStore(tmp_path).close()
                assert writer.poll() is None
        finally:
            writer.kill()


def test_a_file_in_the_directorys_place_is_refused(tmp_path: Path) -> None:
    """A path that is a file is refused as a mistake in the settings."""
    path = tmp_path / "file"
    path.write_text("text")

    with pytest.raises(InvalidStore, match="file"):
        LmdbStore(path)


def test_a_map_beyond_the_address_space_is_refused(tmp_path: Path) -> None:
    """A map for which the process has no address space is refused, and the error names the setting."""
    with pytest.raises(InvalidStore, match=r"lower store\.map_size_mb"):
        LmdbStore(tmp_path, map_size=1 << 47)


def test_a_damaged_record_is_unavailable(tmp_path: Path) -> None:
    """Reading or writing a damaged record raises Unavailable; it can be erased."""
    store = LmdbStore(tmp_path)
    with store._env.begin(write=True) as transaction:
        transaction.put(inside(KEY), b"\x7f" * 20)
        transaction.put(inside(b"Pscrap"), b"x")

    for key in (KEY, b"Pscrap"):
        with pytest.raises(Unavailable, match="damaged"):
            store.read((key,), (), NOW, 1.0)
    with pytest.raises(Unavailable, match="damaged"):
        store.write([DELTA], [paper(1)], NOW, 1.0)
    assert store.read((), (b"R000001",), NOW, 1.0) == ([], [None])
    assert store.erase([KEY, b"Pscrap"]) == 2
    assert store.write([DELTA], (), NOW, 1.0)
    store.close()


def test_a_full_store_is_reported_and_can_be_erased_from(tmp_path: Path) -> None:
    """A full store refuses writes and names the setting, but reads and erases; erasing makes room."""
    store = LmdbStore(tmp_path, map_size=1 << 20)
    held = fill(store)
    with pytest.raises(Unavailable, match=r"full.*map_size"):
        store.write((), [paper(held)], NOW, 1.0)

    assert held > 100
    assert store.read((), (b"R000000",), NOW, 1.0)[1] == [bytes(3000)]
    assert store.erase([paper(number).key for number in range(held)]) == held
    assert store.write((), [paper(number) for number in range(50)], NOW, 1.0)
    store.close()


def test_records_of_a_full_store_can_be_replaced(tmp_path: Path) -> None:
    """A rotation of the pepper moves the records of a full store, too."""
    store = LmdbStore(tmp_path, map_size=1 << 20)
    old = paper(fill(store) - 1).key
    (record,) = store.load([old])
    assert store.replace([Change(old, record, None), Change(b"new" + old, None, record)])
    assert store.load([old, b"new" + old]) == [None, record]
    store.close()


def test_writers_to_a_full_store_disturb_no_other_call(tmp_path: Path) -> None:
    """While writes to a full store are refused, reads, sweeps and syncs do not fail."""
    store = LmdbStore(tmp_path, map_size=1 << 20, sync_seconds=0.001)
    held = fill(store)
    refused: list[str] = []
    full = threading.Event()

    def until_told(call: Callable[[], object]) -> None:
        while not full.wait(0.0005):
            try:
                call()
            except Unavailable as error:
                refused.append(str(error))

    beside = [
        lambda: store.read((KEY,), (b"R000000",), NOW, 1.0),
        lambda: store.sweep(NOW, 1000),
        lambda: store.held(b"R0000", NOW, 10),
        store.size,
    ]
    threads = [threading.Thread(target=until_told, args=(call,)) for call in beside]
    for thread in threads:
        thread.start()
    try:
        for number in range(50):
            with pytest.raises(Unavailable, match="the store is full"):
                store.write((), [paper(held + number, 30_000)], NOW, 1.0)
            time.sleep(0.02)
            store._look_at = 0.0  # as after a second: the thread that grew the map has finished
    finally:
        full.set()
        for thread in threads:
            thread.join()

    assert refused == []
    store.close()


def test_a_full_store_can_be_swept(tmp_path: Path) -> None:
    """A full store can be swept, which makes room."""
    store = LmdbStore(tmp_path, map_size=1 << 20)
    held = fill(store)

    assert store.sweep(NOW + WEEK, 100_000) == held
    assert store.write([DELTA], (), NOW, 1.0)
    store.close()


def test_a_file_that_another_process_made_larger_is_followed(tmp_path: Path) -> None:
    """If another process enlarges the map, this one keeps reading and writing."""
    store = LmdbStore(tmp_path, map_size=1 << 20)
    grow = (
        "import sys; from pathlib import Path; from tests.adapters.test_lmdb_store import LmdbStore, paper, NOW\n"
        "store = LmdbStore(Path(sys.argv[1]), map_size=16 << 20)\n"
        "assert store.write((), [paper(number) for number in range(1000)], NOW, 1.0)\n"
        "store.close()\n"
    )
    subprocess.run([sys.executable, "-c", grow, str(tmp_path)], cwd=ROOT, check=True)

    assert store.read((), (b"R000999",), NOW, 1.0)[1] == [bytes(3000)]
    assert store.write((), [paper(number) for number in range(1000, 1100)], NOW, 1.0)
    assert store.size()[0] == 1100
    store.close()


def test_a_damaged_record_stops_no_sweep(tmp_path: Path) -> None:
    """A sweep that meets a damaged record reports it, and the next ones go on behind it."""
    store = LmdbStore(tmp_path)
    assert store.write((), [paper(number) for number in range(20)], NOW, 1.0)
    with store._env.begin(write=True) as transaction:
        transaction.put(inside(b"Pscrap"), b"x")
    gone, reported = 0, 0
    for _ in range(12):
        try:
            gone += store.sweep(NOW + WEEK, 2)
        except Unavailable as error:
            reported += "damaged" in str(error)
    assert (gone >= 19, reported) == (True, 1)
    store.close()


def test_another_programs_file_in_its_place_is_reported_until_it_goes(tmp_path: Path) -> None:
    """If the directory is replaced by one that is not riskd's, nothing is written, and certainly not to the old file,
    until a store is in its place again."""
    path = tmp_path / "store"
    store = LmdbStore(path, sync_seconds=1000.0)
    assert store.write([DELTA], (), NOW, 1.0)
    path.rename(tmp_path / "mine")
    theirs = lmdb.open(str(path))
    with theirs.begin(write=True) as transaction:
        transaction.put(b"theirs", b"1")
    theirs.close()
    for _ in range(3):
        store._sync()
        with pytest.raises(Unavailable, match="another program's"):
            store.write([DELTA], (), NOW, 1.0)
    path.rename(tmp_path / "theirs")
    (tmp_path / "mine").rename(path)
    store._sync()
    assert store.write([DELTA], (), NOW, 1.0)
    store.close()


def test_a_closed_store_is_unavailable(tmp_path: Path) -> None:
    """After close, every call raises Unavailable, and does not take the disk for the cause."""
    store = LmdbStore(tmp_path)
    store.close()

    for call in (
        lambda: store.read((KEY,), (), NOW, 1.0),
        lambda: store.write([DELTA], (), NOW, 1.0),
        lambda: store.erase([KEY]),
        lambda: store.sweep(NOW, 10),
        store.size,
    ):
        with pytest.raises(Unavailable, match="is closed"):
            call()


def test_a_busy_writer_is_not_waited_for_beyond_the_deadline(tmp_path: Path) -> None:
    """If another thread is writing, a write with little time raises Unavailable and changes nothing."""
    store = LmdbStore(tmp_path)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with store._turn._threads:
            held.set()
            release.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    with pytest.raises(Unavailable, match="no answer in time"):
        store.write([DELTA], (), NOW, 0.01)
    release.set()
    holder.join()

    assert store.read((KEY,), (), NOW, 1.0)[0] == [EMPTY]
    store.close()


def test_its_thread_lives_from_the_first_write_to_the_close(tmp_path: Path) -> None:
    """The sync thread exists from the first write until the close."""
    store = LmdbStore(tmp_path, sync_seconds=0.01)
    store.read((KEY,), (), NOW, 1.0)
    assert syncers() == []
    store.write([DELTA], (), NOW, 1.0)
    assert len(syncers()) == 1
    store.write([DELTA], (), NOW, 1.0)
    assert len(syncers()) == 1
    store.close()
    assert syncers() == []


def syncers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "riskd-lmdb-sync"]


class OnceFull:
    """An environment whose first sync raises MemoryError."""

    def __init__(self, env: lmdb.Environment) -> None:
        self._env = env
        self.synced = 0

    def sync(self, force: bool) -> None:
        self.synced += 1
        if self.synced == 1:
            raise MemoryError
        self._env.sync(force)

    def __getattr__(self, name: str) -> object:
        return getattr(self._env, name)


class Refusing(OnceFull):
    """An environment whose syncs a disk refuses."""

    def sync(self, force: bool) -> None:
        self.synced += 1
        raise lmdb.DiskError("Input/output error")


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.write([DELTA], (), NOW, 1.0),
        lambda store: store.replace([Change(KEY, None, b"\xff\xff\xff\xff")]),
        lambda store: store.erase([paper(1).key]),
    ],
    ids=["write", "replace", "erase"],
)
def test_closing_waits_for_the_disk(change: Callable[[LmdbStore], object], tmp_path: Path) -> None:
    """Closing a store brings its last change to the disk, and raises what the disk answers. Without one it does not."""
    store = LmdbStore(tmp_path, sync_seconds=1000.0)
    assert store.write((), [paper(1)], NOW, 1.0)
    store.close()
    store = LmdbStore(tmp_path, sync_seconds=1000.0)
    env = store._env = Refusing(store._env)  # type: ignore[assignment]
    store._sync()
    assert env.synced == 0
    assert change(store)
    with pytest.raises(Unavailable, match="Input/output error"):
        store.close()
    assert env.synced == 1


def test_nothing_is_changed_while_the_disk_refuses(tmp_path: Path) -> None:
    """Once the disk has refused a change, every other is refused, erasures included: they would not last, either."""
    store = LmdbStore(tmp_path, sync_seconds=1000.0)
    assert store.write((), [paper(1)], NOW, 1.0)
    store._env, usual = Refusing(store._env), store._env  # type: ignore[assignment]
    store._sync()
    changes: list[Callable[[], object]] = [
        lambda: store.write([DELTA], (), NOW, 1.0),
        lambda: store.replace([Change(KEY, None, b"\xff\xff\xff\xff")]),
        lambda: store.erase([paper(1).key]),
        lambda: store.sweep(NOW + WEEK, 10),
    ]
    for change in changes:
        with pytest.raises(Unavailable, match="Input/output error"):
            change()
    store._env = usual
    store._sync()
    assert store.erase([paper(1).key]) == 1
    store.close()


def test_a_failed_sync_is_repeated(tmp_path: Path) -> None:
    """After a sync failed, it is repeated without another write, because the last write is not durable yet."""
    store = LmdbStore(tmp_path, sync_seconds=0.01)
    store._env = env = OnceFull(store._env)  # type: ignore[assignment]
    assert store.write((DELTA,), (), NOW, 5.0)
    until = time.monotonic() + 10
    while env.synced < 2:
        assert time.monotonic() < until
        time.sleep(0.01)
    store.close()
