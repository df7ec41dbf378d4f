"""Measures drift live: compares the newest lines of the decision log with the active models' training data.

It runs in the monitor process, which otherwise only serves scrapes, so it costs the workers nothing. Each look reads
a bounded amount of new lines, so its cost does not grow with traffic.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from itertools import groupby
from math import nan
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from riskd.adapters.decision_log import PACKED, segments
from riskd.adapters.model_registry import Registry
from riskd.adapters.release_store import FileReleases
from riskd.config import Settings, release_folders
from riskd.core.attempt import DOMAINS
from riskd.core.drift import Histogram, Reference, stability_index
from riskd.core.errors import UNDECODABLE, RiskdError
from riskd.core.features import NAMES
from riskd.host.background import every

LOOK_BYTES: Final = 4 << 20
"""Most bytes that a look reads: about 1300 lines."""
HALF_LIFE: Final = 86_400.0
"""Seconds after which a row counts half."""
LEAST: Final = 1000.0
"""Fewest rows for an index to be reported; with fewer, it is mostly noise."""
SCORE: Final = "score"
REFERENCE: Final = "reference.json"
Bundles = Mapping[str, Path]
"""The active model's bundle directory, by identity domain."""
_PREFIX: Final = b'{"type":"assessment"'
"""What a line of an assessment begins with."""


class _Assessed(Struct, frozen=True, tag_field="type", tag="assessment", gc=False):
    domain: str
    vector: tuple[float | None, ...]
    log_odds: float
    model: str


_DECODER: Final = msgspec.json.Decoder(_Assessed)


class _Watched:
    """Counts one domain's rows in the bins of its model's reference."""

    def __init__(self, reference: Reference, version: str) -> None:
        self.version = version
        self.rows = 0.0
        columns = {name: column for column, name in enumerate(NAMES)}
        known = {name: each for name, each in reference.features.items() if name in columns}
        self._features = [(columns[name], name, each) for name, each in known.items()]
        self._score = reference.score
        self._counts = {name: [0.0] * len(each.counts) for name, each in (known | {SCORE: reference.score}).items()}

    def add(self, row: _Assessed) -> None:
        """Count a row's features, and its score if this model gave it."""
        self.rows += 1.0
        for column, name, histogram in self._features:
            value = row.vector[column]
            self._counts[name][histogram.bin_of(nan if value is None else value)] += 1.0
        if row.model == self.version:
            self._counts[SCORE][self._score.bin_of(row.log_odds)] += 1.0

    def fade(self, by: float) -> None:
        """Multiply the weight of all rows so far by `by`, between 0 and 1."""
        self.rows *= by
        for counts in self._counts.values():
            counts[:] = [count * by for count in counts]

    def indices(self) -> Iterator[tuple[str, float]]:
        """The stability index of each feature, and of the score, that has at least `LEAST` rows."""
        for name, histogram in self._histograms():
            counts = self._counts[name]
            if sum(counts) >= LEAST:
                yield name, stability_index(histogram.counts, counts)

    def _histograms(self) -> Iterator[tuple[str, Histogram]]:
        yield from ((name, histogram) for _, name, histogram in self._features)
        yield SCORE, self._score


