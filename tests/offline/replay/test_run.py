"""`riskd replay`: from a log by any writers to a log, with any number of processes, without erased subjects."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from random import Random

import pytest
from msgspec import Struct

from riskd.adapters.decision_log import FileLogArchive, segments
from riskd.adapters.lmdb_store import DATA
from riskd.cli.main import main
from riskd.config import Settings
from riskd.core import record
from riskd.core.errors import InvalidFile
from riskd.offline.buckets import Bucket
from riskd.offline.replay.fold import Fold
from riskd.offline.replay.run import Plan, run
from riskd.progress import Progress
from riskd.rebuild.order import Line
from tests.decision_log import read_segments, types, write
from tests.doubles import ListLog
from tests.offline.town import lived


class Replayed:
    """A log on disk by two writers, and the command on it."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys, self.log, self.out = capsys, directory / "log", directory / "out"
        self.state = directory / "state"
        log = ListLog()
        lived(log, 150, seed=3, gossip=0.3)
        self.lines = log.lines
        random = Random(3)
        desks: tuple[list[bytes], list[bytes]] = ([], [])
        for line in self.lines:
            random.choice(desks).append(line)
        for worker, desk in enumerate(desks):
            write(self.log / f"20270101T00000{worker}.000000-w{worker}-7.jsonl", *desk)

    def run(self, *arguments: str) -> tuple[int, dict[str, int]]:
        """Exit code and counts."""
        place = ("--set", f"state.dir={self.state}")
        code = main(["replay", str(self.log), "--out", str(self.out), "--json", *place, *arguments])
        said = self.capsys.readouterr().out
        return code, json.loads(said)["counts"] if said else {}

    def written(self) -> list[bytes]:
        return list(read_segments(self.out))


@pytest.fixture
def replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Replayed:
    return Replayed(tmp_path, capsys)


def test_lines_of_several_writers_are_replayed_in_order(replayed: Replayed) -> None:
    """Lines that two workers wrote in turn are replayed in the order in which they were written."""
    code, counts = replayed.run("--processes", "1")
    assert replayed.written() == replayed.lines
    assert code == 0
    kinds = types(replayed.lines)
    assert kinds["event"] > 0
    assert [counts[kind] for kind in ("assessed", "outcomes", "events")] == [150, kinds["outcome"], kinds["event"]]


@pytest.mark.slow
def test_processes_write_what_one_would(replayed: Replayed) -> None:
    """Two processes write every line once, with the counts of one process."""
    code, counts = replayed.run("--processes", "2")
    assert sorted(replayed.written()) == sorted(replayed.lines)
    assert len(segments(replayed.out)) == 2
    assert code == 0
    assert (counts["assessed"], counts["events"]) == (150, types(replayed.lines)["event"])


def test_a_bucket_alone_says_whose_lines_it_left_to_others(replayed: Replayed) -> None:
    """One bucket writes only the lines of its subjects, and counts the others."""
    code, counts = replayed.run("--bucket", "2/3")
    ours = [line for line in replayed.written() if line.startswith(b'{"type":"assessment"')]
    assert {int(json.loads(line)["subject"][:4], 16) % 3 for line in ours} == {1}
    assert (code, counts["assessed"], counts["other_buckets"]) == (0, len(ours), 150 - len(ours))


def test_the_erased_are_left_out_before_compaction_has_come(replayed: Replayed) -> None:
    """From the erasure on, the subject's lines are neither replayed nor written, even before a compaction."""
    first = record.decode(replayed.lines[0])
    assert isinstance(first, record.AssessmentRecord)
    FileLogArchive(replayed.log, 1.0, 1.0, lambda: 1.9e9).forget([bytes.fromhex(first.subject)])
    replayed.run("--processes", "1")
    left = [line for line in replayed.lines if first.subject[:16].encode() not in line]
    assert len(left) < len(replayed.lines)
    ids = [record.decode(line) for line in replayed.written()]
    assert [type(one) for one in ids] == [type(record.decode(line)) for line in left]
    assert not any(first.subject[:16].encode() in line for line in replayed.written())


def test_nothing_is_written_over(replayed: Replayed) -> None:
    """A directory that is not empty is refused and left alone."""
    replayed.out.mkdir()
    (replayed.out / "notes").write_text("mine")
    assert replayed.run("--processes", "1") == (2, {})
    assert [path.name for path in replayed.out.iterdir()] == ["notes"]


