"""A decision log for tests: plain decisions, their outcomes, and segments of both."""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from riskd.adapters.decision_log import read_segment, segments
from riskd.core.features import FEATURES
from riskd.core.policy import Policy
from riskd.core.record import AssessmentRecord, Facts, OutcomeRecord, Record, SecurityEventRecord, encode
from riskd.offline.policies.redecide import redecide

SEGMENT: Final = "20260101T000000.000000-w0-1.jsonl"
"""A segment's name, for tests in which it does not matter."""
UNKNOWN: Final = tuple(None if math.isnan(feature.missing) else feature.missing for feature in FEATURES)
"""The vector of an attempt about which nothing is known."""

WHENCE: Final = {"address": "AAAAAAAA", "network": "AAAAAAAA"}
"""The values that every attempt has."""


def decision(number: int, time: float, **changes: object) -> AssessmentRecord:
    """The decision with this number as its id: a customer's login; `changes` are fields of the record."""
    usual = AssessmentRecord(
        id=f"{number:032x}",
        time=time,
        tenant="",
        domain="customer",
        journey="login",
        subject="00" * 16,
        request_id="",
        credential_result="succeeded",
        facts=Facts(now=time, network="192.0.2.0/24", values=WHENCE, place=None, route=None, agent=None, missing=()),
        vector=UNKNOWN,
        log_odds=-5.0,
        score=0.001,
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
    return replace(usual, **changes)


def outcome(number: int, time: float, kind: str, **changes: object) -> OutcomeRecord:
    """An outcome of the decision with this number; `changes` are fields of the record."""
    usual = OutcomeRecord(
        assessment_id=f"{number:032x}",
        time=time,
        tenant="",
        domain="customer",
        journey="login",
        kind=kind,
        amr=(),
        seconds=None,
        taught=0,
    )
    return replace(usual, **changes)


def security_event(number: int, time: float, kind: str, **changes: object) -> SecurityEventRecord:
    """An event about the subject of the decision with this number; `changes` are fields of the record."""
    usual = SecurityEventRecord(
        subject=f"{number:032x}",
        time=time,
        tenant="",
        domain="customer",
        keyed="AAAAAAAA",
        kind=kind,
        issuer="https://idp.example",
    )
    return replace(usual, **changes)


def types(lines: Iterable[bytes]) -> Counter[str]:
    """The number of log lines of each type."""
    return Counter(json.loads(line)["type"] for line in lines)


def decided(policy: Policy, one: AssessmentRecord) -> AssessmentRecord:
    """The decision that a policy makes."""
    found = redecide(policy, one)
    return replace(
        one,
        tier=found.ruling.tier.name,
        satisfied=found.ruling.requirement.satisfied,
        hits=tuple(hit.rule for hit in found.hits if not hit.shadow),
        shadow_hits=tuple(hit.rule for hit in found.hits if hit.shadow),
    )


def read_segments(directory: Path) -> Iterator[bytes]:
    """Every complete line of a log, segment by segment in the order in which they were started."""
    for path in segments(directory):
        yield from read_segment(path)


def write(segment: Path, *lines: Record | bytes) -> None:
    """Write a finished segment of these lines, compressed if its name says so."""
    text = b"".join((line if isinstance(line, bytes) else encode(line)) + b"\n" for line in lines)
    segment.parent.mkdir(parents=True, exist_ok=True)
    segment.write_bytes(gzip.compress(text) if segment.suffix == ".gz" else text)
