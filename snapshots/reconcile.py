"""What the worker does for snapshots: makes and reverts to those that were asked for.

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

from editor import exports, servers
from editor.iscsi import ExportError
from editor.models import Drive, Power, Result
from editor.pool_rules import why_not_fill
from editor.reconcile import Job, Lane
from editor.storage import Disturbing, StorageDriver, StorageError, UnknownDrive
from editor.storage.sentences import other_head, taken
from editor.volumes import driver_of
from editor.words import counted
from snapshots.actions import record
from snapshots.late import catch_up
from snapshots.models import NOTE_MAX, Snapshot, State

log = logging.getLogger(__name__)

LATE = timedelta(seconds=30)
"""A request that nobody carried out for so long is undone: it would no longer be the moment that was meant."""
AFTER_SILENCE = timedelta(seconds=10)

_begun: set[tuple[int, int]] = set()
"""Snapshots, with the layers reserved for them, that this process has had storage make or revert to."""


class Step(Enum):
    """What comes next for a snapshot in work."""

    DO = auto()
    READ_BACK = auto()
    """An earlier worker may have begun it."""
    TOO_LATE = auto()
    """As READ_BACK: this one may have begun it, or not have come to it."""


def next_step(snapshot: Snapshot, now: datetime, since: datetime) -> Step:
    """Whether to do what was asked, or to find out whether an earlier worker did and undo it otherwise."""
    if snapshot.requested_at < since:
        return Step.READ_BACK
    return Step.TOO_LATE if now - snapshot.requested_at > LATE else Step.DO


def jobs(now: datetime, since: datetime) -> Iterator[Job]:
    """One job for each snapshot that is being made or reverted to."""
    del now  # each job looks at the clock when it begins
    for pk, drive, state in Snapshot.objects.in_work().order_by("pk").values_list("pk", "drive_id", "state"):
        # A revert asks a BMC first.
        yield Job(f"drive-{drive}", _finish(pk, since), lane=Lane.ASK if state == State.REVERTING else Lane.WORK)


def _finish(pk: int, since: datetime) -> Callable[[Callable[[], bool]], timedelta | None]:
    def run(should_stop: Callable[[], bool]) -> timedelta | None:
        del should_stop  # a switch takes no time worth stopping, and half of one is nothing
        snapshot = (
            Snapshot.objects.select_related("drive__drive_array", "drive__pool", "drive__instance__instance_array")
            .filter(pk=pk)
            .first()
        )
        if snapshot is None or snapshot.state == State.READY:
            return None
        step = next_step(snapshot, timezone.now(), since)
        pause = (_create if snapshot.state == State.CREATING else _revert)(snapshot, step)
        if pause is None:
            _begun.discard((snapshot.pk, snapshot.new_layer))
        return pause

    return run


def _why_of_another(driver: StorageDriver, snapshot: Snapshot, step: Step) -> StorageError | None:
    """Why storage is of a newer database than this one: it has what is asked for, or more, before anybody began it.

    To storage it looks like this step, done already; but it was done at another moment.
    """
    try:
        head = driver.head(snapshot.drive_id)
    except StorageError:
        head = 0  # the verb says so
    if head > snapshot.new_layer:
        return other_head(head)
    mark = snapshot.pk, snapshot.new_layer
    if step == Step.READ_BACK or mark in _begun:
        return None
    if head == snapshot.new_layer:
        return taken(head)
    _begun.add(mark)
    return None


def _why_not_begun(step: Step, done: str) -> str:
    if step == Step.TOO_LATE:
        return f"It could not be {done} within {LATE.seconds} seconds, and is not {done} later than it was meant."
    return f"The editor was restarted before it could be {done}."


# ── Create ───────────────────────────────────────────────────────────────────


def _create(snapshot: Snapshot, step: Step) -> timedelta | None:
    drive, why, detail = snapshot.drive, _why_not_begun(step, "made"), ""
    driver = driver_of(drive.pool)
    full = why_not_fill(drive.pool)
    if error := _why_of_another(driver, snapshot, step):
        _settle_not_done(
            snapshot, f"could not create snapshot #{snapshot.number} of", str(error), error.detail, begun=False
        )
        return None
    if step == Step.DO and full:
        why = full
    elif step == Step.DO:
        try:
            snapshot.layer = catch_up(driver, drive) or snapshot.layer
            _freeze(driver, snapshot)
        except StorageError as error:
            why, detail = str(error), error.detail
        else:
            _settle_created(snapshot, timezone.now())
            return None
    try:
        undone = driver.abandon(drive.pk, new_layer=snapshot.new_layer)
        if not undone:
            # It had happened. Said once more, so that the engine checks that what is there is what was asked for.
            driver.snapshot(drive.pk, frozen=snapshot.layer, new_layer=snapshot.new_layer)
    except StorageError as error:
        return _outcome_unknown(snapshot, f"could not create snapshot #{snapshot.number} of", error)
    if undone:
        _settle_not_done(snapshot, f"could not create snapshot #{snapshot.number} of", why, detail)
    else:
        # The switch had happened; the request is the closest time that is known of it.
        _settle_created(snapshot, snapshot.requested_at, known_at=timezone.now())
    return None


def _freeze(driver: StorageDriver, snapshot: Snapshot) -> None:
    drive = snapshot.drive
    try:
        driver.snapshot(drive.pk, frozen=snapshot.layer, new_layer=snapshot.new_layer)
    except Disturbing as refusal:
        # It would stand still for its server too long; when nobody is logged in, nobody is disturbed.
        try:
            exports.take_away(drive)
        except ExportError:
            raise refusal from None
        try:
            driver.snapshot(drive.pk, frozen=snapshot.layer, new_layer=snapshot.new_layer)
        finally:
            exports.bring_back_or_note(drive)


def _settle_created(snapshot: Snapshot, at: datetime, *, known_at: datetime | None = None) -> None:
    """`at` is when it was made; or the earliest moment that may have been, and `known_at` the latest."""
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
        if known_at and known_at - at > LATE:
            # Whoever reverts to it must know that it may not show the moment it is listed with.
            between = f"made between {at:%H:%M:%S} and {known_at:%H:%M:%S} UTC"
            told.append(f"It was {between}: storage has only said so now.")
            note = " · ".join([*filter(None, [fresh.note]), between])
            if len(note) <= NOTE_MAX:
                fresh.note = note
                fresh.save(update_fields=["note"])
        if replaced:
            told.append(f"Deleted #{replaced.number}.")
        record(
            drive,
            f"created snapshot #{fresh.number} of",
            by=fresh.requested_by,
            text=" · ".join(told),
            detail=f"Replaced #{replaced.number}." if replaced else "",
        )


# ── Revert ───────────────────────────────────────────────────────────────────


def _revert(snapshot: Snapshot, step: Step) -> timedelta | None:
    drive, why, detail = snapshot.drive, _why_not_begun(step, "done"), ""
    driver = driver_of(drive.pool)
    if error := _why_of_another(driver, snapshot, step):
        _settle_not_done(snapshot, f"could not revert to #{snapshot.number}:", str(error), error.detail, begun=False)
        return None
    if step == Step.DO:
        try:
            why = _let_go(drive) or ""
            if not why:
                driver.revert(drive.pk, onto=snapshot.layer, new_layer=snapshot.new_layer)
        except StorageError as error:
            why, detail = str(error), error.detail
        if not why:
            _settle_reverted(snapshot, exports.bring_back_or_note(drive))
            return None
    try:
        undone = driver.abandon(drive.pk, new_layer=snapshot.new_layer)
        if not undone:
            # It had happened. Said once more, so that the engine checks that what is there is what was asked for; not
            # as a revert, for which nobody may be logged in: the drive may be back at its server.
            driver.snapshot(drive.pk, frozen=snapshot.layer, new_layer=snapshot.new_layer)
    except StorageError as error:
        return _outcome_unknown(snapshot, f"could not revert to #{snapshot.number}:", error)
    not_served = exports.bring_back_or_note(drive)
    if undone:
        _settle_not_done(snapshot, f"could not revert to #{snapshot.number}:", why, detail)
    else:
        _settle_reverted(snapshot, not_served)
    return None


def _let_go(drive: Drive) -> str | None:
    """Takes the drive from its server; answers why not to go on if that is not off, or None. Raises as `take_away`.

    The BMC itself is asked: what is stored may be seconds old, and a server may be switched on by hand. The second
    witness is the target: whoever is logged in is not off, whatever its BMC says. From then on nobody can log in, so
    nobody writes to what is being replaced; the BMC's second answer is from then. The drive is held, so nobody here
    powers the machine on meanwhile.
    """
    instance = drive.instance
    if instance is None or instance.server_id is None:
        exports.take_away(drive)
        return None
    reading = servers.read_twice(instance.server_id, meanwhile=lambda: exports.take_away(drive))
    if reading == Power.OFF:
        return None
    if reading == Power.UNKNOWN:
        return f"The BMC of {instance.label} did not answer, so it is not known to be off. Try again when it answers."
    return f"{instance.label} is {reading.label.lower()}. Shut it down, then revert again."


def _settle_reverted(snapshot: Snapshot, not_served: str) -> None:
    """`not_served`: why the drive is not back at its server yet, or ""; the worker goes on trying."""
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
        if not_served:
            text = f"{text} Not served over iSCSI yet: {not_served}"
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
    drive.save(
        update_fields=["head_layer", "next_layer", "hold", "snapshot_count", "reclaim_due", "observe_due", "trouble"]
    )


def _settle_not_done(snapshot: Snapshot, verb: str, why: str, detail: str, *, begun: bool = True) -> None:
    """Ends a step that read back as not done: the drive and its snapshots are as before."""
    count = snapshot.drive.snapshots.exclude(state=State.CREATING).count()
    still = f"still has its {counted(count, 'snapshot')}" if count else "still has no snapshots"
    read_back = f"Read back at {timezone.now():%H:%M:%S}: nothing was changed, {snapshot.drive.label} {still}."
    _settle_trouble(snapshot, verb, f"{why} {read_back}", detail, begun=begun)


def _settle_trouble(snapshot: Snapshot, verb: str, text: str, detail: str, *, begun: bool = True) -> None:
    """Ends a step without what was asked for, and says why on the drive's pages."""
    with transaction.atomic():
        drive, fresh = _locked(snapshot)
        if fresh is None:
            return
        by = fresh.requested_by
        if not begun:
            drive.next_layer = fresh.new_layer  # or a layer of another database would seem to be ours (snapshots.late)
        if fresh.state == State.CREATING:
            fresh.delete()
        else:
            fresh.state = State.READY
            fresh.save(update_fields=["state"])
        drive.trouble = record(drive, verb, by=by, text=text, detail=detail, result=Result.FAILED)
        _release(drive)


def _outcome_unknown(snapshot: Snapshot, verb: str, error: StorageError) -> timedelta | None:
    """Storage could not say what became of a step. Asks again soon; or, when asking cannot help, ends it saying so."""
    log.warning("What became of %s of %s is not known: %s %s", snapshot, snapshot.drive, error, error.detail)
    # A drive that is not there may be on a disk that is not mounted: what became of it shows when it is.
    if error.permanent and not isinstance(error, UnknownDrive):
        # Later steps find out by themselves that the head is another than the database thinks, and refuse.
        text = f"{error} What became of it is not known. Keep the server off until somebody has looked at the storage."
        _settle_trouble(snapshot, verb, text, error.detail)
        return None
    hold = f"Storage has not said yet what became of #{snapshot.number}. It is asked again every 10 seconds."
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
