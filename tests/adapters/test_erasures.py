"""Many erasures of the decision log at once: what they cost, and that none is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from threading import Event

import pytest
from msgspec.json import encode

from riskd.adapters.decision_log import Compacted, Erasure, FileLogArchive, archive, erasure
from riskd.adapters.decision_log.erasure import ErasureList, Erasures
from riskd.adapters.decision_log.rewriting import rewrite
from riskd.core.errors import Unavailable
from riskd.host.locks import exclusive
from tests.log_desk import ANNE, BERT, Desk, line

MANY = [f"{number:08}-person-".encode() for number in range(50)]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "log")


def counted(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> list[object]:
    """The first argument of each call of a function of a module, from now on."""
    told: list[object] = []
    real: Callable[..., object] = getattr(module, name)

    def call(first: object, *rest: object) -> object:
        told.append(first)
        return real(first, *rest)

    monkeypatch.setattr(module, name, call)
    return told


def ids(lines: Sequence[bytes]) -> list[str]:
    return [json.loads(each)["id"] for each in lines]


def test_many_subjects_leave_the_log_by_one_pass(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many subjects are erased, a compaction reads and rewrites each segment once, reads the list of erasures
    no more often than it changes, writes it a few times, and looks at an erasure only for lines of its subject."""
    for segment in range(20):
        desk.written(*(line(who, segment) for who in MANY), line(BERT, segment))
    with closing(desk.writer()) as writer:
        for who in MANY:
            assert writer.append(line(who, 99))
        desk.now += 1
        for who in MANY:
            desk.archive.forget([who])
        assert writer.append(line(MANY[0], 100))
    read, put = counted(monkeypatch, erasure, "_decoded"), counted(monkeypatch, erasure, "put")
    rewritten, stamped = counted(monkeypatch, archive, "rewrite"), counted(monkeypatch, erasure, "stamp")
    assert desk.compact() == Compacted(21, 21 * len(MANY), 0)
    assert len(stamped) <= 2 * 20 * len(MANY) + 3 * len(MANY), "twice for each line to erase, and when the list is read"
    assert len(rewritten) == len(set(rewritten)) == 21
    assert len(read) <= 3
    assert len(put) <= 2
    assert ids(desk.lines()) == [*ids([line(BERT, segment) for segment in range(20)]), *ids([line(MANY[0], 100)])]


def test_a_tenant_that_comes_back_keeps_its_new_lines(desk: Desk) -> None:
    """An erasure of a tenant removes its lines of before, also of a segment that is being written, and no other
    tenant's; lines that it writes afterwards stay."""

    def of(tenant: str, number: int) -> bytes:
        return encode({**json.loads(line(ANNE, number)), "tenant": tenant})

    desk.written(of("acme", 1), of("bond", 2), of("acm", 3))
    with closing(desk.writer()) as writer:
        assert writer.append(of("acme", 4))
        desk.now += 1
        desk.archive.forget_tenant("acme")
        desk.now += 1
        for each in (of("bond", 5), of("acme", 6)):
            assert writer.append(each)
        assert desk.compact().left == 1
        assert ids(desk.found(ANNE)) == ids([of("bond", 2), of("acm", 3), of("bond", 5), of("acme", 6)])
    assert desk.compact() == Compacted(1, 1, 0)
    assert ids(desk.lines()) == ids([of("bond", 2), of("acm", 3), of("bond", 5), of("acme", 6)])


