"""What people do. Each action locks the rows it decides on, asks the rule, writes, and records an Event.

All raise `Refused` with a sentence when a rule says no; nothing was changed then. None waits for hardware: the
reconcile worker does what was asked for here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import TypeVar
from uuid import UUID, uuid5

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from editor import canvas
from editor.design import numbers_shown
from editor.models import (
    Drive,
    DriveArray,
    Event,
    Infrastructure,
    Instance,
    InstanceArray,
    Membership,
    Network,
    Power,
    PowerCommand,
    Result,
    Server,
    Told,
    User,
)
from editor.rules import (
    Refused,
    why_not_hard_power_off,
    why_not_keep_waiting,
    why_not_look,
    why_not_operate,
    why_not_power_on,
    why_not_reset,
    why_not_soft_shut_down,
)

PLACE_LIMIT_PX = 100_000
"""Cards stay within this distance of the origin: enough for any drawing, and safe for every column and renderer."""

C = TypeVar("C", Network, InstanceArray, DriveArray)

MOVED_TOGETHER = 8
"""When more cards than this are moved, the whole canvas is drawn again: cheaper than each card by itself."""

_VERBS = {
    PowerCommand.SOFT_SHUTDOWN: "asked for a soft shutdown of",
    PowerCommand.POWER_ON: "asked to power on",
    PowerCommand.HARD_POWER_OFF: "asked for a hard power off of",
    PowerCommand.RESET: "asked for a reset of",
}


def role_of(user: User, infrastructure: int) -> str | None:
    """Answers the user's role in an infrastructure, null when not a member."""
    return Membership.objects.filter(user=user, infrastructure=infrastructure).values_list("role", flat=True).first()


def demand(reason: str | None) -> None:
    """Raises Refused with the reason, if there is one."""
    if reason:
        raise Refused(reason)


def demand_operator(user: User, infrastructure: int, *, or_permission: str = "") -> None:
    """Raises Refused unless the user is operator or owner there.

    Staff with the named Django permission may do the same without being a member: that is how the admin site
    goes through the actions that everybody goes through. What has no such permission is for members alone.
    """
    if or_permission and user.is_staff and user.has_perm(or_permission):
        return
    demand(why_not_operate(role_of(user, infrastructure)))


def own_key(key: UUID | None, wish: str, by: User) -> UUID | None:
    """Answers the key of one wish of one person, from the key of the form that it was sent with.

    One form may hold several wishes, and keys come from browsers: what another person wishes, or what is wished
    elsewhere, with the same key is never taken for this. `Event.request_key` is unique by that.
    """
    return uuid5(key, f"{wish} {by.pk}") if key else None


# ── Power ────────────────────────────────────────────────────────────────────


def soft_shut_down(instance: Instance, *, by: User, key: UUID | None = None, limit_seconds: int | None = None) -> None:
    """Asks the operating system to stop. It is never forced by itself: after the time limit the person decides.

    Without a limit the installation's counts.
    """
    _ask(
        instance,
        PowerCommand.SOFT_SHUTDOWN,
        lambda fresh, _: why_not_soft_shut_down(fresh),
        by=by,
        key=key,
        limit_seconds=limit_seconds,
    )


def power_on(instance: Instance, *, by: User, key: UUID | None = None) -> None:
    """Asks for power on; refused while one of the instance's drives is held."""
    _ask(instance, PowerCommand.POWER_ON, why_not_power_on, by=by, key=key)


def hard_power_off(instance: Instance, *, by: User, key: UUID | None = None) -> None:
    """Cuts the power, also in the middle of a soft shutdown. What the server has not written to disk is lost."""
    _ask(instance, PowerCommand.HARD_POWER_OFF, lambda fresh, _: why_not_hard_power_off(fresh), by=by, key=key)


def reset(instance: Instance, *, by: User, key: UUID | None = None) -> None:
    """Restarts at once, without a clean shutdown."""
    _ask(instance, PowerCommand.RESET, why_not_reset, by=by, key=key)


def keep_waiting(instance: Instance, *, by: User) -> None:
    """Gives a soft shutdown its whole time limit once more and asks the operating system again.

    Nothing happens before that limit has passed: to a double click, or to the second of two people.
    """
    with transaction.atomic():
        fresh, server, _ = _locked(instance)
        demand_operator(by, fresh.instance_array.infrastructure_id)
        demand(why_not_keep_waiting(fresh))
        assert server is not None
        if not server.power_overdue:
            return
        limit, before = server.time_limit, server.shown_power
        server.power_asked_at = timezone.now()
        server.power_deadline = server.power_asked_at + limit
        server.power_overdue = False
        server.power_sent_at = None
        server.save(update_fields=["power_asked_at", "power_deadline", "power_overdue", "power_sent_at"])
        _record_power(fresh, server, "keeps waiting for", before=before, by=by)


