"""Copies into an image what it still reads from the one it was cloned from, in a thread that can be told to stop."""

import errno
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from editor.storage.base import StorageError
from editor.storage.rbd import ceph
from editor.storage.rbd.images import Images

POLL_SECONDS = 0.05
LEAVING_SECONDS = 2


@dataclass
class _Copy:
    """One image that is being copied into."""

    cancelled: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None
    went_on: float = field(default_factory=time.monotonic)
    """When it was heard of last."""

    def progress(self, done: int, total: int) -> int:
        """What librbd calls for each object; below 0, it goes no further."""
        del done, total
        self.went_on = time.monotonic()
        return -errno.ECANCELED if self.cancelled.is_set() else 0


class Flattening:
    """The copies of one pool, by image; one that stands still for `seconds` is not waited for. Thread-safe."""

    def __init__(self, images: Images, seconds: float) -> None:
        self._images = images
        self._seconds = seconds
        self._lock = threading.Lock()
        self._copies: dict[str, _Copy] = {}

    def is_under_way(self, name: str) -> bool:
        """Whether a copy that an earlier call did not wait for goes on."""
        with self._lock:
            copy = self._copies.get(name)
        return copy is not None and not copy.ended.is_set()

    def flatten(self, name: str, *, should_stop: Callable[[], bool]) -> bool:
        """Whether the image stands on its own now; False when it was stopped. What was copied is not copied again.

        Of an image that a target serves, the target does the copying, and cannot be told to stop: then it goes on
        while this answers False, and the next call waits for the same copy. So it does when the target stands still,
        which is a StorageError. Raises what librbd raises.
        """
        with self._lock:
            copy = self._copies.get(name)
            if copy is None or copy.ended.is_set():
                copy = self._copies[name] = _Copy()
                threading.Thread(target=self._run, args=(name, copy), name=f"flatten {name}", daemon=True).start()
        while not copy.ended.wait(POLL_SECONDS):
            if should_stop():
                copy.cancelled.set()
                copy.ended.wait(LEAVING_SECONDS)
                break
            if time.monotonic() - copy.went_on > self._seconds:
                raise StorageError(
                    f"The Ceph cluster did not answer in time: it has copied nothing for {self._seconds:g} seconds, "
                    "and may go on yet. The content of the drive and its snapshots is unchanged. Check that the "
                    "cluster is not full, and that the target that serves the drive answers.",
                    detail=name,
                )
        if not copy.ended.is_set():
            return False
        with self._lock:
            self._copies.pop(name, None)
        if copy.error is None:
            return True
        if isinstance(copy.error, ceph.rbd().OperationCanceled):
            return False
        raise copy.error

    def close(self) -> None:
        """Stop what can be stopped."""
        with self._lock:
            copies = list(self._copies.values())
        for copy in copies:
            copy.cancelled.set()
        for copy in copies:
            copy.ended.wait(LEAVING_SECONDS)

    def _run(self, name: str, copy: _Copy) -> None:
        try:
            with self._images.opened(name, writable=True) as image:
                self._images.flatten(image, copy.progress)
        except BaseException as error:  # noqa: BLE001 - raised where somebody waits for it
            copy.error = error
        finally:
            copy.ended.set()
