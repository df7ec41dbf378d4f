"""The engine: gathers the facts about an attempt, has the pure core assess them, and records the result."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from time import perf_counter
from typing import Final

from msgspec import DecodeError, Struct
from msgspec.structs import replace

from riskd.core import learn, receipts, record, replies, signals
from riskd.core.address import Address, parse
from riskd.core.assess import Decision, Release, assess
from riskd.core.assessment import Assessment
from riskd.core.assurance import completed_tier
from riskd.core.attempt import OUTCOMES, Attempt, Device, Outcome, SecurityEvent
from riskd.core.context import Agent, Context, Missing, Place, Remembered, Route
from riskd.core.errors import InvalidAttempt, InvalidEvent, InvalidOutcome, Problem, Unavailable, UnknownAssessment
from riskd.core.lineup import ACTIVE, CANDIDATE, Lineup
from riskd.core.logged import assessment_record, event_record, outcome_record, repeat_record
from riskd.core.pseudonym import Keys, Pseudonyms
from riskd.core.recall import RECEIPT, history_keys, recall, reply_to
from riskd.core.record import Record
from riskd.core.stored import PLACE
from riskd.core.validation import event_violations, outcome_violations, violations
from riskd.ports import AgentParser, DecisionLog, GeoLookup, HistoryStore, Meter, Swap
from riskd.shadow import Case, Shadow

TRIES: Final = len(OUTCOMES) + 1
"""Most attempts to update a receipt that others update at the same time: each kind of outcome changes it only once."""
READ_BY, WRITE_BY = 0.7, 0.9
"""Fractions of an attempt's timeout by which the store must have been read, and written."""
_UNKNOWN: Final = Device()


class Recorded(Struct, frozen=True):
    """The effect of an outcome. `taught`: units that the assessment has taught so far, in total."""

    assessment_id: str
    taught: int


class Parts(Struct, frozen=True, kw_only=True):
    """The dependencies of an engine, chosen by `wiring`. `clock` returns epoch seconds."""

    store: HistoryStore
    geo: GeoLookup
    agents: AgentParser
    log: DecisionLog
    meter: Meter
    pseudonyms: Pseudonyms
    clock: Callable[[], float]
    attributes: frozenset[str] = frozenset()
    """Names of the custom attributes that attempts may carry."""
    edge: Place | None = None
    """Where the round-trip time to the client is measured, if that is one place."""
    signals: bool = True
    """Whether to log an attempt's signals, which replaying it needs."""


class Observed(Struct, frozen=True):
    """The facts about an attempt that need no history. `values` and `stale` are as in `Context`."""

    place: Place | Missing
    route: Route | Missing
    agent: Agent | Missing
    stale: tuple[str, ...]
    values: dict[str, str]
    keys: Keys


def observe(parts: Parts, attempt: Attempt, address: Address, when: float) -> Observed:
    """Look up the address, parse the user agent and derive the history keys, as of `when` (epoch seconds)."""
    device = attempt.device or _UNKNOWN
    place, route, stale = parts.geo.locate(address, when)
    agent: Agent | Missing = _NO_AGENT
    if device.user_agent:
        agent = parts.agents.parse(device.user_agent, device.platform, device.mobile)
    values = signals.values(attempt, place, route, agent, when)
    return Observed(place, route, agent, stale, values, parts.pseudonyms.keys(attempt, address, values))


class _Gathered(Struct, frozen=True):
    attempt: Attempt
    """Without the signals that lack consent, and with what security events said about the subject."""
    parts: Parts
    """Used until this attempt is recorded, even if the engine's change: `keys` were made by these pseudonyms."""
    release: Release
    address: Address
    keys: Keys
    assessment_id: str
    context: Context
    reply_key: bytes
    """Key of the stored answer to this request id."""
    seal: bytes
    """Keyed hash of the attempt's content. This and `reply_key` are empty without a request id."""
    reply: bytes | None
    """The stored answer, if the request id was answered before."""


