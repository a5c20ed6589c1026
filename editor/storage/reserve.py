"""Room that a pool keeps for making room: where none is left at all, nothing can be reverted or deleted.

    reserve     a file in the pool's folder that holds nothing; removed when a verb that must work meets a full disk,
                and made again as soon as there is room

A file system may keep its own tables apart from what files hold, and have room for the one and not for the other
(btrfs). So the reserve holds both kinds: a file's extended attributes are part of those tables.
"""

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from editor.storage import rawdisk

RESERVE = "reserve"
MOST_BYTES = 64 * 1024 * 1024
"""Copying a file of a million pieces takes 16 MiB; any other verb some pages."""
LEAST_BYTES = 1024 * 1024
ATTRIBUTE_BYTES = 16_000
"""Nearly a whole node of btrfs's tables, by default."""
LEAST_POOL_BYTES = 16 * 1024**3
"""Of a smaller pool it would be a noticeable part: that gets none."""
FULL = {errno.ENOSPC, errno.EDQUOT}

Answer = TypeVar("Answer")


class Reserve:
    """The reserve of one pool, with so many extended attributes."""

    def __init__(self, pool: Path, *, attributes: int) -> None:
        self._file = pool / RESERVE
        self._attributes = attributes
        self._making = threading.Lock()

    def keep(self) -> None:
        """Make or enlarge the reserve, out of half the room there is. Takes microseconds when it is large enough."""
        with self._making, contextlib.suppress(OSError):
            held = self._size()
            if held == MOST_BYTES:
                return
            room = os.statvfs(self._file.parent)
            wanted = min(MOST_BYTES, held + room.f_bavail * room.f_frsize // 2)
            if wanted >= LEAST_BYTES and room.f_blocks * room.f_frsize >= LEAST_POOL_BYTES:
                self._make(wanted, attributes=0 if held else self._attributes)

    def spend(self, work: Callable[[], Answer]) -> Answer:
        """Do what must be possible in a full pool: `work` is begun again, with the reserve given up, if it meets one.

        It raises what `work` raises: what servers write at that moment may take the room.
        """
        try:
            return work()
        except OSError as error:
            if error.errno not in FULL or not self._given_up():
                raise
        done = work()
        self.keep()
        return done

    def _size(self) -> int:
        """0 also of one whose maker was killed."""
        try:
            return os.stat(self._file).st_size
        except FileNotFoundError:
            return 0

    def _make(self, size_bytes: int, *, attributes: int) -> None:
        with rawdisk.opened(self._file, os.O_WRONLY | os.O_CREAT) as file:
            try:
                for number in range(attributes):
                    os.setxattr(file, f"user.reserve-{number}", bytes(ATTRIBUTE_BYTES))
                # The last: it gives the file its length.
                os.posix_fallocate(file, 0, size_bytes)
            except OSError:
                if attributes or not os.fstat(file).st_size:
                    self._file.unlink(missing_ok=True)
                raise

    def _given_up(self) -> bool:
        try:
            self._file.unlink()
        except FileNotFoundError:
            return False
        return True
