"""The folder of a pool whose drives are copies: whether its disk is mounted, and what drives are in it."""

import os
from pathlib import Path

from editor.storage.base import Found, StorageError
from editor.storage.copy_folder import CopyFolder
from editor.storage.folders import Pool
from editor.storage.mounts import mount_of
from editor.storage.reserve import RESERVE

PROBE = "check"
"""A folder in which `check` tries what the pool needs."""


class CopyPool(Pool[CopyFolder]):
    """A folder on a file system of one type. Where its disk is not mounted there is no pool, not an empty one."""

    known = frozenset({PROBE, RESERVE})

    def __init__(self, path: Path, file_system: str) -> None:
        super().__init__(path)
        self._file_system = file_system

    def why_not(self) -> str | None:
        """Why there is no pool, or None."""
        mount = mount_of(self.path)
        if mount.type != self._file_system:
            return (
                f"The storage pool's folder is on a file system of type {mount.type}, not {self._file_system}. "
                "Mount the pool's disk there."
            )
        if not self.path.is_dir():
            return "The storage pool's folder does not exist. Mount the pool's disk, or make the folder."
        return None

    def why_not_write(self) -> str | None:
        """Why drives cannot be made in it, or None."""
        if wrong := self.why_not():
            return wrong
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            return "This service may not write to the storage pool's folder. Give the folder to its user."
        return None

    def demand(self, state: str = "") -> None:
        if wrong := self.why_not():
            raise StorageError(f"{wrong} {state}".strip(), detail=f"{self.path} is on {mount_of(self.path)}")

    def drive(self, drive: int) -> CopyFolder:
        return CopyFolder(self.path, drive)

    def look(self, folder: CopyFolder) -> Found:
        return folder.found()