def test_a_replay_that_was_broken_off_leaves_nothing(replayed: Replayed, monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C the output directory is empty, and the next run can use it."""
    assess, lived_through = Fold.assess, 0

    def interrupted(fold: Fold, line: record.AssessmentRecord) -> record.AssessmentRecord | None:
        nonlocal lived_through
        lived_through += 1
        if lived_through == 75:
            raise KeyboardInterrupt
        return assess(fold, line)

    monkeypatch.setattr(Fold, "assess", interrupted)
    assert replayed.run("--processes", "1") == (130, {})
    assert list(replayed.out.iterdir()) == []
    assert replayed.run("--processes", "1")[0] == 0


def test_histories_are_on_disk(replayed: Replayed, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it runs, histories are in a file beside the output, so memory does not grow with the log. In the end it is
    gone."""
    assess, files = Fold.assess, set[Path]()

    def watched(fold: Fold, line: record.AssessmentRecord) -> record.AssessmentRecord | None:
        files.update(replayed.out.rglob(DATA))
        return assess(fold, line)

    monkeypatch.setattr(Fold, "assess", watched)
    assert replayed.run("--processes", "1")[0] == 0
    assert len(files) == 1
    assert list(replayed.out.rglob("*")) == segments(replayed.out)


class Fatal(Struct, frozen=True):
    """A log that kills any process that reads it, as running out of memory would."""

    def size(self) -> int:
        return 1

    def lines(self, counts: Counter[str], progress: Progress) -> Iterator[Line]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield from ()


@pytest.mark.slow
def test_a_killed_process_ends_the_replay(replayed: Replayed) -> None:
    """If a process is killed, the replay ends with an error and leaves nothing behind."""
    plan = Plan(reader=Fatal(), settings=Settings(), out=replayed.out, named=True)
    with pytest.raises(InvalidFile, match=r"bucket ./2: a process that was reading it died"):
        run(plan, [Bucket(0, 2), Bucket(1, 2)], lambda _: None)
    assert not replayed.out.exists() or list(replayed.out.iterdir()) == []


@pytest.mark.parametrize("bucket", ["0/2", "3/2", "1", "a/b", "1/1000"])
def test_a_bucket_that_is_none_is_refused(replayed: Replayed, bucket: str) -> None:
    """Invalid bucket numbers are refused; buckets are numbered from 1."""
    with pytest.raises(SystemExit):
        replayed.run("--bucket", bucket)


def test_an_unreadable_line_is_counted(replayed: Replayed) -> None:
    """Unreadable lines are skipped and counted, and give exit code 1."""
    write(replayed.log / "20280101T000000.000000-w0-9.jsonl", b'{"type":"assessment"}', b"{")
    code, counts = replayed.run("--processes", "1")
    assert (code, counts["unreadable"]) == (1, 2)
    assert replayed.written() == replayed.lines


def test_a_dataset_is_replayed_like_its_log(replayed: Replayed) -> None:
    """A dataset is put back into order, and its replay gives the same lines."""
    target = str(replayed.state / "dataset")
    place = ("--set", f"state.dir={replayed.state}", "--set", f"log.dir={replayed.log}")
    assert main(["log", "compact", "--to", target, "--buckets", "3", "--json", *place]) == 0
    replayed.capsys.readouterr()
    replayed.log = Path(target)
    assert replayed.run("--processes", "1")[0] == 0
    assert replayed.written() == replayed.lines


def test_a_release_is_named_as_elsewhere_or_refused_at_once(
    replayed: Replayed, capsys: pytest.CaptureFixture[str]
) -> None:
    """A release can be named by its first digits, and an unknown one is refused at once."""
    place = ("--set", f"state.dir={replayed.state}")
    assert main(["release", "create", "--json", *place]) == 0
    kept = json.loads(capsys.readouterr().out)["release"]["id"]
    assert main(["replay", str(replayed.log), "--out", str(replayed.out), "--release", "abcdef", *place]) == 2
    assert (
        capsys.readouterr().err
        == "riskd: release_id: there is no release 'abcdef' here (list them with: riskd release list)\n"
    )
    code, counts = replayed.run("--release", kept[:4], "--processes", "1")
    assert (code, counts["assessed"]) == (0, 150)


def test_an_impossible_time_affects_no_other_line(replayed: Replayed) -> None:
    """A line whose time is wrong by more than a day counts as unreadable, and the replay of the others is the same as
    without it."""
    path = segments(replayed.log)[0]
    lines = path.read_bytes().splitlines()
    at = next(row for row, line in enumerate(lines) if row > 9 and line.startswith(b'{"type":"assessment"'))
    write(path, *[line for line in lines if line != lines[at]])
    _, before = replayed.run("--processes", "1")
    expected = replayed.written()
    for days, way in product((-400, 400), ("time", "now", "written", "all")):
        shutil.rmtree(replayed.out)
        wrong = with_wrong_times(lines[at], days * 86_400.0, way)
        write(path, *lines[:at], wrong, *lines[at + 1 :])
        code, counts = replayed.run("--processes", "1")
        assert (code, counts.pop("unreadable")) == (1, 1), (days, way)
        assert (counts, replayed.written()) == ({name: before[name] for name in counts}, expected), (days, way)


def with_wrong_times(line: bytes, seconds: float, way: str) -> bytes:
    """The line of an assessment with a wrong time of its own, of its facts or of writing, or all of the first two."""
    one = json.loads(line)
    if way in ("time", "all"):
        one["time"] += seconds
    if way in ("now", "all"):
        one["facts"]["now"] += seconds
    if way == "written":
        one["written"] = one["time"] + seconds
    return json.dumps(one, separators=(",", ":")).encode()
