"""What people do with snapshots. All take effect at once, without a deploy; the worker does the work.

Each reserves first: it writes the row and the drive's `hold`, records an Event and commits. Only then the
reconcile worker touches storage. All raise `Refused` with a sentence, and have changed nothing then.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from editor.actions import demand, demand_operator, own_key
from editor.models import Drive, Event, Instance, Result, Server, User
from editor.rules import Refused
from snapshots.models import Snapshot, State
from snapshots.rules import deleted_next, why_not_create, why_not_delete, why_not_revert


class ListChanged(Refused):
    """What the person saw is not what is there any more. Its text says what changed; nothing was done."""


def request_create(
    drive: Drive, *, by: User, note: str = "", key: UUID | None = None, expect_delete: int | None = None
) -> None:
    """Asks for a snapshot of the drive as it is now.

    `expect_delete` is the id of the snapshot the page said would be deleted for it (None: none); when another
    would go, ListChanged is raised. `key` is the rendered form's: the same key again does nothing.
    """
    with transaction.atomic():
        drive = _locked(drive)
        key = own_key(key, f"create snapshot {drive.pk}", by)
        if _already(key):
            return
        demand_operator(by, drive.drive_array.infrastructure_id)
        demand(why_not_create(drive))
        assert drive.head_layer is not None  # or it would have been refused
        oldest = deleted_next(list(drive.snapshots.all()))
        if (oldest.pk if oldest else None) != expect_delete:
            raise ListChanged(_what_goes_now(oldest))
        snapshot = Snapshot.objects.create(
            drive=drive,
            number=drive.next_snapshot_number,
            note=note,
            layer=drive.head_layer,
            new_layer=drive.next_layer,
            requested_at=timezone.now(),
            requested_by=by,
            created_by=by,
            replaces=oldest,
        )
        drive.next_snapshot_number += 1
        drive.next_layer += 1
        drive.hold = f"Creating snapshot #{snapshot.number}."
        drive.trouble = None
        drive.save(update_fields=["next_snapshot_number", "next_layer", "hold", "trouble"])
        record(drive, f"asked for snapshot #{snapshot.number} of", by=by, key=key, result=Result.SILENT)


def request_revert(snapshot: Snapshot, *, by: User, expect: Collection[int], key: UUID | None = None) -> None:
    """Asks for the drive to become what it was at the snapshot. Newer snapshots and all written since are lost.

    `expect` are the ids of the newer snapshots the confirmation listed; when the list is another by now,
    ListChanged is raised.
    """
    with transaction.atomic():
        # The server first, then the drive: the order in which a power-on takes them (editor.actions).
        Server.objects.select_for_update(of=("self",)).filter(instance__drives=snapshot.drive_id).first()
        drive = _locked(snapshot.drive)
        key = own_key(key, f"revert {drive.pk} {snapshot.pk}", by)
        if _already(key):
            return
        demand_operator(by, drive.drive_array.infrastructure_id)
        fresh = drive.snapshots.filter(pk=snapshot.pk).first()
        if fresh is None:
            raise ListChanged(f"#{snapshot.number} does not exist any more. Nothing was reverted.")
        fresh.drive = drive
        if drive.instance_id:
            drive.instance = Instance.objects.select_related("instance_array", "server").get(pk=drive.instance_id)
        newer = list(Snapshot.objects.newer_than(fresh).select_related("created_by"))
        if {one.pk for one in newer} != set(expect):
            raise ListChanged(_what_is_newer_now(newer, set(expect)))
        demand(why_not_revert(fresh))
        fresh.state = State.REVERTING
        fresh.new_layer = drive.next_layer
        fresh.requested_at = timezone.now()
        fresh.requested_by = by
        fresh.save(update_fields=["state", "new_layer", "requested_at", "requested_by"])
        drive.next_layer += 1
        drive.hold = f"Reverting to #{fresh.number}."
        drive.trouble = None
        drive.save(update_fields=["next_layer", "hold", "trouble"])
        record(drive, f"asked to revert to #{fresh.number}:", by=by, key=key, result=Result.SILENT)


def delete(snapshot: Snapshot, *, by: User, key: UUID | None = None) -> None:
    """Deletes one snapshot. The list is right at once; its space comes back in the background."""
    with transaction.atomic():
        drive = _locked(snapshot.drive)
        key = own_key(key, f"delete snapshot {drive.pk} {snapshot.pk}", by)
        if _already(key):
            return
        demand_operator(by, drive.drive_array.infrastructure_id, or_permission="snapshots.delete_snapshot")
        fresh = drive.snapshots.filter(pk=snapshot.pk).first()
        if fresh is None:
            raise ListChanged(f"#{snapshot.number} was deleted already.")
        fresh.drive = drive
        demand(why_not_delete(fresh))
        fresh.delete()
        drive.snapshot_count = drive.snapshots.count()
        drive.reclaim_due = drive.observe_due = True
        drive.save(update_fields=["snapshot_count", "reclaim_due", "observe_due"])
        record(drive, f"deleted snapshot #{fresh.number} of", by=by, key=key, text=fresh.note)


def edit_note(snapshot: Snapshot, *, note: str, by: User) -> None:
    """Changes the words beside a snapshot; nothing else."""
    with transaction.atomic():
        drive = _locked(snapshot.drive)
        demand_operator(by, drive.drive_array.infrastructure_id, or_permission="snapshots.change_snapshot")
        if not drive.snapshots.filter(pk=snapshot.pk).update(note=note):
            raise ListChanged(f"#{snapshot.number} does not exist any more. The note was not saved.")
        record(drive, f"changed the note of #{snapshot.number} of", by=by, text=note)


def record(
    drive: Drive,
    verb: str,
    *,
    by: User | None,
    text: str = "",
    detail: str = "",
    key: UUID | None = None,
    result: Result = Result.DONE,
) -> Event:
    """Writes down what happened to a drive's snapshots; inside the transaction that makes it happen."""
    return Event.objects.record(
        drive.drive_array.infrastructure_id,
        verb,
        drive.label,
        by=by,
        text=text,
        detail=detail,
        url=drive.get_absolute_url(),
        result=result,
        topics=[drive.topic, drive.drive_array.topic, f"infrastructure-{drive.drive_array.infrastructure_id}"],
        request_key=key,
    )


def _locked(drive: Drive) -> Drive:
    return Drive.objects.select_for_update(of=("self",)).select_related("drive_array", "pool").get(pk=drive.pk)


def _already(key: UUID | None) -> bool:
    """Whether this very form was carried out before: a double click, or a request sent again."""
    return key is not None and Event.objects.filter(request_key=key).exists()


def _what_goes_now(oldest: Snapshot | None) -> str:
    if oldest is None:
        return "The list changed while you were reading: a slot is free now. Nothing was created yet; check again."
    return (
        f"The list changed while you were reading: the next snapshot now deletes #{oldest.number}. "
        "Nothing was created yet; check again."
    )


def _what_is_newer_now(newer: list[Snapshot], expected: set[int]) -> str:
    for one in newer:
        if one.pk not in expected:
            who = one.created_by or "The editor"
            when = f" at {one.taken_at:%H:%M}" if one.taken_at else ""
            return f"The list changed while you were reading: {who} created #{one.number}{when}. Check again."
    return "The list changed while you were reading: a newer snapshot was deleted. Check again."
