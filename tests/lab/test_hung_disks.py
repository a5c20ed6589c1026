"""The disk under a storage pool hangs in the kernel: everybody is answered in time, and nothing is lost.

A file system that is frozen hangs as one whose disk does not answer: whoever writes waits, and cannot be killed.
"""

from __future__ import annotations

import gc
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from pytest_django import Settings

from editor import bell, storage
from editor.models import Drive, DriveArray, Infrastructure, StoragePool, User
from editor.reconcile import THREADS, Lane, Worker
from editor.storage import StorageDriver, StorageError
from editor.storage.patience import PatientStorage
from editor.storage.qcow2 import Qcow2Storage
from editor.volumes import driver_of
from snapshots import actions
from snapshots.models import Snapshot, State
from tests import factories
from tests.contracts.file_systems import FileSystem, mounted
from tests.contracts.storage import MIB, Disk

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("fsfreeze") is None, reason="fsfreeze is missing: apt-get install util-linux"),
]

PATIENCE_SECONDS = 0.5
AT_MOST_SECONDS = 60
UNDER = {"qcow2": "reflink", "btrfs": "btrfs", "reflink": "reflink"}
"""The kind of file system that an engine is tried on."""


@contextmanager
def hanging(system: FileSystem) -> Iterator[None]:
    subprocess.run(["fsfreeze", "--freeze", str(system.point)], check=True)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", str(system.point)], check=True)


def until(so: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + AT_MOST_SECONDS
    while not so():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def at_last(verb: Callable[[], object]) -> object:
    """What a verb answers as soon as nothing that hung is in its way any more."""
    end = time.monotonic() + AT_MOST_SECONDS
    while True:
        try:
            return verb()
        except StorageError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


@pytest.fixture(params=UNDER)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(storage.ENGINES, "qcow2", partial(Qcow2Storage, program_seconds=1))
    monkeypatch.setattr(storage, "PatientStorage", partial(PatientStorage, seconds=PATIENCE_SECONDS))
    return str(request.param)


@pytest.fixture
def system(engine: str) -> Iterator[FileSystem]:
    with mounted(UNDER[engine]) as made:
        yield made


def change(driver: StorageDriver, verb: str) -> Callable[[], object]:
    """A verb that finds a drive with one snapshot, whose layers are 1 and 2."""
    verbs: dict[str, Callable[[], object]] = {
        "create_drive": partial(driver.create_drive, 8, layer=1, size_bytes=MIB),
        "snapshot": partial(driver.snapshot, 7, frozen=2, new_layer=3),
        "revert": partial(driver.revert, 7, onto=1, new_layer=3),
        "grow": partial(driver.grow, 7, size_bytes=8 * MIB),
        "reclaim": partial(driver.reclaim, 7, keep=set(), head=2),
        "delete_drive": partial(driver.delete_drive, 7),
        "activate": partial(driver.activate, 7),
    }
    return verbs[verb]


@pytest.mark.parametrize("verb", ["create_drive", "snapshot", "revert", "grow", "reclaim", "delete_drive", "activate"])
def test_verb_on_a_disk_that_hangs_is_answered_and_can_be_repeated(engine: str, system: FileSystem, verb: str) -> None:
    driver = storage.driver_for(engine, system.pool())
    disk = Disk(driver)
    disk.put(1)
    disk.snapshot()
    disk.put(2)
    do = change(driver, verb)

    with hanging(system):
        began = time.monotonic()
        with pytest.raises(StorageError) as refused:
            do()
        assert time.monotonic() - began < AT_MOST_SECONDS / 2
        assert not refused.value.permanent
        with pytest.raises(StorageError):  # it is not known what became of it
            do()

    at_last(do)
    if verb == "delete_drive":
        assert driver.audit() == []
        return
    assert driver.size_bytes(8 if verb == "create_drive" else 7) == {"create_drive": MIB, "grow": 8 * MIB}.get(
        verb, 4 * MIB
    )
    if verb == "activate":
        at_last(partial(driver.deactivate, 7))
    assert disk.mark() == (1 if verb == "revert" else 2)
    assert driver.layers(7) == {"snapshot": {1, 2, 3}, "revert": {1, 2, 3}, "reclaim": {2}}.get(verb, {1, 2})
    assert [found.strange for found in driver.audit()] == [()] * len(driver.audit())


@pytest.fixture
def others(db: None) -> Drive:
    """A drive in another pool."""
    infrastructure = factories.make_infrastructure(operator=factories.make_user("Otto Op"))
    return factories.make_drive_array(infrastructure, engine="qcow2", count=1, size_mb=1024, made=False).drives.get()


@pytest.mark.django_db(transaction=True)
def test_pool_whose_disk_hangs_holds_up_no_other_and_loses_nothing(
    engine: str, system: FileSystem, others: Drive, settings: Settings
) -> None:
    settings.RECONCILE_STEPS = ["editor.volumes.jobs", "editor.pools.jobs", "snapshots.reconcile.jobs"]
    operator = User.objects.get()
    drives = list(many(engine, system.pool(), THREADS[Lane.WORK] + 4).drives.order_by("pk"))
    worker = Worker()
    worker.start()
    try:
        until(lambda: not Drive.objects.filter(head_layer=None).exists(), "The volumes were not made.")
        for drive in drives:
            driver_of(drive.pool).write(drive.pk, offset=0, data=bytes([drive.pk % 251]) * 512)
        with hanging(system):
            for drive in drives:
                actions.request_create(drive, by=operator)
            bell.ring()
            until(lambda: Drive.objects.filter(hold__startswith="Storage has not said").exists(), "Nobody was told.")

            actions.request_create(others, by=operator)
            bell.ring()
            until(Snapshot.objects.filter(drive=others, state=State.READY).exists, "The other drive was held up.")

            worker.stop()
            assert not is_at_work(worker), "It could not be stopped."
            assert not Snapshot.objects.filter(drive__in=drives, state=State.READY).exists()
        worker = Worker()
        worker.start()
        until(lambda: not Drive.objects.exclude(hold="").exists(), "Drives are held still.")
    finally:
        worker.stop()
        gc.collect()  # connections of threads that have ended keep PostgreSQL from dropping the database
    for drive in drives:
        driver, kept = driver_of(drive.pool), list(drive.snapshots.values_list("state", "layer"))
        drive.refresh_from_db()
        assert (driver.head(drive.pk), driver.layers(drive.pk)) == (
            drive.head_layer,
            {drive.head_layer, *(layer for _, layer in kept)},
        )
        assert driver.read(drive.pk, offset=0, length=512) == bytes([drive.pk % 251]) * 512
        assert {state for state, _ in kept} <= {State.READY}


def is_at_work(worker: Worker) -> bool:
    assert worker._thread is not None
    return worker._thread.is_alive()


def many(engine: str, pool: Path, count: int) -> DriveArray:
    """Drives in a pool on that disk."""
    StoragePool.objects.filter(label=f"pool-{engine}").update(label="pool-of-others")
    StoragePool.objects.create(label=f"pool-{engine}", engine=engine, folder=str(pool))
    return factories.make_drive_array(
        Infrastructure.objects.get(), "hanging", engine=engine, count=count, size_mb=1024, made=False
    )
