"""Drives as images in a Ceph cluster, through librbd; see `generations` for how layers are kept there.

A snapshot is one step that librbd makes atomic, also while a server writes; a revert is a clone under a new name.
Both take the same time at any size. librbd's rollback is not used: it takes time in proportion to what was written,
and one that was killed half-way leaves a mixture.
"""

import atexit
import contextlib
import shutil
import weakref
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from editor.storage.base import (
    HASH_BLOCK_BYTES,
    MAX_DEPTH,
    Check,
    Cluster,
    Device,
    Found,
    StorageDriver,
    StorageError,
    Usage,
    content_hash,
    never,
)
from editor.storage.locks import DriveLocks
from editor.storage.rbd import ceph
from editor.storage.rbd.ceph import UNCHANGED, Connection, explained
from editor.storage.rbd.differences import Extent, changed_objects, held, joined
from editor.storage.rbd.drives import Drives
from editor.storage.rbd.fencing import Fencing
from editor.storage.rbd.generations import (
    ONTO,
    Drive,
    Generation,
    image_name,
    inherited,
    key,
    named,
    notes,
    siblings,
    snapshot_name,
    written_ancestry,
)
from editor.storage.rbd.images import OBJECT_BYTES, Images
from editor.storage.rbd.patience import Patience
from editor.storage.rbd.reclaiming import Reclaiming
from editor.storage.rbd.trash import Trash
from editor.storage.rbd.trial import checks, remove_old_trials
from editor.storage.rbd.usage import usage
from editor.storage.sentences import (
    HALF_DELETED,
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
from editor.storage.tree import chain

HALF_MADE = "The drive may have been made already; repeating this is safe."
UNCONFIRMED = "What the drive holds is unchanged; this may have happened already, and repeating it is safe."


class RbdStorage(StorageDriver):
    """Drives in one RADOS pool; `folder` holds their locks. Time limits are parameters for tests."""

    def __init__(
        self,
        folder: Path,
        cluster: Cluster | None = None,
        *,
        answer_seconds: float = 10,
        busy_seconds: float = 10,
    ) -> None:
        cluster = cluster or Cluster("", "", "")  # whose configuration cannot be read, as is then said
        self._folder = folder.absolute()
        self._cluster = cluster
        self._connection = Connection(cluster, seconds=answer_seconds)
        self._images = Images(self._connection)
        self._locks = DriveLocks(busy_seconds)
        self._drives = Drives(self._images)
        self._fencing = Fencing(self._connection, self._images)
        self._trash = Trash(self._images)
        self._patience = Patience(2 * answer_seconds)
        self._reclaiming = Reclaiming(self._images, self._trash, self._patience, seconds=2 * answer_seconds)
        atexit.register(_close, weakref.ref(self))

    def close(self) -> None:
        """Stop what goes on in the background, and close the connection."""
        self._trash.close()
        self._reclaiming.close()
        self._connection.close()

    def missing_programs(self) -> str | None:
        return ceph.missing_sentence()

    # Making, growing and removing drives

    def create_drive(self, drive: int, *, layer: int, size_bytes: int) -> None:
        check_size(size_bytes)
        with self._explained(HALF_MADE), self._locked(drive):
            found = self._drives.read(drive)
            if found.live is not None:
                check_same_size(found.live.size_bytes, size_bytes)
                return
            self._bury(found)
            name = image_name(drive, layer)
            self._images.create(name, size_bytes)
            with self._images.opened(name, writable=True) as image:
                self._images.note(image, key(layer, ONTO), written_ancestry(()))

    def grow(self, drive: int, *, size_bytes: int) -> None:
        check_size(size_bytes)
        with self._working(drive, state=HALF_GROWN) as (_found, live):
            check_growth(live.size_bytes, size_bytes)
            self._demand_unused(drive, live)
            if live.size_bytes < size_bytes:
                self._images.demand_room(drive)
                with self._images.opened(live.name, writable=True) as image:
                    self._images.resize(image, size_bytes)

    def delete_drive(self, drive: int) -> None:
        with self._explained(HALF_DELETED):
            if self._drives.read(drive).all:
                with self._locked(drive):
                    found = self._drives.read(drive)
                    if found.live is not None:
                        self._demand_unused(drive, found.live)
                    self._bury_drive(found)
                    self._forget(drive)
            self._trash.empty_soon()

    def clear(self, drive: int) -> bool:
        with self._explained():
            if self._drives.read(drive).all:
                with self._locked(drive):
                    found = self._drives.read(drive)
                    if found.live is not None or not (found.is_going or all(map(self._is_empty, found.all))):
                        return False
                    self._bury_drive(found)
                    self._forget(drive)
                self._trash.empty_soon()
        return True

    def _is_empty(self, generation: Generation) -> bool:
        """Whether an image holds nothing: no snapshot, nothing that was written, nothing of another image."""
        if generation.frozen or generation.strange:
            return False
        with self._images.opened(generation.name) as image:
            return not image.overlap() and not any(changed_objects(image, None))

    def clean(self, *, spare: Collection[int]) -> Iterator[str]:
        with self._explained("No drive was changed."):
            for drive in siblings(self._images.names()):
                found = self._drives.read(drive)
                if drive in spare or not found.leftovers:
                    continue
                if found.is_going and self.clear(drive):
                    yield from (f"{each.name}, the rest of a deleted drive" for each in found.all)
                elif found.live is not None:
                    with self._working(drive):
                        pass  # which removes them
                    yield from (f"{each.name}, which was not finished" for each in found.leftovers)
            yield from (f"{name}, with which the pool was tried" for name in remove_old_trials(self._images))
            waiting = dict(self._images.trash())
            self._trash.empty()
            left = dict(self._images.trash())
            yield from (f"{name} from the trash" for each, name in waiting.items() if each not in left and named(name))

    def _forget(self, drive: int) -> None:
        """Remove the folder with the lock of a drive that is gone."""
        shutil.rmtree(self._drive_folder(drive), ignore_errors=True)

    def _bury_drive(self, found: Drive) -> None:
        # The highest first: as soon as that is noted as deleted, there is no drive. All are, before the first is moved
        # away: an older one must not come back.
        for generation in reversed(found.all):
            self._trash.note(generation.name)
        for generation in reversed(found.all):
            self._trash.throw(generation.name)

    def _bury(self, found: Drive) -> None:
        """Remove what unfinished verbs left."""
        for generation in found.leftovers:
            self._trash.throw(generation.name)
        if found.leftovers:
            self._trash.empty_soon()

    # Looking

    def head(self, drive: int) -> int:
        return self._look(drive)[1].head

    def size_bytes(self, drive: int) -> int:
        return self._look(drive)[1].size_bytes

    def layers(self, drive: int) -> frozenset[int]:
        return self._look(drive)[0].layers

    def written_since(self, drive: int, layers: Collection[int]) -> dict[int, int]:
        with self._explained():
            return self._drives.written_since(drive, layers)

    def used_bytes(self, drive: int) -> int:
        with self._explained():
            return self._drives.used_bytes(drive)

    def audit(self) -> list[Found]:
        with self._explained():
            return self._drives.audit()

    def usage(self) -> Usage:
        with self._explained("Nothing was changed."):
            return usage(self._connection)

    def check(self) -> list[Check]:
        return checks(self._connection, self._images, self._folder)

    # Snapshots

    def snapshot(self, drive: int, *, frozen: int, new_layer: int) -> None:
        with self._working(drive, state=UNCONFIRMED) as (found, live):
            if live.head not in {frozen, new_layer}:
                raise changed(drive, head=live.head, expected=frozen)
            if self._may_stand(found, live, onto=frozen, new_layer=new_layer):
                self._spare(drive, live)
                self._freeze(live, new_layer)

    def revert(self, drive: int, *, onto: int, new_layer: int) -> None:
        with self._working(drive, state=UNCONFIRMED) as (found, live):
            if not self._may_stand(found, live, onto=onto, new_layer=new_layer):
                return
            self._demand_unused(drive, live)
            below = found.holding(onto)
            if below == live and onto == live.head:
                self._freeze(live, new_layer)
                return
            snapshot = next((each.name for each in below.frozen if each.layer == onto), None)
            if snapshot is None:  # what was on top when an older generation was left
                snapshot = snapshot_name(onto, onto)
                self._freeze(below, onto)
            name = image_name(drive, new_layer)
            self._images.clone(below.name, snapshot, name)
            with self._images.opened(name, writable=True) as image:
                if image.size() != live.size_bytes:
                    self._images.resize(image, live.size_bytes)
                for name in inherited(new_layer, notes(image)):
                    self._images.forget(image, name)
                self._images.note(image, key(new_layer, ONTO), written_ancestry(found.ancestry_on(onto)))

    def abandon(self, drive: int, *, new_layer: int) -> bool:
        with self._working(drive) as (found, live):  # which has removed an unfinished generation
            if live.head == new_layer:
                return False
            if new_layer in found.layers:
                raise taken(new_layer)
            return True

    def _may_stand(self, found: Drive, live: Generation, *, onto: int, new_layer: int) -> bool:
        """Whether a new layer is to be put on top of `onto`; False when it is there already. Refuses what cannot be."""
        parents = found.parents()
        if live.head == new_layer:
            if parents[new_layer] != onto:
                raise taken(new_layer)
            return False
        if onto not in parents:
            raise unknown_layer(found.id, onto)
        if new_layer <= found.highest:
            raise taken(new_layer)
        below = chain(parents, onto)
        if len(below) >= MAX_DEPTH:
            raise StorageError(
                f"The drive is still merging deleted snapshots. {UNCHANGED} Try again in a minute.",
                detail=f"{len(below)} layers in the chain",
            )
        return True

    def _freeze(self, generation: Generation, above: int) -> None:
        self._images.demand_room(generation.drive)

        def freeze() -> None:
            with self._images.opened(generation.name, writable=True) as image:
                self._images.create_snapshot(image, snapshot_name(generation.head, above))

        self._patience.wait_for(generation.drive, freeze)

    # Reclaiming

    def reclaim(
        self,
        drive: int,
        *,
        keep: Collection[int],
        head: int,
        should_stop: Callable[[], bool] = never,
    ) -> bool:
        with self._working(drive, gives_way=True, state=SAME_CONTENT) as (_found, live):
            if head != live.head:
                raise other_head(live.head)
            self._trash.empty_soon()  # what an earlier process left there too

            def stop() -> bool:
                return should_stop() or self._locks.wanted(self._drive_folder(drive))

            while (step := self._reclaiming.next_step(*self._drives.known(drive), keep)) is not None:
                if stop():
                    return False
                self._spare(drive, live, state=SAME_CONTENT)
                if not step(stop):
                    return False
            return True

    # Bytes

    def read(self, drive: int, *, offset: int, length: int) -> bytes:
        with self._working(drive) as (_found, live), self._images.opened(live.name) as image:
            check_window(live.size_bytes, offset=offset, length=length)
            content: bytes = image.read(offset, length) if length else b""
            return content

    def write(self, drive: int, *, offset: int, data: bytes) -> None:
        with self._working(drive, state=HALF_WRITTEN) as (_found, live):
            check_window(live.size_bytes, offset=offset, length=len(data))
            if not data:
                return
            self._spare(drive, live)
            with self._images.opened(live.name, writable=True) as image:
                image.write(data, offset)
                image.flush()

    def sha256(self, drive: int) -> str:
        with self._working(drive) as (found, live):
            there = [each for _segment, extents in held(self._images, found, live) for each in extents if each[2]]
            with self._images.opened(live.name) as image:
                return content_hash(live.size_bytes, _blocks(image.read, there, live.size_bytes))

    # Serving

    def activate(self, drive: int) -> Device:
        with self._working(drive, state="The drive is not served.") as (_found, live):
            if self._images.active_image(drive) == live.name:
                self._fencing.renew(live.name)
            else:
                self._fencing.begin(live.name)
                self._images.set_active(drive, live.name)
            return self._device(live.name)

    def deactivate(self, drive: int) -> None:
        with self._explained("The drive may be served still."):
            if (name := self._images.active_image(drive)) is not None:
                self._images.set_inactive(drive)
                self._fencing.end(name)

    def devices(self) -> dict[int, Device]:
        with self._explained("Nothing was changed."):
            active = sorted(self._images.active().items())
            lost = self._fencing.shut_out([name for _drive, name in active])
            return {drive: self._device(name) for drive, name in active if name not in lost}

    def device(self, drive: int) -> Device | None:
        with self._explained("Nothing was changed."):
            name = self._images.active_image(drive)
            return None if name is None or self._fencing.shut_out([name]) else self._device(name)

    def _device(self, image: str) -> Device:
        cluster = self._cluster
        return Device("rbd", f"{cluster.pool}/{image}", (("conf", cluster.conf), ("id", cluster.user)))

    def _spare(self, drive: int, live: Generation, *, state: str = UNCHANGED) -> None:
        """Refuse what would shut a target out that does not answer for the moment."""
        if self._images.active_image(drive) is not None:
            self._fencing.demand_answer(live.name, state)

    def _demand_unused(self, drive: int, live: Generation) -> None:
        """Refuse a drive that is served, or that anybody else has open: a server may be writing to it."""
        if self._images.active_image(drive) is not None:
            raise in_use(drive)
        if watchers := self._images.watchers(live.name):
            raise StorageError(
                f"The drive's image is open at {', '.join(watchers)}. {UNCHANGED} Shut down the server that uses it. "
                "If the program that had it open was killed, Ceph waits half a minute for it: try again then.",
                detail=live.name,
            )

    # Shared

    def _explained(self, state: str = UNCHANGED) -> contextlib.AbstractContextManager[None]:
        return explained(self._cluster, state)

    def _drive_folder(self, drive: int) -> Path:
        return self._folder / f"drive-{drive}"

    @contextlib.contextmanager
    def _locked(self, drive: int, *, gives_way: bool = False) -> Iterator[None]:
        folder = self._drive_folder(drive)
        while True:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.ExitStack() as stack:
                try:
                    stack.enter_context(self._locks.held(folder, gives_way=gives_way))
                except FileNotFoundError:
                    continue  # deleted since
                self._patience.demand_idle(drive)
                yield
                return

    @contextlib.contextmanager
    def _working(
        self, drive: int, *, gives_way: bool = False, state: str = UNCHANGED
    ) -> Iterator[tuple[Drive, Generation]]:
        """Hold a known drive, cleaned of what an interrupted verb left."""
        with self._explained(state):
            if not self._drive_folder(drive).is_dir():
                self._drives.known(drive)  # before the lock, so that unknown drives get no files
            with self._locked(drive, gives_way=gives_way):
                found, live = self._drives.known(drive)
                if found.leftovers:
                    self._bury(found)
                    found, live = self._drives.known(drive)
                yield found, live

    def _look(self, drive: int) -> tuple[Drive, Generation]:
        with self._explained():
            return self._drives.known(drive)


def _blocks(read: Callable[[int, int], bytes], there: list[Extent], size_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Offset and content of the blocks that the extents touch, ascending, for `base.content_hash`."""
    following = 0
    for offset, length in joined(there):
        first = max(following, offset // HASH_BLOCK_BYTES * HASH_BLOCK_BYTES)
        following = max(following, -(-(offset + length) // HASH_BLOCK_BYTES) * HASH_BLOCK_BYTES)
        for start in range(first, min(following, size_bytes), OBJECT_BYTES):
            data = read(start, min(OBJECT_BYTES, following - start, size_bytes - start))
            for at in range(0, len(data), HASH_BLOCK_BYTES):
                yield start + at, data[at : at + HASH_BLOCK_BYTES]


def _close(reference: "weakref.ref[RbdStorage]") -> None:
    """At the end of the process: librbd's threads must not outlive the interpreter."""
    if (driver := reference()) is not None:
        driver.close()
