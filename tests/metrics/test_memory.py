"""The memory in which the workers of a service count."""

from __future__ import annotations

from array import array

from riskd.metrics.memory import FIRST, SLOTS, MeterMemory, Note
from riskd.metrics.metric import RULES
from riskd.metrics.table import METRICS

WORKERS = 3


def test_every_worker_and_every_metric_has_memory_of_its_own() -> None:
    """What a worker counts and notes is nowhere else: neither in the slots nor in the note of another, whichever is
    written last; nor are the slots of one metric those of another."""
    memory = MeterMemory(WORKERS)
    longest = tuple((("customer", f"{number:060}", True), False) for number in range(RULES))
    notes = [Note(((f"r{worker}", "customer", "m", "active"),), longest) for worker in range(WORKERS)]
    for order in (range(WORKERS), range(WORKERS)[::-1]):
        for worker in order:
            memory.slots(worker)[:] = array("d", [worker + 1.0] * SLOTS)
            memory.write_note(worker, notes[worker])
        for worker in order:
            assert set(memory.slots(worker)) == {worker + 1.0}
            assert memory.read_note(worker) == notes[worker]
    taken = [slot for each in METRICS if each.slots for slot in range(FIRST[each.name], FIRST[each.name] + each.slots)]
    assert sorted(taken) == list(range(SLOTS))
    assert FIRST.keys() == {each.name for each in METRICS if each.slots}
