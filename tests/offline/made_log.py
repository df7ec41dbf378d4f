"""Rows as a decision log with a truth file, as a simulation writes them."""

from __future__ import annotations

from pathlib import Path

import msgspec

from riskd.adapters.decision_log import DECISIONS
from riskd.core import record
from riskd.offline.rows import FRAUD, Rows
from riskd.offline.truth import FILE, Truth
from tests import decision_log
from tests.decision_log import SEGMENT, decision, outcome


def write(directory: Path, rows: Rows, domain: str = "customer", first: int = 0) -> Path:
    """Write `decisions/` with one segment, and `truth.jsonl`. Good rows have a session, fraud is confirmed when known.
    Assessment ids count from `first`."""
    lines: list[record.Record] = []
    truths = []
    for at in range(len(rows)):
        time, known = float(rows.times[at]), float(rows.known[at])
        one = decision(
            first + at,
            time,
            domain=domain,
            journey=str(rows.journeys[at]),
            subject=str(rows.subjects[at]),
            vector=tuple(rows.vectors[at].tolist()),
        )
        fraud = rows.labels[at] == FRAUD
        told = (known, "confirmed_fraud") if fraud else (time, "session_established")
        lines += [one, outcome(first + at, *told, domain=domain)]
        truths.append(
            Truth(assessment_id=one.id, attack=str(rows.attacks[at]), segments=tuple(str(rows.segments[at]).split()))
        )
    decision_log.write(directory / DECISIONS / SEGMENT, *sorted(lines, key=record.written))
    (directory / FILE).write_bytes(b"".join(msgspec.json.encode(truth) + b"\n" for truth in truths))
    return directory
