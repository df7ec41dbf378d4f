"""The written decision log: finding and erasing a subject's lines, retention and compaction, on real files."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from threading import Event
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from riskd.adapters.decision_log import (
    Bounds,
    Compacted,
    FileDecisionLog,
    FileLogArchive,
    archive,
    rewriting,
)
from riskd.adapters.decision_log.erasure import Erasures
from riskd.adapters.decision_log.files import PACKED, finished, segments
from riskd.adapters.decision_log.rewriting import rewrite
from riskd.adapters.null import NullMeter
from riskd.cli.main import main
from riskd.core.errors import Unavailable
from riskd.host.locks import exclusive
from tests.decision_log import read_segments
from tests.log_desk import ANNE, BEGUN, BERT, Desk, line

ROOT = Path(__file__).parents[2]
DAY = 86_400.0


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "log")


KINDS = ("assessment", "outcome", "repeat")


def test_an_erased_subject_is_in_no_line(desk: Desk) -> None:
    """The subject's assessments, outcomes and repeats are removed; other lines stay bit for bit and in order."""
    annes = [line(ANNE, number, kind) for number, kind in enumerate(KINDS)]
    berts = [line(BERT, number, kind) for number, kind in enumerate(KINDS)]
    desk.written(annes[0], berts[0], annes[1])
    desk.written(berts[1])
    desk.written(annes[2], berts[2])
    inode = segments(desk.directory)[1].stat().st_ino
    desk.archive.forget([ANNE])

    assert desk.compact() == Compacted(2, 3, 0)
    assert desk.lines() == berts
    assert segments(desk.directory)[1].stat().st_ino == inode, "a segment without the subject's lines is not changed"
    assert desk.pending() == 0
    assert desk.compact() == Compacted(0, 0, 0)


def test_compaction_removes_no_line_after_a_clock_jump(desk: Desk) -> None:
    """If the clock jumps a year ahead, erasures are applied, but no line is removed by age for an hour. After
    correction, age counts as before."""
    desk.written(line(ANNE, 1), line(BERT, 1))
    desk.archive.forget([ANNE])
    desk.set_clock(365 * DAY)
    desk.now += 1
    assert desk.compact(customer=90 * DAY) == Compacted(1, 1, 0)
    assert desk.lines() == [line(BERT, 1)]
    assert desk.archive.state().compacted == desk.now
    desk.set_clock(0.0)
    assert desk.archive.state().compacted == 0.0
    assert desk.compact(customer=90 * DAY) == Compacted(0, 0, 0)
    desk.now += 91 * DAY
    assert desk.compact(customer=90 * DAY) == Compacted(1, 1, 0)


def test_lines_written_after_the_erasure_stay(desk: Desk) -> None:
    """An open segment's earlier lines are removed once it is finished; lines that a returning subject writes after the
    erasure stay, whatever their event time."""
    desk.now += 10
    writer = desk.writer()
    assert writer.append(line(ANNE, 1))
    assert writer.append(line(BERT, 2))
    desk.now += 10
    desk.archive.forget([ANNE])
    assert writer.append(line(ANNE, 3))

    assert desk.compact() == Compacted(0, 0, 1), "an open segment is not rewritten"
    assert desk.found(ANNE) == [line(ANNE, 3)], "nor is it found any more"
    writer.close()
    desk.now += 10
    desk.written(line(ANNE, 4))

    assert desk.compact() == Compacted(1, 1, 0)
    assert desk.lines() == [line(BERT, 2), line(ANNE, 3), line(ANNE, 4)]
    assert desk.pending() == 0


def test_two_erasures_do_not_disturb_each_other(desk: Desk) -> None:
    """An erasure requested between two compactions also applies to segments that the first one rewrote."""
    desk.written(*(line(who, number) for number in range(4) for who in (ANNE, BERT)))
    desk.archive.forget([ANNE])
    with finished(segments(desk.directory)[0]):
        desk.archive.forget([BERT])
        assert desk.compact() == Compacted(0, 0, 2), "a segment in use is only delayed"
    assert desk.compact() == Compacted(1, 8, 0)
    assert desk.lines() == []
    assert segments(desk.directory) == []


