"""Rotates the pepper: moves all records under a new layer of pseudonyms while services keep running."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Final

from msgspec import Struct

from riskd.adapters.lmdb_store import DATA, beside, due_until, note
from riskd.adapters.null import NullMeter
from riskd.adapters.rekeying import Mark, move_all, read_mark, write_mark
from riskd.config import Settings, add_pepper, obtain_peppers, pepper_file
from riskd.core.errors import InvalidSettings, Problem
from riskd.core.pseudonym import Layer
from riskd.core.recall import NOTE
from riskd.core.rekey import unmoved
from riskd.core.stored import NOBODY
from riskd.ports import HistoryStore
from riskd.stores import checks, open_store, with_peppers

HEAR_SECONDS: Final = 5.0
"""Seconds for a service to apply a change, beyond the `store.sweep_s` after which it looks for one."""


class Status(Struct, frozen=True):
    """The progress of a rotation.

    The pepper file has `layers` layers, the store was moved to `moved` of them, and `left` of its `records` still
    lack the last one. `file` is the pepper file, or the environment variable; `mode` its permissions in octal.
    """

    layers: int
    moved: int
    records: int
    left: int
    file: str
    mode: str


def status(settings: Settings) -> Status:
    """The progress of a rotation. Reads every key of the store. Raises InvalidSettings, InvalidStore, Unavailable."""
    with _opened(settings) as store:
        count, path = len(obtain_peppers(settings)) - 1, pepper_file(settings)
        mark, records, left, cursor = read_mark(store), 0, 0, b""
        while True:
            keys, cursor = store.walk(cursor, 10_000)
            records += sum(not key.startswith(NOBODY) and key[-1:] != NOTE for key in keys)
            left += sum(unmoved(key, count % 2) for key in keys)
            if not cursor:
                break
    mode = f"{path.stat().st_mode & 0o777:04o}" if path is not None else ""
    return Status(count, mark.layers, records, left, str(path or "RISKD_PEPPER"), mode)


def rotate(settings: Settings, pause: Callable[[float], None], progress: Callable[[int], None]) -> int:
    """Rotate the pepper, or resume an interrupted rotation. Returns the number of records moved.

    1. Append a new pepper to the file, unless the last one is not used by the store yet. Before that, move what a
       rotation left that was interrupted before (4): under another pepper, nobody would find it.
    2. Wait until every service has found it: `pause` sleeps for the seconds it is given. From then on services use
       the new pseudonyms, and move each record that they touch.
    3. Move all other records, and note in the store that this is done. Wait until every service has seen the note.
    4. Move the records that a service wrote under the old pseudonyms in the meantime.

    `progress` is called with the number of records moved so far. Raises InvalidSettings, InvalidStore, Unavailable;
    records moved by then stay moved.
    """
    _unless_rebuilt(settings)
    with _opened(settings) as store:
        mark, peppers, count = read_mark(store), obtain_peppers(settings), 0

        def moved() -> int:
            layers, before = len(peppers) - 1, count
            return move_all(store, Layer(peppers[-1]), layers % 2, Event(), lambda more: progress(before + more))

        with_peppers(store, peppers, mark, NullMeter())
        if len(peppers) - 1 == mark.layers:  # (1)
            count += moved() if mark.layers else 0
            _add(settings, len(peppers))
            peppers = obtain_peppers(settings)
            with_peppers(store, peppers, mark, NullMeter())
        pause(settings.store.sweep_s + HEAR_SECONDS)  # (2)
        count += moved()  # (3)
        write_mark(store, Mark(len(peppers) - 1, checks(peppers)))
        pause(settings.store.sweep_s + HEAR_SECONDS)
        return count + moved()  # (4)


def _unless_rebuilt(settings: Settings) -> None:
    """Raise InvalidSettings during a rebuild from the log, whose records have the pseudonyms of when it began."""
    path = Path(settings.store.path)
    directory = beside(path)
    if due_until(path) is not None or directory.exists():
        remedy = f"wait until it is done; or, to abandon it, remove {note(path)} and {directory}"
        raise InvalidSettings([Problem("store", "its histories are being rebuilt from the decision log", remedy)])


def _add(settings: Settings, after: int) -> None:
    path = pepper_file(settings)
    if path is None:
        what = "comes from the environment of each service, which this command cannot change"
        remedy = "append a line of 16 to 64 bytes to it everywhere, restart the services one by one, and rotate again"
        raise InvalidSettings([Problem("RISKD_PEPPER", what, remedy)])
    add_pepper(path, after)


@contextmanager
def _opened(settings: Settings) -> Iterator[HistoryStore]:
    if settings.store.kind == "memory":
        remedy = "add a line to the pepper file and restart the service"
        raise InvalidSettings(
            [Problem("store.kind", "a `memory` store exists only in its service, so nothing can be moved", remedy)]
        )
    with suppress(PermissionError):  # opening it says why
        if settings.store.kind == "lmdb" and not (Path(settings.store.path) / DATA).exists():
            what = f"{settings.store.path} has no store, so nothing can be moved"
            remedy = "give the settings of the service, or set store.path"
            raise InvalidSettings([Problem("store.path", what, remedy)])
    store = open_store(settings)
    try:
        yield store
    finally:
        store.close()
