"""`riskd log query`: answers questions about the decision log in SQL."""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, time
from typing import TYPE_CHECKING, Final

import msgspec

from riskd.cli.arguments import moment, stdin, whole_number
from riskd.cli.extras import require
from riskd.cli.settings import add_arguments, given
from riskd.cli.terminal import bars, print_table
from riskd.core.errors import InvalidSettings, Problem
from riskd.wording import quantity

if TYPE_CHECKING:
    from riskd.offline.dataset.query import Answer

SHOWN: Final = 200
"""How many rows a table shows; `--json` and `--csv` print all."""
EXAMPLES: Final = {
    "How strict was each week, and on whom?": """\
SELECT date_trunc('week', moment) AS week, domain, tier, count(*) AS assessments,
       round(100 * avg(CAST(satisfied AS INTEGER)), 1) AS satisfied_percent
FROM assessments WHERE credential_result <> 'failed' GROUP BY ALL ORDER BY week, domain, assessments DESC""",
    "Which signals tell fraud from good sign-ins?": """\
SELECT label, count(*) AS attempts, round(avg(new_device), 3) AS new_device,
       round(avg(hosting), 3) AS hosting, round(median(score), 4) AS median_score
FROM labelled GROUP BY label ORDER BY label""",
    "Which owners do we challenge most, and why?": """\
SELECT operator, device_class, count(*) AS good, count(*) FILTER (challenged) AS challenges,
       round(100 * challenges / good, 1) AS percent, mode(list_extract(reasons, 1)) FILTER (challenged) AS first_reason
FROM labelled WHERE label = 'good' AND journey = 'login' AND credential_result <> 'failed'
GROUP BY ALL ORDER BY challenges DESC LIMIT 20""",
    "What do frauds of several accounts share, and were they challenged?": """\
SELECT shared, pseudonym, count(DISTINCT subject) AS accounts, count(*) AS attempts,
       count(*) FILTER (challenged) AS challenges, mode(operator) AS operator, min(id) AS one_of_them
FROM (UNPIVOT (SELECT * FROM labelled WHERE label = 'fraud')
      ON device, fingerprint, address INTO NAME shared VALUE pseudonym)
GROUP BY ALL HAVING accounts > 1 ORDER BY accounts DESC, attempts DESC LIMIT 20""",
    "What became of the challenges of each rule, and how long did they take?": """\
SELECT rule, tier,
       count(*) FILTER (kind = 'challenge_passed') AS passed, count(*) FILTER (kind = 'challenge_failed') AS failed,
       count(*) FILTER (kind = 'challenge_abandoned') AS abandoned, round(median(seconds), 1) AS median_s
FROM (SELECT id, tier, unnest(if(len(hits) > 0, hits, ['(no rule)'])) AS rule FROM assessments)
JOIN outcomes ON assessment_id = id WHERE kind LIKE 'challenge_%'
GROUP BY ALL ORDER BY abandoned DESC, rule, tier""",
}
"""Example queries in the help. Tests run them."""
_VIEWS: Final = """\
views:
  assessments  one row per attempt: the decision, whether that challenged it, the facts, and a column for each feature
               (`riskd features`)
  outcomes     what was reported later, by assessment_id
  events       what other parties reported, by the pseudonym of the subject
  labelled     assessments with their label (good, fraud, unknown) and the time when it became known
`challenged`: more than BASELINE is required, and not met. Where `credential_result` is 'failed', nobody is challenged.
`moment` is the time as a timestamp in UTC. SELECT * FROM (DESCRIBE labelled) lists the columns.

"""
_JSON: Final = msgspec.json.Encoder(decimal_format="number", enc_hook=str)
_EXIT: Final = "exit codes: 0 answered; 2 refused: a problem with the query, the settings or the dataset"


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `log query`."""
    shown = "\n\n".join(f'# {question}\nriskd log query "{sql}"' for question, sql in EXAMPLES.items())
    query = actions.add_parser(
        "query",
        help="query the log's dataset in SQL",
        description="Run one SQL query on the log's dataset (DuckDB; needs the extra `train`). The query can read only "
        "the four views below; it cannot change anything or load extensions.",
        epilog=f"{_VIEWS}{shown}\n\n{_EXIT}",
    )
    query.add_argument("sql", metavar="SQL", help="one SELECT; - reads it from standard input")
    add_arguments(query)
    query.add_argument("--from", metavar="TARGET", dest="target", help="the dataset (log.dataset)")
    query.add_argument(
        "--as-of", metavar="DATE", type=moment, default=math.inf, help="hide what became known later, UTC: 2026-11-01"
    )
    query.add_argument(
        "--memory-mb", metavar="N", type=whole_number, default=1024, help="memory limit in MB (default: 1024)"
    )
    form = query.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON, one object per row")
    form.add_argument("--csv", action="store_true", help="print CSV")
    query.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    target = given(args, {"log.dataset": args.target}).settings.log.dataset
    if not target:
        remedy = "`riskd log compact --to TARGET` makes one; name it with --from or in log.dataset"
        raise InvalidSettings([Problem("log.dataset", "is not set, so there is no dataset to query", remedy)])
    require("duckdb", "it runs SQL queries")
    require("pyarrow", "a dataset is Parquet files")
    from rich.progress import TextColumn, TimeElapsedColumn

    from riskd.offline.dataset.query import run_query
    from riskd.offline.dataset.target import Target

    sql = stdin().read() if args.sql == "-" else args.sql
    with ExitStack() as opened:
        with bars(TextColumn("{task.description}"), TimeElapsedColumn()) as bar:
            bar.add_task("query")
            query = run_query(Target.open(target), sql, as_of=args.as_of, memory_mb=args.memory_mb)
            answer = opened.enter_context(query)
            rows, more = ([], 0) if args.json or args.csv else _shown(answer)
        if args.json:
            for part in _objects(answer):
                print(part)
        elif args.csv:
            table = csv.writer(sys.stdout)
            table.writerow(answer.columns)
            table.writerows(answer.rows)
        else:
            _print(answer.columns, rows, more)
    return 0


def _objects(answer: Answer) -> Iterator[str]:
    """A JSON array, one row per line."""
    before = "["
    for row in answer.rows:
        yield before + _JSON.encode(dict(zip(answer.columns, row, strict=True))).decode()
        before = ","
    yield "[]" if before == "[" else "]"


def _shown(answer: Answer) -> tuple[list[list[str]], int]:
    """The first rows, for people, and the number of others."""
    from riskd.offline.dataset.query import rows_of

    rows: list[list[str]] = []
    more = 0
    for batch in answer.batches:
        shown = batch.slice(0, SHOWN - len(rows))
        rows += [[_cell(value) for value in row] for row in rows_of(shown)]
        more += batch.num_rows - shown.num_rows
    return rows, more


def _print(columns: Sequence[str], rows: Sequence[Sequence[str]], more: int) -> None:
    if rows:
        print_table(columns, rows)
    else:
        print("no rows")
    if more:
        print(f"and {quantity(more, 'row')} more: --json and --csv print all")


def _cell(value: object) -> str:
    """A value for people: a time to the second, or as its date if it is midnight."""
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time.min else value.isoformat(" ", "seconds")
    return "" if value is None else str(value)
