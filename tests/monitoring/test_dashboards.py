"""Dashboards: generated from their description, importable, using existing metrics, and with data for every query."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from riskd.metrics.table import METRICS
from riskd.shared_signals.metrics import METRICS as RECEIVED
from riskd.shared_signals.stream import PARTS
from tests.e2e.service import ROOT
from tests.monitoring.panels import DASHBOARDS, returned
from tests.monitoring.rig import RULES, watched

Json = dict[str, Any]
GENERATE: Final = ROOT / "deploy" / "grafana" / "generate.py"
RECORDED: Final[dict[str, str]] = {
    rule["record"]: rule["expr"]
    for group in yaml.safe_load((RULES / "recording.rules.yaml").read_text())["groups"]
    for rule in group["rules"]
}
RUNBOOKS: Final = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
OF_PROMETHEUS: Final = {"job", "instance", "le"}
UNITS: Final = {"reqps", "cps", "percentunit", "s", "bytes", "short", "none"}
LABELS: Final = {metric.name: {*metric.labels} for metric in (*METRICS, *RECEIVED)}
WORDS: Final = (
    {
        (label, row[column])
        for metric in METRICS
        if metric.merge != "live"
        for column, label in enumerate(metric.labels)
        for row in metric.rows
    }
    | {("part", part) for part in PARTS}
    | {("delivery", "poll")}
)


def loaded(path: Path) -> Json:
    dashboard: Json = json.loads(path.read_text())
    return dashboard


def queries_of_pages() -> Iterator[tuple[str, str]]:
    """Each query of each runbook, with its page."""
    for page in RUNBOOKS:
        for block in re.findall(r"```promql\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.splitlines():
                yield page.stem, line


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression of dashboards, rules and runbooks, with its location."""
    for path in DASHBOARDS:
        for panel in loaded(path)["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"]
    for path in sorted(RULES.glob("*.rules.yaml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield rule.get("record") or rule["alert"], rule["expr"]
    yield from queries_of_pages()


def selectors(expr: str) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """The metrics in an expression, with their label matchers."""
    for name, inside in re.findall(r"(?<![\"\w])((?:riskd|grpc_server)[\w:]*)(?:\{([^}]*)\})?", expr):
        yield name, re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', inside)


def test_the_files_are_those_of_the_description() -> None:
    """The committed dashboards are up to date: `make dashboards` would change nothing."""
    done = subprocess.run([sys.executable, str(GENERATE), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_there_is_one_for_each_reader() -> None:
    """There are three dashboards, each with a fixed uid."""
    assert [path.stem for path in DASHBOARDS] == ["decisions-and-trust", "latency-and-errors", "model-and-data"]
    assert [loaded(path)["uid"] for path in DASHBOARDS] == [f"riskd-{path.stem}" for path in DASHBOARDS]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_imports_into_grafana(path: Path) -> None:
    """The JSON has the form of Grafana 10, with variables for data source, job and instance."""
    dashboard = loaded(path)
    assert 36 <= dashboard["schemaVersion"] <= 39
    assert "id" not in dashboard
    assert len(dashboard["uid"]) <= 40
    first, *others = dashboard["templating"]["list"]
    assert (first["name"], first["type"], first["query"]) == ("datasource", "datasource", "prometheus")
    assert [variable["name"] for variable in others] == ["job", "instance"]
    for asked in [*others, *dashboard["panels"], *(each for one in dashboard["panels"] for each in one["targets"])]:
        assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_links_to_the_others_keep_time_and_choices(path: Path) -> None:
    """Whoever goes from one dashboard to another sees the same time, data source, job and instances there."""
    (link,) = loaded(path)["links"]
    assert (link["type"], link["tags"]) == ("dashboards", loaded(path)["tags"])
    assert link["keepTime"]
    assert link["includeVars"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_each_panel_describes_itself(path: Path) -> None:
    """Each panel has a title, a description, a unit, rising thresholds, and queries with distinct letters. Green is
    used only for panels with a threshold, on its better side: more workers, less of everything else. Graphs start at
    zero, so that a small change of a large share does not look like a cliff."""
    panels = loaded(path)["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["title"]
        assert panel["description"].endswith((".", "?"))
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"] in UNITS
        first, *steps = defaults["thresholds"]["steps"]
        assert first["value"] is None
        assert [step["value"] for step in steps] == sorted(step["value"] for step in steps)
        colors = [first["color"], *(step["color"] for step in steps)]
        risen = ["red", "orange", "green"] if panel["title"] == "Workers" else ["green", "orange", "red"]
        assert colors == (risen if steps else ["text"])
        if panel["type"] == "timeseries":
            assert defaults["min"] == 0
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == list("ABCDEF"[: len(letters)])


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_the_figures_of_a_table_have_a_name(path: Path) -> None:
    """The column of figures has a name, is the sort order, and is coloured if there are thresholds."""
    for panel in (each for each in loaded(path)["panels"] if each["type"] == "table"):
        head = panel["transformations"][0]["options"]["renameByName"]["Value"]
        assert head != "Value"
        assert panel["options"]["sortBy"] == [{"displayName": head, "desc": True}]
        coloured = [each["matcher"]["options"] for each in panel["fieldConfig"]["overrides"]]
        assert coloured == [head] * (len(panel["fieldConfig"]["defaults"]["thresholds"]["steps"]) > 1)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_do_not_overlap(path: Path) -> None:
    """Each cell of the grid of 24 columns belongs to at most one panel."""
    taken: dict[tuple[int, int], str] = {}
    for panel in loaded(path)["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert x < 24
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


def test_every_metric_that_is_asked_for_exists() -> None:
    """Every metric, label and label value in dashboards, rules and runbooks exists."""
    wrong = []
    for where, expr in expressions():
        for name, selected in selectors(expr):
            base = re.sub(r"_(?:bucket|count|sum)$", "", name)
            known = {*LABELS.get(name, LABELS.get(base, set())), *OF_PROMETHEUS}
            if ":" in name:
                wrong += [(where, name)] * (name not in RECORDED)
                known |= {"domain", "journey", "source", "rule", "shadow", "role"}
            elif name not in LABELS and base not in LABELS:
                wrong.append((where, name))
            for label, operator, value in selected:
                words = value.split("|") if operator in ("=~", "!~") else [value]
                plain = [word for word in words if re.fullmatch(r"[\w.]+", word) and label not in OF_PROMETHEUS]
                wrong += [(where, f"{name}{{{label}}}")] * (label not in known)
                wrong += [(where, f"{label}={word}") for word in plain if (label, word) not in WORDS]
    assert wrong == []


def test_every_recorded_series_is_used() -> None:
    """Every recording rule is used by an alert, a dashboard or a page."""
    used = {name for where, expr in expressions() for name, _ in selectors(expr) if where != name}
    assert RECORDED.keys() - used == set()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_query_returns_data(tmp_path: Path) -> None:
    """With a real Prometheus and a service under load, every panel query returns a number, every rule evaluates without
    an error, and every runbook query is valid."""
    with watched(tmp_path) as prometheus:
        empty = [
            (asked.dashboard, asked.panel, asked.expr) for asked, _, numbers in returned(prometheus) if not numbers
        ]
        assert empty == []
        groups = prometheus.get("rules")["groups"]
        assert len(groups) == 7
        assert [
            (rule["name"], rule["lastError"]) for group in groups for rule in group["rules"] if "lastError" in rule
        ] == []
        for _, query in queries_of_pages():
            prometheus.query(query)
