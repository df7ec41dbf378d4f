"""Renders what Prometheus scrapes: every metric, summed over all processes that count."""

from __future__ import annotations

import itertools
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from riskd.metrics.embedded import EMBEDDED
from riskd.metrics.memory import FIRST, Counts, MeterMemory, Note, Readings
from riskd.metrics.metric import PRESENT, Metric
from riskd.metrics.rule_slots import total_hits
from riskd.metrics.table import METRICS

_Row = tuple[tuple[str, ...], list[float]]
"""Label values, and the value: a histogram has one for each bucket, then its sum."""


class ReadingsPage(Collector):
    """The page of a single process, which has only `live` metrics, that is, present readings."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics
        self._counts: Sequence[Counts] = ()
        self._readings: Readings = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self, accept: str, readings: Readings) -> tuple[str, bytes]:
        """Content type and page, in the format that the Accept header asks for. One caller at a time."""
        self._readings = readings
        encoder, content_type = choose_encoder(accept)
        return content_type, encoder(self._registry)

    def collect(self) -> Iterator[Family]:
        """Every metric."""
        return _families(self._metrics, self._counts, self._readings)


class PrometheusPage(ReadingsPage):
    """The page of a service: the counts of all workers, merged, and the present readings."""

    def __init__(self, memory: MeterMemory, version: str) -> None:
        super().__init__(METRICS)
        self._memory = memory
        self._version = version
        self._notes = [Note()] * memory.workers

    def render(self, accept: str, readings: Readings) -> tuple[str, bytes]:
        """See `ReadingsPage`."""
        # Notes first: read after the slots, one could give a rule the count of the rule that had its slot before.
        self._notes = [self._memory.read_note(worker) or known for worker, known in enumerate(self._notes)]
        self._counts = [Counts(self._memory.slots(worker).tolist(), note) for worker, note in enumerate(self._notes)]
        return super().render(accept, {**readings, **_about(self._version, self._counts)})


class EmbeddedMetrics(Collector):
    """The metrics of the engines in other programs, for a registry of the program. Thread-safe."""

    def __init__(self, version: str, counts: Callable[[], Sequence[Counts]], readings: Callable[[], Readings]) -> None:
        """`counts`: of all processes that are shown together. `readings`: present readings."""
        self._version = version
        self._read = counts
        self._readings = readings

    def describe(self) -> Iterator[Family]:
        """Every metric, without series: their names, by which a registry refuses to have two of them."""
        return (_family(metric, ()) for metric in EMBEDDED)

    def collect(self) -> Iterator[Family]:
        """Every metric."""
        counts = self._read()
        serving: Readings = {"riskd_workers_serving": {(): float(sum(each.alive for each in counts))}}
        return _families(EMBEDDED, counts, {**self._readings(), **_about(self._version, counts), **serving})


def _about(version: str, counts: Sequence[Counts]) -> Readings:
    return {
        "riskd_build_info": {(version, platform.python_version()): 1.0},
        "riskd_release_info": {row: 1.0 for each in counts for row in each.note.releases},
    }


def _families(metrics: Sequence[Metric], counts: Sequence[Counts], readings: Readings) -> Iterator[Family]:
    for metric in metrics:
        yield _family(metric, _rows(metric, counts, readings))


def _rows(metric: Metric, counts: Sequence[Counts], readings: Readings) -> Iterator[_Row]:
    """The rows of a metric, without those of zeros if it is sparse."""
    if metric.merge == "live":
        yield from ((row, [value]) for row, value in readings.get(metric.name, {}).items())
        return
    first = FIRST[metric.name]
    if metric.merge == "rules":
        hits = [each.slots[first : first + metric.slots] for each in counts]
        yield from total_hits(hits, [each.note.rules for each in counts])
        return
    values = _merged(metric, first, counts)
    for number, row in enumerate(metric.rows):
        cells = values[number * metric.width : (number + 1) * metric.width]
        if any(cells) or (cells and not metric.sparse):
            yield row, cells


def _merged(metric: Metric, first: int, counts: Sequence[Counts]) -> list[float]:
    """The cells of all rows; empty if no process has any."""
    size, present = metric.width * len(metric.rows), metric.merge in PRESENT
    columns = zip(*(each.slots[first : first + size] for each in counts if each.alive or not present), strict=True)
    if metric.merge in ("max", "latest"):
        return [max(column) for column in columns]
    if metric.merge == "min":
        return [min((value for value in column if value), default=0.0) for column in columns]
    return [sum(column) for column in columns]


def _family(metric: Metric, rows: Iterable[_Row]) -> Family:
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.doc, labels=metric.labels)
        names = (*map(repr, metric.bounds), "+Inf")
        for row, cells in rows:
            histogram.add_metric(row, list(zip(names, itertools.accumulate(cells[:-1]), strict=True)), cells[-1])
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.doc, labels=metric.labels)
    for row, cells in rows:
        family.add_metric(row, cells[0])
    return family
