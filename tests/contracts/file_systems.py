"""File systems of a test's own: a sparse file, mounted through a loop device, gone when the test is over."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from editor.storage.btrfs import BtrfsStorage
from editor.storage.copies import CopyStorage
from editor.storage.reflink import ReflinkStorage

MIB = 1024 * 1024
UNMOUNT_SECONDS = 5


@dataclass(frozen=True)
class Kind:
    """An engine, and what it needs under it."""

    engine: type[CopyStorage]
    make: tuple[str, ...]
    package: str
    smallest_bytes: int
    options: str = "noatime"


KINDS = {
    "btrfs": Kind(BtrfsStorage, ("mkfs.btrfs", "-q"), "btrfs-progs", 256 * MIB),
    "reflink": Kind(ReflinkStorage, ("mkfs.xfs", "-q", "-m", "reflink=1"), "xfsprogs", 320 * MIB),
}


@dataclass
class FileSystem:
    """One that is mounted."""

    kind: Kind
    image: Path
    point: Path
    pools: Iterator[int] = field(default_factory=lambda: iter(range(10_000)))

    def pool(self) -> Path:
        """A new folder for drives."""
        folder = self.point / f"a: pool with a name {next(self.pools)}"
        folder.mkdir()
        return folder

    def driver(self, pool: Path | None = None) -> CopyStorage:
        """A new driver, of a new pool unless told."""
        return self.kind.engine(pool or self.pool())

    def mount(self, *options: str) -> None:
        words = ["mount", "-o", ",".join(("loop", self.kind.options, *options)), str(self.image), str(self.point)]
        subprocess.run(words, capture_output=True, check=True)

    def remount(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.point)], check=True)

    def unmount(self) -> None:
        # Nothing of ours is open; what looks at new mounts may be, for a moment. A machine of another test that sees
        # the mounts as they were when it began may keep a disk on this one: then it goes with that.
        end = time.monotonic() + UNMOUNT_SECONDS
        while self.point.is_mount():
            lazily = ["--lazy"] if time.monotonic() > end else []
            subprocess.run(["umount", *lazily, str(self.point)], capture_output=True, check=bool(lazily), timeout=60)

    def sync(self) -> None:
        """Write everything to the disk."""
        subprocess.run(["sync", "--file-system", str(self.point)], check=True)

    def fill(self) -> None:
        """Leave no room at all: neither for what files hold, nor for the tables of the file system itself."""
        for size_bytes in (MIB, 4096):
            with (self.point / f"filling of {size_bytes}").open("wb") as file, suppress(OSError):
                for offset in itertools.count(0, size_bytes):
                    os.posix_fallocate(file.fileno(), offset, size_bytes)
        for held in (16_000, 1_500, 0):  # in the names and attributes of files that hold nothing else
            with suppress(OSError):
                for number in itertools.count():
                    path = self.point / f"filling of {held}, {number}"
                    path.touch()
                    if held:
                        os.setxattr(path, "user.filling", bytes(held))

    def cut_off(self) -> None:
        """Let the power fail now, and mount what is on the disk.

        What the file system had not written to its disk is lost. The cache of the disk itself is not: that it is
        flushed where it must be is the file system's work, not ours.
        """
        then = self.image.with_name("then")
        subprocess.run(["cp", "--sparse=always", str(self.image), str(then)], check=True)
        self.unmount()
        then.rename(self.image)
        self.mount()


def why_not(name: str) -> str | None:
    """Why such a file system cannot be made here, or None."""
    kind = KINDS[name]
    if os.geteuid() != 0:
        return "only root may mount a file system for the test"
    if shutil.which(kind.make[0], path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        return f"{kind.make[0]} is missing: apt-get install {kind.package}"
    return None


@contextmanager
def mounted(name: str, size_bytes: int | None = None, *, make: tuple[str, ...] | None = None) -> Iterator[FileSystem]:
    """A new, empty file system, in memory where that is a folder. Skips the test where none can be made."""
    if reason := why_not(name):
        pytest.skip(reason)
    kind = KINDS[name]
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="editor-disk-", dir=memory) as at:
        folder = Path(at)
        folder.chmod(0o711)  # other users than ours look in
        system = FileSystem(kind, folder / "image", folder / "a disk")
        system.point.mkdir()
        with system.image.open("wb") as file:
            file.truncate(size_bytes or 1024 * MIB)
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        words = [*(make or kind.make), str(system.image)]
        subprocess.run(words, capture_output=True, check=True, env={**os.environ, "PATH": path})
        try:
            system.mount()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"a file system cannot be mounted here: {error.stderr.decode().strip()}")
        try:
            yield system
        finally:
            system.unmount()


def shared(name: str) -> Callable[[], Iterator[FileSystem]]:
    """A fixture: one file system for all tests of a module; each makes a pool of its own in it."""

    @pytest.fixture(scope="module")
    def system() -> Iterator[FileSystem]:
        with mounted(name) as made:
            yield made

    return system
