"""Whoever has the password and sends prompts until one is accepted gets no further with any prompt, and the owner is
not kept out."""

from __future__ import annotations

from itertools import product
from typing import Any, Final

import pytest

from riskd.adapters.memory import MemoryStore
from riskd.core import learn, record
from riskd.core.assessment import Assessment
from riskd.core.attempt import Outcome
from riskd.core.requirement import Tier
from riskd.engine import Engine
from tests.bench import parts, release
from tests.cases.world import NOW, TableGeo, attempt, facts
from tests.doubles import ListLog

__all__ = ["release"]
PROMPT: Final = ("pwd", "mfa")
"""What an accepted prompt proves, with number matching or without."""
STRANGER: Final = {"device_id": "laptop-9"}
"""The owner's laptop in everything but its identifier."""
NOT_MET: Final = ("challenge_failed", "challenge_abandoned")


class Victim:
    """Sam, who has signed in on the same laptop for weeks, and an engine with the shipped workforce policy."""

    def __init__(self, release: Any) -> None:  # noqa: ANN401
        self.now, self.log, store = NOW, ListLog(), MemoryStore()
        for day in range(60, 0, -2):
            keys, context = facts(attempt({"who": "sam"}), TableGeo({}), NOW - day * 86_400, store)
            lesson = learn.lesson(attempt({"who": "sam"}), context, keys)
            store.write(learn.lesson_deltas(lesson, 1), (), NOW, 1.0)
        self.engine = Engine(parts(store=store, log=self.log, clock=lambda: self.now), release)

    def assess(self, device: dict[str, str], **words: object) -> Assessment:
        self.now += 20.1
        return self.engine.assess(attempt({"who": "sam", "device": device, **words}), 10.0)

    def tell(self, answer: Assessment, kind: str, *amr: str, time: float | None = None) -> int:
        self.now += 0.001
        return self.engine.record(Outcome(assessment_id=answer.id, kind=kind, amr=amr, time=time), 10.0).taught

    def hits(self) -> tuple[str, ...]:
        """The rules that the latest attempt hit."""
        lines = [line for line in map(record.decode, self.log.lines) if isinstance(line, record.AssessmentRecord)]
        return tuple(lines[-1].hits)

    def prompted(self, *kinds: str) -> None:
        """A stranger with the password sends prompts one by one, which the owner does not accept."""
        for kind in kinds:
            self.tell(self.assess(STRANGER), kind)


@pytest.fixture
def victim(release: Any) -> Victim:  # noqa: ANN401
    return Victim(release)


@pytest.mark.parametrize("kinds", list(product(NOT_MET, repeat=3)))
def test_after_three_prompts_none_can_be_accepted(victim: Victim, kinds: tuple[str, ...]) -> None:
    """After three prompts that the owner denied or ignored, a stranger's device needs a key. A tired owner who accepts
    the next prompt does not meet that; the pass teaches nothing, nor does a session that begins in spite of it."""
    victim.prompted(*kinds)
    answer = victim.assess(STRANGER)

    assert (answer.requirement.tier, answer.requirement.satisfied) == (Tier.PHISHING_RESISTANT, False)
    assert victim.hits() == ("push_harassment",)
    assert victim.tell(answer, "challenge_passed", *PROMPT) == victim.tell(answer, "session_established") == 0


def test_an_accepted_prompt_does_not_look_clean(victim: Victim) -> None:
    """Of prompts that are sent at once, three are denied and one is accepted. The accepted one met what was required
    when it was sent; but within the hour, its session and the next sign-in on that device need a key."""
    answers = [victim.assess(STRANGER) for _ in range(4)]
    for answer in answers[:3]:
        victim.tell(answer, "challenge_failed")
    assert victim.tell(answers[3], "challenge_passed", *PROMPT) == 1

    for words in ({"journey": "session", "credential_result": "not_checked", "session": {"amr": PROMPT}}, {}):
        assert victim.assess(STRANGER, **words).requirement.tier is Tier.PHISHING_RESISTANT
        assert victim.hits() == ("push_harassment",)


@pytest.mark.parametrize("kind", NOT_MET)
def test_slow_prompts_raise_the_score(victim: Victim, kind: str) -> None:
    """One prompt in 25 minutes is never the third of an hour; but the attempts of a day raise the score, so after the
    first few hardly any can be accepted."""
    tiers = []
    for _ in range(57):
        answer = victim.assess(STRANGER)
        assert "push_harassment" not in victim.hits()
        tiers.append(answer.requirement.tier)
        victim.now += 60.0
        victim.tell(answer, kind)
        victim.now += 24 * 60.0 - 20.1

    assert 5 <= tiers.count(Tier.STEP_UP) <= 8
    assert min(tiers) is Tier.STEP_UP


def test_the_owner_goes_on_as_before(victim: Victim) -> None:
    """While prompts arrive, the owner signs in on the known device with any second factor, and that teaches as ever."""
    victim.prompted(*NOT_MET, *NOT_MET)
    answer = victim.assess({})

    assert answer.requirement.tier is Tier.STEP_UP
    assert victim.tell(answer, "challenge_passed", "pwd", "otp") == 1


def test_a_key_makes_a_new_device_the_owners(victim: Victim) -> None:
    """An owner who signs in with a key on a new device is not asked for it again there, though the hour is not over."""
    victim.prompted(*NOT_MET, *NOT_MET)
    answer = victim.assess(STRANGER)
    assert victim.tell(answer, "challenge_passed", "hwk", "pin") == 6

    assert victim.assess(STRANGER).requirement.tier is Tier.STEP_UP
    assert victim.hits() == ()


@pytest.mark.parametrize(("hours", "tier"), [(0.9, Tier.PHISHING_RESISTANT), (1.1, Tier.STEP_UP)])
def test_prompts_count_when_they_ended(victim: Victim, hours: float, tier: Tier) -> None:
    """Reports that waited in a queue say when each prompt ended: those of earlier than the last hour are no series of
    now."""
    answers = [victim.assess(STRANGER) for _ in range(3)]
    ended = victim.now
    victim.now += hours * 3600
    for answer, kind in zip(answers, (*NOT_MET, "challenge_failed"), strict=True):
        victim.tell(answer, kind, time=ended)

    assert victim.assess(STRANGER).requirement.tier is tier


def test_an_attempt_counts_once(victim: Victim) -> None:
    """One prompt that is reported as denied and as abandoned, each twice, is one prompt."""
    answer = victim.assess(STRANGER)
    for kind in NOT_MET * 2:
        victim.tell(answer, kind)
    victim.prompted("challenge_failed")

    assert victim.assess(STRANGER).requirement.tier is Tier.STEP_UP
