"""Lines of the decision log that are to be erased, as a file says it."""

from __future__ import annotations

from msgspec import Struct

from riskd.adapters.decision_log.files import PACKED, stamp


class Erasure(Struct, frozen=True):
    """Lines to erase: those of `place` (hexadecimal, what the subject's assessment ids begin with) that were written
    before `asked`, Unix time. `written` has the segments under way at that moment, with the bytes that they had; of
    one that is packed its own, where it has been rewritten or the other has. Once `settled`, only those are left.
    """

    place: str
    asked: float
    written: dict[str, int]
    settled: bool = False

    def reach(self, segment: str) -> int | None:
        """Bytes from the beginning of a segment in which lines are to be erased; None: in all of it."""
        plain = segment.removesuffix(PACKED)
        for name in (segment, plain):
            if name in self.written:
                return self.written[name]
        return 0 if self.settled or plain > stamp(self.asked) else None
