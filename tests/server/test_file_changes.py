"""Changed files are reported once, and only when they have stopped changing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from riskd.server.file_changes import FileChanges

EVERY = 5.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "customer.yaml").write_text("a")
    return tmp_path


def watch(folder: Path) -> FileChanges:
    return FileChanges([folder, folder / "elsewhere.mmdb"], EVERY, 0.0)


def test_a_change_is_told_once_and_when_it_rests(folder: Path) -> None:
    """Not in the poll that finds it, because the change may go on; in the next one; and not again."""
    one = watch(folder)
    assert not one.changed(EVERY)
    (folder / "customer.yaml").write_text("ab")
    assert [one.changed(EVERY * turn) for turn in range(2, 6)] == [False, True, False, False]


def test_what_keeps_changing_is_not_told(folder: Path) -> None:
    """A file that is being written is read when it is complete."""
    one = watch(folder)
    for turn in range(1, 6):
        (folder / "customer.yaml").write_text("a" * (turn + 1))
        assert not one.changed(EVERY * turn)
    assert one.changed(EVERY * 6) or one.changed(EVERY * 7)


def test_it_is_looked_no_more_often_than_said(folder: Path) -> None:
    """Between two polls the disk is not read, and `due` says when the next poll is."""
    one = watch(folder)
    (folder / "customer.yaml").write_text("ab")
    assert not any(one.changed(moment / 10) for moment in range(49))
    assert one.due == EVERY


@pytest.mark.parametrize("change", ["rename", "delete", "create", "link", "touch"])
def test_every_way_of_changing_is_noticed(folder: Path, change: str) -> None:
    """Replaced by renaming, as `riskd geo install` does; deleted; created; a link behind which Kubernetes swaps a
    directory; and a touch, because whoever reads the file compares hashes."""
    (folder / ".1").mkdir()
    (folder / ".2").mkdir()
    for name in (".1", ".2"):
        (folder / name / "machine.yaml").write_text(name)
    (folder / "..data").symlink_to(".1")
    (folder / "machine.yaml").symlink_to("..data/machine.yaml")
    one = watch(folder)
    if change == "rename":
        (folder / ".draft").write_text("b")
        (folder / ".draft").rename(folder / "customer.yaml")
    elif change == "delete":
        (folder / "customer.yaml").unlink()
    elif change == "create":
        (folder / "elsewhere.mmdb").write_text("b")
    elif change == "link":
        (folder / "..next").symlink_to(".2")
        (folder / "..next").rename(folder / "..data")
    else:
        os.utime(folder / "customer.yaml", (1, 1))
    assert [one.changed(EVERY), one.changed(EVERY * 2)] == [False, True]


def test_drafts_and_loops_are_not_looked_at(folder: Path) -> None:
    """Names that begin with a dot are drafts and are ignored. Links that form a loop do not hang the poll."""
    (folder / "back").symlink_to(folder)
    one = watch(folder)
    (folder / ".customer.yaml.swp").write_text("b")
    assert [one.changed(EVERY), one.changed(EVERY * 2)] == [False, False]


def test_what_cannot_be_looked_at_is_as_if_it_were_gone(folder: Path) -> None:
    """A directory that may no longer be entered, or a dead mount, does not stop the watch. Here the mount is a link to
    a name that is too long."""
    (folder / "models").symlink_to(folder / ".models")
    one = FileChanges([folder / "models"], EVERY, 0.0)
    (folder / "models").unlink()
    (folder / "models").symlink_to("x" * 300)
    assert [one.changed(EVERY), one.changed(EVERY * 2)] == [False, False]
    (folder / "models").unlink()
    (folder / "models").write_text("a")
    assert [one.changed(EVERY * 3), one.changed(EVERY * 4)] == [False, True]
