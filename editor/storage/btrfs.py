"""Drives on btrfs: one subvolume per copy, with the disk in it as a plain file. No root, except to mount.

Copying a subvolume takes the same few milliseconds at any size and fragmentation, and a server that writes meanwhile
waits no longer than that; copying files (FICLONE) takes time in proportion to their extents, during which nobody can
read or write them. By system calls, not by the program btrfs: they need no packages, end at once when they are
refused, and leave nothing running behind when this process is killed.

A snapshot holds all that was written before it began. Of what is written while it is made, and not flushed, it may hold
some without what came before that: the kernel writes out in its own order. What was flushed is never missing below
something later, so it is what a disk with a write cache has after a power cut (measured: 1 GiB scattered, unflushed).

Numbers and structures: linux/btrfs.h, https://btrfs.readthedocs.io/en/latest/dev/dev-btrfs-ioctl.html
"""

import contextlib
import errno
import os
import shutil
import struct
from pathlib import Path

from editor.storage import ioctls, rawdisk
from editor.storage.base import Check
from editor.storage.copies import CopyStorage
from editor.storage.mounts import mount_of
from editor.storage.programs import Damaged

BTRFS_IOC_SUBVOL_CREATE = 0x5000940E  # _IOW(0x94, 14, struct btrfs_ioctl_vol_args)
BTRFS_IOC_SNAP_DESTROY = 0x5000940F  # _IOW(0x94, 15, struct btrfs_ioctl_vol_args)
BTRFS_IOC_SNAP_CREATE_V2 = 0x50009417  # _IOW(0x94, 23, struct btrfs_ioctl_vol_args_v2)
BTRFS_IOC_SUBVOL_SETFLAGS = 0x4008941A  # _IOW(0x94, 26, __u64)
BTRFS_SUBVOL_RDONLY = 1 << 1
ARGUMENTS = struct.Struct("=q4088s")  # fd, name
ARGUMENTS_V2 = struct.Struct("=qQQ32x4040s")  # fd, transid, flags, name
SUBVOLUME_INODE = 256
"""BTRFS_FIRST_FREE_OBJECTID: the inode number of the root of every subvolume, and of no other folder."""

FS_IOC_GETFLAGS = 0x80086601  # linux/fs.h
FS_NOCOW_FL = 0x00800000
REMOVAL = "user_subvol_rm_allowed"


class BtrfsStorage(CopyStorage):
    """Copies are snapshots of subvolumes."""

    file_system = "btrfs"
    # Measured: 320 are too few for the rename that ends a revert, which sets aside far more than it takes.
    reserved_attributes = 512

    def make_place(self, copy: Path) -> None:
        _tell(copy.parent, BTRFS_IOC_SUBVOL_CREATE, ARGUMENTS.pack(0, os.fsencode(copy.name)))

    def make_copy(self, source: Path, copy: Path, *, frozen: bool) -> None:
        if not _is_subvolume(source):
            raise Damaged(f"{source.name} is not a subvolume")
        flags = BTRFS_SUBVOL_RDONLY if frozen else 0
        with rawdisk.opened(source) as folder:
            # Writes out what is in memory, and commits before it answers.
            arguments = ARGUMENTS_V2.pack(folder, 0, flags, os.fsencode(copy.name))
            _tell(copy.parent, BTRFS_IOC_SNAP_CREATE_V2, arguments)

    def remove(self, copy: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            if not _is_subvolume(copy):
                shutil.rmtree(copy)
                return
            if self._destroyed(copy):
                return
            # An ordinary user may not remove what is read only.
            _tell(copy, BTRFS_IOC_SUBVOL_SETFLAGS, struct.pack("=Q", 0))
            if not self._destroyed(copy):
                # Nor, without the mount option, a subvolume; but may empty it, in proportion to what is in it.
                shutil.rmtree(copy)

    def _destroyed(self, copy: Path) -> bool:
        """Remove a subvolume, or answer that this user may not. Works when there is no room to change anything."""
        try:
            _tell(copy.parent, BTRFS_IOC_SNAP_DESTROY, ARGUMENTS.pack(0, os.fsencode(copy.name)))
        except OSError as error:
            if error.errno in {errno.EPERM, errno.EROFS}:
                return False
            raise
        return True

    def check_copying(self, folder: Path) -> list[Check]:
        self.make_place(folder / "live-1")
        rawdisk.make(folder / "live-1/disk", 1024**2)
        self.make_copy(folder / "live-1", folder / "frozen-1", frozen=True)
        with rawdisk.opened(folder / "live-1/disk") as disk:
            flags = bytearray(8)
            ioctls.ioctl(disk, FS_IOC_GETFLAGS, flags)
        return [
            Check("Snapshots of subvolumes"),
            Check("Copy on write", self._why_not_written_in_place(int.from_bytes(flags[:4], "little"))),
            Check("Removal of snapshots", self._why_slow_to_remove()),
        ]

    def _why_not_written_in_place(self, flags: int) -> str | None:
        if not flags & FS_NOCOW_FL:
            return None
        return (
            "Copy on write is switched off here, and with it the checksums that tell of decay. "
            "Mount the pool without nodatacow; drives made before that stay as they are."
        )

    def _why_slow_to_remove(self) -> str | None:
        if os.geteuid() == 0 or REMOVAL in mount_of(self._pool.path).options:
            return None
        return (
            f"Deleting a snapshot takes time in proportion to what it holds. Mount the pool with the option {REMOVAL}."
        )


def _is_subvolume(folder: Path) -> bool:
    return os.stat(folder).st_ino == SUBVOLUME_INODE


def _tell(folder: Path, request: int, arguments: bytes) -> None:
    with rawdisk.opened(folder) as descriptor:
        ioctls.ioctl(descriptor, request, bytearray(arguments))
