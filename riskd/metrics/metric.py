"""The definition of a metric, and the bucket bounds of the histograms."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

CALL_SECONDS: Final = (
    *(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
STAGE_SECONDS: Final = (
    *(0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001),
    *(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
)
SHARES: Final = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
SCORES: Final = (0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
PRESENT: Final = ("max", "min")
"""How the values of gauges are combined that are void once their process is dead."""
RULES: Final = 512
"""Most rules whose hits are counted by name; those of others count as `other`."""


class Metric(Struct, frozen=True):
    """One metric. `rows` are its combinations of label values. If `sparse`, series are exported once they are not 0.

    `merge` says how the values of processes are combined: sum, `latest` (the largest), `max` and `min` (of those that
    are set) of processes that are alive, `rules` (the sum of rows that processes name in their notes), or `live` if the
    value is read at the scrape and needs no slot. `bounds` are the upper bounds of a histogram's buckets.
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
        """Slots per row: a histogram has one for each bucket, one for +Inf and one for the sum."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1

    @property
    def slots(self) -> int:
        """Slots of each worker."""
        if self.merge == "rules":
            return RULES + 1
        return 0 if self.merge == "live" else self.width * len(self.rows)
