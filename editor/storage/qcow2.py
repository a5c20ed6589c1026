"""Drives as chains of qcow2 files, made by qemu-img from Debian's qemu-utils. No root, any file system.

A snapshot is one new, empty file on top of the chain; so is a revert. Both take the same time at any size. qemu-img
is the only writer of images. QEMU's internal snapshots are not used: they take time in proportion to the drive, and a
revert killed half-way breaks the image.
"""

import contextlib
import functools
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from editor.storage.base import MAX_DEPTH, Check, Device, StorageError, UnknownDrive, Usage, content_hash, never
from editor.storage.checks import folder_check, program_check, room_check, usage_of
from editor.storage.content import held_blocks, window
from editor.storage.daemon import why_not_fuse
from editor.storage.folders import NOT_CREATED, FolderStorage
from editor.storage.layer_pool import LayerPool
from editor.storage.layers import DriveFolder, Layer, checked, fsync, layer_name, parents, read_layer
from editor.storage.merge import Tools, merge
from editor.storage.monitor import PROGRAM
from editor.storage.programs import UNCHANGED, Damaged, Stopped, Tool, explained, missing_sentence, run
from editor.storage.sentences import (
    HALF_GROWN,
    HALF_WRITTEN,
    SAME_CONTENT,
    changed,
    check_growth,
    check_same_size,
    check_size,
    check_window,
    other_head,
    taken,
    unknown_layer,
)
from editor.storage.serving import Serving
from editor.storage.tree import Unlink, children, next_step

UNCONFIRMED = "The drive was switched, but the disk did not confirm it; repeating this is safe."


