"""A recorded decision, decided again by the same policy, is the same decision."""

from __future__ import annotations

from pathlib import Path

import pytest

from riskd.core import record
from riskd.core.assess import Release
from riskd.engine import Engine
from riskd.offline.policies.redecide import redecide
from tests.bench import parts
from tests.cases.world import HERE, Case
from tests.doubles import ListLog
from tests.shipped import shipped_release

PATHS = sorted(HERE.glob("*/*.yaml"))


@pytest.fixture(scope="module")
def shipped() -> Release:
    return shipped_release()


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_golden_case_replays_to_its_record(path: Path, shipped: Release) -> None:
    """Tier, satisfaction and hits are reproduced from the log line alone, for every golden case."""
    case, log = Case(path), ListLog()
    release = case.release(shipped)
    made = parts(
        store=case.store(),
        geo=case.geo,
        log=log,
    )
    answer = Engine(made, release).assess(case.attempt, 5.0)
    (line,) = map(record.decode, log.lines)
    assert isinstance(line, record.AssessmentRecord)

    again = redecide(release.policies[line.domain], line)

    assert again.ruling.requirement == answer.requirement
    assert (again.ruling.level, again.ruling.gaps, again.ruling.coverage) == (line.level, line.gaps, line.coverage)
    assert tuple(hit.rule for hit in again.hits if not hit.shadow) == line.hits
    assert tuple(hit.rule for hit in again.hits if hit.shadow) == line.shadow_hits
