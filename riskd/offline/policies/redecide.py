"""Decides a recorded decision again with another policy: the same code on the same vector, facts and gaps."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_network
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from riskd.adapters.policy_file.contradictions import counts_in
from riskd.core import logged
from riskd.core.assessment import Hit
from riskd.core.attempt import Attempt
from riskd.core.context import Context, Missing
from riskd.core.counters import source_of
from riskd.core.decide import Ruling, decide
from riskd.core.lists import listed
from riskd.core.logged import attempt_of, vector_of
from riskd.core.policy import Policy, evaluate, weigh
from riskd.core.record import AssessmentRecord

_FORGOTTEN: Final = Missing("history", "unavailable")
"""Histories are not recorded: the vector and the counts hold all that rules and rulings need from them."""


class Redecided(Struct, frozen=True):
    """What a policy makes of a recorded decision: every hit, shadow ones included, and the ruling."""

    attempt: Attempt
    context: Context
    hits: tuple[Hit, ...]
    ruling: Ruling


def redecide(policy: Policy, record: AssessmentRecord) -> Redecided:
    """Decide again. The policy that decided then gives the same tier, hits and satisfaction.

    The score is the recorded one. Consent was applied before the record was written, so a candidate's
    `explicit_consent` has no effect. Neither has a trusted network that the candidate drops: what its addresses said
    was not recorded.
    """
    policy = policy.of(record.tenant)
    attempt, context = attempt_of(record), context_of(record)
    evidence = weigh(policy, attempt, context, vector_of(record), listed_again(policy, record, attempt, context))
    hits, _ = evaluate(policy, attempt, evidence, record.score)
    return Redecided(attempt, context, hits, decide(policy, attempt, context, record.score, hits))


def uncounted(policy: Policy, record: AssessmentRecord) -> bool:
    """Whether the record lacks counts that conditions read, because they were not kept yet when it was written."""
    if not policy.counters:
        return False
    absent = {gap.source for gap in record.facts.missing if gap.why != "none_yet"}
    return any(
        record.attributes.get(counter) and f"{counter}.{count}" not in record.facts.counted
        for rule in policy.journeys[record.journey].rules
        for counter, count in _counts_in(rule.when)
        if source_of(count) not in absent
    )


def listed_again(policy: Policy, record: AssessmentRecord, attempt: Attempt, context: Context) -> dict[str, bool]:
    """Evaluate the lists again. Devices and whole addresses are not recorded: if the recorded network cannot tell, the
    recorded result is used, and for lists that did not exist then, no match."""
    matches = listed(policy.lists, attempt, context)
    absent = {gap.source for gap in context.missing}
    for name, each in policy.lists.items():
        if each.kind == "networks":
            known = each.holds_all(*_range(record.facts.network))
            matches[name] = name in record.lists if known is None else known
        elif each.kind == "device_ids" and "device_id" not in absent:
            matches[name] = name in record.lists
    return matches


_counts_in: Final = lru_cache(4096)(counts_in)


@lru_cache(4096)
def _range(network: str) -> tuple[int, int, int]:
    """IP version, first and last address."""
    read = ip_network(network)
    return read.version, int(read[0]), int(read[-1])


def context_of(record: AssessmentRecord) -> Context:
    """The recorded facts and gaps, without histories."""
    return replace(logged.context_of(record.facts, _FORGOTTEN), missing=record.facts.missing)
