"""Which version of a domain's models has which role: small files beside the versions.

    models/customer/hand-set-2/   a bundle
    models/customer/champion      the version that decides, one word
    models/customer/challenger    the version that is scored in shadow, where there is one
    models/customer/history.jsonl who gave which role to whom, one line an act, never rewritten

An act is written before the role changes, so that nothing changes without a trace. Nothing here loads a model, so that
whoever only wants to know who decides stays light.
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
from riskd.files import SHARED, put
from riskd.locks import exclusive

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
HISTORY: Final = "history.jsonl"
_LOCK: Final = ".registry"
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
Role = Literal["champion", "challenger"]


class Act(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A role that was given: at `time` (Unix time), by whom and why. `version` '' means that nobody has it any more.

    `before` had the role until then. `forced` names the checks of the gate that had failed, `evaluation` is the SHA-256
    of the document that it judged by.
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
    """The models of a directory, `models/<domain>/<version>/`. Safe between processes."""

    def __init__(self, models: Path) -> None:
        self.models = models

    def versions(self, domain: str) -> list[str]:
        """Every version of a domain, sorted."""
        return sorted(path.parent.name for path in (self.models / domain).glob("[!.]*/manifest.json"))

    def path(self, domain: str, version: str) -> Path:
        """The directory of a version. Raises InvalidModel when there is none, with those that there are."""
        path = self.models / domain / version
        if not _VERSION.fullmatch(version) or not path.is_dir():
            there = ", ".join(self.versions(domain)) or "none"
            raise InvalidModel([Problem(str(self.models / domain), f"has no version {version!r:.80}", f"has: {there}")])
        return path

    def holder(self, domain: str, role: Role) -> str:
        """The version that has a role, '' when none has. Raises InvalidModel when the file cannot be read."""
        file = self.models / domain / role
        try:
            return file.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            remedy = "write the version that it is to name into it, one word"
            raise InvalidModel([Problem(str(file), str(error), remedy)]) from error

    def champion(self, domain: str) -> Path:
        """The bundle that decides. Raises InvalidModel when none does."""
        file, version = self.models / domain / CHAMPION, self.holder(domain, "champion")
        if not version and not file.exists():
            remedy = "write the version to serve into it, one word"
            raise InvalidModel([Problem(str(file), "No such file or directory", remedy)])
        if not _VERSION.fullmatch(version) or not (self.models / domain / version).is_dir():
            raise InvalidModel(
                [Problem(str(file), f"names no version here: {version!r}", "name one of the directories")]
            )
        return self.models / domain / version

    def history(self, domain: str) -> list[Act]:
        """Every act, the first one first. Raises InvalidModel for a line that nobody wrote."""
        file = self.models / domain / HISTORY
        try:
            lines = file.read_bytes().splitlines()
            return [msgspec.json.decode(line, type=Act) for line in lines]
        except FileNotFoundError:
            return []
        except (OSError, *UNDECODABLE) as error:
            raise InvalidModel([Problem(str(file), str(error), "restore it: it is only ever appended to")]) from error

    def give(self, domain: str, act: Act) -> None:
        """Give a role, as an act says. A challenger that becomes champion is challenger no more.

        Raises InvalidModel when another process is at it or was faster, Unavailable when the files cannot be written.
        """
        folder = self.models / domain
        with _turn(folder):
            if (held := self.holder(domain, act.role)) != act.before:
                what = f"{act.role} is {held or 'nobody'} by now, not {act.before or 'nobody'}"
                raise InvalidModel([Problem(str(folder / act.role), what, "look again: riskd model list")])
            if act.version:
                self.path(domain, act.version)
            self._write(domain, act)
            if act.role == CHAMPION and act.version == self.holder(domain, "challenger"):
                (folder / CHALLENGER).unlink(missing_ok=True)

    def before(self, domain: str, role: Role) -> str:
        """Who had a role before the one that has it, as the acts tell: what a rollback brings back.

        Going back twice goes back two steps. '' is an answer for a challenger. An act after which another version had
        the role has not come to pass. Raises InvalidModel when there is nothing to go back to.
        """
        past: list[str] = []
        for act in self.history(domain):
            if act.role == role:
                _found(past, act.before)
                if act.act == "rollback":
                    past.pop()
                else:
                    past.append(act.version)
        if past:
            _found(past, self.holder(domain, role))
        if len(past) < 2 or (role == CHAMPION and not past[-2]):
            what = f"no {role} is remembered from before this one"
            raise InvalidModel([Problem(str(self.models / domain / HISTORY), what, "promote a version by its name")])
        return past[-2]

    def _write(self, domain: str, act: Act) -> None:
        folder = self.models / domain
        try:
            with _added(folder / HISTORY, msgspec.json.encode(act) + b"\n"):
                if act.version:
                    put(folder / act.role, act.version.encode() + b"\n", SHARED)
                else:
                    (folder / act.role).unlink(missing_ok=True)
        except OSError as error:
            what = f"cannot be written: {error.strerror}"
            raise Unavailable(
                [Problem(str(folder), what, "look at the disk, and at who owns the directory")]
            ) from error


def _found(past: list[str], held: str) -> None:
    """Make of what had a role one after another what it was when `held` had it."""
    if held not in past:
        past.append(held)
    while past[-1] != held:
        past.pop()


@contextmanager
def _added(file: Path, line: bytes) -> Iterator[None]:
    """A line at the end of a file, taken back where it cannot be written whole, or what follows cannot be done."""
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
    """Copy to `target` the models by which challengers would decide; the challenger of each domain that has one.

    A domain without a challenger keeps its champion. Raises InvalidModel when there is no challenger at all.
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
def _turn(folder: Path) -> Iterator[None]:
    """One act at a time. Raises InvalidModel while another is under way."""
    with ExitStack() as held:
        try:
            ours = held.enter_context(exclusive(folder / _LOCK))
        except OSError as error:
            what = f"cannot be written: {error.strerror}"
            raise Unavailable(
                [Problem(str(folder), what, "be the owner of the models, or give --models DIR")]
            ) from error
        if not ours:
            raise InvalidModel([Problem(str(folder), "another role is being given", "try again")])
        yield