def leave_on(instance: Instance, *, by: User) -> None:
    """Gives up a soft shutdown: nothing more is expected of the server. It may still go off by itself."""
    with transaction.atomic():
        fresh, server, _ = _locked(instance)
        demand_operator(by, fresh.instance_array.infrastructure_id)
        demand(why_not_keep_waiting(fresh))
        assert server is not None
        before = server.shown_power
        server.power_command = ""
        server.power_overdue = False
        server.save(update_fields=["power_command", "power_overdue"])
        _record_power(fresh, server, "stopped waiting for", before=before, by=by)


def look_now(array: InstanceArray, instances: Iterable[Instance] | None = None, *, by: User) -> int:
    """Has the BMCs of these instances, or of all of the array, read at once; answers how many.

    Whoever sees the array may ask: nothing is changed by it. Those that wait to be read are not asked twice.
    """
    with transaction.atomic():
        demand(why_not_look(role_of(by, array.infrastructure_id)))
        asked = Server.objects.filter(instance__instance_array=array)
        if instances is not None:
            asked = asked.filter(instance__in=[one.pk for one in instances])
        # In everybody's order, and one write for all of them.
        pks = list(asked.select_for_update(of=("self",)).order_by("pk").values_list("pk", flat=True))
        if Server.objects.filter(pk__in=pks, look_asked_at=None).update(look_asked_at=timezone.now()):
            Event.objects.record(array.infrastructure_id, by=by, result=Result.SILENT, topics=[array.topic])
    return len(pks)


def dismiss_trouble(thing: Instance | Drive, *, by: User) -> None:
    """Takes a failure of an instance's server, or of a drive, off everybody's page; it stays in the activity log.

    Nothing happens when there is none any more.
    """
    if isinstance(thing, Drive):
        infrastructure, topics = thing.drive_array.infrastructure_id, [thing.topic]
    else:
        infrastructure, topics = thing.instance_array.infrastructure_id, power_topics(thing)
    with transaction.atomic():
        demand_operator(by, infrastructure)
        if isinstance(thing, Drive):
            dismissed = Drive.objects.filter(pk=thing.pk, trouble__isnull=False).update(trouble=None)
        else:
            dismissed = Server.objects.filter(instance=thing, trouble__isnull=False).update(trouble=None)
        if dismissed:
            Event.objects.record(infrastructure, by=by, result=Result.SILENT, topics=topics)


def power_topics(instance: Instance) -> list[str]:
    """Who looks again when the power of an instance changes: its own array and the drives it uses."""
    topics = [instance.instance_array.topic, f"infrastructure-{instance.instance_array.infrastructure_id}"]
    if instance.server_id:
        topics.append(f"server-{instance.server_id}")
    topics += [f"drive-{pk}" for pk in instance.drives.order_by("pk").values_list("pk", flat=True)]
    return topics


def _ask(
    instance: Instance,
    command: PowerCommand,
    why_not: Callable[[Instance, Iterable[Drive]], str | None],
    *,
    by: User,
    key: UUID | None,
    limit_seconds: int | None = None,
) -> None:
    # One form may name many instances.
    key = own_key(key, f"{command} {instance.pk}", by)
    with transaction.atomic():
        fresh, server, drives = _locked(instance)
        if key and Event.objects.filter(request_key=key).exists():
            return
        demand_operator(by, fresh.instance_array.infrastructure_id)
        demand(why_not(fresh, drives))
        assert server is not None
        now, before = timezone.now(), server.shown_power
        server.power_command = command
        server.power_asked_at = now
        server.power_asked_by = by
        server.power_sent_at = None
        server.power_deadline = now + timedelta(seconds=limit_seconds or settings.SHUTDOWN_SECONDS)
        server.power_overdue = False
        server.trouble = None
        server.save(
            update_fields=[
                "power_command",
                "power_asked_at",
                "power_asked_by",
                "power_sent_at",
                "power_deadline",
                "power_overdue",
                "trouble",
            ]
        )
        forced = command in (PowerCommand.HARD_POWER_OFF, PowerCommand.RESET)
        _record_power(
            fresh,
            server,
            _VERBS[command],
            before=before,
            by=by,
            key=key,
            result=Result.FORCED if forced else Result.STARTED,
        )


def _locked(instance: Instance) -> tuple[Instance, Server | None, list[Drive]]:
    """Reads an instance anew with its server and drives locked: always the server first, then drives by id.

    A revert takes the same locks in the same order, so of a revert and a power-on only one gets through.
    """
    server = Server.objects.select_for_update(of=("self",)).filter(instance=instance).first()
    drives = list(
        Drive.objects.select_for_update(of=("self",))
        .select_related("drive_array")
        .filter(instance=instance)
        .order_by("pk")
    )
    fresh = Instance.objects.select_related("instance_array").get(pk=instance.pk)
    # Whoever waited for the lock while the server was replaced has locked the one that went.
    if fresh.server_id != (server.pk if server else None):
        raise Refused(f"{fresh.label} has another server by now. Look at it again.")
    fresh.server = server
    return fresh, server, drives


