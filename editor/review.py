"""What a deploy that begins now would do, for people to read before they confirm it. Only reads.

`editor.plan` decides what is done; this says it in words, names all that is destroyed, and knows what stands against
it. The `fingerprint` is the same as long as the deploy would do and destroy the same.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import Count, Q
from django.utils.module_loading import import_string

from editor.changes import Change, changes_of
from editor.design import AnyProduct, by_topic, design_of, products, real_of
from editor.models import (
    Deploy,
    DeployItem,
    DeployState,
    Drive,
    DriveArray,
    Infrastructure,
    Instance,
    InstanceArray,
    ItemState,
    Membership,
    Power,
    Role,
    Server,
)
from editor.plan import Kind, Place, State, Step, plan, wanted
from editor.room import choose_pool, pools_with_room
from editor.rules import why_not_use_drive
from editor.told import step_title
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


@dataclass(frozen=True)
class MustBeOff:
    """A server that is shut down for the deploy, and what is known of its power now."""

    pk: int
    label: str
    power: Power
    leaves: bool


@dataclass(frozen=True)
class ToldStep:
    """A step of the plan in words, with the positions (from 1) of those that come before it."""

    step: Step
    title: str
    after: tuple[int, ...]


@dataclass(frozen=True)
class Review:
    """What a deploy that begins now would do."""

    infrastructure: Infrastructure
    changes: tuple[Change, ...]
    destroys: Losses
    must_be_off: tuple[MustBeOff, ...]
    reasons: tuple[str, ...]
    """Why it cannot begin now; each a sentence."""
    steps: tuple[ToldStep, ...]
    fingerprint: str
    goal: State
    real: State
    rows: Mapping[str, AnyProduct]
    drives: Mapping[Place, Drive]
    """Those that the deploy touches."""
    instances: Mapping[Place, Instance]
    """Those that it shuts down or releases, with their servers."""

    def as_json(self) -> dict[str, Any]:
        """What was shown and confirmed, to be kept with the deploy."""
        return {
            "changes": [change.as_json() for change in self.changes],
            "destroys": self.destroys.title,
            "lines": [list(line) for line in self.destroys.lines],
            "written_bytes": self.destroys.written_bytes,
            "must_be_off": [one.label for one in self.must_be_off],
        }


def review(infrastructure: Infrastructure) -> Review:
    """Answers what a deploy would do now; as many queries for a thousand drives as for one."""
    rows = products(infrastructure)
    real = real_of(infrastructure, rows)
    goal = wanted(design_of(rows), real)
    steps = plan(goal, real)
    known = by_topic(rows)
    drives = _drives(steps, real)
    instances = _instances(steps)
    destroys = _losses(steps, drives, instances, real)
    must_be_off = tuple(
        MustBeOff(one.pk, one.label, one.shown_power, place not in goal.instances)
        for place in places_of(steps, Kind.SHUT_DOWN)
        if (one := instances.get(place))
    )
    found = Review(
        infrastructure=infrastructure,
        changes=tuple(changes_of(rows)),
        destroys=destroys,
        must_be_off=must_be_off,
        reasons=(),
        steps=_told(steps, known, goal, destroys),
        fingerprint=_fingerprint(goal, steps, destroys),
        goal=goal,
        real=real,
        rows=known,
        drives=drives,
        instances=instances,
    )
    return replace(found, reasons=tuple(_reasons(found)))


def _told(steps: tuple[Step, ...], rows: Mapping[str, AnyProduct], goal: State, lost: Losses) -> tuple[ToldStep, ...]:
    positions = {step.key: position for position, step in enumerate(steps, 1)}
    snapshots: Counter[str] = Counter()
    for drive in lost.drives:
        snapshots[drive.place[0]] += len(drive.snapshots)
    return tuple(
        ToldStep(
            step,
            step_title(step, rows, goal, snapshots=snapshots[step.of]),
            tuple(positions[key] for key in step.after),
        )
        for step in steps
    )


def _fingerprint(goal: State, steps: Iterable[Step], lost: Losses) -> str:
    said = {
        "goal": goal.products,
        "sizes": sorted([*place, drive.size_mb, drive.instance] for place, drive in goal.drives.items()),
        "steps": [[step.key, step.numbers] for step in steps],
        "lost": [[drive.pk, sorted(one.pk for one in drive.snapshots)] for drive in lost.drives],
        "servers": sorted(server.pk for server in lost.servers),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]


# ── Rows that the plan names ─────────────────────────────────────────────────


def places_of(steps: Iterable[Step], *kinds: Kind) -> list[Place]:
    """Answers the places that steps of these kinds name, in order, each once."""
    return list(dict.fromkeys((step.of, number) for step in steps if step.kind in kinds for number in step.numbers))


def _pk(topic: str) -> int:
    return int(topic.rpartition("-")[2])


def _in_places(field: str, places: Iterable[Place]) -> Q:
    """A condition for rows at these places; `field` names their array's column."""
    numbers: dict[str, list[int]] = {}
    for topic, number in places:
        numbers.setdefault(topic, []).append(number)
    found = Q(pk__in=[])
    for topic, own in numbers.items():
        found |= Q(**{field: _pk(topic), "number__in": own})
    return found


