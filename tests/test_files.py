"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from riskd.files import put, whole


def test_a_file_is_replaced_at_the_end(tmp_path: Path) -> None:
    """Until then whoever reads sees the old one; afterwards the new one, which is for its owner alone."""
    file = tmp_path / "file"
    put(file, b"old")
    with whole(file) as new:
        new.write(b"new")
        new.flush()
        assert file.read_bytes() == b"old"
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o600)
    assert [*tmp_path.iterdir()] == [file]


def test_nothing_is_left_of_a_file_whose_writing_failed(tmp_path: Path) -> None:
    """The old one stays as it was, and beside it nothing."""
    file = tmp_path / "file"
    put(file, b"old")

    def write() -> None:
        with whole(file) as new:
            new.write(b"half of")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        write()
    assert file.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [file]
