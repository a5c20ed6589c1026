"""Waits, but not for ever, for what librbd does without a time limit of its own.

Some changes of an image librbd leaves to whoever has the image open for writing, of a served drive the target. It asks
that again and again until they are done: for ever, while the cluster is full or the target stands still. No call of
librbd takes such a request back.
"""

from collections.abc import Callable
from typing import TypeVar

from editor.storage.base import StorageError
from editor.storage.calls import Call

Answer = TypeVar("Answer")


class Patience:
    """Carries out changes on threads of their own; one that takes longer than `seconds` goes on there. Thread-safe."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._begun: dict[int, Call[object]] = {}

    def demand_idle(self, drive: int) -> None:
        """Refuse a drive of which it is not known yet what becomes of the last change."""
        begun = self._begun.get(drive)
        if begun is not None and not begun.has_ended:
            raise StorageError(
                "The Ceph cluster is still at an earlier change of this drive. Nothing more was begun. Check that the "
                "cluster is not full, and that the target that serves the drive answers.",
                detail=f"drive {drive}",
            )

    def wait_for(self, drive: int, change: Callable[[], Answer]) -> Answer:
        """What the change answers. Raises what it raises; StorageError when it takes too long, and it goes on then.

        Whoever calls holds the drive.
        """
        call: Call[Answer] = Call()
        self._begun[drive] = call  # type: ignore[assignment]
        call.start(change, name=f"change of drive {drive}")
        if not call.ends_within(self._seconds):
            raise StorageError(
                f"The Ceph cluster did not answer in time: it has not done this within {self._seconds:g} seconds, and "
                "may do it yet. Check that it is not full, and that the target that serves the drive answers.",
                detail=f"drive {drive}",
            )
        del self._begun[drive]
        return call.answer()
