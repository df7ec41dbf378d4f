"""`riskd log query`: questions in SQL to the dataset of the decision log."""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections.abc import Iterator
from datetime import datetime, time
from typing import TYPE_CHECKING, Final

from riskd.cli.arguments import moment
from riskd.cli.extras import require
from riskd.cli.settings import add_arguments, given
from riskd.cli.terminal import plain
from riskd.wording import quantity

if TYPE_CHECKING:
    from riskd.offline.dataset.query import Answer

SHOWN: Final = 200
"""Rows of a table on a terminal; `--json` and `--csv` print all."""
NARROW: Final = 8
"""Characters that a column needs, borders included, to say something; else each row is printed as a list."""
EXAMPLES: Final = {
    "How strict was each week, and on whom?": """\
SELECT date_trunc('week', moment) AS week, domain, tier, count(*) AS assessments,
       round(100 * avg(CAST(satisfied AS INTEGER)), 1) AS satisfied_percent
FROM assessments GROUP BY ALL ORDER BY week, domain, assessments DESC""",
    "Which signals tell fraud from good sign-ins?": """\
SELECT label, count(*) AS attempts, round(avg(new_device), 3) AS new_device,
       round(avg(hosting), 3) AS hosting, round(median(score), 4) AS median_score
FROM labelled GROUP BY label ORDER BY label""",
    "Whom did we challenge although it was the owner?": """\
SELECT country, device_class, count(*) AS challenged, mode(list_extract(reasons, 1)) AS first_reason
FROM labelled WHERE label = 'good' AND NOT satisfied
GROUP BY country, device_class ORDER BY challenged DESC LIMIT 20""",
    "What became of the challenges of each rule, and how long did they take?": """\
SELECT rule, tier,
       count(*) FILTER (kind = 'challenge_passed') AS passed, count(*) FILTER (kind = 'challenge_failed') AS failed,
       count(*) FILTER (kind = 'challenge_abandoned') AS abandoned, round(median(seconds), 1) AS median_s
FROM (SELECT id, tier, unnest(if(len(hits) > 0, hits, ['(no rule)'])) AS rule FROM assessments)
JOIN outcomes ON assessment_id = id WHERE kind LIKE 'challenge_%'
GROUP BY ALL ORDER BY abandoned DESC, rule, tier""",
}
"""Questions that the help shows; tests ask them."""
_VIEWS: Final = """\
views:
  assessments  a row for each attempt: what was decided, the facts, a column for each feature (`riskd features`)
  outcomes     what was told later, by assessment_id
  events       what other parties told, by the pseudonym of their subject
  labelled     assessments with label (good, fraud, unknown), and since when it is known
`moment` is the time as a timestamp in UTC. SELECT * FROM (DESCRIBE labelled) lists the columns.

"""


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `log query`."""
    shown = "\n\n".join(f'# {question}\nriskd log query "{sql}"' for question, sql in EXAMPLES.items())
    query = actions.add_parser(
        "query",
        help="ask the dataset of the log a question in SQL",
        description="Ask the dataset of the log one question in SQL (DuckDB; needs riskd[train]). It reads the four "
        "views and nothing else, changes nothing, and loads no extension.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"{_VIEWS}{shown}\n\nexit codes: 0 answered; 2 refused.",
    )
    query.add_argument("sql", metavar="SQL", help="one SELECT; - reads it from standard input")
    add_arguments(query)
    query.add_argument("--from", metavar="TARGET", dest="target", help="the dataset (log.dataset)")
    query.add_argument(
        "--as-of", metavar="DATE", type=moment, default=math.inf, help="as it was known then, as 2026-11-01 (UTC)"
    )
    query.add_argument("--memory-mb", metavar="N", type=int, default=1024, help="memory to use at most (default: 1024)")
    form = query.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON, an object a row")
    form.add_argument("--csv", action="store_true", help="print CSV")
    query.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    from riskd.core.errors import InvalidSettings, Problem

    target = given(args, {"log.dataset": args.target}).settings.log.dataset
    if not target:
        remedy = "make one with `riskd log compact --to TARGET`, and name it with --from, or in log.dataset"
        raise InvalidSettings([Problem("log.dataset", "names no dataset", remedy)])
    require("duckdb", "it answers questions in SQL")
    require("pyarrow", "a dataset is Parquet files")
    from riskd.offline.dataset.query import asked
    from riskd.offline.dataset.target import Target

    sql = sys.stdin.read() if args.sql == "-" else args.sql
    with asked(Target.open(target), sql, as_of=args.as_of, memory_mb=args.memory_mb) as answer:
        if args.json:
            for part in _objects(answer):
                print(part)
        elif args.csv:
            rows = csv.writer(sys.stdout)
            rows.writerow(answer.columns)
            rows.writerows(answer.rows)
        else:
            _print(answer)
    return 0


def _objects(answer: Answer) -> Iterator[str]:
    """A JSON array, a row a line."""
    before = "["
    for row in answer.rows:
        yield before + json.dumps(dict(zip(answer.columns, row, strict=True)), default=str)
        before = ","
    yield "[]" if before == "[" else "]"


def _print(answer: Answer) -> None:
    from itertools import islice

    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    console = Console()
    shown = list(islice(answer.rows, SHOWN))
    more = sum(1 for _ in answer.rows)
    if not shown:
        print("no rows")
    elif len(answer.columns) * NARROW > console.width:
        table = Table("column", Column("value", overflow="fold"))
        for row in shown:
            for name, value in zip(answer.columns, row, strict=True):
                table.add_row(Text(name), Text(_cell(value)))
            table.add_section()
        console.print(table)
    else:
        table = Table()
        for name, values in zip(answer.columns, zip(*shown, strict=True), strict=True):
            numbers = all(value is None or (isinstance(value, int | float) and value is not True) for value in values)
            table.add_column(Text(name), justify="right" if numbers else "left", overflow="fold")
        for row in shown:
            table.add_row(*(Text(_cell(value)) for value in row))
        console.print(table)
    if more:
        console.print(f"and {quantity(more, 'row')} more: --json and --csv print all")


def _cell(value: object) -> str:
    """A value for people: of a moment that begins a day, the day."""
    if isinstance(value, datetime) and value.time() == time.min:
        return value.date().isoformat()
    return "" if value is None else plain(str(value))
