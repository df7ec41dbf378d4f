"""The contents of stores before and after a rebuild, and logs to rebuild them from."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from riskd.adapters.lmdb_store import LmdbStore
from riskd.config import Settings, load
from riskd.core import record
from riskd.core.recall import RECEIPT, REPLY
from riskd.core.record import AssessmentRecord, OutcomeRecord, SecurityEventRecord
from riskd.core.stored import NOBODY, PLACE, expired
from riskd.ports import HistoryStore
from riskd.rebuild.past import Past
from tests.decision_log import write
from tests.offline.town import PEPPER


def records(store: HistoryStore, now: float) -> dict[bytes, bytes]:
    """All live records of the store, without replies."""
    keys, cursor = store.walk(b"", 100_000)
    assert not cursor
    found = dict(zip(keys, store.load(keys), strict=True))
    return {key: kept for key, kept in found.items() if kept and key[-1:] != REPLY and not expired(kept, now)}


def live_through(past: Past, lines: list[bytes]) -> None:
    for line in lines:
        one = record.decode(line)
        if isinstance(one, OutcomeRecord):
            past.outcome(one)
        elif isinstance(one, SecurityEventRecord):
            past.event(one, bytes.fromhex(one.subject))
        elif isinstance(one, AssessmentRecord):
            past.attempt(one)


def deployment(tmp_path: Path, peppers: Sequence[bytes] = (PEPPER,)) -> Settings:
    """Settings with their own state directory and these peppers."""
    (tmp_path / "pepper").write_bytes(b"\n".join(peppers) + b"\n")
    (tmp_path / "pepper").chmod(0o600)
    flags = {"state.dir": str(tmp_path), "store.map_size_mb": "64", "secrets.pepper_file": str(tmp_path / "pepper")}
    return load(environ={}, flags=flags)


def logged(settings: Settings, lines: list[bytes], writers: int = 3) -> None:
    """Write the lines as several workers would have: outcomes may be in another segment than their assessment."""
    for writer in range(writers):
        mine = [line for number, line in enumerate(lines) if number % writers == writer]
        write(Path(settings.log.dir) / f"20260101T00000{writer}.000000-w{writer}-1.jsonl", *mine)


def held(settings: Settings, now: float) -> dict[bytes, bytes]:
    """The records of the rebuilt store, without the documents about its state."""
    with closing(LmdbStore(Path(settings.store.path), 64 << 20)) as store:
        return {key: kept for key, kept in records(store, now).items() if not key.startswith(NOBODY)}


def remembered(path: Path) -> dict[bytes, bytes]:
    """The stored records of those who signed in."""
    with closing(LmdbStore(path, 16 << 20)) as store:
        keys, cursor = store.walk(b"", 100_000)
        assert not cursor
        places = {key[:PLACE] for key in keys if key[-1:] == RECEIPT}
        own = [key for key in keys if key[:PLACE] in places]
        return {key: record for key, record in zip(own, store.load(own), strict=True) if record is not None}
