"""Calls that may never end: each on a thread of its own, so that whoever waits for one can do something else."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Call(Generic[Answer]):
    """One that is under way. `heard_at` is when it was heard of last, on the monotonic clock; it may be set anew."""

    def __init__(self) -> None:
        self.heard_at = time.monotonic()
        self._answer: Future[Answer] = Future()

    def start(self, work: Callable[[], Answer], *, name: str) -> None:
        """Begin it, on a thread of that name, which does not keep this process from ending."""
        threading.Thread(target=self._carry_out, args=(work,), name=name, daemon=True).start()

    def _carry_out(self, work: Callable[[], Answer]) -> None:
        try:
            self._answer.set_result(work())
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            self._answer.set_exception(error)

    def ends_within(self, seconds: float) -> bool:
        """Wait for its end, or until nothing was heard of it for so long."""
        while not self.has_ended and (left := self.heard_at + seconds - time.monotonic()) > 0:
            wait([self._answer], left)
        return self.has_ended

    @property
    def has_ended(self) -> bool:
        return self._answer.done()

    def answer(self) -> Answer:
        """What it answers or raises, once it has ended."""
        return self._answer.result()
