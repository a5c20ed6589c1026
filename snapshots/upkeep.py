"""What the worker does behind snapshots: counts what was written since each, gives back the space of deleted ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from editor import backup
from editor.models import Drive, Result
from editor.reconcile import Job, Lane
from editor.storage import StorageError
from editor.volumes import driver_of
from snapshots.actions import record
from snapshots.late import catch_up, late_head
from snapshots.models import Snapshot, State

log = logging.getLogger(__name__)

AFTER_FAILED_LOOK = timedelta(seconds=30)
AFTER_FAILED_MERGE = timedelta(minutes=1)
DURING_BACKUP = timedelta(seconds=10)


def jobs(now: datetime, since: datetime) -> Iterator[Job]:
    """Drives whose layers wait to be counted, and in the background those with layers to merge or remove.

    Counting needs no turn at the drive. If it took one, a merge of more than a minute's work would be stopped each
    minute while a server writes, and never end; and after a failed look, who creates or reverts would wait as well.
    """
    del now, since  # neither is ever late
    for pk in Drive.objects.filter(observe_due=True, hold="").order_by("pk").values_list("pk", flat=True):
        yield Job(f"count-{pk}", _observe(pk), lane=Lane.COUNT)
    # In a pool in maintenance nothing is merged or removed.
    waiting = Drive.objects.filter(reclaim_due=True, hold="", pool__maintenance=False)
    for pk in waiting.order_by("pk").values_list("pk", flat=True):
        yield Job(f"drive-{pk}", _reclaim(pk), background=True)


def _observe(pk: int) -> Callable[[Callable[[], bool]], timedelta | None]:
    def run(should_stop: Callable[[], bool]) -> timedelta | None:
        del should_stop  # looks at file sizes, or at which objects there are
        return observe(pk)

    return run


def observe(pk: int) -> timedelta | None:
    """Reads how much was written since each snapshot, an upper bound, and how much the drive holds in all."""
    Drive.objects.filter(pk=pk).update(observe_due=False)
    drive = Drive.objects.select_related("pool", "drive_array").filter(pk=pk).first()
    if drive is None or drive.head_layer is None:
        return None
    rows = list(drive.snapshots.filter(state=State.READY))
    driver = driver_of(drive.pool)
    try:
        if not drive.hold and late_head(driver, drive):
            Drive.objects.filter(pk=pk).update(reclaim_due=True)  # which looks at it in its turn
        since = driver.written_since(pk, [row.layer for row in rows])
        used = driver.used_bytes(pk)
    except StorageError as error:
        log.warning("The size of %s could not be read: %s %s", drive.label, error, error.detail)
        Drive.objects.filter(pk=pk).update(observe_due=True)
        return AFTER_FAILED_LOOK
    changed = [row for row in rows if since.get(row.layer, row.written_since_bytes) != row.written_since_bytes]
    for row in changed:
        row.written_since_bytes = since[row.layer]
    with transaction.atomic():
        # The drive first, as all who change its snapshots do.
        if Drive.objects.select_for_update(of=("self",)).filter(pk=pk).first() is None:
            return None
        Snapshot.objects.bulk_update(changed, ["written_since_bytes"])
        Drive.objects.filter(pk=pk).update(used_bytes=used, observed_at=timezone.now())
        if changed or used != drive.used_bytes:
            record(drive, "", by=None, result=Result.SILENT)
    return None


def _reclaim(pk: int) -> Callable[[Callable[[], bool]], timedelta | None]:
    def run(should_stop: Callable[[], bool]) -> timedelta | None:
        return reclaim(pk, should_stop)

    return run


def reclaim(pk: int, should_stop: Callable[[], bool]) -> timedelta | None:
    """Gives back the space of deleted snapshots. Stopped whenever something else is to be done with the drive.

    Only this worker adds layers, and never to a drive it reclaims at the moment, so the list of what to keep
    cannot grow while it is used; a snapshot deleted meanwhile is kept until the next time.
    """
    if backup.is_running():
        return DURING_BACKUP
    drive = Drive.objects.select_related("pool", "drive_array").get(pk=pk)
    if drive.hold or drive.head_layer is None:
        return None

    def stop() -> bool:
        return should_stop() or backup.is_running()

    driver = driver_of(drive.pool)
    try:
        head = catch_up(driver, drive) or drive.head_layer
        keep = set(drive.snapshots.values_list("layer", flat=True))
        finished = driver.reclaim(pk, keep=keep, head=head, should_stop=stop)
    except StorageError as error:
        log.warning("Deleted snapshots of %s still take space: %s %s", drive.label, error, error.detail)
        return AFTER_FAILED_MERGE
    with transaction.atomic():
        fresh = Drive.objects.select_for_update(of=("self",)).select_related("drive_array").get(pk=pk)
        same = keep == set(fresh.snapshots.values_list("layer", flat=True))
        fresh.reclaim_due = not (finished and same)
        fresh.observe_due = True
        fresh.save(update_fields=["reclaim_due", "observe_due"])
    return None
