"""`riskd import`: histories as if the service had seen the sign-ins, each record used once, and every record accounted
for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from msgspec import Struct

from riskd.adapters.memory import MemoryStore
from riskd.adapters.null import NullLog
from riskd.core import record
from riskd.core.assess import Release
from riskd.core.attempt import Attempt, Device, Network, Outcome
from riskd.core.errors import InvalidFile, Problem, Unavailable
from riskd.core.history import DAY, EMPTY, HOUR, PROFILE_SECONDS, WEEK, Delta, History, lapse
from riskd.core.learn import UNITS
from riskd.core.recall import ACTIVITY, COMMON, IMPORT, PROFILE
from riskd.core.stored import Swap, history
from riskd.engine import Engine
from riskd.offline.importers import SOURCES
from riskd.offline.importers.event import Event
from riskd.offline.importers.learner import WINDOW, Learner, Scope
from riskd.offline.importers.run import BATCH, Import, Options, Summary
from riskd.ports import HistoryStore
from tests.bench import parts, trusting
from tests.cases.world import NOW, WORLD, TableGeo
from tests.doubles import ListLog
from tests.shipped import shipped_release

GEO: Final = TableGeo({})
HOMES: Final = [place["ip"] for place in WORLD["from"].values() if "route" in place]
SCOPE: Final = Scope(domain="customer", subject="id")
ALL: Final = Options()
AGENT: Final = WORLD["with"]["laptop"]["user_agent"]


class Past(Struct, frozen=True, kw_only=True):
    """One sign-in: subject, time, address and result."""

    time: float
    who: str
    address: str = HOMES[0]
    agent: str = AGENT
    came: str = "password"
    """password, key, wrong (password), failed (challenge), fraud (discovered later)."""


EVERY_WAY: Final = ("password", "password", "password", "key", "wrong", "failed", "fraud")
PEOPLE: Final = 5
STATUS: Final = {"wrong": 50126, "failed": 500121}
OUTCOMES: Final = {
    "password": "challenge_passed",
    "key": "challenge_passed",
    "failed": "challenge_failed",
    "fraud": "confirmed_fraud",
}


def exported(past: Past) -> str:
    """The sign-in as a record of Entra."""
    method = "FIDO2" if past.came == "key" else "Password"
    return json.dumps(
        {
            "createdDateTime": datetime.fromtimestamp(past.time, UTC).isoformat(),
            "userId": past.who,
            "ipAddress": past.address,
            "userAgent": past.agent,
            "isInteractive": True,
            "riskState": "confirmedCompromised" if past.came == "fraud" else "none",
            "authenticationDetails": [{"authenticationMethod": method, "succeeded": True}],
            "status": {"errorCode": STATUS.get(past.came, 0)},
        }
    )


def lived(engine: Engine, clock: list[float], past: Past) -> None:
    """The sign-in as the service would have seen it: the attempt, then its outcome."""
    clock[0] = past.time
    answer = engine.assess(
        Attempt(
            domain="customer",
            subject=past.who,
            journey="login",
            credential_result="failed" if past.came == "wrong" else "succeeded",
            network=Network(client_ip=past.address),
            device=Device(user_agent=past.agent),
        ),
        10.0,
    )
    if kind := OUTCOMES.get(past.came):
        amr = ("hwk", "pin", "mfa") if past.came == "key" else ()
        engine.record(Outcome(assessment_id=answer.id, kind=kind, amr=amr), 10.0)


@pytest.fixture(scope="module")
def release() -> Release:
    return shipped_release()


def engine(
    release: Release, store: HistoryStore, clock: Sequence[float] = (NOW,), log: ListLog | None = None
) -> Engine:
    made = parts(
        store=store,
        geo=GEO,
        log=log or NullLog(),
        clock=lambda: clock[0],
    )
    return Engine(made, release)


def written(path: Path, pasts: Sequence[Past], *more: str) -> str:
    """The path of an export with these sign-ins."""
    path.write_text("".join(line + "\n" for line in (*map(exported, pasts), *more)), encoding="utf-8")
    return str(path)


def imported(engine: Engine, file: str, options: Options = ALL, scope: Scope = SCOPE, source: str = "entra") -> Summary:
    return Import(engine, SOURCES[source], scope, options).run(file, lambda _bytes, _records: None)


def learned(store: MemoryStore, *kinds: bytes) -> dict[bytes, History]:
    """All histories of these kinds."""
    wanted = kinds or (PROFILE, COMMON)
    found = {key: history(kept, NOW) for key, kept in store._records.items() if key[-1:] in wanted}
    return {key: kept for key, kept in found.items() if kept != EMPTY}


def life(count: int = 150, came: tuple[str, ...] = EVERY_WAY) -> list[Past]:
    """Sign-ins of a few people over twenty weeks from a few places, with every kind of result."""
    random = Random(4)
    times = sorted([NOW - 20 * WEEK * random.random() ** 3 - 60 for _ in range(count)])
    return [
        Past(
            time=round(time, 3),
            who=f"person {random.randrange(PEOPLE)}",
            address=random.choice(HOMES[:3]),
            came=random.choice(came),
        )
        for time in times
    ]


def vectors(release: Release, store: MemoryStore) -> list[tuple[float | None, ...]]:
    """The feature vector of each person's next sign-in from each place."""
    log = ListLog()
    asked = engine(release, store, log=log)
    for number in range(PEOPLE):
        for address in HOMES[:3]:
            attempt = Attempt(
                domain="customer",
                subject=f"person {number}",
                journey="login",
                network=Network(client_ip=address),
                device=Device(user_agent=AGENT),
            )
            asked.assess(attempt, 10.0)
    records = [record.decode(line) for line in log.lines]
    return [entry.vector for entry in records if isinstance(entry, record.AssessmentRecord)]


