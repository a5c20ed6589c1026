"""Steps that storage carries out after the worker has read back that they were not, and given them up.

So it may be when storage stood still and goes on. A head above the one that is noted and below the next layer to be
given out was reserved for such a step. What a database newer than this one made is not below that, and stays so: a
layer that was asked for in vain because of it is given back (snapshots.reconcile).
"""

from __future__ import annotations

import logging

from django.db import transaction

from editor.models import Drive, Result
from editor.storage import StorageDriver, StorageError
from snapshots.actions import record
from snapshots.models import State

log = logging.getLogger(__name__)

REVERTED = (
    "Storage has carried out a revert that was given up: the drive does not hold what its server wrote last. That is "
    "still stored; nothing was removed. Keep the server off until somebody has looked at the storage "
    "(manage.py reconcile --audit). If what was written last is not needed, revert to the snapshot that is wanted."
)


def late_head(driver: StorageDriver, drive: Drive) -> int | None:
    """Answers the head, if it is a layer that was reserved for a step which nobody waits for. Raises StorageError."""
    head = driver.head(drive.pk)
    if drive.head_layer is None or not drive.head_layer < head < drive.next_layer:
        return None
    return None if drive.snapshots.in_work().filter(new_layer=head).exists() else head


def catch_up(driver: StorageDriver, drive: Drive) -> int | None:
    """Notes that a late snapshot was made; answers the drive's head layer, as it is noted now.

    What the drive holds is the same with it: one more layer lies on top, and what is under it may be merged. Not so
    after a late revert: that raises StorageError, as storage does that cannot answer. Called by whoever has the turn
    at the drive.
    """
    known, head = drive.head_layer, late_head(driver, drive)
    if known is None or head is None:
        return known
    try:
        # It is there already, so that this only checks what it stands on.
        driver.snapshot(drive.pk, frozen=known, new_layer=head)
    except StorageError as error:
        if not error.permanent:
            raise
        late = StorageError(REVERTED, permanent=True, detail=f"the head is layer {head}, not on layer {known}")
        _tell(drive, late)
        raise late from error
    log.warning("Storage made a snapshot of %s that was given up. What the drive holds is the same.", drive.label)
    with transaction.atomic():
        fresh = _locked(drive)
        fresh.head_layer, fresh.reclaim_due = head, True
        fresh.save(update_fields=["head_layer", "reclaim_due"])
        fresh.snapshots.filter(state=State.CREATING, layer=known).update(layer=head)
        record(fresh, "", by=None, result=Result.SILENT)
    return head


def _tell(drive: Drive, error: StorageError) -> None:
    """Tells it once, on the drive's pages."""
    with transaction.atomic():
        fresh = _locked(drive)
        if fresh.hold or (fresh.trouble and fresh.trouble.text.startswith(str(error))):
            return
        told = record(
            fresh, "noticed a late revert of", by=None, text=str(error), detail=error.detail, result=Result.FAILED
        )
        fresh.trouble = told
        fresh.save(update_fields=["trouble"])


def _locked(drive: Drive) -> Drive:
    rows = Drive.objects.select_for_update(of=("self",)).select_related("trouble", "drive_array")
    return rows.get(pk=drive.pk)
