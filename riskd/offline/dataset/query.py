"""Answers SQL queries on a dataset with DuckDB: four views, no other access, no writes, bounded memory."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

import duckdb
import pyarrow as pa
from msgspec import Struct

from riskd.core.errors import InvalidFile, Problem
from riskd.offline.dataset.manifest import TABLES, required
from riskd.offline.dataset.reading import table
from riskd.offline.dataset.target import Target
from riskd.offline.labels import CONFIRMED, PASSED

ROWS: Final = 1000
"""How many rows are fetched at a time."""
SHARED: Final = ("device", "fingerprint", "address")
"""What different accounts may share: columns with its pseudonyms, read from the line."""


class Answer(Struct, frozen=True):
    """The result: column names, and batches of rows, which can be read once."""

    columns: tuple[str, ...]
    batches: Iterator[pa.RecordBatch]

    @property
    def rows(self) -> Iterator[tuple[object, ...]]:
        """The rows that were not read yet."""
        for batch in self.batches:
            yield from rows_of(batch)


def rows_of(batch: pa.RecordBatch) -> Iterator[tuple[object, ...]]:
    """The rows of a batch, as Python values."""
    return zip(*[column.to_pylist(maps_as_pydicts="strict") for column in batch.columns], strict=True)


@contextmanager
def run_query(target: Target, sql: str, *, as_of: float = math.inf, memory_mb: int = 1024) -> Iterator[Answer]:
    """Run one query on what was known at `as_of` (epoch seconds): later attempts and outcomes are hidden.

    Raises InvalidFile, also for what DuckDB refuses. The query cannot reach files, network or extensions. What does not
    fit into memory goes to a temporary directory.
    """
    manifest = required(target)
    with tempfile.TemporaryDirectory(prefix="riskd-query-") as scratch:
        limits: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_mb}MB",
            "temp_directory": scratch,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
        }
        with closing(duckdb.connect(config=limits)) as base:
            with target.readable():
                for name in TABLES:
                    base.register(f"_{name}", table(target, manifest, name))
            base.execute("SET TimeZone = 'UTC'")
            for view in _views(as_of):
                base.execute(view)
            base.execute("SET enable_external_access = false")
            base.execute("SET lock_configuration = true")
            try:
                statements = base.extract_statements(sql)
                if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                    remedy = "write a single SELECT; the dataset cannot be changed"
                    raise InvalidFile([Problem("SQL", "is not one SELECT", remedy)])
                with target.readable(), _ending(base):
                    result = base.execute(statements[0])
                columns = tuple([column[0] for column in result.description or ()])
                yield Answer(columns, _batches(target, result))
            except duckdb.Error as error:
                remedy = (
                    "the views are assessments, outcomes, events and labelled; SELECT * FROM (DESCRIBE labelled) lists "
                    "columns"
                )
                raise InvalidFile([Problem("SQL", str(error).strip(), remedy)]) from error


@contextmanager
def _ending(base: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Ctrl-C ends the query. DuckDB reports it as RuntimeError, and closing would wait until the query is done."""
    try:
        yield
    except RuntimeError as error:
        base.interrupt()
        raise KeyboardInterrupt from error


def _batches(target: Target, result: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
    with target.readable():
        yield from result.to_arrow_reader(ROWS)


_CHALLENGED: Final = "(NOT satisfied AND tier <> 'BASELINE' AND credential_result <> 'failed') AS challenged"
"""As in a backtest: more is required than of everybody, the attempt has not met it, and its credential was right."""


def _views(as_of: float) -> Iterator[str]:
    """The SQL of the four views. `moment` is the time as a UTC timestamp. Labels follow `columns.labelled`."""
    shared = "".join(f", line->>'$.facts.values.{name}' AS {name}" for name in SHARED)
    when = "" if math.isinf(as_of) else f" WHERE time <= {as_of!r}"
    passed = ", ".join(f"'{kind}'" for kind in PASSED)
    for name in TABLES:
        more = f"{shared}, {_CHALLENGED}" if name == "assessments" else ""
        moment = f"make_timestamp(CAST(time * 1e6 AS BIGINT)) AS moment{more}"
        yield f"CREATE VIEW {name} AS SELECT *, {moment} FROM _{name}{when}"  # noqa: S608 - our own words
    yield f"""
        CREATE VIEW labelled AS
        SELECT assessments.*, coalesce(fraud, good) AS known,
               CASE WHEN fraud IS NOT NULL THEN 'fraud' WHEN good IS NOT NULL THEN 'good' ELSE 'unknown' END AS label
        FROM assessments LEFT JOIN (
            SELECT assessment_id, min(time) FILTER (kind = '{CONFIRMED}') AS fraud,
                   min(time) FILTER (kind IN ({passed})) AS good
            FROM outcomes GROUP BY assessment_id
        ) ON assessment_id = id"""  # noqa: S608 - our own words
