"""A release in shadow logs what it would have answered, and has no other effect."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from riskd.adapters.memory import MemoryStore
from riskd.core import record
from riskd.core.activation import ActivationRequest
from riskd.core.assess import Release
from riskd.core.attempt import Attempt
from riskd.core.lineup import Lineup
from riskd.core.requirement import Tier
from riskd.core.score import Score
from riskd.engine import Engine, shadow
from riskd.engine.shadow import DEPTH, compared
from tests.bench import parts
from tests.cases.world import attempt
from tests.doubles import CountingMeter, ListLog
from tests.e2e.service import attempt as request
from tests.e2e.service import eventually, riskd, serving
from tests.releases.candidates import created, releases
from tests.shipped import shipped_release

RELEASE: Final = shipped_release()
WHO: Final = [f"subject-{number}" for number in range(12)]


class Suspicious:
    """A scorer that gives everybody a high score, and waits for `gate` if there is one."""

    version = "suspicious"
    feature_names = RELEASE.scorers["customer"].feature_names
    schema = RELEASE.scorers["customer"].schema
    references = RELEASE.scorers["customer"].references

    def __init__(self, gate: threading.Event | None = None) -> None:
        self._gate = gate

    def score(self, vector: Sequence[float]) -> tuple[float, float]:
        if self._gate is not None:
            assert self._gate.wait(30)
        return 9.0, 0.9999

    def explain(self, vector: Sequence[float], reference: Sequence[float] | None = None) -> Score:
        log_odds, probability = self.score(vector)
        return Score(probability, log_odds, self.contributions(vector))

    def contributions(self, vector: Sequence[float], reference: Sequence[float] | None = None) -> tuple[float, ...]:
        return tuple(0.0 for _ in vector)


class Laborious(threading.Event):
    """A gate that is open after five milliseconds of work."""

    def wait(self, timeout: float | None = None) -> bool:
        until = time.perf_counter() + 0.005
        while time.perf_counter() < until:
            pass
        return True


class Meter(CountingMeter):
    """Also counts the shadow's moves."""

    def shadowed(self, domain: str, move: str) -> None:
        self.told["shadow", domain, move] += 1


def suspicious(gate: threading.Event | None = None) -> Release:
    """A release that requires more than the active one."""
    scorer = Suspicious(gate)
    return Release("suspicious", RELEASE.policies, dict.fromkeys(RELEASE.scorers, scorer))


class Bench:
    """An engine with or without a shadow, and everything that it writes."""

    def __init__(self, shadow: Release | None) -> None:
        self.store, self.log, self.meter = MemoryStore(), ListLog(), Meter()
        made = parts(
            store=self.store,
            log=self.log,
            meter=self.meter,
        )
        self.engine = Engine(made, RELEASE)
        self.engine.install(Lineup(RELEASE, shadow=shadow))

    def kept(self) -> dict[bytes, bytes | None]:
        """All records of the store."""
        keys, _ = self.store.walk(b"", 10_000)
        return dict(zip(sorted(keys), self.store.load(sorted(keys)), strict=True))

    def lines(self, kind: type[record.Record]) -> list[record.Record]:
        """The log lines of one kind."""
        return [line for line in map(record.decode, self.log.lines) if isinstance(line, kind)]


def login(who: str) -> Attempt:
    """An attempt with a request id, so that two engines give its answer the same id."""
    return replace(attempt({}), subject=who, request_id=f"r-{who}")


def test_a_shadow_changes_nothing() -> None:
    """Answers, histories, receipts, replies and decision records are bit for bit the same with a shadow; each decision
    has a line with what the shadow would have required."""
    alone, watched = Bench(None), Bench(suspicious())
    for who in (*WHO, *WHO):
        assert watched.engine.assess(login(who), 10.0) == alone.engine.assess(login(who), 10.0)
    assert watched.kept() == alone.kept()
    watched.engine.close()
    assert [line for line in watched.log.lines if b'"shadow"' not in line[:20]] == alone.log.lines
    decided = {line.id: line for line in watched.lines(record.AssessmentRecord) if hasattr(line, "id")}
    beside = watched.lines(record.ShadowRecord)
    assert [line.id for line in beside if isinstance(line, record.ShadowRecord)] == list(decided)
    for line in beside:
        assert isinstance(line, record.ShadowRecord)
        assert (line.release, line.model, line.beside, line.score) == ("suspicious", "suspicious", RELEASE.id, 0.9999)
        assert Tier[line.tier] > Tier[decided[line.id].tier]  # type: ignore[union-attr]
    assert watched.meter.told["shadow", "customer", "stricter"] == len(WHO)


