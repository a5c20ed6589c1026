"""The images of one RADOS pool: every change of it that this product makes, and nothing else, is one method here.

Each method is one step that happens whole or not at all, or can be repeated. Raises Missing and what librbd raises.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from editor.storage.base import SECTOR_BYTES
from editor.storage.rbd import ceph
from editor.storage.rbd.ceph import Connection

FEATURES = ("layering", "exclusive-lock", "object-map", "fast-diff", "deep-flatten")
"""Cloning; one writer at a time; which objects exist, and changed; and clones that let go of their parent whole."""
FEATURE_BITS = 1 | 4 | 8 | 16 | 32
OBJECT_BYTES = 4 * 1024 * 1024
"""Of a new image: librbd's default, said here because it counts in what is trimmed at a time."""
OBJECT_ORDER = 22
ACTIVE = "infrastructure-editor.active"
"""The RADOS object that lists the active drives."""
DIRECTORY, NAME = "rbd_directory", "name_"
"""The RADOS object in which librbd keeps the names of a pool's images, and how the keys begin that are names.
(`dir_list` in src/cls/rbd/cls_rbd.cc of https://github.com/ceph/ceph reads all of them.)"""
PAGE = 1000
ROOM = "infrastructure-editor.room."
"""How the RADOS objects begin with which it is tried whether there is room: one for each drive, gone at once."""


