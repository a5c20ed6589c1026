"""The folder of a pool whose drives are copies: whether its disk is mounted, and what drives are in it."""

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from editor.storage.base import Found, StorageError
from editor.storage.copy_folder import CopyFolder
from editor.storage.mounts import mount_of
from editor.storage.reserve import RESERVE

DRIVE_NAME = re.compile(r"drive-([1-9][0-9]*)", re.ASCII)
PROBE = "check"
"""A folder in which `check` tries what the pool needs."""


class CopyPool:
    """A folder on a file system of one type. Where its disk is not mounted there is no pool, not an empty one."""

    def __init__(self, path: Path, file_system: str) -> None:
        self.path = path.absolute()
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
        """Raise StorageError when there is no pool; `state` is the sentence saying what is unchanged."""
        if wrong := self.why_not():
            raise StorageError(f"{wrong} {state}".strip(), detail=f"{self.path} is on {mount_of(self.path)}")

    def drive(self, drive: int) -> CopyFolder:
        """The folder of a drive, whether it is there or not."""
        return CopyFolder(self.path, drive)

    def drives(self) -> list[CopyFolder]:
        """The folders of all drives, by id."""
        return self._drives(os.listdir(self.path))

    def found(self) -> list[Found]:
        """What an audit says."""
        names = sorted(os.listdir(self.path))
        drives = self._drives(names)
        found = []
        for folder in drives:
            with contextlib.suppress(FileNotFoundError):  # deleted since the listing
                found.append(folder.found())
        known = {PROBE, RESERVE, *(folder.path.name for folder in drives)}
        if others := tuple(f"{name} is not a drive." for name in names if name not in known):
            found.append(Found(None, None, frozenset(), others))
        return found

    def _drives(self, names: Iterable[str]) -> list[CopyFolder]:
        drives = sorted(int(match[1]) for name in names if (match := DRIVE_NAME.fullmatch(name)))
        return [folder for folder in map(self.drive, drives) if folder.path.is_dir()]
