"""What may be done with snapshots, said once."""

from __future__ import annotations

from editor.models import Drive, Instance, Power
from editor.pool_rules import why_not_fill, why_not_work
from editor.rules import why_not_logged_out, why_not_use_drive
from snapshots.models import Snapshot, State

MAX_PER_DRIVE = 5
"""The sixth deletes the oldest, once it was made itself."""


def why_not_create(drive: Drive) -> str | None:
    """A snapshot can be taken while the server runs; the drive must exist and be free, its pool have room."""
    if drive.head_layer is None:
        return f"{drive.label} does not exist yet. Deploy it first."
    return why_not_use_drive(drive) or why_not_fill(drive.pool)


def why_not_delete(snapshot: Snapshot) -> str | None:
    """One that is being made, reverted to or replaced is left alone until that is done, as is a pool in maintenance."""
    return why_not_use_drive(snapshot.drive) or why_not_work(snapshot.drive.pool)


def why_not_revert(snapshot: Snapshot) -> str | None:
    """The drive must be free and its server known to be off; a drive on no server needs none of that.

    Two witnesses must agree that it is off: its BMC, and the iSCSI target it would be logged in to. This asks what is
    stored of both. The worker asks them themselves right before it acts.
    """
    if reason := why_not_use_drive(snapshot.drive) or why_not_work(snapshot.drive.pool):
        return reason
    if snapshot.state != State.READY:
        return f"#{snapshot.number} is not finished yet. Try again in a moment."
    return why_not_off(snapshot.drive.instance) or why_not_logged_out(snapshot.drive)


def why_not_off(instance: Instance | None) -> str | None:
    """Whether the server of a drive could still write to it. An instance without a server counts as off."""
    if instance is None or instance.server is None:
        return None
    match instance.shown_power:
        case Power.OFF if not instance.server.power_command:
            return None
        case Power.UNKNOWN:
            return f"Power state of {instance.label} is unknown. Reverting waits until it is known to be off."
        case Power.SHUTTING_DOWN:
            return f"{instance.label} is shutting down. Reverting waits for it."
        case Power.POWERING_ON:
            return f"{instance.label} is powering on. Shut it down first: reverting needs it off."
        case _:
            return (
                f"Reverting needs {instance.label} off. "
                "A running server would keep writing while the drive is replaced."
            )


def deleted_next(snapshots: list[Snapshot]) -> Snapshot | None:
    """Which one goes when another is made: the oldest of a full drive, else none. Any order is fine."""
    if len(snapshots) < MAX_PER_DRIVE:
        return None
    return min(snapshots, key=lambda snapshot: snapshot.number)
