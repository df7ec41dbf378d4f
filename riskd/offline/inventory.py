"""Finds out what riskd stores about whom, by running an engine, recording every write, and withholding parts of reads.

There is no list of tables here. Every row was observed: which record was written and for how long, which event changed
what in it, and which features came out differently without it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from riskd.adapters.memory import MemoryStore
from riskd.adapters.null import NullMeter
from riskd.adapters.user_agent import AgentParser
from riskd.core import record
from riskd.core.address import Address
from riskd.core.assess import Release
from riskd.core.assessment import Assessment
from riskd.core.attempt import (
    EVENTS,
    JOURNEYS,
    OUTCOMES,
    Attempt,
    Behaviour,
    Device,
    Federation,
    Network,
    Outcome,
    SecurityEvent,
    Session,
)
from riskd.core.context import Located, Missing, Place, Route
from riskd.core.counters import COUNTED
from riskd.core.features import NAMES
from riskd.core.history import DAY, WEEK, Delta, History
from riskd.core.pseudonym import Pseudonyms
from riskd.core.recall import KINDS
from riskd.core.stored import PLACE, Swap
from riskd.engine import Engine
from riskd.ports import Parts

ATTEMPT: Final = "attempt"
"""The event that every assessment is. The other events are outcomes and security events."""
NOW: Final = 1_800_007_200.0
"""A Friday, 10:00 UTC. Any time would do; a fixed one makes the page reproducible."""
_WEEKS: Final = 6
_OTHERS: Final = 40
"""How many other people sign in: with fewer than 30 in a domain, no value counts as rare."""
_HOME, _AWAY, _NOWHERE = "192.0.2.7", "198.51.100.9", "203.0.113.11"
_FIREFOX: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
_SAFARI: Final = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Mobile/15E148 Safari/604.1"
)
_LAPTOP: Final = Device(
    user_agent=_FIREFOX,
    device_id="laptop",
    fingerprint="f1",
    screen="1920x1080",
    languages=("en-GB",),
    timezone="Europe/London",
)
_PHONE: Final = Device(
    user_agent=_SAFARI,
    device_id="phone",
    fingerprint="f2",
    screen="390x844",
    languages=("es-ES",),
    timezone="Europe/Madrid",
)
_LOGIN: Final = Attempt(
    domain="customer",
    subject="kim",
    journey="login",
    network=Network(client_ip=_HOME),
    request_id="first",
    credential_result="succeeded",
    device=_LAPTOP,
    behaviour=Behaviour(typing_intervals_ms=(110.0, 95.0, 130.0, 105.0, 120.0, 98.0, 111.0, 127.0)),
    federation=Federation(issuer="https://id.example", protocol="oidc"),
    attributes={"attribute": "value"},
)
_PROOF: Final = Session(authentication_time=NOW - 60, acr="phrh", amr=("hwk",))
_STRANGER: Final = replace(_LOGIN, network=Network(client_ip=_AWAY), device=_PHONE, request_id="")
_PROBATION: Final = replace(_LOGIN, device=replace(_LAPTOP, device_id="tablet"), session=_PROOF, request_id="")
"""An attempt on a device that the account does not know; it meets what is required."""
_PLACELESS: Final = replace(_LOGIN, subject="robin", network=Network(client_ip=_NOWHERE), request_id="")
_OUTCOMES: Final = tuple(
    Outcome(assessment_id="", kind=kind, amr=("hwk",) if kind == "challenge_passed" else ()) for kind in OUTCOMES
)
_TOLD: Final = tuple(
    SecurityEvent(
        domain=_LOGIN.domain,
        subject=_LOGIN.subject,
        kind=kind,
        level="high" if kind == "risk_level_change" else "",
        credential_type="password" if kind.startswith("credential") else "",
        hijacked=kind == "account_disabled",
    )
    for kind in EVENTS
)


class Content(Struct, frozen=True, order=True):
    """One item in a record: a `count` table, the newest `moments` of a kind, a `distinct` sketch, or the whole record,
    a `document`."""

    form: str
    name: str


class Kept(Struct, frozen=True, kw_only=True):
    """What is kept in one record of an entity. `seconds`: the shortest and the longest lifetime that it was given."""

    entity: str
    kind: str
    seconds: tuple[float, float]
    contents: dict[Content, tuple[str, ...]]
    """The record's items, and which events change each; `-event` means that the event takes back."""
    readers: dict[Content, tuple[str, ...]]
    """The features and counts that came out differently without the item."""


class _Names(Pseudonyms):
    """Pseudonyms that remember what kind of value each stands for."""

    def __init__(self) -> None:
        super().__init__(b"of nobody, for the page of what is kept")
        self.of: dict[bytes, str] = {}

    def digest(self, tenant: str, domain: str, kind: str, value: str) -> bytes:
        pseudonym = super().digest(tenant, domain, kind, value)
        self.of[pseudonym] = self.of[pseudonym[:PLACE]] = kind
        return pseudonym

    def owner(self, key: bytes) -> tuple[str, str]:
        """The entity and kind of a record."""
        entity = self.of.get(key[:-1]) or self.of.get(key[:PLACE], "unknown")
        return entity, KINDS.get(key[-1:], repr(key[-1:]))


