"""The backup command of docs/operations.md."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from riskd.adapters.lmdb_store import LmdbStore
from riskd.core.history import Delta
from riskd.core.recall import ACTIVITY

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def test_the_backup_of_the_page_is_a_store_with_everything(tmp_path: Path) -> None:
    """The command copies a store that is open, and the copy opens with the same contents."""
    page = PAGE.read_text(encoding="utf-8")
    found = re.search(r"^    runuser -u riskd -- /opt/riskd/bin/python (-m lmdb .*)$", page, re.MULTILINE)
    assert found is not None, "docs/operations.md shows no backup"
    places = {"/var/lib/riskd/store": str(tmp_path / "store"), "/backup/store": str(tmp_path / "copy")}
    words = [places.get(word, word) for word in shlex.split(found[1])]
    assert set(places.values()) < set(words)
    with closing(LmdbStore(tmp_path / "store", map_size=64 << 20)) as store:
        assert store.write([Delta(b"k" * 16 + ACTIVITY, 1.0, 2e9, (), (("recovered", (1,)),))], [], 1.0, 5.0)
        kept = store.walk(b"", 10)
        subprocess.run([sys.executable, *words], check=True, capture_output=True, timeout=60)
    assert kept[0]
    with closing(LmdbStore(tmp_path / "copy", map_size=64 << 20)) as copy:
        assert copy.walk(b"", 10) == kept
