"""The counts of engines in other programs: each process publishes its own, and any shows the sum."""

from __future__ import annotations

import logging
import shutil
import time
import zlib
from array import array
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from riskd.adapters.prometheus_meter import PrometheusMeter
from riskd.adapters.prometheus_page import EmbeddedMetrics, PrometheusPage
from riskd.host.files import private
from riskd.metrics import published
from riskd.metrics.embedded import EMBEDDED
from riskd.metrics.memory import FIRST, SLOTS, Counts, Note
from riskd.metrics.published import COUNTS, LOCK, Publisher, publishing
from riskd.metrics.table import METRICS
from tests.forked import forked

PATIENCE: Final = 10.0
TOR: Final = ("customer", "tor", False)
LISTED: Final = ("customer", "listed", False)


class Process:
    """A process that counts, as long as it lives."""

    def __init__(self, folder: Path) -> None:
        self.publisher = Publisher(folder)
        self.meter = PrometheusMeter(self.publisher.memory, 0)

    def count(self, times: int = 1) -> None:
        """Count so many security events."""
        slots, first = self.publisher.memory.slots(0), FIRST["riskd_security_events_total"]
        slots[first] += times

    def counted(self) -> float:
        """How many this process knows of."""
        return sum(counts.slots[FIRST["riskd_security_events_total"]] for counts in self.publisher.published())

    def die(self) -> None:
        """End without a chance to publish."""
        self.publisher._held.close()


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def shown(publisher: Publisher, metrics: Callable[[Publisher], bytes] | None = None) -> Samples:
    """The samples of the page that a process shows."""
    page = (metrics or embedded)(publisher).decode()
    families = text_string_to_metric_families(page)
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def embedded(publisher: Publisher) -> bytes:
    registry = CollectorRegistry()
    registry.register(EmbeddedMetrics("1.2.3", publisher.published, dict))
    return generate_latest(registry)


def value(publisher: Publisher, name: str, **labels: str) -> float | None:
    return shown(publisher).get((name, tuple(sorted(labels.items()))))


def test_a_series_is_that_of_a_service(tmp_path: Path) -> None:
    """Whatever was counted, each metric that an embedded engine has shows the same series as a service's page, under
    the same names and labels, apart from what is read at the scrape."""
    random = Random(1)
    with publishing(tmp_path) as publisher:
        publisher.memory.slots(0)[:] = array("d", [random.choice((0.0, random.random())) for _ in range(SLOTS)])
        publisher.memory.write_note(0, Note((("r1", "customer", "m1", "active"),), ((TOR, True), (LISTED, True))))
        ours = shown(publisher)
        service = shown(publisher, lambda one: PrometheusPage(one.memory, "1.2.3").render("", {})[1])
    theirs = {
        key: number for key, number in service.items() if key[0].startswith(tuple(each.name for each in EMBEDDED))
    }
    assert ours.pop(("riskd_workers_serving", ())) == 1
    assert ours == theirs


