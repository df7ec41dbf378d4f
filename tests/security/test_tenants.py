"""Tenants share a store but no records: no tenant reads, changes or collides with another's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from riskd.core.assessment import Assessment
from riskd.core.attempt import OUTCOMES, Outcome
from riskd.core.errors import UnknownAssessment
from riskd.core.pseudonym import short
from riskd.subjects import Subject
from tests.cases.world import PSEUDONYMS, attempt
from tests.office import Office

TENANTS = ("acme", "umbrella")
WHAT = ("subject", "address", "network", "device", "fingerprint", "asn", "country", "domain", "reply", "issuer")
Step = tuple[str, str, str, str, float]
steps = st.lists(
    st.tuples(
        st.sampled_from(TENANTS),
        st.sampled_from(["anne", "bert"]),
        st.sampled_from(["login", "recovery", "payment"]),
        st.sampled_from(OUTCOMES),
        st.sampled_from([0.0, 60.0, 604_800.0]),
    ),
    min_size=1,
    max_size=8,
)


def lived(office: Office, script: Sequence[Step], only: str = "") -> list[Assessment]:
    """The answers to one tenant's attempts, or to all; the clock advances the same way for both."""
    answers = []
    for number, (tenant, who, journey, kind, later) in enumerate(script):
        office.now += later
        if only in ("", tenant):
            words = {"tenant": tenant, "journey": journey, "with": "laptop", "from": "home", "request_id": str(number)}
            answers.append(sign_in(office, who, **words))
            outcome = Outcome(assessment_id=answers[-1].id, kind=kind, tenant=tenant)
            office.engine.record(outcome, 10.0)
    return answers


def sign_in(office: Office, who: str, **words: object) -> Assessment:
    return office.engine.assess(attempt({"subject": who, **words}), 10.0)


@settings(max_examples=40)
@given(script=steps)
def test_tenants_in_one_store_do_not_affect_each_other(script: list[Step]) -> None:
    """Two tenants with the same people, devices and addresses leave exactly the records and answers that each would
    alone."""
    with TemporaryDirectory() as folder:
        both = Office(Path(folder) / "both")
        answers = lived(both, script)
        together: dict[bytes, bytes] = {}
        for tenant in TENANTS:
            alone = Office(Path(folder) / tenant)
            theirs = lived(alone, script, tenant)
            assert theirs == [answer for answer, step in zip(answers, script, strict=True) if step[0] == tenant]
            assert not together.keys() & alone.records().keys()
            together |= alone.records()
            alone.engine.close()
        assert both.records() == together
        both.engine.close()


@pytest.mark.parametrize("kind", WHAT)
def test_one_value_has_unrelated_pseudonyms(kind: str) -> None:
    """The same value has unrelated pseudonyms in two tenants, also in the 48 bits of the short form."""
    first, second = (PSEUDONYMS.digest(tenant, "customer", kind, "same") for tenant in TENANTS)
    assert first != second
    assert short(first) != short(second)
    assert PSEUDONYMS.digest("a", "b", kind, "same") != PSEUDONYMS.digest("ab", "", kind, "same")


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_another_s_assessment_is_not_known(office: Office) -> None:
    """An outcome reported under another tenant is refused and teaches nothing, even with the right id."""
    answer = sign_in(office, "anne", tenant="acme", **{"with": "laptop", "from": "home"})
    before = office.records()
    for tenant in ("umbrella", ""):
        outcome = Outcome(assessment_id=answer.id, kind="confirmed_fraud", tenant=tenant)
        with pytest.raises(UnknownAssessment):
            office.engine.record(outcome, 10.0)
    assert office.records() == before


def test_a_request_id_is_of_its_tenant(office: Office) -> None:
    """If two tenants use the same request id for the same subject, these are two attempts with two answers."""
    words = {"with": "laptop", "from": "home", "request_id": "r"}
    first, second = (sign_in(office, "anne", tenant=tenant, **words) for tenant in TENANTS)
    assert first.id != second.id
    assert replace(first, id="") == replace(second, id="")


def test_an_export_and_an_erasure_are_of_one_tenant(office: Office) -> None:
    """An export or erasure concerns one tenant only, and leaves the other tenant's records alone."""
    for tenant in TENANTS:
        sign_in(office, "anne", tenant=tenant, **{"with": "laptop", "from": "home"})
    theirs, ours = (office.subjects.export(Subject(tenant, "customer", "anne"), 500, b"").records for tenant in TENANTS)
    assert theirs
    assert not {(each.kind, each.key) for each in theirs} & {(each.kind, each.key) for each in ours}
    office.subjects.erase(Subject("acme", "customer", "anne"), 10.0)
    assert office.subjects.export(Subject("umbrella", "customer", "anne"), 500, b"").records == ours
