"""The panels of a DriveArray and of a drive."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from editor.models import Drive, DriveArray, Infrastructure, InstanceArray, Power, Server, User
from editor.views.drives import SLOTS
from snapshots.rules import MAX_PER_DRIVE
from tests import factories
from tests.reading import Page, read

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}
GB = 1024**3


@dataclass
class World:
    """web ×2 with web-data ×2, the second drive with three snapshots."""

    owner: User
    stranger: User
    infrastructure: Infrastructure
    web: InstanceArray
    array: DriveArray

    def drive(self, number: int) -> Drive:
        return self.array.drives.select_related("drive_array").get(number=number)


@pytest.fixture
def world(db: None) -> World:
    owner, stranger = factories.make_user("Olga Own"), factories.make_user("Stan Strange")
    infrastructure = factories.make_infrastructure(owner)
    web = factories.make_instance_array(infrastructure, count=2, power=Power.ON)
    array = factories.make_drive_array(infrastructure, instance_array=web, count=2)
    world = World(owner, stranger, infrastructure, web, array)
    factories.make_snapshots(world.drive(2), 3, by=owner)
    array.drives.filter(number=2).update(used_bytes=int(31.1 * GB))
    return world


@pytest.fixture
def browser(client: Client, world: World) -> Client:
    client.force_login(world.owner, backend="django.contrib.auth.backends.ModelBackend")
    return client


def panel(client: Client, name: str, pk: int) -> Page:
    return read(client.get(reverse(name, args=[pk]), headers=PARTIAL))


def test_gauge_has_room_for_as_many_as_the_rule_allows() -> None:
    assert SLOTS == MAX_PER_DRIVE


def test_overview_of_an_array_sums_up_its_drives(browser: Client, world: World) -> None:
    page = panel(browser, "drive_array", world.array.pk)

    assert page.names("a")[-4 - 5 :][:4] == ["Overview", "Drives", "Configuration", "Activity"]
    assert "Drives 2" in page.words
    assert "Size each 40 GB" in page.words
    assert "Written 31.1 of 80 GB" in page.words
    assert "Snapshots 3 of 10" in page.words
    assert "InstanceArray, 2 servers over SAN" in page.words
    assert page.texts[f"pair-drive-{world.drive(2).pk}"].split() == [
        *("web-2,", "on", "web-data-2"),
        *("3/5", "snapshots"),
    ]


def test_drives_of_an_array_are_a_table(browser: Client, world: World) -> None:
    page = panel(browser, "drive_array_drives", world.array.pk)

    row = page.texts[f"row-drive-{world.drive(2).pk}"]
    assert row.split() == ["web-data-2", "web-2", "On", "3/5", "snapshots", "31.1", "/", "40", "GB"]
    assert page.control("web-data-2").attributes["href"] == reverse("drive", args=[world.drive(2).pk])
    assert page.control("Drives").attributes["aria-current"] == "page"
    assert "Each drive belongs to the server with the same number. To add drives, add servers to web." in page.words


def test_drive_in_work_says_so_in_the_table(browser: Client, world: World) -> None:
    Drive.objects.filter(number=1).update(hold="Reverting to #10.")

    page = panel(browser, "drive_array_drives", world.array.pk)

    assert "Reverting to #10." in page.texts[f"row-drive-{world.drive(1).pk}"]


def test_array_on_no_servers_says_so(browser: Client, world: World) -> None:
    array = factories.make_drive_array(world.infrastructure, "spare", count=1)

    assert "Not attached" in panel(browser, "drive_array", array.pk).words
    assert "These drives belong to no server. Nobody writes to them." in (
        panel(browser, "drive_array_drives", array.pk).words
    )


def test_array_without_drives_says_when_there_will_be_some(browser: Client, world: World) -> None:
    array = factories.make_drive_array(world.infrastructure, "later", count=0)

    for name in ("drive_array", "drive_array_drives"):
        assert "No drives yet. They are made when later is deployed." in panel(browser, name, array.pk).words


@pytest.mark.parametrize("name", ["drive_array", "drive_array_drives"])
def test_number_of_queries_does_not_depend_on_the_number_of_drives(
    browser: Client, world: World, django_assert_num_queries: DjangoAssertNumQueries, name: str
) -> None:
    few = factories.make_drive_array(world.infrastructure, "few", instance_array=world.web, count=1)
    servers = factories.make_instance_array(world.infrastructure, "big", count=100)
    many = factories.make_drive_array(world.infrastructure, "many", instance_array=servers, count=100)
    panel(browser, name, few.pk)  # whatever is read once per process

    for array in (few, many):
        with django_assert_num_queries(6):
            panel(browser, name, array.pk)


def test_overview_of_a_drive(browser: Client, world: World) -> None:
    page = panel(browser, "drive", world.drive(2).pk)

    assert page.texts["panel-title"] == "web-data-2"
    assert "Drive of web-2, iscsi_ssd, 31.1 of 40 GB used" in page.words
    assert "Size 40 GB" in page.words
    assert "Snapshots 3 of 5" in page.words
    assert "Number 2 of 2" in page.words
    assert page.control("Previous drive, web-data-1 (K)").attributes["href"] == reverse(
        "drive", args=[world.drive(1).pk]
    )
    assert not any(name.startswith("Next drive") for name in page.names("a"))


def test_drive_says_why_the_power_of_its_server_is_unknown(browser: Client, world: World) -> None:
    Server.objects.update(power=Power.UNKNOWN, power_error="The BMC did not answer within 3 seconds.")

    assert "The BMC did not answer within 3 seconds." in panel(browser, "drive", world.drive(1).pk).words


@pytest.mark.parametrize("name", ["drive_array", "drive_array_drives", "drive"])
def test_panels_of_others_do_not_exist(client: Client, world: World, name: str) -> None:
    client.force_login(world.stranger, backend="django.contrib.auth.backends.ModelBackend")
    pk = world.drive(1).pk if name == "drive" else world.array.pk

    assert client.get(reverse(name, args=[pk])).status_code == 404
    assert client.get(reverse(name, args=[pk]), headers=PARTIAL).status_code == 404
    assert client.post(reverse("drive_dismiss", args=[world.drive(1).pk])).status_code == 404


@pytest.mark.parametrize("name", ["drive_array", "drive_array_drives", "drive"])
def test_cold_address_is_a_whole_page(browser: Client, world: World, name: str) -> None:
    pk = world.drive(1).pk if name == "drive" else world.array.pk

    response = browser.get(reverse(name, args=[pk]))

    assert response.status_code == 200
    assert response.content.lstrip().lower().startswith(b"<!doctype html>")


@pytest.mark.parametrize("name", ["drive_array", "drive_array_drives", "drive"])
def test_nothing_of_later_work_is_offered(browser: Client, world: World, name: str) -> None:
    pk = world.drive(1).pk if name == "drive" else world.array.pk

    page = panel(browser, name, pk)

    assert page.names() == ["Copy link to this panel"]
