"""Changes to files are noticed once, and not before they are complete."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from riskd.host.file_changes import FileChanges

EVERY = 5.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "customer.yaml").write_text("a")
    return tmp_path


def watch(folder: Path) -> FileChanges:
    return FileChanges([folder, folder / "elsewhere.mmdb"], EVERY, 0.0)


def test_a_change_is_reported_once_when_it_is_complete(folder: Path) -> None:
    """A change is not reported at the poll that finds it, since it may continue, but once at the next one."""
    one = watch(folder)
    assert not one.changed(EVERY)
    (folder / "customer.yaml").write_text("ab")
    assert [one.changed(EVERY * turn) for turn in range(2, 6)] == [False, True, False, False]


def test_a_file_that_keeps_changing_is_not_reported(folder: Path) -> None:
    """A file that is still being written is reported only when it is complete."""
    one = watch(folder)
    for turn in range(1, 6):
        (folder / "customer.yaml").write_text("a" * (turn + 1))
        assert not one.changed(EVERY * turn)
    assert one.changed(EVERY * 6) or one.changed(EVERY * 7)


def test_it_is_looked_no_more_often_than_said(folder: Path) -> None:
    """Between two polls the disk is not read, and `due` gives the next one."""
    one = watch(folder)
    (folder / "customer.yaml").write_text("ab")
    for turn in (0, 1):
        assert not any(one.changed(turn * EVERY + moment / 10) for moment in range(turn, 49))
        assert one.due == (turn + 1) * EVERY
        assert one.changed(one.due) == bool(turn)


def test_what_was_read_meanwhile_is_no_change(folder: Path) -> None:
    """Who reads the files for another reason says so, and hears of later changes only."""
    one = FileChanges([folder], 0.0, 0.0)
    (folder / "customer.yaml").write_text("ab")
    one.settle()
    assert [one.changed(0.0) for _ in range(3)] == [False] * 3
    (folder / "customer.yaml").write_text("abc")
    assert [one.changed(0.0) for _ in range(3)] == [False, True, False]


@pytest.mark.parametrize("change", ["rename", "delete", "create", "link", "touch"])
def test_every_way_of_changing_is_noticed(folder: Path, change: str) -> None:
    """A change is noticed if a file is replaced by a rename, deleted, created or touched, or if a symlinked directory
    is swapped as Kubernetes does."""
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
    """Names that begin with a dot are ignored as drafts, and loops of links end."""
    (folder / "back").symlink_to(folder)
    one = watch(folder)
    (folder / ".customer.yaml.swp").write_text("b")
    assert [one.changed(EVERY), one.changed(EVERY * 2)] == [False, False]


def test_an_unreadable_path_counts_as_absent(folder: Path) -> None:
    """A path that cannot be read counts as absent: here a link whose target's name is too long."""
    (folder / "models").symlink_to(folder / ".models")
    one = FileChanges([folder / "models"], EVERY, 0.0)
    (folder / "models").unlink()
    (folder / "models").symlink_to("x" * 300)
    assert [one.changed(EVERY), one.changed(EVERY * 2)] == [False, False]
    (folder / "models").unlink()
    (folder / "models").write_text("a")
    assert [one.changed(EVERY * 3), one.changed(EVERY * 4)] == [False, True]
