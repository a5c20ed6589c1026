"""The two walks of a person, step by step, on real drives: a snapshot is taken, and the drive goes back to one."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.e2e.hands import Hands
from tests.e2e.people import People
from tests.e2e.product import PASSWORD, Product
from tests.e2e.steps import (
    card,
    create_button,
    create_snapshot,
    dialog,
    history_says,
    is_live,
    note_field,
    panel,
    power_is,
    revert_button,
    select_and,
    shows_tab,
    tab,
    without_page_load,
)


def test_snapshot_is_created_on_the_way_from_signing_in(people: People, hands: Hands) -> None:
    world = hands.make()
    page = people.open(None, "/")
    page.get_by_label("Email").fill("ana@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name=world.label, exact=True).click()
    is_live(page)
    expect(page.get_by_role("heading", level=1)).to_contain_text(world.label)

    with without_page_load(page):
        card(page, "DriveArray web-data").click()
        shows_tab(page, "web-data", "Overview")
        expect(tab(page, "Activity")).to_be_visible()
        tab(page, "Drives").click()
        shows_tab(page, "web-data", "Drives")
        panel(page).get_by_role("link", name="web-data-2", exact=True).click()
        shows_tab(page, "web-data-2", "Overview")
        expect(tab(page, "Activity")).to_be_visible()
        tab(page, "Snapshots").click()
        shows_tab(page, "web-data-2", "Snapshots")
        expect(panel(page).get_by_text("No snapshots yet")).to_be_visible()

        create_snapshot(page)
        history_says(page, "#1")
        expect(
            panel(page).get_by_text(re.compile(r"^Snapshot #1 created at .* 4 slots are still free\.$"))
        ).to_be_visible()
        expect(create_button(page)).to_be_focused()

        note_field(page).fill("before upgrade")
        create_snapshot(page)
        history_says(page, "#2before upgrade", "#1")
        expect(note_field(page)).to_have_value("")

    expect(page).to_have_url(re.compile(re.escape(world.drive(2)) + "$"))
    assert hands.facts(world.drives[1])["snapshots"] == [[1, "", "ready"], [2, "before upgrade", "ready"]]


def test_drive_is_reverted_and_its_bytes_are_those_of_the_snapshot(
    people: People, hands: Hands, product: Product
) -> None:
    world = hands.make()
    drive, path = world.drives[1], f"{world.label}/web-data-2"
    product.manage("drive", "write", path, "--text", "as it was")
    then = product.manage("drive", "hash", path)
    page = people.open("ana", world.drive(2))

    with without_page_load(page):
        note_field(page).fill("golden")
        create_snapshot(page)
        history_says(page, "#1golden")
        hands.write(drive, "spoiled!!")
        assert hands.text(drive) == "spoiled!!"
        create_snapshot(page)
        history_says(page, "#2", "#1golden")

        # Its InstanceArray: off it goes.
        card(page, "InstanceArray web").click()
        shows_tab(page, "web", "Overview")
        expect(tab(page, "Networks")).to_be_visible()
        expect(tab(page, "Activity")).to_be_visible()
        tab(page, "Instances").click()
        select_and(page, "web-2", "Power On")
        hands.press_power_button(world.instances[1], "on")  # a machine that is quick to start
        power_is(page, "web-2", "On")
        select_and(page, "web-2", "Soft Shutdown")
        power_is(page, "web-2", "Shutting down")
        power_is(page, "web-1", "Off")
        power_is(page, "web-2", "Off")

        # Back to the drive.
        card(page, "DriveArray web-data").click()
        tab(page, "Drives").click()
        panel(page).get_by_role("link", name="web-data-2", exact=True).click()
        tab(page, "Snapshots").click()
        expect(panel(page).get_by_text("web-2 is off. You can revert.")).to_be_visible()
        revert_button(page, 1).click()

        expect(dialog(page).get_by_role("heading", name="Revert web-data-2 to #1?")).to_be_visible()
        expect(dialog(page)).to_contain_text("The drive returns to #1 golden, taken ")
        expect(dialog(page)).to_contain_text("This cannot be undone.")
        expect(dialog(page).get_by_role("listitem")).to_contain_text(["Lost", "#2", "#1golden"])
        expect(dialog(page).get_by_role("listitem")).to_contain_text(["Lost", "Deleted", "Restored"])
        expect(dialog(page)).to_contain_text("web-2 is off and stays off. Power it on afterwards from web.")
        expect(dialog(page).get_by_role("button", name="Cancel")).to_be_focused()
        dialog(page).get_by_role("button", name="Revert and delete 1 snapshot").click()

        expect(panel(page).get_by_text("web-data-2 reverted to #1. 1 snapshot deleted.")).to_be_visible()
        expect(dialog(page)).to_be_hidden()
        history_says(page, "#1golden")
        assert (product.manage("drive", "hash", path), hands.text(drive)) == (then, "as it was")

        # And on again.
        card(page, "InstanceArray web").click()
        tab(page, "Instances").click()
        select_and(page, "web-2", "Power On")
        power_is(page, "web-2", "Powering on")
        hands.press_power_button(world.instances[1], "on")
        power_is(page, "web-2", "On")

    assert hands.facts(drive)["snapshots"] == [[1, "golden", "ready"]]


def test_full_drive_says_what_goes_and_lets_it_go(people: People, hands: Hands) -> None:
    world = hands.make(count=1, snapshots=5)
    page = people.open("tomas", world.drive(1))
    expect(panel(page).get_by_text("All 5 slots are in use. The next snapshot deletes the oldest")).to_contain_text(
        "#1 note 1"
    )
    expect(panel(page).get_by_role("list", name="Slots").get_by_role("listitem").first).to_have_text("#1deleted next")

    create_snapshot(page, "Create snapshot, delete #1")

    history_says(page, "#6", "#5", "#4", "#3", "#2")
    expect(panel(page).get_by_text(re.compile(r"^Snapshot #6 created at .* #1 was deleted\.$"))).to_be_visible()
    expect(create_button(page, "Create snapshot, delete #2")).to_be_focused()


def test_danger_button_counts_what_it_deletes(people: People, hands: Hands) -> None:
    world = hands.make(count=1, snapshots=3, texts=["one", "two", "three", "now"])
    page = people.open("ana", world.drive(1))

    revert_button(page, 1).click()
    expect(dialog(page).get_by_role("button", name="Revert and delete 2 snapshots")).to_be_visible()
    expect(dialog(page).get_by_role("listitem")).to_contain_text(["Lost", "#3", "#2", "#1"])
    page.keyboard.press("Escape")
    expect(revert_button(page, 1)).to_be_focused()
    revert_button(page, 2).click()
    expect(dialog(page).get_by_role("button", name="Revert and delete 1 snapshot")).to_be_visible()
    dialog(page).get_by_role("button", name="Cancel").click()
    revert_button(page, 3).click()
    expect(dialog(page).get_by_role("listitem")).to_contain_text(["Lost", "Restored", "Kept", "Kept"])
    dialog(page).get_by_role("button", name=re.compile(r"^Revert, lose up to \d")).click()

    expect(panel(page).get_by_text("web-data-1 reverted to #3. No snapshot deleted.")).to_be_visible()
    expect(panel(page).get_by_role("heading", name="History")).to_be_focused()
    history_says(page, "#3", "#2", "#1")
    assert hands.text(world.drives[0]) == "three"


def test_older_snapshots_outlive_a_revert_and_can_be_reverted_to(people: People, hands: Hands) -> None:
    world = hands.make(count=1, snapshots=3, texts=["one", "two", "three", "now"])
    page = people.open("ana", world.drive(1))

    # Not twice to the same one: the good news of the first would be taken for that of the second.
    for number, text in ((2, "two"), (1, "one")):
        revert_button(page, number).click()
        dialog(page).get_by_role("button", name=re.compile("^Revert")).click()
        expect(panel(page).get_by_text(f"web-data-1 reverted to #{number}.")).to_be_visible()
        expect(revert_button(page, number)).to_be_enabled()
        assert hands.text(world.drives[0]) == text

    history_says(page, "#1")


def test_one_snapshot_is_deleted_after_a_confirmation(people: People, hands: Hands) -> None:
    world = hands.make(count=1, snapshots=2, texts=["one", "two", "now"])
    page = people.open("ana", world.drive(1))

    panel(page).get_by_role("button", name="Delete #1…").click()
    expect(dialog(page)).to_contain_text("web-data-1 can no longer return to #1 note 1, taken ")
    expect(dialog(page).get_by_role("button", name="Cancel")).to_be_focused()
    dialog(page).get_by_role("button", name="Delete #1", exact=True).click()

    history_says(page, "#2")
    expect(dialog(page)).to_be_hidden()
    assert hands.text(world.drives[0]) == "now"


def test_note_is_edited_where_it_stands(people: People, hands: Hands) -> None:
    world = hands.make(count=1, snapshots=2)
    page = people.open("ana", world.drive(1))

    panel(page).get_by_role("button", name="Edit note of #2").click()
    field = panel(page).get_by_role("textbox", name="Note of #2")
    expect(field).to_be_focused()
    expect(field).to_have_value("note 2")
    field.fill("after index rebuild")
    field.press("Enter")

    history_says(page, "#2after index rebuild", "#1note 1")
    expect(panel(page).get_by_role("button", name="Edit note of #2")).to_be_focused()
    panel(page).get_by_role("button", name="Edit note of #1").click()
    expect(panel(page).get_by_role("textbox", name="Note of #1")).to_be_focused()
    page.keyboard.press("Escape")
    expect(panel(page).get_by_role("textbox", name="Note of #1")).to_be_hidden()
    history_says(page, "#2after index rebuild", "#1note 1")
