"""Every panel and tab has an address: it opens cold, survives reload and Back, and reads without JavaScript."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, WebSocket, expect

from tests.e2e.hands import Hands, World
from tests.e2e.people import People
from tests.e2e.steps import (
    card,
    create_button,
    dialog,
    history_says,
    is_live,
    note_field,
    panel,
    revert_button,
    shows_tab,
    tab,
    without_page_load,
)


def tabs(world: World) -> list[tuple[str, str, str]]:
    """The address, title and name of every tab."""
    array, drives, drive = (
        f"/instance-arrays/{world.instance_array}/",
        f"/drive-arrays/{world.drive_array}/",
        world.drive(1, ""),
    )
    return [
        *((f"{array}{path}", "web", name) for path, name in (("", "Overview"), ("instances/", "Instances"))),
        *((f"{array}{path}", "web", name) for path, name in (("networks/", "Networks"), ("activity/", "Activity"))),
        *((f"{drives}{path}", "web-data", name) for path, name in (("", "Overview"), ("drives/", "Drives"))),
        (f"{array}configure/", "web", "Configuration"),
        (f"{drives}configure/", "web-data", "Configuration"),
        (f"{drives}activity/", "web-data", "Activity"),
        *((f"{drive}{path}", "web-data-1", name) for path, name in (("", "Overview"), ("snapshots/", "Snapshots"))),
        (f"{drive}activity/", "web-data-1", "Activity"),
    ]


def transform(page: Page) -> str:
    """How far the canvas is panned and zoomed."""
    said: str = page.locator("#world").evaluate("element => getComputedStyle(element).transform")
    return said


@pytest.mark.parametrize("scripts", [True, False], ids=["with JavaScript", "without JavaScript"])
def test_every_tab_opens_cold_with_the_canvas_behind_it(people: People, hands: Hands, *, scripts: bool) -> None:
    world = hands.make(count=1, snapshots=2)
    page = people.open("ana", java_script_enabled=scripts)

    for address, title, name in tabs(world):
        page.goto(address)
        shows_tab(page, title, name)
        expect(page).to_have_title(re.compile(title))
        expect(card(page, "InstanceArray web")).to_be_visible()
    page.goto(world.canvas)
    network = page.get_by_role("link", name="WAN network wan")
    expect(network).to_be_visible()
    page.goto(network.get_attribute("href") or "")
    expect(panel(page).get_by_role("heading", level=2)).to_contain_text("wan")


def test_pages_lead_on_without_javascript(people: People, hands: Hands) -> None:
    world = hands.make(count=1, snapshots=1, texts=["golden", "now"])
    page = people.open("ana", "/infrastructures/", java_script_enabled=False)

    page.get_by_role("link", name=world.label, exact=True).click()
    card(page, "DriveArray web-data").click()
    tab(page, "Drives").click()
    panel(page).get_by_role("link", name="web-data-1", exact=True).click()
    tab(page, "Snapshots").click()
    history_says(page, "#1")
    revert_button(page, 1).click()

    expect(page.get_by_role("heading", name="Revert web-data-1 to #1?")).to_be_visible()
    expect(page.get_by_role("link", name="Cancel")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^Revert, lose"))).to_be_visible()


def test_moving_the_window_with_the_middle_button_opens_no_tab(people: People, hands: Hands) -> None:
    page = people.open("ana", hands.make().canvas)
    is_live(page)
    link = card(page, "DriveArray web-data")
    grip = link.bounding_box()
    assert grip
    x, y = grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2

    page.mouse.move(x, y)
    page.mouse.down(button="middle")
    page.mouse.move(x + 30, y + 20, steps=4)
    page.mouse.up(button="middle")
    with page.context.expect_page() as opened:  # a middle click that moved nothing still opens one
        link.click(button="middle")

    assert page.context.pages == [page, opened.value]


def test_back_changes_the_panel_and_nothing_else(people: People, hands: Hands) -> None:
    world = hands.make()
    page = people.open("ana")
    sockets: list[WebSocket] = []

    def heard_of(socket: WebSocket) -> None:
        sockets.append(socket)

    page.on("websocket", heard_of)
    page.goto(world.canvas)
    is_live(page)

    with without_page_load(page):
        page.get_by_role("button", name="Zoom in").click()
        page.get_by_role("button", name="Zoom in").click()
        card(page, "DriveArray web-data").click()
        shows_tab(page, "web-data", "Overview")
        tab(page, "Drives").click()
        shows_tab(page, "web-data", "Drives")
        panel(page).get_by_role("link", name="web-data-2", exact=True).click()
        tab(page, "Snapshots").click()
        shows_tab(page, "web-data-2", "Snapshots")
        before = transform(page)

        page.go_back()
        shows_tab(page, "web-data-2", "Overview")
        page.go_back()
        shows_tab(page, "web-data", "Drives")
        page.go_forward()
        shows_tab(page, "web-data-2", "Overview")
        page.go_forward()
        shows_tab(page, "web-data-2", "Snapshots")
        create_button(page).click()
        history_says(page, "#1")
        for _ in range(4):
            page.go_back()
        expect(page).to_have_url(re.compile(re.escape(world.canvas) + "$"))
        expect(panel(page)).to_be_hidden()
        page.go_forward()
        shows_tab(page, "web-data", "Overview")

        assert [transform(page), len(sockets)] == [before, 1]
    is_live(page)


def test_back_out_of_the_panel_returns_the_focus_to_what_opened_it(people: People, hands: Hands) -> None:
    world = hands.make(count=1)
    page = people.open("ana", world.canvas)
    card(page, "DriveArray web-data").click()
    tab(page, "Drives").click()
    shows_tab(page, "web-data", "Drives")

    page.go_back()
    shows_tab(page, "web-data", "Overview")
    page.go_back()

    expect(panel(page)).to_be_hidden()
    expect(card(page, "DriveArray web-data")).to_be_focused()


def test_reload_keeps_the_tab(people: People, hands: Hands) -> None:
    world = hands.make(count=1)
    page = people.open("ana", world.canvas)
    card(page, "DriveArray web-data").click()
    tab(page, "Drives").click()
    shows_tab(page, "web-data", "Drives")

    page.reload()

    shows_tab(page, "web-data", "Drives")
    expect(page).to_have_url(re.compile(rf"/drive-arrays/{world.drive_array}/drives/$"))


def no_sideways_scroll(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_phone_shows_the_outline_and_both_walks_work(people: People, hands: Hands) -> None:
    world = hands.make(count=1, snapshots=1, texts=["golden", "now"])
    page = people.open("ana", "/infrastructures/", width=390, has_touch=True, is_mobile=True)
    no_sideways_scroll(page)
    page.get_by_role("link", name=world.label, exact=True).tap()
    expect(card(page, "InstanceArray web")).to_be_visible()
    no_sideways_scroll(page)

    card(page, "DriveArray web-data").tap()
    shows_tab(page, "web-data", "Overview")
    box = panel(page).bounding_box()
    assert box
    assert (box["x"], box["width"]) == (0, 390)
    tab(page, "Drives").tap()
    panel(page).get_by_role("link", name="web-data-1", exact=True).tap()
    tab(page, "Snapshots").tap()
    note_field(page).fill("on the way")
    create_button(page).tap()
    history_says(page, "#2on the way", "#1")
    no_sideways_scroll(page)

    revert_button(page, 1).tap()
    cancel, danger = (
        dialog(page).get_by_role("button", name=name).bounding_box()
        for name in ("Cancel", "Revert and delete 1 snapshot")
    )
    assert cancel
    assert danger
    assert cancel["y"] < danger["y"]
    assert cancel["width"] == danger["width"] > 320
    assert min(cancel["height"], danger["height"]) >= 40
    dialog(page).get_by_role("button", name="Revert and delete 1 snapshot").tap()
    expect(panel(page).get_by_text("web-data-1 reverted to #1. 1 snapshot deleted.")).to_be_visible()
    assert hands.text(world.drives[0]) == "golden"

    panel(page).get_by_role("link", name="Close panel (Esc)").tap()
    expect(panel(page)).to_be_hidden()


def test_nothing_scrolls_sideways_on_the_narrowest_screen(people: People, hands: Hands) -> None:
    world = hands.make(count=1, power="on", snapshots=5)
    page = people.open("ana", viewport={"width": 320, "height": 640})

    for address in ("/infrastructures/", world.canvas, *(address for address, _, _ in tabs(world))):
        page.goto(address)
        expect(page.get_by_role("main")).to_be_visible()
        no_sideways_scroll(page)
