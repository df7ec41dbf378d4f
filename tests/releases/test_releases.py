"""Releases on a host: immutable, and activated by all processes or by none, whichever process dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from riskd.adapters.release_store import FileReleases, Member, Statement, members
from riskd.adapters.release_store.store import FILES
from riskd.config import data_directory
from riskd.core.activation import Activation, ActivationRequest, StoredRelease
from riskd.core.assess import Release
from riskd.core.errors import (
    InvalidFile,
    InvalidRelease,
    Problem,
    RefusedRelease,
    RiskdError,
    Unavailable,
    UnknownRelease,
)
from riskd.core.lineup import Lineup
from riskd.host.files import DRAFTS, drafting
from riskd.releases import Follower, FollowRequest, following
from tests.e2e.service import environment
from tests.releases.candidates import MODELS, created, policies, releases

PAIR = ("2m", "3m")


def whole(release: str) -> ActivationRequest:
    """A request to activate the release for all subjects."""
    return ActivationRequest(release=release, actor="test")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A host with two releases, made once: its state directory and their ids."""
    state = tmp_path_factory.mktemp("made")
    first, second = (created(state, valid_for) for valid_for in PAIR)
    return state, first, second


@pytest.fixture
def host(made: tuple[Path, str, str], tmp_path: Path) -> tuple[Path, str, str]:
    """A fresh copy of the host with two releases."""
    state, first, second = made
    subprocess.run(["cp", "-r", f"{state}/releases", f"{tmp_path}/releases"], check=True)
    return tmp_path, first, second


@contextmanager
def process(state: Path, name: str, refused: list[Problem] | None = None) -> Iterator[list[Lineup]]:
    """A process that follows activations; gives the lineups that it installs. Problems go to `refused`."""
    installed: list[Lineup] = []
    with following(releases(state), name) as follower:
        active = follower.releases.active()
        if active is not None:
            installed.append(follower.releases.lineup(active))
        problems = refused if refused is not None else []
        follower.follow(active, installed.append, lambda error: problems.extend(error.problems))
        yield installed


def test_a_release_is_what_was_loaded(host: tuple[Path, str, str]) -> None:
    """A release's id is the hash of its contents: the same contents give the same id, and later changes to the source
    directories do not matter."""
    state, first, second = host
    assert first != second
    assert created(state, PAIR[0]) == first
    (state / f"candidate-{PAIR[0]}" / "customer.yaml").write_text("")
    assert releases(state).lineup(releases(state).activate(whole(first)).activation).active.id == first
    assert [kept.id for kept in releases(state).files.all()] == [second, first]