class Engine:
    """Assesses attempts and learns from outcomes. Thread-safe."""

    def __init__(self, parts: Parts, release: Release) -> None:
        self._parts = parts
        self._swapping = threading.Lock()
        self._lineup = Lineup(release)
        self._shadow = Shadow(parts.log, parts.meter)

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
        gathered = self._gather(parts, attempt, release, address, now, deadline=started + READ_BY * timeout)
        attempt = gathered.attempt
        if gathered.reply is not None:
            try:
                return self._repeat(attempt, gathered, gathered.reply, now)
            except Unavailable:
                parts.meter.failed("store")
        decided_from = perf_counter()
        parts.meter.stage("gather", decided_from - started)
        explain = explain or gathered.assessment_id.endswith("0")  # a random sample of one in sixteen
        decision = assess(attempt, gathered.context, gathered.keys, release, gathered.assessment_id, explain=explain)
        record_from = perf_counter()
        parts.meter.stage("decide", record_from - decided_from)
        answer = self._record(attempt, gathered, decision, now, started + WRITE_BY * timeout)
        ended = perf_counter()
        parts.meter.stage("record", ended - record_from)
        parts.meter.answered(attempt.domain, attempt.journey, ended - started)
        if lineup.candidate is not None:
            role = CANDIDATE if release is lineup.candidate else ACTIVE
            parts.meter.decided(role, attempt.domain, answer.requirement.tier.name)
        if lineup.shadow is not None:
            case = Case(attempt, gathered.context, gathered.keys, lineup.shadow, answer, perf_counter())
            self._shadow.offer(case)
        return answer

    def record(self, outcome: Outcome, timeout: float = 0.1) -> Recorded:
        """Learn from what happened after an assessment. Repeating an outcome teaches nothing more; it is logged again.

        Raises InvalidOutcome, UnknownAssessment, or Unavailable when the store cannot be written in time.
        """
        parts = self._parts
        now = parts.clock()
        problems = outcome_violations(outcome, now)
        if problems:
            raise InvalidOutcome(problems)
        deadline = perf_counter() + timeout
        keys = [pseudonym + RECEIPT for pseudonym in parts.pseudonyms.receipt_pseudonyms(outcome.assessment_id)]
        for _ in range(TRIES):
            _, documents = parts.store.read((), keys, now, deadline - perf_counter())
            stored = [(at, content) for at, content in zip(keys, documents, strict=True) if content is not None]
            if not stored:
                raise UnknownAssessment([_unknown(outcome.assessment_id)])
            key, document = stored[0]
            try:
                before, tenant = receipts.decode(document, key[:PLACE], parts.pseudonyms)
            except DecodeError as error:
                raise Unavailable([_damaged("receipt", error)]) from error
            if tenant != outcome.tenant:
                raise UnknownAssessment([_unknown(outcome.assessment_id)])
            policy = self._lineup.active.policies[before.domain]
            after, deltas = learn.settle(before, outcome, now, policy.retention)
            swap = Swap(key, document, receipts.encode(after, tenant), after.until(policy.retention))
            if parts.store.write(deltas, (swap,), now, deadline - perf_counter()):
                achieved = completed_tier(before, after, outcome, policy.of(tenant).ladder)
                parts.meter.outcome(before, after, outcome, achieved)
                return self._log_outcome(outcome, after, now)
        raise Unavailable([Problem("store", "other outcomes kept changing the receipt", "send the outcome again")])

    def record_event(self, event: SecurityEvent, timeout: float = 0.1, caller: str = "") -> None:
        """Remember a security event about a subject; `caller` is who sent it, for the log. A repeat changes no history,
        but it is logged and counted again.

        Raises InvalidEvent, or Unavailable when the store cannot be written in time.
        """
        parts = self._parts
        now = parts.clock()
        problems = event_violations(event, now)
        if problems:
            raise InvalidEvent(problems)
        subject = parts.pseudonyms.digest(event.tenant, event.domain, "subject", event.subject)
        policy = self._lineup.active.policies[event.domain].of(event.tenant)
        parts.store.write(learn.event_deltas(event, subject, now, policy.retention), (), now, timeout)
        if not parts.log.append(record.encode(event_record(event, parts.pseudonyms, subject, now, caller))):
            parts.meter.failed("decision_log")
        parts.meter.event(event)

    def close(self) -> None:
        """Flush and close the shadow scorer, the log and the store. Idempotent."""
        self._shadow.close()
        self._parts.log.close()
        self._parts.store.close()

    def rekey(self, store: HistoryStore, pseudonyms: Pseudonyms) -> None:
        """Switch to these pseudonyms for new attempts, and to a store whose records are keyed by them."""
        with self._swapping:
            self._parts = replace(self._parts, store=store, pseudonyms=pseudonyms)

    def _gather(
        self, parts: Parts, attempt: Attempt, release: Release, address: Address, now: float, *, deadline: float
    ) -> _Gathered:
        """Collect every fact that consent allows, with all histories in one batched read. Unknown facts are Missing."""
        policy = release.policy(attempt)
        attempt = signals.consented(attempt, explicit=policy.explicit_consent)
        when = attempt.time if attempt.time is not None else now
        device = attempt.device or _UNKNOWN
        observed = observe(parts, attempt, address, when)
        keys = observed.keys
        assessment_id = _new_id(keys.subject, attempt.request_id)
        offset = parts.geo.offset(device.timezone, when) if device.timezone else None
        reply_key = seal = b""
        if attempt.request_id:
            seal = parts.pseudonyms.seal(replies.content(attempt))
            reply_key = reply_to(attempt, parts.pseudonyms, keys.subject)
        remembered: Remembered | Missing
        read_from = perf_counter()
        try:
            histories, documents = parts.store.read(
                history_keys(keys), (reply_key,) if reply_key else (), now, deadline - perf_counter()
            )
            remembered = recall(keys, histories)
            attempt = signals.with_events(attempt, remembered, when, policy.retention.sequence)
        except Unavailable:
            parts.meter.failed("store")
            remembered, documents = _NO_STORE, [None]
        parts.meter.stage("store_read", perf_counter() - read_from)
        context = signals.context(
            attempt,
            when,
            observed.values,
            facts=(observed.place, observed.route, observed.agent),
            remembered=remembered,
            device_offset_min=offset,
            measured_from=parts.edge,
            stale=observed.stale,
        )
        reply = documents[0] if documents else None
        return _Gathered(attempt, parts, release, address, keys, assessment_id, context, reply_key, seal, reply)

    def _record(
        self, attempt: Attempt, gathered: _Gathered, decision: Decision, now: float, deadline: float
    ) -> Assessment:
        """Write to the store and the log. The answer and its repeats name what failed among their `causes`."""
        answer, parts = decision.assessment, gathered.parts
        retention = gathered.release.policies[attempt.domain].retention
        receipt_key = parts.pseudonyms.receipt_pseudonyms(answer.id)[0] + RECEIPT
        receipt = receipts.encode(learn.with_lateness(decision.receipt, now), attempt.tenant)
        swaps = [Swap(receipt_key, None, receipt, now + retention.receipt)]
        reply = None
        if attempt.request_id:
            stored = replies.encode(answer, gathered.seal)
            reply = Swap(gathered.reply_key, None, stored, now + retention.reply)
            swaps.append(reply)
        write_from = perf_counter()
        try:
            if not parts.store.write(decision.deltas, swaps, now, max(deadline - perf_counter(), 0.001)):
                return self._resolve_refused(attempt, gathered, decision, now, deadline)
        except Unavailable:
            parts.meter.failed("store")
            answer, reply = replace(answer, causes=(*answer.causes, "store:not_written")), None
        parts.meter.stage("store_write", perf_counter() - write_from)
        line = assessment_record(
            attempt,
            gathered.context,
            decision,
            answer,
            subject=gathered.keys.subject,
            network=gathered.address.network,
            now=now,
            signals=parts.signals,
        )
        logged = self._log(line, answer)
        if reply is not None and logged is not answer:
            corrected = replace(reply, expected=reply.document, document=replies.encode(logged, gathered.seal))
            with suppress(Unavailable):
                parts.store.write((), (corrected,), now, max(deadline - perf_counter(), 0.001))
        parts.meter.assessed(attempt, gathered.context.missing, decision, logged, now)
        return logged

    def _resolve_refused(
        self, attempt: Attempt, gathered: _Gathered, decision: Decision, now: float, deadline: float
    ) -> Assessment:
        """Resolve a refused write: return the answer that another worker stored first. If it has expired, this is a new
        request; concurrent repeats derive the same id from the time, so only one counts. Raises Unavailable."""
        used, store = decision.assessment.id, gathered.parts.store
        _, (document,) = store.read((), (gathered.reply_key,), now, max(deadline - perf_counter(), 0.001))
        if document is not None:
            return self._repeat(attempt, gathered, document, now)
        period = now // gathered.release.policies[attempt.domain].retention.reply
        unused = _new_id(gathered.keys.subject, f"{used}\0{period}")
        decision = replace(decision, assessment=replace(decision.assessment, id=unused))
        return self._record(attempt, gathered, decision, now, deadline)

    def _repeat(self, attempt: Attempt, gathered: _Gathered, reply: bytes, now: float) -> Assessment:
        """Return the stored answer to a repeated request id, and log it: its worker may have died before logging it.

        Raises InvalidAttempt when the id was used for another attempt, Unavailable when the answer is damaged.
        """
        if not reply.startswith(gathered.seal):
            raise InvalidAttempt([_REUSED])
        try:
            answer = replies.decode(reply)
        except DecodeError as error:
            raise Unavailable([_damaged("first answer", error)]) from error
        return self._log(repeat_record(attempt, answer, now), answer)

    def _log(self, line: Record, answer: Assessment) -> Assessment:
        """Append a line to the log. Returns the answer, with a cause added if the line could not be written."""
        if self._parts.log.append(record.encode(line)):
            return answer
        self._parts.meter.failed("decision_log")
        if _NOT_LOGGED in answer.causes:
            return answer
        return replace(answer, causes=(*answer.causes, _NOT_LOGGED))

    def _log_outcome(self, outcome: Outcome, receipt: learn.Receipt, now: float) -> Recorded:
        parts = self._parts
        line = outcome_record(outcome, receipt, now)
        if not parts.log.append(record.encode(line)):
            parts.meter.failed("decision_log")
        return Recorded(outcome.assessment_id, receipt.taught)


_NO_AGENT: Final = Missing("agent", "not_sent")
_NO_STORE: Final = Missing("history", "unavailable")
_NOT_LOGGED: Final = "decision_log:not_written"
_REUSED: Final = Problem(
    "request_id",
    "was given to another attempt: journey, credential_result, client_ip, device, session, federation or attributes "
    "differ",
    "give each attempt its own id; repeat a request unchanged",
)


def _new_id(subject: bytes, request_id: str) -> str:
    """32 hex digits: the subject's place in the store, then a hash of the request id (random bytes without one)."""
    if request_id:
        unique = blake2b(subject + request_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    else:
        unique = os.urandom(8)
    return (subject[:PLACE] + unique).hex()


def _damaged(what: str, error: DecodeError) -> Problem:
    return Problem("store", f"the {what} is damaged: {error}", "check the store's disk")


def _unknown(assessment_id: str) -> Problem:
    return Problem(
        "assessment_id",
        f"no assessment {assessment_id} of this tenant",
        "outcomes are accepted for as long as the policy keeps receipts: 90 days, unless it says otherwise",
    )