class Qcow2Storage(FolderStorage[DriveFolder]):
    """Drives in one folder. Programs and time limits are parameters for tests."""

    def __init__(
        self,
        pool: Path,
        *,
        qemu_img: str = "qemu-img",
        qemu_io: str = "qemu-io",
        daemon: str = PROGRAM,
        program_seconds: float = 10,
        busy_seconds: float = 10,
    ) -> None:
        super().__init__(LayerPool(pool), busy_seconds=busy_seconds)
        self._qemu_img = qemu_img
        self._qemu_io = qemu_io
        self._daemon = daemon
        self._program_seconds = program_seconds
        self._transfer_seconds = 6 * program_seconds
        self._serving = Serving(self._pool.path, program=daemon, seconds=program_seconds)

    def missing_programs(self) -> str | None:
        return missing_sentence(self._qemu_img, self._qemu_io)

    # Making, growing and removing drives

    def create_drive(self, drive: int, *, layer: int, size_bytes: int) -> None:
        check_size(size_bytes)
        with explained(NOT_CREATED):
            self._pool.demand(UNCHANGED)
            with self._making(drive) as (folder, lock):
                folder.tidy()
                if (folder.path / "head").is_symlink():
                    check_same_size(folder.top().size_bytes, size_bytes)
                    fsync(folder.path)
                    return
                self._refuse_orphans(folder, layer)
                if not folder.file(layer).exists() or read_layer(folder.file(layer)).size_bytes != size_bytes:
                    self._new_layer(folder, layer, size_bytes, below=None, lock=lock)
                self._switch(folder, layer)

    def grow(self, drive: int, *, size_bytes: int) -> None:
        check_size(size_bytes)
        with self._working(drive, state=HALF_GROWN) as (folder, lock):
            self._serving.refuse(folder)
            head = folder.top()
            check_growth(head.size_bytes, size_bytes)
            if head.size_bytes < size_bytes:
                # Only the head: the size in its header is the last that qemu-img writes, after larger tables.
                self._img(folder, lock)("resize", "-q", "-f", "qcow2", layer_name(head.id), str(size_bytes))
            # When this is repeated too: we may have been killed before it, or before a switch to this head was durable.
            fsync(folder.file(head.id))
            fsync(folder.path)

    def _demand_unused(self, folder: DriveFolder) -> None:
        self._serving.bury(folder)

    def _remove_grave(self, grave: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(grave)
            fsync(grave.parent)

    def _refuse_orphans(self, folder: DriveFolder, layer: int) -> None:
        """Without a head there is at most the first, empty layer of an attempt that was cut short."""
        for found in folder.tree().values():
            if found.id != layer or found.held_bytes:
                raise StorageError(
                    f"The storage pool holds data under this drive's name, but no head. {UNCHANGED} "
                    "Check whether the pool was copied without its links.",
                    permanent=True,
                    detail=f"drive {folder.drive} has layer {found.id}",
                )

    # Looking

    def head(self, drive: int) -> int:
        with explained():
            return self._pool.drive(drive).head()

    def size_bytes(self, drive: int) -> int:
        folder = self._pool.drive(drive)
        with explained():
            return folder.unlocked(folder.top).size_bytes

    def layers(self, drive: int) -> frozenset[int]:
        folder = self._pool.drive(drive)
        with explained():
            folder.head()
            return folder.layer_ids()

    def written_since(self, drive: int, layers: Collection[int]) -> dict[int, int]:
        answer: dict[int, int] = {}
        above = 0
        for layer in self._chain(drive):
            if layer.id in layers:
                answer[layer.id] = above
            above += layer.held_bytes
        return answer

    def used_bytes(self, drive: int) -> int:
        return sum(layer.held_bytes for layer in self._chain(drive))

    def _chain(self, drive: int) -> list[Layer]:
        folder = self._pool.drive(drive)
        with explained():
            folder.head()
            self._serving.flush(folder)
            return folder.unlocked(lambda: folder.chain(folder.head()))

    # Serving

    def activate(self, drive: int) -> Device:
        with self._working(drive) as (folder, lock):
            return self._serving.activate(folder, lock)

    def deactivate(self, drive: int) -> None:
        with contextlib.suppress(UnknownDrive), self._working(drive) as (folder, _lock):
            self._serving.deactivate(folder)

    def devices(self) -> dict[int, Device]:
        with explained():
            self._pool.demand()
            return self._serving.devices()

    def device(self, drive: int) -> Device | None:
        with explained():
            return self._serving.device(self._pool.drive(drive))

    def usage(self) -> Usage:
        with explained():
            self._pool.demand()
            return usage_of(self._pool.path)

    def check(self) -> list[Check]:
        return [
            program_check("Making drives", self._qemu_img, self._qemu_io),
            program_check("Serving drives", self._daemon),
            Check("FUSE", why_not_fuse()),
            folder_check(self._pool.path),
            room_check(self._pool.path),
        ]

    # Snapshots

    def snapshot(self, drive: int, *, frozen: int, new_layer: int) -> None:
        with self._working(drive) as (folder, lock), self._serving.live(folder) as live:
            for found in {folder.head(), *([live.top()] if live else [])} - {frozen, new_layer}:
                raise changed(drive, head=found, expected=frozen)
            self._top(folder, lock, onto=frozen, new_layer=new_layer)
            if live:
                self._serving.follow(live, folder, onto=frozen, layer=new_layer)

    def revert(self, drive: int, *, onto: int, new_layer: int) -> None:
        with self._working(drive) as (folder, lock):
            self._serving.refuse(folder)
            self._top(folder, lock, onto=onto, new_layer=new_layer)

    def abandon(self, drive: int, *, new_layer: int) -> bool:
        with self._working(drive) as (folder, _lock):
            if folder.head() == new_layer and not self._serving.take_back(folder, new_layer):
                fsync(folder.path)  # we may have been killed between the switch and this
                return False
            if new_layer in folder.layer_ids():
                tree = folder.tree()
                if tree[new_layer].held_bytes or children(parents(tree), new_layer):
                    raise taken(new_layer)
                folder.unlink([new_layer])
            return True

    def _top(self, folder: DriveFolder, lock: int, *, onto: int, new_layer: int) -> None:
        """Put an empty layer on top of `onto` and switch to it."""
        if folder.head() == new_layer:
            if read_layer(folder.file(new_layer)).parent != onto:
                raise taken(new_layer)
            fsync(folder.path)  # we may have been killed between the switch and this
            return
        existing = folder.layer_ids()
        if folder.head() not in existing:
            raise Damaged("head points at a missing layer")
        if onto not in existing or folder.is_merging(onto):
            raise unknown_layer(folder.drive, onto)
        below = folder.chain(onto)
        if len(below) >= MAX_DEPTH:
            raise StorageError(
                f"The drive is still merging deleted snapshots. {UNCHANGED} Try again in a minute.",
                detail=f"{len(below)} layers in the chain",
            )
        if new_layer in existing and not _is_new_on(folder, new_layer, onto):
            raise taken(new_layer)
        # What an interrupted attempt made is made again: the drive may have grown since.
        self._new_layer(folder, new_layer, folder.size_bytes(), below=onto, lock=lock)
        self._switch(folder, new_layer)

    def _new_layer(self, folder: DriveFolder, layer: int, size_bytes: int, *, below: int | None, lock: int) -> None:
        """Make an empty layer, durably. Given the size and -u, qemu-img opens nothing: constant time at any depth."""
        name = layer_name(layer)
        backing = () if below is None else ("-u", "-b", layer_name(below), "-F", "qcow2")
        new = folder.new_file(name).name
        try:
            self._img(folder, lock)("create", "-q", "-f", "qcow2", *backing, new, str(size_bytes))
            folder.finish(name)
        except Exception:
            folder.discard(name)
            raise

    def _switch(self, folder: DriveFolder, layer: int) -> None:
        folder.point_head(layer)
        with explained(UNCONFIRMED):
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
        working = self._working(drive, gives_way=True, state=SAME_CONTENT)
        with working as (folder, lock), self._serving.live(folder) as live:

            def stop() -> bool:
                return should_stop() or self._locks.wanted(folder.path)

            if spoilt := sorted(layer for layer in keep if folder.is_merging(layer)):
                raise _spoilt(spoilt)
            # A merge has no time limit, being proportional to the data; it ends when somebody wants the drive.
            how: dict[str, Any] = {"folder": folder.path, "lock": lock, "should_stop": stop}
            tools = Tools(
                img=functools.partial(run, self._qemu_img, **how),
                io=functools.partial(run, self._qemu_io, **how),
            )
            top = folder.head()
            if head != top:
                raise other_head(top)
            served = live.agree() if live else frozenset()
            while True:
                tree = folder.tree()
                checked(tree, {top, *keep} & tree.keys() | {top})
                step = next_step(parents(tree), head=top, keep=keep)
                if step is None:
                    return True
                if stop():
                    return False
                if isinstance(step, Unlink):
                    folder.unlink([step.layer])
                    continue
                parent, child = tree[step.parent], tree[step.child]
                try:
                    if live and child.id in served:
                        live.merge(parent=parent, child=child, tools=tools, should_stop=stop)
                    else:
                        merge(folder, parent=parent, child=child, tools=tools)
                except Stopped:
                    return False

    # Bytes

    def read(self, drive: int, *, offset: int, length: int) -> bytes:
        with self._working(drive) as (folder, lock):
            head = folder.top()
            check_window(head.size_bytes, offset=offset, length=length)
            if not length:
                return b""
            with window(self._transfer(folder, lock), self._serving.image(folder), offset, length) as path:
                return path.read_bytes()

    def write(self, drive: int, *, offset: int, data: bytes) -> None:
        with self._working(drive, state=HALF_WRITTEN) as (folder, lock):
            head = folder.top()
            check_window(head.size_bytes, offset=offset, length=len(data))
            if not data:
                return
            # qemu-io, because `qemu-img dd` can only make new images, never write into one.
            command = f"write -q -s /dev/stdin {offset} {len(data)}"
            image = self._serving.image(folder).options()
            arguments = ("-t", "writeback", "-c", command, "-c", "flush", "--image-opts", image)
            seconds = self._transfer_seconds
            run(self._qemu_io, *arguments, folder=folder.path, lock=lock, script=data, seconds=seconds)

    def sha256(self, drive: int) -> str:
        with self._working(drive) as (folder, lock):
            head = folder.top()
            return content_hash(
                head.size_bytes, held_blocks(self._transfer(folder, lock), self._serving.image(folder), head.size_bytes)
            )

    # Shared

    @contextlib.contextmanager
    def _working(
        self, drive: int, *, gives_way: bool = False, state: str = UNCHANGED
    ) -> Iterator[tuple[DriveFolder, int]]:
        """Hold a known drive, cleaned of what an interrupted verb left; gives its folder and the lock's descriptor."""
        folder = self._pool.drive(drive)
        with explained(state):
            folder.head()  # before the lock, so that unknown drives get no files
            with self._held(folder, gives_way=gives_way) as lock:
                folder.tidy()
                yield folder, lock

    def _img(self, folder: DriveFolder, lock: int) -> Tool:
        return functools.partial(run, self._qemu_img, folder=folder.path, lock=lock, seconds=self._program_seconds)

    def _transfer(self, folder: DriveFolder, lock: int) -> Tool:
        return functools.partial(run, self._qemu_img, folder=folder.path, lock=lock, seconds=self._transfer_seconds)


def _is_new_on(folder: DriveFolder, layer: int, onto: int) -> bool:
    """Whether a layer is what an interrupted attempt made: empty, on `onto`, and nothing on it."""
    tree = folder.tree()
    found = tree[layer]
    return found.parent == onto and not found.held_bytes and not children(parents(tree), layer)


def _spoilt(layers: list[int]) -> StorageError:
    return StorageError(
        "A snapshot that was deleted is wanted again, but its data was already being merged. Delete the snapshot.",
        permanent=True,
        detail=f"layers {layers}",
    )
