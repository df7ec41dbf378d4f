"""The engine inside another program: who may use it, how it ends, what it is given, and what its log says."""

from __future__ import annotations

import ast
import gc
import inspect
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import riskd
from riskd.config import load
from riskd.core.attempt import CREDENTIAL_RESULTS, DOMAINS, EVENT_WORDS, EVENTS, JOURNEYS, OUTCOMES, PURPOSES
from riskd.core.errors import InvalidSettings
from riskd.host.background import LOGGER
from riskd.wiring import open_learner
from tests.e2e.service import CITY
from tests.forked import forked

SETTINGS: Final = {"store.kind": "memory", "geo.dir": "/nowhere"}
CODE: Final = Path(riskd.__file__).parent
ELSEWHERE: Final = {"cli", "offline", "rebuild", "server", "shared_signals"}
"""Packages that an embedded engine does not load."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[riskd.Engine]:
    state = str(tmp_path_factory.mktemp("state"))
    with riskd.open_engine(settings={"state.dir": state, **SETTINGS}) as opened:
        yield opened


ATTEMPT: Final = riskd.Attempt(
    domain="customer",
    subject="alex",
    journey="login",
    credential_result="succeeded",
    network=riskd.Network(client_ip="81.2.69.142"),
)
PATIENCE: Final = 10.0

CALLS: Final[Sequence[Callable[[riskd.Engine], object]]] = (
    lambda engine: engine.assess(ATTEMPT),
    lambda engine: engine.record(riskd.Outcome(assessment_id="0" * 32, kind="challenge_passed")),
    lambda engine: engine.record_event(riskd.SecurityEvent(domain="customer", subject="alex", kind="account_disabled")),
    lambda engine: engine.release,
    lambda engine: engine.subjects,
)


def refusals(engine: riskd.Engine) -> list[str]:
    """What each call says that raises RuntimeError."""
    said = []
    for call in CALLS:
        try:
            call(engine)
        except RuntimeError as error:
            said.append(str(error))
    return said


def test_a_fork_does_not_use_the_engine_of_its_parent(engine: riskd.Engine) -> None:
    """In a forked process every call of the engine raises, and says where to open one; closing it does nothing. The
    parent goes on with it."""
    reading, writing = os.pipe()

    def use() -> None:
        os.write(writing, "\n".join(refusals(engine)).encode())
        engine.close()

    with forked(use):
        pass
    os.close(writing)
    with os.fdopen(reading) as said:
        lines = said.read().splitlines()
    assert len(lines) == len(CALLS)
    assert all("forked" in line and "in each worker process" in line for line in lines)
    assert engine.assess(ATTEMPT, PATIENCE).causes == ()


def test_an_engine_is_open_until_it_is_closed(tmp_path: Path) -> None:
    """An engine needs no `with`. After `close`, which may be repeated, every call raises and says how to go on, and no
    thread is left."""
    before = set(threading.enumerate())
    engine = riskd.open_engine(settings={"state.dir": str(tmp_path), **SETTINGS})
    gc.collect()
    assert engine.assess(ATTEMPT, PATIENCE).causes == ()
    engine.close()
    engine.close()
    assert [line.partition(":")[0] for line in refusals(engine)] == ["the engine is closed"] * len(CALLS)
    assert set(threading.enumerate()) <= before


def test_whoever_closes_an_engine_finds_it_closed(tmp_path: Path) -> None:
    """If two threads close an engine, neither goes on before all is closed: it could not open the next one."""
    begun, end = threading.Event(), threading.Event()
    engine = riskd.open_engine(settings={"state.dir": str(tmp_path), **SETTINGS})
    engine._opened.callback(end.wait, PATIENCE)
    engine._opened.callback(begun.set)
    threads = [threading.Thread(target=engine.close) for _ in range(2)]
    for thread in threads:
        thread.start()
        assert begun.wait(PATIENCE)
    threads[1].join(0.05)
    assert [thread.is_alive() for thread in threads] == [True, True]
    end.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)


def test_a_second_engine_on_the_same_store_is_refused(tmp_path: Path) -> None:
    """A process that opens a store twice is told what to do instead."""
    settings = {**SETTINGS, "state.dir": str(tmp_path), "store.kind": "lmdb"}
    with riskd.open_engine(settings=settings), pytest.raises(riskd.InvalidFile, match="one engine a process"):
        riskd.open_engine(settings=settings)


def test_a_start_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    """An engine for which no thread can be started is closed, and so is the store of an import that is refused: in the
    same process, the next start succeeds."""
    given = {"state.dir": str(tmp_path), "geo.dir": "/nowhere"}
    threading.stack_size(1 << 46)  # which no machine can provide
    try:
        with pytest.raises(RuntimeError, match="can't start new thread") as kept:
            riskd.open_engine(settings=given)
    finally:
        threading.stack_size(0)
    with riskd.open_engine(settings=given) as engine:
        assert engine.assess(ATTEMPT).causes == ()
    (pepper,) = tmp_path.glob("pepper")
    first = pepper.read_bytes()
    pepper.write_bytes(b"the pepper of some other store\n")
    with pytest.raises(InvalidSettings, match="not the peppers") as refused, open_learner(load(None, {}, given)):
        pass
    pepper.write_bytes(first)
    with open_learner(load(None, {}, given)):
        del kept, refused  # until here: what failed is closed, not only forgotten


def totals(registry: CollectorRegistry, name: str) -> float:
    """The sum of a metric's series."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return sum(one.value for family in families for one in family.samples if one.name == name)


