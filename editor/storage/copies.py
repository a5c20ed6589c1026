"""Drives whose layers are whole copies that share what is equal, on a file system that can make such copies.

No layer stands on another, so none is ever merged: a snapshot that is deleted is removed, at once, and the file
system gives its space back soon after.
"""

import abc
import contextlib
import functools
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import ClassVar

from editor.storage import rawdisk
from editor.storage.base import Check, Device, StorageError, UnknownDrive, Usage, content_hash, never
from editor.storage.copy_folder import COPY_NAME, INACTIVE, NEW_TREE, Copy, CopyFolder, Tree
from editor.storage.copy_pool import PROBE, CopyPool
from editor.storage.extents import differing_bytes, held_bytes
from editor.storage.folders import NOT_CREATED, FolderStorage
from editor.storage.layers import fsync
from editor.storage.programs import UNCHANGED, Damaged, explained
from editor.storage.reserve import Reserve
from editor.storage.sentences import (
    HALF_GROWN,
    HALF_WRITTEN,
    SAME_CONTENT,
    changed,
    check_growth,
    check_same_size,
    check_size,
    check_window,
    in_use,
    other_head,
    taken,
    unknown_layer,
)


class CopyStorage(FolderStorage[CopyFolder]):
    """Drives in one folder. Subclasses say how a copy is made and removed."""

    file_system: ClassVar[str]
    """As in /proc/self/mountinfo."""
    reserved_attributes: ClassVar[int] = 0
    """What the pool's reserve holds of them."""

    _pool: CopyPool

    def __init__(self, pool: Path, *, busy_seconds: float = 10) -> None:
        super().__init__(CopyPool(pool, self.file_system), busy_seconds=busy_seconds)
        self._reserve = Reserve(self._pool.path, attributes=self.reserved_attributes)

    # What a file system must offer

    @abc.abstractmethod
    def make_place(self, copy: Path) -> None:
        """Make the empty folder of a copy."""

    @abc.abstractmethod
    def make_copy(self, source: Path, copy: Path, *, frozen: bool) -> None:
        """Copy the disk in the folder `source` to the new folder `copy`, as it is at one point in time.

        What is broken off leaves nothing, or something that `remove` removes. A frozen one is made to be read only.
        """

    @abc.abstractmethod
    def remove(self, copy: Path) -> None:
        """Remove the folder of a copy, in a full pool too. Absent is fine."""

    @abc.abstractmethod
    def check_copying(self, folder: Path) -> list[Check]:
        """Tries copying in a folder of the pool."""

    def check_live(self, disk: Path) -> None:
        """Refuse a snapshot that would disturb the server that has the disk open."""

    # Making, growing and removing drives

    def create_drive(self, drive: int, *, layer: int, size_bytes: int) -> None:
        check_size(size_bytes)
        with explained(NOT_CREATED):
            self._pool.demand(NOT_CREATED)
            with self._making(drive) as (folder, _lock):
                if folder.exists():
                    check_same_size(folder.size_bytes(folder.tree()), size_bytes)
                    fsync(folder.path)
                    return
                name = f"live-{layer}"
                self._clear(folder, name)
                self.make_place(folder.path / name)
                rawdisk.make(folder.disk(name), size_bytes)
                self._settle(folder, name)
                os.close(os.open(folder.path / INACTIVE, os.O_CREAT | os.O_CLOEXEC, 0o600))
                folder.save(Tree(layer, {layer: Copy(name, None)}))

    def _clear(self, folder: CopyFolder, name: str) -> None:
        """Remove the first copy of an attempt that was cut short; it is empty. Anything else is somebody's."""
        for found in folder.copies():
            disk = folder.disk(found)
            if found != name or (disk.exists() and rawdisk.extents_of(disk)):
                raise StorageError(
                    f"The storage pool holds data under this drive's name, but no head. {UNCHANGED} "
                    "Check whether the pool was copied in part.",
                    permanent=True,
                    detail=f"drive {folder.drive} has {found}",
                )
            self.remove(folder.path / found)

    def grow(self, drive: int, *, size_bytes: int) -> None:
        check_size(size_bytes)
        with self._working(drive, state=HALF_GROWN) as (folder, tree):
            disk = folder.head(tree)
            now_bytes = rawdisk.size_of(disk)
            check_growth(now_bytes, size_bytes)
            if now_bytes < size_bytes:
                self._demand_unused(folder)
                rawdisk.grow(disk, size_bytes)
            fsync(disk)  # when this is repeated too: we may have been killed before it

    def _demand_unused(self, folder: CopyFolder) -> None:
        """Refuse a drive that is active, or that anybody else has open to write to it: a server may be doing so."""
        if folder.is_active:
            raise in_use(folder.drive)
        # A damaged drive may be reverted or deleted; nobody has open what is missing.
        with contextlib.suppress(Damaged, UnknownDrive, FileNotFoundError):
            disk = folder.head(folder.tree())
            if rawdisk.has_writer(disk):
                raise StorageError(
                    f"Another program has the drive's disk open to write to it. {UNCHANGED} "
                    "Shut down the server that uses it, and end what serves it.",
                    detail=f"{disk}",
                )

    def _rename(self, folder: Path, new: Path) -> None:
        self._reserve.spend(lambda: os.rename(folder, new))

    def _remove_grave(self, grave: Path) -> None:
        if grave.is_dir():
            self._empty(grave)
            for name in os.listdir(grave):
                os.unlink(grave / name)
            os.rmdir(grave)
            fsync(grave.parent)

    # Looking

    def head(self, drive: int) -> int:
        with self._looking(drive) as folder:
            return folder.tree().head

    def size_bytes(self, drive: int) -> int:
        with self._looking(drive) as folder:
            return folder.unlocked(lambda tree: rawdisk.size_of(folder.head(tree)))

    def layers(self, drive: int) -> frozenset[int]:
        with self._looking(drive) as folder:
            return folder.present(folder.tree())

    def written_since(self, drive: int, layers: Collection[int]) -> dict[int, int]:
        def look(tree: Tree) -> dict[int, int]:
            now = rawdisk.extents_of(folder.head(tree))
            there = folder.present(tree)
            asked = [layer for layer in tree.chain() if layer in layers and layer in there]
            return {layer: differing_bytes(now, rawdisk.extents_of(folder.layer(tree, layer))) for layer in asked}

        with self._looking(drive) as folder:
            return folder.unlocked(look)

    def used_bytes(self, drive: int) -> int:
        def look(tree: Tree) -> int:
            there = folder.present(tree)
            return held_bytes(rawdisk.extents_of(folder.layer(tree, layer)) for layer in tree.chain() if layer in there)

        with self._looking(drive) as folder:
            return folder.unlocked(look)

    # Serving

    def activate(self, drive: int) -> Device:
        with self._working(drive) as (folder, tree):
            device = Device("file", str(folder.head(tree)))
            self._reserve.spend(lambda: folder.mark(active=True))
            return device

    def deactivate(self, drive: int) -> None:
        folder = self._pool.drive(drive)
        with explained(), contextlib.suppress(FileNotFoundError), self._locks.held(folder.path):
            if folder.is_active:
                # A target that died may have left writes in memory.
                with contextlib.suppress(Damaged, StorageError):
                    fsync(folder.head(folder.tree()))
                self._reserve.spend(lambda: folder.mark(active=False))

    def devices(self) -> dict[int, Device]:
        with explained():
            self._pool.demand()
            found = {folder.drive: _device(folder) for folder in self._pool.drives()}
        return {drive: device for drive, device in found.items() if device}

    def device(self, drive: int) -> Device | None:
        with explained():
            self._pool.demand()
            return _device(self._pool.drive(drive))

    def usage(self) -> Usage:
        with explained():
            self._pool.demand()
            room = os.statvfs(self._pool.path)
            return Usage(room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize)

    def check(self) -> list[Check]:
        wrong = self._pool.why_not_write()
        checks = [Check("Folder", wrong)]
        if wrong is None:
            try:
                checks += self._try_copying()
            except StorageError as error:
                checks.append(Check("Copies", str(error)))
        return checks

    def _try_copying(self) -> list[Check]:
        probe = self._pool.path / PROBE
        with explained("No drive was changed."):
            probe.mkdir(mode=0o700, exist_ok=True)
            with self._locks.held(probe):
                self._empty(probe)  # of what one left that was killed
                try:
                    return self.check_copying(probe)
                finally:
                    self._empty(probe)

    def _empty(self, folder: Path) -> None:
        for name in os.listdir(folder):
            if COPY_NAME.fullmatch(name):
                self.remove(folder / name)

    # Snapshots

    def snapshot(self, drive: int, *, frozen: int, new_layer: int) -> None:
        with self._working(drive) as (folder, tree):
            if tree.head not in {frozen, new_layer}:
                raise changed(drive, head=tree.head, expected=frozen)
            self._top(folder, tree, onto=frozen, new_layer=new_layer)

    def revert(self, drive: int, *, onto: int, new_layer: int) -> None:
        with self._working(drive) as (folder, tree):
            if tree.head != new_layer:
                self._demand_unused(folder)
            self._reserve.spend(lambda: self._top(folder, tree, onto=onto, new_layer=new_layer))

    def abandon(self, drive: int, *, new_layer: int) -> bool:
        with self._working(drive) as (folder, tree):
            if tree.head == new_layer:
                fsync(folder.path)  # we may have been killed between the switch and this
                return False
            if new_layer in tree.copies:
                raise taken(new_layer)
            return True  # what was made of it is gone: drive.json does not name it

    def _top(self, folder: CopyFolder, tree: Tree, *, onto: int, new_layer: int) -> None:
        """Make `new_layer` the head, on `onto`: the head goes on as that, or another one is copied."""
        if tree.head == new_layer:
            if tree.copies[new_layer].parent != onto:
                raise taken(new_layer)
            fsync(folder.path)  # we may have been killed between the switch and this
            return
        if new_layer in tree.copies:
            raise taken(new_layer)
        if onto == tree.head:
            live = folder.head(tree)
            if folder.is_active:
                self.check_live(live)
            frozen = Copy(f"frozen-{onto}", tree.copies[onto].parent)
            self._copy(folder, tree.live, frozen.name)
            copies = {**tree.copies, onto: frozen, new_layer: Copy(tree.live, onto)}
        else:
            if onto not in folder.present(tree):
                raise unknown_layer(folder.drive, onto)
            name = f"live-{new_layer}"
            self._copy(folder, tree.copies[onto].name, name, size_bytes=folder.size_bytes(tree))
            copies = {**tree.copies, new_layer: Copy(name, onto)}
        folder.save(Tree(new_layer, copies))

    def _copy(self, folder: CopyFolder, source: str, name: str, *, size_bytes: int | None = None) -> None:
        """Make a copy, durably; a live one, as large as the drive, when that size is given."""
        self.remove(folder.path / name)  # of an attempt that met a full disk later on
        try:
            self.make_copy(folder.path / source, folder.path / name, frozen=size_bytes is None)
            if size_bytes is not None:
                rawdisk.grow(folder.disk(name), size_bytes)
            self._settle(folder, name)
        except Exception:
            # When that fails too, the next verb does it.
            with contextlib.suppress(OSError):
                self.remove(folder.path / name)
            raise

    def _settle(self, folder: CopyFolder, name: str) -> None:
        fsync(folder.disk(name))
        fsync(folder.path / name)
        fsync(folder.path)

    # Reclaiming

    def reclaim(
        self,
        drive: int,
        *,
        keep: Collection[int],
        head: int,
        should_stop: Callable[[], bool] = never,
    ) -> bool:
        with self._working(drive, gives_way=True, state=SAME_CONTENT) as (folder, tree):
            if head != tree.head:
                raise other_head(tree.head)
            folder.head(tree)  # of a drive that is damaged nothing more is taken
            gone = sorted(tree.copies.keys() - {head, *keep}, reverse=True)
            for layer in gone:
                if should_stop() or self._locks.wanted(folder.path):
                    return False
                self._reserve.spend(functools.partial(self.remove, folder.path / tree.copies[layer].name))
            if gone:
                self._reserve.spend(lambda: folder.save(tree.without(gone)))
            return True

    # Bytes

    def read(self, drive: int, *, offset: int, length: int) -> bytes:
        with self._working(drive) as (folder, tree):
            disk = folder.head(tree)
            check_window(rawdisk.size_of(disk), offset=offset, length=length)
            return rawdisk.read(disk, offset, length)

    def write(self, drive: int, *, offset: int, data: bytes) -> None:
        with self._working(drive, state=HALF_WRITTEN) as (folder, tree):
            disk = folder.head(tree)
            check_window(rawdisk.size_of(disk), offset=offset, length=len(data))
            rawdisk.write(disk, offset, data)

    def sha256(self, drive: int) -> str:
        with self._working(drive) as (folder, tree):
            disk = folder.head(tree)
            return content_hash(rawdisk.size_of(disk), rawdisk.held_blocks(disk))

    # Shared

    @contextlib.contextmanager
    def _looking(self, drive: int) -> Iterator[CopyFolder]:
        """The folder of a known drive."""
        folder = self._pool.drive(drive)
        with explained():
            if not folder.exists():
                self._pool.demand(UNCHANGED)
                raise folder.unknown()
            yield folder

    @contextlib.contextmanager
    def _working(
        self, drive: int, *, gives_way: bool = False, state: str = UNCHANGED
    ) -> Iterator[tuple[CopyFolder, Tree]]:
        """Hold a known drive, cleaned of what an interrupted verb left; gives its folder and what is in it."""
        with self._looking(drive) as folder, explained(state), self._held(folder, gives_way=gives_way):
            tree = folder.tree()
            for name in folder.unnamed(tree):
                self.remove(folder.path / name)
            (folder.path / NEW_TREE).unlink(missing_ok=True)
            yield folder, tree
            self._reserve.keep()


def _device(folder: CopyFolder) -> Device | None:
    # One that is damaged, or that was deleted meanwhile, does not answer.
    with contextlib.suppress(Damaged, StorageError):
        if folder.is_active:
            return Device("file", str(folder.head(folder.tree())))
    return None
