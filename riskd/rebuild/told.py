"""Messages between the watch and the rebuilding process: the settings one way, progress and result the other."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from riskd.config import Secret, Settings
from riskd.core.errors import Problem


class Summary(Struct, frozen=True, kw_only=True):
    """What was done: lines by what became of them, records added to the store, and until which moment (epoch
    seconds) the log is in the store now. `first_unreadable`: where the first few lines are that are no records, and
    why. `resumed`: an earlier run had begun it; `done_before`: and ended it."""

    until: float
    counts: dict[str, int]
    records: int
    seconds: float
    lines_per_second: float
    first_unreadable: tuple[Problem, ...] = ()
    resumed: bool = False
    done_before: bool = False


class Progress(Struct, frozen=True, tag=True):
    """So much of a half is done."""

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
