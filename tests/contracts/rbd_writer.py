"""A program that writes to an image without pause, as a target does for its server: a client of the cluster by itself.

Run as a program: configuration, user, pool, image, and the file in which it counts.
"""

from __future__ import annotations

import mmap
import select
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from editor.storage.rbd import ceph

PAGE = 4096
PAGES = 64
STRIDE = 1024 * 1024
COUNTS = struct.Struct("<QQ")


class RbdWriter:
    """One write at a time: page n modulo PAGES is filled with the number n. Pages are in 16 objects."""

    def __init__(self, conf: str, user: str, name: str, counts: Path) -> None:
        pool, image = name.split("/")
        counts.write_bytes(bytes(COUNTS.size))
        self._counts = counts
        self._command = [sys.executable, "-m", "tests.contracts.rbd_writer", conf, user, pool, image, str(counts)]

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(self._command, stdin=subprocess.PIPE)
        self.wait_for_more()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()  # the end of its input is the end of its work
        assert self.process.returncode == 0

    @property
    def begun(self) -> int:
        return self._read()[0]

    @property
    def acked(self) -> int:
        return self._read()[1]

    def wait_for_more(self) -> None:
        """Until all pages were written since now."""
        goal, end = self.acked + PAGES, time.monotonic() + 60
        while self.acked < goal:
            assert self.process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)

    def _read(self) -> tuple[int, int]:
        begun, acked = COUNTS.unpack(self._counts.read_bytes())
        return begun, acked


def assert_point_in_time(image: Any, low: int, high: int) -> None:
    """An open image holds every write up to one that could be in work then, whole, and nothing later."""
    pages = [image.read(number * STRIDE, PAGE) for number in range(PAGES)]
    found = [struct.unpack("<Q", page[:8])[0] for page in pages]
    assert pages == [struct.pack("<Q", number) * (PAGE // 8) for number in found]
    last = max(found)
    assert low <= last <= high
    assert found == [last - (last - number) % PAGES for number in range(PAGES)]


def main(conf: str, user: str, pool: str, name: str, counts: str) -> None:
    with (
        ceph.rados().Rados(conffile=conf, rados_id=user) as cluster,
        cluster.open_ioctx(pool) as images,
        ceph.rbd().Image(images, name) as image,
        Path(counts).open("r+b") as file,
    ):
        shared = mmap.mmap(file.fileno(), COUNTS.size)
        number = 0
        while not select.select([sys.stdin], [], [], 0)[0]:
            number += 1
            COUNTS.pack_into(shared, 0, number, number - 1)
            image.write(struct.pack("<Q", number) * (PAGE // 8), number % PAGES * STRIDE)
            if number % 10 == 0:
                image.flush()
            COUNTS.pack_into(shared, 0, number, number)


if __name__ == "__main__":
    main(*sys.argv[1:])
