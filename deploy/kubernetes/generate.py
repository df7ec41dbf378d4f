"""Writes `monitoring.yaml`: PodMonitors, and the rule files of `deploy/prometheus` as a PrometheusRule."""

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
    rule: dict[str, object] = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "riskd", "labels": labels},
        "spec": {"groups": groups},
    }
    return [monitor("riskd"), monitor("riskd-events"), rule]


def monitor(name: str) -> dict[str, object]:
    """Scrapes the pods of a name, as the job of that name."""
    job = {"sourceLabels": [], "targetLabel": "job", "replacement": name, "action": "replace"}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": name}},
        "spec": {
            "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
            "podMetricsEndpoints": [{"port": "metrics", "interval": "15s", "relabelings": [job]}],
        },
    }


def page() -> str:
    """The file."""
    return HEAD + yaml.safe_dump_all(documents(), sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    (HERE / "monitoring.yaml").write_text(page(), encoding="utf-8")
