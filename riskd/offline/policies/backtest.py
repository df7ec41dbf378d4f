"""Decides the decisions of a log again with candidate policies, segment by segment."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from riskd.adapters.cel_rules import CelCompiler
from riskd.adapters.decision_log import decoded, segments_of, size
from riskd.adapters.model_file import load_model
from riskd.adapters.policy_file import read_policy
from riskd.core.features import DEFINITIONS, NAMES
from riskd.core.forest import Forest
from riskd.core.logged import vector_of
from riskd.core.policy import Policy
from riskd.core.record import AssessmentRecord, OutcomeRecord, SecurityEventRecord, decode, other_beginnings, skipped_as
from riskd.counts import Counts
from riskd.offline.outcomes import Outcomes, row, write_outcomes
from riskd.offline.policies.redecide import redecide, uncounted
from riskd.offline.policies.tally import Tally
from riskd.offline.segments import crew, each_segment
from riskd.offline.training.seen import Seen, training_of
from riskd.offline.truth import Truths
from riskd.progress import Begin, ignore_progress

Part = TypeVar("Part")
Models = tuple[tuple[str, Path], ...]
"""Identity domains, each with the directory of its model."""
_NO_OUTCOMES: Final = other_beginnings(OutcomeRecord)


class Choice(Struct, frozen=True, kw_only=True):
    """Which decisions to decide again: from `since` on and before `until` (epoch seconds).

    `release`, `journeys` and `tenant` limit them further; empty means all.
    """

    since: float = 0.0
    until: float = float("inf")
    release: str = ""
    journeys: tuple[str, ...] = ()
    tenant: str = ""

    def takes(self, record: AssessmentRecord) -> bool:
        """Whether a decision is chosen."""
        return (
            self.since <= record.time < self.until
            and (not self.release or record.release == self.release)
            and (not self.journeys or record.journey in self.journeys)
            and (not self.tenant or record.tenant == self.tenant)
        )


class Backtest(Struct, frozen=True, kw_only=True):
    """What to decide again, with which policies (file name and text of each), and with how many processes.

    `truth`: the simulation's truth that labels decisions; None if outcomes do. `models` score decisions again; without
    one, decisions of a domain keep their recorded score.
    """

    log: Path
    truth: Path | None = None
    policies: tuple[tuple[str, str], ...]
    models: Models = ()
    choice: Choice = Choice()
    workers: int | None = None
    begin: Begin = ignore_progress


class Plan(Struct, frozen=True, kw_only=True):
    """What every process needs: file names and texts of the policies, and the file of outcomes, or of the truth."""

    policies: tuple[tuple[str, str], ...]
    outcomes: Path
    truth: Path | None = None
    models: Models = ()
    choice: Choice


def run(backtest: Backtest) -> Tally:
    """Decide a log again. Raises InvalidFile if there is none, or a segment cannot be read."""
    total = Tally()
    for part in passes(backtest, redecide_segment):
        total += part
    return total


def passes(backtest: Backtest, work: Callable[[Plan, Path], Part]) -> Iterator[Part]:
    """Two passes over a log: the first collects outcomes, the second yields what `work` returns for each segment.

    With a truth, the first pass is left out.

    Raises InvalidFile as `run`.
    """
    paths = segments_of(backtest.log)
    whole = size(paths)
    with crew(backtest.workers, paths) as pool, tempfile.TemporaryDirectory(prefix="riskd-") as directory:
        plan = Plan(
            policies=backtest.policies,
            outcomes=Path(directory) / "outcomes",
            truth=backtest.truth,
            models=backtest.models,
            choice=backtest.choice,
        )
        if not backtest.truth:
            write_outcomes(plan.outcomes, each_segment(paths, outcomes_of, pool, backtest.begin("outcomes", whole)))
        yield from each_segment(paths, partial(work, plan), pool, backtest.begin("decisions", whole))


def outcomes_of(path: Path) -> bytes:
    """The outcomes of a segment, 18 bytes each."""
    packed = bytearray()
    not_here = Counts()  # the pass over decisions counts unreadable lines
    for outcome in decoded(path, not_here, decode, _NO_OUTCOMES):
        if isinstance(outcome, OutcomeRecord):
            packed += row(outcome.assessment_id, outcome.kind)
    return bytes(packed)


def redecide_segment(plan: Plan, path: Path) -> Tally:
    """Decide the decisions of one segment again."""
    (_, labels), tally = ready(plan), Tally()
    for policy, record in decisions_of(path, plan, tally):
        tally.add(policy, record, redecide(policy, record), labels.label(record.id), labels.attack(record.id))
    return tally


def decisions_of(path: Path, plan: Plan, tally: Tally) -> Iterator[tuple[Policy, AssessmentRecord]]:
    """The chosen decisions of a segment, each with its domain's policy and scored by the plan's models. Other lines are
    counted by what they are."""
    forests, (policies, _) = loaded(plan.models), ready(plan)
    for record in decoded(path, tally.counts, decode):
        if isinstance(record, AssessmentRecord):
            if len(record.vector) != len(NAMES):
                tally.counts["other_features"] += 1
            elif not plan.choice.takes(record):
                tally.counts["not_chosen"] += 1
            elif (policy := policies.get(record.domain)) is None:
                tally.counts["other_domain"] += 1
            else:
                tally.counts["uncounted"] += uncounted(policy, record)
                forest = forests.get(record.domain)
                if forest is not None and trained_on(plan.models)[record.domain].has(record.id):
                    tally.counts["trained_on"] += 1
                yield policy, record if forest is None else scored(record, forest)
        elif isinstance(record, OutcomeRecord):
            tally.counts["outcomes"] += 1
        else:
            tally.counts["events" if isinstance(record, SecurityEventRecord) else skipped_as(record)] += 1


def scored(record: AssessmentRecord, forest: Forest) -> AssessmentRecord:
    """The record with the log-odds and the score by another model."""
    log_odds, score = forest.score(vector_of(record))
    return replace(record, log_odds=log_odds, score=score)


@lru_cache(1)
def ready(plan: Plan) -> tuple[dict[str, Policy], Outcomes | Truths]:
    """The compiled policies by domain, and the labels; made once in each process."""
    compiler = CelCompiler(NAMES)
    policies = [read_policy(where, text, compiler) for where, text in plan.policies]
    labels = Truths(plan.truth) if plan.truth else Outcomes(plan.outcomes)
    return {policy.domain: policy for policy in policies}, labels


@lru_cache(1)
def trained_on(models: Models) -> dict[str, Seen]:
    """The rows that each model was trained on, by domain; none if its bundle does not say."""
    return {domain: Seen(training.sample if (training := training_of(path)) else "") for domain, path in models}


@lru_cache(1)
def loaded(models: Models) -> dict[str, Forest]:
    """The forest of each model by domain; loaded once in each process."""
    return {domain: load_model(path, DEFINITIONS, domain=domain) for domain, path in models}
