"""Two browsers on one infrastructure: what one does, the other sees within a second, and is not disturbed by it."""

from __future__ import annotations

import re
from contextlib import suppress

from playwright.sync_api import Error, Locator, Page, Route, expect

from tests.e2e.hands import Hands
from tests.e2e.people import People
from tests.e2e.product import Product
from tests.e2e.steps import (
    card,
    create_button,
    history_says,
    is_live,
    note_field,
    panel,
    power_is,
    select_and,
    tab,
    without_page_load,
)

SECOND_MS = 1000


def place(page: Page, name: str) -> Locator:
    """The item of the canvas that a card is."""
    return page.get_by_role("listitem").filter(has=card(page, name)).last


def test_power_is_seen_by_others_within_a_second(people: People, hands: Hands) -> None:
    world = hands.make(power="on", snapshots=1)
    ana, tomas = people.open("ana", world.list_of_instances), people.open("tomas", world.drive(2))
    vera = people.open("vera", world.canvas)
    for page in (ana, tomas, vera):
        is_live(page)
    glyphs = vera.get_by_role("list", name="Instances of web")

    with without_page_load(tomas), without_page_load(vera):
        select_and(ana, "web-2", "Soft Shutdown")
        power_is(ana, "web-2", "Shutting down")
        waiting = panel(tomas).get_by_text("web-2 is shutting down. Reverting waits for it.")
        expect(waiting).to_be_visible(timeout=SECOND_MS)
        expect(glyphs.get_by_role("link", name="web-2")).to_have_accessible_name(
            "web-2, shutting down", timeout=SECOND_MS
        )
        hands.press_power_button(world.instances[1], "off")
        power_is(ana, "web-2", "Off")
        expect(glyphs.get_by_role("link", name="web-2")).to_have_accessible_name("web-2, off", timeout=SECOND_MS)
        expect(vera.get_by_role("list", name="Servers by power state")).to_contain_text("1 off", timeout=SECOND_MS)
    glyphs.get_by_role("link", name="web-2").hover()
    expect(vera.get_by_role("tooltip")).to_have_text(re.compile("web-2, off, seen (just now|[0-9]+ s ago)"))


def test_what_happens_while_a_panel_is_on_its_way_is_seen_when_it_comes(people: People, hands: Hands) -> None:
    world = hands.make(count=1)
    page = people.open("ana", f"/drives/{world.drives[0]}/")
    is_live(page)

    def hold_back(route: Route) -> None:
        answer = route.fetch()
        hands.create(world.drives[0], by="tomas")
        expect(page.get_by_role("contentinfo")).to_contain_text("1 snapshot")
        route.fulfill(response=answer)

    page.route(f"**{world.drive(1)}", hold_back, times=1)
    tab(page, "Snapshots").click()

    history_says(page, "#1")


def test_panel_that_was_asked_for_last_stays_however_late_another_one_comes(people: People, hands: Hands) -> None:
    world = hands.make(count=1)
    page = people.open("ana", f"/drives/{world.drives[0]}/")
    is_live(page)
    held: list[Route] = []

    def hold_back(route: Route) -> None:
        held.append(route)

    page.route(f"**{world.drive(1)}", hold_back, times=1)
    with page.expect_request(f"**{world.drive(1)}"):
        tab(page, "Snapshots").click()
    tab(page, "Activity").click()
    expect(tab(page, "Activity")).to_have_attribute("aria-current", "page")
    with suppress(Error):  # nobody waits for it any more
        held[0].continue_()
    hands.create(world.drives[0], by="tomas")
    expect(page.get_by_role("contentinfo")).to_contain_text("1 snapshot")

    expect(tab(page, "Activity")).to_have_attribute("aria-current", "page")
    expect(page).to_have_url(re.compile("/activity/$"))


def test_snapshot_is_seen_by_others_who_keep_their_place(people: People, hands: Hands) -> None:
    world = hands.make(count=1, snapshots=4)
    ana = people.open("ana", world.drive(1))
    tomas = people.open("tomas", world.drive(1), viewport={"width": 1440, "height": 480})
    for page in (ana, tomas):
        is_live(page)
    note_field(tomas).fill("half of a no")
    note_field(tomas).press("ArrowLeft")
    body = tomas.locator("#panel-body")
    body.evaluate("element => { element.scrollTop = 60 }")

    with without_page_load(tomas):
        note_field(ana).fill("by Ana")
        create_button(ana).click()
        history_says(ana, "#5by Ana", "#4", "#3", "#2", "#1")
        expect(panel(tomas).get_by_text("by Ana", exact=True)).to_be_attached(timeout=SECOND_MS)
        expect(create_button(tomas, "Create snapshot, delete #1")).to_be_attached(timeout=SECOND_MS)
        tomas.keyboard.type("X")

    expect(note_field(tomas)).to_be_focused()
    expect(note_field(tomas)).to_have_value("half of a nXo")
    assert body.evaluate("element => element.scrollTop") == 60


