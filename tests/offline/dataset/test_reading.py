"""Rows read from a dataset: as in the log, in order of time, and as known at a given moment."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskd.adapters.decision_log import FileLogArchive
from riskd.cli.rows import read
from riskd.core import record
from riskd.core.attempt import OUTCOMES
from riskd.core.errors import InvalidFile
from riskd.core.features import NAMES
from riskd.core.record import AssessmentRecord, OutcomeRecord
from riskd.counts import Counts
from riskd.offline.columns import labelled
from riskd.offline.dataset.compact import Dataset
from riskd.offline.dataset.query import run_query
from riskd.offline.dataset.reading import Wanted, in_order, read_rows
from riskd.offline.dataset.target import Target
from riskd.offline.labels import CONFIRMED, PASSED
from riskd.offline.rows import FRAUD, GOOD, UNKNOWN, Rows
from riskd.progress import Progress
from tests.decision_log import SEGMENT, decision, write
from tests.doubles import ListLog
from tests.offline.town import lived


def label(told: Iterable[tuple[float, str]]) -> tuple[int, float]:
    """The rule for one row: the first confirmation of fraud, else the first outcome that passed."""
    told = sorted(told)
    fraud = [time for time, kind in told if kind == CONFIRMED]
    good = [time for time, kind in told if kind in PASSED]
    return (FRAUD, fraud[0]) if fraud else (GOOD, good[0]) if good else (UNKNOWN, math.inf)


class Kept:
    """A dataset in several files, and the records in it."""

    def __init__(self, directory: Path) -> None:
        log = ListLog()
        lived(log, 150, seed=8, gossip=0.3)
        self.lines = log.lines
        write(directory / "log" / SEGMENT, *log.lines[:70])
        write(directory / "log" / "20270102T000000.000000-w0-1.jsonl", *log.lines[60:])  # ten lines are repeated
        self.target = Target.open(str(directory / "set"))
        archive = FileLogArchive(directory / "log", 1.0, 1.0)
        Dataset(self.target, directory / "log", archive, 4).compact({}, lambda _: None)
        records = [record.decode(line) for line in log.lines]
        self.assessed = sorted(
            (one for one in records if isinstance(one, AssessmentRecord) and one.domain == "customer"),
            key=lambda one: (one.time, one.id),
        )
        self.told = [one for one in records if isinstance(one, OutcomeRecord)]

    def expected(self, as_of: float = math.inf) -> list[tuple[str, str, float, str, int, float]]:
        """A row's values besides its vector."""
        return [
            (
                one.id,
                one.subject,
                one.time,
                one.journey,
                *label((x.time, x.kind) for x in self.told if x.assessment_id == one.id and x.time <= as_of),
            )
            for one in self.assessed
            if one.time <= as_of
        ]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(tmp_path_factory.mktemp("kept"))


def rows_of(rows: Rows) -> list[tuple[str, str, float, str, int, float]]:
    columns = (rows.ids, rows.subjects, rows.times, rows.journeys, rows.labels, rows.known)
    return list(zip(*[column.tolist() for column in columns], strict=True))


def test_rows_are_the_log(kept: Kept) -> None:
    """Every assessment of the domain appears once, in order of time, with its vector and label."""
    rows = read_rows(kept.target, Wanted(domain="customer"))
    assert rows_of(rows) == kept.expected()
    vectors = np.array([one.vector for one in kept.assessed], dtype=np.float64)
    np.testing.assert_array_equal(rows.vectors, vectors)
    assert rows.names == NAMES
    assert set(rows.labels.tolist()) == {GOOD, FRAUD, UNKNOWN}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_nothing_of_later_is_known(kept: Kept, share: float) -> None:
    """As of a moment, later attempts and outcomes are ignored."""
    as_of = kept.assessed[round(share * (len(kept.assessed) - 1))].time
    assert rows_of(read_rows(kept.target, Wanted(domain="customer", as_of=as_of))) == kept.expected(as_of)


def test_a_range_of_time_is_half_open(kept: Kept) -> None:
    """The range includes `since` and excludes `until`; outcomes count whenever they came."""
    since, until = kept.assessed[20].time, kept.assessed[50].time
    rows = read_rows(kept.target, Wanted(domain="customer", since=since, until=until))
    assert rows_of(rows) == [row for row in kept.expected() if since <= row[2] < until]


def test_a_domain_without_rows_has_none(kept: Kept) -> None:
    """A domain without rows gives an empty result."""
    assert len(read_rows(kept.target, Wanted(domain="nobody"))) == 0


def test_features_by_name(kept: Kept) -> None:
    """Columns have the requested order, and an unknown feature is missing in all rows."""
    rows = read_rows(kept.target, Wanted(domain="customer"), ("hosting", "of_the_future", "new_device"))
    places = [NAMES.index(name) for name in ("hosting", "new_device")]
    vectors = np.array([one.vector for one in kept.assessed], dtype=np.float64)[:, places]
    np.testing.assert_array_equal(rows.vectors[:, [0, 2]], vectors)
    assert np.isnan(rows.vectors[:, 1]).all()


