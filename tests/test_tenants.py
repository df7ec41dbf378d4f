"""A tenant leaves: everything of it goes, and nothing of the others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from riskd.adapters.lmdb_store import LmdbStore, beside
from riskd.config import Settings, load
from riskd.core.attempt import EVENTS, OUTCOMES, Outcome, SecurityEvent
from riskd.core.errors import InvalidFile, InvalidSettings, Unavailable
from riskd.core.stored import NOBODY
from riskd.ports import HistoryStore
from riskd.progress import ignore_progress
from riskd.rotation import rotate
from riskd.stores import open_store
from riskd.tenants import Erased, erase
from riskd.wiring import open_archive
from tests.cases.world import attempt
from tests.decision_log import read_segments
from tests.office import PAYEE, Office
from tests.redis_servers import RedisServer, running

PEPPER = "pepper of the golden cases"
STAYS, LEAVES = "acme", 'umb"rella å'
steps = st.lists(
    st.fixed_dictionaries(
        {
            "tenant": st.sampled_from([STAYS, LEAVES]),
            "subject": st.sampled_from(["anne", "bert"]),
            "with": st.sampled_from(["laptop", "phone"]),
            "from": st.sampled_from(["home", "mobile"]),
            "journey": st.sampled_from(["login", "payment"]),
            "kind": st.sampled_from(OUTCOMES),
            "event": st.sampled_from(["", "", *EVENTS]),
        }
    ),
    min_size=1,
    max_size=6,
)
SCRIPT = [
    {
        "tenant": tenant,
        "subject": "anne",
        "with": "laptop",
        "from": "home",
        "journey": "login",
        "kind": kind,
        "event": "",
    }
    for kind in ("challenge_passed", "confirmed_legitimate")
    for tenant in (STAYS, LEAVES)
]


def settings_in(folder: Path, **given: str) -> Settings:
    """The settings of a service whose pepper is that of the tests."""
    (folder / "pepper").write_text(f"{PEPPER}\n")
    (folder / "pepper").chmod(0o600)
    usual = {"state.dir": str(folder), "log.dir": str(folder / "log"), "store.kind": "lmdb"}
    return load(None, {}, usual | given)


def live(folder: Path, store: HistoryStore, script: Sequence[Mapping[str, str]], only: str = "") -> dict[bytes, bytes]:
    """Attempts, outcomes and security events, of one tenant or of all, a minute apart. Returns what they left."""
    office = Office(folder, store)
    for number, step in enumerate(script):
        office.now += 60.0
        tenant, subject = step["tenant"], step["subject"]
        if only not in ("", tenant):
            continue
        words = {key: step[key] for key in ("tenant", "subject", "with", "from", "journey")}
        answer = office.engine.assess(attempt({**words, "attributes": PAYEE, "request_id": str(number)}), 10.0)
        office.engine.record(Outcome(assessment_id=answer.id, kind=step["kind"], tenant=tenant), 10.0)
        if kind := step["event"]:
            level = "high" if kind == "risk_level_change" else ""
            typed = "password" if kind.startswith("credential") else ""
            issuer = "https://idp.example"
            event = SecurityEvent(
                tenant=tenant, domain="customer", subject=subject, issuer=issuer, kind=kind, level=level,
                credential_type=typed,
            )  # fmt: skip
            office.engine.record_event(event, 10.0)
    office.log.close()
    return office.records()


def left(settings: Settings) -> dict[bytes, bytes]:
    """What is in the store of these settings, but for what it notes about itself."""
    with closing(open_store(settings)) as store:
        keys = [key for key in store.walk(b"", 10_000)[0] if not key.startswith(NOBODY)]
        return {key: record for key, record in zip(keys, store.load(keys), strict=True) if record}


def lines(settings: Settings, tenant: str) -> int:
    return sum(json.loads(line)["tenant"] == tenant for line in read_segments(Path(settings.log.dir)))


def erased(settings: Settings, tenant: str = LEAVES) -> Erased:
    return erase(settings, tenant, ignore_progress)


def compact(settings: Settings) -> None:
    assert open_archive(settings).compact({}, Event()) is not None


@limits(max_examples=12)
@given(steps)
def test_a_tenant_that_left_leaves_nothing_and_others_keep_everything(script: list[dict[str, str]]) -> None:
    """After a tenant is erased, the store is byte for byte as if it had never been there, and so are the lines of the
    log after the next compaction, for tenants with the same people, devices, addresses and values."""
    with TemporaryDirectory() as name:
        folder, alone = Path(name), Path(name) / "alone"
        settings = settings_in(folder)
        with closing(LmdbStore(Path(settings.store.path), 64 << 20)) as store:
            live(folder, store, script)
        with closing(LmdbStore(alone / "store", 64 << 20)) as store:
            expected = live(alone, store, script, STAYS)
        ours, theirs = lines(settings, STAYS), lines(settings, LEAVES)
        if not theirs:
            return
        done = erased(settings)
        compact(settings)
        assert left(settings) == expected
        assert (done.lines, done.unread) == (theirs, 0)
        assert (lines(settings, STAYS), lines(settings, LEAVES)) == (ours, 0)


@pytest.fixture(params=["lmdb", "redis"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """The settings of a service with two tenants that have lived a while."""
    if request.param == "lmdb":
        made = settings_in(tmp_path)
        with closing(open_store(made)) as store:
            live(tmp_path, store, SCRIPT)
        yield made
        return
    server = RedisServer(tmp_path / "redis")
    with running(server):
        made = settings_in(tmp_path, **{"store.kind": "redis", "store.url": f"redis://127.0.0.1:{server.port}"})
        with closing(open_store(made)) as store:
            live(tmp_path, store, SCRIPT)
        yield made


def test_a_tenant_is_erased_after_a_rotation(settings: Settings) -> None:
    """The log's lines have the pseudonyms of before a rotation, and lead to the records of after it."""
    rotate(settings, lambda _: None, lambda _: None)
    for tenant in (STAYS, LEAVES):
        assert left(settings)
        assert erased(settings, tenant).unread == 0
    assert not left(settings)


