"""JSON that others wrote, as the type that it should have."""

from __future__ import annotations

from typing import TypeVar

from msgspec import MsgspecError, json

_Read = TypeVar("_Read")


class Unreadable(Exception):
    """It is none, or not of the type. The text says where and what was expected, and quotes nothing."""


def decode(content: bytes, kind: type[_Read]) -> _Read:
    """Raises Unreadable, whatever the bytes are."""
    try:
        return json.decode(content, type=kind)
    except (MsgspecError, ValueError, RecursionError) as error:
        told = str(error)
        # The texts of msgspec name types and members that it knows, and no value, save of what is no JSON.
        raise Unreadable(told if told.startswith(("Expected", "Object missing")) else "no JSON") from None