class _Store(MemoryStore):
    """A store that records writes, and withholds one item from reads."""

    def __init__(self, names: _Names) -> None:
        super().__init__()
        self.names = names
        self.written: list[tuple[Delta | Swap, float]] = []
        self.saved: dict[bytes, bytes] = {}
        self.withheld: tuple[tuple[str, str], Content] | None = None

    def write(self, deltas: Sequence[Delta], swaps: Sequence[Swap], now: float, timeout: float) -> bool:
        self.written += [(delta, now) for delta in deltas]
        self.written += [(swap, now) for swap in swaps]
        return super().write(deltas, swaps, now, timeout)

    def save(self) -> None:
        """Save a copy of all records."""
        self.saved = dict(self._records)

    def restore(self) -> None:
        """Restore the saved copy."""
        self._records = dict(self.saved)

    def read(
        self, histories: Sequence[bytes], documents: Sequence[bytes], now: float, timeout: float
    ) -> tuple[list[History], list[bytes | None]]:
        read, contents = super().read(histories, documents, now, timeout)
        if self.withheld is None:
            return read, contents
        owner, content = self.withheld
        owners = [self.names.owner(key) for key in histories]
        return [_without(one, content) if of == owner else one for one, of in zip(read, owners, strict=True)], contents


def _without(history: History, content: Content) -> History:
    if content.form == "count":
        return replace(history, tallies=replace(history.tallies, **{content.name: None}))
    field = "marks" if content.form == "moments" else "sketches"
    rest = {name: value for name, value in getattr(history, field).items() if name != content.name}
    return replace(history, **{field: rest})


class _TwoPlaces:
    """Two places: home, and one for every other address that has a place."""

    def locate(self, address: Address, time: float) -> Located:
        if address.text == _HOME:
            return Place("GB", 51.5, -0.1, 20.0, timezone="Europe/London", utc_offset_min=0), Route(64500, "Home"), ()
        if address.text == _NOWHERE:
            return Missing("place", "not_found"), Route(64502, "Nowhere"), ()
        return Place("ES", 40.4, -3.7, 20.0, timezone="Europe/Madrid", utc_offset_min=60), Route(64501, "Away"), ()

    def offset(self, timezone: str, time: float) -> int | None:
        return 0 if timezone == "Europe/London" else 60


class _Log:
    """A decision log that keeps only its last line."""

    line = b""

    def append(self, record: bytes) -> bool:
        self.line = record
        return True

    def close(self) -> None:
        """Nothing to close."""


class _Watch:
    """An engine with its clock and its observed store."""

    agents = AgentParser()

    def __init__(self, release: Release) -> None:
        self.names, self.log, self.now = _Names(), _Log(), NOW
        self.store = _Store(self.names)
        parts = Parts(
            store=self.store,
            geo=_TwoPlaces(),
            agents=self.agents,
            log=self.log,
            meter=NullMeter(),
            pseudonyms=self.names,
            clock=lambda: self.now,
            attributes=frozenset(_LOGIN.attributes),
        )
        self.engine = Engine(parts, release)

    def assess(self, attempt: Attempt) -> Assessment:
        return self.engine.assess(attempt, 60.0)

    def tell(self, answer: Assessment, outcome: Outcome) -> None:
        self.engine.record(replace(outcome, assessment_id=answer.id), 60.0)

    def vector(self, attempt: Attempt) -> dict[str, float | None]:
        """The features and counts of an attempt, for comparing."""
        self.assess(attempt)
        line = record.decode(self.log.line)
        assert isinstance(line, record.AssessmentRecord)
        counts = {COUNTED + name: value for name, value in line.facts.counted.items()}
        return {**dict(zip(NAMES, line.vector, strict=True)), **counts}


def inventory(release: Release) -> list[Kept]:
    """Every record that an engine stores, in the order in which each was first written. The release gets a counter."""
    policy = replace(release.policies[_LOGIN.domain], counters=tuple(_LOGIN.attributes))
    release = replace(release, policies={**release.policies, _LOGIN.domain: policy})
    events = _changes(release)
    readers = _readers(release, [(owner, content) for owner, contents in events.items() for content in contents[1]])
    return [
        Kept(
            entity=owner[0],
            kind=owner[1],
            seconds=(min(lives), max(lives)),
            contents={content: tuple(dict.fromkeys(by)) for content, by in contents.items()},
            readers={content: tuple(readers[owner, content]) for content in contents},
        )
        for owner, (lives, contents) in events.items()
    ]


