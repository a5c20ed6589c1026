"""When storage is not what the database thinks: nothing is believed, nothing is removed, nothing is held for ever."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest
from django.utils import timezone

from editor import volumes
from editor.audit import findings
from editor.models import Drive
from editor.reconcile import Worker
from editor.storage import StorageError, UnknownDrive
from editor.storage.simulated import SimulatedStorage
from editor.volumes import driver_of
from snapshots import actions, late, upkeep
from snapshots.models import Snapshot
from tests import factories
from tests.snapshots.conftest import World


def refusing(error: StorageError) -> Callable[..., None]:
    def verb(*_: object, **__: object) -> None:
        raise error

    return verb


def test_failed_merge_holds_up_no_snapshot(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one = world.take("one")
    world.take("two")
    worker = Worker(since=world.clock.now.replace(year=2000))
    worker.run_until_quiet()
    driver = driver_of(world.drive.pool)
    monkeypatch.setattr(driver, "reclaim", refusing(StorageError("The storage pool is full.")))
    actions.delete(one, by=world.operator)
    worker.run_until_quiet()
    world.clock.advance(1)

    actions.request_create(world.drive, by=world.operator)
    worker.run_until_quiet()

    assert (world.drive.hold, world.drive.trouble, world.numbers()) == ("", None, [3, 2])


def test_failed_count_holds_up_no_snapshot(world: World) -> None:
    world.take("one")
    worker = Worker(since=world.clock.now.replace(year=2000))
    driver = driver_of(world.drive.pool)
    assert isinstance(driver, SimulatedStorage)
    driver.fail_next("written_since", StorageError("The storage pool's disk reports errors."))
    Drive.objects.update(observe_due=True)
    worker.run_until_quiet()
    world.clock.advance(1)

    actions.request_create(world.drive, by=world.operator)
    worker.run_until_quiet()

    assert (world.drive.hold, world.drive.trouble, world.numbers()) == ("", None, [2, 1])


def test_counting_stops_no_merge(world: World) -> None:
    """A server that writes is counted every minute; a merge may take longer than that."""
    Drive.objects.update(observe_due=True, reclaim_due=True)

    found = list(upkeep.jobs(world.clock(), world.clock()))

    (merging,), (counting,) = ([job for job in found if job.background is is_merge] for is_merge in (True, False))
    assert merging.key != counting.key


def test_clock_that_is_set_back_stops_nothing(world: World) -> None:
    worker = Worker(since=world.clock.now.replace(year=2000))
    worker.run_until_quiet()

    world.clock.advance(-3600)

    assert worker.one_pass(world.clock()) > 0


def test_layers_that_the_database_does_not_know_are_left_alone(any_world: World) -> None:
    world = any_world
    world.take("one")
    older = {"head_layer": world.drive.head_layer, "next_layer": world.drive.next_layer}
    world.take("two")
    layers = driver_of(world.drive.pool).layers(world.pk)
    Snapshot.objects.filter(number=2).delete()

    Drive.objects.filter(pk=world.pk).update(reclaim_due=True, **older)
    world.work()

    assert driver_of(world.drive.pool).layers(world.pk) == layers


def test_revert_that_did_not_happen_is_not_believed_of_an_older_database(any_world: World) -> None:
    world = any_world
    one = world.take("one")
    older = {"head_layer": world.drive.head_layer, "next_layer": world.drive.next_layer}
    world.take("two")
    world.write("now")
    Snapshot.objects.filter(number=2).delete()
    Drive.objects.filter(pk=world.pk).update(**older)
    world.switch_off()

    world.revert(one)
    world.work()

    trouble = world.drive.trouble
    assert trouble is not None
    assert trouble.text.startswith("The storage pool already holds data under the name reserved for this snapshot.")
    assert (world.content(), world.drive.hold) == ("now", "")


def test_snapshot_of_a_newer_database_is_not_taken_for_the_one_asked_for(any_world: World) -> None:
    """Its layers have the very ids that the older database gives out next; but it was taken at another moment."""
    world = any_world
    world.take("one")
    older = {"head_layer": world.drive.head_layer, "next_layer": world.drive.next_layer, "next_snapshot_number": 2}
    world.take("two")
    world.write("now")
    Snapshot.objects.filter(number=2).delete()
    Drive.objects.filter(pk=world.pk).update(**older)

    actions.request_create(world.drive, by=world.operator)
    world.work()

    trouble = world.drive.trouble
    assert trouble is not None
    assert trouble.text.startswith("The storage pool already holds data under the name reserved for this snapshot.")
    assert (world.content(), world.drive.hold, world.numbers()) == ("now", "", [1])


def test_revert_of_a_newer_database_is_not_taken_for_the_one_asked_for(any_world: World) -> None:
    world = any_world
    one = world.take("one")
    older = {"head_layer": world.drive.head_layer, "next_layer": world.drive.next_layer}
    world.switch_off()
    world.revert(one)
    world.work()
    world.write("now")
    Drive.objects.filter(pk=world.pk).update(**older)

    world.revert(one)
    world.work()

    trouble = world.drive.trouble
    assert trouble is not None
    assert trouble.text.startswith("The storage pool already holds data under the name reserved for this snapshot.")
    assert (world.content(), world.drive.hold) == ("now", "")


def give_up(world: World, verb: str, ask: Callable[[], None]) -> int:
    """Storage stands still when it is asked, and the worker gives up; answers the layer that was reserved."""
    layer = world.drive.next_layer
    ask()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver_of(world.drive.pool), verb, refusing(StorageError("The storage pool did not answer.")))
        world.work()
    assert (world.drive.hold, world.drive.trouble is None) == ("", False)
    return layer


def give_up_snapshot(world: World) -> None:
    """It is made after all."""
    head = world.drive.head_layer
    assert head
    layer = give_up(world, "snapshot", lambda: actions.request_create(world.drive, by=world.operator))
    driver_of(world.drive.pool).snapshot(world.pk, frozen=head, new_layer=layer)


def give_up_revert(world: World, snapshot: Snapshot) -> None:
    """It is done after all."""
    world.switch_off()
    layer = give_up(world, "revert", lambda: world.revert(snapshot))
    driver_of(world.drive.pool).revert(world.pk, onto=snapshot.layer, new_layer=layer)


def test_snapshot_that_storage_makes_late_hinders_no_other(any_world: World) -> None:
    world = any_world
    one = world.take("one")
    world.write("now")
    give_up_snapshot(world)
    world.write("later")

    actions.request_create(world.drive, by=world.operator)
    world.work()

    driver, drive = driver_of(world.drive.pool), world.drive
    three = drive.snapshots.get(number=3)
    assert (drive.trouble, drive.reclaim_due, world.numbers(), world.content()) == (None, False, [3, 1], "later")
    assert drive.head_layer == driver.head(world.pk)
    assert driver.layers(world.pk) == {one.layer, three.layer, drive.head_layer}  # what lay in between was merged
    world.write("afterwards")
    world.switch_off()
    for snapshot, content in (three, "later"), (one, "one"):
        world.revert(snapshot)
        world.work()
        assert world.content() == content


def test_snapshot_that_storage_makes_late_is_noticed_by_itself(any_world: World) -> None:
    world = any_world
    world.write("now")
    give_up_snapshot(world)

    Drive.objects.update(observe_due=True)  # as after each minute in which a server writes
    world.work()

    assert world.drive.head_layer == driver_of(world.drive.pool).head(world.pk)
    assert driver_of(world.drive.pool).layers(world.pk) == {world.drive.head_layer}
    assert (world.content(), list(findings(timezone.now()))) == ("now", [])


def test_snapshot_of_a_newer_database_is_not_taken_for_a_late_one(any_world: World) -> None:
    """However often somebody asks, and though it stands on the head that this database knows."""
    world = any_world
    one = world.take("one")
    older = {"head_layer": world.drive.head_layer, "next_layer": world.drive.next_layer, "next_snapshot_number": 2}
    for number in (2, 3, 4):
        world.take(f"state {number}")
    for number in (3, 4):
        actions.delete(world.drive.snapshots.get(number=number), by=world.operator)
    world.work()
    driver = driver_of(world.drive.pool)
    layers = driver.layers(world.pk)
    world.drive.snapshots.exclude(pk=one.pk).delete()
    Drive.objects.filter(pk=world.pk).update(**older)

    for _ in range(5):
        actions.request_create(world.drive, by=world.operator)
        world.work()
        Drive.objects.update(reclaim_due=True, observe_due=True)
        world.work(restarted=True)

    trouble = world.drive.trouble
    assert trouble is not None
    assert trouble.text.startswith("The storage pool knows more of this drive than the database does.")
    assert (driver.layers(world.pk), world.drive.head_layer, world.numbers()) == (layers, older["head_layer"], [1])
    assert (world.content(), world.drive.hold) == ("state 4", "")


def test_revert_that_storage_does_late_is_told_and_not_believed(any_world: World) -> None:
    world = any_world
    one = world.take("one")
    world.write("now")
    give_up_revert(world, one)
    noted = world.drive.head_layer
    layers = driver_of(world.drive.pool).layers(world.pk)
    Drive.objects.update(observe_due=True)
    world.work()
    assert world.drive.trouble is not None
    assert world.drive.trouble.text == late.REVERTED

    actions.request_create(world.drive, by=world.operator)
    world.work()

    drive = world.drive
    assert drive.trouble is not None
    assert drive.trouble.text.startswith(f"{late.REVERTED} Read back at ")
    assert (drive.head_layer, drive.hold, world.numbers()) == (noted, "", [1])
    assert driver_of(drive.pool).layers(world.pk) == layers

    world.revert(one)
    world.work()

    assert (world.drive.trouble, world.content(), world.drive.hold) == (None, "one", "")
    assert world.drive.head_layer == driver_of(world.drive.pool).head(world.pk)


def test_volume_of_another_database_is_not_taken_over(any_world: World) -> None:
    world = any_world
    world.take("of somebody else")
    Snapshot.objects.all().delete()
    Drive.objects.filter(pk=world.pk).update(head_layer=None, next_layer=1)

    world.work()

    assert world.drive.head_layer is None
    trouble = world.drive.trouble
    assert trouble is not None
    assert trouble.text.startswith("The storage pool already holds another drive under this one's name.")


def test_volume_that_could_be_made_at_last_is_no_trouble_any_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = factories.make_drive_array(
        world.drive.drive_array.infrastructure, "late", count=1, made=False, engine="simulated"
    )
    drive = array.drives.get()
    with monkeypatch.context() as patch:
        patch.setattr(driver_of(drive.pool), "create_drive", refusing(StorageError("The storage pool is full.")))
        volumes.make(drive.pk)
    drive.refresh_from_db()
    assert drive.trouble is not None
    assert drive.trouble.text == "The storage pool is full."

    volumes.make(drive.pk)

    drive.refresh_from_db()
    assert (drive.head_layer, drive.trouble) == (1, None)


def test_damaged_drive_is_not_held_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = refusing(StorageError("The stored data of this drive is damaged.", permanent=True))
    for verb in ("snapshot", "abandon"):
        monkeypatch.setattr(driver_of(world.drive.pool), verb, damaged)
    actions.request_create(world.drive, by=world.operator)

    world.work()

    assert world.drive.hold == ""
    trouble = world.drive.trouble
    assert trouble is not None
    assert trouble.text == (
        "The stored data of this drive is damaged. What became of it is not known. "
        "Keep the server off until somebody has looked at the storage."
    )


def test_drive_on_a_disk_that_is_not_mounted_stays_held_until_it_is(any_world: World) -> None:
    world = any_world
    one, _two = world.take("one"), world.take("two")
    world.switch_off()
    world.revert(one)
    driver, fresh = driver_of(world.drive.pool), world.drive.snapshots.get(pk=one.pk)
    driver.revert(world.pk, onto=fresh.layer, new_layer=fresh.new_layer)  # and the worker died here
    with pytest.MonkeyPatch.context() as patch:
        for verb in ("revert", "abandon"):
            patch.setattr(driver, verb, refusing(UnknownDrive()))
        world.work(restarted=True)
    assert world.drive.hold.startswith("Storage has not said yet what became of #1.")

    world.work(restarted=True)

    assert (world.content(), world.numbers(), world.drive.hold) == ("one", [1], "")


def test_key_of_another_drive_or_person_is_another_wish(world: World) -> None:
    array = factories.make_drive_array(world.drive.drive_array.infrastructure, "other", count=1, made=False)
    other = array.drives.get()
    world.work()
    other.refresh_from_db()
    key = uuid4()

    actions.request_create(world.drive, by=world.operator, key=key)
    actions.request_create(other, by=world.operator, key=key)
    world.work()
    actions.request_create(world.drive, by=world.owner, key=key)
    world.work()

    assert (world.numbers(), other.snapshots.count()) == ([2, 1], 1)
