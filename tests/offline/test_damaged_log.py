"""A log with a damaged segment, given to every reader of logs."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from riskd.adapters.decision_log import FileLogArchive
from riskd.config import data_directory
from riskd.core.errors import InvalidFile
from riskd.core.record import encode
from riskd.counts import Counts
from riskd.offline import decision_rows
from riskd.offline.drift import log as drift
from riskd.offline.models import explanation
from riskd.offline.policies import backtest
from riskd.offline.siem.feed import Converter, Feed
from riskd.progress import ignore_progress
from tests.decision_log import decision, write


def export(feed: Feed) -> None:
    for _ in feed.events(ignore_progress("", 0)):
        pass


PACKED: Final = gzip.compress(b"\0\n" * 1000)
DAMAGED: Final = {
    "no_gzip": b"\x1f\x8b broken",
    "ends_early": PACKED[:-9],
    "other_bytes": PACKED[:10] + b"\xff" * 40,
}
POLICY: Final = data_directory("policies") / "customer.yaml"
READERS: Final[dict[str, Callable[[Path], object]]] = {
    "backtest": lambda log: backtest.run(backtest.Backtest(log=log, policies=((str(POLICY), POLICY.read_text()),))),
    "rows": lambda log: decision_rows.read_rows(log, "customer"),
    "explanation": lambda log: explanation.sample(log, "customer", 10, Counts(), ignore_progress),
    "drift": lambda log: drift.count(drift.Selection(log=str(log), span=drift.Span(domains=())), {}),
    "export": lambda log: list(
        Feed(FileLogArchive(log, 3600.0, 600.0), log, Converter(), {}).events(ignore_progress("", 0))
    ),
    "reference": lambda log: drift.sample(drift.Selection(log=str(log), span=drift.Span(domains=("customer",)))),
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("reader", READERS)
def test_a_segment_that_cannot_be_unpacked_is_refused_by_name(tmp_path: Path, reader: str, damage: str) -> None:
    """Every reader refuses a segment that cannot be decompressed, by name."""
    segment = tmp_path / "20260101T000000.000000-w0-1.jsonl.gz"
    segment.write_bytes(DAMAGED[damage])
    with pytest.raises(InvalidFile, match=f"{segment}: cannot be read"):
        READERS[reader](tmp_path)


@pytest.mark.parametrize("reader", READERS)
def test_a_line_that_is_no_text_is_no_record(tmp_path: Path, reader: str) -> None:
    """A line with invalid UTF-8 is skipped or refused by name, without any other error."""
    line = encode(decision(1, 1.8e9))
    damaged = line.replace(b'"customer"', b'"custom\xffr"')
    assert damaged != line
    write(tmp_path / "20260101T000000.000000-w0-1.jsonl", damaged)
    with suppress(InvalidFile):
        READERS[reader](tmp_path)
