"""Rules, alerts and runbooks: which alerts fire and which do not, and that each alert leads to a runbook."""

from __future__ import annotations

import re
import subprocess
from array import array
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from riskd.adapters.prometheus_page import PrometheusPage
from riskd.config import Settings
from riskd.metrics.embedded import EMBEDDED
from riskd.metrics.memory import MeterMemory
from riskd.metrics.table import METRICS
from tests.e2e.service import ROOT
from tests.monitoring.rig import RULES, program

CASES: Final = sorted((ROOT / "tests" / "alerts").glob("*.yaml"))
GROUPS: Final[list[dict[str, Any]]] = [
    group for path in sorted(RULES.glob("*.rules.yaml")) for group in yaml.safe_load(path.read_text())["groups"]
]
ALERTS: Final[dict[str, dict[str, Any]]] = {
    rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule
}
RUNBOOKS: Final = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
LOGIN: Final = 'journey="login"'
COUNTED: Final = [
    ("riskd_assessments_total", f'{LOGIN}, tier="BASELINE", satisfied="true"'),
    ("riskd_coverage_sum", LOGIN),
    ("riskd_coverage_count", LOGIN),
    ("riskd_score_sum", ""),
    ("riskd_score_count", ""),
    ("riskd_sign_ins_total", f'{LOGIN}, met="true"'),
    ("riskd_outcomes_total", f'{LOGIN}, kind="session_established"'),
    ("riskd_signal_arrivals_total", 'source="device_id"'),
    ("riskd_gaps_total", 'source="history", why="none_yet"'),
    ("riskd_rule_hits_total", 'rule="tor", shadow="false"'),
]
"""Counters, with labels, of what every sign-in counts."""
SECTIONS: Final = ["Symptom", "Impact", "First look", "Fix", "Prevent"]


