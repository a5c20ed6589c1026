"""What the Snapshots tab of a drive shows, computed from rows: slots, gate, history."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from editor.models import Drive, Instance, Power, PowerCommand
from editor.pool_rules import why_not_fill, why_not_work
from editor.rules import why_not_logged_out, why_not_power_on, why_not_soft_shut_down, why_not_use_drive
from editor.views.pools import note_of
from editor.words import age, ago, elapsed, moment, percent_of, seen, up_to
from snapshots.models import Snapshot, State
from snapshots.outcomes import Outcome
from snapshots.rules import MAX_PER_DRIVE, deleted_next, why_not_create, why_not_delete, why_not_off


@dataclass(frozen=True)
class Slot:
    """One of the five places of the strip. `kind` is used, out, new, busy or free."""

    number: int
    kind: str
    said: str
    at: str = ""


@dataclass(frozen=True)
class Row:
    """One snapshot in the history.

    `state` is "" when it is ready. `why_not_revert` and `why_not_change` are sentences, or "" when nothing stands
    against it; `because` is the id of the element that says the first of them to the reader.
    """

    snapshot: Snapshot
    number: int
    note: str
    state: str
    moment: str
    iso: str
    ago: str
    author: str
    since: str
    since_percent: int
    is_new: bool
    why_not_revert: str
    why_not_change: str
    because: str


@dataclass(frozen=True)
class Gate:
    """Whether the server lets the drive be reverted, and the way out.

    `kind` names the shape: on, down, overdue, up, unknown, off or none. `command` is what its button asks for,
    `why_not_command` why it cannot be asked.
    """

    kind: str
    heading: str
    text: str = ""
    power: str = ""
    command: str = ""
    button: str = ""
    why_not_command: str = ""
    asked_at: str = ""
    elapsed: str = ""
    limit: str = ""
    limit_seconds: int = 0
    elapsed_seconds: int = 0
    array: str = ""
    array_url: str = ""
    seen_at: str = ""
    seen_ago: str = ""
    seen_topic: str = ""


@dataclass(frozen=True)
class Create:
    """The button that makes a snapshot, and what stands beside it. `because` is the id of what explains it."""

    label: str
    busy: bool
    why_not: str
    because: str
    victim: Snapshot | None
    victim_said: str
    victim_at: str


@dataclass(frozen=True)
class Tab:
    """All of it. `working` says that the page should look again by itself."""

    create: Create
    slots: list[Slot]
    rows: list[Row]
    gate: Gate
    outcome: Outcome | None
    used: int
    free: int
    head_said: str
    reverting: str
    working: bool
    now: str
    key: UUID
    next_key: UUID


def tab_of(
    drive: Drive,
    snapshots: list[Snapshot],
    *,
    beside: list[Drive],
    outcome: Outcome | None,
    why_not_operate: str | None,
    now: datetime,
) -> Tab:
    """Answers the tab for a reader who may not operate for the given reason, if any. Asks the database nothing.

    `snapshots` are all of the drive, newest first, with `created_by` and `replaces`; the drive comes with its
    instance, server and InstanceArray. `beside` are all drives of that instance: while one of them is held, the
    server cannot be powered on.
    """
    in_work = next((one for one in snapshots if one.state != State.READY), None)
    making = in_work if in_work and in_work.state == State.CREATING else None
    leaving = making.replaces if making else None
    reverting = in_work if in_work and in_work.state == State.REVERTING else None
    # The list never shows six: while the sixth is made, the one that goes for it is only in the strip.
    shown = [one for one in snapshots if leaving is None or one.pk != leaving.pk]
    placed = [one for one in snapshots if leaving is None or one is not making]
    operate = why_not_operate or ""
    rest = why_not_work(drive.pool) or ""
    off = why_not_off(drive.instance) or why_not_logged_out(drive) or ""

    rows = []
    for one in shown:
        one.drive = drive
        # In this order, because the sentence that can be read on the page is the first that applies.
        if operate:
            why, because = operate, "why-not-operate"
        elif drive.hold:
            why, because = why_not_use_drive(drive) or "", "reverting" if reverting else "create-hint"
        elif rest:
            why, because = rest, note_of(drive.pool.topic)
        else:
            why, because = off, "gate"
        rows.append(
            Row(
                snapshot=one,
                number=one.number,
                note=one.note,
                state={State.CREATING: "Creating…", State.REVERTING: "Reverting…"}.get(State(one.state), ""),
                moment=moment(one.taken_at) if one.taken_at else "",
                iso=one.taken_at.isoformat() if one.taken_at else "",
                ago=ago(now - one.taken_at) if one.taken_at else "",
                author=str(one.created_by or "The editor"),
                since=up_to(one.written_since_bytes),
                since_percent=percent_of(one.written_since_bytes, drive.size_bytes),
                is_new=bool(outcome and outcome.kind == "created" and outcome.number == one.number),
                why_not_revert=why,
                why_not_change=operate or (why_not_delete(one) or ""),
                because=because if why else "",
            )
        )

    newest = next((one for one in snapshots if one.state != State.CREATING), None)
    return Tab(
        create=_create(drive, snapshots, making, operate),
        slots=_slots(placed, leaving, outcome, now),
        rows=rows,
        gate=_seen(_gate(drive, operate, beside, now), drive.instance, now),
        outcome=outcome,
        used=len(placed),
        free=MAX_PER_DRIVE - len(placed),
        head_said=_since(newest, drive) if newest else "",
        reverting=f"#{reverting.number}" if reverting else "",
        working=bool(in_work or drive.hold),
        now=now.isoformat(),
        key=uuid4(),
        next_key=uuid4(),
    )


def _since(newest: Snapshot, drive: Drive) -> str:
    """Answers what was written since a snapshot; and as of when, while somebody goes on writing."""
    said = f"{up_to(newest.written_since_bytes)} written since #{newest.number}"
    if drive.sessions and drive.observed_at:
        said += f", counted at {drive.observed_at:%H:%M:%S}"
    return said


def _create(drive: Drive, snapshots: list[Snapshot], making: Snapshot | None, operate: str) -> Create:
    victim = making.replaces if making else deleted_next(snapshots)
    why, full = why_not_create(drive) or "", why_not_fill(drive.pool)
    label = f"Create snapshot, delete #{victim.number}" if victim else "Create snapshot"
    return Create(
        label="Creating…" if making else label,
        busy=making is not None,
        why_not=operate or why,
        because="why-not-operate" if operate else note_of(drive.pool.topic) if why and why == full else "create-hint",
        victim=None if making else victim,
        victim_said=f"#{victim.number} {victim.note}".rstrip() if victim else "",
        victim_at=moment(victim.taken_at) if victim and victim.taken_at else "",
    )


def _slots(placed: list[Snapshot], leaving: Snapshot | None, outcome: Outcome | None, now: datetime) -> list[Slot]:
    out = deleted_next(placed)
    slots = []
    for one in sorted(placed, key=lambda snapshot: snapshot.number):
        at = one.taken_at.isoformat() if one.taken_at else ""
        if leaving and one.pk == leaving.pk:
            slots.append(Slot(one.number, "out", "being deleted"))
        elif one.state == State.CREATING:
            slots.append(Slot(one.number, "busy", "creating"))
        elif not leaving and out and one.pk == out.pk:
            slots.append(Slot(one.number, "out", "deleted next"))
        else:
            is_new = outcome and outcome.kind == "created" and outcome.number == one.number
            slots.append(Slot(one.number, "new" if is_new else "used", age(now - (one.taken_at or now)), at))
    return slots + [Slot(0, "free", "free")] * (MAX_PER_DRIVE - len(slots))


def _seen(gate: Gate, instance: Instance | None, now: datetime) -> Gate:
    """Answers the gate with the age of what it goes by."""
    server = instance.server if instance else None
    if server is None or server.power_seen_at is None:
        return gate
    at = server.power_seen_at
    return replace(gate, seen_at=at.isoformat(), seen_ago=seen(now - at), seen_topic=server.topic)


def _gate(drive: Drive, operate: str, drives: list[Drive], now: datetime) -> Gate:
    instance = drive.instance
    if instance is None:
        return Gate("none", "No server uses this drive.", "You can revert.")
    server = instance.server
    if server is None:
        return Gate("none", f"{instance.label} has no server yet and counts as off.", "You can revert.")
    array, array_url = instance.instance_array.label, instance.get_absolute_url()
    reason = why_not_off(instance) or ""
    if not reason and (logged_in := why_not_logged_out(drive)):
        return Gate("down", f"The BMC says that {instance.label} is off.", logged_in, power=Power.OFF)
    if not reason:
        why = operate or why_not_power_on(instance, drives) or ""
        return Gate(
            "off",
            f"{instance.label} is off.",
            "You can revert.",
            power=Power.OFF,
            command=PowerCommand.POWER_ON,
            button=f"Power on {instance.label}",
            why_not_command=why,
        )
    shown = instance.shown_power
    if shown == Power.UNKNOWN:
        return Gate(
            "unknown",
            reason,
            server.power_error or "Its BMC did not answer.",
            power=shown,
            array=array,
            array_url=array_url,
        )
    command = server.power_command
    if shown == Power.ON and not command:
        return Gate(
            "on",
            reason.partition(". ")[0],
            "A running server would keep writing while the drive is replaced. Snapshots can be created at any time.",
            power=shown,
            command=PowerCommand.SOFT_SHUTDOWN,
            button=f"Shut down {instance.label} first",
            why_not_command=operate or why_not_soft_shut_down(instance) or "",
        )
    going_down = command in (PowerCommand.SOFT_SHUTDOWN, PowerCommand.HARD_POWER_OFF) or shown == Power.SHUTTING_DOWN
    asked, deadline = server.power_asked_at, server.power_deadline
    timed = command == PowerCommand.SOFT_SHUTDOWN and asked is not None and deadline is not None
    limit = deadline - asked if timed and asked and deadline else timedelta()
    spent = min(now - asked, limit) if asked else timedelta()
    waiting = Gate(
        "down" if going_down else "up",
        f"{instance.label} is shutting down. Reverting waits for it." if going_down else reason,
        power=shown,
        asked_at=asked.isoformat() if asked and command else "",
        elapsed=elapsed(now - asked) if asked and command else "",
        limit=elapsed(limit) if timed else "",
        limit_seconds=int(limit.total_seconds()),
        elapsed_seconds=max(0, int(spent.total_seconds())),
        array=array,
        array_url=array_url,
    )
    if not (timed and server.power_overdue):
        return waiting
    return replace(
        waiting,
        kind="overdue",
        heading=f"{instance.label} is still on after {elapsed(limit)}",
        text="The operating system has not finished stopping. Keep waiting if it may be saving data. "
        "Forcing it off cuts the power: data not yet written to disk is lost.",
        command="keep_waiting",
        button="Keep waiting",
        why_not_command=operate,
    )
