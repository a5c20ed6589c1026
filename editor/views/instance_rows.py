"""The instances of an InstanceArray as their list tells them: power, age of the reading, drives, what is going on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from editor import words
from editor.models import Drive, Instance, InstanceArray, Power, PowerCommand
from editor.rules import why_not_hard_power_off, why_not_power_on, why_not_reset, why_not_soft_shut_down
from editor.views.tags import numbers_that_stay
from editor.views.trouble import Trouble, trouble_of
from editor.words import elapsed


@dataclass(frozen=True)
class DriveLink:
    """A drive of an instance."""

    label: str
    url: str
    snapshots: int
    hold: str


@dataclass(frozen=True)
class Waiting:
    """A soft shutdown in progress; `overdue` once its time limit has passed."""

    since: str
    elapsed: str
    seconds: int
    limit: str
    limit_seconds: int
    overdue: bool


@dataclass(frozen=True)
class Row:
    """One instance. `why_not` are pairs of a command and what stands against it, "" for nothing."""

    pk: int
    number: int
    label: str
    topic: str
    power: Power
    seen: str
    seen_ago: str
    checking: bool
    """Whether its BMC is about to be read because somebody asked."""
    address: str
    drives: tuple[DriveLink, ...]
    why_not: tuple[tuple[str, str], ...]
    waiting: Waiting | None
    unknown: str
    trouble: Trouble | None
    said: str
    goes: bool
    """Whether the next deploy takes it away."""

    @property
    def has_note(self) -> bool:
        return bool(self.waiting or self.unknown or self.trouble)


def rows_of(array: InstanceArray, *, now: datetime, said: dict[int, str] | None = None) -> list[Row]:
    """Answers the rows in order, in two queries. `said` is what was answered to a command, by instance."""
    drives: dict[int, list[Drive]] = {}
    for drive in Drive.objects.filter(instance__instance_array=array).select_related("drive_array").order_by("pk"):
        drives.setdefault(drive.instance_id or 0, []).append(drive)
    instances = array.instances.select_related("server__trouble").order_by("number")
    rows = []
    stay = numbers_that_stay(array)
    for instance in instances:
        instance.instance_array = array
        goes = instance.number not in stay
        rows.append(_row(instance, drives.get(instance.pk, []), now, (said or {}).get(instance.pk, ""), goes=goes))
    return rows


def waiting_of(instance: Instance, now: datetime) -> Waiting | None:
    """Answers the soft shutdown in progress, if there is one."""
    server = instance.server
    if server is None or server.power_command != PowerCommand.SOFT_SHUTDOWN or server.power_asked_at is None:
        return None
    lasted, limit = now - server.power_asked_at, server.time_limit
    return Waiting(
        since=server.power_asked_at.isoformat(),
        elapsed=elapsed(lasted),
        seconds=max(0, int(min(lasted, limit).total_seconds())),
        limit=elapsed(limit),
        limit_seconds=int(limit.total_seconds()),
        overdue=server.power_overdue,
    )


def _row(instance: Instance, drives: list[Drive], now: datetime, said: str, *, goes: bool) -> Row:
    server, power = instance.server, instance.shown_power
    seen_at = server.power_seen_at if server else None
    return Row(
        pk=instance.pk,
        number=instance.number,
        label=instance.label,
        topic=server.topic if server else "",
        power=power,
        seen=seen_at.isoformat() if seen_at else "",
        seen_ago=words.seen(now - seen_at) if seen_at else "",
        checking=server is not None and server.look_asked_at is not None,
        address=instance.address or "",
        drives=tuple(
            DriveLink(drive.label, drive.get_absolute_url(), drive.snapshot_count, drive.hold) for drive in drives
        ),
        why_not=tuple((command.value, reason(instance, drives) or "") for command, reason in _REASONS.items()),
        waiting=waiting_of(instance, now) if power != Power.UNKNOWN else None,
        unknown=(server.power_error or "Its BMC has not answered yet.") if server and power == Power.UNKNOWN else "",
        trouble=trouble_of(server) if server else None,
        said=said,
        goes=goes,
    )


_REASONS: dict[PowerCommand, Callable[[Instance, Iterable[Drive]], str | None]] = {
    PowerCommand.SOFT_SHUTDOWN: lambda instance, _: why_not_soft_shut_down(instance),
    PowerCommand.POWER_ON: why_not_power_on,
    PowerCommand.RESET: why_not_reset,
    PowerCommand.HARD_POWER_OFF: lambda instance, _: why_not_hard_power_off(instance),
}


def why_not(command: PowerCommand, instance: Instance) -> str:
    """Answers what stands against a command, "" for nothing."""
    return _REASONS[command](instance, instance.drives.select_related("drive_array")) or ""
