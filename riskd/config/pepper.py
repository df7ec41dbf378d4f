"""Reads and makes the peppers, the secret keys of all pseudonyms. If a pepper is lost, all histories are lost.

A pepper file has one pepper a line, the oldest first. Each line after the first is a layer (see `core.pseudonym`).
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from riskd.config.settings import Settings
from riskd.core.errors import InvalidSettings, Problem
from riskd.core.pseudonym import PEPPER_BYTES
from riskd.host.files import put
from riskd.host.locks import exclusive

PEPPER_MOST: Final = 64
"""Longest key of BLAKE2b (RFC 7693)."""
PATIENCE_S: Final = 10.0
"""Longest wait for another process that is writing the file."""

_LOG: Final = logging.getLogger("riskd.config")


def pepper_problems(where: str, peppers: list[bytes]) -> list[Problem]:
    """What is wrong with the peppers. The problems do not quote them."""
    remedy = f"use {PEPPER_BYTES} to {PEPPER_MOST} bytes a line, for example from `openssl rand -hex 32`"
    wrong = [len(pepper) for pepper in peppers or [b""] if not PEPPER_BYTES <= len(pepper) <= PEPPER_MOST]
    return [Problem(where, f"the pepper has {length} bytes", remedy) for length in wrong]


def split(content: bytes) -> list[bytes]:
    """The peppers in the content of a file or variable, one a line."""
    return [line.strip() for line in content.splitlines() if line.strip()]


def pepper_file(settings: Settings) -> Path | None:
    """The path of the pepper file; None if the peppers come from the environment."""
    if settings.secrets.pepper_file:
        return Path(settings.secrets.pepper_file)
    return None if settings.secrets.pepper else Path(settings.state.dir) / "pepper"


def add_pepper(path: Path, after: int) -> None:
    """Add a layer, 32 random bytes in hexadecimal, to a file that has `after` peppers.

    Does nothing if it has another number by now, because another process was faster. The file is replaced atomically.
    Raises InvalidSettings if it cannot be written.
    """
    try:
        with _locked(path):
            peppers = split(path.read_bytes())
            if len(peppers) == after:
                put(path, b"".join(line + b"\n" for line in (*peppers, secrets.token_hex(32).encode())))
    except OSError as error:
        remedy = "let riskd write it, or add a line of your own, from `openssl rand -hex 32`, and rotate again"
        raise InvalidSettings([Problem(str(path), f"cannot be written: {error.strerror}", remedy)]) from error


def obtain_peppers(settings: Settings) -> list[bytes]:
    """The configured peppers, or else a development pepper in the state directory, which is made at first use.

    The file is read on every call. Several processes may call this at the same time: only one makes the file. Raises
    InvalidSettings if the file cannot be made or read.
    """
    path = pepper_file(settings)
    if path is None:
        return split(settings.secrets.pepper.reveal())
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists() and not settings.secrets.pepper_file:
            _make(path)
        peppers = split(path.read_bytes())
    except OSError as error:
        where, remedy = "state.dir", "let riskd write there, or set RISKD_PEPPER"
        if settings.secrets.pepper_file:
            where, remedy = "secrets.pepper_file", "let riskd read it"
        raise InvalidSettings([Problem(where, f"{path}: {error.strerror}", remedy)]) from error
    if problems := pepper_problems(str(path), peppers):
        raise InvalidSettings(problems)
    return peppers


def _make(path: Path) -> None:
    with _locked(path):
        if path.exists():
            return
        put(path, secrets.token_hex(32).encode() + b"\n")
    remedy = "set RISKD_PEPPER or secrets.pepper_file in production"
    fields = {"file": str(path), "remedy": remedy}
    _LOG.warning("development_pepper: made in %s (%s)", path, remedy, extra={"fields": fields})


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock for writing the file. Raises InvalidSettings if it stays taken, and OSError."""
    with exclusive(path.with_name(f"{path.name}.lock"), PATIENCE_S) as ours:
        if not ours:
            raise InvalidSettings([Problem(str(path), "another process is writing it", "try again")])
        yield
