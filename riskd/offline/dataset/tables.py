"""Converts lines of the log to columns: facts flattened for SQL, and a float64 column for each feature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from msgspec import Struct
from msgspec.structs import replace

from riskd.core.context import Missing
from riskd.core.features import NAMES
from riskd.core.record import AssessmentRecord, Record, encode

_TEXT, _NUMBER, _YES, _WORDS = pa.string(), pa.float64(), pa.bool_(), pa.list_(pa.string())
_Column = tuple[pa.DataType, Callable[[AssessmentRecord], object]]


def _named(gaps: Sequence[Missing]) -> list[str]:
    return [f"{gap.source}:{gap.why}" for gap in gaps]


COLUMNS: Final[dict[str, _Column]] = {
    "id": (_TEXT, lambda line: line.id),
    "time": (_NUMBER, lambda line: line.time),
    "tenant": (_TEXT, lambda line: line.tenant),
    "domain": (_TEXT, lambda line: line.domain),
    "journey": (_TEXT, lambda line: line.journey),
    "subject": (_TEXT, lambda line: line.subject),
    "credential_result": (_TEXT, lambda line: line.credential_result),
    "score": (_NUMBER, lambda line: line.score),
    "log_odds": (_NUMBER, lambda line: line.log_odds),
    "level": (_TEXT, lambda line: line.level),
    "tier": (_TEXT, lambda line: line.tier),
    "satisfied": (_YES, lambda line: line.satisfied),
    "withheld": (_TEXT, lambda line: line.withheld),
    "hits": (_WORDS, lambda line: line.hits),
    "shadow_hits": (_WORDS, lambda line: line.shadow_hits),
    "reasons": (_WORDS, lambda line: line.reasons),
    "gaps": (_WORDS, lambda line: _named(line.gaps)),
    "missing": (_WORDS, lambda line: _named(line.facts.missing)),
    "causes": (_WORDS, lambda line: line.causes),
    "lists": (_WORDS, lambda line: line.lists),
    "counted": (pa.map_(_TEXT, _NUMBER), lambda line: list(line.facts.counted.items())),
    "coverage": (_NUMBER, lambda line: line.coverage),
    "release": (_TEXT, lambda line: line.release),
    "model": (_TEXT, lambda line: line.model),
    "network": (_TEXT, lambda line: line.facts.network),
    "country": (_TEXT, lambda line: line.facts.place and line.facts.place.country),
    "region": (_TEXT, lambda line: line.facts.place and line.facts.place.region),
    "city": (_TEXT, lambda line: line.facts.place and line.facts.place.city),
    "latitude": (_NUMBER, lambda line: line.facts.place and line.facts.place.latitude),
    "longitude": (_NUMBER, lambda line: line.facts.place and line.facts.place.longitude),
    "asn": (pa.int64(), lambda line: line.facts.route and line.facts.route.asn),
    "operator": (_TEXT, lambda line: line.facts.route and line.facts.route.organization),
    "anonymizer": (_TEXT, lambda line: line.facts.route and line.facts.route.anonymizer),
    "browser": (_TEXT, lambda line: line.facts.agent and line.facts.agent.browser),
    "os": (_TEXT, lambda line: line.facts.agent and line.facts.agent.os),
    "device_class": (_TEXT, lambda line: line.facts.agent and line.facts.agent.device_class),
    "issuer": (_TEXT, lambda line: line.federation and line.federation.issuer),
}
"""Columns of `assessments` besides the features, `has_features` and `ORIGIN`, and how each is read from a record."""
ORIGIN: Final = pa.schema({"written": _NUMBER, "segment": _TEXT, "row": pa.int64(), "line": _TEXT})
"""Where a row comes from: when its line was written, by the service's clock and never earlier than the line before it
in the same segment; its segment and row; and the line, without the vector if that is in columns. Sorted by these
columns, the rows are the log."""
OUTCOMES: Final = pa.schema(
    {
        "assessment_id": _TEXT,
        "time": _NUMBER,
        "tenant": _TEXT,
        "domain": _TEXT,
        "journey": _TEXT,
        "kind": _TEXT,
        "amr": _WORDS,
        "seconds": _NUMBER,
        "taught": pa.int64(),
        **{field.name: field.type for field in ORIGIN},
    }
)
EVENTS: Final = pa.schema(
    {
        "subject": _TEXT,
        "time": _NUMBER,
        "tenant": _TEXT,
        "domain": _TEXT,
        "kind": _TEXT,
        "issuer": _TEXT,
        "level": _TEXT,
        "credential_type": _TEXT,
        "hijacked": _YES,
        **{field.name: field.type for field in ORIGIN},
    }
)
WHOSE: Final = {"assessments": "id", "outcomes": "assessment_id", "events": "subject"}
"""The column of each table that identifies the subject: it begins with the first digits of the subject's pseudonym."""
_BEGIN, _END = b'"vector":[', b"]"


