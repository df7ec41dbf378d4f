"""`make panels`: every query of every dashboard, run against a real Prometheus that scrapes a service under load."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from tests.e2e.service import ROOT
from tests.monitoring.rig import Prometheus, watched

DASHBOARDS: Final = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
STANDS_FOR: Final = {"$__rate_interval": "15s", "$__range": "15s", "$job": ".*", "$instance": ".*"}
"""The values that replace Grafana's variables."""


class Asked(Struct, frozen=True):
    """A query of a panel, as Prometheus gets it."""

    dashboard: str
    panel: str
    expr: str


def queries() -> Iterator[Asked]:
    """All queries, in order."""
    for path in DASHBOARDS:
        dashboard: dict[str, Any] = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                expr = target["expr"]
                for variable, value in STANDS_FOR.items():
                    expr = expr.replace(variable, value)
                yield Asked(path.stem, panel["title"], expr)


def returned(prometheus: Prometheus) -> Iterator[tuple[Asked, int, int]]:
    """For each query, the number of series it returned and how many of them are numbers."""
    for asked in queries():
        series = prometheus.query(asked.expr)
        yield asked, len(series), sum(math.isfinite(float(one["value"][1])) for one in series)


def main() -> int:
    """Print the table; 1 if a query returned nothing."""
    print("a service, a Prometheus, and 40 seconds of load", file=sys.stderr)
    with tempfile.TemporaryDirectory() as directory, watched(Path(directory)) as prometheus:
        rows = [*returned(prometheus)]
    wide = max(len(asked.panel) for asked, _, _ in rows)
    dashboard = ""
    for asked, series, numbers in rows:
        if asked.dashboard != dashboard:
            dashboard = asked.dashboard
            print(f"\n{dashboard}\n{'panel':{wide}}  series  numbers  query")
        print(f"{asked.panel:{wide}}  {series:6}  {numbers:7}  {asked.expr}")
    empty = sum(not numbers for _, _, numbers in rows)
    print(f"\n{len(rows)} queries, {empty} without data")
    return bool(empty)


if __name__ == "__main__":
    sys.exit(main())
