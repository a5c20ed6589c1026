"""Drives in a deploy: made, grown, attached, detached and destroyed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from django.conf import settings
from django.utils.module_loading import import_string

from editor import backup, exports, volumes
from editor.build.items import Failed, array_pk, note_real, number_of, product_of, settle, wait, writing
from editor.build.machines import demand_off
from editor.deploys import drive_hold, is_held_by
from editor.losses import lost_with
from editor.models import DeployItem, Drive, DriveArray, Instance, StoragePool
from editor.outcome import HALF_DESTROYED
from editor.pool_rules import after_colon, why_not_work
from editor.room import choose_pool, pools_with_room
from editor.rules import Refused, why_not_use_drive
from editor.storage import StorageError, UnknownDrive

DURING_BACKUP = timedelta(seconds=10)


def reserve_drive(item: DeployItem) -> None:
    """Writes the row of a drive to be made, in the pool that has room for it."""
    array = DriveArray.objects.get(pk=array_pk(item.step.of))
    hold = drive_hold(item.step.deploy, "creates it")
    rows = Drive.objects.select_for_update(of=("self",)).select_related("drive_array", "pool")
    there = rows.filter(drive_array=array, number=number_of(item)).first()
    if there:
        _demand_free(item, there)
        _demand_pool_at_work(there)
        Drive.objects.filter(pk=there.pk).update(hold=hold)
        return
    list(StoragePool.objects.select_for_update(of=("self",)).order_by("pk"))
    found = choose_pool(pools_with_room().values(), array.storage_type, item.payload["size_mb"])
    if isinstance(found, str):
        raise Failed(found, permanent=True)
    Drive.objects.create(
        drive_array=array,
        number=number_of(item),
        pool=found.row,
        size_mb=item.payload["size_mb"],
        hold=hold,
    )


def create(item: DeployItem) -> timedelta | None:
    drive = _drive(item)
    if drive.head_layer is None:
        volumes.create(drive)

    def change() -> None:
        volumes.note_created(drive.pk)
        Drive.objects.filter(pk=drive.pk).update(hold="")

    settle(item, change, drive=drive.pk, topics=[drive.topic])
    return None


def giving_up(item: DeployItem) -> Callable[[DeployItem], None]:
    """Answers what to do with the row of a drive that could not be made; asks storage, so outside of transactions.

    The row goes when storage surely has no such drive; then what is left of the attempt goes with it. Otherwise it
    stays, as one that is real: its volume is made when that is possible again (editor.volumes).
    """
    drive = Drive.objects.filter(drive_array=array_pk(item.step.of), number=number_of(item)).first()
    absent = drive is not None and drive.head_layer is None and _is_cleared(drive)

    def give_up(item: DeployItem) -> None:
        rows = Drive.objects.filter(drive_array=array_pk(item.step.of), number=number_of(item))
        if absent:
            rows.filter(head_layer=None).delete()
        elif rows.update(hold=""):
            array = product_of(item.step.of)
            assert array is not None  # it has a drive
            note_real(array, item)

    return give_up


def _is_cleared(drive: Drive) -> bool:
    try:
        volumes.driver_of(drive.pool).head(drive.pk)
    except UnknownDrive:
        with suppress(StorageError):  # then `manage.py reconcile --clean` does it
            volumes.driver_of(drive.pool).clear(drive.pk)
        return True
    except StorageError:
        pass
    return False


def reserve_room(item: DeployItem) -> None:
    """Counts on the room that a drive grows into, so that no other takes it meanwhile."""
    drive = _drive(item)
    list(StoragePool.objects.select_for_update(of=("self",)).filter(pk=drive.pool_id))
    more_mb = max(0, item.payload["size_mb"] - drive.size_mb)
    if reason := pools_with_room()[drive.pool_id].why_not_take(more_mb):
        raise Failed(reason, permanent=True)
    item.payload |= {"pool": drive.pool_id, "more_mb": more_mb}


def grow(item: DeployItem) -> timedelta | None:
    drive, size_mb = _drive(item), item.payload["size_mb"]
    _demand_drive_off(drive)
    if drive.head_layer is None:
        volumes.create(drive)

    def change() -> None:
        volumes.note_created(drive.pk)
        Drive.objects.filter(pk=drive.pk).update(size_mb=size_mb, observe_due=True)

    def work() -> None:
        # A target tells the size of a disk when it opens it.
        exports.take_away(drive)
        volumes.driver_of(drive.pool).grow(drive.pk, size_bytes=size_mb * 1024 * 1024)
        exports.bring_back_or_note(_drive(item))
        settle(item, change, drive=drive.pk, topics=[drive.topic])

    return _between_backups(item, work)


def attach(item: DeployItem) -> timedelta | None:
    """Each drive belongs to the instance with its own number; a running server gets it while it runs."""
    drive = _drive(item)
    topic, number = item.payload["partner"]
    partner = Instance.objects.get(instance_array=array_pk(topic), number=number)

    def change() -> None:
        # One that was just made is free for others: a revert of it began while it was on no server.
        _demand_free(item, Drive.objects.get(pk=drive.pk))
        Drive.objects.filter(pk=drive.pk).update(instance=partner)

    settle(item, change, server=partner.server_id, drive=drive.pk, topics=[drive.topic, topic])
    # At once, since the server may be powered on in the next step.
    exports.bring_back_or_note(_drive(item))
    return None


def detach(item: DeployItem) -> timedelta | None:
    drive = _drive(item)
    _demand_drive_off(drive)
    topics = [f"instance-array-{drive.instance.instance_array_id}"] if drive.instance else []
    exports.take_away(drive, for_good=True)

    def change() -> None:
        Drive.objects.filter(pk=drive.pk).update(instance=None)

    settle(item, change, drive=drive.pk, topics=[drive.topic, *topics])
    return None


def destroy(item: DeployItem) -> timedelta | None:
    """Destroys a drive with the snapshots that were reviewed, and nothing else. The rows go once storage has."""
    drive = _drive(item)
    _demand_drive_off(drive)
    _demand_reviewed(item, drive)
    _demand_pool_at_work(drive)
    topics = [f"instance-array-{drive.instance.instance_array_id}"] if drive.instance else []

    def change() -> None:
        for dotted in settings.BEFORE_DRIVE_DELETE:
            import_string(dotted)(drive)
        Drive.objects.filter(pk=drive.pk).delete()

    def work() -> None:
        exports.take_away(drive, for_good=True)
        _note_begun(item, begun=True)
        try:
            volumes.driver_of(drive.pool).delete_drive(drive.pk)
        except StorageError:
            if not _is_gone(drive):
                _note_begun(item, begun=False)
            raise
        settle(item, change, drive=drive.pk, topics=[drive.topic, *topics])

    return _between_backups(item, work)


def _note_begun(item: DeployItem, *, begun: bool) -> None:
    """Notes whether storage may have destroyed a drive already: then nobody is told that it is still there."""
    if item.payload.get(HALF_DESTROYED, False) != begun:
        item.payload[HALF_DESTROYED] = begun
        with writing():
            item.save(update_fields=["payload"])


def _is_gone(drive: Drive) -> bool:
    """Whether storage does not say that it still has a drive."""
    try:
        volumes.driver_of(drive.pool).head(drive.pk)
    except StorageError:
        return True
    return False


def _between_backups(item: DeployItem, work: Callable[[], None]) -> timedelta | None:
    """Lets work change or remove what is stored, and the rows with it, while no backup copies either."""
    try:
        with backup.kept_away():
            work()
    except Refused:
        wait(item, f"{item.label} waits: a backup is being made.")
        return DURING_BACKUP
    return None


def _demand_free(item: DeployItem, drive: Drive) -> None:
    """Leaves a drive alone that somebody else is at work on; tried again, like all that may pass."""
    if not is_held_by(drive.hold, item.step.deploy) and (reason := why_not_use_drive(drive)):
        raise Failed(reason)


def _demand_pool_at_work(drive: Drive) -> None:
    if reason := why_not_work(drive.pool):
        raise Failed(after_colon(reason), permanent=True)


def _demand_reviewed(item: DeployItem, drive: Drive) -> None:
    more = [one for one in lost_with([drive.pk])[drive.pk] if one.pk not in item.payload["snapshots"]]
    if more or drive.pk != item.payload["drive"]:
        what = f"snapshot #{more[0].number} of it" if more else "it"
        raise Failed(f"{what} was not reviewed. It was left as it is. Review what is left.", permanent=True)


def _drive(item: DeployItem) -> Drive:
    rows = Drive.objects.select_related("pool", "drive_array", "instance__server", "instance__instance_array")
    return rows.get(drive_array=array_pk(item.step.of), number=number_of(item))


def _demand_drive_off(drive: Drive) -> None:
    if drive.instance:
        demand_off(drive.instance.label, drive.instance.server_id)
