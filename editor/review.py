"""What a deploy that begins now would do, for people to read before they confirm it. Only reads.

`editor.plan` decides what is done; this says it in words, with all that is destroyed (editor.losses), and knows what
stands against it. The `fingerprint` is the same as long as the deploy would do and destroy the same.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Count, Q

from editor.changes import Change, changes_of
from editor.design import AnyProduct, by_topic, design_of, products, real_of
from editor.losses import Losses, losses_of
from editor.models import (
    Deploy,
    DeployState,
    Drive,
    DriveArray,
    Infrastructure,
    Instance,
    InstanceArray,
    Power,
    Server,
)
from editor.plan import Kind, Place, State, Step, places_of, plan, wanted
from editor.pool_rules import after_colon, why_not_fill, why_not_work
from editor.quota import why_not_add_servers
from editor.room import choose_pool, pools_with_room
from editor.rules import why_not_use_drive
from editor.told import step_title


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
    destroys = losses_of(steps, drives, instances, real)
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
    yield from why_not_add_servers(infrastructure.pk, len(found.goal.instances) - len(found.real.instances))
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
    if server is not None and server.hold and not server.hold.startswith("Deploy "):
        return f"{instance.label} is busy: {server.hold} Wait until it is done."
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
        Server.objects.free()
        .filter(server_type__in=list(needed))
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


def _pools_at_rest(destroyed: Iterable[Drive]) -> Iterator[str]:
    """One sentence for each pool: there may be a thousand drives in it."""
    told: set[int] = set()
    for drive in destroyed:
        if drive.pool_id not in told and (reason := why_not_work(drive.pool)):
            yield f"{drive.label} cannot be destroyed: {after_colon(reason)}"
            told.add(drive.pool_id)


def _lack_of_room(steps: Iterable[Step], review: Review) -> Iterable[str]:
    goal, drives = review.goal, review.drives
    creating = [step for step in steps if step.kind == Kind.CREATE]
    growing = [step for step in steps if step.kind == Kind.GROW]
    yield from _pools_at_rest(drives[place] for place in places_of(steps, Kind.DESTROY) if place in drives)
    if not creating and not growing:
        return
    pools = pools_with_room()
    shut: set[int] = set()
    for step in growing:
        for number in step.numbers:
            drive = drives[step.of, number]
            pool = pools[drive.pool_id]
            if reason := why_not_fill(pool.row):
                if pool.row.pk not in shut:
                    yield f"{drive.label} cannot grow: {after_colon(reason)}"
                shut.add(pool.row.pk)
                continue
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
