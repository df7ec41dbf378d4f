"""The file format of an erasure: which lines of the decision log are to be erased."""

from __future__ import annotations

from msgspec import Struct

from riskd.adapters.decision_log.files import PACKED, stamp


class Erasure(Struct, frozen=True):
    """An erasure of a subject's lines that were written before `asked` (epoch seconds).

    `place`: the prefix of the subject's assessment ids, hexadecimal. `written`: the size at that moment of each segment
    that was still being written; later lines of it stay. A rewritten segment gets the size 0, and a packed copy an
    entry of its own. `settled`: all segments but those in `written` are done.
    """

    place: str
    asked: float
    written: dict[str, int]
    settled: bool = False

    def reach(self, segment: str) -> int | None:
        """How many bytes at the beginning of a segment may have lines to erase. None: the whole segment."""
        plain = segment.removesuffix(PACKED)
        for name in (segment, plain):
            if name in self.written:
                return self.written[name]
        return 0 if self.settled or plain > stamp(self.asked) else None