def _drives(steps: Iterable[Step], real: State) -> dict[Place, Drive]:
    places = places_of(steps, Kind.DETACH, Kind.GROW, Kind.ATTACH, Kind.DESTROY)
    rows = Drive.objects.filter(_in_places("drive_array_id", [place for place in places if place in real.drives]))
    return {
        (f"drive-array-{drive.drive_array_id}", drive.number): drive
        for drive in rows.select_related("drive_array", "pool").order_by("pk")
    }


def _instances(steps: Iterable[Step]) -> dict[Place, Instance]:
    places = places_of(steps, Kind.SHUT_DOWN, Kind.RELEASE)
    rows = Instance.objects.filter(_in_places("instance_array_id", places), server__isnull=False)
    return {
        (f"instance-array-{one.instance_array_id}", one.number): one
        for one in rows.select_related("instance_array", "server").order_by("instance_array", "number")
    }


def lost_with(drives: Collection[int]) -> dict[int, list[Lost]]:
    """Answers what else is lost with these drives, by drive id, in order of the numbers."""
    found: dict[int, list[Lost]] = {pk: [] for pk in drives}
    for dotted in settings.LOST_WITH_DRIVES:
        ask: LostWith = import_string(dotted)
        for pk, lost in ask(drives).items():
            found[pk] += lost
    return {pk: sorted(lost, key=lambda one: one.number) for pk, lost in found.items()}


def _losses(
    steps: Iterable[Step], drives: Mapping[Place, Drive], instances: Mapping[Place, Instance], real: State
) -> Losses:
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


# ── What stands against it ───────────────────────────────────────────────────


def _reasons(found: Review) -> Iterable[str]:
    infrastructure, steps = found.infrastructure, [told.step for told in found.steps]
    if Deploy.objects.filter(infrastructure=infrastructure, state=DeployState.RUNNING).exists():
        yield f"{infrastructure} is being deployed already. Wait until that ends."
        return  # its own holds would be told as well
    if not steps:
        yield "There is nothing to deploy: all that is drawn is real."
        return
    yield from _lack_of_servers(steps, found.rows)
    yield from _lack_of_quota(infrastructure, found.goal, found.real)
    yield from _lack_of_room(steps, found)
    for drive in found.drives.values():
        if reason := why_not_use_drive(drive):
            yield reason
    for instance in found.instances.values():
        if reason := why_not_take_down(instance):
            yield reason


