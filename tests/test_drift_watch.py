"""The monitor's drift watch over a log that is being written, and the limits of its work."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from shutil import copytree, rmtree

import msgspec
import numpy as np
import pytest

from riskd.config import load
from riskd.core.activation import ActivationRequest
from riskd.core.drift import Reference
from riskd.core.errors import Problem, Unavailable
from riskd.core.features import NAMES
from riskd.drift_watch import HALF_LIFE, LEAST, LOOK_BYTES, Bundles, DriftWatch, active_bundles
from riskd.offline.drift.bins import bins_for, reference
from riskd.offline.drift.compare import compare
from tests.offline.drift.world import BEGIN, BUNDLE, MODEL, Shift, rows, write
from tests.releases.candidates import policies, releases


@pytest.fixture(scope="module")
def expected() -> Reference:
    return reference("customer", NAMES, MODEL, [rows(1, 4000)])


@pytest.fixture
def bundle(expected: Reference, tmp_path: Path) -> Path:
    """A bundle with a reference."""
    bundle = copytree(BUNDLE, tmp_path / "models" / "customer" / "hand-set-4")
    (bundle / "reference.json").write_bytes(msgspec.json.encode(expected))
    return bundle


@pytest.fixture
def watch(bundle: Path, tmp_path: Path) -> DriftWatch:
    return DriftWatch(tmp_path / "log", lambda: {"customer": bundle})


def indices(watch: DriftWatch) -> dict[str, float]:
    return {feature: index for (_, feature), index in watch.readings["riskd_drift_psi"].items()}


def test_it_agrees_with_the_command(watch: DriftWatch, expected: Reference, tmp_path: Path) -> None:
    """The watch gives the same index as the command for every feature, and for the score if the log is of this
    model."""
    batch = rows(2, 1500, shift=Shift("device_llr", 0, by=1.0))
    write(tmp_path / "log", batch, segments=1)
    watch.look(0.0)
    bins = bins_for(expected, NAMES)
    bins.add(batch, np.zeros(len(batch.times)))
    told = {signal.name: signal.index for signal in compare(expected, bins, "").signals}

    assert indices(watch) == pytest.approx(told)
    assert told["device_llr"] > 0.25
    assert watch.readings["riskd_drift_rows"] == {("customer",): 1500}


def test_each_line_counts_once(watch: DriftWatch, tmp_path: Path) -> None:
    """Each line counts once, however often the watch looks and even if it was half written."""
    log = write(tmp_path / "log", rows(2, 400), segments=1)
    (segment,) = log.iterdir()
    whole = segment.read_bytes()
    for end in (0, 10_000, 10_001, len(whole) // 2, len(whole) - 1, len(whole), len(whole)):
        segment.write_bytes(whole[:end])
        watch.look(0.0)

    assert watch.readings["riskd_drift_rows"] == {("customer",): 400}


def test_a_line_that_is_damaged_is_passed_over(watch: DriftWatch, tmp_path: Path) -> None:
    """A damaged line is skipped, and later ones count."""
    log = write(tmp_path / "log", rows(2, 400), segments=1)
    (segment,) = log.iterdir()
    segment.write_bytes(segment.read_bytes().replace(b'"customer"', b'"custom\xffr"', 1))
    watch.look(0.0)

    assert watch.readings["riskd_drift_rows"] == {("customer",): 399}


def test_few_rows_give_no_index(watch: DriftWatch, tmp_path: Path) -> None:
    """Below `LEAST` rows there is no index, because it would be mostly chance."""
    write(tmp_path / "log", rows(2, int(LEAST) - 1), segments=1)
    watch.look(0.0)

    assert watch.readings["riskd_drift_psi"] == {}
    assert watch.readings["riskd_drift_rows"] == {("customer",): LEAST - 1}


def test_old_rows_fade(watch: DriftWatch, tmp_path: Path) -> None:
    """Rows count half after a half-life."""
    write(tmp_path / "log", rows(2, 1200), segments=1)
    watch.look(HALF_LIFE)
    watch.look(2 * HALF_LIFE)

    assert watch.readings["riskd_drift_rows"] == {("customer",): pytest.approx(600)}
    assert watch.readings["riskd_drift_psi"] == {}


def test_a_look_is_bounded(watch: DriftWatch, tmp_path: Path) -> None:
    """If the log has grown by more than the limit, only its end is read, in whole lines."""
    batch = rows(2, 6000)
    log = write(tmp_path / "log", batch, segments=3)
    size = sum(path.stat().st_size for path in log.iterdir())
    watch.look(0.0)

    assert size > 1.5 * LOOK_BYTES
    assert watch.readings["riskd_drift_rows"][("customer",)] == pytest.approx(6000 * LOOK_BYTES / size, rel=0.01)


def test_an_unused_share_goes_to_other_segments(watch: DriftWatch, tmp_path: Path) -> None:
    """If one segment uses less than its share of the limit, the others may use the rest."""
    (much,) = write(tmp_path / "much", rows(2, 2200), segments=1).iterdir()
    log = write(tmp_path / "log", rows(3, 100), segments=3)
    much.rename(log / "99999999T000000.000000-0.jsonl")
    sizes = [path.stat().st_size for path in log.iterdir()]
    watch.look(0.0)

    assert sum(sizes) < LOOK_BYTES < len(sizes) * max(sizes)
    assert watch.readings["riskd_drift_rows"] == {("customer",): 2300}


def test_the_newest_are_looked_at_first(watch: DriftWatch, expected: Reference, tmp_path: Path) -> None:
    """On a long log, the newest segments are read first."""
    log = write(tmp_path / "log", rows(2, 2000), segments=2)
    for number in range(60):
        batch = rows(3 + number, 100, shift=Shift("device_llr", 0, by=1.0))
        (old,) = write(tmp_path / f"old{number}", batch, segments=1).iterdir()
        copy = old.rename(log / f"20231201T0000{number:02}.000000-0.jsonl")
        os.utime(copy, (BEGIN, BEGIN))
    watch.look(0.0)
    watch.look(1.0)

    assert watch.readings["riskd_drift_rows"][("customer",)] > LEAST
    assert indices(watch)["device_llr"] < 0.1


def test_another_model_restarts_the_watch(watch: DriftWatch, bundle: Path, tmp_path: Path) -> None:
    """A new reference starts new counts; without a reference there is no index, until it is back as it was."""
    write(tmp_path / "log", rows(2, 1200), segments=1)
    watch.look(0.0)
    (bundle / "reference.json").write_bytes(msgspec.json.encode(reference("customer", NAMES, MODEL, [rows(9, 500)])))
    watch.look(1.0)
    assert watch.readings["riskd_drift_rows"] == {("customer",): 0}
    away = (bundle / "reference.json").rename(tmp_path / "away")
    watch.look(2.0)
    assert watch.readings == {"riskd_drift_psi": {}, "riskd_drift_rows": {}}
    away.rename(bundle / "reference.json")
    watch.look(3.0)
    assert watch.readings["riskd_drift_rows"] == {("customer",): 0}


def test_releases_that_cannot_be_read_change_nothing(bundle: Path, tmp_path: Path) -> None:
    """While it is unknown which bundles are active, rows count for the ones known before."""
    known: list[Bundles] = [{"customer": bundle}]

    def bundles() -> Bundles:
        if not known:
            raise Unavailable([Problem("release.dir", "cannot be read", "let riskd read it")])
        return known.pop()

    watch = DriftWatch(tmp_path / "log", bundles)
    watch.look(0.0)
    write(tmp_path / "log", rows(2, 30), segments=1)
    watch.look(1.0)
    assert watch.readings["riskd_drift_rows"] == {("customer",): 30}


def test_unreadable_segments_are_skipped(watch: DriftWatch, tmp_path: Path) -> None:
    """A missing log, compressed segments and foreign lines are skipped."""
    watch.look(0.0)
    log = write(tmp_path / "log", rows(2, 30), segments=1)
    with gzip.open(log / "20230101T000000.000000-0.jsonl.gz", "wb") as packed:
        packed.write(b"{}\n")
    other = b'{"type":"assessment","domain":"customer","vector":[1],"log_odds":0,"model":""}\n'
    (log / "20240102T000000.000000-0.jsonl").write_bytes(b"\xff\n{}\n" + other)
    watch.look(1.0)
    assert watch.readings["riskd_drift_rows"] == {("customer",): 30}
    rmtree(log)
    watch.look(2.0)
    assert watch.readings["riskd_drift_rows"][("customer",)] == pytest.approx(30, rel=1e-3)


def test_the_deciding_bundles_are_found(tmp_path: Path) -> None:
    """The bundles are those of the active release or, before the first activation, of the settings."""
    state = tmp_path / "state"
    settings = load(environ={}, flags={"state.dir": str(state)})
    assert active_bundles(settings)["customer"] == BUNDLE
    host = releases(state)
    kept = host.create(policies(tmp_path / "policies", "2m"), BUNDLE.parents[1], "test", "")
    host.activate(ActivationRequest(release=kept.id, actor="test"))

    assert active_bundles(settings)["customer"] == host.files.folders(kept.id)[1] / "customer" / "hand-set-4"