def test_few_releases_stay_loaded(host: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A process does not load again what it used last, and does not keep every release that it ever used."""
    state, first, second = host
    monkeypatch.setattr("riskd.releases.LOADED", 1)
    ours, loaded = releases(state), list[str]()
    load = ours._load

    def counted(policies: Path, models: Path) -> Release:
        loaded.append(policies.parent.name)
        return load(policies, models)

    monkeypatch.setattr(ours, "_load", counted)
    assert [ours.release(name).id for name in (first, first, second, first)] == [first, first, second, first]
    assert loaded == [first, second, first]


def test_a_changed_release_is_refused(host: tuple[Path, str, str]) -> None:
    """A release that was edited in place is not activated."""
    state, first, _ = host
    policy = releases(state).files.folders(first)[0] / "customer.yaml"
    policy.write_text(policy.read_text().replace("2m", "4m"))
    with pytest.raises(InvalidFile, match="it was changed"):
        releases(state).activate(whole(first))
    assert releases(state).active() is None


def test_bad_candidates_are_refused_whole(tmp_path: Path) -> None:
    """Every problem of every file is reported at once, including unreadable files, and nothing is kept."""
    folder = policies(tmp_path / "bad", "2m")
    (folder / "customer.yaml").write_text("domain: customer\n")
    (folder / "machine.yaml").unlink()
    with pytest.raises(InvalidFile) as refused:
        releases(tmp_path).create(folder, MODELS, "test", "")
    assert {Path(problem.where).name for problem in refused.value.problems} == {"customer.yaml", "machine.yaml"}
    (missing,) = [each for each in refused.value.problems if each.where.endswith("machine.yaml")]
    assert (missing.what, str(data_directory("policies")) in missing.remedy) == ("is missing", True)
    with pytest.raises(InvalidFile, match="is not a directory"):
        releases(tmp_path).create(tmp_path / "nowhere", MODELS, "test", "")
    (folder / "workforce.yaml").unlink()
    (folder / "workforce.yaml").symlink_to("x" * 300)
    with pytest.raises(InvalidFile, match=r"workforce\.yaml: File name too long"):
        releases(tmp_path).create(folder, MODELS, "test", "")
    assert releases(tmp_path).files.all() == []
    assert [path for path in (tmp_path / "releases").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("name", ["", "nothing", "..", "members", "../releases", "0" * 5000])
def test_an_unknown_release_is_named(host: tuple[Path, str, str], name: str) -> None:
    """A name that is no release of this host raises UnknownRelease."""
    with pytest.raises(UnknownRelease):
        releases(host[0]).activate(whole(name))


def test_every_process_swaps(host: tuple[Path, str, str]) -> None:
    """When an activation returns, every following process uses it; later processes start with it, and a rollback
    restores the previous one."""
    state, first, second = host
    with process(state, "a") as a, process(state, "b") as b:
        assert releases(state).activate(whole(first)).late == ()
        assert releases(state).activate(whole(second)).late == ()
        assert [lineup.active.id for lineup in a] == [lineup.active.id for lineup in b] == [first, second]
        with process(state, "c") as c:
            assert c[0].active.id == second
            assert releases(state).rollback("test", "").activation.release == first
            assert {each[-1].active.id for each in (a, b, c)} == {first}
    assert members(state / "releases" / "members") == {}
    with pytest.raises(InvalidRelease):
        releases(state).rollback("test", "")


def test_directories_are_followed_again_though_their_release_is_active(host: tuple[Path, str, str]) -> None:
    """What was activated by hand stays until the directories are followed again; then it follows them, even if it is
    the release that they hold."""
    state, first, _ = host
    folder, kept = policies(state / "followed", PAIR[0]), releases(state)
    kept.activate(whole(first))
    assert not kept.follow(folder, MODELS).activation.follows
    again = kept.follow(folder, MODELS, FollowRequest(resume=True)).activation
    assert (again.release, again.follows) == (first, True)
    assert kept.follow(folder, MODELS).activation == again


def test_one_refusal_holds_all_back(host: tuple[Path, str, str]) -> None:
    """If one process cannot load the release, no process takes it and the problem names that process; once it can, the
    next activation works."""
    state, first, second = host
    releases(state).activate(whole(first))
    with process(state, "sound") as sound, following(releases(state), "broken") as follower:
        load = follower.releases._load
        _break(follower)
        follower.follow(follower.releases.active(), lambda _: None, lambda _: None)
        with pytest.raises(RefusedRelease) as refused:
            releases(state).activate(whole(second))
        assert [problem.where.partition("-")[0] for problem in refused.value.problems] == ["broken"]
        assert "no memory" in refused.value.problems[0].what
        assert _active(state) == first
        follower.releases._load = load
        assert releases(state).activate(whole(second)).late == ()
        assert [lineup.active.id for lineup in sound] == [first, second]


def _break(follower: Follower) -> None:
    def refuse(policies: Path, models: Path) -> object:
        raise InvalidFile([Problem("here", "no memory")])

    follower.releases._load = refuse  # type: ignore[assignment]


def test_a_silent_process_holds_all_back(host: tuple[Path, str, str]) -> None:
    """A live process that does not answer in time blocks the activation, which is withdrawn, and is named; a dead one
    is not waited for."""
    state, first, _ = host
    silent = Member(state / "releases" / "members", "silent")
    with pytest.raises(RefusedRelease, match=r"within 0\.2 s"):
        releases(state).activate(whole(first), timeout=0.2)
    assert releases(state).active() is None
    assert releases(state).files.proposed() is None
    os.close(silent._descriptor)  # as the kernel does when a process dies
    assert releases(state).activate(whole(first)).late == ()


def test_an_activation_that_cannot_be_kept_is_withdrawn(host: tuple[Path, str, str]) -> None:
    """If the file of activations cannot be written, processes are no longer asked to prepare the release either."""
    state, first, _ = host
    (state / "releases/activations.json").symlink_to("gone/activations.json")
    with pytest.raises(Unavailable, match=r"activations\.json: cannot be used"):
        releases(state).activate(whole(first))
    assert releases(state).files.proposed() is None


def test_a_read_only_directory_does_not_stop_a_process(host: tuple[Path, str, str]) -> None:
    """A process that cannot write its statements still decides, and follows activations."""
    state, first, second = host
    releases(state).activate(whole(first))
    blocked = state / "releases" / "members"
    blocked.rmdir() if blocked.exists() else None
    blocked.write_text("not a directory")
    with process(state, "mute") as installed:
        assert installed[-1].active.id == first
        assert releases(state).activate(whole(second)).late == ()
        _until(lambda: installed[-1].active.id == second)


def test_a_deleted_directory_is_joined_again(host: tuple[Path, str, str]) -> None:
    """If the directory of releases is deleted, processes decide as before, and activations in the new directory wait
    for them as they did in the old one."""
    state, first, _ = host
    releases(state).activate(whole(first))
    with process(state, "one") as installed:
        # Out of the way first: the process may write into the directory while it is being deleted.
        shutil.rmtree((state / "releases").rename(state / "deleted"))
        _until(lambda: len(members(state / "releases" / "members")) == 1)
        assert installed[-1].active.id == first
        another = created(state, "4m")
        assert releases(state).activate(whole(another)).late == ()
        assert installed[-1].active.id == another


def test_an_abandoned_copy_is_removed(host: tuple[Path, str, str]) -> None:
    """The next change removes the leftovers of a killed `create`, but not a copy in progress."""
    state, first, second = host
    left = state / "releases" / f"{DRAFTS}left"
    left.mkdir()
    releases(state).activate(whole(first))
    assert not left.exists()
    with drafting(state / "releases") as copy:
        releases(state).activate(whole(second))
        assert copy.exists()


def test_one_activation_at_a_time(host: tuple[Path, str, str]) -> None:
    """A second concurrent activation is refused and changes nothing."""
    state, first, second = host
    with releases(state).files.turn(), pytest.raises(Unavailable, match="under way"):
        releases(state).activate(whole(second))
    assert releases(state).activate(whole(first)).activation.number == 1


def test_old_releases_go(tmp_path: Path) -> None:
    """Beyond `release.keep` the oldest releases are deleted, but none with a role and not the previous active one."""
    ids = [created(tmp_path, f"{minutes}m") for minutes in (2, 3)]
    for name in ids:
        releases(tmp_path).activate(whole(name))
    folders = {f"{minutes}m": policies(tmp_path / f"more-{minutes}", f"{minutes}m") for minutes in (4, 5, 6)}
    for folder in folders.values():
        releases(tmp_path, **{"release.keep": "1"}).create(folder, MODELS, "test", folder.name)
    kept = releases(tmp_path).files.all()
    assert [each.reason for each in kept] == ["more-6", "3m", "2m"]
    assert releases(tmp_path).rollback("test", "").activation.release == ids[0]


def test_a_release_that_is_being_activated_does_not_go(host: tuple[Path, str, str]) -> None:
    """A release is not deleted while processes prepare to activate it."""
    state, first, second = host
    releases(state).activate(whole(second))

    def propose(_: Path, __: Path) -> StoredRelease:
        keeper.propose(Activation(number=2, key="k", release=first, actor="test", reason="", time=0.0))
        return StoredRelease(id="c" * 16, created=2e9, actor="test", reason="", models={})

    keeper = FileReleases(state / "releases", 1)
    keeper.add(state / f"releases/{first}/policies", state / f"releases/{first}/models", propose)

    assert keeper.find(first).id == first


def test_statements_of_dead_processes_do_not_count(tmp_path: Path) -> None:
    """The statements of dead processes do not count; those of live processes do."""
    first, second = Member(tmp_path, "a"), Member(tmp_path, "b")
    first.publish(Statement(prepared="x"))
    assert sorted(each.prepared for each in members(tmp_path).values()) == ["", "x"]
    os.close(first._descriptor)
    assert [each.prepared for each in members(tmp_path).values()] == [""]
    second.leave()
    assert members(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def _active(state: Path) -> str:
    active = releases(state).active()
    return active.release if active else ""


_ACTIVATE = """
import sys
from riskd.config import load
from riskd.core.activation import ActivationRequest
from riskd.wiring import open_releases
releases = open_releases(load())
for name in sys.argv[1:]:
    releases.lineup(releases.active())
print("ready", flush=True)
number = 0
while True:
    number += 1
    releases.activate(ActivationRequest(release=sys.argv[1 + number % 2], actor="killed"))
"""


def test_a_killed_activation_leaves_the_old_or_the_new_release(host: tuple[Path, str, str]) -> None:
    """If the activating process is killed at any moment, one of the two releases is active as a whole, followers have
    it, and the next activation succeeds."""
    state, first, second = host
    chance = Random(7)
    releases(state).activate(whole(first))
    with process(state, "survivor") as survivor:
        for _ in range(12):
            command = [sys.executable, "-c", _ACTIVATE, first, second]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(state)) as victim:
                assert victim.stdout is not None
                assert victim.stdout.readline() == "ready\n"
                time.sleep(chance.uniform(0.0, 0.15))
                victim.send_signal(signal.SIGKILL)
            active = _active(state)
            assert active in (first, second)
            _until(lambda active=active: survivor[-1].active.id == active)
        numbers = [each["number"] for each in json.loads((state / "releases" / "activations.json").read_text())]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert releases(state).activate(whole(first)).late == ()
        assert survivor[-1].active.id == first


def _until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("place", "fits"), [(".git", True), ("more", False), ("linked", False)])
def test_as_much_is_copied_as_is_allowed(host: tuple[Path, str, str], place: str, fits: bool) -> None:
    """The file limit counts what would be copied: the targets of links, and nothing below `.git`."""
    state, first, _ = host
    folder = policies(state / "checkout", PAIR[0])
    many = (state if place == "linked" else folder) / place
    many.mkdir()
    for number in range(FILES + 1):
        (many / f"{number}.txt").touch()
    if place == "linked":
        (folder / "link").symlink_to(many)
    if fits:
        assert releases(state).create(folder, MODELS, "test", "").id == first
        assert not [*(state / "releases" / first / "policies").glob(".*")]
    else:
        with pytest.raises(InvalidFile, match=f"more than {FILES} files"):
            releases(state).create(folder, MODELS, "test", "")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda good: good[:20], id="cut"),
        pytest.param(lambda good: good.replace(b'"key": "', b'"key": "\xff'), id="not UTF-8"),
    ],
)
def test_a_corrupt_pointer_changes_nothing(host: tuple[Path, str, str], damage: Callable[[bytes], bytes]) -> None:
    """If the activations file is damaged, processes report it and keep their release, and continue once it is
    repaired."""
    state, first, second = host
    releases(state).activate(whole(first))
    refused: list[Problem] = []
    threads = threading.active_count()
    pointer = state / "releases" / "activations.json"
    with process(state, "a", refused) as installed:
        good = pointer.read_bytes()
        pointer.write_bytes(damage(good))
        _until(lambda: refused)
        with pytest.raises(RiskdError, match="cannot be used"):
            releases(state).activate(whole(second))
        pointer.write_bytes(good)
        assert releases(state).activate(whole(second)).late == ()
        assert [lineup.active.id for lineup in installed] == [first, second]
    assert threading.active_count() <= threads + 2
