"""A resource server asks riskd, challenges for a step-up, and is asked again: RFC 9470 with real servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from riskd.core import record
from tests.e2e.service import Service, eventually, serving
from tests.e2e.step_up import BLOCK, PAGE, PASSWORD, play, stage


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A separate service, because attempts of other tests would raise its tiers."""
    with serving(tmp_path_factory.mktemp("step_up")) as running:
        yield running


def test_the_page_shows_what_goes_over_the_wire(service: Service) -> None:
    """docs/step-up.md shows every exchange as it happens, with names for secrets and times."""
    with service.stub() as risk, stage(risk) as (client, wire):
        play(client, wire)
        seen = wire.page()
    shown = dict(BLOCK.findall(PAGE.read_text(encoding="utf-8")))
    assert len(shown) == 5
    assert shown == {name: seen[name] for name in shown}


def test_a_step_up_is_assessed_and_its_outcome_reported(service: Service) -> None:
    """The password does not satisfy, both factors do; the log has both answers, and the outcome of the first."""
    before = len(service.decisions())
    with service.stub() as risk, stage(risk) as (client, wire):
        play(client, wire)
    eventually(lambda: len(service.decisions()) >= before + 3)
    found = service.decisions()[before:]
    answers = [each for each in found if isinstance(each, record.AssessmentRecord)]
    outcomes = [each for each in found if isinstance(each, record.OutcomeRecord)]
    assert [(each.tier, each.satisfied) for each in answers] == [("STEP_UP", False), ("STEP_UP", True)]
    assert [(each.assessment_id, each.kind) for each in outcomes] == [(answers[0].id, "challenge_passed")]


def test_an_unmet_challenge_is_repeated(service: Service) -> None:
    """A client that returns with only a password again, or with a wrong code, is challenged again."""
    with service.stub() as risk, stage(risk) as (client, _):
        for name in ("first", "second"):
            token = client.sign_in(name, {"password": PASSWORD}, {})
            assert token is not None
            status, told = client.pay(name, token)
            assert (status, told) == (
                401,
                {"error": "insufficient_user_authentication", "acr_values": "mfa", "max_age": "86400"},
            )
        wrong = {"password": PASSWORD, "code": "not a code"}
        assert client.sign_in("third", wrong, {"acr_values": "mfa"}) is None
        assert client.pay("forged", "a token that nobody issued") == (401, {"error": "invalid_token"})
