"""Reads the rows of a dataset (Parquet files made from a log), some thousands at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow.dataset as ds

from riskd.counts import Counts
from riskd.offline.dataset.manifest import required
from riskd.offline.dataset.reading import table, with_vectors
from riskd.offline.dataset.target import Target
from riskd.offline.drift.bins import Batch
from riskd.progress import Progress


def rows(name: str) -> int:
    """The number of assessments in a dataset. Raises InvalidFile, InvalidSettings."""
    return sum(part.rows for part in required(Target.open(name)).of("assessments"))


def batches(
    name: str, domains: tuple[str, ...], since: float, until: float, progress: Progress, *, left_out: Counts
) -> Iterator[tuple[str, Batch]]:
    """The assessments of these domains in a dataset, from `since` on and before `until` (epoch seconds).

    A feature without a column in a file is missing there. Rows with another feature schema are counted in `left_out`.
    Raises InvalidFile, InvalidSettings.
    """
    target = Target.open(name)
    assessments = table(target, required(target), "assessments")
    for domain in domains:
        chosen = (ds.field("domain") == domain) & (ds.field("time") >= since) & (ds.field("time") < until)
        left_out["other_features"] += assessments.count_rows(filter=chosen & ~ds.field("has_features"))
        for batch, vectors in with_vectors(assessments, ("time", "subject"), chosen & ds.field("has_features")):
            times = np.asarray(batch["time"].to_numpy(zero_copy_only=False), dtype=np.float64)
            if len(times):
                yield domain, Batch(times, batch["subject"].to_pylist(), vectors)
            progress(batch.num_rows)
