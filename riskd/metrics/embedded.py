"""The metrics of engines in other programs, which have no calls, no supervisor and no monitor."""

from __future__ import annotations

from typing import Final

from riskd.metrics.table import METRICS

_SERVICE: Final = (
    *("grpc_", "riskd_queue_", "riskd_refused_", "riskd_tls_", "riskd_drift_", "riskd_process_", "riskd_worker_"),
    *("riskd_store_rebuild_ratio", "riskd_store_rebuild_lines"),
)
EMBEDDED: Final = tuple(
    metric for metric in METRICS if not metric.name.startswith(_SERVICE) and metric.name != "riskd_workers"
)
"""In the order of `METRICS`."""
