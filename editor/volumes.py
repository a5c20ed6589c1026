"""What the worker does for drives: finds the driver that keeps them, and makes the volumes of deployed ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta

from django.db import transaction

from editor import storage
from editor.models import Drive, Event, Result, StoragePool
from editor.reconcile import Job

log = logging.getLogger(__name__)

FIRST_LAYER = 1
AFTER_FAILURE = timedelta(seconds=10)


def driver_of(pool: StoragePool) -> storage.StorageDriver:
    """Answers the driver of a pool; the same one each time, since it knows the merges that run in this process.

    A folder of the pool's own in DATA_DIR is made here. One that an administrator named is made by nobody: where its
    disk is not mounted there is no pool, not an empty one.
    """
    if not pool.folder:
        # Whatever hinders that hinders the driver as well, which says so in a sentence.
        with suppress(OSError):
            pool.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    cluster = storage.Cluster(pool.ceph_conf, pool.ceph_user, pool.ceph_pool) if pool.ceph_pool else None
    return storage.driver_for(pool.engine, pool.path, cluster)


def jobs(now: datetime, since: datetime) -> Iterator[Job]:
    """One job for each drive of a deployed array that has no volume yet. A held one is a deploy's to make.

    Nothing is made in a pool in maintenance.
    """
    del now, since  # a volume is made whenever it is missing
    missing = Drive.objects.filter(
        head_layer__isnull=True, drive_array__deployed__isnull=False, hold="", pool__maintenance=False
    )
    for pk in missing.order_by("pk").values_list("pk", flat=True):
        yield Job(f"drive-{pk}", _make(pk))


def _make(pk: int) -> Callable[[Callable[[], bool]], timedelta | None]:
    def run(should_stop: Callable[[], bool]) -> timedelta | None:
        del should_stop  # takes no time worth stopping
        return make(pk)

    return run


def make(pk: int) -> timedelta | None:
    """Makes a drive's volume, empty. Repeatable: the first layer's id is fixed, and one that exists is left alone."""
    drive = Drive.objects.select_related("pool", "drive_array").get(pk=pk)
    try:
        create(drive)
    except storage.StorageError as error:
        _settle_failed(drive, error)
        return AFTER_FAILURE
    with transaction.atomic():
        note_created(pk)
        Event.objects.record(
            drive.drive_array.infrastructure_id,
            "made the volume of",
            drive.label,
            url=drive.get_absolute_url(),
            topics=[drive.topic, drive.drive_array.topic, f"infrastructure-{drive.drive_array.infrastructure_id}"],
        )
    return None


def note_created(pk: int) -> None:
    """Writes down that a drive's volume exists; nothing, when that is known already."""
    Drive.objects.filter(pk=pk, head_layer=None).update(
        head_layer=FIRST_LAYER, next_layer=FIRST_LAYER + 1, trouble=None
    )


def create(drive: Drive) -> None:
    """Has storage make a drive's volume, empty.

    Raises StorageError, also when there is a drive of that name which is not a new one: it is somebody's.
    """
    driver = driver_of(drive.pool)
    driver.create_drive(drive.pk, layer=FIRST_LAYER, size_bytes=drive.size_bytes)
    if driver.layers(drive.pk) != {FIRST_LAYER} or driver.used_bytes(drive.pk):
        raise storage.StorageError(
            "The storage pool already holds another drive under this one's name. It was left as it is. "
            "Check whether the database belongs to the pool: manage.py reconcile --audit",
            permanent=True,
        )


def _settle_failed(drive: Drive, error: storage.StorageError) -> None:
    """Tells a failure once, however often it is tried again."""
    log.warning("The volume of %s was not made: %s %s", drive.label, error, error.detail)
    with transaction.atomic():
        fresh = Drive.objects.select_for_update(of=("self",)).select_related("trouble").get(pk=drive.pk)
        if fresh.trouble and fresh.trouble.text == str(error):
            return
        fresh.trouble = Event.objects.record(
            drive.drive_array.infrastructure_id,
            "could not make the volume of",
            drive.label,
            text=str(error),
            detail=error.detail,
            url=drive.get_absolute_url(),
            result=Result.FAILED,
            topics=[drive.topic, drive.drive_array.topic],
        )
        fresh.save(update_fields=["trouble"])
