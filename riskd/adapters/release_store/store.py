"""Releases in a directory: each is immutable and named by its hash. A file lists the activations.

    releases/
      4f0c.../policies, models, release.json   a release, never changed
      activations.json                         the latest activations; the last one is in force
      proposed.json                            an activation that the member processes shall prepare
      members/                                 the member processes

Files are replaced by renaming, so a reader sees the old or the new version, even after a crash.
"""

from __future__ import annotations

import re
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from riskd.core.activation import Activation, StoredRelease
from riskd.core.errors import UNDECODABLE, InvalidFile, Problem, Unavailable, UnknownRelease
from riskd.host.files import HIDDEN, cause, drafting, place, put, visible
from riskd.host.locks import exclusive
from riskd.wording import quantity

REMEMBERED: Final = 100
"""Most activations that are kept."""
FILES: Final = 1000
"""Most files in a release."""
BYTES: Final = 512 << 20
"""Most bytes in a release."""
_ACTIVATIONS: Final = "activations.json"
_PROPOSED: Final = "proposed.json"
_ABOUT: Final = "release.json"
_LOCK: Final = ".activation"
_Document = TypeVar("_Document")


class FileReleases:
    """The releases of one host. Safe between threads and processes."""

    def __init__(self, directory: Path, keep: int) -> None:
        """`keep`: how many releases to keep, in addition to those named by the present and the previous activation."""
        self.directory = directory
        self._keep = keep

    @property
    def members(self) -> Path:
        """The directory of the member processes."""
        return self.directory / "members"

    def add(self, policies: Path, models: Path, about: Callable[[Path, Path], StoredRelease]) -> StoredRelease:
        """Add a copy of these directories as a release. If it exists already, it is left unchanged.

        `about` reads the copied policies and models, and returns the description of the release, its id included; it
        raises InvalidFile if they are bad. Raises InvalidFile, Unavailable.
        """
        problems = [*_too_large(policies), *_too_large(models)]
        if problems:
            raise InvalidFile(problems)
        try:
            with drafting(self.directory) as draft:
                kept = self._copy(draft / "release", policies, models, about)
        except (OSError, shutil.Error) as error:
            raise Unavailable([_disk_problem(self.directory, error)]) from error
        self._prune()
        return kept

    def _copy(
        self, draft: Path, policies: Path, models: Path, about: Callable[[Path, Path], StoredRelease]
    ) -> StoredRelease:
        draft.mkdir(mode=0o700)
        for source, name in ((policies, "policies"), (models, "models")):
            shutil.copytree(source, draft / name, ignore=shutil.ignore_patterns(f"{HIDDEN}*"))
        try:
            kept = about(draft / "policies", draft / "models")
        except InvalidFile as error:
            raise InvalidFile([_at_source(problem, draft, policies, models) for problem in error.problems]) from error
        if self._path(kept.id).is_dir():
            return self.find(kept.id)
        (draft / _ABOUT).write_bytes(_encoded(kept))
        try:
            place(draft, self._path(kept.id))
        except OSError:
            if not self._path(kept.id).is_dir():  # otherwise another process has just added the same release
                raise
        return kept

    def find(self, release: str) -> StoredRelease:
        """The release with this id. Raises UnknownRelease."""
        if not re.fullmatch("[0-9a-f]{16,64}", release) or not (
            found := _read(self._path(release) / _ABOUT, StoredRelease)
        ):
            what, remedy = f"there is no release {release[:64]!r} here", "list them with: riskd release list"
            raise UnknownRelease([Problem("release_id", what, remedy)])
        return found

    def all(self) -> list[StoredRelease]:
        """Every release, the newest first."""
        found = [_read(path, StoredRelease) for path in self.directory.glob(f"[!.]*/{_ABOUT}")]
        return sorted((kept for kept in found if kept), key=lambda kept: (-kept.created, kept.id))

    def folders(self, release: str) -> tuple[Path, Path]:
        """The directories of a release's policies and models. Raises UnknownRelease."""
        self.find(release)
        return self._path(release) / "policies", self._path(release) / "models"

    def activations(self) -> tuple[Activation, ...]:
        """The latest activations, the last of which is in force. Empty before the first. Raises Unavailable."""
        return _read(self.directory / _ACTIVATIONS, tuple[Activation, ...]) or ()

    def proposed(self) -> Activation | None:
        """The activation that the members shall prepare, if any. Raises Unavailable."""
        return _read(self.directory / _PROPOSED, Activation)

    def state(self) -> tuple[tuple[int, int], ...]:
        """A value that changes whenever an activation is proposed, withdrawn or made. Cheap enough to poll."""
        found = []
        for name in (_ACTIVATIONS, _PROPOSED):
            try:
                status = (self.directory / name).stat()
                found.append((status.st_ino, status.st_mtime_ns))
            except OSError:
                found.append((0, 0))
        return tuple(found)

    @contextmanager
    def turn(self, patience: float = 0.0) -> Iterator[None]:
        """Hold the lock that allows one activation at a time.

        Raises Unavailable if another process holds it for `patience` seconds.
        """
        with ExitStack() as held:
            try:
                self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                ours = held.enter_context(exclusive(self.directory / _LOCK, patience))
            except OSError as error:
                raise Unavailable([_disk_problem(self.directory, error)]) from error
            if not ours:
                raise Unavailable([Problem("release", "another activation is under way", "try again")])
            yield

    def propose(self, activation: Activation) -> None:
        """Ask the members to prepare an activation. Raises Unavailable."""
        _replace(self.directory / _PROPOSED, activation)

    def withdraw(self) -> None:
        """Withdraw the proposed activation."""
        (self.directory / _PROPOSED).unlink(missing_ok=True)

    def activate(self, activation: Activation) -> None:
        """Put an activation in force. Processes that start from now on use it. Raises Unavailable."""
        _replace(self.directory / _ACTIVATIONS, (*self.activations(), activation)[-REMEMBERED:])
        self.withdraw()
        self._prune()

    def _path(self, release: str) -> Path:
        return self.directory / release

    def _prune(self) -> None:
        """Remove the oldest releases beyond `keep`. Those of the last two activations and the proposed one stay."""
        roles = (*self.activations()[-2:], self.proposed())
        needed = {name for activation in roles if activation is not None for name in activation.named}
        idle = [kept for kept in self.all() if kept.id not in needed]
        with suppress(OSError), drafting(self.directory) as trash:
            for kept in idle[self._keep :]:
                with suppress(OSError):
                    self._path(kept.id).rename(trash / kept.id)


