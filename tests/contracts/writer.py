"""A server that writes without pause, and what a snapshot taken meanwhile must hold."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import threading
from pathlib import Path
from typing import Self

PAGE = 4096
PAGES = 64
STRIDE = 16 * PAGE
STOP_SECONDS = 30


class Writer:
    """One write at a time: page n modulo PAGES is filled with the number n, past all caches.

    It ends with the first error; or, if it is `stubborn`, writes the same again until it comes through, and all that
    was not flushed before, as whoever was told of an error must.
    """

    def __init__(self, device: Path, *, flush_every: int = 10, stubborn: bool = False) -> None:
        self.begun = self.acked = self.flushed = 0
        self.errors: list[OSError] = []
        self._device = device
        self._flush_every = flush_every
        self._stubborn = stubborn
        self._moved = threading.Condition()
        self._stop = False
        # A disk may hang for good: no test waits for that.
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join(STOP_SECONDS)

    def wait_for_more(self) -> None:
        """Until all pages were written since now."""
        goal = self.acked + PAGES
        with self._moved:
            assert self._moved.wait_for(lambda: self.acked >= goal or self._has_ended(), timeout=30)
        assert not self._has_ended(), self.errors

    def _has_ended(self) -> bool:
        return bool(self.errors) and not self._stubborn

    def _write(self) -> None:
        page = mmap.mmap(-1, PAGE)
        descriptor = os.open(self._device, os.O_RDWR | os.O_DIRECT)
        try:
            number = 0
            while not self._stop:
                number += 1
                try:
                    self._put(descriptor, page, number)
                except OSError as error:
                    with self._moved:
                        self.errors.append(error)
                        self._moved.notify_all()
                    if not self._stubborn:
                        break
                    number = self.flushed
        finally:
            os.close(descriptor)

    def _put(self, descriptor: int, page: mmap.mmap, number: int) -> None:
        page[:] = struct.pack("<Q", number) * (PAGE // 8)
        self.begun = max(number, self.begun)
        os.pwrite(descriptor, page, number % PAGES * STRIDE)
        if number % self._flush_every == 0:
            os.fsync(descriptor)
            self.flushed = number
        with self._moved:
            self.acked = number
            self._moved.notify_all()


def assert_point_in_time(layer: Path, low: int, high: int) -> None:
    """The layer holds every write up to one that could be in work then, whole, and nothing later."""
    raw = layer.with_suffix(".raw")
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", layer.name, raw], cwd=layer.parent, check=True)
    assert_holds(raw, low, high)
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
