"""Commands of docs/operations.md, run as written, with other places."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from base64 import b64decode
from contextlib import closing
from pathlib import Path

from riskd.adapters.lmdb_store import LmdbStore
from riskd.core.history import Delta
from riskd.core.recall import ACTIVITY

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def shell(script: str, root: Path) -> str:
    """What a script prints on a machine whose root directory is `root`."""
    moved = re.sub(r"(?<=[ >=])/(?=etc/)", f"{root}/", script)
    return subprocess.run(["bash", "-euc", moved], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def test_files_are_installed_on_a_bare_machine(tmp_path: Path) -> None:
    """The commands that place files need no directory that a minimal system lacks, and only root reads the pepper."""
    (tmp_path / "etc" / "systemd" / "system").mkdir(parents=True)
    section = PAGE.partition("### On a machine")[2].partition("\n###")[0]
    shell("\n".join(re.findall(r"^    ((?:umask|install|touch|\(umask) .*)$", section, re.MULTILINE)), tmp_path)
    modes = {str(path.relative_to(tmp_path)): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*.*")}
    assert modes == {
        "etc/sysusers.d": 0o755,
        "etc/sysusers.d/riskd.conf": 0o644,
        "etc/systemd/system/riskd.service": 0o644,
        "etc/riskd/riskd.toml": 0o644,
    }
    pepper = tmp_path / "etc" / "riskd" / "pepper"
    assert pepper.stat().st_mode & 0o777 == 0o600
    assert len(b64decode(pepper.read_bytes())) == 32


def test_commands_run_as_the_service_by_either_version(tmp_path: Path) -> None:
    """The function of the page runs riskd as its user, with its settings and pepper; `at=` names another version, for
    one command."""
    (tmp_path / "etc" / "riskd").mkdir(parents=True)
    (tmp_path / "etc" / "riskd" / "pepper").write_text("secret\n")
    found = re.search(r"^    (riskd\(\) .*)$", PAGE, re.MULTILINE)
    assert found is not None, "docs/operations.md defines no function"
    runuser = 'runuser() { echo "$RISKD_CONFIG $RISKD_PEPPER $*"; }'
    printed = shell(f"{runuser}\n{found[1]}\nriskd log\nat=/opt/other riskd log\nriskd log x\n", tmp_path)
    given = f"{tmp_path}/etc/riskd/riskd.toml secret -u riskd --"
    assert printed.splitlines() == [
        f"{given} {command}"
        for command in ("/opt/riskd/bin/riskd log", "/opt/other/bin/riskd log", "/opt/riskd/bin/riskd log x")
    ]


def test_the_backup_of_the_page_is_a_store_with_everything(tmp_path: Path) -> None:
    """The command copies a store that is open, and the copy opens with the same contents."""
    found = re.search(r"^    runuser -u riskd -- /opt/riskd/bin/python (-m lmdb .*)$", PAGE, re.MULTILINE)
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
