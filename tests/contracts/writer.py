"""A server that writes without pause, and what a snapshot taken meanwhile must hold.

The one who writes is a process of its own: this file, run as a program. Whoever has the disk open would wait for it
whenever he starts a program, whose first act is to close what it inherits; and the disk may hang.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from pathlib import Path
from typing import Self

PAGE = 4096
PAGES = 64
STRIDE = 16 * PAGE
STOP_SECONDS = 30
POLL_SECONDS = 0.001
RETRY_SECONDS = 0.01


class Word(IntEnum):
    """What writer and test tell each other: 64-bit numbers in a page that both have."""

    STOP = 0
    BEGUN = 1
    ACKED = 2
    FLUSHED = 3
    ERROR = 4

    def read(self, page: mmap.mmap) -> int:
        number: int = struct.unpack_from("<Q", page, 8 * self)[0]
        return number

    def write(self, page: mmap.mmap, number: int) -> None:
        struct.pack_into("<Q", page, 8 * self, number)


class Writer:
    """One write at a time: page n modulo PAGES is filled with the number n, past all caches.

    It ends with the first error; or, if it is `stubborn`, writes the same again until it comes through, and all that
    was not flushed before, as whoever was told of an error must.
    """

    def __init__(self, device: Path, *, flush_every: int = 10, stubborn: bool = False) -> None:
        self._stubborn = stubborn
        with tempfile.TemporaryFile() as file:
            file.truncate(PAGE)
            self._said = mmap.mmap(file.fileno(), PAGE)
            self._words = [str(device), str(os.dup(file.fileno())), str(flush_every), str(int(stubborn))]

    def __enter__(self) -> Self:
        said = int(self._words[1])
        # Isolated: no module of ours is called as one of Python's.
        self._process = subprocess.Popen([sys.executable, "-I", __file__, *self._words], pass_fds=[said])
        os.close(said)
        return self

    def __exit__(self, *_: object) -> None:
        Word.STOP.write(self._said, 1)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        # It may hang in the disk, until that is gone.
        self._process.kill()

    @property
    def begun(self) -> int:
        return Word.BEGUN.read(self._said)

    @property
    def acked(self) -> int:
        return Word.ACKED.read(self._said)

    @property
    def flushed(self) -> int:
        return Word.FLUSHED.read(self._said)

    @property
    def errors(self) -> list[str]:
        """The name of the last one."""
        last = Word.ERROR.read(self._said)
        return [errno.errorcode[last]] if last else []

    def wait_for_more(self) -> None:
        """Until all pages were written since now."""
        goal = self.acked + PAGES
        self._wait(lambda: self.acked >= goal)

    def wait_for_next(self) -> None:
        """Until everything that was begun is on the disk, whatever became of it before, and one more."""
        goal = self.begun + 1
        self._wait(lambda: self.acked >= goal)

    def _wait(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < end, ("the disk hangs", self.acked, self.begun, self.errors)
            assert self._process.poll() is None, ("the writer has ended", self.errors)
            time.sleep(POLL_SECONDS)
        assert self._stubborn or not self.errors, self.errors


def _write(device: str, said: mmap.mmap, *, flush_every: int, stubborn: bool) -> None:
    page = mmap.mmap(-1, PAGE)
    descriptor = os.open(device, os.O_RDWR | os.O_DIRECT)
    number = 0
    while not Word.STOP.read(said):
        number += 1
        page[:] = struct.pack("<Q", number) * (PAGE // 8)
        Word.BEGUN.write(said, max(number, Word.BEGUN.read(said)))
        try:
            os.pwrite(descriptor, page, number % PAGES * STRIDE)
            if number % flush_every == 0:
                os.fsync(descriptor)
                Word.FLUSHED.write(said, number)
            Word.ACKED.write(said, number)
        except OSError as error:
            Word.ERROR.write(said, error.errno or errno.EIO)
            if not stubborn:
                break
            number = Word.FLUSHED.read(said)
            time.sleep(RETRY_SECONDS)


def assert_point_in_time(layer: Path, low: int, high: int) -> None:
    """The layer holds every write up to one that could be in work then, whole, and nothing later."""
    with as_disk(layer) as raw:
        assert_holds(raw, low, high)


@contextmanager
def as_disk(layer: Path) -> Iterator[Path]:
    """What a layer reads as, in a file of its own."""
    raw = layer.with_suffix(".raw")
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", layer.name, raw], cwd=layer.parent, check=True)
    yield raw
    raw.unlink()


def assert_holds(disk: Path, low: int, high: int) -> int:
    """As `assert_point_in_time`, of a disk; answers the last write that it holds."""
    pages = pages_of(disk)
    found = [struct.unpack("<Q", page[:8])[0] for page in pages]
    assert pages == [struct.pack("<Q", number) * (PAGE // 8) for number in found]
    last: int = max(found)
    assert low <= last <= high
    assert found == [last - (last - number) % PAGES for number in range(PAGES)]
    return last


def assert_keeps(disk: Path, flushed: int, high: int) -> None:
    """As after a loss of power: each page holds what was flushed or something newer, whole, and nothing later."""
    for place, page in enumerate(pages_of(disk)):
        number: int = struct.unpack("<Q", page[:8])[0]
        assert page == struct.pack("<Q", number) * (PAGE // 8)
        assert number % PAGES == place or number == 0
        assert flushed - (flushed - place) % PAGES <= number <= high


def pages_of(disk: Path) -> list[bytes]:
    """What the pages hold now, past all caches."""
    page = mmap.mmap(-1, PAGE)
    descriptor = os.open(disk, os.O_RDONLY | os.O_DIRECT)
    try:
        pages = []
        for number in range(PAGES):
            os.preadv(descriptor, [page], number * STRIDE)
            pages.append(page[:])
        return pages
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    _write(sys.argv[1], mmap.mmap(int(sys.argv[2]), PAGE), flush_every=int(sys.argv[3]), stubborn=sys.argv[4] == "1")
