"""Policies, models and databases: bad files are refused at start and reload, and good ones are loaded."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from riskd.core import record
from tests.e2e.service import (
    CITY,
    LONDON,
    MAXMIND,
    ROOT,
    START,
    Service,
    attempt,
    eventually,
    reload,
    riskd,
    serving,
    told,
)

Damage = Callable[[Path], tuple[str, str]]
"""Damages a file below a directory of policies, models and databases; returns its place and part of the remedy."""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Copies of everything that SIGHUP reads."""
    shutil.copytree(ROOT / "data" / "policies", tmp_path / "policies")
    shutil.copytree(ROOT / "models", tmp_path / "models")
    (tmp_path / "geo").mkdir()
    shutil.copy(CITY, tmp_path / "geo" / "city.mmdb")
    return tmp_path


def settings(files: Path) -> dict[str, str]:
    return {
        "RISKD_RELEASE__POLICIES": str(files / "policies"),
        "RISKD_RELEASE__MODELS": str(files / "models"),
        "RISKD_GEO__DIR": str(files / "geo"),
        "RISKD_GEO__CITY": "",
        "RISKD_GEO__ASN": "",
        "RISKD_SERVER__WATCH_S": "0",
    }


def replace(path: Path, old: str, new: str) -> int:
    """Replace the first `old`, and return its line."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    install(path, text.replace(old, new, 1).encode())
    return text[: text.index(old)].count("\n") + 1


def install(path: Path, content: bytes) -> None:
    """Replace a file by renaming, as an operator should."""
    draft = path.with_suffix(".new")
    draft.write_bytes(content)
    draft.rename(path)


def type_error(files: Path) -> tuple[str, str]:
    policy = files / "policies" / "customer.yaml"
    line = replace(policy, "when: hosting == 1.0", 'when: hosting == "yes"')
    return f"{policy}:{line}:", "=="


def misspelled_tier(files: Path) -> tuple[str, str]:
    policy = files / "policies" / "workforce.yaml"
    line = replace(policy, "floor: ", "floor: STEPUP #")
    return f"{policy}:{line}:", "STEP_UP"


def edited_forest(files: Path) -> tuple[str, str]:
    forest = files / "models" / "machine" / "hand-set-2" / "forest.json"
    replace(forest, "0.5", "0.6")
    return f"{forest}: has the SHA-256", "seal"


def other_features(files: Path) -> tuple[str, str]:
    manifest = files / "models" / "customer" / "hand-set-4" / "manifest.json"
    replace(manifest, "km; missing nan; revision 1", "km; missing nan; revision 0")
    return f"{manifest}: features.", "train"


def no_champion(files: Path) -> tuple[str, str]:
    champion = files / "models" / "workforce" / "champion"
    champion.write_text("hand-set-9\n")
    return f"{champion}: there is no version", "write the name of one"


def corrupt_database(files: Path) -> tuple[str, str]:
    city = files / "geo" / "city.mmdb"
    install(city, (MAXMIND / "bad" / "GeoIP2-City-Test-Broken-Double-Format.mmdb").read_bytes())
    return f"{city}: ", "riskd geo install"


def unknown_database(files: Path) -> tuple[str, str]:
    city = files / "geo" / "city.mmdb"
    install(city, (MAXMIND / "bad" / "libmaxminddb-corrupt-search-tree.mmdb").read_bytes())
    return f"{city}: ", "use a city"


def truncated_database(files: Path) -> tuple[str, str]:
    city = files / "geo" / "city.mmdb"
    install(city, CITY.read_bytes()[:-4000])
    return f"{city}: ", "riskd geo install"


DAMAGES: tuple[Damage, ...] = (
    type_error,
    misspelled_tier,
    edited_forest,
    other_features,
    no_champion,
    corrupt_database,
    unknown_database,
    truncated_database,
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_bad_file_ends_the_start(damage: Damage, files: Path) -> None:
    """A bad file ends the start with exit code 2 and a line with file, place and remedy."""
    place, remedy = damage(files)
    done = riskd(*START, state=files, settings=settings(files))
    assert (done.returncode, done.stdout) == (2, "")
    problems = told(done.stderr)
    assert problems
    assert all(problem.startswith(place) for problem in problems), problems
    assert remedy in problems[0]


def test_startup_reports_the_problems_of_all_bad_files(files: Path) -> None:
    """A bad policy, model and database are all reported in one start."""
    places = [damage(files)[0] for damage in (type_error, edited_forest, corrupt_database)]
    done = riskd(*START, state=files, settings=settings(files))
    assert done.returncode == 2
    problems = told(done.stderr)
    assert len(problems) == len(places)
    assert all(any(problem.startswith(place) for problem in problems) for place in places), problems


@pytest.mark.slow
def test_reloads(files: Path) -> None:
    """At a reload, a bad file is refused and counted while the last good release stays in use; good files and
    databases are loaded."""
    with serving(files / "state", settings=settings(files)) as service:
        first = service.assess(attempt()).release
        good = {path: path.read_bytes() for path in files.glob("[pmg]*/**/*") if path.is_file()}
        damages = (type_error, edited_forest, corrupt_database)
        for count, damage in enumerate(damages, 1):
            place, remedy = damage(files)
            told = str(reload(service, "reload_refused")["problems"])
            assert told[2:].startswith(place)
            assert remedy in told
            assert service.metric("riskd_failures_total", part="reload") == count
            assert service.assess(attempt()).release == first
            for path, content in good.items():
                if path.read_bytes() != content:
                    install(path, content)

        policy = files / "policies" / "customer.yaml"
        replace(policy, "version: ", "# reviewed again\nversion: ")
        database = files / "geo" / "city.mmdb"
        database.rename(files / "away.mmdb")
        assert reload(service, "reloaded")["release"] != first
        second = service.assess(attempt(LONDON))
        assert second.release != first
        assert ("place", "not_installed") in [(gap.source, gap.why) for gap in second.gaps]
        assert service.metric("riskd_release_info", release=second.release) == 3
        assert service.metric("riskd_release_info", release=first) == 0
        assert service.metric("riskd_geo_build_timestamp_seconds", database="city") == 0

        (files / "away.mmdb").rename(database)
        reload(service, "reloaded")
        assert "place" not in [gap.source for gap in service.assess(attempt(LONDON)).gaps]
        assert service.metric("riskd_geo_build_timestamp_seconds", database="city") > 1e9
        seen = [line.facts.place for line in service.decisions() if isinstance(line, record.AssessmentRecord)]
        assert [place is not None for place in seen] == [True] * 4 + [False, True]
        assert service.stop() == 0


WATCHED = {"RISKD_SERVER__WATCH_S": "0.2"}
"""Settings with a short polling interval, so that tests need not wait."""


def decided_by(service: Service) -> set[str]:
    """The releases that many answers of all workers name."""
    return {service.assess(attempt()).release for _ in range(12)}


def failed(service: Service) -> bool:
    """Whether the service reports that files on disk were refused."""
    return service.metric("riskd_reload_failed") == 1


@pytest.mark.slow
def test_all_workers_load_good_files_and_none_loads_bad_ones(files: Path) -> None:
    """Without a signal, every worker loads a good policy; a bad one is refused, reported and counted. A worker that is
    replaced meanwhile starts with the last good files, without bad databases."""
    with serving(files / "state", workers=2, settings={**settings(files), **WATCHED}) as service:
        (first,) = decided_by(service)
        policy, city = files / "policies" / "customer.yaml", files / "geo" / "city.mmdb"
        good, database = policy.read_text(encoding="utf-8"), city.read_bytes()
        replace(policy, "version: ", "# reviewed again\nversion: ")
        eventually(lambda: first not in decided_by(service))
        (second,) = decided_by(service)
        assert not failed(service)

        type_error(files)
        eventually(lambda: failed(service))
        corrupt_database(files)
        eventually(lambda: "city.mmdb" in str(service.events()[-1].get("problems")))
        before = service.workers()
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        eventually(lambda: not set(before) & set(service.workers()))
        eventually(lambda: service.metric("riskd_workers_serving") == 2)
        assert decided_by(service) == {second}
        assert failed(service)
        assert "place" in gaps(service)

        install(city, database)
        install(policy, good.encode())
        eventually(lambda: decided_by(service) == {first})
        eventually(lambda: not failed(service))
        eventually(lambda: "place" not in gaps(service))
        assert service.metric("riskd_reload_timestamp_seconds") > 1e9
        assert service.stop() == 0


def gaps(service: Service) -> set[str]:
    """The sources of an answer's gaps."""
    return {gap.source for gap in service.assess(attempt(LONDON)).gaps}


def test_an_activation_holds_until_the_files_are_followed_again(files: Path) -> None:
    """After an activation, changed files are ignored until `riskd release follow`, which loads their present
    content."""
    chosen = {**settings(files), **WATCHED}
    with serving(files / "state", settings=chosen) as service:
        first = service.assess(attempt()).release
        assert riskd("release", "activate", first, state=files / "state", settings=chosen).returncode == 0
        replace(files / "policies" / "customer.yaml", "version: ", "# reviewed again\nversion: ")
        eventually(lambda: any(event["event"] == "reloaded" for event in service.events()))
        assert service.assess(attempt()).release == first
        done = riskd("release", "follow", "--reason", "back to files", state=files / "state", settings=chosen)
        assert done.returncode == 0, done.stderr
        second = service.assess(attempt()).release
        assert second != first
        replace(files / "policies" / "customer.yaml", "version: ", "# and again\nversion: ")
        eventually(lambda: service.assess(attempt()).release not in (first, second))
