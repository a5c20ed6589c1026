"""What the worker does for an instance that is promised another server: asks both BMCs, then swaps.

Until then the server that goes is held: nobody switches it here. Whoever switches it on by hand is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from django.db import transaction

from editor import exports, servers
from editor.actions import power_topics
from editor.models import DeployItem, DeployState, Drive, Event, Instance, Power, Result, Server, Told, User
from editor.reconcile import Job, Lane


def jobs(now: datetime, since: datetime) -> Iterator[Job]:
    """One job for each server that is promised to an instance."""
    del now, since  # nothing is late: both are asked anew
    promised = Server.objects.filter(replaces__isnull=False).order_by("pk")
    for pk, old in promised.values_list("pk", "replaces__server"):
        yield Job(f"server-{old or pk}", _carry_out(pk), at_once=True, lane=Lane.ASK)


def _carry_out(pk: int) -> Callable[[Callable[[], bool]], timedelta | None]:
    def run(should_stop: Callable[[], bool]) -> timedelta | None:
        del should_stop  # calls to BMCs have their own time limit, and half a swap is none
        carry_out(pk)
        return None

    return run


def carry_out(pk: int) -> None:
    """Puts the server under the instance it is promised to, or says why not and takes back the promise."""
    new = Server.objects.select_related("replaces__instance_array", "replaces__server").filter(pk=pk).first()
    if new is None or new.replaces is None:
        return
    why = _why_not_now(new, new.replaces.server) or _why_logged_in(new.replaces)
    with transaction.atomic():
        _settle(new, why)


def _why_not_now(new: Server, old: Server | None) -> str | None:
    """Asks the BMCs themselves: what is stored may be seconds old, and a server may be switched on by hand."""
    if old is not None and (reason := _why_may_run(old, vouched=new.replace_vouched)):
        return reason
    if servers.read(new.pk) == Power.UNKNOWN:
        return f"The BMC of {new} does not answer. Have its connection checked, or choose another server."
    return None


def _why_logged_in(instance: Instance) -> str | None:
    """The second witness, also of a server that is said to have no power: the new one comes by the same names."""
    return exports.why_not_logged_out_now(instance.drives.select_related("drive_array").order_by("pk"))


def _why_may_run(old: Server, *, vouched: bool) -> str | None:
    reading = servers.read_twice(old.pk)
    if reading == Power.OFF or (vouched and reading == Power.UNKNOWN):
        return None
    if reading == Power.UNKNOWN:
        return f"The BMC of {old} did not answer, so it is not known to be off. Try again when it answers."
    return f"{old} is {reading.label.lower()}. Shut it down first."


def _settle(seen: Server, why: str | None) -> None:
    assert seen.replaces is not None
    old_pk = seen.replaces.server_id
    rows = Server.objects.select_for_update(of=("self",)).filter(pk__in=[seen.pk, *([old_pk] if old_pk else [])])
    locked = {row.pk: row for row in rows.order_by("pk")}
    new, old = locked[seen.pk], locked.get(old_pk or 0)
    instance = Instance.objects.select_related("instance_array").get(pk=seen.replaces.pk)
    by = seen.replace_asked_by
    if new.replaces_id != instance.pk:
        return  # settled already
    drives = Drive.objects.select_for_update(of=("self",)).filter(instance=instance).order_by("pk")
    held = next((drive for drive in drives.select_related("drive_array") if drive.hold), None)
    if instance.server_id != old_pk or old is None:
        why = f"{instance} has another server by now."
    elif held and not why:
        # A revert has made sure that the server there is off; the one that comes may be running.
        why = f"{held.label} is busy: {held.hold} Try again when that is done."
    new.replaces, new.replace_asked_by, new.replace_vouched = None, None, False
    new.save(update_fields=["replaces", "replace_asked_by", "replace_vouched"])
    if why or old is None:
        _tell(
            instance,
            by,
            "could not replace the server of",
            f"{why} Nothing was changed.",
            result=Result.FAILED,
            old=old,
        )
        return
    Instance.objects.filter(pk=instance.pk).update(server=new)
    Server.objects.filter(pk=old.pk).update(hold="", power_command="", power_overdue=False, trouble=None)
    _rename_in_plans(instance, old, new)
    instance.server_id = new.pk
    stays = "drained" if old.drained else "free for others"
    text = f"{old} → {new}. Name, address and drives stay; {old} is {stays}."
    told = Told(instance.pk, old.shown_power, new.shown_power)
    _tell(instance, by, "replaced the server of", text, old=None, also=[old.topic], told=told)


def _rename_in_plans(instance: Instance, old: Server, new: Server) -> None:
    """A stopped deploy may be gone on with: then it must not touch the server that left."""
    items = list(
        DeployItem.objects.filter(
            step__deploy__infrastructure=instance.instance_array.infrastructure_id,
            step__deploy__state=DeployState.STOPPED,
            payload__server=old.pk,
        )
    )
    for item in items:
        item.payload["server"] = new.pk
    DeployItem.objects.bulk_update(items, ["payload"], batch_size=200)


def _tell(
    instance: Instance,
    by: User | None,
    verb: str,
    text: str,
    *,
    old: Server | None,
    result: Result = Result.DONE,
    also: list[str] | None = None,
    told: Told | None = None,
) -> None:
    """Writes the Event; a server that stays is let go, with the failure beside it."""
    event = Event.objects.record(
        instance.instance_array.infrastructure_id,
        verb,
        instance.label,
        by=by,
        text=text,
        url=instance.get_absolute_url(),
        result=result,
        topics=[*power_topics(instance), *(also or [])],
        told=told,
    )
    if old:
        Server.objects.filter(pk=old.pk).update(hold="", trouble=event)
