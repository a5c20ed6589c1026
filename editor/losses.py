"""What a deploy destroys: servers that leave, drives, and what is lost with these."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from django.conf import settings
from django.utils.module_loading import import_string

from editor.models import Drive, Instance
from editor.plan import Kind, Place, State, Step, places_of
from editor.words import counted, listed, numbered, size


class Lost(NamedTuple):
    """Something that is lost with a drive: a snapshot, by its id and its number."""

    pk: int
    number: int


LostWith = Callable[[Collection[int]], Mapping[int, list[Lost]]]
"""Answers by drive id what is lost with these drives; settings.LOST_WITH_DRIVES lists such functions."""


@dataclass(frozen=True)
class LostDrive:
    """A drive that is destroyed, with all its snapshots."""

    pk: int
    place: Place
    label: str
    instance: Place | None
    written_bytes: int
    snapshots: tuple[Lost, ...]

    @property
    def text(self) -> str:
        """ "148 GB, 4 snapshots (#2 to #5)"."""
        if not self.snapshots:
            return f"{size(self.written_bytes)}, no snapshots"
        numbers = numbered([one.number for one in self.snapshots], sign="#")
        return f"{size(self.written_bytes)}, {counted(len(self.snapshots), 'snapshot')} ({numbers})"


@dataclass(frozen=True)
class LostServer:
    """An instance that ends: its server is free for others afterwards."""

    pk: int
    place: Place
    label: str


class Named(NamedTuple):
    """A line of a list: what it is about, and what is said of it."""

    name: str
    text: str


@dataclass(frozen=True)
class Losses:
    """All that is destroyed; false when nothing is."""

    servers: tuple[LostServer, ...] = ()
    drives: tuple[LostDrive, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.servers or self.drives)

    @property
    def snapshots(self) -> int:
        return sum(len(drive.snapshots) for drive in self.drives)

    @property
    def written_bytes(self) -> int:
        return sum(drive.written_bytes for drive in self.drives)

    @property
    def title(self) -> str:
        """ "2 servers, 2 drives and 7 snapshots"; empty when nothing is destroyed."""
        amounts = ((len(self.servers), "server"), (len(self.drives), "drive"), (self.snapshots, "snapshot"))
        return listed([counted(number, thing) for number, thing in amounts if number])

    @property
    def lines(self) -> tuple[Named, ...]:
        """One for each server with its drives, then one for each drive of a server that stays, or of none."""
        with_server = {server.place for server in self.servers}
        lines = []
        for server in self.servers:
            own = [f"drive {drive.label}, {drive.text}" for drive in self.drives if drive.instance == server.place]
            lines.append(Named(server.label, "; ".join(["off at deploy", *own])))
        lines += [Named(drive.label, drive.text) for drive in self.drives if drive.instance not in with_server]
        return tuple(lines)


def lost_with(drives: Collection[int]) -> dict[int, list[Lost]]:
    """Answers what else is lost with these drives, by drive id, in order of the numbers."""
    found: dict[int, list[Lost]] = {pk: [] for pk in drives}
    for dotted in settings.LOST_WITH_DRIVES:
        ask: LostWith = import_string(dotted)
        for pk, lost in ask(drives).items():
            found[pk] += lost
    return {pk: sorted(lost, key=lambda one: one.number) for pk, lost in found.items()}


def losses_of(
    steps: Iterable[Step], drives: Mapping[Place, Drive], instances: Mapping[Place, Instance], real: State
) -> Losses:
    """Answers all that these steps destroy, of the drives and instances that they name; asks what goes with them."""
    gone = {
        kind: [(step.of, number) for step in steps if step.kind == kind for number in step.numbers] for kind in Kind
    }
    rows = {place: drives[place] for place in gone[Kind.DESTROY] if place in drives}
    snapshots = lost_with([drive.pk for drive in rows.values()])
    return Losses(
        servers=tuple(
            LostServer(instances[place].pk, place, instances[place].label)
            for place in places_of(steps, Kind.RELEASE)
            if place in instances
        ),
        drives=tuple(
            LostDrive(
                pk=drive.pk,
                place=place,
                label=drive.label,
                instance=real.drives[place].instance,
                written_bytes=drive.used_bytes,
                snapshots=tuple(snapshots[drive.pk]),
            )
            for place, drive in rows.items()
        ),
    )