def _record_power(
    instance: Instance,
    server: Server,
    verb: str,
    *,
    before: Power,
    by: User,
    key: UUID | None = None,
    result: Result = Result.DONE,
) -> None:
    Event.objects.record(
        instance.instance_array.infrastructure_id,
        verb,
        instance.label,
        by=by,
        url=instance.get_absolute_url(),
        result=result,
        topics=power_topics(instance),
        request_key=key,
        told=Told(instance.pk, before, server.shown_power),
    )


# ── Places on the canvas ─────────────────────────────────────────────────────


def move(product: InstanceArray | DriveArray | Network, *, x: int, y: int, by: User) -> None:
    """Puts a card at a place, in px of the world; for everyone, at once, without a deploy."""
    with transaction.atomic():
        demand_operator(by, product.infrastructure_id)
        product.x = max(-PLACE_LIMIT_PX, min(PLACE_LIMIT_PX, x))
        product.y = max(-PLACE_LIMIT_PX, min(PLACE_LIMIT_PX, y))
        product.save(update_fields=["x", "y"])
        Event.objects.record(
            product.infrastructure_id,
            "moved",
            product.label,
            by=by,
            result=Result.SILENT,
            topics=[product.topic, f"wiring-{product.infrastructure_id}"],
        )


def move_many(infrastructure: Infrastructure, places: Mapping[str, tuple[int, int]], *, by: User) -> None:
    """Puts the cards of these topics at their places, together; for everyone, at once, without a deploy.

    What is gone meanwhile is left out.
    """
    with transaction.atomic():
        demand_operator(by, infrastructure.pk)
        moved = [
            *_put(Network.objects.filter(infrastructure=infrastructure), "network", places),
            *_put(InstanceArray.objects.filter(infrastructure=infrastructure), "instance-array", places),
            *_put(DriveArray.objects.filter(infrastructure=infrastructure), "drive-array", places),
        ]
        if not moved:
            return
        many = len(moved) > MOVED_TOGETHER
        Event.objects.record(
            infrastructure.pk,
            "moved",
            infrastructure.label,
            by=by,
            result=Result.SILENT,
            topics=[f"nodes-{infrastructure.pk}"] if many else [*moved, f"wiring-{infrastructure.pk}"],
        )


def _put(cards: QuerySet[C], kind: str, places: Mapping[str, tuple[int, int]]) -> list[str]:
    """Puts the cards of one kind at their places, and answers the topics of those that are there."""
    ids = {
        int(topic.removeprefix(f"{kind}-")): place for topic, place in places.items() if topic.startswith(f"{kind}-")
    }
    rows = list(cards.filter(pk__in=ids)) if ids else []
    for row in rows:
        row.x, row.y = (max(-PLACE_LIMIT_PX, min(PLACE_LIMIT_PX, value)) for value in ids[row.pk])
    cards.bulk_update(rows, ["x", "y"], batch_size=200)
    return [f"{kind}-{row.pk}" for row in rows]


def tidy_up(infrastructure: Infrastructure, *, by: User) -> None:
    """Puts all cards into their lanes; for everyone, at once."""
    with transaction.atomic():
        demand_operator(by, infrastructure.pk)
        networks = list(infrastructure.networks.all())
        instance_arrays = list(infrastructure.instance_arrays.all())
        drive_arrays = list(infrastructure.drive_arrays.all())
        places = canvas.tidy(
            [canvas.Plate(network.topic, network.kind, network.x, network.y) for network in networks],
            [canvas.Card(array.topic, array.x, array.y, len(numbers_shown(array))) for array in instance_arrays],
            [
                canvas.Card(
                    array.topic,
                    array.x,
                    array.y,
                    len(numbers_shown(array)),
                    of=f"instance-array-{array.instance_array_id}",
                )
                for array in drive_arrays
            ],
        )
        rows: list[Network | InstanceArray | DriveArray] = [*networks, *instance_arrays, *drive_arrays]
        for row in rows:
            row.x, row.y = places[row.topic]
        Network.objects.bulk_update(networks, ["x", "y"], batch_size=200)
        InstanceArray.objects.bulk_update(instance_arrays, ["x", "y"], batch_size=200)
        DriveArray.objects.bulk_update(drive_arrays, ["x", "y"], batch_size=200)
        Event.objects.record(
            infrastructure.pk,
            "tidied up",
            infrastructure.label,
            by=by,
            url=infrastructure.get_absolute_url(),
            topics=[f"nodes-{infrastructure.pk}"],
        )
