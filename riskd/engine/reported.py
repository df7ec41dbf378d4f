"""Records what is reported later: the outcomes of an assessment, and security events about a subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Final

from msgspec import DecodeError, Struct

from riskd.core import learn, receipts
from riskd.core.assurance import completed_tier
from riskd.core.attempt import OUTCOMES, Outcome, SecurityEvent
from riskd.core.errors import InvalidEvent, InvalidOutcome, Problem, Unavailable, UnknownAssessment
from riskd.core.logged import event_record, outcome_record
from riskd.core.policy import Policy
from riskd.core.recall import RECEIPT, WAIT
from riskd.core.stored import PLACE, Swap
from riskd.core.validation import event_violations, outcome_violations
from riskd.ports import IncompleteRead, IncompleteWrite, Parts

TRIES: Final = len(OUTCOMES) + 1
"""Most attempts to update a receipt that others update at the same time: each kind of outcome changes it only once."""


class Recorded(Struct, frozen=True):
    """The effect of an outcome. `taught`: units that the assessment has taught so far, in total."""

    assessment_id: str
    taught: int


def record_outcome(parts: Parts, policies: Mapping[str, Policy], outcome: Outcome, timeout: float) -> Recorded:
    """See `Engine.record`. `policies` are by identity domain."""
    now = parts.clock()
    problems = outcome_violations(outcome, now)
    if problems:
        raise InvalidOutcome(problems)
    deadline = perf_counter() + timeout
    keys = [pseudonym + RECEIPT for pseudonym in parts.pseudonyms.receipt_pseudonyms(outcome.assessment_id)]
    for _ in range(TRIES):
        documents = _receipts(parts, keys, now, deadline)
        stored = [(at, content) for at, content in zip(keys, documents, strict=True) if content is not None]
        if not stored:
            raise UnknownAssessment([_unknown(outcome.assessment_id)])
        key, document = stored[0]
        try:
            before, tenant = receipts.decode(document, key[:PLACE], parts.pseudonyms)
        except DecodeError as error:
            raise Unavailable(
                [Problem("store", f"the receipt is damaged: {error}", "check the store's disk")]
            ) from error
        if tenant != outcome.tenant:
            raise UnknownAssessment([_unknown(outcome.assessment_id)])
        policy = policies[before.domain].of(tenant)
        after, deltas = learn.settle(before, outcome, now, policy.retention)
        swaps = []
        if learn.spaced(before, after):
            wait = before.lesson.subject + WAIT
            if parts.store.read((), (wait,), now, deadline - perf_counter())[1] == [None]:
                swaps.append(Swap(wait, None, b"", now + learn.SPACING))
            else:
                after, deltas = learn.settle(before, outcome, now, policy.retention, wait=True)
        swaps.append(Swap(key, document, receipts.encode(after, tenant), after.until(policy.retention)))
        try:
            changed = parts.store.write(deltas, swaps, now, deadline - perf_counter())
        except IncompleteWrite:
            parts.meter.failed("store")
            changed = True
        if changed:
            parts.meter.outcome(before, after, outcome, completed_tier(before, after, outcome, policy.ladder))
            parts.log_line(outcome_record(outcome, after, now))
            return Recorded(outcome.assessment_id, after.taught)
    raise Unavailable([Problem("store", "other outcomes kept changing the receipt", "send the outcome again")])


def _receipts(parts: Parts, keys: Sequence[bytes], now: float, deadline: float) -> list[bytes | None]:
    """The documents under the keys of a receipt. Raises Unavailable if it was not found and some could not be read."""
    try:
        return parts.store.read((), keys, now, deadline - perf_counter())[1]
    except IncompleteRead as part:
        if not any(part.documents):
            raise
        parts.meter.failed("store")
        return part.documents


def record_event(
    parts: Parts, policies: Mapping[str, Policy], event: SecurityEvent, timeout: float, caller: str
) -> None:
    """See `Engine.record_event`. `policies` are by identity domain."""
    now = parts.clock()
    problems = event_violations(event, now)
    if problems:
        raise InvalidEvent(problems)
    subject = parts.pseudonyms.digest(event.tenant, event.domain, "subject", event.subject)
    retention = policies[event.domain].of(event.tenant).retention
    parts.store.write(learn.event_deltas(event, subject, now, retention), (), now, timeout)
    parts.log_line(event_record(event, parts.pseudonyms, subject, now, caller))
    parts.meter.event(event)


def _unknown(assessment_id: str) -> Problem:
    return Problem(
        "assessment_id",
        f"no assessment {assessment_id} of this tenant",
        "outcomes are accepted for as long as the policy keeps receipts: 90 days, unless it says otherwise",
    )
