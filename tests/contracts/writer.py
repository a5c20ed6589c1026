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


class Writer:
    """One write at a time: page n modulo PAGES is filled with the number n, past all caches."""

    def __init__(self, device: Path, *, flush_every: int = 10) -> None:
        self.begun = self.acked = 0
        self.errors: list[OSError] = []
        self._device = device
        self._flush_every = flush_every
        self._moved = threading.Condition()
        self._stop = False
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join()

    def wait_for_more(self) -> None:
        """Until all pages were written since now."""
        goal = self.acked + PAGES
        with self._moved:
            assert self._moved.wait_for(lambda: self.acked >= goal or self.errors, timeout=30)
        assert self.errors == []

    def _write(self) -> None:
        page = mmap.mmap(-1, PAGE)
        descriptor = os.open(self._device, os.O_RDWR | os.O_DIRECT)
        try:
            while not self._stop:
                number = self.begun + 1
                page[:] = struct.pack("<Q", number) * (PAGE // 8)
                self.begun = number
                os.pwrite(descriptor, page, number % PAGES * STRIDE)
                if number % self._flush_every == 0:
                    os.fsync(descriptor)
                with self._moved:
                    self.acked = number
                    self._moved.notify_all()
        except OSError as error:
            with self._moved:
                self.errors.append(error)
                self._moved.notify_all()
        finally:
            os.close(descriptor)


def assert_point_in_time(layer: Path, low: int, high: int) -> None:
    """It holds every write up to one that could be in work then, whole, and nothing later."""
    raw = layer.with_suffix(".raw")
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", layer.name, raw], cwd=layer.parent, check=True)
    with raw.open("rb") as file:
        pages = [os.pread(file.fileno(), PAGE, number * STRIDE) for number in range(PAGES)]
    raw.unlink()
    found = [struct.unpack("<Q", page[:8])[0] for page in pages]
    assert pages == [struct.pack("<Q", number) * (PAGE // 8) for number in found]
    last = max(found)
    assert low <= last <= high
    assert found == [last - (last - number) % PAGES for number in range(PAGES)]
