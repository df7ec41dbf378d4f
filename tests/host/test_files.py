"""Files and directories that appear as a whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from riskd.core.errors import InvalidSettings
from riskd.host import files
from riskd.host.files import atomically, cause, drafting, place, put, visible
from riskd.host.locks import exclusive, held
from riskd.offline.output import filling
from tests.forked import forked

HALF = """
import os, pathlib, signal, sys
from riskd.offline.output import filling
with filling(pathlib.Path(sys.argv[1])) as draft:
    (draft / "half").write_text("of it")
    {end}
"""
"""A process that starts to fill a directory, reports that, and then ends in the given way."""
DIES = """
import os, pathlib, signal, sys
from riskd.host.files import atomically
with atomically(pathlib.Path(sys.argv[1])) as file:
    file.write(b"half of a secret")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
"""A process that is killed while it writes a file."""
READ_ONLY = """
import os, pathlib, signal
from riskd.host.files import drafting
if not os.getuid():
    os.setuid(65534)
with drafting(pathlib.Path()) as draft:
    (draft / "copy" / "deep").mkdir(parents=True)
    (draft / "copy" / "deep" / "file").write_text("of it")
    (draft / "copy" / "deep").chmod(0o555)
    (draft / "copy").chmod(0o555)
    {end}
"""
"""A process that makes its own directory read-only."""


