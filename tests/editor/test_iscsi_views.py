"""The iSCSI tab of a drive: its state in words, and a password that only those see who ask and may."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from editor import sealed
from editor.chap import chap_password
from editor.models import Drive, Event, Infrastructure, Instance, InstanceArray, Membership, Role, StoragePool, User
from tests import factories
from tests.reading import Page, read

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}


@dataclass
class World:
    """web ×2 with web-data ×2, on an installation that serves drives."""

    operator: User
    viewer: User
    infrastructure: Infrastructure
    web: InstanceArray
    drive: Drive

    @property
    def instance(self) -> Instance:
        return Instance.objects.select_related("instance_array").get(number=1)

    def set(self, **fields: object) -> None:
        Drive.objects.filter(pk=self.drive.pk).update(**fields)


@pytest.fixture
def world(db: None, settings: Settings) -> World:
    settings.ISCSI_EXPORTER = "simulated"
    settings.ISCSI_PORTAL = "10.0.0.5:3260"
    settings.IQN_PREFIX = "iqn.2026-11.org.example"
    operator, viewer = factories.make_user("Opa Rator"), factories.make_user("Vera View")
    infrastructure = factories.make_infrastructure(operator=operator, viewer=viewer)
    web = factories.make_instance_array(infrastructure, count=2)
    array = factories.make_drive_array(infrastructure, instance_array=web, count=2)
    return World(operator, viewer, infrastructure, web, array.drives.get(number=1))


@pytest.fixture
def browser(client: Client, world: World) -> Client:
    return as_user(client, world.operator)


def as_user(client: Client, user: User) -> Client:
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def tab(client: Client, world: World) -> Page:
    return read(client.get(reverse("drive_iscsi", args=[world.drive.pk]), headers=PARTIAL))


def show(client: Client, world: World, *, partial: bool = True) -> tuple[int, str]:
    """Presses "Show password"; answers status and body."""
    address = reverse("drive_chap_password", args=[world.drive.pk])
    response = client.post(address, headers=PARTIAL if partial else {})
    assert response.status_code == 404 or "no-store" in response.headers["Cache-Control"]
    return response.status_code, response.content.decode()


# ── The tab ──────────────────────────────────────────────────────────────────


def test_names_and_sessions_are_told(browser: Client, world: World) -> None:
    initiator = f"iqn.2026-11.org.example:instance-{world.instance.pk}"
    world.set(exported=True, sessions=[[initiator, "10.0.0.21"]])

    page = tab(browser, world)

    assert page.texts["iscsi-state"] == "Served web-1 may log in, nobody else."
    for said in (
        f"Target IQN iqn.2026-11.org.example:drive-{world.drive.pk} Portal 10.0.0.5:3260 LUN 1",
        f"Serial number DRIVE{world.drive.pk:08}",
        f"Initiator IQN {initiator} CHAP user instance-{world.instance.pk} CHAP password Show password",
        f"Logged in {initiator} from 10.0.0.21",
    ):
        assert said in page.words


def test_nobody_logged_in_is_told(browser: Client, world: World) -> None:
    assert "Logged in Nobody is logged in." in tab(browser, world).words


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"head_layer": None}, "Not deployed yet It is served as soon as it is deployed."),
        ({"instance": None}, "Not attached to an instance Nobody may log in. Attach its DriveArray"),
        ({"export_error": "tgtd is gone."}, "Not served tgtd is gone."),
        ({"exported": True, "export_error": "Its ACL is wrong."}, "Not served Its ACL is wrong."),
        ({"hold": "Reverting to #10."}, "Not served at the moment Reverting to #10."),
        ({}, "About to be served"),
    ],
    ids=["not made", "not attached", "failed", "served wrongly", "held", "due"],
)
def test_state_is_told_with_its_reason(browser: Client, world: World, fields: dict[str, object], says: str) -> None:
    world.set(**fields)

    assert tab(browser, world).texts["iscsi-state"].startswith(says)


def test_full_pool_is_told_where_drives_are_served_from(browser: Client, world: World) -> None:
    world.set(exported=True)
    StoragePool.objects.update(total_bytes=100, free_bytes=1, usage_seen_at=timezone.now())

    words = tab(browser, world).words

    assert "is 99 % full" in words
    assert "servers cannot write" in words


def test_instance_without_a_server_is_told(browser: Client, world: World) -> None:
    Instance.objects.update(server=None)

    assert tab(browser, world).texts["iscsi-state"].startswith("web-1 has no server yet")


def test_serving_switched_off_is_told(browser: Client, world: World, settings: Settings) -> None:
    settings.ISCSI_EXPORTER = "none"

    assert tab(browser, world).texts["iscsi-state"].startswith("Serving is switched off on this installation")


def test_commands_name_everything_but_the_password(browser: Client, world: World) -> None:
    secret = chap_password(world.instance)

    page = tab(browser, world)

    target, instance = f"iqn.2026-11.org.example:drive-{world.drive.pk}", f"instance-{world.instance.pk}"
    for key in ("open-iscsi", "qemu", "ipxe"):
        steps = page.texts[f"{key}-steps"]
        assert target in steps
        assert f"iqn.2026-11.org.example:{instance}" in steps
        assert instance in steps
        assert secret not in steps
    assert f"sanboot iscsi:10.0.0.5::3260:1:{target}" in page.texts["ipxe-steps"]
    assert f"The disk is then /dev/disk/by-path/ip-10.0.0.5:3260-iscsi-{target}-lun-1" in page.words


def test_drive_of_nobody_has_no_commands_and_no_password(browser: Client, world: World) -> None:
    world.set(instance=None)

    page = tab(browser, world)

    assert page.names() == ["Copy link to this panel"]
    assert "Initiator" not in page.words
    assert show(browser, world)[0] == 409


def test_cold_address_is_a_whole_page_with_the_tab(browser: Client, world: World) -> None:
    response = browser.get(reverse("drive_iscsi", args=[world.drive.pk]))

    assert response.content.lstrip().lower().startswith(b"<!doctype html>")
    page = read(response)
    assert page.control("iSCSI").attributes["aria-current"] == "page"
    tabs = page.names("a")
    assert tabs[tabs.index("Snapshots") :][:3] == ["Snapshots", "iSCSI", "Activity"]


def test_number_of_queries_does_not_depend_on_the_number_of_drives_or_sessions(
    browser: Client, world: World, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    servers = factories.make_instance_array(world.infrastructure, "big", count=50)
    many = factories.make_drive_array(world.infrastructure, "many", instance_array=servers, count=50)
    many.drives.filter(number=25).update(sessions=[["iqn.x:y", f"10.0.0.{n}"] for n in range(20)])
    tab(browser, world)  # whatever is read once per process

    for drive in (world.drive, many.drives.get(number=25)):
        with django_assert_num_queries(8):
            browser.get(reverse("drive_iscsi", args=[drive.pk]), headers=PARTIAL)


# ── The password ─────────────────────────────────────────────────────────────


def test_password_is_shown_to_who_asks_and_that_is_written_down(
    browser: Client, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    status, body = show(browser, world)

    secret = chap_password(world.instance)
    assert (status, secret in body) == (200, True)
    event = Event.objects.told().get()
    assert (str(event), event.actor) == ("Opa Rator looked at the CHAP password of web-1", world.operator)
    assert event.topic_list == [world.web.topic, world.drive.topic]
    assert secret not in f"{vars(event)} {caplog.text}"
    assert secret in show(browser, world)[1]


def test_password_is_in_no_answer_to_a_get(browser: Client, world: World) -> None:
    show(browser, world)
    secret = chap_password(world.instance)
    address = reverse("drive_chap_password", args=[world.drive.pk])

    answers = [
        browser.get(reverse(name, args=[pk]), headers=headers)
        for headers in (PARTIAL, {})
        for name, pk in (
            ("drive_iscsi", world.drive.pk),
            ("drive", world.drive.pk),
            ("drive_activity", world.drive.pk),
            ("instance_array_instances", world.web.pk),
            ("instance_array_activity", world.web.pk),
            ("infrastructure_activity", world.infrastructure.pk),
        )
    ]

    assert {answer.status_code for answer in answers} == {200}
    assert not any(secret.encode() in answer.content for answer in answers)
    assert browser.get(address).headers["Location"] == reverse("drive_iscsi", args=[world.drive.pk])


def test_password_is_shown_without_javascript_on_a_whole_page(browser: Client, world: World) -> None:
    status, body = show(browser, world, partial=False)

    assert (status, chap_password(world.instance) in body) == (200, True)
    assert body.lstrip().lower().startswith("<!doctype html>")
    assert "Target IQN" in body


def test_viewer_sees_why_not(client: Client, world: World) -> None:
    viewer = as_user(client, world.viewer)

    page = tab(viewer, world)

    assert page.control("Show password").unavailable
    assert page.reason("Show password") == (
        "Only operators and owners see CHAP passwords. Ask an owner to make you an operator."
    )
    status, body = show(viewer, world)
    assert (status, "Only operators and owners see CHAP passwords." in body) == (409, True)
    assert world.instance.chap_sealed == ""
    assert not Event.objects.told().exists()


def test_owner_may_look_and_a_former_operator_may_not(browser: Client, world: World) -> None:
    membership = Membership.objects.filter(user=world.operator)

    membership.update(role=Role.OWNER)
    assert show(browser, world)[0] == 200
    membership.update(role=Role.VIEWER)
    assert show(browser, world)[0] == 409


def test_strangers_find_nothing(client: Client, world: World) -> None:
    stranger = as_user(client, factories.make_user("Stan Strange"))

    assert stranger.get(reverse("drive_iscsi", args=[world.drive.pk])).status_code == 404
    assert stranger.get(reverse("drive_chap_password", args=[world.drive.pk])).status_code == 404
    assert show(stranger, world)[0] == 404


def test_lost_key_is_told_in_place(browser: Client, world: World) -> None:
    chap_password(world.instance)
    sealed.key_file().unlink()

    status, body = show(browser, world)

    assert (status, "The key to the sealed passwords is missing. An administrator must put it back." in body) == (
        409,
        True,
    )
    assert not Event.objects.told().exists()


# ── Elsewhere ────────────────────────────────────────────────────────────────


def test_drive_that_should_be_served_and_is_not_says_so_elsewhere(browser: Client, world: World) -> None:
    def said() -> tuple[bool, bool]:
        overview = read(browser.get(reverse("drive", args=[world.drive.pk]), headers=PARTIAL))
        table = read(browser.get(reverse("drive_array_drives", args=[world.drive.drive_array_id]), headers=PARTIAL))
        row = table.texts[f"row-{world.drive.topic}"]
        return overview.texts.get("not-served", "").endswith("tgtd is gone."), "Not served" in row

    assert said() == (False, False)
    world.set(export_error="tgtd is gone.")
    assert said() == (True, True)
    Instance.objects.update(server=None)
    assert said() == (False, False)


def test_administration_shows_how_a_drive_is_served(client: Client, world: World) -> None:
    client.force_login(factories.make_admin(), backend="django.contrib.auth.backends.ModelBackend")
    address = reverse("admin:editor_drive_change", args=[world.drive.pk])

    assert "Logged in: Nobody" in read(client.get(address)).words
    world.set(exported=True, export_error="Its ACL is wrong.", sessions=[["iqn.x:y", "10.0.0.21"]])

    page = read(client.get(address))
    assert "Export error: Its ACL is wrong. Why it is not served." in page.words
    assert "Logged in: iqn.x:y from 10.0.0.21" in page.words
    assert not {"exported", "export_error", "sessions"} & {one.attributes.get("name") for one in page.controls}
