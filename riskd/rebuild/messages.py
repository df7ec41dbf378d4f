"""Messages between the watch and the rebuilding process: the settings one way, progress and result the other."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from riskd.config import Secret, Settings
from riskd.core.errors import Problem


class Summary(Struct, frozen=True, kw_only=True):
    """The result: lines by what became of them, records added to the store, and up to when the store has the log now.

    `until`: epoch seconds. `first_unreadable`: where the first few unreadable lines are, and why. `resumed`: an earlier
    run had begun the rebuild; `done_before`: and finished it.
    """

    until: float
    counts: dict[str, int]
    records: int
    seconds: float
    lines_per_second: float
    first_unreadable: tuple[Problem, ...] = ()
    resumed: bool = False
    done_before: bool = False


class Progress(Struct, frozen=True, tag=True):
    """How much of one half is done."""

    half: str
    done: int
    total: int


class Ended(Struct, frozen=True, tag=True):
    """The rebuild is complete."""

    summary: Summary


class Refused(Struct, frozen=True, tag=True):
    """The rebuild is not possible now."""

    problems: tuple[Problem, ...]


Message = Progress | Ended | Refused


DECODER: Final = msgspec.json.Decoder(Message)
"""Decodes one line."""


def line(message: Message) -> bytes:
    """A message as one line of JSON."""
    return msgspec.json.encode(message) + b"\n"


def packed(settings: Settings) -> bytes:
    """The settings, secrets included. For a pipe; never store it."""
    return msgspec.msgpack.encode(settings, enc_hook=Secret.reveal)


def unpacked(message: bytes) -> Settings:
    """The settings from `packed`. Raises msgspec.MsgspecError."""
    return msgspec.msgpack.decode(message, type=Settings, dec_hook=lambda _, value: Secret(value))
