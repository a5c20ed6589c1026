"""The worker: the only one that calls drivers. It makes real what actions reserved, and looks at what is.

Each step in settings.RECONCILE_STEPS answers the jobs that wait, read from the database alone; `one_pass` starts
those that nobody is at. So a worker killed at any point is succeeded by one that finds the same jobs again.
Jobs of one drive or server run one after another, jobs of different ones side by side, in the threads of their lane.
Exactly one worker runs per installation (see editor.lock).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from django.conf import settings
from django.db import close_old_connections, connection, connections
from django.utils import timezone
from django.utils.module_loading import import_string

from editor import bell
from editor.lock import Lock, worker_lock
from editor.models import Event

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
"""The longest an action waits when its bell rang in another process."""
LOOK_ANYWAY = timedelta(seconds=2)
"""How long the worker trusts that nothing waits when nothing happened."""
LOCK_RETRY_SECONDS = 1.0
LONGEST_PAUSE = timedelta(minutes=2)
"""A pause that seems to last longer was noted before the clock was set back; it is over."""
LONG_PAUSE = timedelta(seconds=5)
"""Of a pause that long nobody misses the last part of a second."""
AFTER_FAULT = timedelta(seconds=10)


class Lane(StrEnum):
    """Threads that jobs share. What is slow in one lane delays nothing in another."""

    WORK = "work"
    """At storage and the database: never for long."""
    MERGE = "merge"
    """In the background, and without a time limit."""
    COUNT = "count"
    """At storage, to learn what drives hold: a second for a large one in Ceph, and nobody waits for it."""
    ASK = "ask"
    """At BMCs of which somebody wants something."""
    LOOK = "look"
    """At BMCs that are only looked at."""
    SILENT = "silent"
    """At BMCs that did not answer the last time."""
    EXPORT = "export"
    """At what serves drives: a thousand of them begin when a host begins."""
    POOL = "pool"
    """At storage pools, of which somebody wants to know how they are; one that hangs keeps a thread."""


THREADS: Mapping[Lane, int] = {
    Lane.WORK: 8,
    Lane.MERGE: 2,
    Lane.COUNT: 2,
    Lane.ASK: 32,
    Lane.LOOK: 32,
    Lane.SILENT: 32,
    Lane.EXPORT: 4,
    Lane.POOL: 32,
}
"""At most; a thread is begun when none is free. One that waits for a BMC costs nothing but its memory."""


@dataclass(frozen=True)
class Job:
    """One thing to do for the drive, server or pool that `key` names ("drive-7").

    `run` gets a function that says whether to stop early; it answers how long to leave the key alone afterwards,
    if at all. A background job is stopped when another one waits for its key. A job at once does not wait for the
    pause that an earlier one asked for, only for the one after a fault.
    """

    key: str
    run: Callable[[Callable[[], bool]], timedelta | None]
    background: bool = False
    at_once: bool = False
    lane: Lane = Lane.WORK

    @property
    def threads(self) -> Lane:
        return Lane.MERGE if self.background else self.lane


Step = Callable[[datetime, datetime], Iterable[Job]]
"""Answers the jobs waiting at `now`, for a worker that began at `since`."""


class _End(NamedTuple):
    """How a job ended: how long to leave its key alone, and whether by a fault."""

    pause: timedelta | None
    fault: bool = False


class _Pause(NamedTuple):
    until: datetime
    after_fault: bool

    def holds(self, job: Job, now: datetime) -> bool:
        return (self.after_fault or not job.at_once) and now < self.until <= now + LONGEST_PAUSE


@dataclass
class _Running:
    future: Future[_End]
    background: bool
    at_once: bool
    stop: threading.Event
    wanted: bool = False
    """Whether another job waits for the same key."""


@dataclass
class Worker:
    """Runs in a thread of its own: in the web process (embedded), or alone in `manage.py reconcile`."""

    since: datetime | None = None
    """When it began to work; requests from before it are another worker's, who may have died over them."""
    _running: dict[str, _Running] = field(default_factory=dict)
    _pauses: dict[tuple[str, bool], _Pause] = field(default_factory=dict)
    _wake: threading.Event = field(default_factory=threading.Event)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _newest: int | None = None
    _look_again_at: datetime | None = None
    _thread: threading.Thread | None = None
    _pools: dict[Lane, ThreadPoolExecutor] = field(default_factory=dict)

    def start(self) -> None:
        """Begins in a thread; answers at once, whether or not another worker still has the lock."""
        self._thread = threading.Thread(target=self.run, name="worker", daemon=True)
        self._thread.start()

    def stop(self, timeout_seconds: float = 20) -> None:
        """Asks running jobs to end and waits for them; what is not finished is found again by the next worker."""
        self._stopping.set()
        self._wake.set()
        if self._thread:
            self._thread.join(timeout_seconds)

    def run(self) -> None:
        """Waits for the lock, then works until stopped."""
        silence = bell.listen(self._wake.set)
        waits = False
        try:
            while not self._stopping.is_set():
                try:
                    lock = worker_lock()
                except OSError:
                    log.exception("The worker could not ask for its lock. It tries again in a second.")
                    lock = None
                if lock is None:
                    if not waits:
                        log.info("Another worker is at work. This one waits until that one ends.")
                    waits = True
                    self._stopping.wait(LOCK_RETRY_SECONDS)
                    continue
                if waits:
                    log.info("The other worker has ended. This one works now.")
                waits = False
                try:
                    self.since = timezone.now()
                    self._loop(lock)
                finally:
                    lock.release()
        finally:
            silence()
            connections.close_all()

    def _loop(self, lock: Lock) -> None:
        with self._threads():
            try:
                while lock.is_held():
                    rung = self._wake.is_set()
                    self._wake.clear()
                    # After that, or the call of one who stops it would be missed.
                    if self._stopping.is_set():
                        break
                    try:
                        self._look(timezone.now(), rung=rung)
                    except Exception:
                        # A database that does not answer, a full disk, a fault: whoever looks at the log must act,
                        # and work goes on by itself once that is mended.
                        log.exception("The worker could not look for work. It tries again in a second.")
                        connection.close()
                        self._stopping.wait(1)
                    self._wake.wait(POLL_SECONDS)
            finally:
                for running in self._running.values():
                    running.stop.set()
        self._running.clear()

    @contextmanager
    def _threads(self) -> Iterator[None]:
        self._pools = {
            lane: ThreadPoolExecutor(number, thread_name_prefix=lane.value) for lane, number in THREADS.items()
        }
        try:
            yield
        finally:
            # What has not begun is found again by the next worker.
            for pool in self._pools.values():
                pool.shutdown(wait=False, cancel_futures=True)
            for pool in self._pools.values():
                pool.shutdown()
            self._pools = {}

    def _look(self, now: datetime, *, rung: bool) -> None:
        """Does a pass if there can be something to do: a bell, an ended job, news of others, a pause that is over."""
        goes_on = self._collect(now)
        newest = Event.objects.order_by("-pk").values_list("pk", flat=True).first()
        again_at = self._look_again_at
        if rung or goes_on or newest != self._newest or again_at is None or not now < again_at <= now + LOOK_ANYWAY:
            self._newest = newest
            self.one_pass(now)
            self._look_again_at = min(
                [now + LOOK_ANYWAY, *(pause.until for pause in self._pauses.values() if pause.until > now)]
            )

    def one_pass(self, now: datetime) -> int:
        """Starts every waiting job whose key is free; answers how many. Runs them in place without a pool."""
        self.since = self.since or now
        if now < self.since:
            # The clock was set back, and requests with it: those since the last look are not another worker's.
            self.since = now - LOOK_ANYWAY
        self._collect(now)
        started = 0
        seen: set[str] = set()
        for dotted in settings.RECONCILE_STEPS:
            step: Step = import_string(dotted)
            for job in step(now, self.since):
                busy = self._running.get(job.key)
                if busy:
                    busy.wanted = True
                    merges = busy.background and not job.background
                    if merges:
                        busy.stop.set()
                    # One that has not begun, since others have the threads, cannot hear that: it goes.
                    if (merges or (job.at_once and not busy.at_once)) and busy.future.cancel():
                        del self._running[job.key]
                        busy = None
                if busy or job.key in seen:
                    continue
                # A merge that failed asks for a pause of its own kind: nobody who creates or reverts waits for it.
                pause = self._pauses.get((job.key, job.background))
                if pause and pause.holds(job, now):
                    continue
                seen.add(job.key)
                started += 1
                self._begin(job)
        return started

    def run_until_quiet(self) -> None:
        """Works in this thread until nothing waits but what is paused. For commands that hold the lock, and tests."""
        # One moment for all passes: with a thousand servers, the first pause is over before the last job is.
        now = timezone.now()
        while self.one_pass(now):
            pass

    def _begin(self, job: Job) -> None:
        stop = threading.Event()
        future: Future[_End] = Future()
        running = self._running[job.key] = _Running(future, job.background, job.at_once, stop)
        if not self._pools:
            future.set_result(_carry_out(job, stop))
            self._collect(timezone.now())
            return
        running.future = self._pools[job.threads].submit(_carry_out, job, stop)

        def ended(future: Future[_End]) -> None:
            # A pass for each of a thousand servers that were just read would keep everybody else from the processor.
            if future.cancelled() or running.wanted or not future.result().pause:
                self._wake.set()

        running.future.add_done_callback(ended)

    def _collect(self, now: datetime) -> bool:
        """Takes note of the jobs that ended since the last time; answers whether one leaves something to do at once."""
        goes_on = False
        for key in [key for key, running in self._running.items() if running.future.done()]:
            running = self._running.pop(key)
            end = running.future.result()
            if end.pause:
                pause = self._pauses[key, running.background] = _Pause(_together(now + end.pause, now), end.fault)
                if self._look_again_at:
                    self._look_again_at = min(self._look_again_at, pause.until)
            else:
                self._pauses.pop((key, running.background), None)
            goes_on = goes_on or running.wanted or not end.pause
        return goes_on


def _together(until: datetime, now: datetime) -> datetime:
    """Answers the end of a pause. Long ones end at full seconds: one look is then enough for many of them."""
    return until.replace(microsecond=0) if until - now >= LONG_PAUSE else until


def _carry_out(job: Job, stop: threading.Event) -> _End:
    """Runs a job; a fault in one is logged, tried again later, and never ends the worker."""
    try:
        return _End(job.run(stop.is_set))
    except Exception:
        log.exception("The step for %s failed. It is tried again in %s.", job.key, AFTER_FAULT)
        return _End(AFTER_FAULT, fault=True)
    finally:
        if threading.current_thread() is not threading.main_thread():
            if job.threads in (Lane.WORK, Lane.MERGE, Lane.EXPORT, Lane.COUNT):
                close_old_connections()
            else:
                # A hundred threads that wait for BMCs must not hold a hundred connections meanwhile.
                connections.close_all()
