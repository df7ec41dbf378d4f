"""The fold: recorded attempts and outcomes, one after another, through the engine's core and a store of their own.

What was learned is what the log says was learned, by whatever policy decided then: so features are what they were,
and features that are new are what they would have been, whichever release assesses again.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from msgspec.structs import replace

from riskd.adapters.memory import MemoryStore
from riskd.core import learn, receipts
from riskd.core.assess import Decision, Release, assess
from riskd.core.attempt import Attempt
from riskd.core.context import NOTHING, Context, Memory, Missing, Remembered
from riskd.core.history import EMPTY, Delta
from riskd.core.learn import Receipt
from riskd.core.logged import assessed, keys_of, relived, surroundings
from riskd.core.pseudonym import Keys, Pseudonyms
from riskd.core.recall import PROFILE, RECEIPT, recall, wanted
from riskd.core.record import AssessmentRecord, OutcomeRecord, Signals
from riskd.core.requirement import Tier
from riskd.core.stored import PLACE, Swap
from riskd.offline.buckets import Share
from riskd.offline.replay import listed_again

NOT_WRITTEN: Final = "store:not_written"
"""The cause that an answer has of which no history knows."""
_PATIENCE: Final = 60.0
_EVERY: Final = 4096
_LOOKS: Final = 8
"""Records that are looked at for their expiry, a line."""


class Fold:
    """Lives through a log in the order in which it is fed, and assesses again whoever is in `share`.

    `counts`: lines by what was done with them; those left out say why.
    """

    def __init__(self, release: Release, share: Share = Share()) -> None:  # noqa: B008 - frozen
        self.counts = Counter[str]()
        self._release = release
        self._share = share
        self._store = MemoryStore()
        self._pseudonyms = Pseudonyms(b"of a store that is forgotten")
        self._lines = 0

    def assess(self, line: AssessmentRecord) -> AssessmentRecord | None:
        """The line that the release writes of a recorded attempt; None for another share's, and for one that cannot be
        lived through."""
        said = line.signals
        if said is None:
            self.counts["without_signals"] += 1
            return None
        attempt, keys = relived(line, said), keys_of(line, self._pseudonyms)
        now = line.time if line.written is None else line.written
        self._housekeep(now)
        context = surroundings(line.facts, self._remembered(line, keys, now), said)
        if not self._share.has(line.subject):
            policy = self._release.policy(attempt)
            deltas = learn.attempted(attempt, keys, context.now, policy.retention)
            self._write(line, now, deltas, _receipt(line, attempt, context, keys))
            self.counts["other_buckets"] += 1
            return None
        policy = self._release.policy(attempt)
        decision = assess(
            attempt,
            context,
            keys,
            self._release,
            line.id,
            explain=line.contributions is not None,
            known=listed_again(policy, line, attempt, context),
        )
        self._write(line, now, decision.deltas, decision.receipt)
        self.counts["assessed"] += 1
        return _line(line, said, attempt, context, decision)

    def outcome(self, line: OutcomeRecord) -> bool:
        """Learn what a recorded outcome taught; whether it is of this share."""
        now = line.time if line.written is None else line.written
        body = bytes.fromhex(line.assessment_id)
        key = body + RECEIPT
        _, (document,) = self._store.read((), (key,), now, _PATIENCE)
        if document is None:
            self.counts["outcomes_of_nothing"] += 1
            return False
        before, tenant = receipts.decode(document, body[:PLACE], self._pseudonyms)
        retention = self._release.policies[before.domain].retention
        kept, deltas = learn.concluded(before, line.kind, line.taught, now, retention)
        swap = Swap(key, document, receipts.encode(kept, tenant), kept.lesson.time + retention.receipt)
        self._store.write(deltas, (swap,), now, _PATIENCE)
        ours = self._share.has(line.assessment_id)
        self.counts["outcomes"] += ours
        return ours

    def _remembered(self, line: AssessmentRecord, keys: Keys, now: float) -> Remembered | Missing:
        """The histories, as far as they are asked for: of another share's attempt, what a lesson depends on."""
        if _UNREAD in line.facts.missing:
            return _UNREAD
        if self._share.has(line.subject):
            histories, _ = self._store.read(wanted(keys), (), now, _PATIENCE)
            return recall(keys, histories)
        own, address = keys.subject + PROFILE, keys.address + PROFILE
        (subject, place), _ = self._store.read((own, address), (), now, _PATIENCE)
        return Remembered(
            subject=Memory(subject) if subject else NOTHING, address=Memory(place) if place else NOTHING, domain=EMPTY
        )

    def _write(self, line: AssessmentRecord, now: float, deltas: tuple[Delta, ...], receipt: Receipt) -> None:
        if NOT_WRITTEN in line.causes:
            return
        key, keep = bytes.fromhex(line.id) + RECEIPT, self._release.policies[line.domain].retention.receipt
        swap = Swap(key, None, receipts.encode(receipt, line.tenant), now + keep)
        if not self._store.write(deltas, (swap,), now, _PATIENCE):
            self.counts["twice"] += 1

    def _housekeep(self, now: float) -> None:
        self._lines += 1
        if not self._lines % _EVERY:
            self._store.sweep(now, _EVERY * _LOOKS)


_UNREAD: Final = Missing("history", "unavailable")


def _receipt(line: AssessmentRecord, attempt: Attempt, context: Context, keys: Keys) -> Receipt:
    """What a receipt keeps that an outcome with its units recorded asks for."""
    return Receipt(
        lesson=learn.lesson(attempt, context, keys),
        domain=line.domain,
        journey=line.journey,
        tier=Tier[line.tier],
        amr=(),
        satisfied=line.satisfied,
        activity=(),
    )


def _line(
    line: AssessmentRecord, said: Signals, attempt: Attempt, context: Context, decision: Decision
) -> AssessmentRecord:
    answer = decision.assessment
    if NOT_WRITTEN in line.causes:
        answer = replace(answer, causes=(*answer.causes, NOT_WRITTEN))
    again = assessed(
        attempt,
        context,
        decision,
        answer,
        subject=bytes.fromhex(line.subject),
        network=line.facts.network,
        now=line.time,
        signals=False,
    )
    return replace(again, signals=said, written=line.written)
