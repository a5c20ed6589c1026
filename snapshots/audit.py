"""Whether the layers of a drive, its snapshots and its hold fit together. `editor.audit` asks for each drive."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from editor.audit import TOO_LONG
from editor.deploys import is_deployed_now
from editor.models import Drive
from editor.storage import Found
from snapshots.models import Snapshot, State


def look(drive: Drive, found: Found, now: datetime) -> Iterator[str]:
    """Answers a sentence for each thing that does not fit."""
    rows = list(drive.snapshots.order_by("number"))
    for row in rows:
        if row.layer not in found.layers:
            yield f"the data of snapshot #{row.number} is missing in storage. Restore a backup, or delete the snapshot."
    if not drive.hold and not drive.reclaim_due:
        for layer in sorted(found.layers - _needed(drive, rows)):
            yield f"layer {layer} in storage belongs to no snapshot."
    in_work = [row for row in rows if row.state != State.READY]
    if drive.hold and not in_work and not is_deployed_now(drive):
        yield f"it is held (“{drive.hold}”), but nothing is in work."
    for row in in_work:
        if not drive.hold:
            yield f"snapshot #{row.number} is {row.get_state_display().lower()}, but the drive is not held."
        if now - row.requested_at > TOO_LONG:
            yield (
                f"snapshot #{row.number} is {row.get_state_display().lower()} since "
                f"{row.requested_at:%Y-%m-%d %H:%M}. Is a worker running?"
            )


def _needed(drive: Drive, rows: list[Snapshot]) -> set[int]:
    return {row.layer for row in rows} | ({drive.head_layer} if drive.head_layer else set())
