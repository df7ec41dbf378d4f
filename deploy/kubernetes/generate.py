"""Writes `monitoring.yaml`: a PodMonitor, and the rule files of `deploy/prometheus` as a PrometheusRule."""

from __future__ import annotations

from pathlib import Path

import yaml

HERE = Path(__file__).parent
RULES = HERE.parent / "prometheus"
HEAD = """\
# Made by deploy/kubernetes/generate.py of deploy/prometheus/*.rules.yaml; for the prometheus-operator.
"""


def documents() -> list[dict[str, object]]:
    """What the file holds."""
    labels = {"app.kubernetes.io/name": "riskd"}
    groups = [
        group
        for path in sorted(RULES.glob("*.rules.yaml"))
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    ]
    endpoint = {"port": "metrics", "interval": "15s"}
    job = {"sourceLabels": [], "targetLabel": "job", "replacement": "riskd", "action": "replace"}
    monitor = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": "riskd", "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "podMetricsEndpoints": [{**endpoint, "relabelings": [job]}],
        },
    }
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "riskd", "labels": labels},
        "spec": {"groups": groups},
    }
    made: list[dict[str, object]] = [{**monitor}, {**rule}]
    return made


def page() -> str:
    """The file."""
    return HEAD + yaml.safe_dump_all(documents(), sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    (HERE / "monitoring.yaml").write_text(page(), encoding="utf-8")
