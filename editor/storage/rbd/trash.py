"""Images that nobody needs any more, removed a little at a time: a large one takes minutes.

An image is moved to the trash of its pool in constant time, noted as deleted before; a thread then empties it from
there. Only what carries that note is removed: what somebody else put into the trash of the pool stays.
"""

import contextlib
import errno
import logging
import threading
from collections.abc import Callable
from typing import Any

from editor.storage.rbd import ceph
from editor.storage.rbd.differences import changed_objects
from editor.storage.rbd.generations import DELETED, key, named, notes
from editor.storage.rbd.images import Images

log = logging.getLogger(__name__)

PIECE_OBJECTS = 64
RETRY_SECONDS = 10
LEAVING_SECONDS = 10
TRIES = 30


def trim(images: Images, image: Any, *, should_stop: Callable[[], bool]) -> bool:
    """Remove what an open image without snapshots holds, from its end, some objects at a time.

    False when it was stopped.
    """
    object_bytes = image.stat()["obj_size"]
    starts = [
        at
        for offset, length in changed_objects(image, None)
        for at in range(offset // object_bytes * object_bytes, offset + length, object_bytes)
    ]
    for cut in (*reversed(starts[PIECE_OBJECTS::PIECE_OBJECTS]), 0):
        if should_stop():
            return False
        images.resize(image, cut)
    return True


def discard_since(images: Images, image: Any, snapshot: str | None, *, should_stop: Callable[[], bool]) -> bool:
    """Give back what was written to an open image since a snapshot of it, some objects at a time; snapshots stay whole.

    False when it was stopped. Not by making the image smaller: where it is a clone, librbd would first copy all that
    it shares with its parent.
    """
    piece_bytes = PIECE_OBJECTS * image.stat()["obj_size"]
    for offset, length in changed_objects(image, snapshot):
        for at in range(offset, offset + length, piece_bytes):
            if should_stop():
                return False
            images.discard(image, at, min(piece_bytes, offset + length - at))
    return True


def _waiting() -> tuple[type[Exception], ...]:
    """What librbd raises when an image in the trash is still needed, or in other hands, or was changed meanwhile."""
    rbd = ceph.rbd()
    return rbd.ImageBusy, rbd.ImageHasSnapshots, rbd.ReadOnlyImage, rbd.ImageNotFound, rbd.InvalidArgument


def _first(name: str) -> int:
    found = named(name)
    if found is None:
        raise ValueError(f"{name} is not an image of a drive")
    return found[1]


class Trash:
    """Empties the trash of one pool in the background."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._lock = threading.Lock()
        self._emptying = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._again = False

    def note(self, name: str) -> None:
        """Note that an image is deleted. One that is not there, or was never made whole, is fine."""
        with contextlib.suppress(ceph.rbd().ImageNotFound), self._images.opened(name, writable=True) as image:
            self._images.note(image, key(_first(name), DELETED), "1")

    def throw(self, name: str) -> None:
        """Move an image there, which is noted as deleted first; its content goes later. An absent one is fine."""
        self.note(name)
        try:
            self._images.move_to_trash(name)
        except ceph.rbd().ImageNotFound:
            if name in self._images.names_from(name):
                # So librbd puts it when a full cluster has no room for the pool's first list of its trash.
                raise ceph.rbd().NoSpace(f"{name} could not be moved to the trash", errno=errno.ENOSPC) from None

    def empty_soon(self) -> None:
        """Begin to remove what is there, unless that is going on."""
        with self._lock:
            self._again = True
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="trash", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stop after the step that is going on; what is left is removed another time."""
        self._stopping.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(LEAVING_SECONDS)

    def empty(self) -> bool:
        """Remove what is there; False when something has to wait, or it was told to stop. Raises what librbd raises.

        One thread at a time; other processes may be at it as well.
        """
        with self._emptying:
            return self._empty()

    def _empty(self) -> bool:
        done = True
        ours = [(found, image_id) for image_id, name in self._images.trash() if (found := named(name))]
        # Newest generations first: what was cloned goes before what it was cloned from.
        for (_drive, first), image_id in sorted(ours, reverse=True):
            if self._stopping.is_set():
                return False
            try:
                done = self._remove(image_id, first) and done
            except ceph.rbd().Error as error:
                # Another process that is at it takes away what is being read here, or makes it smaller: librbd has
                # many words for that.
                if image_id not in dict(self._images.trash()):
                    continue
                if not isinstance(error, _waiting()):
                    raise
                log.info("An image in the trash has to wait: %s", error)
                done = False
        return done

    def _remove(self, image_id: str, first: int) -> bool:
        with self._images.opened(image_id=image_id) as image:
            if key(first, DELETED) not in notes(image):
                return True
        with self._images.opened(image_id=image_id, writable=True) as image:
            for snapshot in list(image.list_snaps()):
                if "trash" not in snapshot:
                    self._images.remove_snapshot(image, snapshot["name"])
            if any(True for _ in image.list_snaps()):
                return False  # something cloned from it is still there
            if not trim(self._images, image, should_stop=self._stopping.is_set):
                return False
        self._images.remove_from_trash(image_id)
        return True

    def _run(self) -> None:
        tries = 0
        while True:
            with self._lock:
                if self._stopping.is_set() or not self._again or tries == TRIES:
                    self._thread = None
                    return
                self._again = False
            try:
                done = self.empty()
            except Exception as error:  # noqa: BLE001 - whatever it is, deleted drives wait until it is over
                if not self._stopping.is_set():  # who is being closed may have lost its cluster, and its log
                    log.warning("Deleted drives still take space: %s", error)
                done = False
            if not done:
                tries += 1
                with self._lock:
                    self._again = True
                self._stopping.wait(RETRY_SECONDS)
