"""The shell round the core: gather facts, assess, record. In-process use needs nothing else."""

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

from riskd.core import learn, receipts, record, signals
from riskd.core.address import Address, parse, truncated
from riskd.core.assess import Decision, Release, assess
from riskd.core.assessment import Assessment
from riskd.core.assurance import through
from riskd.core.attempt import OUTCOMES, Attempt, Device, Outcome, SecurityEvent
from riskd.core.context import Agent, Context, Missing, Place, Remembered, Route
from riskd.core.errors import InvalidAttempt, InvalidEvent, InvalidOutcome, Problem, Unavailable, UnknownAssessment
from riskd.core.lineup import ACTIVE, CANDIDATE, Lineup
from riskd.core.logged import assessed, told
from riskd.core.pseudonym import Keys, Pseudonyms
from riskd.core.recall import RECEIPT, recall, reply_to, wanted
from riskd.core.record import Record
from riskd.core.stored import PLACE
from riskd.core.validation import event_violations, outcome_violations, violations
from riskd.ports import AgentParser, DecisionLog, GeoLookup, HistoryStore, Meter, Swap
from riskd.shadow import Case, Shadow

TRIES: Final = len(OUTCOMES) + 1
"""Attempts at changing a receipt that others change at the same moment: each kind of outcome changes it once."""
READ_BY, WRITE_BY = 0.7, 0.9
"""Shares of an attempt's time by which the store has been read, and changed; the rest is for the answer."""
_UNKNOWN: Final = Device()


class Recorded(Struct, frozen=True):
    """What an outcome did. `taught`: units that the assessment has taught in total."""

    assessment_id: str
    taught: int


class Parts(Struct, frozen=True, kw_only=True):
    """What an engine is made of; `wiring` chooses them. `clock` returns epoch seconds."""

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
    """Where callers measure the round-trip time, if that is one place."""
    signals: bool = True
    """Whether the log has the signals of an attempt, so that it can be replayed."""


class Observed(Struct, frozen=True):
    """What can be said of an attempt without remembering anything."""

    place: Place | Missing
    route: Route | Missing
    agent: Agent | Missing
    stale: tuple[str, ...]
    values: dict[str, str]
    """See `Context.values`."""
    keys: Keys


def observe(parts: Parts, attempt: Attempt, address: Address, when: float) -> Observed:
    """Place and route of the address, the user agent, and where the histories lie, at `when` (epoch seconds)."""
    device = attempt.device or _UNKNOWN
    place, route, stale = parts.geo.locate(address, when)
    agent: Agent | Missing = _NO_AGENT
    if device.user_agent:
        agent = parts.agents.parse(device.user_agent, device.platform, device.mobile)
    values = signals.values(attempt, place, route, agent, when)
    return Observed(place, route, agent, stale, values, parts.pseudonyms.keys(attempt, address, values))


class _Gathered(Struct, frozen=True):
    attempt: Attempt
    """As it may be judged."""
    parts: Parts
    """Those of this attempt, to its end: its keys are of these pseudonyms."""
    release: Release
    """Decides this attempt."""
    address: Address
    keys: Keys
    assessment_id: str
    context: Context
    reply_key: bytes
    seal: bytes
    """Of the attempt's content. Both are empty without a request id."""
    reply: bytes | None


