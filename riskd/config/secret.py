"""A value that must not be shown."""

from __future__ import annotations


class Secret:
    """Bytes that no repr, log line or JSON document shows."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "Secret(hidden)" if self._value else "Secret(none)"

    def __bool__(self) -> bool:
        return bool(self._value)

    def reveal(self) -> bytes:
        """The secret itself, for the one place that needs it."""
        return self._value