@pytest.mark.parametrize("trusted", [(), HOMES[:1]], ids=["no trusted network", "one of the homes is trusted"])
def test_an_import_gives_the_histories_of_live_traffic(
    release: Release, tmp_path: Path, trusted: Sequence[str]
) -> None:
    """Imported profiles equal those that live assessments and outcomes would have made, and so do the next feature
    vectors."""
    release = trusting(release, *trusted)
    pasts, clock = life(), [NOW]
    there, later = MemoryStore(), MemoryStore()
    live = engine(release, there, clock)
    for past in pasts:
        lived(live, clock, past)

    summary = imported(engine(release, later), written(tmp_path / "export", pasts))

    assert summary.tally.used.keys() >= {"session_established", "challenge_passed", "failed"}
    assert learned(later) == learned(there)
    assert len(learned(later)) > 10
    assert vectors(release, later) == vectors(release, there)


def test_the_order_of_a_file_does_not_matter(release: Release, tmp_path: Path) -> None:
    """The order of records does not affect any history, but for counts that no feature reads any more."""
    pasts, stores = life(), []
    for order in (pasts, pasts[::-1], Random(1).sample(pasts, len(pasts))):
        stores.append(MemoryStore())
        imported(engine(release, stores[-1]), written(tmp_path / "export", order))

    first, *others = [learned(store, PROFILE, COMMON, ACTIVITY) for store in stores]
    for histories in (first, *others):
        for kept in histories.values():
            lapse(kept.tallies, NOW)
    assert others == [first, first]


