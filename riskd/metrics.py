"""What riskd counts: every metric, and the vocabulary of every label. `docs/metrics.md` is made of this table.

Each label has a bounded vocabulary, so each series has a slot that is known before the first request. A
worker adds to its own slots, and the monitor sums over workers at a scrape. The memory belongs to the
supervisor, so counters go on when a worker is replaced.
"""

from __future__ import annotations

import itertools
import mmap
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from riskd.core.attempt import DOMAINS, JOURNEYS, OUTCOMES
from riskd.core.context import SOURCES, WHYS
from riskd.core.lineup import ACTIVE, CANDIDATE
from riskd.core.requirement import Tier

OTHER: Final = "other"
"""Stands for every label value outside the vocabulary."""
STAGES: Final = ("gather", "decide", "record", "shadow")
PARTS: Final = (
    "store",
    "decision_log",
    "decision_log_slow",
    "decision_log_sync",
    "compaction",
    "geo",
    "reload",
    "clock",
)
DATABASES: Final = ("city", "asn", "anonymous")
CODES: Final = (
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
)
"""Spelled as go-grpc-middleware does, which dashboards match on."""
METHODS: Final = (
    ("unary", "riskd.v1.RiskService", "Assess"),
    ("unary", "riskd.v1.RiskService", "BatchAssess"),
    ("unary", "riskd.v1.RiskService", "RecordOutcome"),
    ("unary", "riskd.v1.SubjectService", "GetSubjectSummary"),
    ("unary", "riskd.v1.SubjectService", "ExportSubject"),
    ("unary", "riskd.v1.SubjectService", "EraseSubject"),
    ("unary", "riskd.v1.ReleaseService", "GetRelease"),
    ("unary", "riskd.v1.ReleaseService", "ListReleases"),
    ("unary", "riskd.v1.ReleaseService", "ActivateRelease"),
    ("unary", "riskd.v1.ReleaseService", "RollbackRelease"),
    (OTHER, OTHER, OTHER),
)
_RPC: Final = ("grpc_type", "grpc_service", "grpc_method")
_CALL_SECONDS: Final = (
    *(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
_STAGE_SECONDS: Final = (
    *(0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001),
    *(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
)
_SCORES: Final = (0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


class Metric(Struct, frozen=True):
    """One metric. `rows` are its label values; `sparse` series show once they are not 0.

    `merge` says how the workers' values become one: sum, max, min (of those set), or `live` where the
    value is read at the scrape and has no slot.
    """

    name: str
    kind: str
    doc: str
    labels: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ((),)
    bounds: tuple[float, ...] = ()
    sparse: bool = True
    merge: str = "sum"

    @property
    def width(self) -> int:
        """Slots of a row: a histogram has one for each bucket, one for +Inf and one for the sum."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


def _rows(*vocabularies: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(itertools.product(*((*vocabulary, OTHER) for vocabulary in vocabularies)))


METRICS: Final = (
    Metric("grpc_server_started_total", "counter", "Calls begun.", _RPC, METHODS, sparse=False),
    Metric(
        "grpc_server_handled_total",
        "counter",
        "Calls ended, by status code. A DENY is an OK.",
        (*_RPC, "grpc_code"),
        tuple((*method, code) for method in METHODS for code in (*CODES, OTHER)),
        sparse=False,
    ),
    Metric("grpc_server_msg_received_total", "counter", "Messages received.", _RPC, METHODS, sparse=False),
    Metric("grpc_server_msg_sent_total", "counter", "Messages sent.", _RPC, METHODS, sparse=False),
    Metric(
        "grpc_server_handling_seconds",
        "histogram",
        "Time from a call's arrival in the worker to its end.",
        _RPC,
        METHODS,
        bounds=_CALL_SECONDS,
    ),
    Metric(
        "riskd_assessments_total",
        "counter",
        "Assessments answered, by the tier required.",
        ("domain", "journey", "tier"),
        _rows(DOMAINS, JOURNEYS, tuple(tier.name for tier in Tier)),
    ),
    Metric(
        "riskd_withheld_total",
        "counter",
        "Assessments on journeys that are learning, by the tier that was not required because of it.",
        ("domain", "journey", "tier"),
        _rows(DOMAINS, JOURNEYS, tuple(tier.name for tier in Tier)),
    ),
    Metric(
        "riskd_rollout_assessments_total",
        "counter",
        "Assessments answered while a release is rolled out to a share of the subjects, by the release that decided.",
        ("role", "domain", "tier"),
        _rows((ACTIVE, CANDIDATE), DOMAINS, tuple(tier.name for tier in Tier)),
    ),
    Metric(
        "riskd_shadow_assessments_total",
        "counter",
        "Attempts scored by the release in shadow, by how its tier compares with the one required; `dropped` where the "
        "worker was too busy.",
        ("domain", "move"),
        _rows(DOMAINS, ("same", "stricter", "looser", "dropped")),
    ),
    Metric(
        "riskd_score",
        "histogram",
        "Scores answered: probability that the attempt is not the owner's.",
        ("domain",),
        _rows(DOMAINS),
        bounds=_SCORES,
    ),
    Metric(
        "riskd_gaps_total",
        "counter",
        "Facts that an attempt lacked: those that a policy expects, and those that nobody consented to.",
        ("source", "why"),
        _rows(tuple(SOURCES), WHYS),
    ),
    Metric(
        "riskd_stage_seconds",
        "histogram",
        "Time of one stage of an assessment; `shadow` comes after the answer.",
        ("stage",),
        _rows(STAGES),
        bounds=_STAGE_SECONDS,
    ),
    Metric(
        "riskd_outcomes_total",
        "counter",
        "Outcomes recorded.",
        ("domain", "kind"),
        _rows(DOMAINS, OUTCOMES),
    ),
    Metric(
        "riskd_learned_units_total",
        "counter",
        "Units of familiarity learned, and taken back after fraud.",
        ("domain", "direction"),
        _rows(DOMAINS, ("learned", "taken_back")),
    ),
    Metric(
        "riskd_failures_total",
        "counter",
        "Times a part of riskd failed or was slow while the answer went out all the same.",
        ("part",),
        _rows(PARTS),
        sparse=False,
    ),
    Metric(
        "riskd_store_common_reads_total",
        "counter",
        "Histories of common values (a country, a browser, an ASN) read, by who had them: a worker's memory, where "
        "they stay for some seconds, or the store. The hit ratio is the share of the first.",
        ("source",),
        _rows(("memory", "store")),
        sparse=False,
    ),
    Metric("riskd_store_records", "gauge", "Records in the history store.", merge="max"),
    Metric("riskd_store_bytes", "gauge", "Bytes that the history store uses.", merge="max"),
    Metric(
        "riskd_geo_build_timestamp_seconds",
        "gauge",
        "When the oldest copy in use of a geo database was built, Unix time.",
        ("database",),
        _rows(DATABASES),
        merge="min",
    ),
    Metric(
        "riskd_friction_budget",
        "gauge",
        "Share of good attempts that the policy in use allows to be challenged, where it says so.",
        ("domain", "journey"),
        _rows(DOMAINS, JOURNEYS),
        merge="max",
    ),
    Metric(
        "riskd_release_info",
        "gauge",
        "1 for each release and model that a worker has now: to decide by (`active`; `candidate` for a share of the "
        "subjects) or in `shadow`.",
        ("release", "domain", "model", "role"),
        merge="live",
    ),
    Metric(
        "riskd_drift_psi",
        "gauge",
        "Population stability index of a feature, or of the `score`, between what the active model expects and a "
        "sample of the decision log, whose weight halves every day. From 0.1 on worth a look, from 0.25 on large.",
        ("domain", "feature"),
        merge="live",
    ),
    Metric(
        "riskd_drift_rows",
        "gauge",
        "Rows that `riskd_drift_psi` rests on, older ones in part; below 1000 there is none.",
        ("domain",),
        merge="live",
    ),
    Metric("riskd_build_info", "gauge", "1, with the version that runs.", ("version", "python"), merge="live"),
    Metric("riskd_workers", "gauge", "Workers that should serve.", merge="live"),
    Metric("riskd_workers_serving", "gauge", "Workers that do serve.", merge="live"),
    Metric("riskd_worker_restarts_total", "counter", "Processes replaced because they died.", merge="live"),
    Metric(
        "riskd_process_resident_bytes",
        "gauge",
        "Resident memory of a process; pages that processes share count in each.",
        ("process",),
        merge="live",
    ),
    Metric(
        "riskd_process_cpu_seconds_total",
        "counter",
        "User and system time of a process since it was last replaced.",
        ("process",),
        merge="live",
    ),
)
"""Every metric, in the order of the page and of `docs/metrics.md`."""

Readings = Mapping[str, Mapping[tuple[str, ...], float]]
"""Values of `live` metrics: name to label values to value."""
_NOTE_BYTES: Final = 8192
_NOTE_HEAD: Final = struct.Struct("<II")


class MeterMemory:
    """Slots of all workers and a short text from each, in anonymous memory that forked children share.

    Make it before forking. A worker writes its own region alone, so there is nothing to lock between
    processes; an aligned eight-byte store is seen whole or not at all.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.first: dict[str, int] = {}
        slots = 0
        for metric in METRICS:
            if metric.merge != "live":
                self.first[metric.name] = slots
                slots += metric.width * len(metric.rows)
        self._slots = slots
        self._memory = memoryview(mmap.mmap(-1, workers * (slots * 8 + _NOTE_BYTES)))

    def slots(self, worker: int) -> memoryview[float]:
        """The slots of one worker."""
        start = worker * self._slots * 8
        slots: memoryview[float] = self._memory[start : start + self._slots * 8].cast("d")
        return slots

    def write_note(self, worker: int, text: str) -> None:
        """Replace a worker's text; one that is too long is left out."""
        content = text.encode()
        if len(content) <= _NOTE_BYTES - _NOTE_HEAD.size:
            head = _NOTE_HEAD.pack(len(content), zlib.crc32(content))
            start = self._note(worker)
            self._memory[start : start + len(head) + len(content)] = head + content

    def read_note(self, worker: int) -> str:
        """A worker's text; empty while it is being replaced, which the checksum tells."""
        start = self._note(worker)
        size, checksum = _NOTE_HEAD.unpack_from(self._memory, start)
        start += _NOTE_HEAD.size
        content = bytes(self._memory[start : start + min(size, _NOTE_BYTES)])
        return content.decode() if zlib.crc32(content) == checksum else ""

    def _note(self, worker: int) -> int:
        return self.workers * self._slots * 8 + worker * _NOTE_BYTES