class Engine:
    """Assesses attempts and learns from outcomes. Safe to share between threads."""

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
        """What this engine is made of."""
        return self._parts

    def install(self, lineup: Lineup) -> None:
        """Decide by other releases from the next attempt on; attempts under way finish with theirs."""
        self._lineup = lineup

    def locate_by(self, geo: GeoLookup) -> None:
        """Use other geo databases from the next attempt on; the old ones close when the last under way has finished."""
        with self._swapping:
            self._parts = replace(self._parts, geo=geo)

    def assess(self, attempt: Attempt, timeout: float = 0.1, *, explain: bool = False) -> Assessment:
        """Assess one attempt within `timeout` seconds.

        Raises InvalidAttempt with every violation; then nothing was recorded. A part that fails or is
        too slow becomes a gap or a cause of degradation in the answer, never an exception.
        """
        started = perf_counter()
        lineup, parts = self._lineup, self._parts
        now = parts.clock()
        address = parse(attempt.network.client_ip)
        found = violations(attempt, now, address_known=address is not None, declared=parts.attributes)
        if found or address is None:
            raise InvalidAttempt(found)
        release = lineup.chosen(attempt, parts.pseudonyms)
        gathered = self._gather(parts, attempt, release, address, now, deadline=started + READ_BY * timeout)
        attempt = gathered.attempt
        if gathered.reply is not None:
            try:
                return self._again(attempt, gathered, gathered.reply, now)
            except Unavailable:
                parts.meter.failed("store")
        decided_from = perf_counter()
        parts.meter.stage("gather", decided_from - started)
        explain = explain or gathered.assessment_id.endswith("0")  # a sample of one in sixteen
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
        """Learn from what happened after an assessment. Repeating an outcome changes nothing more.

        Raises InvalidOutcome, UnknownAssessment, or Unavailable when the store cannot be changed in time.
        """
        parts = self._parts
        now = parts.clock()
        found = outcome_violations(outcome, now)
        if found:
            raise InvalidOutcome(found)
        deadline = perf_counter() + timeout
        keys = [body + RECEIPT for body in parts.pseudonyms.papers(outcome.assessment_id)]
        for _ in range(TRIES):
            _, documents = parts.store.read((), keys, now, deadline - perf_counter())
            key, document = next((pair for pair in zip(keys, documents, strict=True) if pair[1] is not None), _NOWHERE)
            if document is None:
                raise UnknownAssessment([_unknown(outcome.assessment_id)])
            try:
                before, tenant = receipts.decode(document, key[:PLACE], parts.pseudonyms)
            except DecodeError as error:
                raise Unavailable([_damaged("receipt", error)]) from error
            if tenant != outcome.tenant:
                raise UnknownAssessment([_unknown(outcome.assessment_id)])
            policy = self._lineup.active.policies[before.domain]
            kept, deltas = learn.settle(before, outcome, now, policy.retention)
            swap = Swap(key, document, receipts.encode(kept, tenant), kept.until(policy.retention))
            if parts.store.write(deltas, (swap,), now, deadline - perf_counter()):
                achieved = through(before, kept, outcome, policy.of(tenant).ladder)
                parts.meter.outcome(before, kept, outcome, achieved)
                return self._recorded(outcome, kept, now)
        raise Unavailable([Problem("store", "the receipt kept changing under us", "send the outcome again")])

    def record_event(self, event: SecurityEvent, timeout: float = 0.1, caller: str = "") -> None:
        """Remember what another party says of a subject, as `caller` tells it. Repeating an event changes nothing more.

        Raises InvalidEvent, or Unavailable when the store cannot be changed in time.
        """
        parts = self._parts
        now = parts.clock()
        found = event_violations(event, now)
        if found:
            raise InvalidEvent(found)
        subject = parts.pseudonyms.digest(event.tenant, event.domain, "subject", event.subject)
        policy = self._lineup.active.policies[event.domain].of(event.tenant)
        parts.store.write(learn.reported(event, subject, now, policy.retention), (), now, timeout)
        if not parts.log.append(record.encode(told(event, parts.pseudonyms, subject, now, caller))):
            parts.meter.failed("decision_log")
        parts.meter.event(event)

    def close(self) -> None:
        """Make everything durable and let go. Idempotent."""
        self._shadow.close()
        self._parts.log.close()
        self._parts.store.close()

    def rekey(self, store: HistoryStore, pseudonyms: Pseudonyms) -> None:
        """Keep histories under other pseudonyms from the next attempt on, in a store that knows of them."""
        with self._swapping:
            self._parts = replace(self._parts, store=store, pseudonyms=pseudonyms)

    def _gather(
        self, parts: Parts, attempt: Attempt, release: Release, address: Address, now: float, *, deadline: float
    ) -> _Gathered:
        """Every fact that may be used, the histories in one batched read. What cannot be had is Missing."""
        policy = release.policy(attempt)
        attempt = signals.consented(attempt, explicit=policy.explicit_consent)
        when = attempt.time if attempt.time is not None else now
        device = attempt.device or _UNKNOWN
        observed = observe(parts, attempt, address, when)
        keys = observed.keys
        assessment_id = _identify(keys.subject, attempt.request_id)
        offset = parts.geo.offset(device.timezone, when) if device.timezone else None
        reply_key = seal = b""
        if attempt.request_id:
            seal = parts.pseudonyms.seal(record.content(attempt))
            reply_key = reply_to(attempt, parts.pseudonyms, keys.subject)
        remembered: Remembered | Missing
        read_from = perf_counter()
        try:
            histories, documents = parts.store.read(
                wanted(keys), (reply_key,) if reply_key else (), now, deadline - perf_counter()
            )
            remembered = recall(keys, histories)
            attempt = signals.informed(attempt, remembered, when, policy.retention.sequence)
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
        """Apply the deltas and append to the log; what fails is named in the answer, its repeats, and counted."""
        answer, parts = decision.assessment, gathered.parts
        retention = gathered.release.policies[attempt.domain].retention
        receipt_key = parts.pseudonyms.papers(answer.id)[0] + RECEIPT
        receipt = receipts.encode(learn.told(decision.receipt, now), attempt.tenant)
        swaps = [Swap(receipt_key, None, receipt, now + retention.receipt)]
        reply = None
        if attempt.request_id:
            kept = record.encode_reply(answer, gathered.seal)
            reply = Swap(gathered.reply_key, None, kept, now + retention.reply)
            swaps.append(reply)
        write_from = perf_counter()
        try:
            if not parts.store.write(decision.deltas, swaps, now, max(deadline - perf_counter(), 0.001)):
                return self._first_answer(attempt, gathered, decision, now, deadline)
        except Unavailable:
            parts.meter.failed("store")
            answer, reply = replace(answer, causes=(*answer.causes, "store:not_written")), None
        parts.meter.stage("store_write", perf_counter() - write_from)
        line = assessed(
            attempt,
            gathered.context,
            decision,
            answer,
            subject=gathered.keys.subject,
            network=truncated(gathered.address),
            now=now,
            signals=parts.signals,
        )
        logged = self._logged(line, answer)
        if reply is not None and logged is not answer:
            told = replace(reply, expected=reply.document, document=record.encode_reply(logged, gathered.seal))
            with suppress(Unavailable):
                parts.store.write((), (told,), now, max(deadline - perf_counter(), 0.001))
        parts.meter.assessed(attempt, gathered.context.missing, decision, logged, now)
        return logged

    def _first_answer(
        self, attempt: Attempt, gathered: _Gathered, decision: Decision, now: float, deadline: float
    ) -> Assessment:
        """Somebody answered the same request id while we did, and theirs stands; or longer ago than answers are
        kept, and this is another request. Its id follows from the time, so that of several at once one counts. Raises
        Unavailable."""
        taken, store = decision.assessment.id, gathered.parts.store
        _, (document,) = store.read((), (gathered.reply_key,), now, max(deadline - perf_counter(), 0.001))
        if document is not None:
            return self._again(attempt, gathered, document, now)
        period = now // gathered.release.policies[attempt.domain].retention.reply
        anew = _identify(gathered.keys.subject, f"{taken}\0{period}")
        decision = replace(decision, assessment=replace(decision.assessment, id=anew))
        return self._record(attempt, gathered, decision, now, deadline)

    def _again(self, attempt: Attempt, gathered: _Gathered, reply: bytes, now: float) -> Assessment:
        """The first answer to a request id, once more. It is logged: whoever gave it first may have died before.

        Raises InvalidAttempt when it was the answer to something else, Unavailable when it is damaged.
        """
        if not reply.startswith(gathered.seal):
            raise InvalidAttempt([_REUSED])
        try:
            answer = record.decode_reply(reply)
        except DecodeError as error:
            raise Unavailable([_damaged("first answer", error)]) from error
        return self._logged(record.repeated(attempt, answer, now), answer)

    def _logged(self, line: Record, answer: Assessment) -> Assessment:
        """The answer, once it is in the log; else it says that it is not."""
        if self._parts.log.append(record.encode(line)):
            return answer
        self._parts.meter.failed("decision_log")
        if _NOT_LOGGED in answer.causes:
            return answer
        return replace(answer, causes=(*answer.causes, _NOT_LOGGED))

    def _recorded(self, outcome: Outcome, kept: learn.Receipt, now: float) -> Recorded:
        parts = self._parts
        line = record.OutcomeRecord(
            assessment_id=outcome.assessment_id,
            time=outcome.time if outcome.time is not None else now,
            written=now if outcome.time not in (None, now) else None,
            tenant=outcome.tenant,
            domain=kept.domain,
            journey=kept.journey,
            kind=outcome.kind,
            amr=outcome.amr,
            seconds=outcome.seconds,
            taught=kept.taught,
        )
        if not parts.log.append(record.encode(line)):
            parts.meter.failed("decision_log")
        return Recorded(outcome.assessment_id, kept.taught)


_NO_AGENT: Final = Missing("agent", "not_sent")
_NOWHERE: Final = (b"", None)
_NO_STORE: Final = Missing("history", "unavailable")
_NOT_LOGGED: Final = "decision_log:not_written"
_REUSED: Final = Problem(
    "request_id",
    "was given to another attempt: journey, credential_result, client_ip, device, session, federation or attributes "
    "differ",
    "give each attempt an id of its own; repeat one as it was",
)


def _identify(subject: bytes, request_id: str) -> str:
    """32 hex digits: 16 that say the place of the subject, 16 of this request (random ones without an id)."""
    if request_id:
        unique = blake2b(subject + request_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    else:
        unique = os.urandom(8)
    return (subject[:PLACE] + unique).hex()


def _damaged(what: str, error: DecodeError) -> Problem:
    return Problem("store", f"the {what} is damaged: {error}", "see what befell the store's disk")


def _unknown(assessment_id: str) -> Problem:
    return Problem(
        "assessment_id",
        f"no assessment {assessment_id} of this tenant",
        "outcomes are accepted for as long as the policy keeps receipts: 90 days, unless it says otherwise",
    )