def test_a_registry_has_the_metrics_until_the_engine_is_closed(tmp_path: Path) -> None:
    """With a registry, the engine counts what it does and what fails in the background; another process that opens one
    with the same state goes on from there. Once it is closed, the registry has nothing of it."""
    registry, settings = CollectorRegistry(), {"state.dir": str(tmp_path), **SETTINGS}
    for times in (1, 2):
        with riskd.open_engine(settings=settings, registry=registry) as engine:
            engine.assess(ATTEMPT, PATIENCE)
            logging.getLogger(LOGGER).error("work_failed")
            assert totals(registry, "riskd_assessments_total") == times
            assert totals(registry, "riskd_failures_total") == times
            assert totals(registry, "riskd_store_rebuild_pending") == 0
            assert totals(registry, "riskd_build_info") == 1
        assert generate_latest(registry) == b""


def test_a_store_that_waits_to_be_rebuilt_is_on_the_page(tmp_path: Path) -> None:
    """A damaged store that was set aside is counted, and shown until its histories are rebuilt."""
    registry, settings = CollectorRegistry(), {**SETTINGS, "state.dir": str(tmp_path), "store.kind": "lmdb"}
    riskd.open_engine(settings=settings).close()
    (tmp_path / "store" / "data.mdb").write_bytes(b"noise" * 10_000)
    with riskd.open_engine(settings=settings, registry=registry):
        assert totals(registry, "riskd_store_rebuild_pending") == 1
        assert totals(registry, "riskd_failures_total") == 1


def test_a_registry_shows_one_engine(tmp_path: Path) -> None:
    """A second engine for the same registry is refused, and so is one whose counts cannot be written; both leave
    nothing open."""
    registry, settings = CollectorRegistry(), {"state.dir": str(tmp_path), **SETTINGS}
    with riskd.open_engine(settings=settings, registry=registry):
        before = set(threading.enumerate())
        with pytest.raises(ValueError, match="Duplicated"):
            riskd.open_engine(settings={**settings, "state.dir": str(tmp_path / "other")}, registry=registry)
        assert set(threading.enumerate()) <= before
        assert totals(registry, "riskd_workers_serving") == 1
    (tmp_path / "third").mkdir()
    (tmp_path / "third" / "metrics").touch()
    with pytest.raises(riskd.InvalidFile, match="third/metrics: cannot be written: File exists"):
        riskd.open_engine(settings={**settings, "state.dir": str(tmp_path / "third")}, registry=registry)
    assert generate_latest(registry) == b""


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"network": None}, "network"),
        ({"network": riskd.Network(client_ip=None)}, "network.client_ip"),  # type: ignore[arg-type]
        ({"device": riskd.Device(user_agent=None)}, "device.user_agent"),  # type: ignore[arg-type]
        ({"device": "laptop-1"}, "device"),
        ({"subject": b"alex"}, "subject"),
        ({"subject": 17}, "subject"),
        ({"behaviour": riskd.Behaviour(pasted="yes")}, "behaviour.pasted"),  # type: ignore[arg-type]
    ],
)
def test_a_value_of_another_type_is_named(engine: riskd.Engine, changes: dict[str, object], where: str) -> None:
    """A field that has a value of another type, such as the None of an absent header, is a violation like any other:
    the error names it."""
    with pytest.raises(riskd.InvalidAttempt) as refused:
        engine.assess(replace(ATTEMPT, **changes))
    (problem,) = refused.value.problems
    assert (problem.where, problem.what[:9]) == (where, "expected ")


def test_outcomes_and_events_name_such_values_too(engine: riskd.Engine) -> None:
    """So does an outcome, and a security event."""
    with pytest.raises(riskd.InvalidOutcome, match="assessment_id: expected"):
        engine.record(riskd.Outcome(assessment_id=None, kind="challenge_passed"))  # type: ignore[arg-type]
    with pytest.raises(riskd.InvalidEvent, match="subject: expected"):
        engine.record_event(riskd.SecurityEvent(domain="customer", subject=7, kind="account_disabled"))  # type: ignore[arg-type]


def test_errors_that_are_not_of_the_attempt_stay_what_they_are(engine: riskd.Engine) -> None:
    """A mistake of another kind is not taken for one of the attempt's types."""
    with pytest.raises(TypeError, match="NoneType"):
        engine.assess(ATTEMPT, timeout=None)  # type: ignore[arg-type]