def test_any_process_shows_the_sum(tmp_path: Path) -> None:
    """Whichever process is asked, it shows what all have counted up to their last publication, itself included."""
    processes = [Process(tmp_path) for _ in range(3)]
    for number, each in enumerate(processes, 1):
        each.count(number)
        each.publisher.publish()
    assert [each.counted() for each in processes] == [6, 6, 6]
    assert [value(each.publisher, "riskd_workers_serving") for each in processes] == [3, 3, 3]
    processes[0].count(10)
    assert [each.counted() for each in processes] == [16, 16, 16]


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["begin", "count", "die", "close", "ask"]), max_size=30))
def test_no_count_falls(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    """However processes come, count, end and are killed: what one has shown, a later one shows at least, and what was
    published is neither lost nor counted twice. There are no more files than processes at a time."""
    folder = tmp_path_factory.mktemp("metrics")
    alive, asked, told, most = [Process(folder)], 0.0, 0, 1
    for step in [*steps, "begin", "ask"]:
        if step == "begin":
            alive.append(Process(folder))
            most = max(most, len(alive))
        elif not alive:
            continue
        elif step == "count":
            alive[-1].count()
            alive[-1].publisher.publish()
            told += 1
        elif step == "die":
            alive[-1].count()  # not published: it is lost
            alive.pop().die()
        elif step == "close":
            alive[0].count()
            told += 1
            alive.pop(0).publisher.close()
        else:
            now = alive[0].counted()
            assert now == told
            assert now >= asked
            asked = now
    assert len(list(folder.glob(f"*{COUNTS}"))) <= most
    for each in alive:
        each.die()


def test_the_state_of_a_dead_process_is_no_state(tmp_path: Path) -> None:
    """What a dead process was told of the present (sizes, ages of data, budgets, releases, whether a reload failed) is
    not shown; when something last happened is."""
    gone, there = Process(tmp_path), Process(tmp_path)
    for each, built in ((gone, 1.5e9), (there, 1.7e9)):
        each.meter.geo_built("city", built)
        each.meter.stored(round(1.8e9 - built), 1)
        each.meter.installed("active", f"r{built}", {"customer": "m"})
    gone.meter.reloaded(good=False)
    gone.meter.failed("store_damaged")
    gone.publisher.publish()
    assert value(there.publisher, "riskd_geo_build_timestamp_seconds", database="city") == 1.5e9
    assert value(there.publisher, "riskd_reload_failed") == 1
    gone.die()
    for again in (False, True):
        asked = (Process(tmp_path) if again else there).publisher
        assert value(asked, "riskd_geo_build_timestamp_seconds", database="city") == 1.7e9
        assert value(asked, "riskd_store_records") == 1e8
        assert value(asked, "riskd_reload_failed") == 0
        assert value(asked, "riskd_failures_total", part="store_damaged") == 1
        assert (value(asked, "riskd_failure_timestamp_seconds", part="store_damaged") or 0) > 1e9
        assert [labels for name, labels in shown(asked) if name == "riskd_release_info"] == [
            (("domain", "customer"), ("model", "m"), ("release", f"r{1.7e9}"), ("role", "active"))
        ]
        assert value(asked, "riskd_workers_serving") == 1 + again


def test_hits_of_dead_processes_count_for_rules_that_are_alive(tmp_path: Path) -> None:
    """The hits that a dead process counted are shown for the rules that a live one has, and the process that takes
    over goes on from them."""
    gone, there = Process(tmp_path), Process(tmp_path)
    gone.meter.ruled_by([LISTED, TOR])
    there.meter.ruled_by([TOR])
    for number, times in ((1, 5.0), (2, 7.0)):
        gone.publisher.memory.slots(0)[FIRST["riskd_rule_hits_total"] + number] = times
    gone.publisher.publish()
    gone.die()
    tor = {"domain": "customer", "rule": "tor", "shadow": "false"}
    assert value(there.publisher, "riskd_rule_hits_total", **tor) == 7
    assert value(there.publisher, "riskd_rule_hits_total", **{**tor, "rule": "listed"}) is None
    successor = Process(tmp_path)
    successor.meter.ruled_by([TOR, LISTED])
    assert value(there.publisher, "riskd_rule_hits_total", **{**tor, "rule": "listed"}) is None
    successor.publisher.publish()
    assert value(there.publisher, "riskd_rule_hits_total", **{**tor, "rule": "listed"}) == 5
    assert value(there.publisher, "riskd_rule_hits_total", **tor) == 7


def test_a_deleted_directory_costs_no_counts(tmp_path: Path) -> None:
    """If somebody deletes the files, each process publishes what it has counted again, in a file of its own: also if
    another process has begun meanwhile, and one has ended."""
    folder = tmp_path / "state" / "metrics"
    processes = [Process(folder) for _ in range(2)]
    shutil.rmtree(folder.parent)
    for each in processes:
        each.count(5)
        each.publisher.publish()
    assert [each.counted() for each in processes] == [10, 10]
    shutil.rmtree(folder)
    processes.append(Process(folder))
    processes[2].count(1)
    ended = Process(folder)
    ended.count(2)
    ended.publisher.close()
    for each in processes:
        each.publisher.publish()
    assert [each.counted() for each in processes] == [13, 13, 13]


def test_a_disk_that_cannot_be_written_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While counts cannot be written, the process goes on counting, the others show what it published before, and the
    log says so once, each time that it happens; afterwards all is there."""
    one, other = Process(tmp_path), Process(tmp_path)
    one.count(1)
    one.publisher.publish()
    one.count(1)
    for times in (1, 2):
        with monkeypatch.context() as disk:
            disk.setattr(published, "private", lambda _: private(Path("/dev/full")))
            for _ in range(3):
                one.publisher.publish()
            assert [one.counted(), other.counted()] == [times] * 2
        assert [one.counted(), other.counted()] == [times + 1] * 2
        one.count(1)
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert set(caplog.messages) == {"metrics_not_published: [Errno 28] No space left on device"}


def test_counts_that_cannot_be_read_are_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While the counts of a process cannot be read, the page has no counts, which is better than a sum that falls, and
    no failure, which would cost the program its own series; the log says so once, each time that it happens."""
    one, other = Process(tmp_path), Process(tmp_path)
    for _ in range(2):
        one.count(1)
        one.publisher.publish()
        spoilt = min(tmp_path.glob(f"*{COUNTS}"))
        kept = spoilt.rename(tmp_path / "kept")
        spoilt.mkdir()
        assert [other.publisher.published() for _ in range(3)] == [[]] * 3
        spoilt.rmdir()
        kept.rename(spoilt)
        other.counted()
    assert [message.partition(":")[0] for message in caplog.messages] == ["metrics_not_read"] * 2


def test_a_process_begins_while_the_disk_takes_no_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes no counts keeps no process from beginning; the log says so."""
    with monkeypatch.context() as disk:
        disk.setattr(published, "private", lambda _: private(Path("/dev/full")))
        one = Process(tmp_path)
    one.count(1)
    assert (one.counted(), len(caplog.messages)) == (1, 1)


def test_counts_are_published_at_work_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process publishes by itself while it works, and for the last time when it ends."""
    monkeypatch.setattr(published, "SECONDS", 0.005)
    other = Process(tmp_path)
    with publishing(tmp_path) as publisher:
        meter = PrometheusMeter(publisher.memory, 0)
        meter.failed("geo")
        until = time.monotonic() + PATIENCE
        while value(other.publisher, "riskd_failures_total", part="geo") != 1:
            assert time.monotonic() < until
    monkeypatch.setattr(published, "SECONDS", 60.0)
    with publishing(tmp_path) as publisher:
        PrometheusMeter(publisher.memory, 0).failed("geo")
    assert value(other.publisher, "riskd_failures_total", part="geo") == 2
    assert value(other.publisher, "riskd_workers_serving") == 1


def test_a_fork_counts_nothing(tmp_path: Path) -> None:
    """A process that was forked from one that counts can show the sum, but publishes nothing in its name."""
    one, other = Process(tmp_path), Process(tmp_path)

    def ask() -> None:
        one.count(5)
        one.counted()

    with forked(ask):
        pass
    assert other.counted() == 0


def test_a_page_without_processes_has_no_series_of_theirs(tmp_path: Path) -> None:
    """If nothing can be read, because somebody deleted the files and the disk takes no others, the page says that no
    process counts; a dead one is no process, and has no present."""
    one = Process(tmp_path / "metrics")
    one.meter.failed("geo")
    one.publisher.publish()
    dead = Counts(one.publisher.memory.slots(0).tolist(), Note(), alive=False)
    for counts, expected in ((list[Counts](), "riskd_build_info"), ([dead], "riskd_failures_total")):
        registry = CollectorRegistry()
        registry.register(EmbeddedMetrics("1.2.3", partial(list, counts), dict))
        samples = [one for family in registry.collect() for one in family.samples]
        assert next(one.value for one in samples if one.name == "riskd_workers_serving") == 0
        assert expected in {one.name for one in samples}
        assert "riskd_reload_failed" not in {one.name for one in samples}


def test_what_other_versions_left_is_removed(tmp_path: Path) -> None:
    """The files of a version with other metrics are ignored, and removed once no process has them; a file that is not
    one of riskd's, or of other metrics, counts as none."""
    dead = tmp_path / f"0123-0{LOCK}"
    for path in (dead, dead.with_suffix(COUNTS)):
        path.touch()
    one = Process(tmp_path)
    assert not dead.exists()
    assert not dead.with_suffix(COUNTS).exists()
    one.count(3)
    one.publisher.close()
    (counts,) = tmp_path.glob(f"*{COUNTS}")
    fewer = zlib.compress(published._ENCODER.encode(published._Published(bytes(8), Note())))
    for content in (b"", b"noise", counts.read_bytes()[:-1], fewer):
        counts.write_bytes(content)
        assert Process(tmp_path).counted() == 0
        counts.unlink(missing_ok=True)


def test_the_slots_decide_the_names_of_files(tmp_path: Path) -> None:
    """There is one lock and one file of counts for each process, which only the program's user can read."""
    Process(tmp_path / "new").publisher.close()
    assert {path.suffix for path in (tmp_path / "new").iterdir()} == {LOCK, COUNTS}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()} == {0o600}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_an_embedded_engine_has_no_metrics_of_a_service() -> None:
    """Calls, processes, certificates and drift are measured by a service alone."""
    left_out = {metric.name for metric in METRICS} - {metric.name for metric in EMBEDDED}
    assert {name.split("_")[1] for name in left_out} == {
        *("server", "queue", "refused", "tls", "drift", "store", "workers", "worker", "process")
    }
