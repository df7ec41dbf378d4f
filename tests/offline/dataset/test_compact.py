"""The dataset: every line of finished segments exactly once, also after kills, and no erased subject."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pyarrow.fs import SubTreeFileSystem, _MockFileSystem

from riskd.adapters.decision_log import DATASET, Bounds, Erasure, FileDecisionLog, FileLogArchive
from riskd.adapters.null import NullMeter
from riskd.core import record
from riskd.core.attempt import DOMAINS
from riskd.core.errors import InvalidFile
from riskd.core.features import NAMES
from riskd.core.record import AssessmentRecord
from riskd.host.locks import exclusive
from riskd.offline.buckets import bucket_of
from riskd.offline.dataset import compact as compaction
from riskd.offline.dataset import ingest, reading, tables
from riskd.offline.dataset.compact import Dataset, Filed
from riskd.offline.dataset.ingest import stays
from riskd.offline.dataset.manifest import TABLES, Part, commit, required
from riskd.offline.dataset.tables import WHOSE
from riskd.offline.dataset.target import Target
from riskd.rebuild import order
from tests.decision_log import types, write
from tests.doubles import ListLog
from tests.offline.town import lived

ROOT = Path(__file__).parents[3]
LATE = 1.9e9
"""A time after everything in the town's log."""


class Desk:
    """A log of three segments and a dataset of it."""

    def __init__(self, directory: Path, lines: list[bytes], target: Target | None = None) -> None:
        self.log, self.place, self.lines = directory / "log", directory / "set", lines
        third = len(lines) // 3
        for number, part in enumerate((lines[:third], lines[third : 2 * third], lines[2 * third :])):
            write(self.log / f"2027010{number + 1}T000000.000000-w0-7.jsonl", *part)
        self.archive, self.buckets = FileLogArchive(self.log, 1.0, 1.0, lambda: LATE), 4
        self.target = target or Target.open(str(self.place))

    def compact(self, **keep: float) -> Filed:
        done = self.open().compact(keep, lambda _: None, now=lambda: LATE)
        assert done is not None
        return done

    def open(self) -> Dataset:
        return Dataset(self.target, self.log, self.archive, self.buckets)

    def ids(self) -> list[str]:
        """Identities of all lines in the dataset, in any order."""
        return sorted(
            row[name]
            for part in required(self.target).parts
            for name in [WHOSE[part.table]]
            for row in pq.ParquetFile(self.target.files.open_input_file(part.path)).read([name]).to_pylist()
        )

    def files(self) -> set[str]:
        return {path for table in TABLES for path in self.target.listed(table)}


def ids(lines: list[bytes]) -> list[str]:
    records = [json.loads(line) for line in lines]
    return sorted(one.get("id") or one.get("assessment_id") or one["subject"] for one in records)


def counted(lines: list[bytes]) -> dict[str, int]:
    """The counts of a run that adds these lines."""
    return {f"{kind}s": count for kind, count in types(lines).items()}


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    log = ListLog()
    lived(log, 120, seed=5, gossip=0.3)
    return log.lines


