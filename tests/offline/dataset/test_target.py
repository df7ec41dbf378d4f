"""The files of a dataset: what cannot be done is said with the file and a remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest
from msgspec.structs import replace

from riskd.core.errors import InvalidFile
from riskd.core.record import decode, encode
from riskd.offline.dataset.tables import bare
from riskd.offline.dataset.target import Target
from tests.decision_log import decision

ROWS: Final = pa.table({"a": [1]})
WORK: Final[dict[str, Callable[[Target], object]]] = {
    "read": lambda target: target.read("part/x"),
    "replace": lambda target: target.replace("part/x", b""),
    "write": lambda target: target.write("part/x", ROWS),
    "table": lambda target: target.table("part/x", ROWS.schema),
    "batches": lambda target: list(target.batches("part/x", ["a"], 1)),
    "delete": lambda target: target.delete(["part/x"]),
}


@pytest.mark.parametrize("work", WORK)
def test_what_cannot_be_done_is_said_with_the_file(tmp_path: Path, work: str) -> None:
    """Where a file stands in place of a folder, each operation names the file that it was about, and a remedy."""
    (tmp_path / "part").write_bytes(b"in the way")
    with pytest.raises(InvalidFile) as caught:
        WORK[work](Target.open(str(tmp_path)))
    (problem,) = caught.value.problems
    assert problem.where == f"{tmp_path}/part/x"
    assert problem.what
    assert "may read and write it" in problem.remedy


def test_what_is_not_there_is_not_read_or_deleted(tmp_path: Path) -> None:
    """A file that is not there has no content, and need not be deleted; the next ones are."""
    target = Target.open(f"file://{tmp_path}")
    target.replace("b", b"content")
    assert (target.read("a"), target.read("b")) == (None, b"content")
    target.delete(["a", "b"])
    assert target.read("b") is None
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("form", ["as riskd writes it", "with spaces", "with the vector last"])
def test_a_line_in_a_dataset_lacks_only_its_vector(form: str) -> None:
    """The line that a dataset keeps beside the columns of features is the line without its vector, also if another
    program wrote it."""
    record = decision(7, 1e9, attributes={"note": '"vector":[1]'}, vector=(1.0, None, 2.5))
    line = encode(record)
    if form != "as riskd writes it":
        fields = json.loads(line)
        fields["vector"] = fields.pop("vector")
        line = json.dumps(fields, separators=None if "spaces" in form else (",", ":")).encode()
    assert decode(bare(line, record)) == replace(record, vector=())
