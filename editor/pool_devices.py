"""What is active in each storage pool, asked so that one that hangs holds up no other."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from editor.models import StoragePool
from editor.news import News
from editor.storage import Device, StorageDriver, StorageError
from editor.volumes import driver_of

log = logging.getLogger(__name__)

THREADS = 16
PATIENCE_SECONDS = 5
"""With a storage pool; those that do answer take far less."""
RETRY_SECONDS = 0.2
"""With one that did not answer the last time."""
NO_ANSWER = f"The storage pool has not answered within {PATIENCE_SECONDS} seconds. It is asked until it does."


class Answers(NamedTuple):
    """What storage pools answered, by their ids."""

    devices: dict[int, dict[int, Device]]
    silent: dict[int, str]
    """Why they could not be asked."""
    back: set[int]
    """Those that answer again, since this look."""


class Asking:
    """Asks each storage pool on a thread of its own.

    One that does not answer is waited for once. From then on it is asked beside the looks, until it answers: the
    drives of others are looked at as often as ever.
    """

    def __init__(self) -> None:
        self._told = News()
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="devices")
        self._silent: dict[int, Future[dict[int, Device]]] = {}
        self.busy_seconds = 0.0
        """Of the processor, on the threads that answered in the last round."""

    def ask(self, pools: Iterable[StoragePool]) -> Answers:
        self.busy_seconds = 0.0
        answers = Answers({}, {}, set())
        asked: list[tuple[StoragePool, Future[dict[int, Device]], float]] = []
        for pool in pools:
            before = self._silent.get(pool.pk)
            if before and not before.done():
                answers.silent[pool.pk] = self._told.last(pool.pk)
                continue
            # What was said after a while is about a while ago: it tells only that the pool answers again.
            patience = RETRY_SECONDS if before and before.exception() else PATIENCE_SECONDS
            asked.append((pool, self._threads.submit(self._devices, driver_of(pool)), time.monotonic() + patience))
        for pool, future, until in asked:
            try:
                answers.devices[pool.pk] = future.result(max(0, until - time.monotonic()))
            except TimeoutError:
                self._is_silent(pool, StorageError(NO_ANSWER), future, answers)
            except StorageError as error:
                self._is_silent(pool, error, future, answers)
            else:
                self._silent.pop(pool.pk, None)
                if self._told.is_new(pool.pk, ""):
                    answers.back.add(pool.pk)
                    log.info("What is active in pool %s can be read again.", pool)
        return answers

    def _devices(self, driver: StorageDriver) -> dict[int, Device]:
        began = time.thread_time()
        try:
            return driver.devices()
        finally:
            self.busy_seconds += time.thread_time() - began

    def _is_silent(
        self, pool: StoragePool, error: StorageError, future: Future[dict[int, Device]], answers: Answers
    ) -> None:
        self._silent[pool.pk] = future
        if str(error) == NO_ANSWER and self._told.last(pool.pk):
            error = StorageError(self._told.last(pool.pk))  # it says more
        answers.silent[pool.pk] = str(error)[:300]
        if self._told.is_new(pool.pk, str(error)):
            log.warning("What is active in pool %s could not be read: %s %s", pool, error, error.detail)
