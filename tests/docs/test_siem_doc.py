"""docs/siem.md: its tables agree with the code, and its example is a real event."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from msgspec import json as encoder
from msgspec.structs import replace

from riskd.core.attempt import OUTCOMES
from riskd.offline.siem.events import event
from riskd.offline.siem.words import ATTACKS, AUTHENTICATION, FINDING, FRAUD
from tests.decision_log import decision
from tests.offline.siem.ocsf import SCHEMA, Json, paths, violations
from tests.offline.siem.records import LEARNING, PASSED, TIME, WHOLE, Record, told

PAGE: Final = (Path(__file__).parents[2] / "docs" / "siem.md").read_text(encoding="utf-8")
CLASSES: Final = {one["uid"]: one["caption"] for one in SCHEMA["classes"].values()}


def written(record: Record) -> Json:
    return json.loads(encoder.encode(event(record)))


def status(said: Json) -> str:
    return str(said.get("status", ""))


def rows(heading: str) -> list[list[str]]:
    """The cells of the table whose heading begins with this text."""
    table = re.search(rf"^\| {re.escape(heading)} .*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert table, heading
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()]


def test_every_outcome_is_in_the_table_as_exported() -> None:
    """For each outcome, the table gives the class, activity and status of its event."""
    expected = []
    for kind in OUTCOMES:
        said = written(told(kind))
        expected.append(
            [f"outcome `{kind}`", CLASSES[said["class_uid"]], said["activity_name"], said.get("status", "")]
        )
    first, *others = rows("line")
    assert sorted(others) == sorted(expected)
    statuses = [
        written(replace(WHOLE, tier=tier, satisfied=satisfied))["status"]
        for tier, satisfied in (("BASELINE", True), ("STEP_UP", False), ("DENY", False))
    ]
    assert first == ["assessment", CLASSES[AUTHENTICATION], written(WHOLE)["activity_name"], "; ".join(statuses)]


def test_every_answer_is_in_the_table_as_exported() -> None:
    """For each answer, the table gives status, action and disposition, with 99 where the schema has no number."""
    answers = (
        decision(1, TIME),
        decision(1, TIME, tier="STEP_UP", satisfied=False),
        decision(1, TIME, tier="DENY", satisfied=False),
        decision(1, TIME, satisfied=False, credential_result="failed"),
        LEARNING,
        told("confirmed_legitimate"),
    )

    def cell(said: Json, name: str) -> str:
        text = "the tier" if said.get(name) == "STEP_UP" else said.get(name, "")
        return f"{text} (99)" if said.get(f"{name}_id") == 99 else text

    expected = [[cell(written(one), name) for name in ("status", "action", "disposition")] for one in answers]
    assert [cells[1:] for cells in rows("the answer")] == expected


def test_every_attribute_is_in_the_table() -> None:
    """The table lists exactly the attributes that the fullest events have."""
    records: list[Record] = [WHOLE, LEARNING, *(replace(PASSED, kind=kind) for kind in OUTCOMES)]
    said = [written(record) for record in records]
    assert [problem for one in said for problem in violations(one)] == []
    named = [name for first, _ in rows("attributes") for name in re.findall(r"`([^`]+)`", first)]
    assert len(named) == len({*named})
    assert {*named} == {path for one in said for path in paths(one)}


def test_every_technique_is_in_the_table() -> None:
    """For each reason, the table names the techniques that it is a sign of."""
    named = {
        f"`{reason}`": ", ".join(
            f"`{one.uid}` {one.name}" for one in (attack.sub_technique or attack.technique for attack in attacks)
        )
        for reason, attacks in ATTACKS.items()
    }
    assert dict(rows("reason")) == named


def test_the_example_is_an_event() -> None:
    """The example is exactly the event of a full record, one attribute per line."""
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in written(WHOLE).items())
    assert f"```json\n{{\n{lines}\n}}\n```" in PAGE


def test_the_first_detection_rule_finds_what_it_says() -> None:
    """The class and status numbers in the page's first detection rules are those of the events that they look for."""
    assert written(told(FRAUD))["class_uid"] == FINDING == 2004
    failed = written(told("challenge_failed"))
    assert (failed["status_id"], failed["metadata"]["event_code"]) == (2, "challenge_failed")
