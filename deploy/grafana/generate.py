"""Makes the files for Grafana and docs/dashboards.md from dashboards.yaml: `python deploy/grafana/generate.py`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

HERE: Final = Path(__file__).parent
PAGE: Final = HERE.parents[1] / "docs" / "dashboards.md"
ON: Final = 'job=~"$job", instance=~"$instance"'
JOB: Final = 'job=~"$job"'
SCHEMA: Final = 39
"""Version of the dashboard format: that of Grafana 10.4; later versions migrate it."""
COLUMNS: Final = 24
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


_HEAD: Final = """\
# Dashboards

For operators: every panel of the three dashboards in `deploy/grafana`, each for one reader. Import the JSON files into
Grafana 10 or later and choose the data source. Queries that begin with `riskd:` need
`deploy/prometheus/recording.rules.yaml` ([monitoring](monitoring.md)). To change a panel, edit
`deploy/grafana/dashboards.yaml` and run `make dashboards`, which also makes this page. `make panels` runs every query
against a real Prometheus that watches a service under load, and prints how many series each returned.
"""


class Query(Struct, forbid_unknown_fields=True):
    """A query in PromQL with $on and $job, and the legend of its series."""

    expr: str
    legend: str = ""

    def full(self) -> str:
        """The query that Grafana sends, except for Grafana's own variables."""
        return self.expr.replace("$on", ON).replace("{$job", "{" + JOB)


class Panel(Struct, forbid_unknown_fields=True):
    """A panel. `unit` is Grafana's name of the unit, `column` the heading of a table's figures.

    Colours change at `warn` and `bad`; if `bad` is the lower one, below them.
    """

    title: str
    description: str
    unit: str
    queries: list[Query]
    kind: Literal["timeseries", "stat", "table", "heatmap"] = "timeseries"
    warn: float | None = None
    bad: float | None = None
    column: str = "Value"
    stack: bool = False


class Dashboard(Struct, forbid_unknown_fields=True):
    """The panels for one reader."""

    file: str
    title: str
    reader: str
    panels: list[Panel]


def dashboards() -> list[Dashboard]:
    """The contents of dashboards.yaml. Raises msgspec.ValidationError."""
    return msgspec.yaml.decode((HERE / "dashboards.yaml").read_bytes(), type=list[Dashboard])


def rendered() -> dict[Path, str]:
    """Every generated file with its contents."""
    found = dashboards()
    files = {HERE / f"{each.file}.json": json.dumps(dashboard(each), indent=2) + "\n" for each in found}
    return {**files, PAGE: page(found)}


def dashboard(made: Dashboard) -> dict[str, object]:
    """A dashboard as Grafana imports it."""
    return {
        "uid": f"riskd-{made.file}",
        "title": made.title,
        "description": made.reader,
        "tags": ["riskd"],
        "schemaVersion": SCHEMA,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [*variables()]},
        "links": [{"type": "dashboards", "tags": ["riskd"], "title": "riskd", "keepTime": True, "includeVars": True}],
        "panels": [*placed(made.panels)],
    }


def variables() -> Iterator[dict[str, object]]:
    """Data source, job and instances."""
    yield {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}
    for name, query in (
        ("job", "label_values(riskd_build_info, job)"),
        ("instance", 'label_values(riskd_build_info{job=~"$job"}, instance)'),
    ):
        yield {
            "name": name,
            "type": "query",
            "label": name.capitalize(),
            "datasource": SOURCE,
            "definition": query,
            "query": {"query": query, "refId": name},
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        }


def placed(panels: list[Panel]) -> Iterator[dict[str, object]]:
    """Panels from left to right and down, six stats or three graphs in a row."""
    across = down = tall = 0
    for number, each in enumerate(panels, 1):
        width, height = (4, 4) if each.kind == "stat" else (8, 8)
        if across + width > COLUMNS or height != tall:
            across, down = 0, down + tall
        tall = height
        yield panel(each, number, {"x": across, "y": down, "w": width, "h": height})
        across += width


