"""The model registry: which version of a domain's models is champion or challenger, in small files.

    models/customer/hand-set-4/    a bundle
    models/customer/champion       the name of the version that decides
    models/customer/challenger     the name of the version that is scored in shadow, if any
    models/customer/history.jsonl  every change of a role, one JSON object a line, append-only

A change is written to the history before the role changes, so that no change goes unrecorded. This module does not load
models, so that commands which only need the names start fast.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from riskd.core.attempt import DOMAINS
from riskd.core.errors import UNDECODABLE, InvalidModel, Problem, Unavailable
from riskd.host.files import SHARED, cause, put
from riskd.host.locks import exclusive

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
HISTORY: Final = "history.jsonl"
_LOCK: Final = ".registry"
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
Role = Literal["champion", "challenger"]


class Act(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change of a role at `time` (epoch seconds): by whom and why.

    `version` is the new holder of the role and `before` the previous one, '' for none. `forced`: the failed checks of
    the promotion gate that were overridden. `evaluation`: SHA-256 of the evaluation that the gate used.
    """

    time: float
    actor: str
    act: Literal["promote", "rollback"]
    role: Role
    version: str
    before: str
    reason: str = ""
    forced: tuple[str, ...] = ()
    evaluation: str = ""


class Registry:
    """The models in a directory, `models/<domain>/<version>/`. Several processes may use it at the same time."""

    def __init__(self, models: Path) -> None:
        self.models = models

    def versions(self, domain: str) -> list[str]:
        """Every version of a domain, sorted."""
        return sorted(path.parent.name for path in (self.models / domain).glob("[!.]*/manifest.json"))

    def path(self, domain: str, version: str) -> Path:
        """The directory of a version. Raises InvalidModel, which lists the versions, if there is no such one."""
        path = self.models / domain / version
        if not _VERSION.fullmatch(version) or not path.is_dir():
            found = ", ".join(self.versions(domain)) or "none"
            what = f"has no version {version!r:.80}"
            remedy = f"versions: {found}; release.models or --models names the directory of models"
            raise InvalidModel([Problem(str(self.models / domain), what, remedy)])
        return path

    def holder(self, domain: str, role: Role) -> str:
        """The version that has a role, '' if none has. Raises InvalidModel if the file cannot be read."""
        file = self.models / domain / role
        try:
            return file.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            remedy = f"write the name of the {role} version into it"
            raise InvalidModel([Problem(str(file), f"cannot be read: {cause(error)}", remedy)]) from error

    def champion(self, domain: str) -> Path:
        """The bundle of the champion. Raises InvalidModel if there is none."""
        file, version = self.models / domain / CHAMPION, self.holder(domain, "champion")
        if not version and not file.exists():
            remedy = "write the name of the version to serve into it, or copy the models that come with riskd there"
            raise InvalidModel([Problem(str(file), "No such file or directory", remedy)])
        if not _VERSION.fullmatch(version) or not (self.models / domain / version).is_dir():
            what, remedy = f"there is no version {version!r} here", "write the name of one of the directories into it"
            raise InvalidModel([Problem(str(file), what, remedy)])
        return self.models / domain / version

    def history(self, domain: str) -> list[Act]:
        """Every change, the oldest first. Raises InvalidModel if a line cannot be decoded."""
        file = self.models / domain / HISTORY
        try:
            lines = file.read_bytes().splitlines()
            return [msgspec.json.decode(line, type=Act) for line in lines]
        except FileNotFoundError:
            return []
        except (OSError, *UNDECODABLE) as error:
            remedy = "restore it from a backup: riskd only ever appends to it"
            raise InvalidModel([Problem(str(file), f"cannot be read: {cause(error)}", remedy)]) from error

    def give(self, domain: str, act: Act) -> None:
        """Change a role as `act` says. A challenger that becomes champion loses its role as challenger.

        Raises InvalidModel if another process changes roles or has just changed this one, Unavailable if the files
        cannot be written.
        """
        folder = self.models / domain
        with _locked(folder):
            if (held := self.holder(domain, act.role)) != act.before:
                what = f"the {act.role} is now {held or 'none'}, not {act.before or 'none'}"
                raise InvalidModel([Problem(str(folder / act.role), what, "check with: riskd model list")])
            if act.version:
                self.path(domain, act.version)
            self._write(domain, act)
            if act.role == CHAMPION and act.version == self.holder(domain, "challenger"):
                (folder / CHALLENGER).unlink(missing_ok=True)

    def before(self, domain: str, role: Role) -> str:
        """The version to which a rollback returns: the previous holder of a role according to the history.

        A second rollback goes back one more step. For a challenger the result may be '', no challenger. Changes in the
        history that did not take effect are ignored. Raises InvalidModel if there is no previous version.
        """
        past: list[str] = []
        for act in self.history(domain):
            if act.role == role:
                _align(past, act.before)
                if act.act == "rollback":
                    past.pop()
                else:
                    past.append(act.version)
        if past:
            _align(past, self.holder(domain, role))
        if len(past) < 2 or (role == CHAMPION and not past[-2]):
            what = f"has no {role} before the present one"
            raise InvalidModel([Problem(str(self.models / domain / HISTORY), what, "promote a version by its name")])
        return past[-2]

    def _write(self, domain: str, act: Act) -> None:
        folder = self.models / domain
        try:
            with _appended(folder / HISTORY, msgspec.json.encode(act) + b"\n"):
                if act.version:
                    put(folder / act.role, act.version.encode() + b"\n", SHARED)
                else:
                    (folder / act.role).unlink(missing_ok=True)
        except OSError as error:
            what, remedy = f"cannot be written: {error.strerror}", "check the disk, and who owns the directory"
            raise Unavailable([Problem(str(folder), what, remedy)]) from error


