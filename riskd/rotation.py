"""The pepper's rotation: a new layer over all pseudonyms, while services keep running."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Final

from msgspec import Struct

from riskd.adapters.lmdb_store import beside, due_until, note
from riskd.adapters.memory import NullMeter
from riskd.adapters.rekeying import Mark, move_all, read_mark, write_mark
from riskd.config import Settings, add_pepper, obtain_peppers, pepper_file
from riskd.core.errors import InvalidSettings, Problem
from riskd.core.pseudonym import Layer
from riskd.core.rekey import layers
from riskd.core.stored import NOBODY
from riskd.ports import HistoryStore
from riskd.stores import checks, keyed, open_store

HEAR_SECONDS: Final = 5.0
"""Time for a service to take up what it found, beyond the `store.sweep_s` after which it looks."""


class Status(Struct, frozen=True):
    """How a rotation stands. `left`: records that have not the last layer yet, of `records`."""

    layers: int
    moved: int
    records: int
    left: int
    file: str
    mode: str


def status(settings: Settings) -> Status:
    """How it stands; looks at every key. Raises InvalidSettings, InvalidStore, Unavailable."""
    count, path = len(obtain_peppers(settings)) - 1, pepper_file(settings)
    with _opened(settings) as store:
        mark, records, left, cursor = read_mark(store), 0, 0, b""
        while True:
            keys, cursor = store.walk(cursor, 10_000)
            ours = [key for key in keys if not key.startswith(NOBODY)]
            records += len(ours)
            left += sum(layers(key) != count % 2 for key in ours)
            if not cursor:
                break
    mode = f"{path.stat().st_mode & 0o777:04o}" if path is not None else ""
    return Status(count, mark.layers, records, left, str(path or "RISKD_PEPPER"), mode)


def rotate(settings: Settings, pause: Callable[[float], None], progress: Callable[[int], None]) -> int:
    """Rotate, or go on with a rotation that stopped; how many records were moved.

    1. Add a pepper to the file, unless there is one already that the store knows nothing of.
    2. Let every service find it: `pause` is told for how many seconds. From then on they use the new pseudonyms, and
       move what they touch.
    3. Move the rest, and say in the store that it is done. Services hear of that, too.
    4. Move what a service wrote that had heard of nothing.

    Raises InvalidSettings, InvalidStore, Unavailable. What was moved stays moved.
    """
    _unless_rebuilt(settings)
    with _opened(settings) as store:
        mark, peppers = read_mark(store), obtain_peppers(settings)
        keyed(store, peppers, mark, NullMeter())
        if len(peppers) - 1 == mark.layers:  # (1)
            _add(settings, len(peppers))
            peppers = obtain_peppers(settings)
            keyed(store, peppers, mark, NullMeter())
        layer, count, parity = Layer(peppers[-1]), 0, (len(peppers) - 1) % 2
        pause(settings.store.sweep_s + HEAR_SECONDS)  # (2)
        count += move_all(store, layer, parity, Event(), progress)  # (3)
        write_mark(store, Mark(len(peppers) - 1, checks(peppers)))
        pause(settings.store.sweep_s + HEAR_SECONDS)
        return count + move_all(store, layer, parity, Event(), lambda more: progress(count + more))  # (4)


def _unless_rebuilt(settings: Settings) -> None:
    """Records that are being made of the log have the pseudonyms of when that began."""
    path = Path(settings.store.path)
    place = beside(path)
    if due_until(path) is not None or place.exists():
        remedy = f"wait for it; or, to do without, remove {note(path)} and {place}"
        raise InvalidSettings([Problem("store", "its histories are being made again of the decision log", remedy)])


def _add(settings: Settings, after: int) -> None:
    path = pepper_file(settings)
    if path is None:
        what = "comes from the environment of each service, which nobody else can change"
        remedy = "append a line of 16 to 64 bytes to it everywhere, restart the services one by one, and rotate again"
        raise InvalidSettings([Problem("RISKD_PEPPER", what, remedy)])
    add_pepper(path, after)


@contextmanager
def _opened(settings: Settings) -> Iterator[HistoryStore]:
    if settings.store.kind == "memory":
        remedy = "add a line to the pepper file and start the service anew"
        raise InvalidSettings(
            [Problem("store.kind", "`memory` dies with its service, so nothing can be moved", remedy)]
        )
    store = open_store(settings)
    try:
        yield store
    finally:
        store.close()
