"""Rewrites segments without the lines that are erased or too old, and finds whose a line is."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from riskd.adapters.decision_log.erasure import Erasures
from riskd.adapters.decision_log.files import PACKED, opened, whole
from riskd.core.attempt import DOMAINS
from riskd.core.errors import UNDECODABLE
from riskd.core.stored import PLACE
from riskd.host.files import DRAFT, private, sync

RATE: Final = 16 << 20
"""Most bytes a second that a service's compaction reads: about 3 % of a core, which leaves the rest to assessments."""
UNKNOWN: Final = ""
"""Stands for all identity domains that this version does not know. Their lines are kept as long as any domain's."""
BURST: Final = 256 << 10
"""Bytes between two pauses of compaction: some hundred lines."""


class Head(Struct, frozen=True):
    """The fields of a line that identify its subject, tenant and retention. A newer riskd may have other domains."""

    domain: Annotated[str, Meta(min_length=1)]
    id: str = ""
    assessment_id: str = ""
    subject: str = ""
    tenant: str = ""

    @property
    def place(self) -> str:
        """The common prefix of the subject's pseudonym and assessment ids, hexadecimal."""
        return (self.id or self.assessment_id or self.subject)[: 2 * PLACE]

    @property
    def kept_as(self) -> str:
        """The identity domain whose retention applies; `UNKNOWN` for a domain that this version does not know."""
        return self.domain if self.domain in DOMAINS else UNKNOWN


_HEADS: Final = msgspec.json.Decoder(Head)


def head(line: bytes) -> Head | None:
    """The head of a line; None if it is not a valid record."""
    try:
        if not line.isascii():
            line.decode()  # an export returns lines as text, so they must be UTF-8
        return _HEADS.decode(line) if whole(line) else None
    except UNDECODABLE:
        return None


def rewrite(path: Path, erasures: Erasures, old: set[str], stop: Event, rate: float) -> int:
    """Rewrite a finished segment, or delete it if no line is left. Returns how many lines were removed.

    `old`: identity domains whose lines are too old. Also removes lines whose subject cannot be read, such as torn ones.
    `rate`: most bytes to read in a second. `stop`: continue without pauses.
    """
    wanted = erasures.reach(path.name)
    if not (wanted or old):
        return 0

    def goes(line: bytes, at: int) -> bool:
        found = head(line)
        return (
            found is None or found.kept_as in old or (wanted and erasures.due(found.place, found.tenant, path.name, at))
        )

    gone = sum(goes(line, at) for line, at in _lines(path, stop, rate))
    if not gone:
        return 0
    status, draft = path.stat(), path.with_suffix(DRAFT)
    with private(draft) as file:
        left = (line for line, at in _lines(path, stop, rate) if not goes(line, at))
        if path.suffix == PACKED:
            with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed:
                packed.writelines(left)
                size = packed.tell()
        else:
            file.writelines(left)
            size = file.tell()
        file.flush()
        os.fsync(file.fileno())
    os.utime(draft, ns=(status.st_atime_ns, status.st_mtime_ns))
    if size:
        draft.replace(path)
    else:
        draft.unlink()
        path.unlink()
    sync(path.parent)
    return gone


def _lines(path: Path, stop: Event, rate: float) -> Iterator[tuple[bytes, int]]:
    """Each line and its offset, at a bounded rate; without pauses once `stop` is set."""
    at, pause = 0, BURST
    with opened(path) as segment:
        for line in segment:
            yield line, at
            at += len(line)
            if at >= pause:
                pause += BURST
                stop.wait(BURST / rate)