class Dying(MemoryStore):
    """A store that fails at one write, before or after doing it."""

    def __init__(self, at: int, *, after: bool) -> None:
        super().__init__()
        self._at, self._after = at, after

    def write(self, deltas: Sequence[Delta], swaps: Sequence[Swap], now: float, timeout: float) -> bool:
        """As `MemoryStore`, except for that write."""
        self._at -= 1
        if self._at == 0 and not self._after:
            raise Unavailable([Problem("store", "down", "wait")])
        done = super().write(deltas, swaps, now, timeout)
        if self._at == 0:
            raise Unavailable([Problem("store", "no answer", "wait")])
        return done


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_stopped_import_resumes(release: Release, tmp_path: Path, at: int, *, after: bool) -> None:
    """After a stop at any point, the next run continues without repeating or missing a record."""
    pasts = life(200, ("password",))
    file, whole, broken = written(tmp_path / "export", pasts), MemoryStore(), Dying(at, after=after)
    imported(engine(release, whole), file)

    with pytest.raises(Unavailable):
        imported(engine(release, broken), file)
    summary = imported(engine(release, broken), file)

    assert summary.resumed_at == BATCH * max(at - 1 if after else at - 2, 0), "the first write is an empty bookmark"
    assert summary.tally.read == len(pasts)
    assert learned(broken, PROFILE, COMMON, ACTIVITY) == learned(whole, PROFILE, COMMON, ACTIVITY)


class DyingCluster(Dying):
    """A cluster whose client dies between the places of one write: after a document that is replaced, or, if a document
    is new, possibly after everything else."""

    def write(self, deltas: Sequence[Delta], swaps: Sequence[Swap], now: float, timeout: float) -> bool:
        """As `Dying`, except for that write."""
        self._at -= 1
        if self._at:
            return MemoryStore.write(self, deltas, swaps, now, timeout)
        if any(swap.expected is not None for swap in swaps):
            MemoryStore.write(self, (), swaps, now, timeout)
        else:
            MemoryStore.write(self, deltas, (), now, timeout)
        raise Unavailable([Problem("store", "no answer", "wait")])


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_an_import_that_stops_in_a_cluster_teaches_nothing_twice(release: Release, tmp_path: Path, at: int) -> None:
    """An import that stops between the places of a cluster resumes; at most one batch is lost, and nothing is taught
    twice."""

    def units(store: MemoryStore) -> int:
        signed_in = (kept.tallies.of("sign_in") for kept in learned(store, PROFILE).values())
        return sum(sum(tallies[""][1:]) for tallies in signed_in if tallies)

    pasts = life(200, ("password",))
    file, whole, broken = written(tmp_path / "export", pasts), MemoryStore(), DyingCluster(at, after=True)
    imported(engine(release, whole), file)
    with pytest.raises(Unavailable):
        imported(engine(release, broken), file)
    imported(engine(release, broken), file)
    per_event = units(whole) / len(pasts)
    assert units(whole) - BATCH * per_event <= units(broken) <= units(whole)


def test_an_import_with_limits_can_be_done_in_steps(release: Release, tmp_path: Path) -> None:
    """Importing in steps with `--limit` gives the same result."""
    file, whole, steps = written(tmp_path / "export", life()), MemoryStore(), MemoryStore()
    imported(engine(release, whole), file)
    sizes = []
    for _ in range(5):
        summary = imported(engine(release, steps), file, Options(limit=40))
        sizes.append((summary.records, summary.complete))

    assert sizes == [(40, False), (40, False), (40, False), (30, True), (0, True)]
    assert learned(steps) == learned(whole)


def test_only_new_records_of_a_grown_file_are_imported(release: Release, tmp_path: Path) -> None:
    """If a file has grown, only its new records are imported."""
    pasts, whole, grown = life(), MemoryStore(), MemoryStore()
    imported(engine(release, whole), written(tmp_path / "export", pasts))
    imported(engine(release, grown), written(tmp_path / "log", pasts[:100]))
    summary = imported(engine(release, grown), written(tmp_path / "renamed", pasts))

    assert (summary.resumed_at, summary.records) == (100, 50)
    assert learned(grown) == learned(whole)


@pytest.mark.parametrize("form", ["lines", "array"])
@pytest.mark.parametrize("cut", [1, 40, 41])
def test_a_truncated_record_is_imported_once_it_is_complete(
    release: Release, tmp_path: Path, form: str, cut: int
) -> None:
    """A truncated last record is reported, and imported once the file is complete."""
    lines = [exported(past) for past in life(20)]
    text = "\n".join(lines) if form == "lines" else f"[{','.join(lines)}]"
    file, store, whole = tmp_path / "export", MemoryStore(), MemoryStore()
    file.write_text(text[:-cut])
    assert imported(engine(release, store), str(file)).tally.unreadable.records == 1
    file.write_text(text)
    summary = imported(engine(release, store), str(file))

    assert imported(engine(release, whole), str(file)).tally == summary.tally
    assert 0 < summary.resumed_at < 20 or (form, cut) == ("array", 1)
    assert learned(store, PROFILE, COMMON, ACTIVITY) == learned(whole, PROFILE, COMMON, ACTIVITY)


