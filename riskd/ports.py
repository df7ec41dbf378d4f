"""The engine's dependencies: store, geo lookup, user agent parser, decision log and metrics as protocols, and `Parts`.

Implementations live in `adapters`; `wiring` chooses them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from msgspec import Struct

from riskd.core.address import Address
from riskd.core.assess import Decision
from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt, Outcome, SecurityEvent
from riskd.core.context import Agent, Located, Missing, Place
from riskd.core.errors import Problem, Unavailable
from riskd.core.history import Delta, History
from riskd.core.learn import Receipt
from riskd.core.pseudonym import Pseudonyms
from riskd.core.record import Record, encode
from riskd.core.stored import Change, Swap

PATIENCE: Final = 5.0
"""Default timeout in seconds, for work on a store for which no caller waits."""


class IncompleteRead(Unavailable):
    """Only some places could be read. `histories` and `documents` are as `HistoryStore.read` returns them, as if
    nothing were stored under the keys in `unread`."""

    def __init__(
        self,
        problems: Sequence[Problem],
        histories: list[History],
        documents: list[bytes | None],
        unread: frozenset[bytes],
    ) -> None:
        super().__init__(problems)
        self.histories = histories
        self.documents = documents
        self.unread = unread


class IncompleteWrite(Unavailable):
    """The swaps and the deltas of their place were applied; the deltas of some other places perhaps not."""


class HistoryStore(Protocol):
    """Histories and documents of all entities, shared by threads and processes.

    Every method returns within `timeout` seconds or raises `Unavailable`. It raises nothing else, unless the caller
    has a bug. Once `write` has returned True, its changes survive a crash of the process. A record is absent from
    the moment it expires: at `now == expires` it is gone.
    """

    swept: bytes
    """Where the next sweep begins; b'': at the beginning. A process that is given it goes on from there."""

    def read(
        self, histories: Sequence[bytes], documents: Sequence[bytes], now: float, timeout: float
    ) -> tuple[list[History], list[bytes | None]]:
        """The histories and the documents under these keys, in order. Where nothing is stored, or it has expired at
        `now`, a history is `EMPTY` and a document None.

        Records of one place (keys that share their first `stored.PLACE` bytes) are read atomically. Stores on one
        machine read all keys atomically; Redis reads each place atomically, and all places in one round trip. If only
        some masters of a cluster answer, it raises `IncompleteRead`, with what they have.
        """
        ...

    def write(self, deltas: Sequence[Delta], swaps: Sequence[Swap], now: float, timeout: float) -> bool:
        """Apply all deltas and swaps and return True; or, if a swap's document is not as expected, return False.

        All swaps share a place. A history expires at the latest `expires` of its deltas. An undo of an absent history
        changes nothing. Stores on one machine, and a single Redis server, apply all or nothing in every case.

        A Redis cluster is atomic only within a place. If a swap is refused there, deltas already applied in other
        places are undone (`history.inverse`: counts and marks, not sketches). A write that raises `Unavailable` may
        have changed some places and not others; it raises `IncompleteWrite` if it changed that of the swaps. If a swap
        replaces a document, its place is written first.
        """
        ...

    def held(self, place: bytes, now: float, limit: int) -> list[bytes]:
        """The first `limit` unexpired keys, in order, that begin with `place` (`stored.PLACE` bytes)."""
        ...

    def erase(self, keys: Sequence[bytes]) -> int:
        """Delete the records with these keys. Returns how many existed."""
        ...

    def walk(self, cursor: bytes, limit: int) -> tuple[list[bytes], bytes]:
        """About `limit` keys, and the cursor for the next call. b'' starts a walk; a returned b'' ends it.

        A key that exists throughout the walk is returned at least once; one that is added or removed meanwhile may be.
        """
        ...

    def load(self, keys: Sequence[bytes], timeout: float = PATIENCE) -> list[bytes | None]:
        """The records under these keys in stored form (see `stored`), expired ones included; None where absent."""
        ...

    def replace(self, changes: Sequence[Change], timeout: float = PATIENCE) -> bool:
        """Put or delete whole records and return True; or return False if one is not as expected.

        Each place changes as a whole or not at all; if the store is `atomic`, all places do.
        """
        ...

    def atomic(self) -> bool:
        """Whether several places change together: on one machine, and on a single Redis server. Otherwise see
        `riskd.transfer`."""
        ...

    def sweep(self, now: float, limit: int) -> int:
        """Check the next `limit` records, from `swept`, and delete the expired ones.

        Returns how many it deleted. Redis checks a place as one record. If it raises and has moved `swept`, the next
        call may succeed.
        """
        ...

    def size(self) -> tuple[int, int]:
        """Number of records and bytes used, as far as the store knows cheaply. Redis counts a place as one record."""
        ...

    def close(self) -> None:
        """Flush and release all resources. Idempotent."""
        ...


class GeoLookup(Protocol):
    """Facts about an address. Never raises; thread-safe."""

    def locate(self, address: Address, time: float) -> Located:
        """Place and route at `time` (epoch seconds, for the offset from UTC), and which of them are stale by then."""
        ...

    def offset(self, timezone: str, time: float) -> int | None:
        """Minutes east of UTC of an IANA timezone at `time`; None when unknown."""
        ...


class AgentParser(Protocol):
    """Facts about a user agent. Never raises; thread-safe."""

    def parse(self, user_agent: str, platform: str, mobile: bool | None) -> Agent | Missing:
        """Browser, operating system and device class, from the user agent and the client hints."""
        ...


class DecisionLog(Protocol):
    """The append-only log of assessments, outcomes and security events. Lines are appended before the answer leaves."""

    def append(self, record: bytes) -> bool:
        """Hand one JSON line (without newline) to the operating system. False if that failed."""
        ...

    def close(self) -> None:
        """Flush and release all resources. Idempotent."""
        ...


class LogArchive(Protocol):
    """The stored decision log, for a subject's rights. Raises only Unavailable, when it cannot be read or written."""

    def forget(self, subjects: Sequence[bytes]) -> float:
        """Schedule the erasure of every record of these pseudonyms that exists now.

        Returns its deadline in epoch seconds. Once it returns, the request survives a crash. Idempotent.
        """
        ...

    def find(self, subjects: Sequence[bytes], cursor: bytes, limit: int) -> tuple[list[bytes], bytes]:
        """Up to `limit` records of these pseudonyms, and the cursor for the next call. Takes about a second at most.

        The cursor b'' starts at the beginning; a returned b'' means the end. A page may be empty before the end.
        """
        ...