class Images:
    """Images by name. Thread-safe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # Looking

    def names(self) -> list[str]:
        with self._connection.pool() as pool:
            return list(ceph.rbd().RBD().list(pool))

    def names_from(self, prefix: str) -> list[str]:
        """Names that begin so: the others are not read."""
        return [key.removeprefix(NAME) for key, _id in self._pairs(DIRECTORY, prefix=f"{NAME}{prefix}")]

    @contextlib.contextmanager
    def opened(self, name: str | None = None, *, image_id: str | None = None, writable: bool = False) -> Iterator[Any]:
        """An open image; one that is not writable takes no lock and is no watcher."""
        with (
            self._connection.pool() as pool,
            ceph.rbd().Image(pool, name, image_id=image_id, read_only=not writable) as image,
        ):
            yield image

    def watchers(self, name: str) -> list[str]:
        """Addresses of the other clients that have an image open for writing."""
        with self._connection.handle() as handle, self.opened(name) as image:
            me = handle.get_instance_id()
            return sorted(found["addr"] for found in image.watchers_list() if found["id"] != me)

    def owner(self, name: str) -> str | None:
        """Address of another client that holds an image's lock, whether it lives or not."""
        with self._connection.handle() as handle, self.opened(name) as image:
            me = f"client.{handle.get_instance_id()}"
            found = image.list_lockers()  # an empty list where nobody does
            return next((address for who, _cookie, address in found["lockers"] if who != me), None) if found else None

    def do_watchers_answer(self, name: str) -> bool:
        """Whether all clients that have an image open for writing answer in time.

        They are told that its header has changed, which is what librbd takes an empty message for (`handle_notify` in
        src/librbd/ImageWatcher.cc of https://github.com/ceph/ceph): they read it again.
        """
        with self.opened(name) as image, self._connection.pool() as pool:
            try:
                pool.notify(f"rbd_header.{image.id()}", "", self._connection.seconds * 1000)
            except ceph.rados().TimedOut:
                return False
            return True

    def trash(self) -> list[tuple[str, str]]:
        """Ids and names of the images in the trash."""
        with self._connection.pool() as pool:
            return [(found["id"], found["name"]) for found in ceph.rbd().RBD().trash_list(pool)]

    # Changing images

    def create(self, name: str, size_bytes: int) -> None:
        with self._connection.pool() as pool:
            ceph.rbd().RBD().create(pool, name, size_bytes, order=OBJECT_ORDER, old_format=False, features=FEATURE_BITS)

    def clone(self, name: str, snapshot: str, new: str) -> None:
        """Make an image that reads as the snapshot, in constant time. Killed half-way, it may be without its parent."""
        with self._connection.pool() as pool:
            ceph.rbd().RBD().clone(pool, name, snapshot, pool, new, features=FEATURE_BITS, order=OBJECT_ORDER)

    def note(self, image: Any, key: str, value: str) -> None:
        """Note a fact in an image's metadata: one write."""
        image.metadata_set(key, value)

    def forget(self, image: Any, key: str) -> None:
        image.metadata_remove(key)

    def create_snapshot(self, image: Any, name: str) -> None:
        """Freeze what the image holds at one point in time, also while another client writes: one step."""
        image.create_snap(name)

    def remove_snapshot(self, image: Any, name: str) -> None:
        """What was cloned from it keeps reading: then it goes to the image's trash until the last clone is gone."""
        image.remove_snap(name)

    def resize(self, image: Any, size_bytes: int) -> None:
        """What is cut off is removed object by object; snapshots keep it."""
        image.resize(size_bytes)

    def discard(self, image: Any, offset: int, length: int) -> None:
        image.discard(offset, length)

    def copy_up(self, image: Any, offset: int) -> None:
        """Have an object, shown as the parent's so far, copied into the image, for its snapshots too.

        By writing to it what it shows: not while anybody else may write there.
        """
        image.write(image.read(offset, min(SECTOR_BYTES, image.size() - offset)), offset)
        image.flush()

    def flatten(self, image: Any, progress: Callable[[int, int], int]) -> None:
        """Copy into the image what it still reads from its parent, and let go of that.

        Raises OperationCanceled when `progress` answers below 0: what was copied stays, and next time is passed over.
        """
        image.flatten(progress)

    def move_to_trash(self, name: str) -> None:
        """Take an image's name away, in constant time; it keeps its id, and what was cloned from it keeps reading."""
        with self._connection.pool() as pool:
            ceph.rbd().RBD().trash_move(pool, name, 0)

    def remove_from_trash(self, image_id: str) -> None:
        with self._connection.pool() as pool:
            ceph.rbd().RBD().trash_remove(pool, image_id, force=True)

    def remove(self, name: str) -> None:
        with self._connection.pool() as pool:
            ceph.rbd().RBD().remove(pool, name)

    # The pool

    def demand_room(self, drive: int) -> None:
        """Raises librados' NoSpace while there is no room for one byte more. Whoever calls holds the drive.

        Where librbd has none for the object map of an image, it does without one: it has done what it was asked, and
        from then on every look at the image takes minutes, since each of its objects is asked for.
        (`ResizeRequest` and `InvalidateRequest` in src/librbd/object_map of https://github.com/ceph/ceph.)
        """
        name = f"{ROOM}{drive}"
        with self._connection.pool() as pool:
            pool.append(name, b"\0")  # not over what a process that was killed here may have left
            pool.remove_object(name)

    def has_object(self, name: str) -> bool:
        with self._connection.pool() as pool:
            try:
                pool.stat(name)
            except ceph.rados().ObjectNotFound:
                return False
            return True

    # The list of active drives

    def active(self) -> Mapping[int, str]:
        """Active drives, and the names of their images."""
        return {int(drive): name.decode() for drive, name in self._pairs(ACTIVE)}

    def _pairs(self, name: str, *, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """Keys that begin so in the omap of an object, and their values; none where there is no such object."""
        after = ""
        with self._connection.pool() as pool:
            while True:
                try:
                    with ceph.rados().ReadOpCtx() as operation:
                        pairs, _result = pool.get_omap_vals(operation, after, prefix, PAGE)
                        pool.operate_read_op(operation, name)
                        page = list(pairs)
                except ceph.rados().ObjectNotFound:
                    return
                yield from page
                if len(page) < PAGE:
                    return
                after = page[-1][0]

    def active_image(self, drive: int) -> str | None:
        """The image of a drive as the list of active ones has it; None when the drive is not active."""
        with self._connection.pool() as pool:
            try:
                with ceph.rados().ReadOpCtx() as operation:
                    pairs, _result = pool.get_omap_vals_by_keys(operation, (str(drive),))
                    pool.operate_read_op(operation, ACTIVE)
                    found = dict(pairs)
            except ceph.rados().ObjectNotFound:
                return None
            return found[str(drive)].decode() if str(drive) in found else None

    def set_active(self, drive: int, name: str) -> None:
        with self._connection.pool() as pool, ceph.rados().WriteOpCtx() as operation:
            pool.set_omap(operation, (str(drive),), (name.encode(),))
            pool.operate_write_op(operation, ACTIVE)

    def set_inactive(self, drive: int) -> None:
        with self._connection.pool() as pool, ceph.rados().WriteOpCtx() as operation:
            pool.remove_omap_keys(operation, (str(drive),))
            pool.operate_write_op(operation, ACTIVE)