def test_a_file_that_only_begins_alike_is_refused(release: Release, tmp_path: Path) -> None:
    """A file that differs from the imported one is refused; `--from-start` imports all of it."""
    pasts, store = life(), MemoryStore()
    imported(engine(release, store), written(tmp_path / "export", pasts))
    changed = written(tmp_path / "changed", [*pasts[:60], *pasts[61:], pasts[0]])
    shorter = written(tmp_path / "shorter", pasts[:60])

    with pytest.raises(InvalidFile, match="differs from it within its first 150 records"):
        imported(engine(release, store), changed)
    with pytest.raises(InvalidFile, match="ends after 60 records, where 150 were imported"):
        imported(engine(release, store), shorter)
    assert imported(engine(release, store), shorter, Options(from_start=True)).records == 60


@pytest.mark.parametrize(
    "damage",
    [b"\xff", b"\x83\xa7records\x01\xa5chain\xc4\x00\xa5tally\x81\xa4used\x81\xa1\xff\x01"],
    ids=["truncated", "not UTF-8"],
)
def test_a_damaged_bookmark_is_reported(release: Release, tmp_path: Path, damage: bytes) -> None:
    """A damaged bookmark is reported with a remedy: `--from-start`."""
    store, file = MemoryStore(), written(tmp_path / "export", life(20))
    imported(engine(release, store), file)
    key = next(key for key in store.walk(b"", 100_000)[0] if key.endswith(IMPORT))
    _, (mark,) = store.read((), (key,), NOW, 1.0)
    assert store.write((), (Swap(key, mark, damage, 2e9),), NOW, 1.0)

    with pytest.raises(InvalidFile, match="bookmark in the store is damaged"):
        imported(engine(release, store), file)
    assert imported(engine(release, store), file, Options(from_start=True)).records > 0


def test_a_file_can_be_imported_for_another_tenant(release: Release, tmp_path: Path) -> None:
    """The same file can be imported for another tenant, domain or subject field."""
    file, store = written(tmp_path / "export", life(5)), MemoryStore()
    scopes = [SCOPE, Scope(domain="workforce", subject="id"), Scope(domain="customer", tenant="t", subject="id")]
    assert [imported(engine(release, store), file, scope=scope).records for scope in scopes] == [5, 5, 5]
    assert [imported(engine(release, store), file, scope=scope).records for scope in scopes] == [0, 0, 0]


def test_two_imports_of_a_file_at_once_are_one_too_many(release: Release, tmp_path: Path) -> None:
    """Of two concurrent imports of a file one stops, and nothing is taught twice."""
    file, store, alone = written(tmp_path / "export", life(300, ("password",))), MemoryStore(), MemoryStore()
    imported(engine(release, alone), file)
    finished: list[Summary] = []

    def meanwhile(_position: int, _records: int) -> None:
        finished.append(imported(engine(release, store), file))

    with pytest.raises(Unavailable, match="another process is importing the same file"):
        Import(engine(release, store), SOURCES["entra"], SCOPE, ALL).run(file, meanwhile)
    assert [summary.resumed_at for summary in finished] == [256]
    assert learned(store) == learned(alone)


def test_a_trial_changes_nothing(release: Release, tmp_path: Path) -> None:
    """A dry run counts like an import, and writes nothing."""
    file, store = written(tmp_path / "export", life()), MemoryStore()
    trial = imported(engine(release, store), file, Options(dry_run=True))
    assert store.size() == (0, 0)
    assert imported(engine(release, store), file).tally == trial.tally


