"""What the reader asked for and got: told to them for a minute, in the words of the Event that says it came true."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from editor.models import Drive, Event, Result, User
from editor.words import counted
from snapshots.rules import MAX_PER_DRIVE

TOLD_FOR = timedelta(minutes=1)
"""How long the page says that what its reader asked for is done."""


@dataclass(frozen=True)
class Outcome:
    """What the reader asked for and got, told for a minute. `kind` is created, reverted or deleted."""

    kind: str
    number: int
    text: str
    event: int


def outcome_of(event: Event | None, drive: Drive, count: int) -> Outcome | None:
    """Answers what to tell about an Event that the reader caused; null when it needs no telling."""
    if event is None or event.result != Result.DONE:
        return None
    if found := re.match(r"created snapshot #(\d+)", event.verb):
        replaced = re.fullmatch(r"Replaced (#\d+)\.", event.detail)
        free = MAX_PER_DRIVE - count
        rest = (
            f"{replaced[1]} was deleted."
            if replaced
            else {0: "All 5 slots are in use now.", 1: "One slot is still free."}.get(
                free, f"{free} slots are still free."
            )
        )
        return Outcome(
            "created", int(found[1]), f"Snapshot #{found[1]} created at {event.at:%H:%M:%S}. {rest}", event.pk
        )
    if event.verb == "reverted" and (found := re.match(r"To #(\d+)(.*)", event.text)):
        deleted = counted(found[2].count("#"), "snapshot") if "#" in found[2] else "No snapshot"
        return Outcome(
            "reverted", int(found[1]), f"{drive.label} reverted to #{found[1]}. {deleted} deleted.", event.pk
        )
    if found := re.match(r"deleted snapshot #(\d+)", event.verb):
        return Outcome("deleted", int(found[1]), f"Snapshot #{found[1]} deleted.", event.pk)
    return None


def last_event_of(drive: Drive, by: User, now: datetime) -> Event | None:
    """Answers the last thing that came true for this reader on this drive, not longer ago than it is told for."""
    events = Event.objects.filter(
        infrastructure=drive.drive_array.infrastructure_id,
        actor=by,
        url=drive.get_absolute_url(),
        at__gt=now - TOLD_FOR,
        result__in=[Result.DONE, Result.FAILED],
    )
    found: Event | None = events.first()
    return found