_Owner = tuple[str, str]
_Seen = dict[_Owner, tuple[list[float], dict[Content, list[str]]]]


def _changes(release: Release) -> _Seen:
    """The lifetimes and contents of every record, found by making every kind of attempt, outcome and event."""
    seen: _Seen = {}
    for journey in JOURNEYS:
        for result in ("succeeded", "failed"):
            watch = _Watch(release)
            watch.assess(replace(_LOGIN, journey=journey, credential_result=result))
            _note(watch, ATTEMPT, seen)
    for outcome, login in product(_OUTCOMES, (_LOGIN, _PLACELESS, _PROBATION)):
        watch = _Watch(release)
        if login is _PROBATION:
            watch.tell(watch.assess(_LOGIN), Outcome(assessment_id="", kind="confirmed_legitimate"))
            outcome = replace(outcome, amr=())  # noqa: PLW2901
        recovering = "recovery" in outcome.kind
        answer = watch.assess(replace(login, journey="recovery", session=_PROOF) if recovering else login)
        if outcome.kind == "confirmed_fraud":
            watch.tell(answer, Outcome(assessment_id="", kind="confirmed_legitimate"))
        watch.store.written.clear()
        watch.tell(answer, outcome)
        _note(watch, outcome.kind, seen)
    for event in (*_TOLD, replace(_TOLD[1], credential_type="x509")):
        watch = _Watch(release)
        watch.engine.record_event(event, 60.0)
        _note(watch, event.kind, seen)
    return seen


def _note(watch: _Watch, event: str, seen: _Seen) -> None:
    for change, now in watch.store.written:
        lives, contents = seen.setdefault(watch.names.owner(change.key), ([], {}))
        lives.append(change.expires - now)
        for content, taken in _contents(change):
            contents.setdefault(content, []).append(f"-{event}" if taken else event)


def _contents(change: Delta | Swap) -> Iterator[tuple[Content, bool]]:
    """The items that a change touches, and whether it takes back."""
    if isinstance(change, Swap):
        yield Content("document", ""), False
        return
    for table, _, n in change.counts:
        yield Content("count", table), n < 0
    for kind, _ in change.marks:
        yield Content("moments", kind), change.undo
    for sketch, _ in change.seen:
        yield Content("distinct", sketch), False


def _readers(release: Release, wanted: Sequence[tuple[_Owner, Content]]) -> dict[tuple[_Owner, Content], list[str]]:
    """The features and counts that differ when one item is withheld, for an attempt at home, away, and during an
    attack."""
    watch = _used(release)
    attempts = [
        replace(_LOGIN, request_id=""),
        _STRANGER,
        replace(_STRANGER, device=_LAPTOP),
        replace(_LOGIN, device=_PHONE, request_id="", journey="payment"),
        _PLACELESS,
    ]
    readers: dict[tuple[_Owner, Content], list[str]] = defaultdict(list)
    usual: dict[str, float | None] = {}
    watch.store.save()
    for attempt in attempts:
        usual = watch.vector(attempt)
        for owner, content in wanted:
            watch.store.restore()
            watch.store.withheld = (owner, content) if content.form != "document" else None
            differs = watch.vector(attempt)
            readers[owner, content] += [
                name for name in usual if differs[name] != usual[name] and name not in readers[owner, content]
            ]
        watch.store.withheld = None
        watch.store.restore()
    order = list(usual)
    return {key: sorted(names, key=order.index) for key, names in readers.items()}


def _used(release: Release) -> _Watch:
    """An engine after weeks of sign-ins by one person and others, a recovery, security events, password guesses, and
    challenges that nobody met."""
    watch = _Watch(release)
    legitimate = Outcome(assessment_id="", kind="confirmed_legitimate")
    others = [replace(_STRANGER if n % 2 else _LOGIN, subject=f"other {n}", request_id="") for n in range(_OTHERS)]
    for week in range(_WEEKS, 0, -1):
        watch.now = NOW - week * WEEK
        for attempt in (_LOGIN, _PLACELESS, *others[week::_WEEKS]):
            watch.tell(watch.assess(replace(attempt, request_id="")), legitimate)
    watch.now = NOW - DAY / 12
    for journey in JOURNEYS:
        answer = watch.assess(replace(_LOGIN, request_id="", journey=journey))
        if journey == "recovery":
            watch.tell(answer, Outcome(assessment_id="", kind="recovery_completed"))
    for event in _TOLD[:2]:
        watch.engine.record_event(event, 60.0)
    watch.now = NOW - 300
    for attempt in (_LOGIN, _STRANGER, replace(_LOGIN, subject="mark"), replace(_STRANGER, subject="mary")):
        answer = watch.assess(replace(attempt, request_id="", credential_result="failed"))
        watch.tell(answer, Outcome(assessment_id="", kind="challenge_abandoned"))
    watch.now = NOW
    return watch