def _too_large(source: Path) -> Iterator[Problem]:
    """Yields a problem if a directory is too large for a release, or cannot be read."""
    try:
        if not source.is_dir():
            yield Problem(str(source), "is not a directory", "name a directory of policies, and one of models")
            return
        found = [path.stat() for path in islice(visible(source), FILES + 1)]
    except OSError as error:
        yield Problem(str(error.filename or source), error.strerror or "cannot be read", "let riskd's user read it")
        return
    sizes = [status.st_size for status in found if stat.S_ISREG(status.st_mode)]
    if len(sizes) > FILES or sum(sizes) > BYTES:
        many = f"more than {FILES} files" if len(sizes) > FILES else quantity(len(sizes), "file")
        what = f"has {many} with {sum(sizes) >> 20} MiB"
        yield Problem(str(source), what, f"keep a release to at most {FILES} files and {BYTES >> 20} MiB")


def _at_source(problem: Problem, draft: Path, policies: Path, models: Path) -> Problem:
    """A problem found in the copy, with the path of the original, where it has to be fixed."""
    where = problem.where.replace(f"{draft}/policies", str(policies)).replace(f"{draft}/models", str(models))
    return replace(problem, where=where)


def _replace(path: Path, document: Activation | Sequence[Activation]) -> None:
    try:
        put(path, _encoded(document))
    except OSError as error:
        raise Unavailable([_disk_problem(path, error)]) from error


def _encoded(document: StoredRelease | Activation | Sequence[Activation]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=2)


def _read(path: Path, kind: type[_Document]) -> _Document | None:
    """Decode a file; None if it does not exist. Raises Unavailable if it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, *UNDECODABLE) as error:
        raise Unavailable([_disk_problem(path, error)]) from error


def _disk_problem(path: Path, error: Exception) -> Problem:
    first = error.args[0][0][2] if isinstance(error, shutil.Error) else cause(error)  # shutil.Error lists all files
    return Problem(str(path), f"cannot be used: {first}", "check the disk, and who owns the directory")
