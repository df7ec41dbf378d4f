"""Releases in a directory: each immutable, named by its hash, and one file that says which have a role.

    releases/
      4f0c.../policies, models, release.json   one release, never changed
      activations.json                         the latest activations; the last one holds
      proposed.json                            one that processes are asked to prepare for
      members/                                 those processes

Files are replaced by renaming, so a reader sees the old or the new, whoever dies when.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from riskd.core.errors import UNDECODABLE, InvalidFile, Problem, Unavailable, UnknownRelease
from riskd.core.lineup import Activation, StoredRelease
from riskd.files import drafting, place, put
from riskd.locks import exclusive
from riskd.wording import quantity

REMEMBERED: Final = 100
"""Activations that are remembered."""
FILES: Final = 1000
"""Most files of a release."""
BYTES: Final = 512 << 20
"""Most bytes of a release."""
HIDDEN: Final = "."
"""How the names begin of what is not copied: what git keeps of a checkout, what Kubernetes mounts behind its links."""
_ACTIVATIONS: Final = "activations.json"
_PROPOSED: Final = "proposed.json"
_ABOUT: Final = "release.json"
_LOCK: Final = ".activation"
_Document = TypeVar("_Document")


class FileReleases:
    """The releases of one host. Safe between threads and processes."""

    def __init__(self, directory: Path, keep: int) -> None:
        """`keep`: releases that are kept; those that have a role, or had the last one before, do not count."""
        self.directory = directory
        self._keep = keep

    @property
    def members(self) -> Path:
        """Where the processes are that follow the activations."""
        return self.directory / "members"

    def add(self, policies: Path, models: Path, about: Callable[[Path, Path], StoredRelease]) -> StoredRelease:
        """Keep a copy of these directories as `about` says, which reads the copy and raises if it is bad.

        One that is there already stays as it is. Raises InvalidFile, Unavailable.
        """
        problems = [*_unfit(policies), *_unfit(models)]
        if problems:
            raise InvalidFile(problems)
        try:
            with drafting(self.directory) as draft:
                kept = self._made(draft / "release", policies, models, about)
        except (OSError, shutil.Error) as error:
            raise Unavailable([_disk(self.directory, error)]) from error
        self._prune()
        return kept

    def _made(
        self, draft: Path, policies: Path, models: Path, about: Callable[[Path, Path], StoredRelease]
    ) -> StoredRelease:
        draft.mkdir(mode=0o700)
        for source, name in ((policies, "policies"), (models, "models")):
            shutil.copytree(source, draft / name, ignore=shutil.ignore_patterns(f"{HIDDEN}*"))
        try:
            kept = about(draft / "policies", draft / "models")
        except InvalidFile as error:
            raise InvalidFile([_at_home(problem, draft, policies, models) for problem in error.problems]) from error
        if self._path(kept.id).is_dir():
            return self.find(kept.id)
        (draft / _ABOUT).write_bytes(_written(kept))
        try:
            place(draft, self._path(kept.id))
        except OSError:
            if not self._path(kept.id).is_dir():  # else somebody made the same at the same moment
                raise
        return kept

    def find(self, release: str) -> StoredRelease:
        """One release. Raises UnknownRelease."""
        if not re.fullmatch("[0-9a-f]{16,64}", release) or not (
            found := _read(self._path(release) / _ABOUT, StoredRelease)
        ):
            raise UnknownRelease(
                [Problem("release_id", f"no release {release[:64]!r} is kept here", "riskd release list")]
            )
        return found

    def all(self) -> list[StoredRelease]:
        """Every release, the newest first."""
        found = [_read(path, StoredRelease) for path in self.directory.glob(f"[!.]*/{_ABOUT}")]
        return sorted((kept for kept in found if kept), key=lambda kept: (-kept.created, kept.id))

    def folders(self, release: str) -> tuple[Path, Path]:
        """Policies and models of a release. Raises UnknownRelease."""
        self.find(release)
        return self._path(release) / "policies", self._path(release) / "models"

    def activations(self) -> tuple[Activation, ...]:
        """The latest ones, the last of which holds; none before the first. Raises Unavailable."""
        return _read(self.directory / _ACTIVATIONS, tuple[Activation, ...]) or ()

    def proposed(self) -> Activation | None:
        """The activation that processes are asked to prepare for. Raises Unavailable."""
        return _read(self.directory / _PROPOSED, Activation)

    def state(self) -> tuple[tuple[int, int], ...]:
        """Changes whenever an activation is proposed, withdrawn or made: cheap to ask."""
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
        """The one activation at a time. Raises Unavailable while another is under way for `patience` seconds."""
        with ExitStack() as held:
            try:
                self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                ours = held.enter_context(exclusive(self.directory / _LOCK, patience))
            except OSError as error:
                raise Unavailable([_disk(self.directory, error)]) from error
            if not ours:
                raise Unavailable([Problem("release", "another activation is under way", "try again")])
            yield

    def propose(self, activation: Activation) -> None:
        """Ask processes to prepare. Raises Unavailable."""
        _replace(self.directory / _PROPOSED, activation)

    def withdraw(self) -> None:
        """Ask no more."""
        (self.directory / _PROPOSED).unlink(missing_ok=True)

    def activate(self, activation: Activation) -> None:
        """From now on this one holds: whoever starts, starts with it. Raises Unavailable."""
        _replace(self.directory / _ACTIVATIONS, (*self.activations(), activation)[-REMEMBERED:])
        self.withdraw()
        self._prune()

    def _path(self, release: str) -> Path:
        return self.directory / release

    def _prune(self) -> None:
        """Let go of the oldest releases that have no role, nor had one before the last activation, nor are to have."""
        roles = (*self.activations()[-2:], self.proposed())
        needed = {name for activation in roles if activation is not None for name in activation.named}
        idle = [kept for kept in self.all() if kept.id not in needed]
        with suppress(OSError), drafting(self.directory) as gone:
            for kept in idle[self._keep :]:
                with suppress(OSError):
                    self._path(kept.id).rename(gone / kept.id)


def _unfit(source: Path) -> Iterator[Problem]:
    """What is too large is not copied, nor what cannot be looked at."""
    try:
        if not source.is_dir():
            yield Problem(str(source), "is not a directory", "name the directory of policies, and that of models")
            return
        sizes = [path.stat().st_size for path in islice(_copied(source), FILES + 1) if path.is_file()]
    except OSError as error:
        yield Problem(str(error.filename or source), error.strerror or "cannot be read", "let riskd's user read it")
        return
    if len(sizes) > FILES or sum(sizes) > BYTES:
        many = f"more than {FILES} files" if len(sizes) > FILES else quantity(len(sizes), "file")
        what = f"{many} with {sum(sizes) >> 20} MiB"
        yield Problem(str(source), what, f"a release has at most {FILES} files and {BYTES >> 20} MiB")


def _copied(source: Path) -> Iterator[Path]:
    """The files of a directory that are copied: what links lead to, and nothing that is hidden."""
    for folder, folders, names in os.walk(source, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(HIDDEN)]
        yield from (Path(folder, name) for name in names if not name.startswith(HIDDEN))


def _at_home(problem: Problem, draft: Path, policies: Path, models: Path) -> Problem:
    """Problems of the copy, where whoever mends them looks."""
    where = problem.where.replace(f"{draft}/policies", str(policies)).replace(f"{draft}/models", str(models))
    return replace(problem, where=where)


def _replace(path: Path, document: Activation | Sequence[Activation]) -> None:
    try:
        put(path, _written(document))
    except OSError as error:
        raise Unavailable([_disk(path, error)]) from error


def _written(document: StoredRelease | Activation | Sequence[Activation]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=2)


def _read(path: Path, kind: type[_Document]) -> _Document | None:
    """None where there is no such file. Raises Unavailable for one that cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, *UNDECODABLE) as error:
        raise Unavailable([_disk(path, error)]) from error


def _disk(path: Path, error: Exception) -> Problem:
    first = error.args[0][0][2] if isinstance(error, shutil.Error) else error  # it lists every file that failed
    return Problem(str(path), f"cannot be used: {first}", "look at the disk, and at who owns the directory")
