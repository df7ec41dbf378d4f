"""File systems that a test can fill, freeze and break (mounting takes root), and limits on a process."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

MIB: Final = 1 << 20


def run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=30)


def _mountable() -> bool:
    """Whether this process may mount an image; in a container, being root is not enough."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as place, suppress(OSError, subprocess.SubprocessError):
        disk = Disk(Path(place), 8)
        disk.mount()
        disk.unmount()
        return True
    return False


class Disk:
    """An ext4 file system in an image, mounted at `path`."""

    def __init__(self, directory: Path, size_mib: int) -> None:
        self.path = directory / "disk"
        self._image = directory / "image"
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(size_mib * MIB)
        run("mkfs.ext4", "-q", "-m", "0", self._image)

    def mount(self) -> None:
        run("mount", "-o", "loop", self._image, self.path)

    def unmount(self) -> None:
        """Detach at once; files that are still open stay usable."""
        run("umount", "--lazy", self.path)

    def replace(self) -> None:
        """Mount a repaired copy at the same path, as if the device had been replaced."""
        self.unmount()
        copy = self._image.with_suffix(".repaired")
        copy.write_bytes(self._image.read_bytes())
        subprocess.run(["fsck.ext4", "-fy", copy], check=False, capture_output=True, timeout=30)
        self._image = copy
        self.mount()

    def break_down(self) -> None:
        """Abort the file system as the kernel does when a device fails: it becomes read-only."""
        run("mount", "-o", "remount,abort", self.path)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """All writes hang, as during a snapshot or on a device that does not answer."""
        run("fsfreeze", "--freeze", self.path)
        try:
            yield
        finally:
            run("fsfreeze", "--unfreeze", self.path)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Fill the disk to the last byte."""
        filler = self.path / "filler"
        try:
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                for size in (MIB, 4096, 1):
                    with suppress(OSError):
                        while True:
                            file.write(bytes(size))
            yield
        finally:
            filler.unlink()


MOUNTABLE: Final = _mountable()


@contextmanager
def mounted(directory: Path, size_mib: int = 64) -> Iterator[Disk]:
    """A mounted disk, unmounted at the end even if frozen."""
    directory.mkdir(parents=True, exist_ok=True)
    disk = Disk(directory, size_mib)
    disk.mount()
    try:
        yield disk
    finally:
        with suppress(subprocess.CalledProcessError):
            disk.unmount()


@contextmanager
def nobody() -> Iterator[None]:
    """Run without the rights of root, if the tests have them."""
    mine = os.geteuid()
    os.seteuid(65534 if mine == 0 else mine)
    try:
        yield
    finally:
        os.seteuid(mine)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Limit the size of files, so that writes beyond `size` bytes fail or are cut short as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
