"""What one item of a deploy does: makes a drive, frees a server, and so on for each kind of step.

Each begins in a short transaction that reserves what it needs, calls drivers outside of any, and settles in one
more: the rows, what is real of the product, and the item itself. All can be repeated: a worker that was killed
anywhere is succeeded by one that begins the same items again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from editor import servers, volumes
from editor.actions import power_topics
from editor.deploys import drive_hold, is_held_by, lock_hardware
from editor.design import AnyProduct
from editor.models import (
    Deploy,
    DeployItem,
    DeployState,
    DeployStep,
    Drive,
    DriveArray,
    Event,
    Instance,
    InstanceArray,
    ItemState,
    Network,
    Power,
    PowerCommand,
    Result,
    Server,
    StoragePool,
)
from editor.plan import Kind, kind_of, real_so_far
from editor.review import lost_with
from editor.room import choose_pool, pools_with_room
from editor.storage import StorageError, UnknownDrive

log = logging.getLogger(__name__)

PAUSES = (timedelta(seconds=1), timedelta(seconds=5), timedelta(seconds=15))
"""After a failure that may pass, an item is tried again so many times, with these pauses before."""
TRIES = len(PAUSES) + 1
WAITS_FOR_OTHERS = timedelta(seconds=1)

_VERBS = {
    Kind.ALLOCATE: "get a server",
    Kind.CREATE: "be created",
    Kind.SHUT_DOWN: "be shut down",
    Kind.DETACH: "be detached",
    Kind.GROW: "grow",
    Kind.ATTACH: "be attached",
    Kind.DESTROY: "be destroyed",
    Kind.RELEASE: "be given back",
    Kind.SETTLE: "be finished",
    Kind.REMOVE: "be removed",
    Kind.POWER_ON: "be powered on again",
}


class Failed(Exception):
    """An item cannot be done. `str()` is why, as a sentence; one in small letters stands after a colon.

    `permanent`: trying again at once does not help.
    """

    def __init__(self, why: str, *, permanent: bool = False, detail: str = "") -> None:
        super().__init__(why)
        self.permanent = permanent
        self.detail = detail
        self.leaves_nothing = False
        """Whether a drive that was to be made surely is not there: its row is taken back."""


Work = Callable[[DeployItem], timedelta | None]
"""Does an item, settles it, and answers None; or how long to leave it alone, since it waits for something."""


def run(pk: int) -> timedelta | None:
    """Does one item, as far as that goes now; answers how long to leave it alone, if at all."""
    try:
        item = _begin(pk)
        if item is None:
            return None
        return _WORK[Kind(item.step.kind)](item)
    except Failed as failure:
        return _settle_failed(pk, failure)
    except StorageError as error:
        return _settle_failed(pk, Failed(str(error), permanent=error.permanent, detail=error.detail))
    except Exception as fault:
        log.exception("Item %s of a deploy failed.", pk)
        return _settle_failed(pk, Failed("The editor met a fault, see its log. Try again.", detail=repr(fault)))


# ── Beginning and settling ───────────────────────────────────────────────────


def _begin(pk: int) -> DeployItem | None:
    """Notes that an item is in work, and reserves what it needs. None when it is not to be done (any more)."""
    with transaction.atomic():
        found = DeployItem.objects.select_related("step").get(pk=pk)
        # Each deploy first, so that none ends while one of its items begins.
        deploy = Deploy.objects.select_for_update(of=("self",)).get(pk=found.step.deploy_id)
        step = DeployStep.objects.select_for_update(of=("self",)).get(pk=found.step_id)
        item = DeployItem.objects.select_for_update(of=("self",)).get(pk=pk)
        item.step, step.deploy = step, deploy
        if deploy.state != DeployState.RUNNING or item.state in (ItemState.DONE, ItemState.FAILED):
            return None
        if deploy.stop_asked and step.started_at is None:
            return None
        now, first = timezone.now(), step.started_at is None
        if item.state == ItemState.WAITING:
            item.state, item.started_at = ItemState.RUNNING, now
            if prepare := _PREPARE.get(Kind(step.kind)):
                prepare(item)
            item.save(update_fields=["state", "started_at", "payload"])
        if first:
            step.started_at = now
            step.save(update_fields=["started_at"])
            _wake(item)
    return item


def _settle(
    item: DeployItem,
    change: Callable[[], None] | None = None,
    *,
    server: int | None = None,
    drive: int | None = None,
    topics: Iterable[str] = (),
) -> None:
    """Ends an item as done: locks what it changes, changes it, and writes down what is real of its product."""
    with transaction.atomic():
        lock_hardware([server], [drive])
        product = _product(item.step.of) if change else None
        step = DeployStep.objects.select_for_update(of=("self",)).get(pk=item.step_id)
        fresh = DeployItem.objects.select_for_update(of=("self",)).get(pk=item.pk)
        if fresh.state != ItemState.RUNNING:
            return
        if change:
            change()
        if product and item.step.kind not in (Kind.SETTLE, Kind.REMOVE):
            _note_real(product, item)
        item.state, item.ended_at, item.detail = ItemState.DONE, timezone.now(), ""
        item.save(update_fields=["state", "ended_at", "payload", "detail"])
        if not step.items.exclude(state=ItemState.DONE).exists():
            step.ended_at = item.ended_at
            step.save(update_fields=["ended_at"])
        _wake(item, [item.step.of, *topics] if change else topics)


_MODELS: dict[str, type[InstanceArray | DriveArray | Network]] = {
    "instance-array": InstanceArray,
    "drive-array": DriveArray,
    "network": Network,
}


def _product(topic: str) -> AnyProduct | None:
    """Reads the row of a product anew, locked; null once it is removed."""
    rows: models.QuerySet[Any] = _MODELS[kind_of(topic)].objects.select_for_update(of=("self",))
    product: AnyProduct | None = rows.filter(pk=_pk(topic)).first()
    return product


def _note_real(product: AnyProduct, item: DeployItem) -> None:
    """Writes into `deployed` what is there of a product in the middle of a deploy."""
    if isinstance(product, Network):
        return
    if isinstance(product, InstanceArray):
        numbers = list(product.instances.filter(server__isnull=False).values_list("number", flat=True))
    else:
        # One that is held and has no volume is being made just now.
        there = product.drives.exclude(~models.Q(hold=""), head_layer=None)
        numbers = list(there.values_list("number", flat=True))
    goal = item.step.deploy.goal
    topic = product.topic
    product.deployed = dict(
        real_so_far(product.deployed, goal.get(topic), topic, [(topic, number) for number in numbers])
    )
    product.unsettled = True
    product.save(update_fields=["deployed", "unsettled"])


def _settle_failed(pk: int, failure: Failed) -> timedelta | None:
    """Has an item tried again after a pause, or ends it as failed."""
    with transaction.atomic():
        item = DeployItem.objects.select_for_update(of=("self",)).select_related("step__deploy").get(pk=pk)
        if item.state in (ItemState.DONE, ItemState.FAILED):
            return None
        tries = item.payload["tries"] = item.payload.get("tries", 0) + 1
        if not failure.permanent and tries < TRIES:
            again = f"Attempt {tries} of {TRIES}: {failure} It is tried again in {PAUSES[tries - 1].seconds} s."
            item.detail = f"{again}\n{failure.detail}".strip()
            item.save(update_fields=["payload", "detail"])
            _wake(item)
            return PAUSES[tries - 1]
        if failure.leaves_nothing:
            Drive.objects.filter(drive_array=_pk(item.step.of), number=_number(item), head_layer=None).delete()
        why = str(failure)
        joint = ". " if why[:1].isupper() else ": "
        item.error = f"{item.label} could not {_VERBS[Kind(item.step.kind)]}{joint}{why}"[:500]
        item.detail = failure.detail
        item.state, item.ended_at = ItemState.FAILED, timezone.now()
        item.started_at = item.started_at or item.ended_at
        item.save(update_fields=["payload", "state", "started_at", "ended_at", "error", "detail"])
        _wake(item)
    return None


def _wait(item: DeployItem, says: str) -> None:
    """Writes down what an item waits for."""
    if item.detail != says:
        item.detail = says
        with transaction.atomic():
            item.save(update_fields=["detail", "payload"])
            _wake(item)


def _wake(item: DeployItem, topics: Iterable[str] = ()) -> None:
    """Has everybody who looks at the deploy, and at what it just changed, look again."""
    deploy = item.step.deploy
    Event.objects.record(deploy.infrastructure_id, result=Result.SILENT, topics=dict.fromkeys([deploy.topic, *topics]))


def _number(item: DeployItem) -> int:
    assert item.number is not None  # or its step would be about a whole product
    return item.number


def _pk(topic: str) -> int:
    return int(topic.rpartition("-")[2])


# ── Servers ──────────────────────────────────────────────────────────────────


def _allocate(item: DeployItem) -> timedelta | None:
    """Gives an instance a free server of its type whose BMC answers; one that is off is preferred."""
    array = InstanceArray.objects.get(pk=_pk(item.step.of))
    silent = 0
    free = Server.objects.filter(instance__isnull=True, server_type=array.server_type_id)
    pks = list(free.order_by("pk").values_list("pk", flat=True))
    # Items that run side by side begin at different ones.
    start = item.pk % len(pks) if pks else 0
    candidates = [*pks[start:], *pks[:start]]
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
        instance, _ = Instance.objects.get_or_create(instance_array=array, number=_number(item))
        if instance.server_id is None:
            taken = Server.objects.filter(pk=pk, instance__isnull=True).exists()
            if not taken:
                raise _Taken
            instance.server_id = pk
            instance.save(update_fields=["server"])
        taken = True

    try:
        _settle(item, change, server=pk)
    except _Taken:
        return False
    return taken


class _Taken(Exception):
    """Another deploy took the server meanwhile; nothing was written."""


def _shut_down(item: DeployItem) -> timedelta | None:
    """Has a server go off as the deploy says, and remembers whether it was on."""
    server = Server.objects.get(pk=item.payload["server"])
    deploy = item.step.deploy
    if "asked" not in item.payload:
        reading = servers.read(server.pk)
        if reading == Power.OFF:
            item.payload.setdefault("was_on", False)
            _settle(item)
            return None
        if reading == Power.UNKNOWN:
            raise Failed(f"The BMC of {item.label} did not answer, so it is not known to be off.")
        item.payload["was_on"] = True
        _ask(item, PowerCommand.SOFT_SHUTDOWN if deploy.soft_seconds else PowerCommand.HARD_POWER_OFF)
        return None
    if not server.power_command:
        if servers.read(server.pk) != Power.OFF:
            raise _not_obeyed(item, server)
        _settle(item)
    elif server.power_overdue:
        took = servers.clock_time(timezone.now() - (item.started_at or timezone.now()))
        if deploy.stop_asked:
            _ask(item, None)
            raise Failed(f"it is still on after {took}, and the deploy was asked to stop.", permanent=True)
        if deploy.then_hard:
            _ask(item, PowerCommand.HARD_POWER_OFF, f"{item.label} was still on after {took}. Its power was cut.")
        else:
            says = f"{item.label} is still on after {took}. Its operating system was asked again."
            _ask(item, PowerCommand.SOFT_SHUTDOWN, says)
    return None


def _power_on(item: DeployItem) -> timedelta | None:
    """Switches a server on that was on before; waits until nobody works on its drives."""
    was_on = DeployItem.objects.filter(
        step__deploy=item.step.deploy, step__kind=Kind.SHUT_DOWN, step__of=item.step.of, number=item.number
    ).first()
    if was_on is None or not was_on.payload.get("was_on"):
        _settle(item)
        return None
    server = Server.objects.get(pk=item.payload["server"])
    if "asked" not in item.payload:
        if not _ask(item, PowerCommand.POWER_ON):
            _wait(item, f"{item.label} waits: somebody else is at work on one of its drives.")
            return WAITS_FOR_OTHERS
    elif not server.power_command:
        if server.power != Power.ON:
            raise _not_obeyed(item, server)
        _settle(item)
    return None


def _not_obeyed(item: DeployItem, server: Server) -> Failed:
    """What to raise when a command ended and has not come true: the next attempt gives it anew."""
    item.payload.pop("asked", None)
    item.save(update_fields=["payload"])
    why = server.trouble.text if server.trouble else f"{item.label} is {server.get_power_display().lower()}."
    return Failed(why, detail=server.trouble.detail if server.trouble else server.power_error)


def _ask(item: DeployItem, command: PowerCommand | None, says: str = "") -> bool:
    """Gives a server a command as a person does, or (None) expects nothing more of it.

    False, and nothing was asked, when it is to be powered on and somebody else is at work on one of its drives.
    """
    deploy = item.step.deploy
    with transaction.atomic():
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
            power_command=command or "",
            power_asked_at=now,
            power_asked_by=deploy.by_id,
            power_sent_at=None,
            power_deadline=now + timedelta(seconds=seconds),
            power_overdue=False,
            trouble=None,
        )
        item.payload["asked"] = command or ""
        item.detail = says
        item.save(update_fields=["payload", "detail"])
        instance = Instance.objects.select_related("instance_array").get(pk=item.payload["instance"])
        _wake(item, power_topics(instance))
    return True


def _release(item: DeployItem) -> timedelta | None:
    """Ends an instance. Its server stays off, and is free for others."""
    server = item.payload["server"]
    if Server.objects.filter(pk=server, instance=item.payload["instance"]).exists():
        _demand_off(item.label, server)

    def change() -> None:
        Instance.objects.filter(pk=item.payload["instance"]).delete()
        Server.objects.filter(pk=server).update(hold="", power_command="", power_overdue=False, trouble=None)

    _settle(item, change, server=server, topics=[f"infrastructure-{item.step.deploy.infrastructure_id}"])
    return None


def _demand_off(label: str, server: int | None) -> None:
    """Asks the BMC itself: what is stored may be seconds old, and a server may be switched on by hand."""
    if server is None:
        return
    reading = servers.read(server)
    if reading == Power.UNKNOWN:
        raise Failed(f"The BMC of {label} did not answer, so it is not known to be off.")
    if reading != Power.OFF:
        raise Failed(
            f"{label} is {reading.label.lower()}, though it was shut down. Retry shuts it down again.", permanent=True
        )


# ── Drives ───────────────────────────────────────────────────────────────────


def _reserve_drive(item: DeployItem) -> None:
    """Writes the row of a drive to be made, in the pool that has room for it."""
    array = DriveArray.objects.get(pk=_pk(item.step.of))
    hold = drive_hold(item.step.deploy, "creates it")
    if Drive.objects.filter(drive_array=array, number=_number(item)).update(hold=hold):
        return
    list(StoragePool.objects.select_for_update(of=("self",)).order_by("pk"))
    found = choose_pool(pools_with_room().values(), array.storage_type, item.payload["size_mb"])
    if isinstance(found, str):
        raise Failed(found, permanent=True)
    Drive.objects.create(
        drive_array=array,
        number=_number(item),
        pool=found.row,
        size_mb=item.payload["size_mb"],
        hold=hold,
    )


def _create(item: DeployItem) -> timedelta | None:
    drive = _drive(item)
    if drive.head_layer is None:
        try:
            volumes.create(drive)
        except StorageError as error:
            why = Failed(str(error), permanent=error.permanent, detail=error.detail)
            why.leaves_nothing = _is_absent(drive)
            raise why from error

    def change() -> None:
        volumes.note_created(drive.pk)
        Drive.objects.filter(pk=drive.pk).update(hold="")

    _settle(item, change, drive=drive.pk, topics=[drive.topic])
    return None


def _is_absent(drive: Drive) -> bool:
    """Whether storage surely has nothing of a drive."""
    try:
        volumes.driver_of(drive.pool).head(drive.pk)
    except StorageError as error:
        return isinstance(error, UnknownDrive)
    return False


def _reserve_room(item: DeployItem) -> None:
    """Counts on the room that a drive grows into, so that no other takes it meanwhile."""
    drive = _drive(item)
    list(StoragePool.objects.select_for_update(of=("self",)).filter(pk=drive.pool_id))
    more_mb = max(0, item.payload["size_mb"] - drive.size_mb)
    if reason := pools_with_room()[drive.pool_id].why_not_take(more_mb):
        raise Failed(reason, permanent=True)
    item.payload |= {"pool": drive.pool_id, "more_mb": more_mb}


def _grow(item: DeployItem) -> timedelta | None:
    drive, size_mb = _drive(item), item.payload["size_mb"]
    _demand_drive_off(drive)
    if drive.head_layer is None:
        volumes.create(drive)
    volumes.driver_of(drive.pool).grow(drive.pk, size_bytes=size_mb * 1024 * 1024)

    def change() -> None:
        volumes.note_created(drive.pk)
        Drive.objects.filter(pk=drive.pk).update(size_mb=size_mb, observe_due=True)

    _settle(item, change, drive=drive.pk, topics=[drive.topic])
    return None


def _attach(item: DeployItem) -> timedelta | None:
    """Each drive belongs to the instance with its own number; a running server gets it while it runs."""
    drive = _drive(item)
    topic, number = item.payload["partner"]
    partner = Instance.objects.get(instance_array=_pk(topic), number=number)

    def change() -> None:
        Drive.objects.filter(pk=drive.pk).update(instance=partner)

    _settle(item, change, server=partner.server_id, drive=drive.pk, topics=[drive.topic, topic])
    return None


def _detach(item: DeployItem) -> timedelta | None:
    drive = _drive(item)
    _demand_drive_off(drive)
    topics = [f"instance-array-{drive.instance.instance_array_id}"] if drive.instance else []

    def change() -> None:
        Drive.objects.filter(pk=drive.pk).update(instance=None)

    _settle(item, change, drive=drive.pk, topics=[drive.topic, *topics])
    return None


def _destroy(item: DeployItem) -> timedelta | None:
    """Destroys a drive with the snapshots that were reviewed, and nothing else. The rows go once storage has."""
    drive = _drive(item)
    _demand_drive_off(drive)
    _demand_reviewed(item, drive)
    volumes.driver_of(drive.pool).delete_drive(drive.pk)
    topics = [f"instance-array-{drive.instance.instance_array_id}"] if drive.instance else []

    def change() -> None:
        for dotted in settings.BEFORE_DRIVE_DELETE:
            import_string(dotted)(drive)
        drive.delete()

    _settle(item, change, drive=drive.pk, topics=[f"drive-{drive.pk}", *topics])
    return None


def _demand_reviewed(item: DeployItem, drive: Drive) -> None:
    more = [one for one in lost_with([drive.pk])[drive.pk] if one.pk not in item.payload["snapshots"]]
    if more or drive.pk != item.payload["drive"]:
        what = f"snapshot #{more[0].number} of it" if more else "it"
        raise Failed(f"{what} was not reviewed. It was left as it is. Review what is left.", permanent=True)


def _drive(item: DeployItem) -> Drive:
    rows = Drive.objects.select_related("pool", "drive_array", "instance__server", "instance__instance_array")
    return rows.get(drive_array=_pk(item.step.of), number=_number(item))


def _demand_drive_off(drive: Drive) -> None:
    if drive.instance:
        _demand_off(drive.instance.label, drive.instance.server_id)


# ── Products ─────────────────────────────────────────────────────────────────


def _settle_product(item: DeployItem) -> timedelta | None:
    """Writes down that a product is now what was drawn."""

    def change() -> None:
        product = _product(item.step.of)
        if product is not None:
            product.deployed, product.unsettled = item.step.deploy.goal[item.step.of], False
            product.save(update_fields=["deployed", "unsettled"])

    _settle(item, change, topics=_drawing(item))
    return None


def _remove_product(item: DeployItem) -> timedelta | None:
    """Takes a product off the drawing, of which nothing is left."""

    def change() -> None:
        product = _product(item.step.of)
        if isinstance(product, DriveArray) and product.drives.exists():
            raise Failed("it still has drives. Review what is left.", permanent=True)
        if isinstance(product, InstanceArray) and product.instances.filter(server__isnull=False).exists():
            raise Failed("it still has servers. Review what is left.", permanent=True)
        if product is not None:
            product.delete()

    _settle(item, change, topics=[f"nodes-{item.step.deploy.infrastructure_id}", *_drawing(item)])
    return None


def _drawing(item: DeployItem) -> list[str]:
    pk = item.step.deploy.infrastructure_id
    return [f"infrastructure-{pk}", f"wiring-{pk}", f"design-{pk}"]


_PREPARE: dict[Kind, Callable[[DeployItem], None]] = {Kind.CREATE: _reserve_drive, Kind.GROW: _reserve_room}
_WORK: dict[Kind, Work] = {
    Kind.ALLOCATE: _allocate,
    Kind.CREATE: _create,
    Kind.SHUT_DOWN: _shut_down,
    Kind.DETACH: _detach,
    Kind.GROW: _grow,
    Kind.ATTACH: _attach,
    Kind.DESTROY: _destroy,
    Kind.RELEASE: _release,
    Kind.SETTLE: _settle_product,
    Kind.REMOVE: _remove_product,
    Kind.POWER_ON: _power_on,
}