class _NewLines:
    """Reads what is written to the segments of a log, up to `LOOK_BYTES` at a time."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._offsets: dict[Path, int] = {}

    def take(self, *, skip: bool) -> Iterator[bytes]:
        """The complete lines that were written since the last call; none, if they are to be skipped.

        If there are too many, only the ends of segments are read: segments of the latest half-life first, and within
        one half-life each segment gets an equal share of the remaining bytes.
        """
        there: dict[Path, os.stat_result] = {}
        for path in segments(self._log):
            if path.suffix != PACKED:
                with suppress(OSError):
                    there[path] = path.stat()
        self._offsets = {path: offset for path, offset in self._offsets.items() if path in there}
        latest, left = max((status.st_mtime for status in there.values()), default=0.0), LOOK_BYTES

        def age(path: Path) -> float:
            return (latest - there[path].st_mtime) // HALF_LIFE

        def growth(path: Path) -> int:
            return there[path].st_size - self._offsets.get(path, 0)

        grown = [path for path in there if growth(path) > 0]
        for _, alike in groupby(sorted(grown, key=age), age):
            paths = sorted(alike, key=growth)
            for number, path in enumerate(paths):
                size, share = there[path].st_size, left // (len(paths) - number)
                begin = size if skip else max(self._offsets.get(path, 0), size - share)
                self._offsets[path], left = begin, left - (size - begin)
                yield from self._tail(path, begin, size)

    def _tail(self, path: Path, begin: int, size: int) -> Iterator[bytes]:
        """The complete lines of a segment between two offsets; remembers where the next call begins."""
        try:
            with path.open("rb") as segment:
                segment.seek(begin)
                content = segment.read(size - begin)
        except OSError:
            return
        complete = content.rfind(b"\n") + 1
        # If the beginning was skipped, the first line is cut off; it then fails to decode and is ignored.
        yield from content[:complete].splitlines()
        self._offsets[path] = begin + complete


class DriftWatch:
    """Measures drift in a decision log. One thread calls `look`; any thread may read `readings`."""

    def __init__(self, log: Path, bundles: Callable[[], Bundles]) -> None:
        """`bundles` returns the bundles that are active now; it may raise RiskdError."""
        self._lines = _NewLines(log)
        self._bundles = bundles
        self._watched: dict[str, _Watched] = {}
        self._sources: dict[str, tuple[Path, int]] = {}
        self._looked: float | None = None
        self.readings: dict[str, dict[tuple[str, ...], float]] = {}

    def look(self, now: float) -> None:
        """Count the lines written since the last look, and update `readings`. `now` is monotonic, in seconds.

        What cannot be read is skipped until the next look.
        """
        self._update_references()
        if self._looked is not None:
            for watched in self._watched.values():
                watched.fade(0.5 ** ((now - self._looked) / HALF_LIFE))
        self._looked = now
        for line in self._lines.take(skip=not self._watched):
            self._count(line)
        self.readings = {
            "riskd_drift_psi": {
                (domain, name): index for domain, each in self._watched.items() for name, index in each.indices()
            },
            "riskd_drift_rows": {(domain,): each.rows for domain, each in self._watched.items()},
        }

    def _update_references(self) -> None:
        """Load the reference of each domain whose active model has changed, and restart its counts."""
        try:
            bundles = self._bundles()
        except RiskdError:
            return
        for domain, bundle in bundles.items():
            file = bundle / REFERENCE
            try:
                source = file, file.stat().st_mtime_ns
                if source == self._sources.get(domain):
                    continue
                reference = msgspec.json.decode(file.read_bytes(), type=Reference)
            except (OSError, *UNDECODABLE):
                self._watched.pop(domain, None)
                self._sources.pop(domain, None)
                continue
            self._watched[domain], self._sources[domain] = _Watched(reference, bundle.name), source

    def _count(self, line: bytes) -> None:
        if not line.startswith(_PREFIX):
            return
        try:
            row = _DECODER.decode(line)
        except UNDECODABLE:
            return
        watched = self._watched.get(row.domain)
        if watched is not None and len(row.vector) == len(NAMES):
            watched.add(row)


def active_bundles(settings: Settings) -> Bundles:
    """The bundles that are active on this host. Raises RiskdError if that cannot be read."""
    releases = FileReleases(Path(settings.release.dir), settings.release.keep)
    past = releases.activations()
    registry = Registry(releases.folders(past[-1].release)[1] if past else release_folders(settings)[1])
    return {domain: registry.champion(domain) for domain in DOMAINS}


@contextmanager
def watching(settings: Settings) -> Iterator[DriftWatch]:
    """A watch that looks every `metrics.drift_s` seconds until the context exits; never, if that is 0."""
    watch = DriftWatch(Path(settings.log.dir), partial(active_bundles, settings))
    with every(settings.metrics.drift_s, lambda _: watch.look(time.monotonic()), "drift"):
        yield watch