def test_fraud_teaches_nothing(release: Release, tmp_path: Path) -> None:
    """Fraud and failures teach nothing; failures only count while they are recent."""
    store = MemoryStore()
    bad = [Past(time=NOW - 2 * DAY, who="a", came=came) for came in ("fraud", "wrong", "failed")]
    summary = imported(engine(release, store), written(tmp_path / "old", bad))
    assert learned(store, PROFILE, COMMON, ACTIVITY) == {}
    assert summary.tally.skipped["too_old"].records == 3

    recent = [Past(time=NOW - HOUR, who="a", came="wrong")]
    imported(engine(release, store), written(tmp_path / "recent", recent))
    assert learned(store) == {}
    assert learned(store, ACTIVITY)


def test_records_that_no_history_keeps_are_skipped(release: Release, tmp_path: Path) -> None:
    """Records that are too old, in the future or invalid are skipped with reason and position."""
    pasts = [
        Past(time=NOW - PROFILE_SECONDS - 1, who="a"),
        Past(time=NOW - PROFILE_SECONDS + HOUR, who="a"),
        Past(time=NOW + HOUR, who="a"),
        Past(time=NOW - HOUR, who="a", address="not an address"),
        Past(time=NOW - HOUR, who="a" * 300),
        Past(time=NOW - 2 * WEEK, who="a"),
        Past(time=NOW - 1 * WEEK, who="a"),
    ]
    scope = Scope(domain="customer", subject="id", until=NOW - 1 * WEEK, since=NOW - 2 * PROFILE_SECONDS)
    tally = imported(engine(release, MemoryStore()), written(tmp_path / "export", pasts), scope=scope).tally
    assert tally.used == {"session_established": 2}
    assert {reason: count.examples for reason, count in tally.skipped.items()} == {
        "too_old": ((1, ""),),
        "outside_window": ((3, ""),),
    }
    assert tally.skipped["outside_window"].records == 4

    wide = imported(engine(release, MemoryStore()), written(tmp_path / "export", pasts)).tally
    assert wide.used == {"session_established": 3}
    assert wide.skipped["invalid"].examples == ((3, "time"), (4, "network.client_ip"), (5, "subject"))


def test_a_shift_moves_every_event(release: Release, tmp_path: Path) -> None:
    """With `--shift-weeks` an old data set teaches like a recent one."""
    past = [Past(time=NOW - 300 * WEEK, who="a")]
    moved, recent = MemoryStore(), MemoryStore()
    scope = Scope(domain="customer", subject="id", shift=299.0 * WEEK)
    imported(engine(release, moved), written(tmp_path / "old", past), scope=scope)
    imported(engine(release, recent), written(tmp_path / "new", [Past(time=NOW - WEEK, who="a")]))
    assert learned(moved) == learned(recent) != {}


def okta(kind: str, session: str, minutes: float, **debug: str) -> str:
    event: dict[str, Any] = {
        "published": datetime.fromtimestamp(NOW - minutes * 60, UTC).isoformat(),
        "eventType": kind,
        "actor": {"id": "a", "type": "User"},
        "client": {"ipAddress": HOMES[0]},
        "outcome": {"result": "SUCCESS"},
        "authenticationContext": {"externalSessionId": session},
        "debugContext": {"debugData": debug},
    }
    return json.dumps(event)


FACTOR: Final = {"factor": "FIDO_WEBAUTHN", "factorIntent": "LOGIN"}


def units(store: MemoryStore) -> int:
    """Units that the account was taught."""
    (profile,) = [kept for kept in learned(store, PROFILE).values() if kept.tallies.country]
    return sum((profile.tallies.sign_in or {})[""][1:])


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("limit", [None, 1])
def test_events_of_one_sign_in_teach_once(
    release: Release, tmp_path: Path, limit: int | None, *, newest_first: bool
) -> None:
    """A session and the factor that opened it are one sign-in: six units and one attempt, also across a restart."""
    events = [okta("user.authentication.auth_via_mfa", "s1", 2, **FACTOR), okta("user.session.start", "s1", 1)]
    file, store = tmp_path / "export", MemoryStore()
    file.write_text("\n".join(events[::-1] if newest_first else events), encoding="utf-8")
    for _ in events:
        imported(engine(release, store), str(file), Options(limit=limit), source="okta")

    assert units(store) == UNITS
    tried = [kept.tallies.attempt_day for kept in learned(store, ACTIVITY).values()]
    assert {sum(counted[""][1:]) for counted in tried if counted} == {1}


