"""What hangs on drives: what goes with them when a deploy destroys them, and the room that it takes."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import Max

from editor.losses import Lost
from editor.models import Drive
from snapshots.models import Snapshot


def of_drives(drives: Collection[int]) -> dict[int, list[Lost]]:
    """Answers the snapshots of these drives; one query."""
    found: dict[int, list[Lost]] = {}
    rows = Snapshot.objects.filter(drive__in=drives).order_by("number").values_list("drive_id", "pk", "number")
    for drive, pk, number in rows:
        found.setdefault(drive, []).append(Lost(pk, number))
    return found


def before_drive_delete(drive: Drive) -> None:
    """Deletes the rows of a drive's snapshots; their bytes went with the drive."""
    drive.snapshots.all().delete()


def kept_in_pool(pool: int) -> int:
    """Answers what snapshots keep in a pool, at most: what was written since the oldest of each drive. One query."""
    drives = Snapshot.objects.filter(drive__pool=pool).values("drive").annotate(most=Max("written_since_bytes"))
    return sum(drives.values_list("most", flat=True))
