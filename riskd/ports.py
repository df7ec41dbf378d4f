"""The edges of the engine, as protocols. Implementations live in `adapters`; `wiring` picks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from riskd.core.address import Address
from riskd.core.assess import Decision
from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt, Outcome, SecurityEvent
from riskd.core.context import Agent, Missing, Place, Route
from riskd.core.history import Delta, History
from riskd.core.learn import Receipt
from riskd.core.stored import Change, Swap

__all__ = ["AgentParser", "Change", "DecisionLog", "GeoLookup", "HistoryStore", "LogArchive", "Meter", "Swap"]


class HistoryStore(Protocol):
    """Histories and documents of all entities, shared by threads and processes.

    Every method returns within `timeout` seconds or raises `Unavailable`; nothing else is raised for
    reasons outside the program. What `write` returned True for survives the death of the process. A record
    is gone from the moment that it expires: at `now == expires` it is absent.
    """

    def read(
        self, histories: Sequence[bytes], documents: Sequence[bytes], now: float, timeout: float
    ) -> tuple[list[History | None], list[bytes | None]]:
        """All of them, in order; None where absent or expired at `now`.

        What lies in one place (the first `stored.PLACE` bytes of a key) is of one moment. The stores of one machine
        read all of it at one moment; Redis reads place by place, in one round trip.
        """
        ...

    def write(self, deltas: Sequence[Delta], swaps: Sequence[Swap], now: float, timeout: float) -> bool:
        """Apply everything, or nothing and return False when a swap's document is not as expected.

        The swaps share a place. A history lives until the latest expiry of its deltas. Taking back from an absent
        one changes nothing. The stores of one machine, and one Redis server, change all or nothing whatever happens.
        A Redis cluster does so in each place: beside refused swaps, deltas of other places are applied and taken back
        (`history.inverse`: counts and marks, not sketches), and a write that ends in `Unavailable` may have changed
        some places and not others. Where a document is replaced, the swaps' place changes first.
        """
        ...

    def held(self, place: bytes, now: float, limit: int) -> list[bytes]:
        """The first `limit` keys, in order, of what has not expired and begins with `place` (`stored.PLACE` bytes)."""
        ...

    def erase(self, keys: Sequence[bytes]) -> int:
        """Delete these histories and documents; how many there were."""
        ...

    def walk(self, cursor: bytes, limit: int) -> tuple[list[bytes], bytes]:
        """Some `limit` keys, and the cursor to go on from. b'' begins; b'' in the answer says that it was the end.

        Every key that is there from beginning to end is named at least once; what comes or goes meanwhile may be.
        """
        ...

    def load(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The records of these keys as they lie (see `stored`), expired ones included; None where there is none."""
        ...

    def replace(self, changes: Sequence[Change]) -> bool:
        """Put and delete whole records, or change nothing and return False when one is not as expected.

        A store spread over machines makes the changes in the order given: if it dies between two, the first remain,
        and whoever comes again with the same keys and the same last change ends it: the first are not made twice.
        """
        ...

    def sweep(self, now: float, limit: int) -> int:
        """Look at up to `limit` records, going on where the last call stopped; how many had expired and went.

        0 where servers free them by themselves.
        """
        ...

    def size(self) -> tuple[int, int]:
        """Records held and bytes used, as cheaply as the store can say. Redis counts the records of a place as one."""
        ...

    def close(self) -> None:
        """Make everything durable and let go. Idempotent."""
        ...


class GeoLookup(Protocol):
    """Facts about an address. Never raises; safe between threads."""

    def locate(self, address: Address, time: float) -> tuple[Place | Missing, Route | Missing]:
        """Place and route at `time` (epoch seconds, for the offset from UTC)."""
        ...

    def offset(self, timezone: str, time: float) -> int | None:
        """Minutes east of UTC of an IANA timezone at `time`; None when unknown."""
        ...