def test_two_sign_ins_teach_twice(release: Release, tmp_path: Path) -> None:
    """Two sessions are two sign-ins."""
    file, store = tmp_path / "export", MemoryStore()
    file.write_text("\n".join(okta("user.session.start", name, 1) for name in ("s1", "s2")), encoding="utf-8")
    imported(engine(release, store), str(file), source="okta")
    assert units(store) == 2


def test_damage_costs_only_itself(release: Release, tmp_path: Path) -> None:
    """Damaged records are counted with line and reason, and all others are used."""
    pasts, store = life(20), MemoryStore()
    file = written(tmp_path / "export", pasts, "{damaged", exported(Past(time=NOW - HOUR, who="last")))
    summary = imported(engine(release, store), file)
    assert summary.tally.read == 22
    assert [line for line, _ in summary.tally.unreadable.examples] == [21]


def test_a_sign_in_without_a_result_is_an_attempt(release: Release, tmp_path: Path) -> None:
    """The summary counts what was learned from by outcome; without one it was a failure, or no more than an attempt."""
    file = tmp_path / "export"
    rows = [
        {"type": kind, "date": datetime.fromtimestamp(NOW - HOUR, UTC).isoformat(), "user_id": "x", "ip": HOMES[0]}
        for kind in ("s", "fp", "pwd_leak", "scp")
    ]
    file.write_text(json.dumps(rows), encoding="utf-8")
    tally = imported(engine(release, MemoryStore()), str(file), source="auth0").tally
    assert tally.used == {"session_established": 1, "failed": 1, "attempt": 1, "recovery_completed": 1}


def test_the_summary_names_no_person(release: Release, tmp_path: Path) -> None:
    """The summary names no account, address or user agent, so that it can be shared."""
    pasts = [Past(time=NOW - HOUR, who="secret" * 60), Past(time=NOW - HOUR, who="secret", address="secret address")]
    tally = imported(engine(release, MemoryStore()), written(tmp_path / "export", pasts)).tally
    assert tally.skipped["invalid"].records == 2
    assert "secret" not in str(tally)


def test_an_example_commands_no_terminal(release: Release, tmp_path: Path) -> None:
    """Control characters from the file are removed from the summary."""
    file = tmp_path / "export"
    file.write_text(json.dumps({"eventType": "x\x1b[2Jy\n" + "z" * 500}), encoding="utf-8")
    tally = imported(engine(release, MemoryStore()), str(file), source="okta").tally
    assert tally.skipped["other_event"].examples == ((1, "x[2Jy" + "z" * 193),)


def test_a_file_that_is_not_there_is_refused(release: Release, tmp_path: Path) -> None:
    """A missing file is refused by name."""
    with pytest.raises(InvalidFile, match="No such file"):
        imported(engine(release, MemoryStore()), str(tmp_path / "nothing"))


@pytest.mark.parametrize("apart", [WINDOW, WINDOW + 1])
def test_what_is_far_from_the_beginning_of_its_sign_in_is_another_one(release: Release, apart: int) -> None:
    """A step belongs to a sign-in that began at most `WINDOW` records ago, also if no other sign-in came between."""
    learner = Learner(engine(release, MemoryStore()), SCOPE)
    event = Event(
        time=NOW - 60, subject="ann", address=HOMES[0], user_agent=AGENT, outcome="session_established", sign_in="s"
    )
    first, again = learner.deltas(event, 0, NOW), learner.deltas(event, apart, NOW)
    assert (again == first) == (apart > WINDOW)