def why_not_take_down(instance: Instance) -> str | None:
    """Whether the deploy may take over the power of an instance's server."""
    server = instance.server
    if server is None:
        return None
    if server.power == Power.UNKNOWN:
        reason = f" {server.power_error}" if server.power_error else ""
        return f"Power state of {instance.label} is unknown.{reason} It must be off for this deploy."
    return why_not_command(instance)


def why_not_command(instance: Instance) -> str | None:
    """Whether the deploy may give the instance's server a command: not while somebody else's is in progress."""
    server = instance.server
    if server is None or not server.power_command:
        return None
    return f"{instance.label} is busy: {server.get_power_command_display()} is in progress. Wait until it is done."


def _lack_of_servers(steps: Iterable[Step], rows: Mapping[str, AnyProduct]) -> Iterable[str]:
    needed: Counter[int] = Counter()
    labels: dict[int, str] = {}
    for step in steps:
        array = rows.get(step.of)
        if step.kind == Kind.ALLOCATE and isinstance(array, InstanceArray):
            needed[array.server_type_id] += len(step.numbers)
            labels[array.server_type_id] = array.server_type.label
    free = dict(
        Server.objects.filter(instance__isnull=True, server_type__in=list(needed))
        .values_list("server_type")
        .annotate(Count("pk"))
        .order_by()
    )
    for server_type, number in needed.items():
        there = free.get(server_type, 0)
        if there < number:
            servers, are = ("server", "is") if number == 1 else ("servers", "are")
            yield (
                f"{number} more {servers} of type {labels[server_type]} {are} needed, "
                f"{there or 'none'} {'is' if there < 2 else 'are'} free. "
                "Ask an administrator for more, or choose another type."
            )


def _lack_of_quota(infrastructure: Infrastructure, goal: State, real: State) -> Iterable[str]:
    """Servers of all infrastructures of an owner count; the ones that leave are free for others afterwards."""
    added = len(goal.instances) - len(real.instances)
    if added <= 0:
        return
    owners = Membership.objects.filter(
        infrastructure=infrastructure, role=Role.OWNER, user__server_quota__isnull=False
    ).select_related("user")
    for owner in [membership.user for membership in owners]:
        owned = Membership.objects.filter(user=owner, role=Role.OWNER).values("infrastructure")
        used = Instance.objects.filter(server__isnull=False, instance_array__infrastructure__in=owned).count()
        # Deploys that run elsewhere get theirs one after the other.
        used += DeployItem.objects.filter(
            step__kind=Kind.ALLOCATE,
            state__in=(ItemState.WAITING, ItemState.RUNNING),
            step__deploy__state=DeployState.RUNNING,
            step__deploy__infrastructure__in=owned,
        ).count()
        if used + added > (owner.server_quota or 0):
            yield (
                f"{owner} may have {counted(owner.server_quota or 0, 'server')}; with this deploy it would be "
                f"{used + added}. Ask an administrator for a higher quota, or draw fewer."
            )


def _lack_of_room(steps: Iterable[Step], review: Review) -> Iterable[str]:
    goal, drives = review.goal, review.drives
    creating = [step for step in steps if step.kind == Kind.CREATE]
    growing = [step for step in steps if step.kind == Kind.GROW]
    if not creating and not growing:
        return
    pools = pools_with_room()
    for step in growing:
        for number in step.numbers:
            drive = drives[step.of, number]
            pool = pools[drive.pool_id]
            more_mb = goal.drives[step.of, number].size_mb - drive.size_mb
            if reason := pool.why_not_take(more_mb):
                yield f"{drive.label} cannot grow: {reason}"
            pool.used_mb += more_mb
    for step in creating:
        array = review.rows[step.of]
        assert isinstance(array, DriveArray)
        for number in step.numbers:
            size_mb = goal.drives[step.of, number].size_mb
            found = choose_pool(pools.values(), array.storage_type, size_mb)
            if isinstance(found, str):
                yield f"{array.label}-{number} cannot be created: {found}"
                break
            found.used_mb += size_mb
