"""The worker itself: what it starts, what it leaves alone, and that there is only one of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import Settings

from editor import bell, reconcile
from editor.lock import worker_lock
from editor.reconcile import AFTER_FAULT, THREADS, Job, Lane, Worker

pytestmark = pytest.mark.postgres

NOW = datetime(2026, 5, 14, 14, 2, 31, tzinfo=UTC)
WAIT_SECONDS = 10

waiting: list[Job] = []
"""What the step of these tests answers."""


begun: list[datetime] = []
"""What the steps were told of when the worker began, pass by pass."""


def step(now: datetime, since: datetime) -> Iterator[Job]:
    del now
    begun.append(since)
    yield from list(waiting)


@pytest.fixture(autouse=True)
def _only_this_step(settings: Settings) -> Iterator[None]:
    settings.RECONCILE_STEPS = [f"{__name__}.step"]
    waiting.clear()
    begun.clear()
    yield
    waiting.clear()


def once(done: list[str], name: str, key: str = "drive-1", **options: Any) -> Job:
    """A job that is not waiting any more once it ran."""

    def run(should_stop: Callable[[], bool]) -> None:
        del should_stop
        done.append(name)
        waiting.remove(job)

    job = Job(key, run, **options)
    return job


def test_jobs_of_one_key_run_one_after_another_in_order() -> None:
    done: list[str] = []
    waiting.extend([once(done, "first"), once(done, "second"), once(done, "other", "drive-2")])
    worker = Worker()

    assert worker.one_pass(NOW) == 2
    assert done == ["first", "other"]
    worker.run_until_quiet()
    assert done == ["first", "other", "second"]


def test_job_that_asks_for_a_pause_is_left_alone_until_then() -> None:
    runs: list[int] = []

    def run(should_stop: Callable[[], bool]) -> timedelta:
        del should_stop
        runs.append(1)
        return timedelta(seconds=5)

    waiting.append(Job("server-1", run))
    worker = Worker()
    worker.one_pass(datetime.now(UTC))
    waiting.append(Job("server-1", run, at_once=True))

    assert worker.one_pass(datetime.now(UTC)) == 1
    del waiting[1]
    assert worker.one_pass(datetime.now(UTC)) == 0
    assert worker.one_pass(datetime.now(UTC) + timedelta(seconds=6)) == 1
    assert len(runs) == 3


def test_requests_after_the_clock_was_set_back_are_no_older_than_the_worker() -> None:
    worker = Worker(since=NOW)
    asked_at = NOW - timedelta(hours=1)

    worker.one_pass(asked_at + timedelta(seconds=1))
    worker.one_pass(NOW)

    assert all(since <= asked_at for since in begun)
    assert worker.since == begun[0] > asked_at - timedelta(seconds=2)


def test_job_at_once_that_faults_over_and_over_does_not_spin() -> None:
    runs: list[int] = []

    def run(should_stop: Callable[[], bool]) -> None:
        del should_stop
        runs.append(1)
        raise ZeroDivisionError

    waiting.append(Job("server-1", run, at_once=True))
    worker = Worker()

    assert [worker.one_pass(datetime.now(UTC)) for _ in range(3)] == [1, 0, 0]
    assert worker.one_pass(datetime.now(UTC) + timedelta(seconds=11)) == 1
    assert len(runs) == 2


def test_fault_in_one_job_is_logged_and_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []

    def run(should_stop: Callable[[], bool]) -> None:
        del should_stop
        raise ZeroDivisionError

    waiting.extend([Job("drive-1", run), once(done, "other", "drive-2")])
    worker = Worker()

    assert worker.one_pass(datetime.now(UTC)) == 2
    assert done == ["other"]
    assert "The step for drive-1 failed" in caplog.text
    assert worker.one_pass(datetime.now(UTC)) == 0
    assert worker.one_pass(datetime.now(UTC) + AFTER_FAULT + timedelta(seconds=1)) == 1


@pytest.mark.django_db(transaction=True)
def test_background_job_is_stopped_when_somebody_wants_the_drive() -> None:
    began, ended = threading.Event(), threading.Event()
    done: list[str] = []

    def merge(should_stop: Callable[[], bool]) -> None:
        began.set()
        poll = threading.Event()
        while not should_stop():
            poll.wait(0.01)
        done.append("merge stopped")
        waiting.remove(background)

    def create(should_stop: Callable[[], bool]) -> None:
        del should_stop
        done.append("created")
        waiting.remove(urgent)
        ended.set()

    background, urgent = Job("drive-1", merge, background=True), Job("drive-1", create)
    waiting.append(background)
    worker = Worker()
    worker.start()
    try:
        assert began.wait(WAIT_SECONDS)
        waiting.append(urgent)
        bell.ring()
        assert ended.wait(WAIT_SECONDS)
    finally:
        worker.stop()

    assert done == ["merge stopped", "created"]


@pytest.mark.django_db(transaction=True)
def test_merge_that_waits_for_its_turn_keeps_nobody_from_the_drive() -> None:
    release, created = threading.Event(), threading.Event()
    turns = threading.Semaphore(0)

    def merge(should_stop: Callable[[], bool]) -> None:
        del should_stop
        turns.release()
        release.wait(WAIT_SECONDS)

    waiting.extend(Job(f"drive-{number}", merge, background=True) for number in range(THREADS[Lane.MERGE] + 1))
    worker = Worker()
    worker.start()
    try:
        for _ in range(THREADS[Lane.MERGE]):
            assert turns.acquire(timeout=WAIT_SECONDS)
        waiting.insert(0, Job(f"drive-{THREADS[Lane.MERGE]}", lambda _: created.set()))
        bell.ring()
        assert created.wait(WAIT_SECONDS)
    finally:
        waiting.clear()
        release.set()
        worker.stop()


@pytest.mark.django_db(transaction=True)
def test_only_one_worker_has_the_lock_and_the_next_takes_over() -> None:
    first = worker_lock()
    assert first is not None
    assert worker_lock() is None

    first.release()
    second = worker_lock()

    assert second is not None
    second.release()


@pytest.mark.django_db(transaction=True)
def test_job_that_waits_for_its_key_runs_as_soon_as_the_other_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("editor.reconcile.POLL_SECONDS", WAIT_SECONDS * 2)  # so that only a bell can be the reason
    first_runs, go_on, second_ran = threading.Event(), threading.Event(), threading.Event()

    def first(should_stop: Callable[[], bool]) -> timedelta:
        del should_stop
        first_runs.set()
        go_on.wait(WAIT_SECONDS)
        waiting.pop(0)
        return timedelta(milliseconds=1)

    def second(should_stop: Callable[[], bool]) -> None:
        del should_stop
        waiting.clear()
        second_ran.set()

    waiting.extend([Job("drive-1", first), Job("drive-1", second, at_once=True)])
    worker = Worker()
    worker.start()
    try:
        assert first_runs.wait(WAIT_SECONDS)
        bell.ring()
        go_on.set()
        assert second_ran.wait(WAIT_SECONDS)
    finally:
        go_on.set()
        worker.stop()


@pytest.mark.django_db(transaction=True)
def test_worker_without_the_lock_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "LOCK_RETRY_SECONDS", 0.05)
    ran = threading.Event()
    waiting.append(Job("drive-1", lambda _: ran.set()))
    lock = worker_lock()
    assert lock is not None
    worker = Worker()
    worker.start()
    try:
        assert not ran.wait(0.3)
        lock.release()
        assert ran.wait(WAIT_SECONDS)
    finally:
        worker.stop()
