"""Servers in a deploy: taken from the free ones, shut down, switched on again, and given back."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from editor import servers
from editor.actions import power_topics
from editor.build.items import Failed, array_pk, number_of, settle, settle_stopped, wait, wake, writing
from editor.deploys import is_held_by
from editor.models import (
    DeployItem,
    Drive,
    Event,
    Instance,
    InstanceArray,
    Power,
    PowerCommand,
    Result,
    Server,
    Told,
    shown_power,
)
from editor.plan import Kind
from editor.quota import why_not_get_server
from editor.refusals import refusals_of
from editor.words import elapsed

WAITS_FOR_OTHERS = timedelta(seconds=1)


def demand_quota(item: DeployItem) -> None:
    """Asks again what was asked when the deploy began: an administrator may have lowered it since."""
    if reason := why_not_get_server(item):
        raise Failed(reason, permanent=True)


def allocate(item: DeployItem) -> timedelta | None:
    """Gives an instance a free server of its type whose BMC answers; one that is off is preferred."""
    array = InstanceArray.objects.get(pk=array_pk(item.step.of))
    free = Server.objects.free().filter(server_type=array.server_type_id)
    pks = list(free.filter(power_error="").order_by("pk").values_list("pk", flat=True))
    # Items that run side by side begin at different ones. To wait for BMCs that were silent before comes last.
    start = item.pk % len(pks) if pks else 0
    doubtful = list(free.exclude(power_error=""))
    refused = refusals_of(settings.DATA_DIR)
    asked = [one.pk for one in doubtful if not refused.hold(one, timezone.now())]
    silent = len(doubtful) - len(asked)
    candidates = [*pks[start:], *pks[:start], *asked]
    running = []
    for pk in candidates:
        reading = servers.read(pk)
        if reading == Power.OFF and _take(item, array, pk):
            return None
        silent += reading == Power.UNKNOWN
        running += [pk] if reading not in (Power.OFF, Power.UNKNOWN) else []
    if any(_take(item, array, pk) for pk in running):
        return None
    if silent:
        raise Failed(f"no free server of type {array.server_type} answers; the BMCs of {silent} are silent.")
    raise Failed(f"no server of type {array.server_type} is free. Ask an administrator for more.", permanent=True)


def _take(item: DeployItem, array: InstanceArray, pk: int) -> bool:
    """Whether the server is the item's now; false when another deploy was quicker."""
    taken = False

    def change() -> None:
        nonlocal taken
        instance, _ = Instance.objects.get_or_create(instance_array=array, number=number_of(item))
        if instance.server_id is None:
            taken = Server.objects.free().filter(pk=pk).exists()
            if not taken:
                raise _Taken
            instance.server_id = pk
            instance.save(update_fields=["server"])
            power = Server.objects.values_list("power", flat=True).get(pk=pk)
            Event.objects.record(
                array.infrastructure_id,
                result=Result.SILENT,
                topics=[array.topic],
                told=Told(instance.pk, "", power),
            )
        taken = True

    try:
        settle(item, change, server=pk)
    except _Taken:
        return False
    return taken


class _Taken(Exception):
    """Another deploy took the server meanwhile; nothing was written."""


def shut_down(item: DeployItem) -> timedelta | None:
    """Has a server go off as the deploy says, and remembers whether it was on.

    A deploy that is asked to stop waits for no operating system: that can take as long as it likes.
    """
    server = Server.objects.get(pk=item.payload["server"])
    deploy = item.step.deploy
    if "asked" not in item.payload:
        if deploy.stop_asked:
            with writing():
                settle_stopped(item)
            return None
        reading = servers.read(server.pk)
        if reading == Power.OFF:
            item.payload.setdefault("was_on", False)
            settle(item)
            return None
        if reading == Power.UNKNOWN:
            raise Failed(f"The BMC of {item.label} did not answer, so it is not known to be off.")
        item.payload["was_on"] = True
        _ask(item, PowerCommand.SOFT_SHUTDOWN if deploy.soft_seconds else PowerCommand.HARD_POWER_OFF)
        return None
    if not server.power_command:
        if servers.read(server.pk) != Power.OFF:
            raise _not_obeyed(item, server)
        settle(item)
    elif deploy.stop_asked and server.power_command == PowerCommand.SOFT_SHUTDOWN:
        _expect_nothing(item)
    elif server.power_overdue:
        took = elapsed(timezone.now() - (item.started_at or timezone.now()))
        if deploy.then_hard:
            _ask(item, PowerCommand.HARD_POWER_OFF, f"{item.label} was still on after {took}. Its power was cut.")
        else:
            says = f"{item.label} is still on after {took}. Its operating system was asked again."
            _ask(item, PowerCommand.SOFT_SHUTDOWN, says)
    return None