writing = st.tuples(st.sampled_from(["anne", "bert", "next"]), st.sampled_from([0, 1]))
keeping = st.tuples(
    st.sampled_from(["erase anne", "erase bert", "compact", "compact beside", "compact one", "pack", "packing"]),
    st.just(0),
)


@settings(max_examples=50)
@given(st.lists(writing | keeping, max_size=25))
@example([("anne", 0), ("erase anne", 0), ("compact", 0), ("anne", 1)])
@example([("anne", 0), ("next", 0), ("anne", 0), ("erase anne", 0), ("compact beside", 0)])
@example([("anne", 0), ("erase anne", 0), ("next", 0), ("packing", 0), ("compact", 0), ("pack", 0)])
@example([*[("anne", 0), ("next", 0), ("anne", 0), ("erase anne", 0), ("anne", 0), ("next", 0)], ("compact beside", 0)])
def test_whatever_happens_in_which_order(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int]]
) -> None:
    """After any sequence of writes, erasures, stopped compactions and packing, exactly the lines written after their
    subject's last erasure remain."""
    desk = Desk(tmp_path_factory.mktemp("log"))
    kept: list[tuple[bytes, bytes]] = []
    writers = [desk.writer(0), desk.writer(1)]
    for number, (event, at) in enumerate(events):
        desk.now += 1
        who = ANNE if event.endswith("anne") else BERT
        if event in ("anne", "bert"):
            text = line(who, number, KINDS[number % 3])
            assert writers[at].append(text)
            kept.append((who, text))
        elif event.startswith("erase"):
            desk.archive.forget([who])
            kept = [(whose, text) for whose, text in kept if whose != who]
        elif event == "next":
            writers[at].close()
            writers[at] = desk.writer(at)
        elif event.startswith("pack"):
            desk.pack(begun=event == "packing")
        elif event == "compact one":
            desk.compact_one()
        elif event == "compact beside":
            with suppress(FileNotFoundError), finished(segments(desk.directory)[0]):
                desk.compact()
        else:
            desk.compact()
    for writer in writers:
        writer.close()
    for who in (ANNE, BERT):
        assert sorted(desk.found(who, 3)) == sorted(text for whose, text in kept if whose == who)
    desk.compact()

    assert sorted(desk.lines()) == sorted(text for _, text in kept)
    assert desk.pending() == 0


def test_erased_lines_are_gone_in_time(tmp_path: Path) -> None:
    """With an active writer and regular compactions, the lines are gone by the time that the answer promised."""
    with closing(FileDecisionLog(tmp_path, 0, NullMeter(), Bounds(segment_seconds=0.5))) as writer:
        tidy = FileLogArchive(tmp_path, 0.5, 0.5)
        assert writer.append(line(ANNE, 1))
        begun = time.time()
        by = tidy.forget([ANNE])
        assert begun + 1 + archive.SLACK < by < time.time() + 2 + archive.SLACK
        while list(read_segments(tmp_path)):
            time.sleep(0.5)
            tidy.compact({}, Event())
            assert time.time() < by


NEWER: Final[dict[str, dict[str, object]]] = {
    "type": {"type": "verdict"},
    "domain": {"domain": "robots"},
    "journey": {"journey": "teleport"},
    "field": {"more": {"than": ["this", 1.0]}},
}
"""Fields of lines that a newer riskd may write."""


@pytest.mark.parametrize("news", NEWER)
def test_a_line_of_a_newer_riskd_is_kept_unchanged(desk: Desk, news: str) -> None:
    """After a rollback, a line of a newer riskd stays unchanged when others are erased, for the longest retention of
    any domain. Its own subject can find it and have it erased."""
    newer = json.dumps({**json.loads(line(ANNE, 1)), **NEWER[news]}, separators=(" , ", ":  ")).encode()
    desk.written(newer, line(BERT, 2), line(BERT, 3, domain="workforce"))
    desk.archive.forget([BERT])
    desk.compact(customer=DAY, workforce=3 * DAY, machine=DAY)
    assert desk.lines() == [newer]
    assert desk.archive.find([ANNE], b"", 9) == ([newer], b"")
    desk.now += 2 * DAY
    desk.compact(customer=3 * DAY, workforce=9 * DAY, machine=DAY)
    assert desk.lines() == [newer]
    desk.archive.forget([ANNE])
    desk.compact(customer=3 * DAY)
    assert desk.lines() == []
    desk.written(newer)
    desk.now += 10 * DAY
    desk.compact(customer=3 * DAY, workforce=9 * DAY, machine=DAY)
    assert desk.lines() == []


