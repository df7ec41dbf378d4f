"""A process that writes to an LMDB store and prints each acknowledged write."""

from __future__ import annotations

import sys
from pathlib import Path

from riskd.adapters.lmdb_store import LmdbStore
from riskd.core.history import WEEK, Delta

NOW = 1_800_000_000.0
SHARED = [b"P shared %d" % number for number in range(3)]


def own(name: str) -> bytes:
    """The key that only this process writes."""
    return b"P own " + name.encode()


def counted(*keys: bytes) -> list[Delta]:
    """Add one to each key."""
    return [Delta(key, NOW, NOW + WEEK, (("attempt", "", 1),)) for key in keys]


def main(directory: str, name: str, mode: str, writes: str = "0") -> None:
    store = LmdbStore(Path(directory))
    if mode == "count":
        for number in range(1, int(writes) + 1):
            assert store.write(counted(*SHARED, own(name)), (), NOW, 30.0)
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
        store.close()
        return
    assert mode != "write" or store._turn.take(1.0)
    with store._env.begin(write=mode == "write") as transaction:
        if mode == "write":
            transaction.put(own(name), b"half-written")
        sys.stdout.write("held\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
