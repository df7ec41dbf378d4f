"""Rows as a decision log with the truth beside it, as a simulation leaves them."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from riskd.core import record
from riskd.offline.rows import FRAUD, Rows
from riskd.offline.truth import FILE, Truth


def write(directory: Path, rows: Rows, domain: str = "customer") -> Path:
    """`decisions/` with one segment, and `truth.jsonl`. Good rows are established, fraud is confirmed when known."""
    lines: list[tuple[float, record.Record]] = []
    truths = []
    for at in range(len(rows)):
        name, time = f"{at:032x}", float(rows.times[at])
        lines.append((time, _assessment(name, rows, at, domain)))
        if rows.labels[at] == FRAUD:
            lines.append((float(rows.known[at]), _outcome(name, float(rows.known[at]), domain, "confirmed_fraud")))
        else:
            lines.append((time, _outcome(name, time, domain, "session_established")))
        segments = tuple(str(rows.segments[at]).split())
        truths.append(Truth(assessment_id=name, attack=str(rows.attacks[at]), segments=segments))
    lines.sort(key=lambda line: line[0])
    decisions = directory / "decisions"
    decisions.mkdir(parents=True)
    segment = decisions / "20260101T000000.000000-w0-1.jsonl"
    segment.write_bytes(b"".join(record.encode(line) + b"\n" for _, line in lines))
    (directory / FILE).write_bytes(b"".join(msgspec.json.encode(truth) + b"\n" for truth in truths))
    return directory


def _assessment(name: str, rows: Rows, at: int, domain: str) -> record.Record:
    time = float(rows.times[at])
    return record.AssessmentRecord(
        id=name,
        time=time,
        tenant="",
        domain=domain,
        journey=str(rows.journeys[at]),
        subject=str(rows.subjects[at]),
        request_id="",
        credential_result="succeeded",
        facts=record.Facts(time, "192.0.2.0/24", {}, None, None, None, ()),
        vector=tuple(None if math.isnan(value) else value for value in rows.vectors[at].tolist()),
        log_odds=0.0,
        score=0.0,
        level="low",
        tier="BASELINE",
        satisfied=True,
        hits=(),
        shadow_hits=(),
        reasons=(),
        contributions=None,
        gaps=(),
        coverage=1.0,
        causes=(),
        release="r",
        model="m",
    )


def _outcome(name: str, time: float, domain: str, kind: str) -> record.Record:
    return record.OutcomeRecord(
        assessment_id=name,
        time=time,
        tenant="",
        domain=domain,
        journey="login",
        kind=kind,
        amr=(),
        seconds=None,
        taught=0,
    )