def power_on(item: DeployItem) -> timedelta | None:
    """Switches a server on that was on before; waits until nobody works on its drives."""
    was_on = DeployItem.objects.filter(
        step__deploy=item.step.deploy, step__kind=Kind.SHUT_DOWN, step__of=item.step.of, number=item.number
    ).first()
    if was_on is None or not was_on.payload.get("was_on"):
        settle(item)
        return None
    server = Server.objects.get(pk=item.payload["server"])
    if "asked" not in item.payload:
        if not _ask(item, PowerCommand.POWER_ON):
            if item.step.deploy.stop_asked:
                # Storage that never answers holds a drive for ever.
                with writing():
                    settle_stopped(item, f"{item.label} is off: somebody else is at work on one of its drives.")
                return None
            wait(item, f"{item.label} waits: somebody else is at work on one of its drives.")
            return WAITS_FOR_OTHERS
    elif not server.power_command:
        if server.power != Power.ON:
            raise _not_obeyed(item, server)
        settle(item)
    return None


def _not_obeyed(item: DeployItem, server: Server) -> Failed:
    """What to raise when a command ended and has not come true: the next attempt gives it anew."""
    item.payload.pop("asked", None)
    item.save(update_fields=["payload"])
    why = server.trouble.text if server.trouble else f"{item.label} is {server.get_power_display().lower()}."
    return Failed(why, detail=server.trouble.detail if server.trouble else server.power_error)


def _expect_nothing(item: DeployItem) -> None:
    """Gives up a soft shutdown, as a person does. The server was asked, so it may still go off."""
    with writing():
        server = Server.objects.select_for_update(of=("self",)).get(pk=item.payload["server"])
        if server.power_command != PowerCommand.SOFT_SHUTDOWN:
            return  # it has just obeyed
        before = server.shown_power
        server.power_command, server.power_overdue = "", False
        server.save(update_fields=["power_command", "power_overdue"])
        instance = Instance.objects.select_related("instance_array").get(pk=item.payload["instance"])
        told = Told(instance.pk, before, server.shown_power)
        settle_stopped(item, topics=power_topics(instance), told=told)


def _ask(item: DeployItem, command: PowerCommand, says: str = "") -> bool:
    """Gives a server a command as a person does.

    False, and nothing was asked, when it is to be powered on and somebody else is at work on one of its drives.
    """
    deploy = item.step.deploy
    with writing():
        server = Server.objects.select_for_update(of=("self",)).get(pk=item.payload["server"])
        drives = Drive.objects.select_for_update(of=("self",)).filter(instance__server=server).order_by("pk")
        if command == PowerCommand.POWER_ON and any(
            drive.hold and not is_held_by(drive.hold, deploy) for drive in drives
        ):
            return False
        now = timezone.now()
        soft = command == PowerCommand.SOFT_SHUTDOWN
        seconds = deploy.soft_seconds if soft else settings.SHUTDOWN_SECONDS
        Server.objects.filter(pk=server.pk).update(
            power_command=command,
            power_asked_at=now,
            power_asked_by=deploy.by_id,
            power_sent_at=None,
            power_deadline=now + timedelta(seconds=seconds),
            power_overdue=False,
            trouble=None,
        )
        item.payload["asked"] = command
        item.detail = says
        item.save(update_fields=["payload", "detail"])
        instance = Instance.objects.select_related("instance_array").get(pk=item.payload["instance"])
        told = Told(instance.pk, server.shown_power, shown_power(server.power, command))
        wake(item, power_topics(instance), told=told)
    return True


def release(item: DeployItem) -> timedelta | None:
    """Ends an instance. Its server stays off, and is free for others."""
    server = item.payload["server"]
    if Server.objects.filter(pk=server, instance=item.payload["instance"]).exists():
        demand_off(item.label, server)

    def change() -> None:
        Instance.objects.filter(pk=item.payload["instance"]).delete()
        Server.objects.filter(pk=server).update(hold="", power_command="", power_overdue=False, trouble=None)

    settle(item, change, server=server, topics=[f"infrastructure-{item.step.deploy.infrastructure_id}"])
    return None


def demand_off(label: str, server: int | None) -> None:
    """Asks the BMC itself: what is stored may be seconds old, and a server may be switched on by hand."""
    if server is None:
        return
    reading = servers.read_twice(server)
    if reading == Power.UNKNOWN:
        raise Failed(f"The BMC of {label} did not answer, so it is not known to be off.")
    if reading != Power.OFF:
        raise Failed(
            f"{label} is {reading.label.lower()}, though it was shut down. Retry shuts it down again.", permanent=True
        )