def test_lines_older_than_their_domain_keeps_go(desk: Desk) -> None:
    """A domain's lines are removed when their segment's last write is older than its retention; a shorter retention
    applies to existing lines."""
    for _ in range(3):
        desk.written(line(ANNE, 1), line(BERT, 2, domain="workforce"))
        desk.now += DAY
    assert desk.compact(customer=10 * DAY, workforce=10 * DAY) == Compacted(0, 0, 0)
    assert desk.compact(customer=1.5 * DAY, workforce=10 * DAY) == Compacted(2, 2, 0)
    assert desk.lines() == [line(BERT, 2, domain="workforce")] * 2 + [line(ANNE, 1), line(BERT, 2, domain="workforce")]
    assert desk.compact(customer=1.5 * DAY, workforce=10 * DAY) == Compacted(0, 0, 0)
    desk.now += DAY
    assert desk.compact(customer=1.5 * DAY, workforce=2.5 * DAY) == Compacted(3, 3, 0)
    assert desk.lines() == [line(BERT, 2, domain="workforce")]


def test_lines_that_were_too_old_while_their_segment_was_open_go_once_it_is_finished(desk: Desk) -> None:
    """Old lines in a segment that an idle worker keeps open are removed once it is finished."""
    writer = desk.writer()
    assert writer.append(line(ANNE, 1))
    os.utime(segments(desk.directory)[0], (desk.now, desk.now))
    desk.now += 1
    desk.written(line(BERT, 2))
    desk.now += 3 * DAY
    assert desk.compact(customer=DAY) == Compacted(1, 1, 0)
    writer.close()
    assert desk.compact(customer=DAY) == Compacted(1, 1, 0)
    assert desk.lines() == []


def test_an_erasure_is_remembered_for_copies_as_long_as_lines_are_kept(desk: Desk) -> None:
    """An erasure is remembered for copies of the log for as long as lines are kept; registering a copy twice has no
    effect."""
    for _ in range(2):
        desk.archive.remember()
    desk.written(line(ANNE, 1))
    desk.archive.forget([ANNE])
    for days, known in ((0, 1), (9, 1), (2, 0)):
        desk.now += days * DAY
        desk.compact(customer=10 * DAY, workforce=DAY)
        assert (desk.pending(), len(desk.archive.erased())) == (0, known)


def test_only_old_drafts_are_deleted(desk: Desk) -> None:
    """A new draft belongs to a writer and is kept; an old one is deleted."""
    desk.written(line(ANNE, 1))
    fresh, old = (desk.directory / f"{name}.jsonl.draft" for name in ("fresh", "old"))
    for draft, age in ((fresh, 1.0), (old, archive.SLACK + 1)):
        draft.touch()
        os.utime(draft, (desk.now - age, desk.now - age))
    desk.compact()
    assert (fresh.exists(), old.exists()) == (True, False)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_a_rewritten_segment_keeps_its_age_and_its_privacy(desk: Desk, packed: bool) -> None:
    """A rewritten segment keeps its modification time, its mode and its compression."""
    desk.written(line(ANNE, 1), line(BERT, 2))
    if packed:
        desk.pack()
    (path,) = segments(desk.directory)
    before = path.stat()
    desk.archive.forget([ANNE])
    assert desk.compact() == Compacted(1, 1, 0)
    after = path.stat()

    assert (after.st_mtime_ns, after.st_mode & 0o777) == (before.st_mtime_ns, 0o600)
    raw = path.read_bytes()
    assert (gzip.decompress(raw) if packed else raw) == line(BERT, 2) + b"\n"


def test_a_segment_that_is_packed_meanwhile_is_not_missed(desk: Desk) -> None:
    """A segment that is compressed during a compaction is still rewritten."""
    for _ in range(2):
        desk.written(line(ANNE, 1), line(BERT, 2), line(BERT, 3, domain="workforce"))
    desk.now += 10 * DAY
    desk.archive.forget([ANNE])
    done = desk.archive.compact({"workforce": DAY}, Event(), lambda done, _: desk.pack() if done == 1 else None)
    assert done == Compacted(2, 4, 0)
    assert desk.lines() == [line(BERT, 2)] * 2
    assert [path.suffix for path in segments(desk.directory)] == [PACKED] * 2


