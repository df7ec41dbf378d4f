"""The engine: gathers the facts about an attempt, has the pure core assess them, and records the result."""

from __future__ import annotations

import threading
from time import perf_counter

from msgspec import DecodeError
from msgspec.structs import replace

from riskd.core.address import parse
from riskd.core.assess import Release, assess
from riskd.core.assessment import Assessment
from riskd.core.attempt import Attempt, Outcome, SecurityEvent
from riskd.core.errors import InvalidAttempt
from riskd.core.lineup import ACTIVE, CANDIDATE, Lineup
from riskd.core.pseudonym import Pseudonyms
from riskd.core.validation import violations
from riskd.engine.gather import gather
from riskd.engine.recording import record_answer, repeat_answer
from riskd.engine.reported import Recorded, record_event, record_outcome
from riskd.engine.shadow import Case, Shadow
from riskd.ports import GeoLookup, HistoryStore, Parts

READ_BY, WRITE_BY = 0.7, 0.9
"""Fractions of an attempt's timeout by which the store must have been read, and written."""


class Engine:
    """Assesses attempts and learns from outcomes. Thread-safe."""

    def __init__(self, parts: Parts, release: Release) -> None:
        self._parts = parts
        self._swapping = threading.Lock()
        self._lineup = Lineup(release)
        self._shadow = Shadow(parts)

    @property
    def release(self) -> Release:
        """The active release."""
        return self._lineup.active

    @property
    def parts(self) -> Parts:
        """The engine's current dependencies."""
        return self._parts

    def install(self, lineup: Lineup) -> None:
        """Switch to these releases for new attempts. Attempts in flight finish with the releases they started with."""
        self._lineup = lineup

    def locate_by(self, geo: GeoLookup) -> None:
        """Switch to these geo databases for new attempts. The old ones close once no attempt uses them."""
        with self._swapping:
            self._parts = replace(self._parts, geo=geo)

    def rekey(self, store: HistoryStore, pseudonyms: Pseudonyms) -> None:
        """Switch to these pseudonyms for new attempts, and to a store whose records are keyed by them."""
        with self._swapping:
            self._parts = replace(self._parts, store=store, pseudonyms=pseudonyms)

    def assess(self, attempt: Attempt, timeout: float = 0.1, *, explain: bool = False) -> Assessment:
        """Assess one attempt within `timeout` seconds. With `explain`, always compute the features' contributions.

        Raises InvalidAttempt with every violation; then nothing was recorded. A store, geo database or log that
        fails or is too slow does not raise: the answer names it as a gap or among its `causes`.
        """
        started = perf_counter()
        lineup, parts = self._lineup, self._parts
        now = parts.clock()
        address = parse(attempt.network.client_ip)
        problems = violations(attempt, now, address_known=address is not None, declared=parts.attributes)
        if problems or address is None:
            raise InvalidAttempt(problems)
        release = lineup.chosen(attempt, parts.pseudonyms)
        counters = lineup.counters(attempt.domain)
        gathered = gather(
            parts, attempt, release, address, now, deadline=started + READ_BY * timeout, counters=counters
        )
        attempt = gathered.attempt
        if gathered.reply is not None:
            try:
                return repeat_answer(gathered, gathered.reply, now)
            except DecodeError:
                parts.meter.failed("store")
        decided_from = perf_counter()
        parts.meter.stage("gather", decided_from - started)
        explain = explain or gathered.assessment_id.endswith("0")  # a random sample of one in sixteen
        decision = assess(attempt, gathered.context, gathered.keys, release, gathered.assessment_id, explain=explain)
        record_from = perf_counter()
        parts.meter.stage("decide", record_from - decided_from)
        answer = record_answer(gathered, decision, now, started + WRITE_BY * timeout)
        ended = perf_counter()
        parts.meter.stage("record", ended - record_from)
        parts.meter.answered(attempt.domain, attempt.journey, ended - started)
        if lineup.candidate is not None:
            role = CANDIDATE if release is lineup.candidate else ACTIVE
            parts.meter.decided(role, attempt, answer)
        if lineup.shadow is not None:
            case = Case(attempt, gathered.context, gathered.keys, lineup.shadow, answer, perf_counter())
            self._shadow.offer(case)
        return answer

    def record(self, outcome: Outcome, timeout: float = 0.1) -> Recorded:
        """Learn from what happened after an assessment. Repeating an outcome teaches nothing more; it is logged again.

        Raises InvalidOutcome, UnknownAssessment, or Unavailable when the store cannot be written in time.
        """
        return record_outcome(self._parts, self._lineup.active.policies, outcome, timeout)

    def record_event(self, event: SecurityEvent, timeout: float = 0.1, caller: str = "") -> None:
        """Remember a security event about a subject; `caller` is who sent it, for the log. A repeat changes no history,
        but it is logged and counted again.

        Raises InvalidEvent, or Unavailable when the store cannot be written in time.
        """
        record_event(self._parts, self._lineup.active.policies, event, timeout, caller)

    def close(self) -> None:
        """Flush and close the shadow scorer, the log and the store. Idempotent."""
        self._shadow.close()
        self._parts.log.close()
        self._parts.store.close()
