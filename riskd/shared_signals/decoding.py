"""Decodes JSON that others wrote into the expected type."""

from __future__ import annotations

from typing import TypeVar

from msgspec import MsgspecError, json

_Read = TypeVar("_Read")


class Unreadable(Exception):
    """The bytes are not JSON, or not of the expected type. The text says what was expected where, and quotes no
    value."""


def decode(content: bytes, kind: type[_Read]) -> _Read:
    """Decode JSON as `kind`. Raises Unreadable, and nothing else, whatever the bytes are."""
    try:
        return json.decode(content, type=kind)
    except (MsgspecError, ValueError, RecursionError) as error:
        text = str(error)
        # msgspec's messages name only types and members that it expects, except those about malformed JSON.
        raise Unreadable(text if text.startswith(("Expected", "Object missing")) else "not JSON") from None
