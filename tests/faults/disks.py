"""File systems of a test's own, to fill, freeze and break (mounting takes root); and what a process may not do."""

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
    """Whether this process may mount an image: root alone is not enough in a container."""
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
        """At once for whoever asks for the path; its open files live on in the dark."""
        run("umount", "--lazy", self.path)

    def replace(self) -> None:
        """Another device with what was on this one, mended: in the same place, for whoever opens anew."""
        self.unmount()
        copy = self._image.with_suffix(".mended")
        copy.write_bytes(self._image.read_bytes())
        subprocess.run(["fsck.ext4", "-fy", copy], check=False, capture_output=True, timeout=30)
        self._image = copy
        self.mount()

    def break_down(self) -> None:
        """What the kernel does when a device fails: the file system can be read and no longer written."""
        run("mount", "-o", "remount,abort", self.path)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Writes hang, as during a snapshot, or on a device that does not answer."""
        run("fsfreeze", "--freeze", self.path)
        try:
            yield
        finally:
            run("fsfreeze", "--unfreeze", self.path)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Not a byte is left."""
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
    """A disk, let go at the end, frozen or not."""
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
    """Without the rights of root, where the tests have them; a user's own are taken by the mode of the directory."""
    mine = os.geteuid()
    os.seteuid(65534 if mine == 0 else mine)
    try:
        yield
    finally:
        os.seteuid(mine)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk that is full once a file has `size` bytes: the kernel then writes in part, or not at all."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
