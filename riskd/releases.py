"""Creates the releases of a host, and activates one in all of its processes or in none.

This is a two-phase commit over files: an activation is proposed, every following process loads it and confirms,
then one file is replaced and all processes swap to what they loaded. As only files are shared, workers, embedded
engines and the command line take part alike. After a crash at any point either the old or the new release is active.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from riskd.adapters.release_store import FileReleases, Member, Statement, members
from riskd.core.activation import Activation, ActivationRequest, StoredRelease, planned, restored
from riskd.core.assess import Release
from riskd.core.errors import InvalidFile, Problem, RefusedRelease, RiskdError, Unavailable
from riskd.core.lineup import Lineup
from riskd.host.background import surviving

POLL: Final = 0.025
"""Seconds between checks for a new activation. A check costs three calls of stat."""
AGAIN: Final = 1.0
"""Seconds before a process retries to read, prepare or install an activation."""
LOADED: Final = 4
"""Most releases that a process keeps loaded: those with a role, and one that is being prepared."""
SECONDS: Final = 30.0
"""Default time for all processes to load a release."""
DIRECTORIES: Final = "release.policies, release.models"
"""The actor of activations that follow the directories of the settings."""
_LOG: Final = logging.getLogger("riskd.releases")


class Activated(Struct, frozen=True):
    """An activation in force. `late`: processes that had not swapped to it by the deadline; they still will."""

    activation: Activation
    late: tuple[str, ...] = ()


class FollowRequest(Struct, frozen=True, kw_only=True):
    """A request to activate what the directories of the settings hold, on behalf of `actor`."""

    resume: bool = False
    """Do so even if somebody has activated a release by hand."""
    actor: str = DIRECTORIES
    reason: str = ""


_BY_DEFAULT: Final = FollowRequest()


class Releases:
    """The releases of one host. Safe between threads and processes."""

    def __init__(self, files: FileReleases, load: Callable[[Path, Path], Release]) -> None:
        """`load` loads a directory of policies and one of models; it raises InvalidFile with all problems."""
        self.files = files
        self._load = load
        self._known: dict[str, Release] = {}
        self._lock = threading.Lock()

    def create(self, policies: Path, models: Path, actor: str, reason: str) -> StoredRelease:
        """Store a copy of these directories as a release, if it loads. Raises InvalidFile, Unavailable."""

        def about(policies: Path, models: Path) -> StoredRelease:
            release = self._load(policies, models)
            with self._lock:
                self._known[release.id] = release
            versions = {domain: scorer.version for domain, scorer in release.scorers.items()}
            return StoredRelease(id=release.id, created=time.time(), actor=actor, reason=reason, models=versions)

        return self.files.add(policies, models, about)

    def follow(
        self, policies: Path, models: Path, request: FollowRequest = _BY_DEFAULT, timeout: float = SECONDS
    ) -> Activated:
        """Activate what these directories hold, in every process or in none.

        A release that somebody activated by hand stays active, unless `request.resume`. Raises InvalidFile with the
        problems of the directories, RefusedRelease or Unavailable; then nothing has changed.
        """
        with self.files.turn(timeout):
            active = self.active()
            if active is not None and not active.follows and not request.resume:
                return Activated(active)
            kept = self.create(policies, models, request.actor, request.reason)
            if active is not None and active.follows and active.release == kept.id:
                return Activated(active)
            whole = ActivationRequest(release=kept.id, actor=request.actor, reason=request.reason)
            planned_now = planned(self.files.activations(), whole, secrets.token_hex(8), time.time())
            return self._commit(replace(planned_now, follows=True), timeout)

    def find(self, release: str) -> StoredRelease:
        """One release. Raises UnknownRelease, Unavailable."""
        return self.files.find(release)

    def all(self) -> list[StoredRelease]:
        """Every stored release, the newest first. Raises Unavailable."""
        return self.files.all()

    def active(self) -> Activation | None:
        """The activation in force; None before the first. Raises Unavailable."""
        past = self.files.activations()
        return past[-1] if past else None

    def lineup(self, activation: Activation) -> Lineup:
        """The releases of an activation, loaded. Raises InvalidFile with all problems, UnknownRelease, Unavailable."""
        loaded: dict[str, Release] = {}
        problems: list[Problem] = []
        for name in activation.named:
            try:
                loaded[name] = self.release(name)
            except InvalidFile as error:
                problems += error.problems
        if problems:
            raise InvalidFile(problems)
        return Lineup(
            loaded[activation.release],
            loaded.get(activation.candidate),
            activation.percent,
            loaded.get(activation.shadow),
        )

    def activate(self, request: ActivationRequest, timeout: float = SECONDS) -> Activated:
        """Activate a release as requested, in every process or in none.

        Raises InvalidRelease, UnknownRelease, InvalidFile, RefusedRelease or Unavailable; then nothing has changed.
        """
        with self.files.turn():
            self.files.find(request.release)
            planned_now = planned(self.files.activations(), request, secrets.token_hex(8), time.time())
            return self._commit(planned_now, timeout)

    def rollback(self, actor: str, reason: str, timeout: float = SECONDS) -> Activated:
        """Restore the roles as they were before the latest activation. Raises as `activate` does."""
        with self.files.turn():
            back = restored(self.files.activations(), actor, reason, secrets.token_hex(8), time.time())
            return self._commit(back, timeout)

    def _commit(self, activation: Activation, timeout: float) -> Activated:
        """Propose the activation, wait until every process has loaded it, commit it, wait until they have swapped."""
        deadline = time.monotonic() + timeout
        self.lineup(activation)
        self.files.propose(activation)
        try:
            late = self._wait_for(lambda statement: statement.prepared == activation.key, activation.key, deadline)
            if late:
                what = f"has not loaded the release within {timeout:g} s"
                raise RefusedRelease([Problem(name, what, "see its log, and try again") for name in late])
            self.files.activate(activation)
        except RiskdError:
            self.files.withdraw()
            raise
        late = self._wait_for(lambda statement: statement.installed == activation.key, "", deadline)
        return Activated(activation, late)

    def _wait_for(self, done: Callable[[Statement], bool], key: str, deadline: float) -> tuple[str, ...]:
        """Wait until all processes are `done`. Returns those that are not by the deadline.

        Raises RefusedRelease as soon as a process refuses the activation `key`.
        """
        while True:
            statements = members(self.files.members)
            refused = [
                Problem(name, problem)
                for name, statement in statements.items()
                if key and statement.refused == key
                for problem in statement.problems
            ]
            if refused:
                raise RefusedRelease(refused)
            late = tuple(name for name, statement in statements.items() if not done(statement))
            if not late or time.monotonic() >= deadline:
                return late
            time.sleep(POLL / 4)

    def release(self, name: str) -> Release:
        """One stored release, loaded. Raises InvalidFile, UnknownRelease."""
        with self._lock:
            if name not in self._known:
                folders = self.files.folders(name)
                release = self._load(*folders)
                if release.id != name:
                    what = f"holds release {release.id}: it was changed, or made by a riskd with other features"
                    remedy = (
                        "create it again from its files (`riskd release create --policies --models`) and activate "
                        "that, or run `riskd release follow`; first stop other versions of riskd on this release.dir"
                    )
                    raise InvalidFile([Problem(str(folders[0].parent), what, remedy)])
                self._known[name] = release
            release = self._known[name] = self._known.pop(name)
            while len(self._known) > LOADED:
                del self._known[next(iter(self._known))]
            return release


class Follower:
    """The part of one process: it loads what is proposed and installs what is active. See `following`."""

    def __init__(self, releases: Releases, member: Member | None) -> None:
        """`member` states this process's progress to the others. Without one, activations do not wait for it."""
        self.releases = releases
        self._member = member
        self._published = Statement()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def follow(
        self, now: Activation | None, install: Callable[[Lineup], None], refuse: Callable[[RiskdError], None]
    ) -> None:
        """Start following on a thread, with `now` installed already.

        The thread calls `install` for each new activation, and `refuse` with why it cannot load one.
        """
        statement = replace(self._published, installed=now.key if now else "")
        try:
            self._publish(statement)
        except Unavailable as error:  # go on: assessments do not depend on this file
            self._published = statement
            refuse(error)
        thread = threading.Thread(target=self._run, args=(install, refuse), name="releases", daemon=True)
        thread.start()
        self._thread = thread

    def stop(self) -> None:
        """Stop following, and let activations no longer wait for this process. Idempotent."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._member is not None:
            self._member.leave()

    def _run(self, install: Callable[[Lineup], None], refuse: Callable[[RiskdError], None]) -> None:
        """Look for changes until stopped. After a failure, try again once `AGAIN` seconds have passed."""
        seen: object = None
        while not self._stop.wait(POLL):
            state = self.releases.files.state()
            lost = self._member is not None and self._member.lost()
            if state == seen and not lost:
                continue
            with surviving("releases"):
                try:
                    if lost:
                        self._publish(self._published)
                    self._swap(install, refuse)
                    self._prepare()
                    seen = state
                    continue
                except Unavailable as error:
                    refuse(error)
            self._stop.wait(AGAIN)

    def _swap(self, install: Callable[[Lineup], None], refuse: Callable[[RiskdError], None]) -> None:
        """Install the active release, unless that was done or refused before. Raises Unavailable."""
        active = self.releases.active()
        if active is None or active.key in (self._published.installed, self._published.refused):
            return
        try:
            install(self.releases.lineup(active))
        except Unavailable:
            raise
        except RiskdError as error:
            refuse(error)
            self._publish(replace(self._published, refused=active.key, problems=_texts(error)))
            return
        self._publish(replace(self._published, installed=active.key))
        _LOG.info(
            "activated: release %s",
            active.release,
            extra={"fields": {"release": active.release, "number": active.number}},
        )

    def _prepare(self) -> None:
        """Load the proposed release, and publish that it is ready or why it is refused. Raises Unavailable."""
        proposed = self.releases.files.proposed()
        if proposed is None or proposed.key in (self._published.prepared, self._published.refused):
            return
        try:
            self.releases.lineup(proposed)
        except RiskdError as error:
            self._publish(replace(self._published, refused=proposed.key, problems=_texts(error)))
            return
        self._publish(replace(self._published, prepared=proposed.key))

    def _publish(self, statement: Statement) -> None:
        """Publish this process's progress to the others, and remember it. Raises Unavailable."""
        try:
            if self._member is not None:
                self._member.publish(statement)
        except OSError as error:
            where = str(self.releases.files.members)
            raise Unavailable([Problem(where, f"cannot be written: {error}", "look at the disk")]) from error
        self._published = statement


@contextmanager
def following(releases: Releases, name: str) -> Iterator[Follower]:
    """A follower for which activations wait until the context exits. `name` stands for the process in messages.

    If the directory cannot be written, it still follows, but activations do not wait for it.
    """
    member = None
    try:
        member = Member(releases.files.members, name)
    except OSError as error:
        fields = {"error": str(error), "directory": str(releases.files.members)}
        _LOG.warning("release_not_asked: %s (let riskd write there)", error, extra={"fields": fields})
    follower = Follower(releases, member)
    try:
        yield follower
    finally:
        follower.stop()


def _texts(error: RiskdError) -> tuple[str, ...]:
    return tuple(str(problem) for problem in error.problems)
