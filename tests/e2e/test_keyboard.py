"""Both walks with nothing but a keyboard."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.e2e.hands import Hands
from tests.e2e.people import People
from tests.e2e.product import PASSWORD
from tests.e2e.steps import (
    card,
    create_button,
    dialog,
    history_says,
    is_live,
    note_field,
    panel,
    power_is,
    press,
    revert_button,
    shows_tab,
    tab,
    tab_to,
    without_page_load,
)


def test_snapshot_is_created_with_the_keyboard_alone(people: People, hands: Hands) -> None:
    world = hands.make(count=1)
    page = people.open(None, "/")
    expect(page.get_by_label("Email")).to_be_focused()
    page.keyboard.type("ana@example.org")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    press(page, page.get_by_role("link", name=world.label, exact=True))
    is_live(page)

    with without_page_load(page):
        press(page, card(page, "DriveArray web-data"))
        expect(panel(page).get_by_role("heading", name="web-data", exact=True)).to_be_focused()
        press(page, tab(page, "Drives"))
        shows_tab(page, "web-data", "Drives")
        expect(tab(page, "Drives")).to_be_focused()
        press(page, panel(page).get_by_role("link", name="web-data-1", exact=True))
        expect(panel(page).get_by_role("heading", name="web-data-1", exact=True)).to_be_focused()
        press(page, tab(page, "Snapshots"))
        tab_to(page, note_field(page))
        page.keyboard.type("before upgrade")
        press(page, create_button(page))

        history_says(page, "#1before upgrade")
        expect(create_button(page)).to_be_focused()
        page.keyboard.press("Escape")
        expect(panel(page)).to_be_hidden()


def test_drive_is_reverted_with_the_keyboard_alone(people: People, hands: Hands) -> None:
    world = hands.make(count=1, power="on", snapshots=2, texts=["one", "two", "now"])
    page = people.open("ana", world.canvas)

    with without_page_load(page):
        press(page, card(page, "InstanceArray web"))
        press(page, tab(page, "Instances"))
        press(page, panel(page).get_by_role("checkbox", name="Select web-1"), "Space")
        tab_to(page, panel(page).get_by_role("button", name="Soft Shutdown", exact=True), key="Shift+Tab")
        page.keyboard.press("Enter")
        power_is(page, "web-1", "Shutting down")
        hands.press_power_button(world.instances[0], "off")
        power_is(page, "web-1", "Off")

        page.keyboard.press("Escape")
        expect(card(page, "InstanceArray web")).to_be_focused()
        press(page, card(page, "DriveArray web-data"))
        press(page, tab(page, "Drives"))
        press(page, panel(page).get_by_role("link", name="web-data-1", exact=True))
        press(page, tab(page, "Snapshots"))
        press(page, revert_button(page, 1))
        expect(dialog(page).get_by_role("button", name="Cancel")).to_be_focused()
        page.keyboard.press("Escape")
        expect(revert_button(page, 1)).to_be_focused()
        page.keyboard.press("Enter")
        press(page, dialog(page).get_by_role("button", name="Revert and delete 1 snapshot"))
        expect(panel(page).get_by_text("web-data-1 reverted to #1. 1 snapshot deleted.")).to_be_visible()
        expect(panel(page).get_by_role("heading", name="History")).to_be_focused()
        assert hands.text(world.drives[0]) == "one"

        press(page, panel(page).get_by_role("button", name="Power on web-1"))
        expect(panel(page).get_by_text(re.compile("web-1 is powering on"))).to_be_visible()
        hands.press_power_button(world.instances[0], "on")
        expect(panel(page).get_by_role("heading", name="Reverting needs web-1 off")).to_be_visible()


def test_focus_goes_from_canvas_to_panel_and_back(people: People, hands: Hands) -> None:
    world = hands.make()
    page = people.open("ana", world.canvas)
    tab_to(page, card(page, "InstanceArray web"))

    with without_page_load(page):
        page.keyboard.press("ArrowDown")
        expect(page.locator(":focus")).not_to_have_text("web")
        tab_to(page, card(page, "DriveArray web-data"))
        page.keyboard.press("Enter")
        expect(panel(page).get_by_role("heading", name="web-data", exact=True)).to_be_focused()
        page.keyboard.press("F6")
        expect(card(page, "DriveArray web-data")).to_be_focused()
        page.keyboard.press("F6")
        expect(page.locator("#panel :focus, #panel:focus")).to_have_count(1)
        page.keyboard.press("]")
        shows_tab(page, "web-data", "Drives")
        page.keyboard.press("Escape")
        expect(panel(page)).to_be_hidden()
        expect(card(page, "DriveArray web-data")).to_be_focused()


def test_panel_that_was_opened_by_its_address_closes_onto_its_card(people: People, hands: Hands) -> None:
    world = hands.make()
    page = people.open("ana", world.drive(1))
    is_live(page)

    with without_page_load(page):
        page.keyboard.press("Escape")
        expect(panel(page)).to_be_hidden()

    expect(card(page, "DriveArray web-data")).to_be_focused()


def test_card_is_moved_and_tidied_up_with_keys(people: People, hands: Hands) -> None:
    world = hands.make()
    page = people.open("ana", world.canvas)
    item = page.locator(f"#node-instance-array-{world.instance_array}")
    tab_to(page, card(page, "InstanceArray web"))
    x = item.get_attribute("data-x") or ""

    with page.expect_response("**/move/"):
        page.keyboard.press("Alt+ArrowRight")
    expect(item).not_to_have_attribute("data-x", x)
    with page.expect_response("**/tidy/"):
        page.keyboard.press("Shift+T")

    expect(item).to_have_attribute("data-x", x)
    expect(card(page, "InstanceArray web")).to_be_focused()


def test_outline_and_sheet_of_shortcuts_open_with_one_key(people: People, hands: Hands) -> None:
    world = hands.make()
    page = people.open("ana", world.canvas)
    toggle = page.get_by_role("button", name="Outline")
    expect(toggle).to_have_attribute("aria-pressed", "false")

    page.keyboard.press("o")
    expect(toggle).to_have_attribute("aria-pressed", "true")
    expect(card(page, "DriveArray web-data")).to_be_visible()
    page.keyboard.press("?")
    expect(dialog(page).get_by_role("heading", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog(page)).to_be_hidden()
    page.keyboard.press("o")

    expect(toggle).to_have_attribute("aria-pressed", "false")
