"""The meter of a worker, and the page that Prometheus reads for all of them."""

from __future__ import annotations

import itertools
import json
import platform
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from riskd.metrics import METHODS, METRICS, OTHER, MeterMemory, Metric, Readings


class PrometheusMeter:
    """`Meter` of one worker, and the metrics of its calls. Safe between threads.

    A value outside its vocabulary counts as `other`. Nothing here raises, blocks or calls the system.
    """

    def __init__(self, memory: MeterMemory, worker: int) -> None:
        self._memory = memory
        self._worker = worker
        self._slots = memory.slots(worker)
        self._lock = threading.Lock()
        self._metrics = {metric.name: metric for metric in METRICS}
        self._assessed = self._places("riskd_assessments_total")
        self._withheld = self._places("riskd_withheld_total")
        self._score = self._named("riskd_score")
        self._gap = self._places("riskd_gaps_total")
        self._stage = self._named("riskd_stage_seconds")
        self._outcome = self._places("riskd_outcomes_total")
        self._learned = self._places("riskd_learned_units_total")
        self._rolled = self._places("riskd_rollout_assessments_total")
        self._shadowed = self._places("riskd_shadow_assessments_total")
        self._roles: dict[str, list[list[str]]] = {}
        self._failure = self._named("riskd_failures_total")
        self._failed_at = self._named("riskd_failure_timestamp_seconds")
        self._common = self._named("riskd_store_common_reads_total")
        self._calls = self._call_places()
        self._handled = {
            (f"{service}/{method}", _grpcio_name(code)): place
            for (_, service, method, code), place in self._places("grpc_server_handled_total").items()
        }
        self._stage_bounds, self._stage_sum = self._buckets("riskd_stage_seconds")
        self._score_bounds, self._score_sum = self._buckets("riskd_score")
        self._call_bounds, self._call_sum = self._buckets("grpc_server_handling_seconds")

    def stage(self, name: str, seconds: float) -> None:
        """One stage of a request took this long."""
        place = self._stage.get(name, self._stage[OTHER])
        bucket = place + bisect_left(self._stage_bounds, seconds)
        with self._lock:
            self._slots[bucket] += 1.0
            self._slots[place + self._stage_sum] += seconds

    def assessed(self, domain: str, journey: str, tier: str, score: float) -> None:
        """One assessment was answered."""
        assessed = _place(self._assessed, (domain, journey, tier))
        place = self._score.get(domain, self._score[OTHER])
        bucket = place + bisect_left(self._score_bounds, score)
        with self._lock:
            self._slots[assessed] += 1.0
            self._slots[bucket] += 1.0
            self._slots[place + self._score_sum] += score

    def withheld(self, domain: str, journey: str, tier: str) -> None:
        """A journey that is learning did not require this tier."""
        self._add(_place(self._withheld, (domain, journey, tier)))

    def gap(self, source: str, why: str) -> None:
        """A fact that the policy expects was missing."""
        self._add(_place(self._gap, (source, why)))

    def outcome(self, domain: str, kind: str, taught: int) -> None:
        """One outcome was recorded; `taught` units were learned (negative: taken back)."""
        self._add(_place(self._outcome, (domain, kind)))
        if taught:
            direction = "learned" if taught > 0 else "taken_back"
            self._add(_place(self._learned, (domain, direction)), abs(taught))

    def recalled(self, remembered: int, fetched: int) -> None:
        """Histories of common values were answered, from memory and by the store."""
        with self._lock:
            self._slots[self._common["memory"]] += remembered
            self._slots[self._common["store"]] += fetched

    def failed(self, part: str) -> None:
        """A part failed, and the answer went out without it."""
        self._add(self._failure.get(part, self._failure[OTHER]))
        self._slots[self._failed_at.get(part, self._failed_at[OTHER])] = time.time()

    def reloaded(self, *, good: bool) -> None:
        """The files that decide were read again, and were good, or some were refused."""
        self._set("riskd_reload_failed", (), float(not good))
        if good:
            self._set("riskd_reload_timestamp_seconds", (), time.time())

    def started(self, method: str, type: str) -> None:  # noqa: A002 - the label's name
        """A call and its message came in. `method` is `riskd.v1.RiskService/Assess`, whose type the table knows."""
        started, received, _, _ = self._call(method)
        with self._lock:
            self._slots[started] += 1.0
            self._slots[received] += 1.0

    def handled(self, method: str, type: str, code: str, seconds: float) -> None:  # noqa: A002 - the label's name
        """A call ended with `code`, as grpcio spells it (`NOT_FOUND`); OK sent one message."""
        _, _, sent, handling = self._call(method)
        handled = self._handled.get((method, code))
        if handled is None:
            known = method if method in self._calls else _NO_CALL
            handled = self._handled.get((known, code), self._handled[known, OTHER])
        bucket = handling + bisect_left(self._call_bounds, seconds)
        with self._lock:
            self._slots[handled] += 1.0
            self._slots[sent] += code == "OK"
            self._slots[bucket] += 1.0
            self._slots[handling + self._call_sum] += seconds

    def stored(self, records: int, size: int) -> None:
        """The history store holds this many records in this many bytes."""
        self._set("riskd_store_records", (), records)
        self._set("riskd_store_bytes", (), size)

    def geo_built(self, database: str, timestamp: float) -> None:
        """A geo database (`city`, `asn`, `anonymous`) built at `timestamp`, Unix time, is in use."""
        self._set("riskd_geo_build_timestamp_seconds", (database,), timestamp)

    def friction_budget(self, domain: str, journey: str, share: float) -> None:
        """The policy in use allows this share of good attempts to be challenged; 0: it does not say."""
        self._set("riskd_friction_budget", (domain, journey), share)

    def installed(self, role: str, release: str, models: Mapping[str, str]) -> None:
        """A release has this role from now on, or none has; `models` maps domains to models."""
        self._roles[role] = [[release, *pair, role] for pair in models.items()]
        self._memory.write_note(self._worker, json.dumps([row for rows in self._roles.values() for row in rows]))

    def shadowed(self, domain: str, move: str) -> None:
        """A release in shadow was scored, or an attempt was dropped."""
        self._add(_place(self._shadowed, (domain, move)))

    def decided(self, role: str, domain: str, tier: str) -> None:
        """While a release is rolled out: which one gave an answer."""
        self._add(_place(self._rolled, (role, domain, tier)))

    def _places(self, name: str) -> dict[tuple[str, ...], int]:
        metric, first = self._metrics[name], self._memory.first[name]
        return {row: first + metric.width * number for number, row in enumerate(metric.rows)}

    def _named(self, name: str) -> dict[str, int]:
        """Places of a metric that has one label."""
        return {value: place for (value,), place in self._places(name).items()}

    def _buckets(self, name: str) -> tuple[tuple[float, ...], int]:
        """Bounds, and how far a row's sum lies behind its first bucket."""
        bounds = self._metrics[name].bounds
        return bounds, len(bounds) + 1

    def _call_places(self) -> dict[str, tuple[int, int, int, int]]:
        started = self._places("grpc_server_started_total")
        received = self._places("grpc_server_msg_received_total")
        sent = self._places("grpc_server_msg_sent_total")
        handling = self._places("grpc_server_handling_seconds")
        return {f"{row[1]}/{row[2]}": (started[row], received[row], sent[row], handling[row]) for row in METHODS}

    def _call(self, method: str) -> tuple[int, int, int, int]:
        return self._calls.get(method) or self._calls[_NO_CALL]

    def _add(self, place: int, amount: float = 1.0) -> None:
        with self._lock:
            self._slots[place] += amount

    def _set(self, name: str, row: tuple[str, ...], value: float) -> None:
        self._slots[_place(self._places(name), row)] = value


