"""One lock per drive, shared with child processes and with other processes; whoever waits for it stops a merge."""

import contextlib
import fcntl
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from editor.storage.base import StorageError

RETRY_SECONDS = 0.005


@dataclass
class _Gate:
    """The drive's lock among our own threads."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: int = 0


class DriveLocks:
    """Locks of one pool. `seconds` is how long a verb waits before it says the drive is busy."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._gates: defaultdict[Path, _Gate] = defaultdict(_Gate)
        self._counting = threading.Lock()

    def wanted(self, folder: Path) -> bool:
        """Whether a verb of this process waits for the drive; a merge then gives way."""
        return self._gate(folder).waiting > 0

    @contextlib.contextmanager
    def held(self, folder: Path, *, gives_way: bool = False) -> Iterator[int]:
        """Hold the drive; gives the descriptor that children must inherit.

        The lock belongs to the open file, which a child shares: it is free when the last of them has ended. With
        `gives_way` the wait stops nobody. Raises FileNotFoundError when the folder is gone, StorageError when it is
        busy.
        """
        gate = self._gate(folder)
        end = time.monotonic() + self._seconds
        with contextlib.nullcontext() if gives_way else self._announced(gate):
            if not gate.lock.acquire(timeout=self._seconds):
                raise _busy(folder)
            try:
                descriptor = _flock(folder, end)
            except BaseException:
                gate.lock.release()
                raise
        try:
            yield descriptor
        finally:
            os.close(descriptor)
            gate.lock.release()

    def _gate(self, folder: Path) -> _Gate:
        with self._counting:
            return self._gates[folder]

    @contextlib.contextmanager
    def _announced(self, gate: _Gate) -> Iterator[None]:
        with self._counting:
            gate.waiting += 1
        try:
            yield
        finally:
            with self._counting:
                gate.waiting -= 1


def _flock(folder: Path, end: float) -> int:
    path = folder / "lock"
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if _try(descriptor) and _still(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if time.monotonic() >= end:
            raise _busy(folder)
        time.sleep(RETRY_SECONDS)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _still(descriptor: int, path: Path) -> bool:
    """Whether the lock we hold is the one others find: the drive may have been deleted meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _busy(folder: Path) -> StorageError:
    return StorageError(
        "The drive is busy with another operation. Nothing on the drive was changed. Try again in a minute.",
        detail=f"{folder.name} is locked",
    )