def test_an_erasure_looks_at_no_segment_that_was_found_finished(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished segment is looked at by the first erasure and by no other, since nobody writes to it again. What was
    open is looked at again."""
    for number in range(20):
        desk.written(line(ANNE, number))
    with closing(desk.writer(1)) as writer:
        assert writer.append(line(ANNE, 20))
        desk.archive.forget([BERT])
        looked = counted(monkeypatch, archive, "_writing")
        assert writer.append(line(ANNE, 21))
        first = desk.archive.forget([ANNE])
        assert len(looked) == 1
        assert writer.append(line(ANNE, 22))
    assert desk.archive.forget([BERT]) >= first
    assert len(looked) == 2
    desk.compact()
    assert desk.lines() == [line(ANNE, 22)]


def test_a_torn_erasure_hides_no_other(desk: Desk) -> None:
    """A line that a crash tore counts as not asked for. Erasures before and after it are done."""
    desk.written(line(ANNE, 1), line(BERT, 1), *(line(who, 1) for who in MANY[:1]))
    desk.archive.forget([ANNE])
    listed = desk.directory / "erasures" / "list.json"
    for torn in (b'{"place":"', b"\0\0\0"):
        with listed.open("ab") as file:
            file.write(torn)
        assert desk.pending() == 1
    desk.archive.forget([BERT])
    assert desk.pending() == 2
    assert desk.compact() == Compacted(1, 2, 0)
    assert desk.lines() == [line(MANY[0], 1)]
    assert not listed.exists()


@pytest.mark.parametrize("copied", [False, True], ids=["no copy", "with a copy"])
def test_erasures_of_an_earlier_version_are_done(desk: Desk, copied: bool) -> None:
    """Erasures that were written as a file each are done with those of the list, and told to copies."""
    desk.written(line(ANNE, 1), line(BERT, 1), line(MANY[0], 1))
    folder = desk.directory / "erasures"
    (folder / "done").mkdir(parents=True)
    if copied:
        (folder / "done" / "0.json").write_bytes(encode(Erasure("ab", desk.now, {})))
    else:
        (folder / "done").rmdir()
    (folder / "1.json").write_bytes(encode(Erasure(ANNE[:8].hex(), desk.now, {})))
    desk.archive.forget([BERT])
    assert desk.pending() == 2
    assert desk.found(ANNE) == []
    assert desk.compact(customer=9e9) == Compacted(1, 2, 0)
    assert desk.lines() == [line(MANY[0], 1)]
    told = sorted(entry.place for entry in desk.archive.erased())
    assert told == (sorted(("ab", ANNE[:8].hex(), BERT[:8].hex())) if copied else [])
    assert [each.name for each in folder.rglob("*.json")] == (["list.json"] if copied else [])


def test_erasures_are_read_while_those_of_an_earlier_version_are_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No erasure is overlooked because its file is moved to the list just after the directory was listed."""
    asked = [Erasure(who[:8].hex(), 1.0, {}) for who in (ANNE, BERT)]
    for number, entry in enumerate(asked):
        (tmp_path / f"{number}.json").write_bytes(encode(entry))
    listing = os.scandir

    def listed(folder: Path) -> AbstractContextManager[list[os.DirEntry[str]]]:
        monkeypatch.undo()
        with listing(folder) as there:
            entries = list(there)
        ErasureList(tmp_path).join()
        return nullcontext(entries)

    monkeypatch.setattr(os, "scandir", listed)
    assert list(ErasureList(tmp_path).read().entries) == asked


def test_an_erasure_during_a_compaction_waits_for_the_next(desk: Desk) -> None:
    """An erasure that is asked for after a compaction has passed some segments is not finished by it."""
    for number in range(2):
        desk.written(line(ANNE, number), line(BERT, number))
    desk.archive.forget([ANNE])

    def ask(done: int, _: int) -> None:
        if done == 1:
            desk.archive.forget([BERT])

    assert desk.archive.compact({}, Event(), ask) == Compacted(2, 3, 0)
    assert desk.pending() == 1
    assert desk.lines() == [line(BERT, 0)]
    desk.compact()
    assert (desk.pending(), desk.lines()) == (0, [])


@pytest.mark.parametrize("late", [ANNE, BERT], ids=["the same", "another"])
def test_an_erasure_while_a_segment_is_rewritten_is_done_by_the_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, late: bytes
) -> None:
    """A segment that a compaction rewrites seems to be written at that moment. An erasure that is asked for then is
    not taken for done with it, and later lines stay."""
    desk.written(line(ANNE, 0), line(BERT, 0), line(MANY[0], 0))
    desk.archive.forget([ANNE])
    another = FileLogArchive(desk.directory, 1.0, 1.0, lambda: desk.now)

    def slowly(path: Path, erasures: Erasures, old: set[str], stop: Event, rate: float) -> int:
        desk.now += 1
        another.forget([late])
        return rewrite(path, erasures, old, stop, rate)

    with monkeypatch.context() as patched:
        patched.setattr(archive, "rewrite", slowly)
        assert desk.compact() == Compacted(1, 1, 0)
    assert desk.found(late) == []
    assert desk.pending() == 1
    desk.now += 1
    desk.written(line(late, 1))
    desk.compact()
    assert desk.pending() == 0
    kept = [line(MANY[0], 0), line(late, 1)]
    assert desk.lines() == (kept if late == BERT else [line(BERT, 0), *kept])


def test_no_erasure_is_lost_among_workers_and_compactions(desk: Desk) -> None:
    """While several workers record erasures and another compacts, each is done, by then or by the next compaction."""
    for number in range(3):
        desk.written(*(line(who, number) for who in MANY), line(BERT, number))
    workers = [FileLogArchive(desk.directory, 1.0, 1.0, lambda: desk.now) for _ in range(3)]
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(workers[at % 3].forget, [who]) for at, who in enumerate(MANY)]
        while not all(each.done() for each in asked):
            workers[0].compact({}, Event())
    for each in asked:
        each.result()
    desk.compact()
    assert desk.pending() == 0
    assert desk.lines() == [line(BERT, number) for number in range(3)]


def test_an_erasure_that_cannot_be_listed_in_time_is_unavailable(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An erasure that would wait too long for another process to change the list raises Unavailable."""
    monkeypatch.setattr(erasure, "_PATIENCE", 0.0)
    desk.archive.forget([ANNE])
    with exclusive(desk.directory / "erasures" / "list.lock"), pytest.raises(Unavailable, match="holds the lock"):
        desk.archive.forget([BERT])
    assert desk.pending() == 1