_NO_CALL: Final = f"{OTHER}/{OTHER}"


def _grpcio_name(code: str) -> str:
    """`NOT_FOUND` for `NotFound`; grpcio alone writes CANCELLED with two l."""
    if code in ("OK", OTHER):
        return code
    name = "".join(f"_{letter}" if letter.isupper() else letter for letter in code).lstrip("_").upper()
    return "CANCELLED" if name == "CANCELED" else name


def _place(places: dict[tuple[str, ...], int], row: tuple[str, ...]) -> int:
    found = places.get(row)
    if found is None:
        known = [{values[column] for values in places} for column in range(len(row))]
        found = places[tuple(value if value in known[column] else OTHER for column, value in enumerate(row))]
    return found


class PrometheusPage(Collector):
    """The page that Prometheus reads: all workers as one."""

    def __init__(self, memory: MeterMemory, version: str) -> None:
        self._memory = memory
        self._version = version
        self._readings: Readings = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self, accept: str, readings: Readings) -> tuple[str, bytes]:
        """Content type and page, in the format that the Accept header asks for. One caller at a time."""
        self._readings = {
            **readings,
            "riskd_build_info": {(self._version, platform.python_version()): 1.0},
            "riskd_release_info": self._releases(),
        }
        encoder, content_type = choose_encoder(accept)
        return content_type, encoder(self._registry)

    def collect(self) -> Iterator[Family]:
        """Every metric, zeros of sparse ones left out."""
        workers = [self._memory.slots(worker).tolist() for worker in range(self._memory.workers)]
        for metric in METRICS:
            if metric.merge == "live":
                readings = self._readings.get(metric.name, {})
                yield _family(metric, ((row, [value]) for row, value in readings.items()))
            else:
                yield _family(metric, _rows(metric, _merged(metric, self._memory.first[metric.name], workers)))

    def _releases(self) -> dict[tuple[str, ...], float]:
        notes = {self._memory.read_note(worker) for worker in range(self._memory.workers)} - {""}
        return {tuple(row): 1.0 for note in sorted(notes) for row in json.loads(note)}


def _merged(metric: Metric, first: int, workers: Sequence[Sequence[float]]) -> list[float]:
    size = metric.width * len(metric.rows)
    columns = zip(*(slots[first : first + size] for slots in workers), strict=True)
    if metric.merge == "max":
        return [max(column) for column in columns]
    if metric.merge == "min":
        return [min((value for value in column if value), default=0.0) for column in columns]
    return [sum(column) for column in columns]


def _rows(metric: Metric, values: list[float]) -> Iterator[tuple[tuple[str, ...], list[float]]]:
    for number, row in enumerate(metric.rows):
        cells = values[number * metric.width : (number + 1) * metric.width]
        if any(cells) or not metric.sparse:
            yield row, cells


def _family(metric: Metric, rows: Iterable[tuple[tuple[str, ...], list[float]]]) -> Family:
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.doc, labels=metric.labels)
        names = (*(_go_float(bound) for bound in metric.bounds), "+Inf")
        for row, cells in rows:
            histogram.add_metric(row, list(zip(names, itertools.accumulate(cells[:-1]), strict=True)), cells[-1])
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.doc, labels=metric.labels)
    for row, cells in rows:
        family.add_metric(row, cells[0])
    return family


def _go_float(value: float) -> str:
    """As Prometheus spells a bucket's bound, so that both exposition formats agree."""
    return repr(value) if value >= 0.0001 else f"{value:g}"
