"""Reads and writes a disk that is one plain file, with holes where nothing was written."""

import contextlib
import errno
import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from editor.storage.base import HASH_BLOCK_BYTES, SECTOR_BYTES
from editor.storage.extents import Extent, extents
from editor.storage.programs import Damaged


@contextlib.contextmanager
def opened(disk: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    """A descriptor of the file. Raises FileNotFoundError."""
    descriptor = os.open(disk, flags | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def make(disk: Path, size_bytes: int) -> None:
    """Make an empty disk; nothing may be there."""
    with opened(disk, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
        os.ftruncate(file, size_bytes)


def size_of(disk: Path) -> int:
    """Its size. Raises Damaged when it is none that a disk can have."""
    size_bytes = os.stat(disk).st_size
    if not size_bytes or size_bytes % SECTOR_BYTES:
        raise Damaged(f"{disk.parent.name}/{disk.name} is {size_bytes} bytes long")
    return size_bytes


def extents_of(disk: Path) -> list[Extent]:
    """Where its bytes lie, as `extents` tells; none when nothing was written."""
    with opened(disk) as file:
        return extents(file)


def has_writer(disk: Path) -> bool:
    """Whether anybody, in any process or in the kernel, has it open to write to it.

    The kernel gives a lease for reading only while nobody has (fcntl(2), "Leases"); it is given back at once.
    """
    with opened(disk) as file:
        # Who opens the file just then waits until then, and we are told by a signal, which must not be a deadly one.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            # Anything else: a file of another user, or a file system without leases.
            return error.errno == errno.EAGAIN
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def grow(disk: Path, size_bytes: int) -> None:
    """Make it that large, never smaller. What is new reads as zeros."""
    with opened(disk, os.O_WRONLY) as file:
        if os.fstat(file).st_size < size_bytes:
            os.ftruncate(file, size_bytes)


def read(disk: Path, offset: int, length: int) -> bytes:
    """A window of it."""
    with opened(disk) as file:
        return os.pread(file, length, offset)


def write(disk: Path, offset: int, data: bytes) -> None:
    """Put bytes on it, durably."""
    rest = memoryview(data)
    with opened(disk, os.O_WRONLY) as file:
        while rest:
            written = os.pwrite(file, rest, offset)
            rest, offset = rest[written:], offset + written
        os.fsync(file)


def held_blocks(disk: Path) -> Iterator[tuple[int, bytes]]:
    """Offset and content of the blocks that may hold something, in order, for `base.content_hash`."""
    with opened(disk) as file:
        position = 0
        while True:
            try:
                start = os.lseek(file, position, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # only a hole is left
                    return
                raise
            end = os.lseek(file, start, os.SEEK_HOLE)
            for offset in range(start // HASH_BLOCK_BYTES * HASH_BLOCK_BYTES, end, HASH_BLOCK_BYTES):
                yield offset, os.pread(file, HASH_BLOCK_BYTES, offset)
                position = offset + HASH_BLOCK_BYTES