def promtool(*words: str | Path, read: bytes = b"") -> str:
    """The output of promtool; fails with it if promtool found a problem."""
    done = subprocess.run([program("promtool"), *map(str, words)], input=read, capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def test_rules_are_rules() -> None:
    """Prometheus accepts every rule file, including the expressions."""
    promtool("check", "rules", *sorted(RULES.glob("*.rules.yaml")))


def test_names_follow_the_conventions() -> None:
    """`promtool check metrics` has nothing to say about the names, units and help texts of the page."""
    memory = MeterMemory(1)
    memory.slots(0)[:] = array("d", [1.0]) * len(memory.slots(0))
    live = {metric.name: {metric.labels: 1.0} for metric in METRICS if metric.merge == "live"}
    page = PrometheusPage(memory, "1.2.3").render("", live)[1]
    assert promtool("check", "metrics", read=page) == ""


def test_alerts_see_no_gaps_between_recorded_samples() -> None:
    """Prometheus uses a sample for five minutes at most, and version 3 for less than that. So no group of rules records
    more seldom than every two minutes: then one evaluation may be late or fail."""
    assert {group["name"] for group in GROUPS if group.get("interval", "1m") not in ("1m", "2m")} == set()


def test_the_example_is_a_configuration() -> None:
    """The example configuration is valid and names the existing rule files."""
    said = promtool("check", "config", RULES / "prometheus.yaml")
    assert "SUCCESS: 2 rule files found" in said


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_not_otherwise(cases: Path, tmp_path: Path) -> None:
    """All cases of each file pass, including labels and texts."""
    document = yaml.safe_load(cases.read_text())
    assert {(cases.parent / file).resolve() for file in document["rule_files"]} == set(RULES.glob("*.rules.yaml"))
    alike: dict[frozenset[str], list[dict[str, Any]]] = {}
    for case in document["tests"]:
        alike.setdefault(asked(case), []).append(case)
    files = []
    for number, (words, tests) in enumerate(alike.items()):
        rules, own = tmp_path / f"rules-{number}.yaml", tmp_path / f"cases-{number}.yaml"
        rules.write_text(yaml.safe_dump({"groups": needed(words)}, sort_keys=False))
        own.write_text(yaml.safe_dump({**document, "rule_files": [rules.name], "tests": tests}, sort_keys=False))
        files.append(own)
    promtool("test", "rules", *files)


def asked(case: dict[str, Any]) -> frozenset[str]:
    """The alerts and the words of queries that a case is about."""
    alerts = {each["alertname"] for each in case.get("alert_rule_test", ())}
    queries = (each["expr"] for each in case.get("promql_expr_test", ()))
    return frozenset(alerts | {word for expr in queries for word in re.findall(r"[\w:]+", expr)})


def test_an_hour_without_traffic_does_not_spoil_the_average(tmp_path: Path) -> None:
    """What alerts and pages call usual is a number even if there was no traffic for hours: a recorded NaN would make it
    NaN, and the alerts silent, for a week or a day."""
    texts = [*(alert["expr"] for alert in ALERTS.values()), (ROOT / "docs" / "policy.md").read_text()]
    usual = set(re.findall(r"avg_over_time\(riskd:[\w:]+\[\w+\]\)", "".join(texts)))
    assert len(usual) > 5
    rules, cases = tmp_path / "rules.yaml", tmp_path / "cases.yaml"
    rules.write_text(yaml.safe_dump({"groups": needed(set(re.findall(r"riskd:[\w:]+", "".join(usual))))}))
    one = [{"labels": "{}", "value": 1}]
    case = {
        "interval": "5m",
        "input_series": [
            {"series": f'{name}{{job="riskd", domain="customer", {labels}}}', "values": "0+60x24 1440x48"}
            for name, labels in COUNTED
        ],
        "promql_expr_test": [
            {"expr": f"count({each} == {each})", "eval_time": "6h", "exp_samples": one} for each in usual
        ],
    }
    document = {"rule_files": [rules.name], "evaluation_interval": "5m", "tests": [case]}
    cases.write_text(yaml.safe_dump(document))
    promtool("test", "rules", cases)


def expressions(document: dict[str, Any]) -> list[str]:
    """The queries that a file of cases tests."""
    return [each["expr"] for case in document["tests"] for each in case.get("promql_expr_test", ())]


def test_a_query_with_a_case_is_on_a_page() -> None:
    """Each query that has a case stands in the page on policies."""
    tested = [expr for path in CASES for expr in expressions(yaml.safe_load(path.read_text()))]
    found = re.findall(r"```promql\n(.*)\n```", (ROOT / "docs" / "policy.md").read_text())
    assert found == tested != []


def needed(rules_and_alerts: Collection[str]) -> list[dict[str, Any]]:
    """The groups of rules, with only these and what they are computed from: every case evaluates each of them, for
    hours of its time."""
    rules = {name(rule): rule for group in GROUPS for rule in group["rules"]}
    chosen, waiting = set[str](), [*rules_and_alerts]
    while waiting:
        word = waiting.pop()
        if word in rules and word not in chosen:
            chosen.add(word)
            waiting += re.findall(r"[\w:]+", rules[word]["expr"])
    cut = [{**group, "rules": [rule for rule in group["rules"] if name(rule) in chosen]} for group in GROUPS]
    return [group for group in cut if group["rules"]]


def name(rule: dict[str, Any]) -> str:
    return str(rule.get("alert") or rule["record"])


def test_geo_data_are_stale_to_the_alert_when_they_are_to_the_answers() -> None:
    """The alert on stale geo data uses the default of `geo.stale_days`."""
    (days,) = re.findall(r"> (\d+) \* 86400", ALERTS["RiskdGeoDataStale"]["expr"])
    assert int(days) == Settings().geo.stale_days


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    """Every alert has both kinds of cases, and no case is about an unknown alert."""
    seen: dict[str, set[bool]] = {}
    for path in CASES:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for asked in case.get("alert_rule_test", ()):
                seen.setdefault(asked["alertname"], set()).add(bool(asked["exp_alerts"]))
    assert seen == {alert: {True, False} for alert in ALERTS}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_severity_texts_and_runbook(name: str) -> None:
    """Each alert has a severity, a summary, a description, and a runbook that names it."""
    alert = ALERTS[name]
    assert alert["labels"].keys() == {"severity"}
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook"}
    runbook = ROOT / alert["annotations"]["runbook"]
    assert runbook in RUNBOOKS
    assert f"`{name}`" in runbook.read_text()


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_has_its_sections(runbook: Path) -> None:
    """Each runbook has these sections in order, none empty, and names exactly the alerts that lead to it."""
    text = runbook.read_text()
    parts = re.split(r"^## ", text, flags=re.MULTILINE)
    assert [part.partition("\n")[0] for part in parts[1:]] == SECTIONS
    assert all(part.partition("\n")[2].strip() for part in parts)
    about = set(re.findall(r"`(Riskd\w+)`", parts[0]))
    where = f"docs/runbooks/{runbook.name}"
    assert about == {name for name, alert in ALERTS.items() if alert["annotations"]["runbook"] == where}


def test_the_page_lists_every_alert() -> None:
    """docs/monitoring.md lists name, severity and runbook of each alert in the order of the rules."""
    rows = re.findall(
        r"^\| `(Riskd\w+)` \| (\w+) \| \[[\w-]+\]\((.*)\) \|$", (ROOT / "docs/monitoring.md").read_text(), re.MULTILINE
    )
    expected = [(name, rule["labels"]["severity"], rule["annotations"]["runbook"]) for name, rule in ALERTS.items()]
    assert [(name, severity, f"docs/{runbook}") for name, severity, runbook in rows] == expected


def test_the_page_lists_the_alerts_that_have_no_data_of_embedded_engines() -> None:
    """docs/monitoring.md names the alerts that are computed from metrics that only a service has, and says of the only
    one that has other data, too, what is left of it. All others work for engines in other programs."""
    page = (ROOT / "docs" / "monitoring.md").read_text()
    section = page.partition("## Engines in other programs\n")[2].partition("\n## ")[0]
    service = {metric.name for metric in METRICS} - {metric.name for metric in EMBEDDED}
    words = {alert: re.findall(r"\w+", str(needed({alert}))) for alert in ALERTS}
    found = {
        alert
        for alert in ALERTS
        if not service.isdisjoint(re.sub(r"_(bucket|count)$", "", word) for word in words[alert])
    }
    listed = re.findall(r"`(Riskd\w+)`", section)
    assert sorted(listed) == sorted(found)
    assert "`RiskdDown` says only whether the page can be scraped" in section
