"""Storage that hangs: whoever asks it is answered in time, and what was begun is neither lost nor begun twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from editor.storage import Disturbing, StorageDriver, StorageError
from editor.storage.patience import MOST_OVERDUE, PatientStorage
from editor.storage.simulated import SimulatedStorage

from .storage import BLOCK, DRIVE, SIZE, StorageContract

AT_MOST_SECONDS = 10
PATIENCE_SECONDS = 0.01
STILL = "has not answered to earlier work yet. Nothing more was begun. Check that its disk responds."


class TestPatientStorage(StorageContract):
    """It promises what the driver behind it promises."""

    @pytest.fixture
    def driver(self) -> StorageDriver:
        return PatientStorage(SimulatedStorage(), seconds=AT_MOST_SECONDS)


class Pool:
    """A pool, some of whose verbs hang until they are let go."""

    def __init__(self) -> None:
        self.storage = SimulatedStorage()
        self.driver = PatientStorage(self.storage, seconds=AT_MOST_SECONDS)
        for drive in range(DRIVE, DRIVE + MOST_OVERDUE + 1):
            self.storage.create_drive(drive, layer=1, size_bytes=SIZE)

    @contextmanager
    def hanging(self, verb: str) -> Iterator[None]:
        let_go, before = threading.Event(), threading.active_count()

        def hang() -> None:
            let_go.wait(AT_MOST_SECONDS)

        self.storage.before(verb, hang)
        try:
            yield
        finally:
            self.storage.before(verb, None)
            let_go.set()
        until(lambda: threading.active_count() <= before)

    def assert_given_up(self, verb: Callable[[], object]) -> str:
        """Answers what is said of a verb that hangs."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.driver, "_seconds", PATIENCE_SECONDS)
            with pytest.raises(StorageError, match=r"did not answer within 0\.01 seconds\.") as late:
                verb()
        assert not late.value.permanent
        return str(late.value)


def until(so: Callable[[], bool]) -> None:
    end = time.monotonic() + AT_MOST_SECONDS
    while not so():
        assert time.monotonic() < end
        time.sleep(0.001)


def snapshot(driver: StorageDriver, drive: int = DRIVE) -> None:
    driver.snapshot(drive, frozen=1, new_layer=2)


@pytest.fixture
def pool() -> Pool:
    return Pool()


def test_what_hangs_goes_on_and_nothing_else_is_begun_on_the_drive(pool: Pool) -> None:
    with pool.hanging("snapshot"):
        said = pool.assert_given_up(lambda: snapshot(pool.driver))
        with pytest.raises(StorageError, match=STILL) as early:
            pool.driver.abandon(DRIVE, new_layer=2)
        assert pool.driver.head(DRIVE + 1) == 1  # of others is still waited for
        assert "abandon" not in [verb for verb, _ in pool.storage.calls]

    assert said == (
        "The storage pool did not answer within 0.01 seconds. It may still carry out what it was asked for. "
        "Check that its disk responds."
    )
    assert not early.value.permanent
    assert pool.driver.abandon(DRIVE, new_layer=2) is False, "it was carried out"
    assert pool.driver.head(DRIVE) == 2


def test_pool_that_hangs_keeps_a_few_threads_however_many_drives_it_has(pool: Pool) -> None:
    with pool.hanging("snapshot"):
        for drive in range(DRIVE, DRIVE + MOST_OVERDUE):
            pool.assert_given_up(partial(snapshot, pool.driver, drive))

        with pytest.raises(StorageError, match=STILL):
            pool.driver.head(DRIVE + MOST_OVERDUE)
        with pytest.raises(StorageError, match=STILL):
            pool.driver.usage()

    assert pool.driver.head(DRIVE + MOST_OVERDUE) == 1
    assert pool.driver.usage() == pool.storage.usage()


def test_looks_change_nothing_and_do_not_say_that_they_may(pool: Pool) -> None:
    with pool.hanging("head"):
        said = pool.assert_given_up(lambda: pool.driver.head(DRIVE))

    assert said == "The storage pool did not answer within 0.01 seconds. Check that its disk responds."


def test_merge_takes_as_long_as_it_is_heard_of(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    with_layers(pool)
    took: list[float] = []

    def not_yet() -> bool:
        took.append(0.1)
        time.sleep(took[-1])
        return False

    monkeypatch.setattr(pool.driver, "_seconds", 0.25)

    assert pool.driver.reclaim(DRIVE, keep={2}, head=6, should_stop=not_yet) is True

    assert sum(took) > 0.25
    assert pool.storage.layers(DRIVE) == {2, 6}


def test_merge_that_was_given_up_ends_when_it_can(pool: Pool) -> None:
    with_layers(pool)
    merge = partial(pool.driver.reclaim, DRIVE, keep=set(), head=6)

    with pool.hanging("reclaim"):
        said = pool.assert_given_up(merge)

    assert "What it was merging is merged later." in said
    assert pool.storage.layers(DRIVE) == {1, 2, 3, 4, 5, 6}
    assert merge() is True
    assert pool.storage.layers(DRIVE) == {6}


def with_layers(pool: Pool) -> None:
    for layer in range(2, 7):
        pool.storage.write(DRIVE, offset=0, data=bytes([layer]) * BLOCK)
        pool.storage.snapshot(DRIVE, frozen=layer - 1, new_layer=layer)


@pytest.mark.parametrize("error", [StorageError("Full.", permanent=True), Disturbing("Slow."), TimeoutError()])
def test_what_fails_in_time_fails_as_it_did(pool: Pool, error: Exception) -> None:
    pool.storage.fail_next("snapshot", error)

    with pytest.raises(type(error)) as raised:
        snapshot(pool.driver)

    assert raised.value is error
    snapshot(pool.driver)
