"""Renders the page that Prometheus scrapes: every metric, summed over all workers."""

from __future__ import annotations

import itertools
import platform
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from riskd.metrics.memory import MeterMemory, Note, Readings
from riskd.metrics.metric import Metric
from riskd.metrics.rule_slots import total_hits
from riskd.metrics.table import METRICS

_Row = tuple[tuple[str, ...], list[float]]
"""Label values, and the value: a histogram has one for each bucket, then its sum."""


class ReadingsPage(Collector):
    """The page of a single process, which has only `live` metrics, that is, present readings."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics
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
        for metric in self._metrics:
            yield _family(metric, self._rows(metric))

    def _rows(self, metric: Metric) -> Iterator[_Row]:
        yield from ((row, [value]) for row, value in self._readings.get(metric.name, {}).items())


class PrometheusPage(ReadingsPage):
    """The page of a service: the counts of all workers, merged, and the present readings."""

    def __init__(self, memory: MeterMemory, version: str) -> None:
        super().__init__(METRICS)
        self._memory = memory
        self._version = version
        self._workers: Sequence[Sequence[float]] = ()
        self._notes = [Note()] * memory.workers

    def render(self, accept: str, readings: Readings) -> tuple[str, bytes]:
        """See `ReadingsPage`."""
        # Notes first: read after the slots, one could give a rule the count of the rule that had its slot before.
        self._notes = [self._memory.read_note(worker) or known for worker, known in enumerate(self._notes)]
        self._workers = [self._memory.slots(worker).tolist() for worker in range(self._memory.workers)]
        about: Readings = {
            "riskd_build_info": {(self._version, platform.python_version()): 1.0},
            "riskd_release_info": self._releases(),
        }
        return super().render(accept, {**readings, **about})

    def _rows(self, metric: Metric) -> Iterator[_Row]:
        """The rows of a metric, without those of zeros if it is sparse."""
        if metric.merge == "live":
            yield from super()._rows(metric)
            return
        first = self._memory.first[metric.name]
        if metric.merge == "rules":
            workers = [slots[first : first + metric.slots] for slots in self._workers]
            yield from total_hits(workers, [note.rules for note in self._notes])
            return
        values = _merged(metric, first, self._workers)
        for number, row in enumerate(metric.rows):
            cells = values[number * metric.width : (number + 1) * metric.width]
            if any(cells) or not metric.sparse:
                yield row, cells

    def _releases(self) -> dict[tuple[str, ...], float]:
        return {row: 1.0 for note in self._notes for row in note.releases}


def _merged(metric: Metric, first: int, workers: Sequence[Sequence[float]]) -> list[float]:
    size = metric.width * len(metric.rows)
    columns = zip(*(slots[first : first + size] for slots in workers), strict=True)
    if metric.merge == "max":
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
