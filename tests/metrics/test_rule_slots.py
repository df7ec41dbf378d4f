"""The slots of the hits of rules, which releases come and go with."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from riskd.core.attempt import DOMAINS
from riskd.metrics.memory import MeterMemory, Note
from riskd.metrics.metric import RULES
from riskd.metrics.rule_slots import CountedRule, Noted, RuleSlots, total_hits

WORKERS = 2
RULE: CountedRule = ("customer", "tor", False)
_RULES = [("customer", name, shadow) for name in "abc" for shadow in (False, True)]
_STEPS = st.one_of(
    st.tuples(st.just("hit"), st.sampled_from(_RULES)),
    st.tuples(st.just("install"), st.sets(st.sampled_from(_RULES)).map(sorted)),
    st.tuples(st.just("die"), st.none()),
)


class Worker:
    """The slots of a worker, with their note."""

    def __init__(self) -> None:
        self.slots = memoryview(bytearray(8 * (RULES + 1))).cast("d")
        self.noted: tuple[Noted, ...] = ()
        self.start()

    def start(self) -> None:
        self.rules = RuleSlots(self.slots, self.noted)
        self.install([rule for rule, used in self.noted if used])

    def install(self, rules: list[CountedRule]) -> None:
        self.noted = self.rules.assign(rules)

    def hit(self, rule: CountedRule) -> None:
        self.slots[self.rules.number(rule)] += 1.0


def shown(*workers: Worker) -> dict[tuple[str, ...], float]:
    """The totals, by labels."""
    rows = total_hits([worker.slots.tolist() for worker in workers], [worker.noted for worker in workers])
    return {row: total for row, (total,) in rows}


@given(st.lists(st.tuples(st.integers(0, WORKERS - 1), _STEPS), max_size=40))
def test_totals_are_all_hits_of_the_rules_in_use(steps: list[tuple[int, tuple[str, Any]]]) -> None:
    """Whatever releases workers install, and whenever they die, each rule that a release has is shown with all hits
    that any worker counted for it, so no total falls; a rule that no release has is not shown."""
    workers, hits = [Worker() for _ in range(WORKERS)], Counter[CountedRule]()
    for which, (what, about) in steps:
        worker = workers[which]
        if what == "install":
            worker.install(about)
        elif what == "die":
            worker.start()
        elif about in {rule for rule, _ in worker.noted}:
            worker.hit(about)
            hits[about] += 1
        used = {rule for worker in workers for rule, in_use in worker.noted if in_use}
        assert shown(*workers) == {(rule[0], rule[1], str(rule[2]).lower()): hits[rule] for rule in used}


def test_rules_without_a_slot_count_as_other() -> None:
    """Rules beyond the number of slots count as `other`. Once other rules are gone, they get the slots of those, and
    begin at 0."""
    worker, many = Worker(), [("customer", f"r{number}", False) for number in range(RULES + 1)]
    worker.install(many)
    for rule in many:
        worker.hit(rule)
    assert shown(worker) == {("other",) * 3: 1.0} | {("customer", name, "false"): 1.0 for _, name, _ in many[:-1]}
    worker.install([RULE])
    worker.hit(RULE)
    assert shown(worker) == {("other",) * 3: 1.0, ("customer", "tor", "false"): 1.0}


def test_a_rule_in_use_keeps_its_slot() -> None:
    """However many rules come, only a rule that is gone gives up its slot, and the next one that comes gets it; the
    same rules again take no more slots."""
    worker, many = Worker(), [("customer", f"r{number}", False) for number in range(RULES)]
    for _ in range(2):
        worker.install(many)
    assert len(worker.noted) == RULES
    for rule in many:
        worker.hit(rule)
    worker.install([*many[1:], RULE, ("customer", "next", False)])
    expected = {("customer", name, "false"): 1.0 for _, name, _ in many[1:]}
    assert shown(worker) == expected | {("customer", "tor", "false"): 0.0}


def test_a_worker_without_a_note_begins_at_0() -> None:
    """If the note of a worker that died cannot be read, its successor forgets the counts: it cannot know whose they
    are."""
    worker = Worker()
    worker.install([RULE])
    worker.hit(RULE)
    worker.noted = ()
    worker.start()
    worker.install([("customer", "else", False)])
    assert shown(worker) == {("customer", "else", "false"): 0.0}


def test_a_note_has_room_for_the_longest_names() -> None:
    """A note can name as many rules as there are slots, with names of 64 characters, and every release."""
    memory = MeterMemory(1)
    long = max(DOMAINS, key=len)
    rules = tuple(((long, f"{number:064}", False), False) for number in range(RULES))
    releases = tuple((f"{number:064}", long, "m" * 64, "candidate") for number in range(9))
    note = Note(releases, rules)
    memory.write_note(0, note)
    assert memory.read_note(0) == note