def half(out: Path, end: str) -> subprocess.Popen[str]:
    script = HALF.format(end=end)
    command = [sys.executable, "-c", script, str(out)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def named(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_replaced_at_the_end(tmp_path: Path) -> None:
    """Until the end readers see the old file, then the new one, which is readable by its owner only."""
    file = tmp_path / "file"
    put(file, b"old")
    with atomically(file) as new:
        new.write(b"new")
        new.flush()
        assert file.read_bytes() == b"old"
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o600)
    assert [*tmp_path.iterdir()] == [file]


def test_nothing_is_left_of_a_file_whose_writing_failed(tmp_path: Path) -> None:
    """If writing fails, the old file stays and no draft is left."""
    file = tmp_path / "file"
    put(file, b"old")

    def write() -> None:
        with atomically(file) as new:
            new.write(b"half of")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        write()
    assert file.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [file]


def test_the_draft_of_a_killed_process_is_removed_by_the_next_write(tmp_path: Path) -> None:
    """The draft of a killed process, possibly with secrets, is removed by the next write; the draft of a live one
    stays."""
    file = tmp_path / "file"
    command = [sys.executable, "-c", DIES, str(file)]
    for _ in range(3):
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        assert named(tmp_path) == [".file.draft"]
    assert (tmp_path / ".file.draft").read_bytes() == b"half of a secret"
    put(file, b"")
    assert (named(tmp_path), file.read_bytes()) == (["file"], b"")
    with atomically(file) as slow:
        slow.write(b"slow")
        for content in (b"quick", b"quicker"):
            put(file, content)
            assert file.read_bytes() == content
        assert named(tmp_path) == [".file.draft", "file"]
    assert (named(tmp_path), file.read_bytes()) == (["file"], b"slow")


@pytest.mark.parametrize("what", ["a link", "a hard link", "a directory"])
def test_nothing_is_written_into_what_others_have_laid_there(tmp_path: Path, what: str) -> None:
    """A link or directory placed at the draft's predictable name is not written to."""
    other, draft = tmp_path / "other", tmp_path / ".file.draft"
    other.write_bytes(b"theirs")
    match what:
        case "a link":
            draft.symlink_to(other)
        case "a hard link":
            draft.hardlink_to(other)
        case _:
            draft.mkdir()
    put(tmp_path / "file", b"ours")
    assert ((tmp_path / "file").read_bytes(), other.read_bytes()) == (b"ours", b"theirs")
    assert named(tmp_path) == [".file.draft", "file", "other"]


def test_a_file_that_is_replaced_stays_its_owner_s(tmp_path: Path) -> None:
    """A replaced file keeps its owner, group and mode, so that a service can read what root has written."""
    owner, group = (12345, 23456) if not os.geteuid() else (os.getuid(), os.getgid())
    file = tmp_path / "file"
    put(file, b"old")
    os.chown(file, owner, group)
    file.chmod(0o640)
    put(file, b"new")
    found = file.stat()
    assert (file.read_bytes(), found.st_uid, found.st_gid, found.st_mode & 0o777) == (b"new", owner, group, 0o640)


def test_a_lock_is_its_directory_s_owner_s(tmp_path: Path) -> None:
    """A lock file belongs to the owner of its directory, even if root created it."""
    owner, group = (12345, 23456) if not os.geteuid() else (os.getuid(), os.getgid())
    os.chown(tmp_path, owner, group)
    with exclusive(tmp_path / "lock") as ours:
        assert ours
    found = (tmp_path / "lock").stat()
    assert (found.st_uid, found.st_gid) == (owner, group)


def test_a_lock_is_known_to_be_held(tmp_path: Path) -> None:
    """While somebody holds a lock, everybody can tell, that process included, and nobody else takes it, but who waits
    for it. Neither leaves a file open."""
    lock = tmp_path / "lock"
    assert not held(lock)
    with exclusive(lock) as ours, exclusive(lock) as theirs:
        assert (ours, theirs, held(lock)) == (True, False, True)
    assert not held(lock)
    with ExitStack() as first:
        first.enter_context(exclusive(lock))
        release = threading.Timer(0.05, first.close)
        release.start()
        with exclusive(lock, 10.0) as ours:
            assert ours
        release.join()
    assert lock.resolve() not in [each.resolve() for each in Path("/proc/self/fd").iterdir()]


def test_a_forked_process_does_not_keep_a_lock(tmp_path: Path) -> None:
    """A lock is released by who took it, although a process lives that was forked meanwhile. That process does not
    release it."""
    with ExitStack() as taken:
        assert taken.enter_context(exclusive(tmp_path / "lock"))
        with forked():
            taken.close()
            with exclusive(tmp_path / "lock") as ours:
                assert ours
    with ExitStack() as taken:
        taken.enter_context(exclusive(tmp_path / "lock"))
        with forked(taken.close):
            pass
        with exclusive(tmp_path / "lock") as ours:
            assert not ours


def test_a_file_is_replaced_whole_or_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If syncing fails, the previous content stays and no draft is left."""
    path = tmp_path / "roles"
    files.put(path, b"one", files.SHARED)
    files.put(path, b"two")
    assert (named(tmp_path), path.read_bytes()) == (["roles"], b"two")

    def fails(_: int) -> None:
        raise OSError("no room")

    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(OSError, match="no room"):
        files.put(path, b"three")
    assert (named(tmp_path), path.read_bytes()) == (["roles"], b"two")


def test_a_link_stays_one(tmp_path: Path) -> None:
    """Writing to a symlink replaces or creates its target, and the link stays."""
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "file", tmp_path / "link"
    link.symlink_to(target)
    for content in (b"made", b"replaced"):
        put(link, content)
        assert link.readlink() == target
        assert target.read_bytes() == content
    assert named(tmp_path / "there") == ["file"]


def test_a_pipe_or_device_is_written_and_not_replaced(tmp_path: Path) -> None:
    """A pipe or device, such as /dev/stdout, is written to and not replaced."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    put(pipe, b"told")
    assert os.read(reader, 10) == b"told"
    os.close(reader)
    assert pipe.is_fifo()
    assert named(tmp_path) == ["pipe"]


def test_copies_of_what_is_read_only_go(tmp_path: Path) -> None:
    """Drafts with read-only directories are removed, one's own at the end and those of dead processes by the next. Run
    as another user, because root may do all."""
    tmp_path.chmod(0o777)
    for end, code, left in (("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, 1), ("pass", 0, 0)):
        command = [sys.executable, "-c", READ_ONLY.format(end=end)]
        assert subprocess.run(command, check=False, cwd=tmp_path).returncode == code
        assert len(named(tmp_path)) == left


def test_a_directory_is_filled_at_the_end(tmp_path: Path) -> None:
    """The content of a directory appears only when it is complete; an empty directory is filled, too."""
    out = tmp_path / "new" / "out"
    for name in ("first", "second"):
        with filling(out) as draft:
            (draft / "deep").mkdir()
            (draft / "deep" / "file").write_text(name)
            assert not [each for each in named(out) if not each.startswith(".")]
        assert named(out) == ["deep"]
        assert (out / "deep" / "file").read_text() == name
        (out / "deep" / "file").unlink()
        (out / "deep").rmdir()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    """After an error or Ctrl-C the directory is empty, and the next run can use it."""

    def breaks_off() -> None:
        with filling(tmp_path) as draft:
            (draft / "half").write_text("of it")
            raise error

    with pytest.raises(error):
        breaks_off()
    assert named(tmp_path) == []


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    """The next run removes what a killed process left."""
    with half(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)") as killed:
        killed.wait(30)
    assert len(named(tmp_path)) == 1
    with filling(tmp_path) as draft:
        (draft / "whole").write_text("it")
    assert named(tmp_path) == ["whole"]


def test_a_link_among_leftovers_is_not_followed(tmp_path: Path) -> None:
    """A link that somebody has laid among the leftovers stays, and nothing behind it is changed."""
    behind = tmp_path / "elsewhere" / "folder"
    behind.mkdir(parents=True)
    behind.chmod(0o500)
    filled = tmp_path / "filled"
    filled.mkdir()
    (filled / f"{files.DRAFTS}link").symlink_to(behind.parent)
    with drafting(filled):
        pass
    assert behind.stat().st_mode & 0o777 == 0o500


def test_the_draft_of_a_live_process_stays(tmp_path: Path) -> None:
    """While one process fills a directory, a second one is refused with the reason, and the first loses nothing."""
    with half(tmp_path, "print('begun', flush=True); sys.stdin.read(1)") as living:
        assert living.stdout is not None
        assert living.stdout.readline() == "begun\n"
        with pytest.raises(InvalidSettings, match="being filled by another process"), filling(tmp_path):
            pass
        assert len(named(tmp_path)) == 1
        living.kill()


def test_a_draft_stays_whoever_else_makes_one(tmp_path: Path) -> None:
    """Of several drafts in a directory each lasts as long as its own block, also if the first has ended. Nobody else
    can read it."""
    first = ExitStack()
    first.enter_context(drafting(tmp_path))
    with drafting(tmp_path) as second:
        first.close()
        with drafting(tmp_path) as third:
            assert second.is_dir()
            assert third.stat().st_mode & 0o777 == 0o700
    assert named(tmp_path) == []


def test_what_appears_was_written_to_the_disk_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or directory appears under its name after all of its content was synced, and before its parent is: after
    a crash it is complete or absent. Every descriptor is given back."""
    synced: list[tuple[int, int, bool]] = []
    sync, file, folder, before = os.fsync, tmp_path / "file", tmp_path / "folder", named(Path("/proc/self/fd"))

    def seen(descriptor: int) -> None:
        status = os.fstat(descriptor)
        synced.append((status.st_ino, status.st_size, file.exists() or folder.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    put(file, b"content")
    parent = tmp_path.stat().st_ino
    assert [(inode, there) for inode, _, there in synced] == [(file.stat().st_ino, False), (parent, True)]
    assert synced[0][1] == len(b"content")
    file.unlink()
    synced.clear()
    with drafting(tmp_path) as draft:
        (draft / "made").mkdir()
        (draft / "made" / "one").write_bytes(b"1")
        place(draft / "made", folder)
    assert [(inode, there) for inode, _, there in synced] == [
        ((folder / "one").stat().st_ino, False),
        (folder.stat().st_ino, False),
        (parent, True),
    ]
    with atomically(file) as late:
        put(file, b"early")
        late.write(b"late")
    assert file.read_bytes() == b"late"
    assert named(Path("/proc/self/fd")) == before


def test_visible_are_the_files_behind_links_and_not_the_hidden_ones(tmp_path: Path) -> None:
    """Files below a directory are found through links to directories; hidden files and directories are left out."""
    for name in ("real/one", "real/.two", "real/.git/three", "elsewhere/four"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "real" / "link").symlink_to(tmp_path / "elsewhere")
    real = tmp_path / "real"
    assert sorted(visible(real)) == [real / "link" / "four", real / "one"]


def test_a_directory_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    """A directory that is not empty is refused and left alone, and so is a path that is a file."""
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(InvalidSettings, match="is not empty: it holds notes"), filling(tmp_path):
        pass
    with pytest.raises(InvalidSettings, match="cannot be used"), filling(tmp_path / "notes"):
        pass
    assert named(tmp_path) == ["notes"]


def test_a_directory_never_replaces_another(tmp_path: Path) -> None:
    """A finished directory never replaces an existing one."""
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").write_text("mine")
    with files.drafting(tmp_path) as draft:
        (draft / "made").mkdir()
        with pytest.raises(OSError, match="not empty"):
            files.place(draft / "made", tmp_path / "taken")
    assert named(tmp_path) == ["taken"]
    assert named(tmp_path / "taken") == ["mine"]


def test_a_cause_does_not_repeat_the_path(tmp_path: Path) -> None:
    """The reason why a file cannot be used is the system's, or the first byte that is not text."""
    (tmp_path / "binary").write_bytes(b"text\xff")
    for file, reason in (
        ("", "Is a directory"),
        ("none", "No such file or directory"),
        ("binary", "byte 4 is not UTF-8"),
    ):
        with pytest.raises((OSError, UnicodeDecodeError)) as refused:
            (tmp_path / file).read_text(encoding="utf-8")
        assert cause(refused.value) == reason
    assert cause(EOFError("cut off")) == "cut off"
