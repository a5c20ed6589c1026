"""Drives in storage pools that fill up or are in maintenance: what is refused, and what people read of it."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.test import Client

from editor.models import Event, Result, StoragePool
from editor.rules import Refused
from editor.storage import Usage
from editor.storage.simulated import SimulatedStorage
from editor.views.pools import note_of
from editor.volumes import driver_of
from snapshots import actions
from snapshots.models import State
from tests.reading import Page, read
from tests.snapshots.asking import address, post, sign_in, tab
from tests.snapshots.conftest import World

GB = 1024**3
FULL = (
    "Storage pool pool-simulated is 96 % full (96 of 100 GB). No drives are made or grown in it, and no snapshots "
    "created. When nothing is left, servers cannot write. Delete snapshots, or ask an administrator for room."
)
AT_REST = (
    "Storage pool pool-simulated is in maintenance. Nothing new is begun in it; servers go on using its drives. "
    "Try again when an administrator has ended that."
)


@pytest.fixture
def browser(client: Client, world: World) -> Client:
    sign_in(client, world.operator)
    return client


def fill(world: World, percent: int) -> None:
    """As the worker has read it, and as it will read it again."""
    storage(world).room = Usage(100 * GB, (100 - percent) * GB)
    StoragePool.objects.update(total_bytes=100 * GB, free_bytes=(100 - percent) * GB)


def storage(world: World) -> SimulatedStorage:
    driver = driver_of(world.drive.pool)
    assert isinstance(driver, SimulatedStorage)
    return driver


def panel(browser: Client, world: World, path: str) -> Page:
    return read(browser.get(path, headers={"HX-Request": "true", "HX-Request-Type": "partial"}))


def test_snapshot_in_a_full_pool_is_refused_in_place_and_changes_nothing(browser: Client, world: World) -> None:
    world.take("one")
    fill(world, 96)
    before, told = storage(world).layers(world.pk), Event.objects.told().count()

    response = post(browser, "create", world.pk, note="two")

    assert response.status_code == 409
    page = read(response)
    assert page.texts["create-refused"] == f"Snapshot not created {FULL}"
    assert page.value("create-note") == "two"
    world.work()
    assert (world.numbers(), storage(world).layers(world.pk), world.drive.hold) == ([1], before, "")
    fill(world, 40)
    world.work()
    assert Event.objects.told().exclude(verb="warned about").count() == told


def test_full_pool_still_reverts_and_deletes(world: World) -> None:
    first, second = world.take("one"), world.take("two")
    world.write("three")
    world.switch_off()
    fill(world, 99)

    actions.delete(second, by=world.operator)
    world.revert(first)
    world.work()

    assert (world.content(), world.numbers()) == ("one", [1])


def test_pool_that_filled_up_since_the_click_takes_no_snapshot(world: World) -> None:
    world.write("one")
    actions.request_create(world.drive, by=world.operator)
    fill(world, 96)

    world.work()

    assert (world.numbers(), world.drive.hold, world.content()) == ([], "", "one")
    assert "snapshot" not in [verb for verb, _ in storage(world).calls]
    failed = Event.objects.get(verb="could not create snapshot #1 of")
    assert failed.result == Result.FAILED
    assert failed.text.startswith(FULL)
    assert "nothing was changed, web-data-1 still has no snapshots." in failed.text


def test_reason_stands_once_at_the_note_that_the_button_names(browser: Client, world: World) -> None:
    fill(world, 96)

    page = tab(browser, world.pk)

    assert page.control("Create snapshot").unavailable
    assert page.reason("Create snapshot") == FULL
    assert page.words.count("96 % full") == 1
    assert "Instant, no deploy needed" not in page.words


@pytest.mark.parametrize("place", ["drive", "array", "drives", "snapshots"])
def test_everybody_with_drives_there_is_warned_early(browser: Client, world: World, place: str) -> None:
    paths = {
        "drive": f"/drives/{world.pk}/",
        "array": world.drive.drive_array.get_absolute_url(),
        "drives": f"{world.drive.drive_array.get_absolute_url()}drives/",
        "snapshots": address("list", world.pk),
    }
    note = note_of(world.drive.pool.topic)
    fill(world, 84)
    assert note not in panel(browser, world, paths[place]).texts

    fill(world, 87)
    page = panel(browser, world, paths[place])
    assert page.texts[note] == (
        "Storage pool pool-simulated is 87 % full (87 of 100 GB). From 95 % on, no drives are made or grown in it, and "
        "no snapshots created. Delete snapshots, or ask an administrator for room."
    )
    assert f"{world.drive.pool.topic} from:body" in browser.get(paths[place]).content.decode()


def test_early_warning_refuses_nothing(world: World) -> None:
    fill(world, 94)

    world.take("one")

    assert world.numbers() == [1]


@pytest.mark.parametrize("place", ["drive", "array"])
def test_overviews_say_how_full_the_pool_is(browser: Client, world: World, place: str) -> None:
    paths = {"drive": f"/drives/{world.pk}/", "array": world.drive.drive_array.get_absolute_url()}
    assert "Pool pool-simulated, 0 % full" in panel(browser, world, paths[place]).words

    fill(world, 44)
    assert "Pool pool-simulated, 44 % full" in panel(browser, world, paths[place]).words

    StoragePool.objects.update(total_bytes=None)
    assert "% full" not in panel(browser, world, paths[place]).words


def test_nothing_is_begun_in_maintenance(browser: Client, world: World) -> None:
    snapshot = world.take("one")
    world.switch_off()
    StoragePool.objects.update(maintenance=True)

    page = tab(browser, world.pk)
    for name in ("Create snapshot", "Revert to #1", "Delete #1…"):
        assert page.control(name).unavailable
        assert page.reason(name) == AT_REST
    for name, pk in (("create", world.pk), ("revert", snapshot.pk), ("delete", snapshot.pk)):
        response = post(browser, name, pk, expect="")
        assert (response.status_code, AT_REST in read(response).words) == (409, True), name
    world.work()
    assert (world.numbers(), world.content(), world.drive.hold) == ([1], "one", "")
    assert AT_REST in read(browser.get(address("revert", snapshot.pk))).words


def test_snapshot_that_was_asked_for_before_maintenance_is_not_made_in_it(world: World) -> None:
    actions.request_create(world.drive, by=world.operator)
    StoragePool.objects.update(maintenance=True)

    world.work()

    assert world.numbers() == []
    assert Event.objects.get(verb="could not create snapshot #1 of").text.startswith(AT_REST)


def test_space_of_deleted_snapshots_waits_for_the_end_of_maintenance(world: World) -> None:
    snapshot = world.take("one")
    actions.delete(snapshot, by=world.operator)
    StoragePool.objects.update(maintenance=True)
    world.work()
    assert len(storage(world).layers(world.pk)) == 2

    StoragePool.objects.update(maintenance=False)
    world.work()
    assert len(storage(world).layers(world.pk)) == 1


def test_command_and_administration_are_refused_alike(world: World) -> None:
    snapshot = world.take("one")
    StoragePool.objects.update(maintenance=True)

    for ask in (
        lambda: actions.request_create(world.drive, by=world.owner, key=uuid4()),
        lambda: actions.delete(snapshot, by=world.owner),
        lambda: world.revert(snapshot),
    ):
        with pytest.raises(Refused, match="is in maintenance"):
            ask()
    assert snapshot.drive.snapshots.get().state == State.READY
