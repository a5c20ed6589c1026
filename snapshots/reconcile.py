"""What the worker does for snapshots: makes and reverts to those that were asked for, and clears up behind them.

`next_step` decides; `_create` and `_revert` call the driver outside any transaction and settle in one. A worker
that died leaves the row behind: the next one reads back from storage whether the switch had happened, and finishes
or undoes it. A snapshot is never made late.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from enum import Enum, auto

from django.db import transaction
from django.utils import timezone

from editor import backup, servers
from editor.models import Drive, Power, Result
from editor.reconcile import Job
from editor.storage import StorageError
from editor.volumes import driver_of
from snapshots.actions import record
from snapshots.models import Snapshot, State

log = logging.getLogger(__name__)

LATE = timedelta(seconds=30)
"""A request that nobody carried out for so long is undone: it would no longer be the moment that was meant."""
AFTER_SILENCE = timedelta(seconds=10)
AFTER_FAILED_MERGE = timedelta(minutes=1)
DURING_BACKUP = timedelta(seconds=10)


class Step(Enum):
    """What comes next for a snapshot in work."""

    DO = auto()
    READ_BACK = auto()


def next_step(snapshot: Snapshot, now: datetime, since: datetime) -> Step:
    """Whether to do what was asked, or to find out whether an earlier worker did and undo it otherwise."""
    if snapshot.requested_at < since or now - snapshot.requested_at > LATE:
        return Step.READ_BACK
    return Step.DO


def jobs(now: datetime, since: datetime) -> Iterator[Job]:
    """Snapshots in work first; then, in the background, drives whose layers wait to be counted or merged."""
    for pk, drive in Snapshot.objects.in_work().order_by("pk").values_list("pk", "drive_id"):
        yield Job(f"drive-{drive}", _finish(pk, since))
    for pk in Drive.objects.filter(observe_due=True, hold="").order_by("pk").values_list("pk", flat=True):
        yield Job(f"drive-{pk}", _observe(pk), at_once=True)
    for pk in Drive.objects.filter(reclaim_due=True, hold="").order_by("pk").values_list("pk", flat=True):
        yield Job(f"drive-{pk}", _reclaim(pk), background=True)


def _finish(pk: int, since: datetime) -> Callable[[Callable[[], bool]], timedelta | None]:
    def run(should_stop: Callable[[], bool]) -> timedelta | None:
        del should_stop  # a switch takes no time worth stopping, and half of one is nothing
        snapshot = Snapshot.objects.select_related("drive__drive_array", "drive__pool").filter(pk=pk).first()
        if snapshot is None or snapshot.state == State.READY:
            return None
        step = next_step(snapshot, timezone.now(), since)
        return (_create if snapshot.state == State.CREATING else _revert)(snapshot, step)

    return run


# ── Create ───────────────────────────────────────────────────────────────────


def _create(snapshot: Snapshot, step: Step) -> timedelta | None:
    drive, why, detail = snapshot.drive, "The editor was restarted before it could be made.", ""
    driver = driver_of(drive.pool)
    if step == Step.DO:
        try:
            driver.snapshot(drive.pk, frozen=snapshot.layer, new_layer=snapshot.new_layer)
        except StorageError as error:
            why, detail = str(error), error.detail
        else:
            _settle_created(snapshot, timezone.now())
            return None
    try:
        undone = driver.abandon(drive.pk, new_layer=snapshot.new_layer)
    except StorageError as error:
        return _wait_for_storage(snapshot, error)
    if undone:
        _settle_not_done(snapshot, f"could not create snapshot #{snapshot.number} of", why, detail)
    else:
        # The switch had happened; the request is the closest time that is known of it.
        _settle_created(snapshot, snapshot.requested_at)
    return None


def _settle_created(snapshot: Snapshot, at: datetime) -> None:
    with transaction.atomic():
        drive, fresh = _locked(snapshot)
        if fresh is None:
            return
        replaced = fresh.replaces
        if replaced:
            replaced.delete()
        fresh.replaces = None
        fresh.state = State.READY
        fresh.taken_at = at
        fresh.written_since_bytes = 0
        fresh.save(update_fields=["replaces", "state", "taken_at", "written_since_bytes"])
        drive.head_layer = fresh.new_layer
        drive.reclaim_due = drive.reclaim_due or replaced is not None
        _release(drive)
        told = [fresh.note] if fresh.note else []
        if replaced:
            told.append(f"Deleted #{replaced.number}.")
        record(drive, f"created snapshot #{fresh.number} of", by=fresh.requested_by, text=" · ".join(told))


# ── Revert ───────────────────────────────────────────────────────────────────


def _revert(snapshot: Snapshot, step: Step) -> timedelta | None:
    drive, why, detail = snapshot.drive, "The editor was restarted before it could be done.", ""
    driver = driver_of(drive.pool)
    if step == Step.DO:
        why = _why_not_off_now(drive) or ""
        if not why:
            try:
                driver.revert(drive.pk, onto=snapshot.layer, new_layer=snapshot.new_layer)
            except StorageError as error:
                why, detail = str(error), error.detail
            else:
                _settle_reverted(snapshot)
                return None
    try:
        undone = driver.abandon(drive.pk, new_layer=snapshot.new_layer)
    except StorageError as error:
        return _wait_for_storage(snapshot, error)
    if undone:
        _settle_not_done(snapshot, f"could not revert to #{snapshot.number}:", why, detail)
    else:
        _settle_reverted(snapshot)
    return None


def _why_not_off_now(drive: Drive) -> str | None:
    """Asks the BMC itself: what is stored may be seconds old, and a server may be switched on by hand."""
    instance = drive.instance
    if instance is None or instance.server_id is None:
        return None
    reading = servers.read(instance.server_id)
    if reading == Power.OFF:
        return None
    if reading == Power.UNKNOWN:
        return f"The BMC of {instance.label} did not answer, so it is not known to be off. Try again when it answers."
    return f"{instance.label} is {reading.label.lower()}. Shut it down, then revert again."


def _settle_reverted(snapshot: Snapshot) -> None:
    with transaction.atomic():
        drive, fresh = _locked(snapshot)
        if fresh is None:
            return
        newer = list(Snapshot.objects.newer_than(fresh))
        for one in newer:
            one.delete()
        fresh.state = State.READY
        fresh.written_since_bytes = 0
        fresh.save(update_fields=["state", "written_since_bytes"])
        drive.head_layer = fresh.new_layer
        drive.reclaim_due = True
        _release(drive)
        deleted = ", ".join(f"#{one.number}" for one in newer)
        text = f"To #{fresh.number}; deleted {deleted}." if newer else f"To #{fresh.number}; no snapshot was deleted."
        record(drive, "reverted", by=fresh.requested_by, text=text)


# ── Both ─────────────────────────────────────────────────────────────────────


def _locked(snapshot: Snapshot) -> tuple[Drive, Snapshot | None]:
    """Reads both anew, the drive locked. No snapshot when this step was settled already."""
    drive = Drive.objects.select_for_update(of=("self",)).select_related("drive_array").get(pk=snapshot.drive_id)
    fresh = drive.snapshots.select_related("replaces", "requested_by").filter(
        pk=snapshot.pk, state=snapshot.state, new_layer=snapshot.new_layer
    )
    return drive, fresh.first()


def _release(drive: Drive) -> None:
    drive.hold = ""
    drive.snapshot_count = drive.snapshots.count()
    drive.observe_due = True
    drive.save(update_fields=["head_layer", "hold", "snapshot_count", "reclaim_due", "observe_due", "trouble"])


def _settle_not_done(snapshot: Snapshot, verb: str, why: str, detail: str) -> None:
    """Ends a step that read back as not done: the drive and its snapshots are as before."""
    with transaction.atomic():
        drive, fresh = _locked(snapshot)
        if fresh is None:
            return
        by = fresh.requested_by
        if fresh.state == State.CREATING:
            fresh.delete()
        else:
            fresh.state = State.READY
            fresh.save(update_fields=["state"])
        count = drive.snapshots.count()
        still = {0: "still has no snapshots", 1: "still has its 1 snapshot"}.get(
            count, f"still has its {count} snapshots"
        )
        text = f"{why} Read back at {timezone.now():%H:%M:%S}: nothing was changed, {drive.label} {still}."
        drive.trouble = record(drive, verb, by=by, text=text, detail=detail, result=Result.FAILED)
        _release(drive)


def _wait_for_storage(snapshot: Snapshot, error: StorageError) -> timedelta:
    """The outcome is not known: says so, keeps the drive held, and looks again soon."""
    log.warning("What became of %s of %s is not known: %s %s", snapshot, snapshot.drive, error, error.detail)
    hold = f"Storage stopped answering while working on #{snapshot.number}. It is asked again every 10 seconds."
    with transaction.atomic():
        drive, fresh = _locked(snapshot)
        if fresh is not None and drive.hold != hold:
            drive.hold = hold
            drive.save(update_fields=["hold"])
            doing = "creating" if fresh.state == State.CREATING else "reverting to"
            record(
                drive,
                f"does not know the outcome of {doing} #{fresh.number} of",
                by=None,
                text=str(error),
                detail=error.detail,
                result=Result.FAILED,
            )
    return AFTER_SILENCE


# ── Behind them ──────────────────────────────────────────────────────────────


def _observe(pk: int) -> Callable[[Callable[[], bool]], timedelta | None]:
    def run(should_stop: Callable[[], bool]) -> timedelta | None:
        del should_stop  # some looks at file sizes
        observe(pk)
        return None

    return run


def observe(pk: int) -> None:
    """Reads how much was written since each snapshot, an upper bound, and how much the drive holds in all."""
    Drive.objects.filter(pk=pk).update(observe_due=False)
    drive = Drive.objects.select_related("pool", "drive_array").get(pk=pk)
    if drive.head_layer is None:
        return
    rows = list(drive.snapshots.filter(state=State.READY))
    driver = driver_of(drive.pool)
    try:
        since = driver.written_since(pk, [row.layer for row in rows])
        used = driver.used_bytes(pk)
    except StorageError as error:
        log.warning("The size of %s could not be read: %s %s", drive.label, error, error.detail)
        return
    changed = [row for row in rows if since.get(row.layer, row.written_since_bytes) != row.written_since_bytes]
    for row in changed:
        row.written_since_bytes = since[row.layer]
    with transaction.atomic():
        Snapshot.objects.bulk_update(changed, ["written_since_bytes"])
        Drive.objects.filter(pk=pk).update(used_bytes=used, observed_at=timezone.now())
        if changed or used != drive.used_bytes:
            record(drive, "", by=None, result=Result.SILENT)


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

    keep = set(drive.snapshots.values_list("layer", flat=True))
    try:
        finished = driver_of(drive.pool).reclaim(pk, keep=keep | {drive.head_layer}, should_stop=stop)
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