def test_a_segment_that_is_packed_while_it_is_rewritten_is_rewritten_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compressing takes no lock, so a segment compressed while it is rewritten is rewritten again."""
    desk.written(line(ANNE, 1), line(BERT, 2))
    desk.archive.forget([ANNE])
    (path,) = segments(desk.directory)

    def raced(at: Path, erasures: Erasures, old: set[str], stop: Event, rate: float) -> int:
        before = at.read_bytes()
        gone = rewrite(at, erasures, old, stop, rate)
        if at == path:
            at.with_name(at.name + PACKED).write_bytes(gzip.compress(before))
            at.unlink()
        return gone

    monkeypatch.setattr("riskd.adapters.decision_log.archive.rewrite", raced)
    assert desk.compact() == Compacted(2, 2, 0)
    assert desk.lines() == [line(BERT, 2)]


def test_a_truncated_packed_segment_is_reported(desk: Desk) -> None:
    """If a compressed segment is truncated, neither an erasure nor a search claims to be complete."""
    desk.written(*(line(ANNE, number) for number in range(200)))
    desk.pack()
    (path,) = segments(desk.directory)
    path.write_bytes(path.read_bytes()[:-40])
    desk.archive.forget([BERT])
    for ask in (desk.compact, lambda: desk.found(ANNE, 1000)):
        with pytest.raises(Unavailable, match=r"log\.dir: .*end-of-stream"):
            ask()
    assert desk.pending() == 1


@pytest.mark.parametrize("torn", [line(ANNE, 3)[:40], line(BERT, 3)], ids=["torn", "without newline"])
def test_invalid_lines_are_removed_on_rewriting(desk: Desk, torn: bytes) -> None:
    """Lines that are no records are removed when their segment is rewritten, since they could be anybody's."""
    desk.written(line(ANNE, 1), line(BERT, 2))
    with segments(desk.directory)[0].open("ab") as segment:
        segment.write(b'\0\0\n{"id":"\xff"}\n' + torn)
    desk.archive.forget([ANNE])

    assert desk.compact() == Compacted(1, 4, 0)
    assert segments(desk.directory)[0].read_bytes() == line(BERT, 2) + b"\n"


def test_a_line_with_invalid_utf_8_is_found_for_no_subject(desk: Desk) -> None:
    """A line with invalid UTF-8 is not found for any subject, and is removed on rewriting."""
    desk.written(line(ANNE, 1), line(ANNE, 2)[:-1] + b', "issuer": "\xff"}', line(BERT, 1))
    assert desk.found(ANNE) == [line(ANNE, 1)]
    desk.archive.forget([BERT])
    desk.compact()
    assert desk.lines() == [line(ANNE, 1)]


def test_the_erased_leave_a_copy_too(desk: Desk) -> None:
    """If a segment exists both plain and compressed, it is read once but erased in both files, and counted so."""
    desk.written(line(ANNE, 1), line(BERT, 2))
    (segment,) = segments(desk.directory)
    copy = segment.with_name(f"{segment.name}.gz")
    copy.write_bytes(gzip.compress(segment.read_bytes()))
    os.utime(copy, (desk.now, desk.now))
    desk.archive.forget([ANNE])

    assert desk.compact() == Compacted(2, 2, 0)
    assert gzip.decompress(copy.read_bytes()) == segment.read_bytes() == line(BERT, 2) + b"\n"


@pytest.mark.parametrize("left", [[line(BERT, 2)], []], ids=["rewritten", "deleted"])
def test_the_draft_of_a_killed_compaction_is_replaced(desk: Desk, left: list[bytes]) -> None:
    """The next compaction replaces a draft that a killed one left."""
    desk.written(line(ANNE, 1), *left)
    draft = segments(desk.directory)[0].with_suffix(".draft")
    draft.write_bytes(b"half")
    os.utime(draft, (desk.now, desk.now))
    desk.archive.forget([ANNE])

    desk.compact()

    assert list(read_segments(desk.directory)) == left
    assert not list(desk.directory.glob("*.draft"))


