"""Drives on XFS: one plain file per copy, which shares its blocks with the file it was made from. No root.

Copying takes time in proportion to the extents of the file, and nobody can read or write it meanwhile.
"""

import contextlib
import errno
import fcntl
import os
import shutil
from pathlib import Path

from editor.storage import rawdisk
from editor.storage.base import Check, Disturbing
from editor.storage.copies import CopyStorage
from editor.storage.extents import count

FICLONE = 0x40049409  # _IOW(0x94, 9, int), linux/fs.h and ioctl_ficlone(2)

SECONDS_PER_EXTENT = 30e-6
"""Measured: 25 to 36 µs, three to five times that while a deleted snapshot's blocks are still being given back."""

MAX_LIVE_EXTENTS = 50_000
"""About 1.5 s, and 7 s at worst. A server's own limit for an answer of its disk is 30 s in most systems."""


class ReflinkStorage(CopyStorage):
    """Copies are clones of files."""

    file_system = "xfs"

    def make_place(self, copy: Path) -> None:
        copy.mkdir(mode=0o700)

    def make_copy(self, source: Path, copy: Path, *, frozen: bool) -> None:
        self.make_place(copy)
        disk = copy / "disk"
        with rawdisk.opened(source / "disk") as old, rawdisk.opened(disk, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as new:
            # Writes out what is in memory first. Killed, it leaves a part of the file.
            fcntl.ioctl(new, FICLONE, old)
            if frozen:
                os.fchmod(new, 0o400)

    def remove(self, copy: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(copy)

    def check_live(self, disk: Path) -> None:
        with rawdisk.opened(disk) as file:
            found = count(file)
        if found > MAX_LIVE_EXTENTS:
            raise Disturbing(
                f"The drive's content lies in {found:,} pieces. A snapshot would stop the server's disk for about "
                f"{found * SECONDS_PER_EXTENT:.0f} seconds. Nothing on the drive was changed. "
                "Shut the server down first, then create the snapshot.",
                detail=f"{found} extents, at most {MAX_LIVE_EXTENTS} while it is active",
            )

    def check_copying(self, folder: Path) -> list[Check]:
        self.make_place(folder / "live-1")
        rawdisk.make(folder / "live-1/disk", 1024**2)
        try:
            self.make_copy(folder / "live-1", folder / "frozen-1", frozen=True)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            wrong = "This XFS cannot share blocks between files. Make it anew with: mkfs.xfs -m reflink=1"
            return [Check("Shared blocks", wrong)]
        return [Check("Shared blocks")]
