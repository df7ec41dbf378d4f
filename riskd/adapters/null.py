"""Adapters that do nothing: a decision log and a meter, for engines that need neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from riskd.core.assess import Decision
from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt, Outcome, SecurityEvent
from riskd.core.context import Missing
from riskd.core.learn import Receipt


class NullLog:
    """A `DecisionLog` that discards every record."""

    def append(self, record: bytes) -> bool:
        """See `DecisionLog`. Discards the record."""
        return True

    def close(self) -> None:
        """Nothing to do."""


class NullMeter:
    """A `Meter` that counts nothing."""

    def stage(self, name: str, seconds: float) -> None:
        """See `Meter`."""

    def answered(self, domain: str, journey: str, seconds: float) -> None:
        """See `Meter`."""

    def assessed(
        self, attempt: Attempt, missing: Sequence[Missing], decision: Decision, answer: Assessment, now: float
    ) -> None:
        """See `Meter`."""

    def outcome(self, before: Receipt, after: Receipt, outcome: Outcome, achieved: str) -> None:
        """See `Meter`."""

    def event(self, event: SecurityEvent) -> None:
        """See `Meter`."""

    def recalled(self, remembered: int, fetched: int) -> None:
        """See `Meter`."""

    def failed(self, part: str) -> None:
        """See `Meter`."""

    def stored(self, records: int, size: int) -> None:
        """See `Meter`."""

    def limited(self, size: int) -> None:
        """See `Meter`."""

    def disk(self, folder: str, used: int, size: int) -> None:
        """See `Meter`."""

    def logged(self, segments: int, size: int, compacted: float, asked: float) -> None:
        """See `Meter`."""

    def geo_built(self, database: str, timestamp: float) -> None:
        """See `Meter`."""

    def reloaded(self, *, good: bool) -> None:
        """See `Meter`."""

    def friction_budget(self, domain: str, journey: str, share: float) -> None:
        """See `Meter`."""

    def installed(self, role: str, release: str, models: Mapping[str, str]) -> None:
        """See `Meter`."""

    def ruled_by(self, rules: Sequence[tuple[str, str, bool]]) -> None:
        """See `Meter`."""

    def shadowed(self, domain: str, move: str) -> None:
        """See `Meter`."""

    def decided(self, role: str, attempt: Attempt, answer: Assessment) -> None:
        """See `Meter`."""