def assessments(features: Sequence[str] = NAMES) -> pa.Schema:
    """The schema of `assessments` with these features. `has_features` is False for a line with another feature schema:
    its vector is only in `line`."""
    return pa.schema(
        {
            **{name: kind for name, (kind, _) in COLUMNS.items()},
            "has_features": _YES,
            **dict.fromkeys(features, _NUMBER),
            **{field.name: field.type for field in ORIGIN},
        }
    )


def schema(table: str, features: Sequence[str]) -> pa.Schema:
    """The schema of a table."""
    return assessments(features) if table == "assessments" else _OTHERS[table]


_OTHERS: Final = {"outcomes": OUTCOMES, "events": EVENTS}


class Origin(Struct, frozen=True, gc=False):
    """The columns of `ORIGIN`."""

    written: float
    segment: str
    row: int
    line: bytes


def assessment_table(records: Sequence[AssessmentRecord], origins: Sequence[Origin]) -> pa.Table:
    """Assessments as a table."""
    width = len(NAMES)
    known = [len(record.vector) == width for record in records]
    blank = (None,) * width
    vectors = np.array(
        [record.vector if has else blank for record, has in zip(records, known, strict=True)], dtype=np.float64
    ).reshape(-1, width)
    lines = [
        bare(origin.line, record) if has else origin.line
        for record, origin, has in zip(records, origins, known, strict=True)
    ]
    return pa.Table.from_arrays(
        [
            *[pa.array([take(record) for record in records], kind) for kind, take in COLUMNS.values()],
            pa.array(known, _YES),
            *[pa.array(column, from_pandas=True) for column in np.ascontiguousarray(vectors.T)],
            *_origins(origins, lines),
        ],
        schema=assessments(),
    )


def _origins(origins: Sequence[Origin], lines: Sequence[bytes]) -> list[pa.Array]:
    return [
        pa.array([origin.written for origin in origins], _NUMBER),
        pa.array([origin.segment for origin in origins], _TEXT),
        pa.array([origin.row for origin in origins], pa.int64()),
        pa.array(lines, pa.binary()).cast(_TEXT),
    ]


def bare(line: bytes, record: AssessmentRecord) -> bytes:
    """A line of the log with an empty vector; re-encoded if riskd did not write it."""
    before, begin, rest = line.partition(_BEGIN)
    if not begin or _BEGIN in rest:
        return encode(replace(record, vector=()))
    return before + begin + rest[rest.index(_END) :]


def plain_table(table: str, records: Sequence[Record], origins: Sequence[Origin]) -> pa.Table:
    """Outcomes or security events as a table: each column is a field of the records, or of `ORIGIN`."""
    columns = _OTHERS[table]
    return pa.Table.from_arrays(
        [
            *[
                pa.array([getattr(one, field.name) for one in records], field.type)
                for field in columns
                if field.name not in ORIGIN.names
            ],
            *_origins(origins, [origin.line for origin in origins]),
        ],
        schema=columns,
    )