@pytest.fixture(params=["directory", "file URL", "another file system"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    if request.param == "directory":
        return Target.open(str(tmp_path / "set"))
    if request.param == "file URL":
        return Target.open(f"file://{tmp_path}/set")
    return Target("mock://", SubTreeFileSystem("set", _MockFileSystem()))


@pytest.fixture
def desk(tmp_path: Path, lines: list[bytes]) -> Desk:
    return Desk(tmp_path, lines)


def test_every_line_is_in_it_once(tmp_path: Path, lines: list[bytes], target: Target) -> None:
    """The dataset has every line of all segments once, on any file system; later runs add nothing."""
    desk = Desk(tmp_path, lines, target)
    done = desk.compact()
    assert done.counts == counted(lines)
    assert set(done.counts) == set(TABLES) == set(done.rows)
    assert done.segments == 3
    assert desk.ids() == ids(lines)
    assert desk.compact().counts == {}
    assert desk.ids() == ids(lines)
    assert desk.files() == {part.path for part in required(target).parts}


def test_a_row_says_what_its_line_says(desk: Desk) -> None:
    """A record can be rebuilt exactly from its row's columns and `line`."""
    desk.compact()
    found = {}
    for part in required(desk.target).of("assessments"):
        for row in pq.ParquetFile(desk.target.files.open_input_file(part.path)).read().to_pylist():
            bare = record.decode(row["line"].encode())
            assert isinstance(bare, AssessmentRecord)
            found[bare.id] = replace(bare, vector=tuple(row[name] for name in NAMES))
            assert row["country"] == (bare.facts.place.country if bare.facts.place else None)
            assert row["score"] == bare.score
            assert part.bucket == bucket_of(bare.subject, 4)
    records = [record.decode(line) for line in desk.lines]
    assert found == {one.id: one for one in records if isinstance(one, AssessmentRecord)}


def test_it_is_laid_out_as_everybody_reads_it(desk: Desk) -> None:
    """Folders are Hive partitions by date and bucket, so that other tools can read them."""
    desk.compact()
    found = ds.dataset(desk.place / "assessments", partitioning="hive").to_table(columns=["date", "bucket", "written"])
    days = {(row["date"], time.strftime("%Y-%m-%d", time.gmtime(row["written"]))) for row in found.to_pylist()}
    assert all(str(folder) == day for folder, day in days)
    assert {row["bucket"] for row in found.to_pylist()} <= set(range(4))


def test_new_segments_come_in_and_those_under_way_wait(desk: Desk) -> None:
    """An open segment is added once it is finished, and earlier ones are not read again."""
    desk.compact()
    log = ListLog()
    lived(log, 10, seed=6, gossip=0.5)
    writer = FileDecisionLog(desk.log, 1, NullMeter(), Bounds(keep_seconds=1e10), lambda: LATE)
    for line in log.lines:
        assert writer.append(line)
    assert desk.compact().counts == {}
    writer.close()
    assert desk.compact().counts == counted(log.lines)
    assert desk.ids() == ids(desk.lines + log.lines)


def test_the_erased_go_and_other_files_stay(desk: Desk) -> None:
    """After an erasure the next run removes the subject's lines, and files of other buckets are not rewritten."""
    desk.compact()
    before = required(desk.target).parts
    first = record.decode(desk.lines[0])
    assert isinstance(first, AssessmentRecord)
    desk.archive.forget([bytes.fromhex(first.subject)])
    left = [line for line in desk.lines if first.subject[:16].encode() not in line]
    done = desk.compact()
    after = required(desk.target).parts
    assert done.gone == len(desk.lines) - len(left) > 0
    assert desk.ids() == ids(left)
    mine = bucket_of(first.subject, 4)
    assert [part for part in before if part.bucket != mine] == [part for part in after if part.bucket != mine]
    assert desk.files() == {part.path for part in after}, "replaced files are deleted"


def test_an_erasure_that_the_log_is_done_with_still_reaches_the_dataset(desk: Desk) -> None:
    """An erasure that the log has already applied is still applied to the dataset."""
    from threading import Event

    desk.compact()
    first = record.decode(desk.lines[0])
    assert isinstance(first, AssessmentRecord)
    desk.archive.forget([bytes.fromhex(first.subject)])
    done = desk.archive.compact({"customer": 1e10}, Event())
    assert done is not None
    assert desk.archive.state().erasures == 0
    for path in desk.log.glob("*.jsonl"):
        path.unlink()  # the log keeps less than the dataset does
    assert desk.compact().gone > 0
    assert not any(one.startswith(first.subject[:16]) for one in desk.ids())


def test_a_tenant_that_left_goes_from_every_file(desk: Desk) -> None:
    """After a tenant is erased, the next run removes its rows from all buckets, and no other row."""
    desk.compact()
    left = [line for line in desk.lines if json.loads(line)["tenant"] != "lake"]
    desk.archive.forget_tenant("lake")
    assert desk.compact().gone == len(desk.lines) - len(left) > 0
    assert desk.ids() == ids(left)


SUBJECTS = st.sampled_from([f"{number:016x}" for number in range(4)])
TENANTS = st.sampled_from(["", "", "lake", "hill"])
TIMES = st.integers(0, 3).map(float)


@given(
    st.lists(st.tuples(SUBJECTS, TENANTS, st.sampled_from(DOMAINS), TIMES), max_size=8),
    st.lists(st.tuples(SUBJECTS, TENANTS, TIMES), max_size=6),
    st.dictionaries(st.sampled_from(DOMAINS), TIMES),
)
def test_rows_go_by_subject_tenant_and_age(
    made: list[tuple[str, str, str, float]], erased: list[tuple[str, str, float]], cutoffs: dict[str, float]
) -> None:
    """A row goes if any erasure of its subject or of its tenant was asked for after it was written, or if it is older
    than its domain keeps it. However many erasures there are, of one subject or of several."""
    subjects, tenants, domains, times = ([row[at] for row in made] for at in range(4))
    rows = pa.table(
        {
            "id": pa.array([f"{subject}{'0' * 16}" for subject in subjects], pa.string()),
            "tenant": pa.array(tenants, pa.string()),
            "domain": pa.array(domains, pa.string()),
            "written": pa.array(times, pa.float64()),
        }
    )
    gone = [Erasure("" if tenant else place, asked, {}, tenant=tenant) for place, tenant, asked in erased]
    assert stays(rows, gone, "id", cutoffs).to_pylist() == [
        not any(time < each.asked and (tenant == each.tenant if each.tenant else place == each.place) for each in gone)
        and time >= cutoffs.get(domain, 0.0)
        for place, tenant, domain, time in made
    ]


def test_lines_of_a_returning_subject_stay(desk: Desk) -> None:
    """Lines that a subject writes after the erasure stay."""
    first = record.decode(desk.lines[0])
    assert isinstance(first, AssessmentRecord)
    desk.archive.forget([bytes.fromhex(first.subject)])
    facts = replace(first.facts, now=LATE + 10)
    again = record.encode(replace(first, id=first.id[:16] + "0" * 16, written=None, time=LATE + 10, facts=facts))
    write(desk.log / "20400101T000000.000000-w0-9.jsonl", again)
    desk.compact()
    desk.compact()
    assert first.id[:16] + "0" * 16 in desk.ids()
    assert first.id not in desk.ids()


def test_lines_go_with_the_retention_of_their_domain(desk: Desk) -> None:
    """Rows older than their domain's retention are removed; those of other domains stay."""
    desk.compact()
    cut = sorted(_written(line) for line in desk.lines)[len(desk.lines) // 2]
    desk.compact(customer=LATE - cut, workforce=1e10, machine=1e10)
    left = [line for line in desk.lines if b'"domain":"customer"' not in line or _written(line) >= cut]
    assert 0 < len(left) < len(desk.lines)
    assert desk.ids() == ids(left)


def _written(line: bytes) -> float:
    one: Any = record.decode(line)
    return float(one.time if one.written is None else one.written)


def test_many_small_files_become_one(desk: Desk, lines: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Several files of one date and bucket are merged without changing their content."""
    monkeypatch.setattr(compaction, "GROUP", 1)
    monkeypatch.setattr(compaction, "FEW", 1)
    assert desk.compact().segments == 3
    parts = required(desk.target).parts
    assert len({(part.table, part.date, part.bucket) for part in parts}) == len(parts)
    assert desk.ids() == ids(lines)


def test_full_files_are_not_read_again(desk: Desk, lines: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Merging never holds a full file, or twice as many rows as make one, however many rows a day has."""
    monkeypatch.setattr(compaction, "GROUP", 1)
    monkeypatch.setattr(compaction, "FEW", 1)
    monkeypatch.setattr(compaction, "FULL", 4)
    read, written = [], []
    table = Target.table

    def counted(self: Target, path: str, columns: pa.Schema) -> pa.Table:
        read.append(table(self, path, columns).num_rows)
        return table(self, path, columns)

    def noted(target: Target, name: str, date: str, share: int, rows: pa.Table) -> Part:
        written.append(rows.num_rows)
        return ingest.put(target, name, date, share, rows)

    monkeypatch.setattr(Target, "table", counted)
    monkeypatch.setattr(compaction, "put", noted)
    assert desk.compact().segments == 3
    assert max(read) < 4 <= max(written) < 8
    assert desk.ids() == ids(lines)


def test_features_that_come_later_have_columns_from_then_on(desk: Desk) -> None:
    """A new feature gets a column in new files; older rows are null there, also after a rewrite. A line with an unknown
    vector keeps it in `line`."""
    desk.buckets = 1
    desk.compact()
    older = required(desk.target)
    names = ("feature_of_the_future", *NAMES)
    commit(desk.target, replace(older, features=names))
    odd = replace(record.decode(next(line for line in desk.lines if b'"assessment"' in line[:22])), vector=(1.5,))
    write(desk.log / "20390101T000000.000000-w0-9.jsonl", record.encode(odd))
    desk.compact()
    first = record.decode(desk.lines[0])
    assert isinstance(first, AssessmentRecord)
    desk.archive.forget([bytes.fromhex(first.subject)])
    assert desk.compact().gone > 0
    columns = {
        name
        for part in required(desk.target).of("assessments")
        for name in pq.ParquetFile(desk.target.files.open_input_file(part.path)).schema_arrow.names
    }
    assert "feature_of_the_future" in columns
    assert required(desk.target).features == names


def test_a_column_of_a_newer_version_is_null_in_older_rows(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset that was begun without a column is read, extended and rewritten with it; older rows are null there."""
    with monkeypatch.context() as older:
        older.delitem(tables.COLUMNS, "counted")
        desk.compact()
    first = record.decode(desk.lines[0])
    assert isinstance(first, AssessmentRecord)
    newer = replace(first, id=f"{first.id[:16]}{'f' * 16}", facts=replace(first.facts, counted={"a.attempts_1h": 2.0}))
    write(desk.log / "20390101T000000.000000-w0-9.jsonl", record.encode(newer))
    desk.compact()
    counted = reading.table(desk.target, required(desk.target), "assessments").to_table()["counted"].to_pylist()
    assert [each for each in counted if each is not None] == [[("a.attempts_1h", 2.0)]]
    assert len(counted) > 1


def test_lines_that_only_another_version_can_read_are_taken_in_by_it(
    desk: Desk, lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment with lines that this version cannot read is taken in again by the next version that reads other lines,
    and by no other run: every line that can be read is in the dataset once."""
    third = len(lines) // 3
    unread = [*lines[5:20], *lines[third + 5 : third + 9]]

    def older(line: bytes) -> record.Record:
        if line in unread:
            raise msgspec.ValidationError("Invalid enum value")
        return record.decode(line)

    with monkeypatch.context() as patch:
        patch.setattr(order, "decode", older)
        patch.setattr(compaction, "line_format", lambda: "older")
        write(desk.log / "20270104T000000.000000-w0-7.jsonl", b"{}")
        first = desk.compact()
        assert first.counts["unreadable"] == len(unread) + 1
        assert (desk.compact().segments, desk.compact().counts) == (0, {})
    held = ids([line for line in lines if line not in unread])
    assert desk.ids() == held

    done = desk.compact()
    assert done.segments == 3
    assert done.counts == {**counted(unread), "unreadable": 1}
    assert desk.ids() == ids(lines)
    assert desk.files() == {part.path for part in required(desk.target).parts}
    assert (desk.compact().segments, desk.compact().counts) == (0, {})
    assert set(required(desk.target).unreadable) == {"20270104T000000.000000-w0-7.jsonl"}


def test_a_dataset_of_an_earlier_riskd_is_kept_up_to_date(desk: Desk, lines: list[bytes]) -> None:
    """A manifest that does not say which segments have unreadable lines is read, and no segment is taken in again."""
    desk.compact()
    manifest = json.loads((desk.place / "manifest.json").read_bytes())
    del manifest["unreadable"]
    (desk.place / "manifest.json").write_text(json.dumps(manifest))
    assert desk.compact().segments == 0
    assert desk.ids() == ids(lines)


KILLED = """
import os, sys
from pathlib import Path
from riskd.adapters.decision_log import FileLogArchive
from riskd.offline.dataset import compact, target
compact.GROUP = 1
chance, at = int(sys.argv[3]), 0
def dying(method):
    def later(self, *args):
        global at
        at += 1
        if at == chance:
            os.kill(os.getpid(), 9)
        done = method(self, *args)
        at += 1
        if at == chance:
            os.kill(os.getpid(), 9)
        return done
    return later
for name in ("write", "replace", "delete"):
    setattr(target.Target, name, dying(getattr(target.Target, name)))
log = Path(sys.argv[1])
archive = FileLogArchive(log, 1.0, 1.0, lambda: 1.9e9)
compact.Dataset(target.Target.open(sys.argv[2]), log, archive, 4).compact({}, lambda _: None)
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 2, 9, 40, 41, 42, 43, 90, 130])
def test_a_killed_run_neither_doubles_nor_loses_a_line(desk: Desk, lines: list[bytes], step: int) -> None:
    """If a run is killed at any step, readers see whole segments only, and the next run completes the dataset with
    every line once."""
    command = [sys.executable, "-c", KILLED, str(desk.log), str(desk.place), str(step)]
    ended = subprocess.run(command, cwd=ROOT, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert ended.returncode in (0, -signal.SIGKILL)
    if (desk.place / "manifest.json").exists():
        found = desk.ids()
        assert len(found) == len(set(found)) or set(found) <= set(ids(lines))
    desk.compact()
    assert desk.ids() == ids(lines)
    assert desk.files() == {part.path for part in required(desk.target).parts}


def test_one_process_at_a_time(desk: Desk) -> None:
    """A concurrent second run does nothing and returns None."""
    with exclusive(desk.log / DATASET) as ours:
        assert ours
        assert desk.open().compact({}, lambda _: None) is None
    assert desk.compact().segments == 3


def test_a_log_is_named_once(desk: Desk) -> None:
    """The file that names the dataset is not rewritten by later runs, so that a full disk or a kill cannot empty it."""
    desk.compact()
    os.utime(desk.log / DATASET, (1, 1))
    desk.compact()
    assert (desk.log / DATASET).stat().st_mtime == 1


def test_a_dataset_is_of_one_log(desk: Desk, lines: list[bytes], tmp_path: Path) -> None:
    """Compacting another log into the dataset is refused with what to do, and changes nothing."""
    desk.compact()
    other = Desk(tmp_path / "other", lines, desk.target)
    with pytest.raises(InvalidFile, match="holds the decisions of another log") as refused:
        other.compact()
    assert desk.compact().counts == {}
    assert desk.ids() == ids(lines)

    (other.log / DATASET).write_text(required(desk.target).log)
    assert required(desk.target).log in str(refused.value)
    assert other.compact().segments == 0