def test_answers_do_not_wait_for_the_shadow() -> None:
    """While the shadow hangs, answers go out; what exceeds its queue is dropped and counted, and the rest is scored
    later."""
    gate = threading.Event()
    bench, offered = Bench(suspicious(gate)), DEPTH + 20
    for number in range(offered):
        answer = bench.engine.assess(login(f"s-{number}"), 10.0)
        assert answer.release == RELEASE.id
    dropped = bench.meter.told["shadow", "customer", "dropped"]
    assert dropped in (19, 20)  # the thread may have taken one out of the queue
    assert bench.lines(record.ShadowRecord) == []
    gate.set()
    bench.engine.close()
    assert len(bench.lines(record.ShadowRecord)) == offered - dropped


def test_an_answer_has_left_before_its_shadow_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shadow's line follows the decision's, after a pause in which the caller gets its answer."""
    monkeypatch.setattr(shadow, "AFTER", 0.1)
    bench, begun = Bench(suspicious()), time.monotonic()
    bench.engine.assess(login("anne"), 10.0)
    while len(bench.log.lines) < 2:
        assert time.monotonic() < begun + 10
        time.sleep(0.001)
    assert time.monotonic() - begun >= 0.1
    assert [type(record.decode(line)).__name__ for line in bench.log.lines] == ["AssessmentRecord", "ShadowRecord"]


def test_the_shadow_rests_nine_times_as_long_as_it_works() -> None:
    """Scoring in shadow takes at most a tenth of the time, however many attempts wait."""
    bench, took = Bench(suspicious(Laborious())), list[float]()
    bench.meter.stage = lambda name, seconds: took.append(seconds) if name == "shadow" else None  # type: ignore[method-assign]
    begun = time.monotonic()
    for who in WHO[:6]:
        bench.engine.assess(login(who), 10.0)
    while len(took) < 6:
        assert time.monotonic() < begun + 20
        time.sleep(0.001)
    assert time.monotonic() - begun >= 10 * sum(took[:-1])
    bench.engine.close()


@pytest.mark.parametrize(
    ("answered", "there", "move"),
    [
        (Tier.STEP_UP, Tier.STEP_UP, "same"),
        (Tier.BASELINE, Tier.DENY, "stricter"),
        (Tier.DENY, Tier.STEP_UP, "looser"),
    ],
)
def test_moves_have_names(answered: Tier, there: Tier, move: str) -> None:
    """The shadow's tier is compared as same, stricter or looser."""
    assert compared(answered, there) == move


def test_a_shadow_from_outside(tmp_path: Path) -> None:
    """In a service, answers name the active release; log, metrics and exports show what the shadow would have required,
    until it is activated."""
    state = tmp_path / "s"
    first, second = created(state, "2m"), created(state, "3m")
    releases(state).activate(ActivationRequest(release=first, actor="test"))
    with serving(state, workers=2) as service:
        assert riskd("release", "activate", second, "--shadow", state=state).returncode == 0
        assert {service.assess(request(subject=who)).release for who in WHO} == {first}

        def shadows() -> list[record.Record]:
            return [line for line in service.decisions() if isinstance(line, record.ShadowRecord)]

        eventually(lambda: len(shadows()) == len(WHO))
        for line in shadows():
            assert isinstance(line, record.ShadowRecord)
            assert (line.release, line.beside) == (second, first)
        exported = riskd("subject", "export", WHO[0], "--domain", "customer", state=state).stdout.splitlines()
        assert "shadow" in {json.loads(line)["content"].get("type") for line in exported}
        assert service.metric("riskd_shadow_assessments_total", domain="customer", move="same") == len(WHO)
        roles = {(dict(key)["release"], dict(key)["role"]) for key in service.samples("riskd_release_info")}
        assert roles == {(first, "active"), (second, "shadow")}
        assert riskd("release", "activate", second, state=state).returncode == 0
        assert service.assess(request()).release == second
        assert len(shadows()) == len(WHO)
