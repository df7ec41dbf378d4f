"""Records what was answered: in the store for later outcomes and repeated requests, and in the decision log."""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter
from typing import Final

from msgspec import DecodeError
from msgspec.structs import replace

from riskd.core import learn, receipts, replies
from riskd.core.assess import Decision
from riskd.core.assessment import Assessment
from riskd.core.errors import InvalidAttempt, Problem, Unavailable
from riskd.core.logged import assessment_record, repeat_record
from riskd.core.recall import RECEIPT
from riskd.core.record import Record
from riskd.core.stored import Swap
from riskd.engine.gather import Gathered, new_id
from riskd.ports import IncompleteWrite, Parts

SHORTEST: Final = 0.001
"""Seconds that a write may take even if the deadline has passed."""
_NOT_LOGGED: Final = "decision_log:not_written"
_PARTLY_WRITTEN: Final = "store:partly_written"
"""The receipt and the subject's own counts were written, some of those of others perhaps not."""
_REUSED: Final = Problem(
    "request_id",
    "was given to another attempt: journey, credential_result, client_ip, device, session, federation or attributes "
    "differ",
    "give each attempt its own id; repeat a request unchanged",
)


def record_answer(gathered: Gathered, decision: Decision, now: float, deadline: float) -> Assessment:
    """Write to the store and the log. The answer and its repeats name what failed among their `causes`."""
    attempt, parts, answer = gathered.attempt, gathered.parts, decision.assessment
    retention = gathered.release.policy(attempt).retention
    receipt_key = parts.pseudonyms.receipt_pseudonyms(answer.id)[0] + RECEIPT
    receipt = receipts.encode(learn.with_lateness(decision.receipt, now), attempt.tenant)
    swaps = [Swap(receipt_key, None, receipt, now + retention.receipt)]
    reply = None
    if attempt.request_id:
        reply = Swap(gathered.reply_key, None, replies.encode(answer, gathered.seal), now + retention.reply)
        swaps.append(reply)
    write_from = perf_counter()
    try:
        if not parts.store.write(decision.deltas, swaps, now, _time_left(deadline)):
            return _resolve_refused(gathered, decision, now, deadline)
    except IncompleteWrite:
        parts.meter.failed("store")
        answer = replace(answer, causes=(*answer.causes, _PARTLY_WRITTEN))
    except (Unavailable, DecodeError):
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
    logged = _log(parts, line, answer)
    if reply is not None and logged is not decision.assessment:
        corrected = replace(reply, expected=reply.document, document=replies.encode(logged, gathered.seal))
        with suppress(Unavailable):
            parts.store.write((), (corrected,), now, _time_left(deadline))
    parts.meter.assessed(attempt, gathered.context.missing, decision, logged, now)
    return logged


def repeat_answer(gathered: Gathered, reply: bytes, now: float) -> Assessment:
    """Return the stored answer to a repeated request id, and log it: its worker may have died before logging it.

    Raises InvalidAttempt when the id was used for another attempt, DecodeError when the answer is damaged.
    """
    if not reply.startswith(gathered.seal):
        raise InvalidAttempt([_REUSED])
    answer = replies.decode(reply)
    return _log(gathered.parts, repeat_record(gathered.attempt, answer, now), answer)


def _resolve_refused(gathered: Gathered, decision: Decision, now: float, deadline: float) -> Assessment:
    """Resolve a refused write: return the answer that another worker stored first. If it has expired, this is a new
    request; concurrent repeats derive the same id from the time, so only one counts. Raises Unavailable, DecodeError.
    """
    _, (document,) = gathered.parts.store.read((), (gathered.reply_key,), now, _time_left(deadline))
    if document is not None:
        return repeat_answer(gathered, document, now)
    period = now // gathered.release.policy(gathered.attempt).retention.reply
    unused = new_id(gathered.keys.subject, f"{decision.assessment.id}\0{period}", gathered.parts.random)
    decision = replace(decision, assessment=replace(decision.assessment, id=unused))
    return record_answer(gathered, decision, now, deadline)


def _log(parts: Parts, line: Record, answer: Assessment) -> Assessment:
    """Append a line to the log. Returns the answer, with a cause added if the line could not be written."""
    if parts.log_line(line) or _NOT_LOGGED in answer.causes:
        return answer
    return replace(answer, causes=(*answer.causes, _NOT_LOGGED))


def _time_left(deadline: float) -> float:
    return max(deadline - perf_counter(), SHORTEST)