def test_drafts_come_and_go_while_it_compacts(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A draft that disappears during a compaction is no error."""
    desk.written(line(ANNE, 1))
    listed = Path.rglob

    def late(path: Path, pattern: str) -> list[Path]:
        return [*listed(path, pattern), path / "gone.draft"]

    monkeypatch.setattr(Path, "rglob", late)

    assert desk.compact().rewritten == 0


def test_a_clock_that_was_ahead_once_does_not_end_retention(desk: Desk) -> None:
    """A compaction while the clock was ahead does not stop later lines from expiring."""
    desk.written(line(ANNE, 1))
    desk.now += 365 * DAY
    desk.compact(customer=30 * DAY)
    desk.now -= 365 * DAY
    desk.written(line(ANNE, 2))
    desk.compact(customer=30 * DAY)
    desk.now += 31 * DAY

    desk.compact(customer=30 * DAY)

    assert list(read_segments(desk.directory)) == []


def test_an_erasure_reaches_segments_of_a_clock_that_was_set_back(desk: Desk) -> None:
    """An erasure applies to a finished segment even if its name is later than the erasure."""
    desk.now += 300
    desk.written(line(ANNE, 1), line(BERT, 2))
    desk.now -= 300
    desk.archive.forget([ANNE])
    assert desk.archive.find([ANNE], b"", 10) == ([], b"")

    desk.compact()

    assert list(read_segments(desk.directory)) == [line(BERT, 2)]


def test_one_process_compacts_at_a_time(desk: Desk) -> None:
    """While another process compacts, `compact` does nothing and returns None."""
    desk.written(line(ANNE, 1))
    desk.archive.forget([ANNE])
    with exclusive(desk.directory / archive.LOCK) as ours:
        assert ours
        assert desk.archive.compact({}, Event()) is None
    assert desk.compact() == Compacted(1, 1, 0)


def test_a_stopped_compaction_is_continued_by_the_next(desk: Desk) -> None:
    """Segments that a stopped compaction did not reach are compacted by the next one."""
    desk.written(line(ANNE, 1))
    desk.archive.forget([ANNE])
    stop = Event()
    stop.set()

    assert desk.archive.compact({}, stop) == Compacted(0, 0, 1)
    assert desk.pending() == 1
    assert desk.compact() == Compacted(1, 1, 0)


def test_compaction_leaves_the_disk_and_the_processor_to_others(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service's compaction waits as often and as long as its rate demands. The command does not wait."""
    monkeypatch.setattr(rewriting, "BURST", 1000)
    waited: list[float] = []

    class Stop(Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout or 0.0)
            return False

    desk.written(*[line(BERT, number) for number in range(100)])
    (path,) = segments(desk.directory)
    desk.archive.forget([ANNE])
    assert desk.archive.compact({}, Stop()) == Compacted(0, 0, 0)
    assert sum(waited) == pytest.approx(path.stat().st_size / rewriting.RATE, rel=0.1)
    waited.clear()
    desk.archive.forget([ANNE])
    monkeypatch.setattr("riskd.cli.log.command.Event", Stop)
    places = {"log.dir": desk.directory, "state.dir": desk.directory / "state"}
    assert main(["log", "compact", *[f"--set={name}={place}" for name, place in places.items()]]) == 0
    assert sum(waited) == 0


KILLED = """
import sys, threading
from pathlib import Path
from riskd.adapters.decision_log import FileLogArchive
desk = FileLogArchive(Path(sys.argv[1]), 1.0, 1.0)
print("ready", flush=True)
desk.compact({}, threading.Event(), rate=1 << 40)
"""


def test_death_in_the_middle_leaves_every_segment_whole(desk: Desk) -> None:
    """After SIGKILL during a compaction, no other subject's line is lost or doubled, no erasure is forgotten, and the
    next one finishes."""
    berts = [line(BERT, number) for number in range(3000)]
    for part in range(30):
        mine = [line(ANNE, number) for number in range(100)]
        both = [one for pair in zip(mine, berts[100 * part : 100 * part + 100], strict=True) for one in pair]
        desk.written(*both)
    with closing(desk.writer()) as writer:
        assert writer.append(line(ANNE, 1))
        for who in (ANNE, *(f"person{number:010}".encode() for number in range(50))):
            desk.archive.forget([who])
    for delay in (0.0, 0.01, 0.03, 0.05):
        with subprocess.Popen([sys.executable, "-c", KILLED, desk.directory], cwd=ROOT, stdout=subprocess.PIPE) as run:
            assert run.stdout is not None
            run.stdout.readline()
            time.sleep(delay)
            run.send_signal(signal.SIGKILL)
            run.wait()
        assert [text for text in desk.lines() if json.loads(text)["id"].startswith(BERT[:8].hex())] == berts
    desk.compact()

    assert desk.lines() == berts
    assert desk.pending() == 0


def test_a_search_misses_no_line_of_rewritten_segments(desk: Desk) -> None:
    """If a compaction runs between two steps of a search, lines may repeat but none is missed."""
    desk.written(line(BERT, 0), *(line(ANNE, number) for number in range(4)))
    first, cursor = desk.archive.find([ANNE], b"", 2)
    desk.archive.forget([BERT])
    desk.compact()
    rest, end = desk.archive.find([ANNE], cursor, 10)

    assert set(first + rest) == {line(ANNE, number) for number in range(4)}
    assert end == b""


@pytest.mark.parametrize("event", [Desk.pack, Desk.compact], ids=["packed", "deleted"])
def test_a_search_leaves_nothing_out_that_has_another_name_since(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, event: Callable[[Desk], object]
) -> None:
    """A search finds the lines of a segment that was compressed meanwhile, and survives a deleted one."""
    desk.written(line(BERT, 1))
    for number in range(3):
        desk.written(line(ANNE, number))
    desk.archive.forget([BERT])

    def listed(directory: Path) -> list[Path]:
        before = segments(directory)
        monkeypatch.undo()
        event(desk)
        return before

    monkeypatch.setattr("riskd.adapters.decision_log.archive.segments", listed)
    assert desk.found(ANNE) == [line(ANNE, number) for number in range(3)]


def test_a_search_has_bounded_steps(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search step that reads its share without a match returns where to continue."""
    monkeypatch.setattr(archive, "SCAN", 300)
    desk.written(*(line(BERT, number) for number in range(20)), line(ANNE, 1))

    steps = list(stepped(desk))
    assert steps[-1] == [line(ANNE, 1)]
    assert len(steps) > 5


def test_a_step_looks_at_no_segment_that_was_searched(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search looks at each segment once, and once more for each step, however many segments the log has."""
    for number in range(20):
        desk.written(line(BERT, number))
    monkeypatch.setattr(archive, "SCAN", 1)
    looked: list[Path] = []

    def as_named(path: Path) -> Path:
        looked.append(path)
        return path

    monkeypatch.setattr(archive, "_as_named", as_named)
    steps = len(list(stepped(desk)))
    assert steps >= 20
    assert len(looked) <= 20 + 2 * steps


def stepped(desk: Desk) -> Iterator[list[bytes]]:
    lines, cursor = desk.archive.find([ANNE], b"", 5)
    yield lines
    while cursor:
        lines, cursor = desk.archive.find([ANNE], cursor, 5)
        yield lines


def test_an_erasure_that_cannot_be_noted_is_unavailable(tmp_path: Path) -> None:
    """An erasure that cannot be recorded raises Unavailable."""
    (tmp_path / "erasures").write_text("in the way")
    with pytest.raises(Unavailable) as refused:
        FileLogArchive(tmp_path, 1.0, 1.0).forget([ANNE])
    assert "erasures" in str(refused.value)


def test_an_unreadable_note_stops_compaction(desk: Desk) -> None:
    """An unreadable file among the erasures stops the compaction, which names it."""
    desk.written(line(ANNE, 1))
    desk.archive.forget([ANNE])
    (desk.directory / "erasures" / "odd.json").write_text("{")
    with pytest.raises(Unavailable) as refused:
        desk.compact()
    assert "odd.json" in str(refused.value)
    assert desk.lines() == [line(ANNE, 1)]


def test_the_state_of_an_empty_log(desk: Desk) -> None:
    """An empty log has an empty state, and nothing to compact or find."""
    assert desk.archive.state() == archive.State(segments=0, size=0, oldest="", erasures=0, asked=0.0, compacted=0.0)
    assert desk.compact() == Compacted(0, 0, 0)
    assert desk.archive.state().compacted == BEGUN
    assert desk.found(ANNE) == []
