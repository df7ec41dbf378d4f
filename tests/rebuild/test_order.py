"""The order in which log lines are replayed, for any number of writers and segments."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from riskd.adapters.decision_log import FileLogArchive, segments
from riskd.core import record
from riskd.core.record import OutcomeRecord, written
from riskd.counts import Counts
from riskd.rebuild.order import in_order
from tests.decision_log import outcome, write


def told(number: int, time: float) -> bytes:
    """An outcome as a log line."""
    return record.encode(outcome(number, time, "challenge_passed"))


times = st.lists(st.integers(0, 20).map(float), max_size=6)


@settings(max_examples=60)
@given(st.lists(times, max_size=6))
@example([[20.0], [1.0], [8.0], [9.0], [3.0]])
def test_lines_come_by_the_moment_of_their_writing(
    tmp_path_factory: pytest.TempPathFactory, segments_of: list[list[float]]
) -> None:
    """Lines of a segment keep their order even if the clock jumped; segments are merged by the latest time each has
    reached. Every line appears once, all bytes are reported, and segment names do not matter."""
    directory, numbers = tmp_path_factory.mktemp("log"), iter(range(99))
    reached: dict[int, float] = {}
    together: list[list[int]] = []
    for place, moments in enumerate(segments_of):
        mine = [(next(numbers), moment) for moment in moments]
        write(directory / f"20260101T00000{9 - place}.000000-w0-{place}.jsonl", *(told(*one) for one in mine))
        reached |= zip((number for number, _ in mine), accumulate(moments, max), strict=True)
        together.append([number for number, _ in mine])
    done: list[int] = []
    paths = segments(directory)
    found = list(in_order(FileLogArchive(directory, 1.0, 1.0), paths, Counts(), done.append))
    ids = [int(line.assessment_id, 16) for _, line in found if isinstance(line, OutcomeRecord)]
    assert [[number for number in ids if number in mine] for mine in together] == together
    assert [reached[number] for number in ids] == sorted(reached.values())
    assert all(record.decode(raw) == line for raw, line in found)
    assert sum(done) == sum(path.stat().st_size for path in paths)


def test_of_many_segments_few_are_open(tmp_path: Path) -> None:
    """Segments are opened only when their time has come, so that a log with thousands of them needs few descriptors."""
    for number in range(60):
        lines = [told(number, number + share / 2) for share in range(2)]
        write(tmp_path / f"20260101T0000{number:02}.000000-w0-1.jsonl", *lines)
    before, most, latest = descriptors(), 0, 0.0
    for _, line in in_order(FileLogArchive(tmp_path, 1.0, 1.0), segments(tmp_path), Counts(), lambda _: None):
        most = max(most, descriptors() - before)
        assert written(line) >= latest
        latest = written(line)
    assert latest == 59.5
    assert most <= 3


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


DAY = 86_400.0
SOON = st.lists(st.floats(1.0, 600.0), min_size=3, max_size=6)


def read(directory: Path, moments: list[float]) -> tuple[list[int], int]:
    """The numbers of the lines of one segment that are read, and how many are unreadable."""
    write(directory / "20260101T000000.000000-w0-1.jsonl", *(told(*one) for one in enumerate(moments)))
    counts = Counts()
    found = in_order(FileLogArchive(directory, 1.0, 1.0), segments(directory), counts, lambda _: None)
    return [int(line.assessment_id, 16) for _, line in found if isinstance(line, OutcomeRecord)], counts["unreadable"]


@settings(max_examples=40)
@given(SOON, SOON, st.floats(-30.0, 30.0))
def test_a_clock_that_is_set_loses_no_line(
    tmp_path_factory: pytest.TempPathFactory, before: list[float], after: list[float], days: float
) -> None:
    """After a step of the clock, forwards or backwards, a line is close to those that follow it; it is no error."""
    earlier = list(accumulate(before, initial=100 * DAY))
    moments = [*earlier, *accumulate(after, initial=earlier[-1] + days * DAY)]
    assert read(tmp_path_factory.mktemp("log"), moments) == (list(range(len(moments))), 0)


@settings(max_examples=40)
@given(SOON, SOON, st.floats(1.1, 30.0), st.sampled_from([-1, 1]))
def test_a_time_far_from_all_around_it_is_unreadable(
    tmp_path_factory: pytest.TempPathFactory, before: list[float], after: list[float], days: float, way: int
) -> None:
    """A line that is more than a day before, or after, both the lines before it and those behind it is left out."""
    earlier = list(accumulate(before, initial=100 * DAY))
    moments = [*earlier, earlier[-1] + way * days * DAY, *accumulate(after, initial=earlier[-1])]
    odd = len(earlier)
    assert read(tmp_path_factory.mktemp("log"), moments) == ([at for at in range(len(moments)) if at != odd], 1)
