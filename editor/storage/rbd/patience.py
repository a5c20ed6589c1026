"""Waits, but not for ever, for what librbd does without a time limit of its own.

Some changes of an image librbd leaves to whoever has the image open for writing, of a served drive the target. It asks
that again and again until they are done: for ever, while the cluster is full or the target stands still. No call of
librbd takes such a request back.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from editor.storage.base import StorageError

Answer = TypeVar("Answer")


class Patience:
    """Carries out changes on threads of their own; one that takes longer than `seconds` goes on there. Thread-safe."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._begun: dict[int, Future[object]] = {}

    def demand_idle(self, drive: int) -> None:
        """Refuse a drive of which it is not known yet what becomes of the last change."""
        begun = self._begun.get(drive)
        if begun is not None and not begun.done():
            raise StorageError(
                "The Ceph cluster is still at an earlier change of this drive. Nothing more was begun. Check that the "
                "cluster is not full, and that the target that serves the drive answers.",
                detail=f"drive {drive}",
            )

    def wait_for(self, drive: int, change: Callable[[], Answer]) -> Answer:
        """What the change answers. Raises what it raises; StorageError when it takes too long, and it goes on then.

        Whoever calls holds the drive.
        """
        future: Future[Answer] = Future()
        self._begun[drive] = future  # type: ignore[assignment]

        def carry_out() -> None:
            try:
                future.set_result(change())
            except BaseException as error:  # noqa: BLE001 - whoever waits gets it
                future.set_exception(error)

        threading.Thread(target=carry_out, name=f"drive-{drive}", daemon=True).start()
        try:
            return future.result(self._seconds)
        except TimeoutError as error:
            if future.done():
                raise
            raise StorageError(
                f"The Ceph cluster did not answer in time: it has not done this within {self._seconds:g} seconds, and "
                "may do it yet. Check that it is not full, and that the target that serves the drive answers.",
                detail=f"drive {drive}",
            ) from error
        finally:
            if future.done():
                self._begun.pop(drive, None)