class Meter(Protocol):
    """The engine's metrics. No method may raise or block."""

    def stage(self, name: str, seconds: float) -> None:
        """One stage of a request took this long."""
        ...

    def answered(self, domain: str, journey: str, seconds: float) -> None:
        """An assessment took this long, from the attempt to the answer."""
        ...

    def assessed(
        self, attempt: Attempt, missing: Sequence[Missing], decision: Decision, answer: Assessment, now: float
    ) -> None:
        """An attempt that lacked the facts in `missing` was answered at `now`, epoch seconds.

        `answer` is the decision's assessment, plus causes for what failed after the decision.
        """
        ...

    def outcome(self, before: Receipt, after: Receipt, outcome: Outcome, achieved: str) -> None:
        """An outcome changed a receipt from `before` to `after`; `achieved`: see `assurance.completed_tier`."""
        ...

    def event(self, event: SecurityEvent) -> None:
        """A security event was recorded."""
        ...

    def recalled(self, remembered: int, fetched: int) -> None:
        """A read took `remembered` histories of common values from the cache, and `fetched` from the store."""
        ...

    def failed(self, part: str) -> None:
        """A part of riskd failed, such as `store` or `decision_log`."""
        ...

    def stored(self, records: int, size: int) -> None:
        """The history store holds this many records in this many bytes."""
        ...

    def limited(self, size: int) -> None:
        """The history store may grow to this many bytes; 0 if it sets no limit."""
        ...

    def disk(self, folder: str, used: int, size: int) -> None:
        """The file system of the `store` or the `log` has this size in bytes, of which this much cannot be used."""
        ...

    def logged(self, segments: int, size: int, compacted: float, asked: float) -> None:
        """The decision log has this many segments and bytes.

        `compacted`: when the last compaction ended; `asked`: when the oldest pending erasure was requested (0: none).
        Both are epoch seconds.
        """
        ...

    def geo_built(self, database: str, timestamp: float) -> None:
        """The geo database (`city`, `asn`, `anonymous`) in use was built at `timestamp` (epoch seconds); 0: none is."""
        ...

    def reloaded(self, *, good: bool) -> None:
        """Policies, models or other watched files were read again. `good`: all were accepted."""
        ...

    def friction_budget(self, domain: str, journey: str, share: float) -> None:
        """The policy in use allows this share of good attempts to be challenged; 0 if it sets no budget."""
        ...

    def installed(self, role: str, release: str, models: Mapping[str, str]) -> None:
        """This release now has this role (see `lineup.ROLES`). `models` maps identity domains to model versions.

        With empty `models`, no release has the role.
        """
        ...

    def ruled_by(self, rules: Sequence[tuple[str, str, bool]]) -> None:
        """The releases that decide have these rules: domain, name, whether in shadow. `assessed` counts their hits."""
        ...

    def shadowed(self, domain: str, move: str) -> None:
        """A release in shadow answered with the `same`, a `stricter` or a `looser` tier, or the case was `dropped`."""
        ...

    def decided(self, role: str, attempt: Attempt, answer: Assessment) -> None:
        """During a rollout, the release with this role gave this answer."""
        ...


class MetricsRegistry(Protocol):
    """A program's registry of metrics, such as `prometheus_client.CollectorRegistry`."""

    def register(self, collector: Any) -> None:  # noqa: ANN401 - the type is of the vendor
        """Show the metrics of a collector. Raises ValueError if there are metrics with their names."""
        ...

    def unregister(self, collector: Any) -> None:  # noqa: ANN401 - likewise
        """Show them no longer."""
        ...


class Parts(Struct, frozen=True, kw_only=True):
    """The dependencies of an engine, chosen by `wiring`. `clock` returns epoch seconds, `random` so many bytes."""

    store: HistoryStore
    geo: GeoLookup
    agents: AgentParser
    log: DecisionLog
    meter: Meter
    pseudonyms: Pseudonyms
    clock: Callable[[], float]
    random: Callable[[int], bytes] = os.urandom
    attributes: frozenset[str] = frozenset()
    """Names of the custom attributes that attempts may carry."""
    edge: Place | None = None
    """Where the round-trip time to the client is measured, if that is one place."""
    signals: bool = True
    """Whether to log an attempt's signals, which replaying it needs."""

    def log_line(self, line: Record) -> bool:
        """Append a line to the log. False, and counted, if that failed."""
        appended = self.log.append(encode(line))
        if not appended:
            self.meter.failed("decision_log")
        return appended
