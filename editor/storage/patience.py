"""Waits, but not for ever, for storage that hangs.

A system call on a disk that does not answer, on a file system that is frozen or whose server is away, ends when that
does; neither a time limit nor a signal ends it before. So that those who wait for it can do something else meanwhile,
verbs are carried out on threads of their own.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import TypeVar

from editor.storage.base import Check, Device, Found, StorageDriver, StorageError, Usage, never
from editor.storage.calls import Call

Answer = TypeVar("Answer")

SECONDS = 30
"""Far more than any verb takes that only waits for a busy disk; a merge is heard of ten times a second."""
MOST_OVERDUE = 4
"""Of a pool: with so many there is no use in waiting for yet another one, and each keeps a thread."""
STILL = "The storage pool has not answered to earlier work yet. Nothing more was begun."
CHECK = "Check that its disk responds."


class _Verb(Call[Answer]):
    """A verb under way."""

    def __init__(self, drive: int | None) -> None:
        super().__init__()
        self.drive = drive
        self.is_given_up = False

    @property
    def is_overdue(self) -> bool:
        return self.is_given_up and not self.has_ended


def _name(call: _Verb[Answer]) -> str:
    return "the pool" if call.drive is None else f"drive {call.drive}"


class PatientStorage(StorageDriver):
    """Another driver, whose verbs answer or fail within `seconds` whatever its storage does.

    What takes longer goes on by itself. Until it has ended nothing else is begun on that drive, and when there are
    several such drives nothing in the whole pool. No limit have `devices`, whose caller has threads of its own for it,
    and what only people ask for, who can break it off: reading and writing bytes, the audit, the cleaning.
    """

    def __init__(self, driver: StorageDriver, *, seconds: float = SECONDS) -> None:
        self.driver = driver
        self._seconds = seconds
        self._calls: set[_Verb[object]] = set()
        self._lock = threading.Lock()

    def _look(self, drive: int | None, verb: Callable[[], Answer]) -> Answer:
        return self._wait(_Verb(drive), verb, "")

    def _change(self, drive: int | None, verb: Callable[[], Answer]) -> Answer:
        return self._wait(_Verb(drive), verb, " It may still carry out what it was asked for.")

    def _wait(self, call: _Verb[Answer], verb: Callable[[], Answer], then: str) -> Answer:
        self._begin(call)

        def carry_out() -> Answer:
            try:
                return verb()
            finally:
                with self._lock:
                    self._calls.discard(call)

        call.start(carry_out, name=f"storage: {_name(call)}")
        if call.ends_within(self._seconds):
            return call.answer()
        call.is_given_up = True
        what = f"The storage pool did not answer within {self._seconds:g} seconds.{then}"
        raise StorageError(f"{what} {CHECK}", detail=_name(call))

    def _begin(self, call: _Verb[Answer]) -> None:
        """Refuse what would only wait behind others that are overdue."""
        with self._lock:
            overdue = [other for other in self._calls if other.is_overdue]
            if len(overdue) >= MOST_OVERDUE or any(other.drive == call.drive for other in overdue):
                waited_for = ", ".join(sorted({_name(other) for other in overdue}))
                raise StorageError(f"{STILL} {CHECK}", detail=f"still at: {waited_for}")
            self._calls.add(call)  # type: ignore[arg-type]

    def create_drive(self, drive: int, *, layer: int, size_bytes: int) -> None:
        self._change(drive, partial(self.driver.create_drive, drive, layer=layer, size_bytes=size_bytes))

    def grow(self, drive: int, *, size_bytes: int) -> None:
        self._change(drive, partial(self.driver.grow, drive, size_bytes=size_bytes))

    def delete_drive(self, drive: int) -> None:
        self._change(drive, partial(self.driver.delete_drive, drive))

    def clear(self, drive: int) -> bool:
        return self._change(drive, partial(self.driver.clear, drive))

    def clean(self, *, spare: Collection[int]) -> Iterator[str]:
        return self.driver.clean(spare=spare)

    def head(self, drive: int) -> int:
        return self._look(drive, partial(self.driver.head, drive))

    def size_bytes(self, drive: int) -> int:
        return self._look(drive, partial(self.driver.size_bytes, drive))

    def layers(self, drive: int) -> frozenset[int]:
        return self._look(drive, partial(self.driver.layers, drive))

    def snapshot(self, drive: int, *, frozen: int, new_layer: int) -> None:
        self._change(drive, partial(self.driver.snapshot, drive, frozen=frozen, new_layer=new_layer))

    def revert(self, drive: int, *, onto: int, new_layer: int) -> None:
        self._change(drive, partial(self.driver.revert, drive, onto=onto, new_layer=new_layer))

    def abandon(self, drive: int, *, new_layer: int) -> bool:
        return self._change(drive, partial(self.driver.abandon, drive, new_layer=new_layer))

    def reclaim(
        self,
        drive: int,
        *,
        keep: Collection[int],
        head: int,
        should_stop: Callable[[], bool] = never,
    ) -> bool:
        call: _Verb[bool] = _Verb(drive)

        def asked() -> bool:
            call.heard_at = time.monotonic()
            return call.is_given_up or should_stop()

        verb = partial(self.driver.reclaim, drive, keep=keep, head=head, should_stop=asked)
        return self._wait(call, verb, " What it was merging is merged later.")

    def written_since(self, drive: int, layers: Collection[int]) -> dict[int, int]:
        return self._look(drive, partial(self.driver.written_since, drive, layers))

    def used_bytes(self, drive: int) -> int:
        return self._look(drive, partial(self.driver.used_bytes, drive))

    def read(self, drive: int, *, offset: int, length: int) -> bytes:
        return self.driver.read(drive, offset=offset, length=length)

    def write(self, drive: int, *, offset: int, data: bytes) -> None:
        self.driver.write(drive, offset=offset, data=data)

    def sha256(self, drive: int) -> str:
        return self.driver.sha256(drive)

    def activate(self, drive: int) -> Device:
        return self._change(drive, partial(self.driver.activate, drive))

    def deactivate(self, drive: int) -> None:
        self._change(drive, partial(self.driver.deactivate, drive))

    def devices(self) -> dict[int, Device]:
        return self.driver.devices()

    def device(self, drive: int) -> Device | None:
        return self._look(drive, partial(self.driver.device, drive))

    def usage(self) -> Usage:
        return self._look(None, self.driver.usage)

    def check(self) -> list[Check]:
        return self._change(None, self.driver.check)

    def audit(self) -> list[Found]:
        return self.driver.audit()

    def missing_programs(self) -> str | None:
        return self.driver.missing_programs()
