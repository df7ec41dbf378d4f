"""Replays recorded attempts, outcomes and security events into histories with the engine's own code.

Nothing is assessed. Histories learn what the log says was learned, whatever the policy was; the active policies
determine how long it is kept, and those of all releases in use which attributes are counted. A line that comes twice
changes nothing: a second attempt finds its receipt, and a second outcome is already in the receipt.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from riskd.core import learn, receipts
from riskd.core.context import NOTHING, Memory, Missing, Remembered
from riskd.core.egress import was_disregarded
from riskd.core.history import Delta
from riskd.core.learn import Receipt
from riskd.core.lineup import Lineup
from riskd.core.logged import attempt_of, context_of, event_of, keys_of
from riskd.core.pseudonym import Keys, Pseudonyms
from riskd.core.recall import PROFILE, RECEIPT, history_keys, recall
from riskd.core.record import AssessmentRecord, OutcomeRecord, SecurityEventRecord, Signals, written
from riskd.core.requirement import Requirement, Terms, Tier
from riskd.core.stored import PLACE, Swap
from riskd.ports import HistoryStore

NOT_WRITTEN: Final = "store:not_written"
"""The cause in an answer that was not written to the store."""
PATIENCE: Final = 60.0
_UNREAD: Final = Missing("history", "unavailable")
_ANY: Final = Terms(aal=0)
_NOTHING: Final = Signals()


class Past:
    """Replays lines into a store, in the order of writing."""

    def __init__(self, store: HistoryStore, pseudonyms: Pseudonyms, lineup: Lineup) -> None:
        self._store = store
        self._pseudonyms = pseudonyms
        self._lineup = lineup
        self._policies = lineup.active.policies

    def attempt(self, line: AssessmentRecord, pseudonym: bytes = b"", *, shared: bool = False) -> bool:
        """Apply what a recorded attempt changed. Returns False if the store has it already.

        `pseudonym`: that of its receipt, if its id does not give it. `shared`: change only what other subjects can see,
        and the receipt. Without recorded signals, everything but the typing rhythm is learned.
        """
        signals = line.signals or _NOTHING
        policy = self._policies[line.domain].of(line.tenant)
        attempt, keys = attempt_of(line, signals), keys_of(line, self._pseudonyms, self._lineup.counters(line.domain))
        # What is remembered changes only what the subject itself learns.
        remembered = _UNREAD if shared else self.remembered(line, keys, whole=False)
        context = context_of(line.facts, remembered, signals)
        tier = Tier[line.tier]
        met = Requirement(tier, _ANY, satisfied=line.satisfied)
        accepted = policy.ladder[tier].accepted if tier in policy.ladder else ()
        trusted = was_disregarded(line.vector)
        receipt = learn.new_receipt(
            attempt, context, keys, met, accepted, probation=line.probation, trusted_network=trusted
        )
        deltas = learn.attempt_deltas(attempt, keys, context.now, policy.retention)
        return self.write(line, _of_others(deltas, keys.subject) if shared else deltas, receipt, pseudonym)

    def remembered(self, line: AssessmentRecord, keys: Keys, *, whole: bool) -> Remembered | Missing:
        """The histories that the attempt found. Unless `whole`, only those that determine what is learned."""
        unread = line.facts.unread
        if _UNREAD in line.facts.missing and not unread:
            return _UNREAD
        now = written(line)
        if whole:
            histories, _ = self._store.read(history_keys(keys), (), now, PATIENCE)
            found = recall(keys, histories, unread)
        else:
            own, address = keys.subject + PROFILE, keys.address + PROFILE
            (subject, shared), _ = self._store.read((own, address), (), now, PATIENCE)
            found = Remembered(subject=Memory(subject), address=Memory(shared), unread=unread)
        return replace(found, subject=NOTHING) if "subject" in unread else found

    def write(
        self, line: AssessmentRecord, deltas: tuple[Delta, ...], receipt: Receipt, pseudonym: bytes = b""
    ) -> bool:
        """Write the changes of an attempt, unless they were not written at the time, or are in the store already."""
        if NOT_WRITTEN in line.causes:
            return True
        now, keep = written(line), self._policies[line.domain].retention.receipt
        document = receipts.encode(learn.with_lateness(receipt, now), line.tenant)
        swap = Swap((pseudonym or bytes.fromhex(line.id)) + RECEIPT, None, document, now + keep)
        return self._store.write(deltas, (swap,), now, PATIENCE)

    def outcome(self, line: OutcomeRecord, *, shared: bool = False) -> bool:
        """Apply what a recorded outcome taught or took back. Returns False if its assessment is not known. `shared`: as
        for `attempt`."""
        now = written(line)
        for pseudonym in self._pseudonyms.receipt_pseudonyms(line.assessment_id):
            _, (document,) = self._store.read((), (pseudonym + RECEIPT,), now, PATIENCE)
            if document is not None:
                self._settle(line, pseudonym, document, now, shared=shared)
                return True
        return False

    def event(self, line: SecurityEventRecord, subject: bytes) -> None:
        """Remember a recorded security event."""
        now, retention = written(line), self._policies[line.domain].of(line.tenant).retention
        self._store.write(learn.event_deltas(event_of(line), subject, now, retention), (), now, PATIENCE)

    def _settle(self, line: OutcomeRecord, pseudonym: bytes, document: bytes, now: float, *, shared: bool) -> None:
        before, tenant = receipts.decode(document, pseudonym[:PLACE], self._pseudonyms)
        retention = self._policies[before.domain].retention
        challenged = learn.after_challenge(before, line.kind, line.amr)
        after, deltas = learn.settle_units(challenged, line.kind, line.taught, line.time, retention)
        swap = Swap(pseudonym + RECEIPT, document, receipts.encode(after, tenant), after.until(retention))
        self._store.write(_of_others(deltas, before.lesson.subject) if shared else deltas, (swap,), now, PATIENCE)


def _of_others(deltas: tuple[Delta, ...], subject: bytes) -> tuple[Delta, ...]:
    """The deltas of histories that are not in the subject's place."""
    place = subject[:PLACE]
    return tuple([delta for delta in deltas if not delta.key.startswith(place)])
