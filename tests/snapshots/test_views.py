"""The Snapshots tab: what it says, what it refuses, and how each answer is shaped."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from editor.models import Drive, Event, Power, Result, Server
from snapshots.models import Snapshot, State
from tests import factories
from tests.reading import read
from tests.snapshots.asking import PARTIAL, address, post, sign_in, tab
from tests.snapshots.conftest import World


@pytest.fixture
def browser(client: Client, world: World) -> Client:
    """Somebody who may operate looks at the drive; its server is off."""
    world.switch_off()
    sign_in(client, world.operator)
    return client


# ── Reading ──────────────────────────────────────────────────────────────────


def test_tab_of_a_new_drive_invites_to_take_the_first_one(browser: Client, world: World) -> None:
    page = tab(browser, world.pk)

    assert "No snapshots yet" in page.words
    assert (
        "A snapshot remembers web-data-1 exactly as it is now, so you can return to it. "
        "It takes no time and little space: only later changes are stored."
    ) in page.words
    assert "0 of 5 in use, oldest first" in page.words
    assert page.texts["create-hint"] == "Instant, no deploy needed. The server can stay on."


def test_tabs_are_links_whose_count_is_not_in_the_name(browser: Client, world: World) -> None:
    world.take("one")

    page = tab(browser, world.pk)

    names = page.names("a")
    assert names[names.index("Overview") :] == ["Overview", "Snapshots", "iSCSI", "Activity"]
    assert page.control("Snapshots").attributes["aria-current"] == "page"
    assert "Snapshots1/5" in page.words.replace(" ", "")


def test_history_is_newest_first_and_says_who_and_how_much(browser: Client, world: World) -> None:
    world.take("one", "before upgrade")
    world.take("two", "")
    Snapshot.objects.filter(number=1).update(written_since_bytes=5 * 1024**3 // 2)
    Snapshot.objects.filter(number=2).update(written_since_bytes=0)

    page = tab(browser, world.pk)

    assert [name for name in page.names() if name.startswith("Revert to")] == ["Revert to #2", "Revert to #1"]
    assert "0 B written since #2" in page.texts["snap-head"]
    assert "before upgrade" in page.texts["snap-1"]
    assert "Otto Op" in page.texts["snap-1"]
    assert "up to 2.50 GB written since" in page.texts["snap-1"]


def test_full_drive_says_beforehand_which_one_goes(browser: Client, world: World) -> None:
    for number in range(5):
        world.take(f"state {number}", f"note {number + 1}")

    page = tab(browser, world.pk)

    oldest = Snapshot.objects.get(number=1)
    assert page.control("Create snapshot, delete #1").tag == "button"
    assert page.texts["create-hint"].startswith(
        "All 5 slots are in use. The next snapshot deletes the oldest: #1 note 1, "
    )
    assert page.texts["slot-1"] == "#1deleted next"
    assert page.value("create-expect") == str(oldest.pk)


def test_cold_address_is_a_whole_page(browser: Client, world: World) -> None:
    response = browser.get(address("list", world.pk))

    assert response.status_code == 200
    assert response.content.lstrip().lower().startswith(b"<!doctype html>")
    assert "HX-Request-Type" in response["Vary"]


@pytest.mark.parametrize("name", ["list", "create", "power"])
def test_drive_of_others_does_not_exist(client: Client, world: World, name: str) -> None:
    sign_in(client, world.stranger)

    method = client.get if name == "list" else client.post

    assert method(address(name, world.pk)).status_code == 404


@pytest.mark.parametrize("name", ["revert", "delete", "note"])
def test_snapshot_of_others_does_not_exist(client: Client, world: World, name: str) -> None:
    snapshot = world.take("one")
    sign_in(client, world.stranger)
    guess = {"drive": world.pk, "number": 1, "expect": ""}

    assert client.get(address(name, snapshot.pk)).status_code == 404
    assert client.post(address(name, snapshot.pk), guess).status_code == 404
    assert world.numbers() == [1]


def test_number_of_queries_does_not_depend_on_the_number_of_snapshots(
    browser: Client, world: World, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    tab(browser, world.pk)  # whatever is read once per process
    with django_assert_num_queries(11):
        tab(browser, world.pk)
    for number in range(5):
        world.take(f"state {number}")

    with django_assert_num_queries(11):
        tab(browser, world.pk)


def test_one_typed_field_and_no_autofocus_in_what_is_refreshed(browser: Client, world: World) -> None:
    content = browser.get(address("list", world.pk), headers=PARTIAL).content.decode()

    assert "autofocus" not in content
    assert (
        f'hx-trigger="drive-{world.pk} from:body, {world.drive.pool.topic} from:body, panel-refresh from:body"'
        in content
    )
    assert content.count("hx-morph-skip") == content.count('type="hidden" name="key"')


# ── Viewer ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("headers", [PARTIAL, {}])
def test_viewer_sees_every_control_unavailable_with_the_reason(
    client: Client, world: World, headers: dict[str, str]
) -> None:
    world.take("one")
    sign_in(client, world.viewer)

    page = read(client.get(address("list", world.pk), headers=headers))

    reason = "You can look but not change anything here. Ask an owner to make you an operator."
    for name in ("Create snapshot", "Revert to #1", "Delete #1…", "Edit note of #1", "Shut down web-1 first"):
        assert page.control(name).unavailable, name
        assert page.reason(name) == reason, name


def test_viewer_is_not_told_to_revert(client: Client, world: World) -> None:
    world.take("one")
    Server.objects.update(power=Power.OFF)
    sign_in(client, world.viewer)

    page = read(client.get(address("list", world.pk)))

    assert page.texts["gate"] == "web-1 is off. seen 1 min ago by its BMC Power on web-1"
    assert page.control("Power on web-1").unavailable


def test_viewer_changes_nothing_whatever_is_sent(client: Client, world: World) -> None:
    snapshot = world.take("one", "as it was")
    world.switch_off()
    sign_in(client, world.viewer)

    answers: list[Any] = [
        post(client, "create", world.pk),
        post(client, "power", world.pk, command="power_on"),
        post(client, "revert", snapshot.pk, expect=""),
        post(client, "delete", snapshot.pk),
        post(client, "note", snapshot.pk, note="changed"),
        client.post(reverse("drive_dismiss", args=[world.pk]), headers=PARTIAL),
    ]

    assert [answer.status_code for answer in answers] == [409] * 6
    assert all("You can look but not change anything here." in answer.content.decode() for answer in answers)
    snapshot.refresh_from_db()
    assert (world.numbers(), snapshot.state, snapshot.note) == ([1], State.READY, "as it was")
    assert world.server.power_command == ""


# ── Create ───────────────────────────────────────────────────────────────────


def test_create_answers_at_once_with_the_row_in_work(browser: Client, world: World) -> None:
    response = post(browser, "create", world.pk, note="before upgrade")

    page = read(response)
    button = page.control("Creating…")
    assert response.status_code == 200
    assert (button.attributes["aria-busy"], button.unavailable) == ("true", True)
    assert page.reason("Creating…") == "web-data-1 is busy: Creating snapshot #1. Try again in a moment."
    assert "before upgrade" in page.texts["snap-1"]
    assert "Creating…" in page.texts["snap-1"]
    assert "every 1s" in response.content.decode()
    assert page.value("create-note") == ""


def test_created_snapshot_is_told_to_whoever_asked_and_to_nobody_else(browser: Client, world: World) -> None:
    post(browser, "create", world.pk)
    world.work()
    event = Event.objects.get(verb="created snapshot #1 of")

    mine = tab(browser, world.pk)
    sign_in(browser, world.owner)
    others = tab(browser, world.pk)

    assert mine.texts["create-hint"] == f"Snapshot #1 created at {event.at:%H:%M:%S}. 4 slots are still free."
    assert others.texts["create-hint"] == "Instant, no deploy needed. The server can stay on."
    assert not mine.control("Create snapshot").unavailable


def test_last_free_slot_is_said_in_words(browser: Client, world: World) -> None:
    for number in range(3):
        world.take(f"state {number}")
    post(browser, "create", world.pk)
    world.work()

    assert tab(browser, world.pk).texts["create-hint"].endswith("One slot is still free.")


def test_sixth_deletes_the_oldest_and_never_shows_six(browser: Client, world: World) -> None:
    for number in range(5):
        world.take(f"state {number}")
    expect = Snapshot.objects.get(number=1).pk

    during = read(post(browser, "create", world.pk, expect_delete=expect))
    world.work()
    after = tab(browser, world.pk)

    rows = [name for name in during.names() if name.startswith("Revert to")]
    assert rows == [f"Revert to #{number}" for number in (6, 5, 4, 3, 2)]
    assert during.texts["slot-1"] == "#1being deleted"
    assert "5 of 5 in use" in during.words
    assert "#1 was deleted." in after.texts["create-hint"]
    assert "The next snapshot deletes the oldest: #2" in after.texts["create-hint"]


def test_same_form_twice_makes_one_snapshot(browser: Client, world: World) -> None:
    key = str(uuid4())

    answers = [post(browser, "create", world.pk, key=key) for _ in range(2)]
    world.work()
    again = post(browser, "create", world.pk, key=key)

    assert [answer.status_code for answer in (*answers, again)] == [200, 200, 200]
    assert world.numbers() == [1]


def test_create_is_refused_when_another_one_would_go_than_was_said(browser: Client, world: World) -> None:
    for number in range(5):
        world.take(f"state {number}")
    said = Snapshot.objects.get(number=1).pk
    world.take("meanwhile")

    response = post(browser, "create", world.pk, expect_delete=said, note="half-typed")

    page = read(response)
    assert response.status_code == 409
    assert page.texts["create-refused"] == (
        "Snapshot not created The list changed while you were reading: the next snapshot now deletes #2. "
        "Nothing was created yet; check again."
    )
    assert page.value("create-expect") == str(Snapshot.objects.get(number=2).pk)
    assert page.value("create-note") == "half-typed"
    assert world.numbers() == [6, 5, 4, 3, 2]


def test_create_is_refused_while_the_drive_is_held(browser: Client, world: World) -> None:
    post(browser, "create", world.pk)

    response = post(browser, "create", world.pk)

    assert response.status_code == 409
    assert "web-data-1 is busy: Creating snapshot #1. Try again in a moment." in read(response).texts["create-refused"]
    assert Snapshot.objects.count() == 1


def test_create_is_refused_before_the_drive_exists(browser: Client, world: World) -> None:
    Drive.objects.filter(pk=world.pk).update(head_layer=None)

    page = tab(browser, world.pk)
    response = post(browser, "create", world.pk)

    assert page.reason("Create snapshot") == "web-data-1 does not exist yet. Deploy it first."
    assert response.status_code == 409


def test_too_long_note_is_refused_at_the_field(browser: Client, world: World) -> None:
    response = post(browser, "create", world.pk, note="x" * 81)

    page = read(response)
    assert response.status_code == 422
    assert page.texts["create-note-error"] == "A note has at most 80 characters. Shorten it and try again."
    assert page.value("create-note") == "x" * 81
    assert not Snapshot.objects.exists()


def test_without_javascript_creating_ends_in_a_redirect(browser: Client, world: World) -> None:
    response = browser.post(address("create", world.pk), {"key": str(uuid4())})

    assert (response.status_code, response["Location"]) == (302, address("list", world.pk))


# ── Trouble ──────────────────────────────────────────────────────────────────


def fail(world: World, verb: str, *, detail: str = "qemu-img: exit 1") -> None:
    drive = world.drive
    event = Event.objects.record(
        drive.drive_array.infrastructure_id,
        verb,
        drive.label,
        topics=[drive.topic],
        text="Storage did not answer within 10 seconds. Nothing was changed.",
        detail=detail,
        result=Result.FAILED,
    )
    Drive.objects.filter(pk=world.pk).update(trouble=event)


@pytest.mark.parametrize(
    ("verb", "heading", "again"),
    [
        ("could not create snapshot #2 of", "Snapshot not created", True),
        ("could not revert to #1:", "Drive not reverted", True),
        ("could not revert to #9:", "Drive not reverted", False),
        ("met something unheard of in", "Something needs attention", False),
    ],
)
def test_failure_says_what_did_not_happen(browser: Client, world: World, verb: str, heading: str, again: bool) -> None:
    world.take("one")
    fail(world, verb)

    page = tab(browser, world.pk)

    assert page.texts["trouble"].startswith(f"{heading} Storage did not answer within 10 seconds. Nothing was changed.")
    assert ("Try again" in page.names()) is again
    assert "Details for support" in page.texts["trouble-details"]
    assert "qemu-img: exit 1" in page.texts["trouble-details"]


def test_dismissed_failure_is_gone_and_the_page_looks_again(browser: Client, world: World) -> None:
    fail(world, "could not create snapshot #1 of")

    response = browser.post(reverse("drive_dismiss", args=[world.pk]), headers=PARTIAL)

    assert (response.status_code, response["HX-Trigger"]) == (204, f"drive-{world.pk}")
    assert "trouble" not in tab(browser, world.pk).texts
    assert browser.post(reverse("drive_dismiss", args=[world.pk])).status_code == 302


def test_failure_after_a_success_takes_the_good_news_away(browser: Client, world: World) -> None:
    post(browser, "create", world.pk)
    world.work()
    drive = world.drive
    factories.make_snapshots(drive, 0)
    Event.objects.record(
        drive.drive_array.infrastructure_id,
        "could not create snapshot #2 of",
        drive.label,
        topics=[drive.topic],
        url=drive.get_absolute_url(),
        by=world.operator,
        result=Result.FAILED,
    )

    assert "created at" not in tab(browser, world.pk).texts["create-hint"]