def test_an_erasure_that_was_stopped_can_be_repeated(settings: Settings) -> None:
    """If the store fails in the middle, the log keeps its lines, by which the next run finds the rest."""

    def stop(_: int) -> None:
        raise Unavailable([])

    with pytest.raises(Unavailable):
        erase(settings, LEAVES, lambda *_: stop)
    compact(settings)
    assert lines(settings, LEAVES) > 0
    erased(settings)
    erased(settings, STAYS)
    assert not left(settings)


def test_an_unknown_tenant_is_refused(settings: Settings) -> None:
    """A name of which the log has nothing is a mistake, also if it is a part of another's; nothing is erased."""
    before = left(settings)
    for tenant in ("acm", "Acme", "customer"):
        with pytest.raises(InvalidFile, match=f"has no line of tenant '{tenant}'"):
            erased(settings, tenant)
    assert left(settings) == before


def test_lines_that_cannot_be_read_are_counted(settings: Settings) -> None:
    """Lines of another pepper, or of a version that this one does not know, leave the log, and are counted."""
    segment = next(Path(settings.log.dir).glob("*.jsonl"))
    theirs = [line for line in read_segments(Path(settings.log.dir)) if json.loads(line)["tenant"] == LEAVES]
    newer = theirs[0].replace(b'"login"', b'"levitation"')
    line = json.loads(theirs[0])
    line["facts"]["values"]["network"] = "AAAAAAAA"
    other = json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode()
    segment.write_bytes(segment.read_bytes() + newer + b"\n" + other + b"\n")
    done = erased(settings)
    assert (done.lines, done.unread) == (len(theirs) + 2, 2)
    compact(settings)
    assert lines(settings, LEAVES) == 0


def test_a_tenant_of_another_version_leaves_the_log(settings: Settings) -> None:
    """A tenant all of whose lines are of a version that this one does not know is no unknown one."""
    segment = next(Path(settings.log.dir).glob("*.jsonl"))
    (other,) = [line for line in read_segments(Path(settings.log.dir)) if json.loads(line)["tenant"] == LEAVES][:1]
    newer = other.replace(json.dumps(LEAVES, ensure_ascii=False).encode(), b'"newco"')
    segment.write_bytes(segment.read_bytes() + newer.replace(b'"login"', b'"levitation"') + b"\n")
    done = erased(settings, "newco")
    assert (done.lines, done.records, done.unread) == (1, {}, 1)
    compact(settings)
    assert lines(settings, "newco") == 0


def test_no_tenant_is_erased_while_histories_are_rebuilt(settings: Settings) -> None:
    """A rebuild would bring back what was erased."""
    beside(Path(settings.store.path)).mkdir(parents=True)
    with pytest.raises(InvalidSettings, match="being rebuilt"):
        erased(settings)