class AgentParser(Protocol):
    """Facts about a user agent. Never raises; safe between threads."""

    def parse(self, user_agent: str, platform: str, mobile: bool | None) -> Agent | Missing:
        """Browser, system and class, client hints taken into account."""
        ...


class DecisionLog(Protocol):
    """Every assessment, outcome and security event, appended before the answer leaves."""

    def append(self, record: bytes) -> bool:
        """Hand one JSON line (without newline) to the operating system; False when it could not be, counted."""
        ...

    def close(self) -> None:
        """Make everything durable and let go. Idempotent."""
        ...


class LogArchive(Protocol):
    """What the decision log has kept. Raises Unavailable when it cannot be read or written, and nothing else."""

    def forget(self, subjects: Sequence[bytes]) -> float:
        """Have every record of these pseudonyms erased that was written before now; by when it will be, Unix time.

        Once it returns, the wish survives the death of the process. Asking again does no harm.
        """
        ...

    def find(self, subjects: Sequence[bytes], cursor: bytes, limit: int) -> tuple[list[bytes], bytes]:
        """Up to `limit` records of these pseudonyms and the cursor to go on from, within about a second.

        b'' begins; b'' in the answer says that it was the end. There may be more although none were found.
        """
        ...


class Meter(Protocol):
    """What the engine counts. Must not raise, must not block."""

    def stage(self, name: str, seconds: float) -> None:
        """One stage of a request took this long."""
        ...

    def answered(self, domain: str, journey: str, seconds: float) -> None:
        """An assessment took this long, from the attempt to the answer."""
        ...

    def assessed(
        self, attempt: Attempt, missing: Sequence[Missing], decision: Decision, answer: Assessment, now: float
    ) -> None:
        """An attempt without these facts was decided, and answered at `now`, Unix time.

        `answer` is the decision's, with the parts of riskd that failed after it was made.
        """
        ...

    def outcome(self, before: Receipt, kept: Receipt, outcome: Outcome, achieved: str) -> None:
        """An outcome made this of a receipt; `achieved` is what `assurance.through` says of it."""
        ...

    def event(self, event: SecurityEvent) -> None:
        """A security event was recorded."""
        ...

    def recalled(self, remembered: int, fetched: int) -> None:
        """So many histories of common values were answered from memory, and so many by the store."""
        ...

    def failed(self, part: str) -> None:
        """A part (`store`, `decision_log`) failed, and the answer went out without it."""
        ...

    def stored(self, records: int, size: int) -> None:
        """The history store holds this many records in this many bytes."""
        ...

    def limited(self, size: int) -> None:
        """The history store may grow to this many bytes; 0: it has no limit of its own."""
        ...

    def logged(self, segments: int, size: int, compacted: float, asked: float) -> None:
        """The decision log has this many segments and bytes; when the last compaction ended, and when the oldest
        erasure was asked for that is not done (Unix time, 0: there is none)."""
        ...

    def geo_built(self, database: str, timestamp: float) -> None:
        """A geo database (`city`, `asn`, `anonymous`) built at `timestamp`, Unix time, is in use; 0: none is."""
        ...

    def reloaded(self, *, good: bool) -> None:
        """The files that decide were read again, and were good, or some were refused."""
        ...

    def friction_budget(self, domain: str, journey: str, share: float) -> None:
        """The policy in use allows this share of good attempts to be challenged; 0: it does not say."""
        ...

    def installed(self, role: str, release: str, models: Mapping[str, str]) -> None:
        """A release has this role (see `lineup.ROLES`) from now on; `models` maps identity domains to model versions.

        Without models, no release has it.
        """
        ...

    def shadowed(self, domain: str, move: str) -> None:
        """A release in shadow was scored, and its tier is the `same`, `stricter` or `looser`; or it was `dropped`."""
        ...

    def decided(self, role: str, domain: str, tier: str) -> None:
        """While a release is rolled out: which one, by its role, gave an answer."""
        ...
