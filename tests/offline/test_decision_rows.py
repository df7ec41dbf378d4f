"""A decision log as rows: their content, order and labels."""

from __future__ import annotations

import math
import tracemalloc
from itertools import permutations
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskd.core import record
from riskd.core.attempt import OUTCOMES
from riskd.core.errors import InvalidFile
from riskd.core.features import NAMES
from riskd.counts import Counts
from riskd.offline import decision_rows, labels
from riskd.offline.columns import labelled
from riskd.offline.decision_rows import read_rows
from riskd.offline.rows import FRAUD, GOOD, UNKNOWN
from tests.decision_log import decision, outcome, security_event, write

LATER: Final = 86_400.0


def assessment(number: int, time: float, *, domain: str = "customer", width: int = len(NAMES)) -> record.Record:
    vector = (math.nan, *(float(number),) * (width - 1))
    return decision(number, time, domain=domain, subject=f"{number % 3:032x}", vector=vector)


def log_of(directory: Path, *segments: list[record.Record]) -> Path:
    for number, lines in enumerate(segments, 1):
        write(directory / f"2026010{number}T000000.000000-w0-1.jsonl", *lines)
    return directory


def test_rows_are_in_order_of_time_with_the_outcomes_of_any_segment(tmp_path: Path) -> None:
    """Rows are in order of time, whatever the order of lines; repeated lines count once, and other domains are left
    out."""
    log = log_of(
        tmp_path,
        [outcome(1, 5.0, "session_established"), assessment(2, 3.0), assessment(3, 1.0, domain="workforce")],
        [assessment(1, 2.0), assessment(2, 3.0), outcome(2, 3.0 + LATER, "confirmed_fraud")],
        [security_event(1, 4.0, "account_enabled")],
    )
    rows = read_rows(log, "customer")
    assert rows.ids.tolist() == [f"{1:032x}", f"{2:032x}"]
    assert rows.times.tolist() == [2.0, 3.0]
    assert rows.labels.tolist() == [GOOD, FRAUD]
    assert rows.known.tolist() == [5.0, 3.0 + LATER]
    assert rows.names == NAMES
    assert np.isnan(rows.vectors[:, 0]).all()
    assert rows.vectors[:, 1].tolist() == [1.0, 2.0]


def test_no_column_is_held_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a log needs memory for its rows and outcomes, not for two copies of them."""
    monkeypatch.setattr(decision_rows, "_CHUNK", 64)
    told: list[record.Record] = [outcome(number, 9e6, "session_established") for number in range(0, 1000, 5)]
    log = log_of(tmp_path, [assessment(number, 1000.0 - number) for number in range(1000)], told)
    read_rows(log, "customer")  # whatever is made once
    tracemalloc.start()
    rows = read_rows(log, "customer")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    held = sum(getattr(rows, column).nbytes for column in rows.__struct_fields__ if column != "names")
    assert most < 1.6 * held
    assert rows.vectors[:, 1].tolist() == list(range(999, -1, -1))


def test_the_truth_names_attack_and_segments_and_may_label(tmp_path: Path) -> None:
    """The truth file gives attack class and segments, and labels only with `by_truth`."""
    log = log_of(tmp_path, [assessment(1, 1.0), assessment(2, 2.0), outcome(1, 2.0, "challenge_failed")])
    truth = tmp_path / "truth.jsonl.txt"
    truth.write_text(
        f'{{"assessment_id":"{1:032x}","attack":"targeted","campaign":"t1"}}\n'
        f'{{"assessment_id":"{2:032x}","segments":["traveller","vpn"]}}\n'
    )
    rows = read_rows(log, "customer", truth=truth)
    assert rows.attacks.tolist() == ["targeted", ""]
    assert rows.segments.tolist() == ["", "traveller vpn"]
    assert rows.labels.tolist() == [UNKNOWN, UNKNOWN]
    judged = read_rows(log, "customer", truth=truth, by_truth=True)
    assert judged.labels.tolist() == [FRAUD, GOOD]
    assert judged.known.tolist() == [1.0, 2.0]


@given(st.lists(st.sampled_from(OUTCOMES), max_size=4))
def test_labels_agree_with_those_of_reports(kinds: list[str]) -> None:
    """A row is fraud or good exactly if a backtest counts it as such, whatever the order of outcomes."""
    rows, times = np.zeros(len(kinds), dtype=np.intp), np.arange(len(kinds), dtype=np.float64)
    found = [labelled(1, rows, times, np.array(order, dtype=np.str_)) for order in permutations(kinds)]
    (value,) = {int(value[0]) for value, _ in found}
    bits = sum(1 << OUTCOMES.index(kind) for kind in set(kinds))
    expected = {labels.GOOD: GOOD, labels.FRAUD: FRAUD}.get(labels.label(bits), UNKNOWN)
    assert value == expected
    assert all(math.isinf(since[0]) == (value == UNKNOWN) for _, since in found)


def test_a_log_that_cannot_be_understood_is_refused(tmp_path: Path) -> None:
    """A log without segments, with another feature schema, or with a wrong truth file is refused with the reason."""
    with pytest.raises(InvalidFile, match="no segments"):
        read_rows(tmp_path, "customer")
    log = log_of(tmp_path, [assessment(1, 1.0, width=3)])
    with pytest.raises(InvalidFile, match="vectors of 3 features"):
        read_rows(log, "customer")
    log_of(tmp_path, [assessment(1, 1.0)])
    (tmp_path / "truth.txt").write_text('{"assessment_id":"other"}\n')
    with pytest.raises(InvalidFile, match="lacks 1 assessment of"):
        read_rows(log, "customer", truth=tmp_path / "truth.txt")
    (tmp_path / "truth.txt").write_text("no\n")
    with pytest.raises(InvalidFile, match=r"truth.txt:1"):
        read_rows(log, "customer", truth=tmp_path / "truth.txt")


def test_the_first_invalid_line_is_reported(tmp_path: Path) -> None:
    """Invalid lines are counted, and the first one is reported with its position and reason; the others are read."""
    log = log_of(tmp_path, [assessment(1, 1.0), assessment(2, 2.0, domain="elsewhere"), assessment(3, 3.0)])
    counts = Counts()
    assert read_rows(log, "customer", counts=counts).times.tolist() == [1.0, 3.0]
    assert counts == {"unreadable": 1}
    assert str(counts.first[0]).startswith(f"{next(log.glob('*'))}:2: Invalid enum value 'elsewhere'")