def test_geo_databases_are_used_as_soon_as_they_are_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Geo databases that are installed while an engine is open are in use without a restart. One that is refused is
    counted and logged, and the one before stays in use, until a good one is there."""
    registry, city = CollectorRegistry(), tmp_path / "geo" / "city.mmdb"
    settings = {"state.dir": str(tmp_path), "store.kind": "memory", "geo.dir": str(city.parent)}
    settings |= {"geo.stale_days": "0", "server.watch_s": "0.01"}

    def gaps(engine: riskd.Engine) -> set[str]:
        return {gap.source for gap in engine.assess(ATTEMPT, PATIENCE).gaps}

    def until(reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not reached():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def install(content: bytes) -> None:
        draft = city.with_suffix(".new")
        draft.write_bytes(content)
        draft.rename(city)

    city.parent.mkdir()
    with riskd.open_engine(settings=settings, registry=registry) as engine:
        assert "place" in gaps(engine)
        assert totals(registry, "riskd_reload_timestamp_seconds") > 0
        install(CITY.read_bytes())
        until(lambda: "place" not in gaps(engine))
        assert totals(registry, "riskd_geo_build_timestamp_seconds") > 0
        install(b"noise")
        until(lambda: totals(registry, "riskd_reload_failed") == 1)
        assert totals(registry, "riskd_failures_total") == 1
        assert f"reload_refused: {city}" in caplog.text
        assert "place" not in gaps(engine)
        install(CITY.read_bytes())
        until(lambda: totals(registry, "riskd_reload_failed") == 0)


def test_settings_in_code_override_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`settings` override variables, which override the file, whose path may be a Path. Mistakes are all reported."""
    file = tmp_path / "riskd.toml"
    file.write_text('[state]\ndir = "nowhere"\n[store]\nkind = "memory"\n[attributes]\nnames = ["payee"]\n')
    monkeypatch.setenv("RISKD_STATE__DIR", "elsewhere")
    with riskd.open_engine(file, {"state.dir": str(tmp_path / "state")}) as engine:
        engine.assess(replace(ATTEMPT, attributes={"payee": "1"}))
    assert (tmp_path / "state" / "decisions").is_dir()
    with pytest.raises(riskd.InvalidFile) as refused:
        riskd.open_engine(file, {"store.kind": "sqlite", "store.pth": "x"})
    assert len(refused.value.problems) == 2


def test_a_subject_is_shown_exported_and_erased_in_process(engine: riskd.Engine) -> None:
    """What a service does for the rights of a subject, the embedded engine does, too."""
    answer = engine.assess(ATTEMPT, PATIENCE)
    engine.record(riskd.Outcome(assessment_id=answer.id, kind="session_established", amr=("pwd", "otp")), PATIENCE)
    alex = riskd.Subject(tenant="", domain="customer", subject="alex")
    assert answer.id in [receipt.id for receipt in engine.subjects.summary(alex).open]
    assert engine.subjects.export(alex, 10, b"").records
    assert engine.subjects.erase(alex, PATIENCE).records["receipt"]
    with pytest.raises(riskd.UnknownAssessment):
        engine.record(riskd.Outcome(assessment_id=answer.id, kind="confirmed_fraud"), PATIENCE)


def test_the_public_interface_is_documented() -> None:
    """Everything that `import riskd` offers has a docstring, and every public method, too; `help(riskd)` names all."""
    offered: list[Callable[..., object]] = [getattr(riskd, name) for name in riskd.__all__]
    methods = [method for name, method in inspect.getmembers(riskd.Engine) if not name.startswith("_")]
    assert [each for each in (*offered, *methods) if not inspect.getdoc(each)] == []
    assert sorted(riskd.__all__) == list(riskd.__all__)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (riskd.Attempt, (*DOMAINS, *JOURNEYS, *CREDENTIAL_RESULTS, *PURPOSES)),
        (riskd.Outcome, OUTCOMES),
        (riskd.SecurityEvent, (*EVENTS, *EVENT_WORDS)),
    ],
)
def test_help_says_which_words_a_field_takes(kind: type, words: tuple[str, ...]) -> None:
    """`help` of what a caller makes lists every word that its fields take."""
    assert set(words) <= set(re.findall(r"\w+", inspect.getdoc(kind) or ""))


def test_a_text_log_says_what_happened() -> None:
    """What an embedded engine logs of warnings and worse says more than its event's name: the program around it may
    log text, which has none of the fields."""
    modules = [path for path in CODE.rglob("*.py") if path.relative_to(CODE).parts[0] not in ELSEWHERE]
    texts = {path: text for path in modules if "_LOG." in (text := path.read_text())}
    bare = [
        f"{path.relative_to(CODE)}:{node.lineno}"
        for path, text in texts.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("_LOG.warning", "_LOG.error", "_LOG.critical")
        and "exc_info" not in [keyword.arg for keyword in node.keywords]
        and not re.match(r"'\w+: .*%s|_NO_THREAD$", ast.unparse(node.args[0]))
    ]
    assert bare == []
