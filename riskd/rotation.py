"""Rotates the pepper: moves all records under a new layer of pseudonyms while services keep running."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import Final

from msgspec import Struct

from riskd.adapters.rekeying import Mark, move_all, read_mark, write_mark
from riskd.config import Settings, add_pepper, obtain_peppers, pepper_file
from riskd.core.errors import InvalidSettings, Problem
from riskd.core.pseudonym import Layer
from riskd.core.recall import NOTE
from riskd.core.rekey import unmoved
from riskd.core.stored import NOBODY
from riskd.rebuild.merge import unless_rebuilt
from riskd.stores import checks, opened, with_peppers

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
    with opened(settings, "moved") as store:
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
    with opened(settings, "moved") as store:
        unless_rebuilt(settings, store)
        mark, peppers, count = read_mark(store), obtain_peppers(settings), 0

        def moved() -> int:
            unless_rebuilt(settings, store)
            layers, before = len(peppers) - 1, count
            return move_all(store, Layer(peppers[-1]), layers % 2, Event(), lambda more: progress(before + more))

        with_peppers(store, peppers, mark)
        if len(peppers) - 1 == mark.layers:  # (1)
            count += moved() if mark.layers else 0
            _add(settings, len(peppers))
            peppers = obtain_peppers(settings)
            with_peppers(store, peppers, mark)
        pause(settings.store.sweep_s + HEAR_SECONDS)  # (2)
        count += moved()  # (3)
        write_mark(store, Mark(len(peppers) - 1, checks(peppers)))
        pause(settings.store.sweep_s + HEAR_SECONDS)
        return count + moved()  # (4)


def _add(settings: Settings, after: int) -> None:
    path = pepper_file(settings)
    if path is None:
        what = "comes from the environment of each service, which this command cannot change"
        remedy = "append a line of 16 to 64 bytes to it everywhere, restart the services one by one, and rotate again"
        raise InvalidSettings([Problem("RISKD_PEPPER", what, remedy)])
    add_pepper(path, after)