def test_a_truth_file_labels_attacks(kept: Kept, tmp_path: Path) -> None:
    """A truth file gives each row its attack class and segments; one that lacks rows is refused."""
    path = tmp_path / "truth.jsonl"
    truths = [
        {"assessment_id": one.id} | ({"attack": "spraying", "segments": ["vpn", "mobile"]} if number % 3 else {})
        for number, one in enumerate(kept.assessed)
    ]
    path.write_text("\n".join(map(json.dumps, truths)))
    rows = read_rows(kept.target, Wanted(domain="customer", truth=path))
    assert rows.attacks.tolist() == ["spraying" if number % 3 else "" for number in range(len(truths))]
    assert set(rows.segments.tolist()) == {"", "vpn mobile"}
    by_truth = read_rows(kept.target, Wanted(domain="customer", truth=path, by_truth=True))
    assert by_truth.labels.tolist() == [FRAUD if number % 3 else GOOD for number in range(len(truths))]
    assert by_truth.known.tolist() == by_truth.times.tolist()
    path.write_text("\n".join(map(json.dumps, truths[1:])))
    with pytest.raises(InvalidFile, match="lacks 1 assessment"):
        read_rows(kept.target, Wanted(domain="customer", truth=path))


READERS: Final[dict[str, Callable[[Target], object]]] = {
    "rows": lambda target: read_rows(target, Wanted(domain="customer")),
    "lines": lambda target: list(in_order(target, Counts(), lambda _: None)),
    "a question": lambda target: _asked(target, "SELECT count(line) FROM assessments"),
}


def _asked(target: Target, sql: str) -> list[tuple[object, ...]]:
    with run_query(target, sql) as answer:
        return list(answer.rows)


@pytest.mark.parametrize("damage", ["deleted", "cut"])
@pytest.mark.parametrize("reader", READERS)
def test_a_missing_or_damaged_file_is_reported(tmp_path: Path, reader: str, damage: str) -> None:
    """Every reader raises InvalidFile if a file is missing or damaged, for example because a compaction replaced it."""
    kept = Kept(tmp_path)
    READERS[reader](kept.target)
    for file in (tmp_path / "set" / "assessments").rglob("*.parquet"):
        file.unlink() if damage == "deleted" else file.write_bytes(b"PAR1")
    with pytest.raises(InvalidFile):
        READERS[reader](kept.target)


def test_a_directory_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    """An empty directory and a foreign manifest are refused."""
    with pytest.raises(InvalidFile, match="is not a dataset"):
        read_rows(Target.open(str(tmp_path)), Wanted(domain="customer"))
    (tmp_path / "manifest.json").write_text('{"format": 99}')
    with pytest.raises(InvalidFile, match="format 99"):
        read_rows(Target.open(str(tmp_path)), Wanted(domain="customer"))


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1e9), st.sampled_from(OUTCOMES)), max_size=30))
def test_all_labels_at_once_follow_the_rule_of_one(told: list[tuple[int, float, str]]) -> None:
    """`labelled` gives each row its label, whatever the outcomes of the others."""
    rows = np.array([one[0] for one in told], dtype=np.intp)
    times = np.array([one[1] for one in told], dtype=np.float64)
    kinds = np.array([one[2] for one in told], dtype=np.str_)
    labels, known = labelled(4, rows, times, kinds)
    each = [label((time, kind) for row, time, kind in told if row == number) for number in range(4)]
    assert list(zip(labels.tolist(), known.tolist(), strict=True)) == each


def test_a_log_and_its_dataset_give_the_same_rows(kept: Kept) -> None:
    """Training and evaluation read identical rows from a log and from its dataset."""
    log, dataset = kept.target.name.replace("set", "log"), kept.target.name
    left: list[int] = []

    def begin(_step: str, total: int) -> Progress:
        left.append(total)

        def done(more: int) -> None:
            left[-1] -= more

        return done

    rows, names, labels = read([Path(log), Path(dataset)], None, None, "customer", begin)
    assert left == [0, 0], "each was reported to its end"
    assert labels == "outcomes"
    assert rows[0].digest() == rows[1].digest()
    assert names == ["log", "set"]


def test_rows_of_other_features_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Training and evaluation say how many decisions of a dataset they leave out because of other features."""
    others = [decision(number, 1.9e9, vector=(1.0,)) for number in range(3)]
    write(tmp_path / "log" / SEGMENT, decision(7, 1.9e9), *others, decision(8, 1.9e9, domain="machine", vector=()))
    archive = FileLogArchive(tmp_path / "log", 1.0, 1.0)
    Dataset(Target.open(str(tmp_path / "set")), tmp_path / "log", archive, 4).compact({}, lambda _: None)
    rows, _, _ = read([tmp_path / "set"], None, None, "customer", lambda _step, _total: lambda _: None)
    assert rows[0].ids.tolist() == [f"{7:032x}"]
    said = capsys.readouterr().err
    assert "leaves out 3 decisions of a version with other features" in said
    assert "riskd replay" in said


def test_lines_that_this_version_cannot_read_are_named(tmp_path: Path) -> None:
    """A line that another version of riskd took in is left out of the log, and named by its segment and line."""
    write(tmp_path / "log" / SEGMENT, *(decision(number, 1e9 + number) for number in range(3)))
    target, archive = Target.open(str(tmp_path / "set")), FileLogArchive(tmp_path / "log", 1.0, 1.0)
    Dataset(target, tmp_path / "log", archive, 1).compact({}, lambda _: None)
    (file,) = (tmp_path / "set").rglob("*.parquet")
    rows = pq.read_table(file)
    first, _, last = rows["line"].to_pylist()
    lines = pa.array([first, '{"type":"of a newer riskd"}', last])
    pq.write_table(rows.set_column(rows.schema.get_field_index("line"), "line", lines), file)
    counts, done = Counts(), list[int]()

    found = [line.decode() for line, _ in in_order(target, counts, done.append)]
    assert found == [first, last]
    assert (counts, sum(done)) == ({"unreadable": 1}, 3)
    assert [(one.where, one.line) for one in counts.first] == [(f"{target.name}, {SEGMENT}", 2)]
