"""Replays recorded attempts, outcomes and security events one after another through the core, with a store of its own.

Histories learn what the log says was learned, whatever policy decides now. So existing features get their recorded
values, and new features get the values that they would have had, whichever release assesses.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from riskd.core.assess import Decision, Release, assess
from riskd.core.attempt import Attempt
from riskd.core.context import Context
from riskd.core.lineup import Lineup
from riskd.core.logged import assessment_record, attempt_of, context_of, keys_of
from riskd.core.pseudonym import Pseudonyms
from riskd.core.record import AssessmentRecord, OutcomeRecord, SecurityEventRecord, Signals, written
from riskd.counts import Counts
from riskd.offline.buckets import Bucket
from riskd.offline.policies.redecide import listed_again
from riskd.ports import HistoryStore
from riskd.rebuild.past import NOT_WRITTEN, Past

_EVERY: Final = 4096
_LOOKS: Final = 8
"""How many records are checked for expiry per line."""


class Fold:
    """Replays a log in the order in which it is fed, and assesses the subjects in `bucket` again.

    `counts`: lines by what was done with them, or why they were left out.
    """

    def __init__(self, release: Release, store: HistoryStore, bucket: Bucket = Bucket()) -> None:  # noqa: B008 - frozen
        """`store`: an empty one. It gets the histories of the bucket's subjects, those that all subjects share, and the
        receipts of all."""
        self.counts = Counts()
        self._release = release
        self._store = store
        self._bucket = bucket
        self._pseudonyms = Pseudonyms(b"of a store that is forgotten")
        self._past = Past(self._store, self._pseudonyms, Lineup(release))
        self._lines, self._latest = 0, 0.0

    def assess(self, line: AssessmentRecord) -> AssessmentRecord | None:
        """The line that the release writes for a recorded attempt. None for a subject of another bucket, and for an
        attempt that cannot be replayed."""
        signals = line.signals
        if signals is None:
            self.counts["without_signals"] += 1
            return None
        self._housekeep(written(line))
        if not self._bucket.has(line.subject):
            self.counts["twice"] += not self._past.attempt(line, shared=True)
            self.counts["other_buckets"] += 1
            return None
        attempt = attempt_of(line, signals)
        policy = self._release.policy(attempt)
        keys = keys_of(line, self._pseudonyms, policy.counters)
        context = context_of(line.facts, self._past.remembered(line, keys, whole=True), signals)
        context = replace(context, kept=policy.retention.profile)
        decision = assess(
            attempt,
            context,
            keys,
            self._release,
            line.id,
            explain=line.contributions is not None,
            suggest=False,
            known=listed_again(policy, line, attempt, context),
        )
        self.counts["twice"] += not self._past.write(line, decision.deltas, decision.receipt)
        self.counts["assessed"] += 1
        return _line(line, signals, attempt, context, decision)

    def outcome(self, line: OutcomeRecord) -> bool:
        """Apply what a recorded outcome taught. Returns whether it belongs to this bucket."""
        ours = self._bucket.has(line.assessment_id)
        if not self._past.outcome(line, shared=not ours):
            self.counts["outcomes_of_nothing"] += 1
            return False
        self.counts["outcomes"] += ours
        return ours

    def event(self, line: SecurityEventRecord) -> bool:
        """Remember a recorded security event. Returns whether it belongs to this bucket.

        It does not affect attempts: their recorded signals contain the events that they were judged by.
        """
        ours = self._bucket.has(line.subject)
        if ours:
            self._past.event(line, bytes.fromhex(line.subject))
        self.counts["events"] += ours
        return ours

    def _housekeep(self, now: float) -> None:
        """Sweep now and then, by the earlier of the last two times: a single wrong one deletes nothing."""
        self._lines, before, self._latest = self._lines + 1, self._latest, now
        if not self._lines % _EVERY:
            self._store.sweep(min(before, now), _EVERY * _LOOKS)


def _line(
    line: AssessmentRecord, signals: Signals, attempt: Attempt, context: Context, decision: Decision
) -> AssessmentRecord:
    answer = decision.assessment
    if NOT_WRITTEN in line.causes:
        answer = replace(answer, causes=(*answer.causes, NOT_WRITTEN))
    again = assessment_record(
        attempt,
        context,
        decision,
        answer,
        subject=bytes.fromhex(line.subject),
        network=line.facts.network,
        now=line.time,
        signals=False,
    )
    return replace(again, signals=signals, written=line.written)
