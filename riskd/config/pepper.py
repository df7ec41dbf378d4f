"""The pepper: the secret that keys all pseudonyms. To lose it is to lose every history."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from pathlib import Path
from typing import Final

from riskd.config.settings import Settings
from riskd.core.errors import InvalidSettings, Problem
from riskd.core.pseudonym import PEPPER_BYTES

PEPPER_MOST: Final = 64
"""Longest key of BLAKE2b (RFC 7693)."""

_LOG: Final = logging.getLogger("riskd.config")


def pepper_problem(where: str, pepper: bytes) -> Problem | None:
    """What is wrong with a pepper; the text never repeats it."""
    if PEPPER_BYTES <= len(pepper) <= PEPPER_MOST:
        return None
    return Problem(
        where,
        f"the pepper has {len(pepper)} bytes",
        f"use {PEPPER_BYTES} to {PEPPER_MOST} bytes, for example from `openssl rand -hex 32`",
    )


def obtain_pepper(settings: Settings) -> bytes:
    """The deployment's pepper, or the development pepper of the state directory, made at first use.

    Safe between processes: whoever comes second reads what the first has made. Raises InvalidSettings
    when the file cannot be made or read.
    """
    if settings.secrets.pepper:
        return settings.secrets.pepper.reveal()
    path = Path(settings.state.dir) / "pepper"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
        pepper = path.read_bytes().strip()
    except OSError as error:
        raise InvalidSettings(
            [Problem("state.dir", f"{path}: {error.strerror}", "let riskd write there, or set RISKD_PEPPER")]
        ) from error
    if problem := pepper_problem(str(path), pepper):
        raise InvalidSettings([problem])
    return pepper


def _make(path: Path) -> None:
    draft = path.with_name(f"pepper.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secrets.token_hex(32).encode())
        os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
            _LOG.warning(
                "development_pepper",
                extra={
                    "fields": {"file": str(path), "remedy": "set RISKD_PEPPER or secrets.pepper_file in production"}
                },
            )
    finally:
        os.close(descriptor)
        draft.unlink()