def test_selection_and_focus_outlive_what_others_do(people: People, hands: Hands) -> None:
    world = hands.make(power="on")
    ana, tomas = people.open("ana", world.list_of_instances), people.open("tomas", world.list_of_instances)
    for page in (ana, tomas):
        is_live(page)
    box = panel(tomas).get_by_role("checkbox", name="Select web-1")
    box.check()
    box.focus()

    select_and(ana, "web-2", "Soft Shutdown")
    power_is(ana, "web-2", "Shutting down")
    power_is(tomas, "web-2", "Shutting down", timeout=SECOND_MS)

    expect(box).to_be_checked()
    expect(box).to_be_focused()
    expect(panel(tomas).get_by_role("toolbar", name="Actions for selected instances")).to_contain_text("1 selected")


def test_moved_card_moves_for_everyone(people: People, hands: Hands) -> None:
    world = hands.make()
    ana, tomas = people.open("ana", world.canvas), people.open("tomas", world.canvas)
    for page in (ana, tomas):
        is_live(page)
    before = place(tomas, "DriveArray web-data").bounding_box()
    grip = place(ana, "DriveArray web-data").bounding_box()
    assert before
    assert grip

    ana.mouse.move(grip["x"] + 12, grip["y"] + 12)
    ana.mouse.down()
    ana.mouse.move(grip["x"] + 60, grip["y"] + 40, steps=4)
    ana.mouse.move(grip["x"] + 112, grip["y"] + 92, steps=4)
    with ana.expect_response("**/move/") as answer:
        ana.mouse.up()
    assert answer.value.ok

    moved = [before["x"] + before["width"] + 40, before["y"] + before["height"] + 40]
    tomas.wait_for_function("([x, y]) => document.elementFromPoint(x, y)?.closest('li')", arg=moved, timeout=SECOND_MS)
    after = place(tomas, "DriveArray web-data").bounding_box()
    tomas.reload()
    is_live(tomas)
    again = place(tomas, "DriveArray web-data").bounding_box()
    assert after
    assert again
    assert (after["x"] - before["x"], after["y"] - before["y"]) == (
        again["x"] - before["x"],
        again["y"] - before["y"],
    )
    assert after["x"] - before["x"] > 60


def test_footer_tells_the_truth_and_the_page_catches_up(people: People, hands: Hands, product: Product) -> None:
    world = hands.make(count=1, snapshots=2)
    people.expect_absence()
    page = people.open("ana", once=True)
    page.clock.install()
    page.goto(world.drive(1))
    is_live(page)
    footer = page.get_by_role("contentinfo")
    note_field(page).fill("half of a no")

    with without_page_load(page):
        product.kill()
        expect(footer.get_by_text("Reconnecting", exact=True)).to_be_visible()
        page.clock.fast_forward(16_000)
        expect(footer.get_by_text("Offline", exact=True)).to_be_visible()
        expect(footer).to_contain_text("shown as of")
        expect(create_button(page)).to_have_attribute("aria-disabled", "true")
        expect(create_button(page)).to_have_accessible_description(re.compile("^Offline · shown as of "))
        hands.delete(world.snapshots[0][0], by="tomas")
        product.start()
        page.clock.fast_forward(11_000)

        is_live(page)
        history_says(page, "#2")
        expect(create_button(page)).to_be_enabled()
        expect(note_field(page)).to_have_value("half of a no")
        create_button(page).click()
        history_says(page, "#3half of a no", "#2")


def test_click_that_reaches_nobody_says_so(people: People, hands: Hands, product: Product) -> None:
    world = hands.make(count=1)
    people.expect_absence()
    page = people.open("ana", world.drive(1))
    is_live(page)

    product.kill()
    create_button(page).click()
    expect(page.get_by_text("The editor did not answer, so this may not have been done.")).to_be_visible()
    card(page, "InstanceArray web").click()
    expect(page.get_by_text("The editor did not answer. Try again when the page says Live.")).to_be_visible()
    product.start()
    is_live(page)
    create_button(page).click()

    history_says(page, "#1")


def test_page_that_was_away_shows_what_it_missed(people: People, hands: Hands) -> None:
    """A laptop lid was closed: the sockets died without a word, and the browser tries again by itself."""
    world = hands.make(count=1, snapshots=1)
    people.expect_absence()
    page = people.open("ana", world.drive(1))
    is_live(page)

    page.context.set_offline(True)
    page.evaluate("dispatchEvent(new Event('offline'))")
    expect(page.get_by_role("contentinfo").get_by_text("Offline", exact=True)).to_be_visible()
    hands.create(world.drives[0], by="tomas", note="meanwhile")
    page.context.set_offline(False)
    page.evaluate("dispatchEvent(new Event('online'))")

    is_live(page)
    history_says(page, "#2meanwhile", "#1")
