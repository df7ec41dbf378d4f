"""Reads the rows of a dataset (Parquet files made from a log), some thousands at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow.dataset as ds

from riskd.core.features import NAMES
from riskd.counts import Counts
from riskd.offline.dataset.manifest import required
from riskd.offline.dataset.reading import BATCH, table
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
    manifest = required(target)
    features = [feature for feature in NAMES if feature in manifest.features]
    assessments = table(target, manifest, "assessments")
    for domain in domains:
        chosen = (ds.field("domain") == domain) & (ds.field("time") >= since) & (ds.field("time") < until)
        left_out["other_features"] += assessments.count_rows(filter=chosen & ~ds.field("has_features"))
        for batch in assessments.to_batches(
            columns=["time", "subject", *features],
            filter=chosen & ds.field("has_features"),
            batch_size=BATCH,
            batch_readahead=2,
            fragment_readahead=1,
        ):
            vectors = np.full((batch.num_rows, len(NAMES)), np.nan)
            for column, feature in enumerate(NAMES):
                if feature in manifest.features:
                    vectors[:, column] = batch[feature].to_numpy(zero_copy_only=False)
            times = np.asarray(batch["time"].to_numpy(zero_copy_only=False), dtype=np.float64)
            if len(times):
                yield domain, Batch(times, batch["subject"].to_pylist(), vectors)
            progress(batch.num_rows)
