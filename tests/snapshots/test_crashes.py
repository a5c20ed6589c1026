"""The worker is killed before its effects, one after the other; the next one finishes or undoes what it finds.

An effect is a verb of the storage engine (killed before it, and after it did its work but before it answered), or
a statement that writes to the database. Whatever the moment: no row is stuck, no hold stays, the drive's bytes are
those of before or those that were asked for, and every snapshot that is listed still holds its own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import transaction

from editor import exports
from editor.iscsi_names import target_iqn
from editor.models import Drive
from editor.storage.simulated import SimulatedStorage
from editor.volumes import driver_of
from snapshots import actions
from tests.killing import Executioner, Killed, Points
from tests.snapshots.conftest import World, exporter, look_and_work

VERBS = ("snapshot", "revert", "reclaim", "written_since", "activate", "deactivate")
EXPORTER_VERBS = ("publish", "withdraw", "remove")


def killed_at(effect: int, world: World) -> bool:
    """Lets the worker work until its n-th effect; answers whether it came that far."""
    executioner = Executioner(effect)
    with pytest.MonkeyPatch.context() as patch, executioner.watch_database():
        executioner.watch(driver_of(world.drive.pool), VERBS, patch)
        if exports.exporter():
            executioner.watch(exporter(), EXPORTER_VERBS, patch)
        try:
            world.work()
        except Killed:
            return True
    return False


def settle(world: World) -> None:
    """The next worker starts, and finds everything the dead one left."""
    world.work(restarted=True)
    drive = world.drive
    assert drive.hold == ""
    assert not drive.snapshots.exclude(state="ready").exists()
    assert drive.snapshot_count == drive.snapshots.count()
    assert not drive.reclaim_due
    assert driver_of(drive.pool).head(drive.pk) == drive.head_layer
    if exports.exporter():
        look_and_work(world)
        assert world.drive.exported
        assert exporter().targets()[target_iqn(drive)].device
        exports.stop()


def states_of_all_snapshots(world: World) -> list[tuple[int, str]]:
    """What each listed snapshot really holds, newest first: the engine is made to return to each in turn."""
    states = []
    driver = driver_of(world.drive.pool)
    for new_layer, snapshot in enumerate(world.drive.snapshots.newest_first(), 1000):
        driver.revert(world.pk, onto=snapshot.layer, new_layer=new_layer)
        states.append((snapshot.number, world.content()))
    return states


@contextmanager
def undone(world: World) -> Iterator[None]:
    """Whatever happens inside, database, drives and clock are afterwards as before."""
    driver = driver_of(world.drive.pool)
    assert isinstance(driver, SimulatedStorage)
    drives, active, now = copy.deepcopy(driver._drives), set(driver._active), world.clock.now
    targets = dict(exporter()._targets) if exports.exporter() else {}
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
    driver._drives, driver._active, world.clock.now = drives, active, now
    if exports.exporter():
        exporter()._targets = targets


def kill_at_effects(
    points: Points,
    world: World,
    subtests: pytest.Subtests,
    act: Callable[[], None],
    allowed: dict[str, list[tuple[int, str]]],
) -> None:
    """`allowed` maps the bytes the drive may end with to the snapshots it must then have, with theirs."""
    came_that_far = True
    for effect in points.counted():
        with undone(world), subtests.test(effect=effect):
            act()
            came_that_far = killed_at(effect, world)
            settle(world)
            content = world.content()
            found = states_of_all_snapshots(world)
            assert content in allowed
            assert found in (allowed[content], allowed.get(f"{content} (not made)"))
        if not came_that_far:
            break
    assert effect > 10  # Otherwise the worker was not watched at its work.


def test_create_at_the_limit_survives_death_at_any_point(
    world: World, subtests: pytest.Subtests, points: Points
) -> None:
    taken = [world.take(f"state {number}") for number in range(1, 6)]
    world.write("now")
    before = [(number, f"state {number}") for number in (5, 4, 3, 2, 1)]
    after = [(6, "now"), *before[:4]]

    kill_at_effects(
        points,
        world,
        subtests,
        lambda: actions.request_create(world.drive, by=world.operator, expect_delete=taken[0].pk),
        {"now": after, "now (not made)": before},
    )


def test_create_after_a_late_one_survives_death_at_any_point(
    world: World, subtests: pytest.Subtests, points: Points
) -> None:
    world.take("one")
    world.write("now")
    drive = world.drive
    assert drive.head_layer
    driver_of(drive.pool).snapshot(world.pk, frozen=drive.head_layer, new_layer=drive.next_layer)
    Drive.objects.update(next_layer=drive.next_layer + 1)

    kill_at_effects(
        points,
        world,
        subtests,
        lambda: actions.request_create(world.drive, by=world.operator),
        {"now": [(2, "now"), (1, "one")], "now (not made)": [(1, "one")]},
    )


def test_revert_survives_death_at_any_point(world: World, subtests: pytest.Subtests, points: Points) -> None:
    taken = [world.take(state) for state in ("one", "two", "three")]
    world.write("now")
    world.switch_off()

    kill_at_effects(
        points,
        world,
        subtests,
        lambda: world.revert(taken[1]),
        {"now": [(3, "three"), (2, "two"), (1, "one")], "two": [(2, "two"), (1, "one")]},
    )


def test_revert_of_a_served_drive_survives_death_at_any_point(
    served: World, subtests: pytest.Subtests, points: Points
) -> None:
    taken = [served.take(state) for state in ("one", "two", "three")]
    served.write("now")
    served.switch_off()

    kill_at_effects(
        points,
        served,
        subtests,
        lambda: served.revert(taken[1]),
        {"now": [(3, "three"), (2, "two"), (1, "one")], "two": [(2, "two"), (1, "one")]},
    )


def test_clearing_up_behind_a_deleted_snapshot_survives_death_at_any_point(
    world: World, subtests: pytest.Subtests, points: Points
) -> None:
    taken = [world.take(state) for state in ("one", "two", "three")]
    world.write("now")

    kill_at_effects(
        points,
        world,
        subtests,
        lambda: actions.delete(taken[1], by=world.operator),
        {"now": [(3, "three"), (1, "one")]},
    )


def test_request_that_waited_for_a_dead_worker_is_undone(world: World) -> None:
    world.take("one")
    actions.request_create(world.drive, by=world.operator)

    world.work(restarted=True)

    assert world.numbers() == [1]
    trouble = world.drive.trouble
    assert trouble is not None
    assert trouble.text.startswith("The editor was restarted before it could be made. Read back at")


def test_request_nobody_carried_out_in_time_is_undone(world: World) -> None:
    actions.request_create(world.drive, by=world.operator)
    world.clock.advance(31)

    world.work()

    assert (world.numbers(), world.drive.hold) == ([], "")
    trouble = world.drive.trouble
    assert trouble is not None
    assert trouble.text.startswith("It could not be made within 30 seconds, and is not made later than it was meant.")
