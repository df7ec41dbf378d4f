"""`riskd metrics`: list all metrics, and print the reference page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from riskd.cli.arguments import add_form, print_form
from riskd.cli.terminal import markdown_table
from riskd.metrics.embedded import EMBEDDED
from riskd.metrics.metric import Metric
from riskd.metrics.table import METRICS
from riskd.shared_signals.metrics import METRICS as RECEIVER

_INTRODUCTION: Final = """\
# Metrics

Every instance serves one page for all of its workers, at `/metrics` of `metrics.host` and `metrics.port`, in the
Prometheus text format and in OpenMetrics. Counters survive the replacement of a worker, and restart with the service.
Every label has a bounded vocabulary; a value outside it counts as `other`. Series that are 0 are omitted, except those
of the calls, of rules and of `riskd_failures_total`, so that `rate()` sees their first increase. This page is
`riskd metrics --markdown`.

Engines in other programs have [a page, too](embedding.md#metrics). It has all metrics but {service}.

"""
_RECEIVER: Final = """
## The receiver of shared signals

`riskd events receive` serves a page of its own, on `--metrics-port`. The label `stream` has the streams of its file.

"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `metrics`."""
    parser = commands.add_parser("metrics", description="List every metric that riskd exports.")
    add_form(parser, "docs/metrics.md")
    parser.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    every, fields = (*METRICS, *RECEIVER), ("name", "kind", "labels", "doc", "bounds")
    rows = [{key: getattr(metric, key) for key in fields} for metric in every]
    return print_form(args, lambda: rows, markdown, lambda: "\n".join(map(_line, every)))


def _line(metric: Metric) -> str:
    labels = f"{{{','.join(metric.labels)}}}" if metric.labels else ""
    return f"{metric.name}{labels}  {metric.kind}: {metric.doc}"


def markdown() -> str:
    """The reference page."""
    lines = [_table(METRICS)]
    lines.append("\n## Labels\n\n")
    lines += [f"- `{label}`: {', '.join(f'`{value}`' for value in values)}\n" for label, values in _labels().items()]
    lines.append("\n## Buckets\n\n")
    lines += [
        f"- `{metric.name}`: {', '.join(f'{bound:g}' for bound in metric.bounds)}\n"
        for metric in METRICS
        if metric.bounds
    ]
    return "".join((_INTRODUCTION.format(service=_of_a_service()), *lines, _RECEIVER, _table(RECEIVER)))


def _of_a_service() -> str:
    return ", ".join(f"`{metric.name}`" for metric in METRICS if metric not in EMBEDDED)


def _table(metrics: Sequence[Metric]) -> str:
    rows = [
        (f"`{metric.name}`", metric.kind, ", ".join(f"`{label}`" for label in metric.labels), metric.doc)
        for metric in metrics
    ]
    return markdown_table(("metric", "type", "labels", "meaning"), rows)


def _labels() -> dict[str, dict[str, None]]:
    """Every label with its values. A label has the same values in every metric."""
    labels: dict[str, dict[str, None]] = {}
    for metric in METRICS:
        if metric.merge != "live":
            for column, label in enumerate(metric.labels):
                labels.setdefault(label, {}).update(dict.fromkeys(row[column] for row in metric.rows))
    return labels
