"""The meter of a worker. It counts in slots of shared memory, which `prometheus_page` renders."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from riskd.core.assess import NOTICEABLE, Decision
from riskd.core.assessment import Assessment
from riskd.core.attempt import CREDENTIAL_RESULTS, DOMAINS, Attempt, Outcome, SecurityEvent
from riskd.core.context import SOURCES, Missing
from riskd.core.decide import RESTRICTED_METHOD
from riskd.core.features import FEATURES
from riskd.core.learn import Receipt
from riskd.core.requirement import RESTRICTED
from riskd.metrics.labels import METHODS, OTHER, met
from riskd.metrics.memory import MeterMemory, Note
from riskd.metrics.metric import RULES
from riskd.metrics.rule_slots import CountedRule, RuleSlots
from riskd.metrics.table import METRICS

COMBINATIONS: Final = 4096
"""Most combinations of absent signals whose slots are cached. Finding them again takes about 1 ms."""
STAMP_SECONDS: Final = 1.0
"""Shortest time between two updates of the timestamps of when a signal last arrived, or last mattered."""


class _Places(dict[tuple[str, ...], int]):
    """The first slot of each row of a metric, by label values. Unknown label values count as `other`."""

    def __missing__(self, row: tuple[str, ...]) -> int:
        known = [{values[column] for values in self} for column in range(len(row))]
        return self[tuple(value if value in known[column] else OTHER for column, value in enumerate(row))]


class _Named(dict[str, int]):
    """The first slot of each row of a metric that has one label. An unknown value counts as `other`."""

    def __missing__(self, value: str) -> int:
        return self[OTHER]


class _Signals:
    """The slots for the signals that an attempt has: counters of arrivals, and timestamps of the last arrival.

    `stamped`: when the timestamps were last updated.
    """

    __slots__ = ("arrivals", "arrived", "stamped")

    def __init__(self, arrivals: tuple[int, ...], arrived: tuple[int, ...]) -> None:
        self.arrivals = arrivals
        self.arrived = arrived
        self.stamped = float("-inf")


class PrometheusMeter:
    """The `Meter` of one worker, and the metrics of its calls. Thread-safe.

    Unknown label values count as `other`. No method raises or waits for I/O.
    """

    def __init__(self, memory: MeterMemory, worker: int) -> None:
        self._memory = memory
        self._worker = worker
        self._slots = memory.slots(worker)
        self._lock = threading.Lock()
        self._metrics = {metric.name: metric for metric in METRICS}
        self._assessed = self._places("riskd_assessments_total")
        self._withheld = self._places("riskd_withheld_total")
        self._degraded = self._places("riskd_degraded_total")
        self._cause = self._named("riskd_causes_total")
        self._restricted = self._places("riskd_restricted_total")
        self._took = self._places("riskd_assessment_seconds")
        self._score = self._named("riskd_score")
        self._coverage = self._places("riskd_coverage")
        self._gap = self._places("riskd_gaps_total")
        self._arrivals = self._places("riskd_signal_arrivals_total")
        self._arrived = self._places("riskd_signal_arrived_timestamp_seconds")
        mattered = self._places("riskd_signal_mattered_timestamp_seconds")
        self._fed_by = {
            domain: [tuple(mattered[domain, source] for source in feature.sources) for feature in FEATURES]
            for domain in (*DOMAINS, OTHER)
        }
        self._looked = float("-inf")
        self._signals: dict[tuple[str, ...], _Signals] = {}
        self._stage = self._named("riskd_stage_seconds")
        self._outcome = self._places("riskd_outcomes_total")
        self._events = self._places("riskd_security_events_total")
        self._sign_in = self._places("riskd_sign_ins_total")
        self._learned = self._places("riskd_learned_units_total")
        self._rolled = self._places("riskd_rollout_assessments_total")
        self._rolled_degraded = self._places("riskd_rollout_degraded_total")
        self._shadowed = self._places("riskd_shadow_assessments_total")
        self._roles: dict[str, list[tuple[str, ...]]] = {}
        self._hits = memory.first["riskd_rule_hits_total"]
        self._note = memory.read_note(worker) or Note()
        self._rules = RuleSlots(self._slots[self._hits : self._hits + RULES + 1], self._note.rules)
        self._failure = self._named("riskd_failures_total")
        self._failed_at = self._named("riskd_failure_timestamp_seconds")
        self._common = self._named("riskd_store_common_reads_total")
        self._queue = self._named("riskd_queue_seconds")
        self._refused = self._places("riskd_refused_total")
        self._calls = self._call_places()
        self._handled = {
            (f"{service}/{method}", _grpcio_name(code)): place
            for (_, service, method, code), place in self._places("grpc_server_handled_total").items()
        }
        self._stage_bounds, self._stage_sum = self._buckets("riskd_stage_seconds")
        self._score_bounds, self._score_sum = self._buckets("riskd_score")
        self._coverage_bounds, self._coverage_sum = self._buckets("riskd_coverage")
        self._call_bounds, self._call_sum = self._buckets("grpc_server_handling_seconds")

    def stage(self, name: str, seconds: float) -> None:
        """One stage of a request took this long."""
        place = self._stage[name]
        bucket = place + bisect_left(self._stage_bounds, seconds)
        with self._lock:
            self._slots[bucket] += 1.0
            self._slots[place + self._stage_sum] += seconds

    def answered(self, domain: str, journey: str, seconds: float) -> None:
        """An assessment took this long."""
        place = self._took[domain, journey]
        bucket = place + bisect_left(self._call_bounds, seconds)
        with self._lock:
            self._slots[bucket] += 1.0
            self._slots[place + self._call_sum] += seconds

    def assessed(
        self, attempt: Attempt, missing: Sequence[Missing], decision: Decision, answer: Assessment, now: float
    ) -> None:
        """An attempt was answered at `now`. `missing`: the facts that it lacked."""
        domain, journey = attempt.domain, attempt.journey
        signals = self._present(domain, missing)
        counted = self._counted(attempt, decision, answer)
        counted += signals.arrivals
        score, coverage = self._score[domain], self._coverage[domain, journey]
        counted.append(score + bisect_left(self._score_bounds, answer.score))
        counted.append(coverage + bisect_left(self._coverage_bounds, answer.coverage))
        slots = self._slots
        with self._lock:
            for place in counted:
                slots[place] += 1.0
            slots[score + self._score_sum] += answer.score
            slots[coverage + self._coverage_sum] += answer.coverage
        if not 0.0 <= now - signals.stamped < STAMP_SECONDS:
            signals.stamped = now
            for place in signals.arrived:
                slots[place] = now
        if decision.contributions is not None and not 0.0 <= now - self._looked < STAMP_SECONDS:
            self._looked = now
            self._stamp_mattered(domain, decision.contributions, now)

    def _counted(self, attempt: Attempt, decision: Decision, answer: Assessment) -> list[int]:
        """The slots of the counters that an answer increments."""
        domain, journey, requirement = attempt.domain, attempt.journey, answer.requirement
        satisfied = "true" if requirement.satisfied else _UNMET[attempt.credential_result]
        places = [self._assessed[domain, journey, requirement.tier.name, satisfied]]
        places += [self._gap[domain, gap.source, gap.why] for gap in answer.gaps]
        if decision.hits:
            places += [self._hits + self._rules.number((domain, hit.rule, hit.shadow)) for hit in decision.hits]
        if decision.withheld is not None:
            places.append(self._withheld[domain, journey, decision.withheld.name])
        if requirement.satisfied and RESTRICTED_METHOD in answer.reasons:
            places.append(self._restricted[domain, journey, "assessment"])
        if answer.causes:
            places.append(self._degraded[domain, journey])
            places += [self._cause[cause.partition(":")[0]] for cause in answer.causes]
        return places

    def _present(self, domain: str, missing: Sequence[Missing]) -> _Signals:
        absent = (domain, *[gap.source for gap in missing])
        found = self._signals.get(absent)
        if found is None:
            rows = [(domain, source) for source in SOURCES if source not in absent[1:]]
            arrivals, arrived = ([places[row] for row in rows] for places in (self._arrivals, self._arrived))
            found = _Signals(tuple(arrivals), tuple(arrived))
            if len(self._signals) >= COMBINATIONS:
                self._signals.clear()
            self._signals[absent] = found
        return found

    def _stamp_mattered(self, domain: str, contributions: Sequence[float], now: float) -> None:
        moved = [column for column, by in enumerate(contributions) if not -NOTICEABLE < by < NOTICEABLE]
        columns = self._fed_by.get(domain, self._fed_by[OTHER])
        for place in {place for column in moved for place in columns[column]}:
            self._slots[place] = now

    def outcome(self, before: Receipt, after: Receipt, outcome: Outcome, achieved: str) -> None:
        """An outcome changed a receipt from `before` to `after`. A repeated one counts only what it taught in addition.

        `achieved`: the result of `assurance.completed_tier`, '' unless this outcome completes the sign-in.
        """
        domain, journey, required, kind = after.domain, after.journey, after.tier.name, outcome.kind
        if kind not in before.reported:
            self._add(self._outcome[domain, journey, required, kind])
            if kind == "challenge_passed" and not RESTRICTED.isdisjoint(outcome.amr):
                self._add(self._restricted[domain, journey, "challenge"])
        if achieved:
            self._add(self._sign_in[domain, journey, required, achieved, met(required, achieved)])
        taught = after.taught - before.taught
        if taught:
            direction = "learned" if taught > 0 else "taken_back"
            self._add(self._learned[domain, direction], abs(taught))

    def event(self, event: SecurityEvent) -> None:
        """A security event was recorded."""
        self._add(self._events[event.domain, event.kind])

    def recalled(self, remembered: int, fetched: int) -> None:
        """Histories were read: this many from the cache, and this many common ones from the store."""
        with self._lock:
            self._slots[self._common["memory"]] += remembered
            self._slots[self._common["store"]] += fetched

    def failed(self, part: str) -> None:
        """A part failed, and riskd went on without it."""
        self._add(self._failure[part])
        self._slots[self._failed_at[part]] = time.time()

    def reloaded(self, *, good: bool) -> None:
        """Policies, models and geo databases were reloaded. `good`: whether all of them were accepted."""
        self._set("riskd_reload_failed", (), float(not good))
        if good:
            self._set("riskd_reload_timestamp_seconds", (), time.time())

    def started(self, method: str, type: str) -> None:  # noqa: A002 - the label's name
        """A call of `method` (`riskd.v1.RiskService/Assess`) arrived; a unary one counts as a message received."""
        started, received, _, _ = self._call(method)
        with self._lock:
            self._slots[started] += 1.0
            self._slots[received] += type == _UNARY

    def exchanged(self, method: str, received: int, sent: int) -> None:
        """A stream received and sent this many more messages."""
        _, received_place, sent_place, _ = self._call(method)
        with self._lock:
            self._slots[received_place] += received
            self._slots[sent_place] += sent

    def handled(self, method: str, type: str, code: str, seconds: float) -> None:  # noqa: A002 - the label's name
        """A call ended with `code`, as grpcio spells it (`NOT_FOUND`); a unary one that is OK counts as a message
        sent."""
        _, _, sent, handling = self._call(method)
        handled = self._handled.get((method, code))
        if handled is None:
            known = method if method in self._calls else _NO_CALL
            handled = self._handled.get((known, code), self._handled[known, OTHER])
        bucket = handling + bisect_left(self._call_bounds, seconds)
        with self._lock:
            self._slots[handled] += 1.0
            self._slots[sent] += code == "OK" and type == _UNARY
            self._slots[bucket] += 1.0
            self._slots[handling + self._call_sum] += seconds

    def queued(self, method: str, seconds: float) -> None:
        """A call of this method (`riskd.v1.RiskService/Assess`) waited this long for its turn."""
        place = self._queue[method.rpartition("/")[2]]
        bucket = place + bisect_left(self._call_bounds, seconds)
        with self._lock:
            self._slots[bucket] += 1.0
            self._slots[place + self._call_sum] += seconds

    def refused(self, method: str, why: str) -> None:
        """A call was not started, because of `why`."""
        self._add(self._refused[method.rpartition("/")[2], why])

    def stored(self, records: int, size: int) -> None:
        """The history store holds this many records in this many bytes."""
        self._set("riskd_store_records", (), records)
        self._set("riskd_store_bytes", (), size)

    def limited(self, size: int) -> None:
        """The history store may grow to this many bytes. 0: the store itself has no limit."""
        self._set("riskd_store_limit_bytes", (), size)

    def disk(self, folder: str, used: int, size: int) -> None:
        """The file system of the `store` or the `log` has this size in bytes, of which this much cannot be used."""
        self._set("riskd_disk_used_bytes", (folder,), used)
        self._set("riskd_disk_size_bytes", (folder,), size)

    def logged(self, segments: int, size: int, compacted: float, asked: float) -> None:
        """The decision log has this many segments and bytes. `compacted`: when it was last compacted. `asked`: when
        the oldest erasure that is still to be done was asked for. Both are epoch seconds, 0 for never and none."""
        self._set("riskd_log_segments", (), segments)
        self._set("riskd_log_bytes", (), size)
        self._set("riskd_log_compacted_timestamp_seconds", (), compacted)
        self._set("riskd_log_erasure_asked_timestamp_seconds", (), asked)

    def geo_built(self, database: str, timestamp: float) -> None:
        """A geo database (`city`, `asn`, `anonymous`) built at `timestamp` (epoch seconds) is in use; 0: none is."""
        self._set("riskd_geo_build_timestamp_seconds", (database,), timestamp)

    def certified(self, begins: float, expires: float) -> None:
        """The certificate that this worker uses from now on is valid between these times, in epoch seconds."""
        self._set("riskd_tls_start_timestamp_seconds", (), begins)
        self._set("riskd_tls_expiry_timestamp_seconds", (), expires)

    def friction_budget(self, domain: str, journey: str, share: float) -> None:
        """The policy in use allows this share of good attempts to be challenged. 0: it sets no budget."""
        self._set("riskd_friction_budget", (domain, journey), share)

    def installed(self, role: str, release: str, models: Mapping[str, str]) -> None:
        """A release has this role from now on. `models` maps domains to models; empty if no release has the role."""
        self._roles[role] = [(release, *pair, role) for pair in models.items()]
        self._tell(releases=tuple(row for rows in self._roles.values() for row in rows))

    def ruled_by(self, rules: Sequence[CountedRule]) -> None:
        """These are the rules of the releases that decide: domain, name, whether in shadow."""
        with self._lock:  # a hit that is counted meanwhile would bring back the count of the rule before
            noted = self._rules.assign(rules)
        self._tell(rules=noted)

    def shadowed(self, domain: str, move: str) -> None:
        """A release in shadow was scored with this result (`move`), or the attempt was dropped."""
        self._add(self._shadowed[domain, move])

    def decided(self, role: str, attempt: Attempt, answer: Assessment) -> None:
        """During a rollout: the release with this role gave this answer."""
        domain, requirement = attempt.domain, answer.requirement
        satisfied = "true" if requirement.satisfied else _UNMET[attempt.credential_result]
        self._add(self._rolled[role, domain, requirement.tier.name, satisfied])
        if answer.causes:
            self._add(self._rolled_degraded[role, domain])

    def _tell(self, **changes: object) -> None:
        self._note = replace(self._note, **changes)
        self._memory.write_note(self._worker, self._note)

    def _places(self, name: str) -> _Places:
        metric, first = self._metrics[name], self._memory.first[name]
        return _Places((row, first + metric.width * number) for number, row in enumerate(metric.rows))

    def _named(self, name: str) -> _Named:
        """The places of a metric that has one label."""
        return _Named((value, place) for (value,), place in self._places(name).items())

    def _buckets(self, name: str) -> tuple[tuple[float, ...], int]:
        """A histogram's bounds, and the offset of a row's sum from its first bucket."""
        bounds = self._metrics[name].bounds
        return bounds, len(bounds) + 1

    def _call_places(self) -> dict[str, tuple[int, int, int, int]]:
        started = self._places("grpc_server_started_total")
        received = self._places("grpc_server_msg_received_total")
        sent = self._places("grpc_server_msg_sent_total")
        handling = self._places("grpc_server_handling_seconds")
        return {f"{row[1]}/{row[2]}": (started[row], received[row], sent[row], handling[row]) for row in METHODS}

    def _call(self, method: str) -> tuple[int, int, int, int]:
        return self._calls.get(method) or self._calls[_NO_CALL]

    def _add(self, place: int, amount: float = 1.0) -> None:
        with self._lock:
            self._slots[place] += amount

    def _set(self, name: str, row: tuple[str, ...], value: float) -> None:
        self._slots[self._places(name)[row]] = value


_UNARY: Final = "unary"
_UNMET: Final = {result: "wrong_credential" if result == "failed" else "false" for result in CREDENTIAL_RESULTS}
"""The label `satisfied` of an attempt that did not satisfy its requirement, by the result of its credential."""
_NO_CALL: Final = f"{OTHER}/{OTHER}"


def _grpcio_name(code: str) -> str:
    """grpcio's name of a status code: `NOT_FOUND` for `NotFound`. Only grpcio writes CANCELLED with two l."""
    if code in ("OK", OTHER):
        return code
    name = "".join(f"_{letter}" if letter.isupper() else letter for letter in code).lstrip("_").upper()
    return "CANCELLED" if name == "CANCELED" else name
