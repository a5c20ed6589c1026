"""What is done to snapshots from their tab: the gate of the server, revert, delete, note."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from editor.models import Drive, Event, Power, PowerCommand, Server
from snapshots.models import Snapshot
from tests.reading import Page, read
from tests.snapshots.asking import PARTIAL, address, post, sign_in, tab
from tests.snapshots.conftest import World


@pytest.fixture
def browser(client: Client, world: World) -> Client:
    """Somebody who may operate looks at the drive; its server is off."""
    world.switch_off()
    sign_in(client, world.operator)
    return client


# ── Gate ─────────────────────────────────────────────────────────────────────


def test_server_that_is_on_stands_against_reverting_and_can_be_shut_down_here(browser: Client, world: World) -> None:
    world.take("one")
    Server.objects.update(power=Power.ON)

    page = tab(browser, world.pk)
    response = post(browser, "power", world.pk, command="soft_shutdown")

    assert page.control("Revert to #1").unavailable
    assert page.reason("Revert to #1").startswith(
        "Reverting needs web-1 off A running server would keep writing while the drive is replaced. "
        "Snapshots can be created at any time."
    )
    after = read(response)
    assert response.status_code == 200
    assert world.server.power_command == PowerCommand.SOFT_SHUTDOWN
    assert after.texts["gate"] == "web-1 is shutting down. Reverting waits for it. 0:00 of 2:00"
    assert after.control("Revert to #1").unavailable


def test_server_that_is_off_lets_revert_and_can_be_powered_on_here(browser: Client, world: World) -> None:
    world.take("one")

    page = tab(browser, world.pk)
    response = post(browser, "power", world.pk, command="power_on")

    assert page.texts["gate"].startswith("web-1 is off. You can revert.")
    assert not page.control("Revert to #1").unavailable
    assert not page.control("Power on web-1").unavailable
    assert response.status_code == 200
    assert read(response).texts["gate"].startswith("web-1 is powering on. Shut it down first: reverting needs it off.")


def test_unknown_power_says_why(browser: Client, world: World) -> None:
    world.take("one")
    Server.objects.update(power=Power.UNKNOWN, power_error="The BMC did not answer within 3 seconds.")

    gate = tab(browser, world.pk).texts["gate"]

    assert gate.startswith(
        "Power state of web-1 is unknown. Reverting waits until it is known to be off. "
        "The BMC did not answer within 3 seconds."
    )


def test_overdue_shutdown_offers_to_wait_on(browser: Client, world: World) -> None:
    world.take("one")
    Server.objects.update(power=Power.ON)
    post(browser, "power", world.pk, command="soft_shutdown")
    Server.objects.update(power_overdue=True)

    page = tab(browser, world.pk)
    response = post(browser, "power", world.pk, command="keep_waiting")

    assert page.texts["gate"].startswith("web-1 is still on after 2:00 The operating system has not finished stopping.")
    assert page.control("Hard Power Off…").attributes["href"] == reverse(
        "instance_array_instances", args=[world.instance.instance_array_id]
    )
    assert response.status_code == 200
    assert world.server.power_overdue is False


def test_drive_on_no_server_can_be_reverted(browser: Client, world: World) -> None:
    world.take("one")
    Drive.objects.update(instance=None)

    page = tab(browser, world.pk)

    assert page.texts["gate"] == "No server uses this drive. You can revert."
    assert not page.control("Revert to #1").unavailable
    assert post(browser, "power", world.pk, command="power_on").status_code == 404


def test_refused_power_command_is_said_in_place(browser: Client, world: World) -> None:
    world.take("one")

    response = post(browser, "power", world.pk, command="soft_shutdown")

    assert response.status_code == 409
    assert read(response).texts["gate-refused"] == "Nothing was switched web-1 is already off."


def test_power_on_waits_for_the_revert(browser: Client, world: World) -> None:
    snapshot = world.take("one")
    world.revert(snapshot)

    page = tab(browser, world.pk)

    assert page.control("Power on web-1").unavailable
    assert page.reason("Power on web-1").startswith("Reverting to #1…")
    assert post(browser, "power", world.pk, command="power_on").status_code == 409


# ── Revert ───────────────────────────────────────────────────────────────────


def confirm(client: Client, snapshot: Snapshot) -> Page:
    return read(client.get(address("revert", snapshot.pk), headers=PARTIAL))


def expected(snapshot: Snapshot) -> str:
    return ",".join(str(pk) for pk in Snapshot.objects.newer_than(snapshot).values_list("pk", flat=True))


def test_confirmation_says_what_becomes_of_each(browser: Client, world: World) -> None:
    made = [world.take(f"state {number}", f"note {number}") for number in range(1, 5)]
    Snapshot.objects.filter(pk=made[1].pk).update(written_since_bytes=312 * 1024**2)

    page = confirm(browser, made[1])

    assert page.texts["dialog-title"] == "Revert web-data-1 to #2?"
    assert page.texts["dialog-text"].startswith("The drive returns to #2 note 2, taken ")
    assert page.texts["dialog-text"].endswith("What came after is deleted. This cannot be undone.")
    body = page.texts["dialog-body"]
    order = ["Current state", "312 MB written since #2", "Lost", "#4", "Deleted", "#3", "Deleted", "#2", "Restored"]
    at = 0
    for word in [*order, "#1", "Kept"]:
        at = body.index(word, at) + len(word)
    assert "web-1 is off and stays off. Power it on afterwards from web." in body
    assert page.names() == ["Cancel", "Revert and delete 2 snapshots"]


def test_danger_button_says_the_cost(browser: Client, world: World) -> None:
    first, second = world.take("one"), world.take("two")
    Snapshot.objects.filter(pk=second.pk).update(written_since_bytes=312 * 1024**2)

    assert confirm(browser, first).names()[-1] == "Revert and delete 1 snapshot"
    assert confirm(browser, second).names()[-1] == "Revert, lose up to 312 MB"
    Snapshot.objects.filter(pk=second.pk).update(written_since_bytes=0)
    assert confirm(browser, second).names()[-1] == "Revert, lose all written since"


def test_confirmed_revert_closes_the_dialog_and_shows_the_work(browser: Client, world: World) -> None:
    made = [world.take(f"state {number}") for number in range(3)]

    response = post(browser, "revert", made[0].pk, expect=expected(made[0]))
    world.work()
    after = tab(browser, world.pk)

    during = read(response)
    assert (response.status_code, response["HX-Trigger"]) == (200, "close-dialog")
    assert during.texts["reverting"] == "Reverting to #1… Reverting to #1."
    assert during.control("Revert to #1").attributes["aria-busy"] == "true"
    assert after.texts["reverted"] == "web-data-1 reverted to #1. 2 snapshots deleted."
    assert world.content() == "state 0"


def test_reverted_takes_the_focus_once(browser: Client, world: World) -> None:
    snapshot = world.take("one")
    post(browser, "revert", snapshot.pk, expect="")
    world.work()

    content = browser.get(address("list", world.pk), headers=PARTIAL).content.decode()

    event = Event.objects.get(verb="reverted")
    assert f'<h3 id="s-hist" tabindex="-1" data-arrived="{event.pk}">History</h3>' in content


def test_changed_list_shows_the_dialog_again_with_the_new_truth(browser: Client, world: World) -> None:
    first = world.take("one")
    said = expected(first)
    second = world.take("meanwhile")

    response = post(browser, "revert", first.pk, expect=said)

    page = read(response)
    assert (response.status_code, response["HX-Retarget"], response["HX-Reswap"]) == (409, "#dialog", "innerHTML")
    assert f"The list changed while you were reading: Otto Op created #2 at {second.taken_at:%H:%M}. Check again." in (
        page.words
    )
    assert page.names()[-1] == "Revert and delete 1 snapshot"
    assert next(one for one in page.controls if one.attributes.get("name") == "expect").attributes["value"] == str(
        second.pk
    )
    assert world.drive.hold == ""


def test_revert_is_refused_while_the_server_is_on(browser: Client, world: World) -> None:
    snapshot = world.take("one")
    Server.objects.update(power=Power.ON)

    response = post(browser, "revert", snapshot.pk, expect="")

    page = read(response)
    assert (response.status_code, response["HX-Retarget"]) == (409, "#dialog")
    assert "Reverting needs web-1 off. A running server would keep writing while the drive is replaced." in page.words
    assert page.names() == ["Cancel"]
    assert world.drive.hold == ""


def test_snapshot_that_went_while_the_dialog_was_open_is_said_so(browser: Client, world: World) -> None:
    snapshot = world.take("one")
    guess = {"expect": "", "drive": world.pk, "number": 1}
    Snapshot.objects.all().delete()

    response = post(browser, "revert", snapshot.pk, **guess)

    assert response.status_code == 409
    assert "#1 does not exist any more. Nothing was reverted." in read(response).words


def test_same_confirmation_twice_reverts_once(browser: Client, world: World) -> None:
    snapshot = world.take("one")
    key = str(uuid4())

    answers = [post(browser, "revert", snapshot.pk, expect="", key=key) for _ in range(2)]
    world.work()
    answers.append(post(browser, "revert", snapshot.pk, expect="", key=key))
    world.work()

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert Event.objects.filter(verb="reverted").count() == 1


@pytest.mark.parametrize("garbled", [{"expect": "1,two"}, {"expect": "", "key": "not a key"}])
def test_unreadable_confirmation_does_nothing(browser: Client, world: World, garbled: dict[str, str]) -> None:
    snapshot = world.take("one")

    response = post(browser, "revert", snapshot.pk, **garbled)

    assert response.status_code == 422
    assert "This form cannot be read. Nothing was done. Reload the page and try again." in read(response).words
    assert world.drive.hold == ""


@pytest.mark.parametrize("garbled", [{"key": "not a key"}, {"expect_delete": "the oldest"}, {"expect_delete": "-1"}])
def test_unreadable_wish_does_nothing(browser: Client, world: World, garbled: dict[str, str]) -> None:
    response = post(browser, "create", world.pk, **garbled)

    assert response.status_code == 422
    assert "This form cannot be read." in read(response).texts["create-refused"]
    assert not Snapshot.objects.exists()


def test_without_javascript_the_confirmation_is_a_page_and_works(browser: Client, world: World) -> None:
    snapshot = world.take("one")

    page = browser.get(address("revert", snapshot.pk))
    response = browser.post(address("revert", snapshot.pk), {"expect": "", "key": str(uuid4())})

    assert page.content.lstrip().lower().startswith(b"<!doctype html>")
    assert "Revert web-data-1 to #1?" in read(page).words
    assert (response.status_code, response["Location"]) == (302, address("list", world.pk))
    assert world.drive.hold == "Reverting to #1."


# ── Delete, note ─────────────────────────────────────────────────────────────


def test_delete_says_what_is_lost_and_the_list_is_right_at_once(browser: Client, world: World) -> None:
    snapshot = world.take("one", "golden image")
    world.take("two")

    dialog = read(browser.get(address("delete", snapshot.pk), headers=PARTIAL))
    response = post(browser, "delete", snapshot.pk)

    assert dialog.texts["dialog-title"] == "Delete #1?"
    assert dialog.texts["dialog-text"].startswith("web-data-1 can no longer return to #1 golden image, taken ")
    assert dialog.names() == ["Cancel", "Delete #1"]
    assert (response.status_code, response["HX-Trigger"]) == (200, "close-dialog")
    assert read(response).texts["create-hint"] == "Snapshot #1 deleted."
    assert world.numbers() == [2]


def test_delete_is_refused_while_the_drive_is_held(browser: Client, world: World) -> None:
    snapshot = world.take("one")
    post(browser, "create", world.pk)

    response = post(browser, "delete", snapshot.pk)

    assert (response.status_code, response["HX-Retarget"]) == (409, "#dialog")
    assert "web-data-1 is busy: Creating snapshot #2." in read(response).words


def test_deleted_already_is_said_so(browser: Client, world: World) -> None:
    snapshot = world.take("one")
    Snapshot.objects.all().delete()

    response = post(browser, "delete", snapshot.pk, drive=world.pk, number=1)

    assert response.status_code == 409
    assert "#1 was deleted already." in read(response).words


def test_note_is_edited_where_it_stands(browser: Client, world: World) -> None:
    snapshot = world.take("one", "befor upgrade")

    form = browser.get(address("note", snapshot.pk), headers=PARTIAL)
    answer = post(browser, "note", snapshot.pk, note="before upgrade")
    unchanged = browser.get(address("note", snapshot.pk), {"as": "text"}, headers=PARTIAL)

    assert read(form).value("snap-1-edit") == "befor upgrade"
    assert b"hx-morph-skip" in form.content
    assert read(answer).texts["snap-1-name"] == read(unchanged).texts["snap-1-name"] == "#1before upgrade"
    assert b"hx-morph-skip" not in answer.content


def test_note_that_is_too_long_comes_back_with_the_reason(browser: Client, world: World) -> None:
    snapshot = world.take("one", "as it was")

    response = post(browser, "note", snapshot.pk, note="x" * 81)

    assert response.status_code == 422
    assert read(response).texts["snap-1-error"] == "A note has at most 80 characters. Shorten it and try again."
    assert Snapshot.objects.get().note == "as it was"


def test_note_of_a_snapshot_that_went_is_refused(browser: Client, world: World) -> None:
    snapshot = world.take("one")
    Snapshot.objects.all().delete()

    response = post(browser, "note", snapshot.pk, note="late", drive=world.pk, number=1)

    assert response.status_code == 409
    assert "#1 does not exist any more. The note was not saved." in read(response).words


def test_without_javascript_the_note_is_edited_in_the_list(browser: Client, world: World) -> None:
    snapshot = world.take("one", "befor upgrade")

    page = browser.get(address("note", snapshot.pk))
    response = browser.post(address("note", snapshot.pk), {"note": "before upgrade"})

    assert read(page).value("snap-1-edit") == "befor upgrade"
    assert page.content.lstrip().lower().startswith(b"<!doctype html>")
    assert (response.status_code, response["Location"]) == (302, address("list", world.pk))
    assert Snapshot.objects.get().note == "before upgrade"