def panel(made: Panel, number: int, position: dict[str, int]) -> dict[str, object]:
    """A panel as Grafana imports it."""
    custom: dict[str, object] = {}
    defaults: dict[str, object] = {"unit": made.unit, "thresholds": {"mode": "absolute", "steps": [*steps(made)]}}
    if made.unit == "short":
        defaults["decimals"] = 0
    if made.kind == "timeseries":
        defaults["min"] = 0
        custom = {"fillOpacity": 60 if made.stack else 0, "stacking": {"mode": "normal" if made.stack else "none"}}
        custom["thresholdsStyle"] = {"mode": "off" if made.warn is None else "dashed"}
    if custom:
        defaults["custom"] = custom
    made_of: dict[str, object] = {
        "id": number,
        "type": made.kind,
        "title": made.title,
        "description": made.description,
        "datasource": SOURCE,
        "gridPos": position,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options(made),
        "targets": [target(made, query, chr(ord("A") + at)) for at, query in enumerate(made.queries)],
    }
    if made.kind == "table":
        names = {"excludeByName": {"Time": True}, "renameByName": {"Value": made.column}}
        made_of["transformations"] = [{"id": "organize", "options": names}]
        if made.warn is not None:
            coloured = {"id": "custom.cellOptions", "value": {"type": "color-text"}}
            override = {"matcher": {"id": "byName", "options": made.column}, "properties": [coloured]}
            made_of["fieldConfig"] = {"defaults": defaults, "overrides": [override]}
    return made_of


def steps(made: Panel) -> Iterator[dict[str, object]]:
    """The values at which colours change. A figure without thresholds has the colour of text."""
    if made.warn is None or made.bad is None:
        yield {"color": "text", "value": None}
        return
    falls = made.bad < made.warn
    colors = ("red", "orange", "green") if falls else ("green", "orange", "red")
    for color, at in zip(colors, (None, *sorted((made.warn, made.bad))), strict=True):
        yield {"color": color, "value": at}


def options(made: Panel) -> dict[str, object]:
    """The options of a kind of panel."""
    if made.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    if made.kind == "heatmap":
        return {"calculate": False, "yAxis": {"unit": made.unit}, "color": {"scheme": "Oranges", "mode": "scheme"}}
    if made.kind == "table":
        return {"showHeader": True, "sortBy": [{"displayName": made.column, "desc": True}]}
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}


def target(made: Panel, query: Query, ref: str) -> dict[str, object]:
    """A query as Grafana imports it."""
    now = made.kind == "table"
    form = {"table": "table", "heatmap": "heatmap"}.get(made.kind, "time_series")
    return {
        "refId": ref,
        "datasource": SOURCE,
        "expr": query.full(),
        "legendFormat": query.legend or "__auto",
        "format": form,
        "instant": now,
        "range": not now,
    }


def page(found: list[Dashboard]) -> str:
    """docs/dashboards.md."""
    lines = [_HEAD]
    for made in found:
        lines.append(f"## {made.title.removeprefix('riskd: ').capitalize()}\n\n{made.reader}\n")
        lines.append("| panel | meaning | unit | query |\n|---|---|---|---|")
        for each in made.panels:
            queries = "<br>".join(f"`` {query.expr.replace('|', chr(92) + '|')} ``" for query in each.queries)
            lines.append(f"| {each.title} | {each.description} | {each.unit} | {queries} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    """Write the files. With --check, only name those that are out of date; then 1 if there are any."""
    stale = [path for path, text in rendered().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if "--check" in sys.argv[1:]:
            print(f"{path.name} is out of date; run `make dashboards`")
        else:
            path.write_text(rendered()[path], encoding="utf-8")
    return bool(stale) and "--check" in sys.argv[1:]


if __name__ == "__main__":
    sys.exit(main())
