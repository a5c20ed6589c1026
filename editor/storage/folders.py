"""What engines do alike that keep each drive in a folder of its own: how it is held, how it goes, what is left of it.

    drive-7/lock    held by whoever works on the drive
    deleted-7/      a deleted drive on its way out (editor.storage.graves)

What else is in a drive's folder is the engine's own.
"""

import abc
import contextlib
import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from editor.storage.base import Found, StorageDriver, StorageError, UnknownDrive
from editor.storage.graves import grave, graves
from editor.storage.layers import fsync
from editor.storage.locks import DriveLocks
from editor.storage.programs import UNCHANGED, explained
from editor.storage.sentences import HALF_DELETED

DRIVE_NAME = re.compile(r"drive-([1-9][0-9]*)", re.ASCII)

NOT_CREATED = "The drive was not created."


class Folder(Protocol):
    """The folder of one drive."""

    drive: int
    path: Path

    def unknown(self) -> StorageError:
        """What to raise when there is no such drive."""

    def is_unfinished(self) -> bool:
        """Whether the drive was never made whole: it has no head, and at most its first, empty layer."""

    def leftovers(self) -> list[str]:
        """Names of what an interrupted verb left. Its content was never part of the drive."""


AFolder = TypeVar("AFolder", bound=Folder)


class Pool(abc.ABC, Generic[AFolder]):
    """The folder of a pool, and the drives in it."""

    known: ClassVar[frozenset[str]] = frozenset()
    """Names in it of what is no drive, and not strange."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @abc.abstractmethod
    def demand(self, state: str = "") -> None:
        """Raise StorageError when there is no pool; `state` is the sentence saying what is unchanged."""

    @abc.abstractmethod
    def drive(self, drive: int) -> AFolder:
        """The folder of a drive, whether it is there or not."""

    @abc.abstractmethod
    def look(self, folder: AFolder) -> Found:
        """What an audit says of a drive. Raises UnknownDrive or FileNotFoundError when it is gone."""

    def drives(self) -> list[AFolder]:
        """The folders of all drives, by id."""
        return self._drives(os.listdir(self.path))

    def found(self) -> list[Found]:
        """What an audit says: of drives by id, then of the pool itself if something in it is strange."""
        names = sorted(os.listdir(self.path))
        drives = self._drives(names)
        found = []
        for folder in drives:
            with contextlib.suppress(FileNotFoundError, UnknownDrive):  # deleted since the listing
                found.append(self.look(folder))
        known = {*self.known, *(folder.path.name for folder in drives)}
        if others := tuple(f"{name} is not a drive." for name in names if name not in known):
            found.append(Found(None, None, frozenset(), others))
        return found

    def _drives(self, names: Iterable[str]) -> list[AFolder]:
        drives = sorted(int(match[1]) for name in names if (match := DRIVE_NAME.fullmatch(name)))
        return [folder for folder in map(self.drive, drives) if folder.path.is_dir()]


class FolderStorage(StorageDriver, Generic[AFolder]):
    """Drives in the folder of one pool."""

    def __init__(self, pool: Pool[AFolder], *, busy_seconds: float) -> None:
        self._pool = pool
        self._locks = DriveLocks(busy_seconds)

    # What an engine adds

    @abc.abstractmethod
    def _working(
        self, drive: int, *, gives_way: bool = False, state: str = UNCHANGED
    ) -> contextlib.AbstractContextManager[tuple[AFolder, Any]]:
        """Hold a known drive, cleaned of what an interrupted verb left."""

    @abc.abstractmethod
    def _demand_unused(self, folder: AFolder) -> None:
        """Refuse a drive that is in use; what serving it left, when that died, may be removed."""

    @abc.abstractmethod
    def _remove_grave(self, grave: Path) -> None:
        """Remove a folder and what is in it, durably; absent is fine."""

    def _rename(self, folder: Path, new: Path) -> None:
        """Rename a drive's folder; in a full pool too, if the engine sees to that."""
        os.rename(folder, new)

    # Making and removing drives

    @contextlib.contextmanager
    def _making(self, drive: int) -> Iterator[tuple[AFolder, int]]:
        """Hold the folder of a drive, made when it is not there; gives the lock's descriptor too."""
        folder = self._pool.drive(drive)
        if not folder.path.is_dir():
            folder.path.mkdir(mode=0o700, exist_ok=True)
            fsync(self._pool.path)
        with self._locks.held(folder.path) as lock:
            yield folder, lock

    def delete_drive(self, drive: int) -> None:
        folder = self._pool.drive(drive)
        with explained(HALF_DELETED):
            self._pool.demand(UNCHANGED)
            with contextlib.suppress(FileNotFoundError), self._locks.held(folder.path):
                self._demand_unused(folder)
                self._bury(folder)
            self._remove_grave(grave(self._pool.path, drive))

    def clear(self, drive: int) -> bool:
        folder = self._pool.drive(drive)
        with explained():
            self._pool.demand(UNCHANGED)
            with contextlib.suppress(FileNotFoundError), self._locks.held(folder.path):
                if not folder.is_unfinished():
                    return False
                self._bury(folder)
            self._remove_grave(grave(self._pool.path, drive))
        return True

    def _bury(self, folder: AFolder) -> None:
        self._remove_grave(grave(self._pool.path, folder.drive))
        self._rename(folder.path, grave(self._pool.path, folder.drive))
        fsync(self._pool.path)

    def clean(self, *, spare: Collection[int]) -> Iterator[str]:
        with explained("No drive was changed."):
            self._pool.demand()
            for drive, path in graves(self._pool.path).items():
                if drive not in spare:
                    self._remove_grave(path)
                    yield f"{path.name}, the rest of a deleted drive"
            for folder in self._pool.drives():
                with contextlib.suppress(FileNotFoundError, UnknownDrive):
                    if folder.drive not in spare and (left := folder.leftovers()):
                        with self._working(folder.drive):
                            pass  # which removes them
                        yield from (f"{folder.path.name}/{name}, which was not finished" for name in left)

    def audit(self) -> list[Found]:
        with explained():
            self._pool.demand()
            return self._pool.found()

    # Holding a drive

    @contextlib.contextmanager
    def _held(self, folder: AFolder, *, gives_way: bool = False) -> Iterator[int]:
        """Hold a drive that was there a moment ago; gives the lock's descriptor. Raises UnknownDrive."""
        with contextlib.ExitStack() as stack:
            try:
                lock = stack.enter_context(self._locks.held(folder.path, gives_way=gives_way))
            except FileNotFoundError:
                raise folder.unknown() from None
            yield lock