def _align(past: list[str], held: str) -> None:
    """Change `past`, the holders of a role in order, so that it ends with `held`."""
    if held not in past:
        past.append(held)
    while past[-1] != held:
        past.pop()


@contextmanager
def _appended(file: Path, line: bytes) -> Iterator[None]:
    """Append a line to a file, and remove it again if it cannot be written in full or the body raises OSError."""
    with file.open("ab", buffering=0) as opened:
        size = opened.tell()
        try:
            while line:
                line = line[opened.write(line) :]
            os.fsync(opened.fileno())
            yield
        except OSError:
            opened.truncate(size)
            raise


def stage(models: Path, target: Path) -> dict[str, str]:
    """Copy models to `target` with every challenger as champion. Returns the challenger of each domain that has one.

    A domain without a challenger keeps its champion. Raises InvalidModel if no domain has a challenger.
    """
    registry, challengers = Registry(models), {}
    for domain in DOMAINS:
        if challenger := registry.holder(domain, "challenger"):
            challengers[domain] = challenger
        bundle = registry.path(domain, challenger) if challenger else registry.champion(domain)
        shutil.copytree(bundle, target / domain / bundle.name)
        (target / domain / CHAMPION).write_text(bundle.name + "\n", encoding="utf-8")
    if not challengers:
        remedy = "riskd model promote DOMAIN VERSION --as challenger"
        raise InvalidModel([Problem(str(models), "no identity domain has a challenger", remedy)])
    return challengers


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the registry's lock. Raises InvalidModel if another process holds it, Unavailable if it cannot be made."""
    with ExitStack() as held:
        try:
            ours = held.enter_context(exclusive(folder / _LOCK))
        except OSError as error:
            what = f"cannot be written: {error.strerror}"
            remedy = "run it as the owner of the models, or pass --models DIR"
            raise Unavailable([Problem(str(folder), what, remedy)]) from error
        if not ours:
            raise InvalidModel([Problem(str(folder), "another process is changing a role", "try again")])
        yield
