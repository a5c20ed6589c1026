"""Designing on the canvas: several cards at once, cables drawn by hand or by keys, and who else is there."""

from __future__ import annotations

import re

from playwright.sync_api import FloatRect, Locator, Page, expect

from tests.e2e.conftest import People
from tests.e2e.hands import Hands
from tests.e2e.steps import card, is_live, without_page_load

SOON_MS = 3000
"""A change of company is told once a second, and then fetched."""


def item(page: Page, name: str) -> Locator:
    """The item of the canvas that a card is."""
    return page.get_by_role("listitem").filter(has=card(page, name)).last


def box(page: Page, name: str) -> FloatRect:
    found = item(page, name).bounding_box()
    assert found
    return found


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=4)
    page.mouse.move(*end, steps=4)
    page.mouse.up()


def test_cards_in_a_frame_are_moved_together(people: People, hands: Hands) -> None:
    world = hands.make()
    ana, tomas = people.open("ana", world.canvas), people.open("tomas", world.canvas)
    for page in (ana, tomas):
        is_live(page)
    web, data = box(ana, "InstanceArray web"), box(ana, "DriveArray web-data")

    with without_page_load(tomas):
        ana.keyboard.down("Shift")
        drag(ana, (web["x"] - 20, web["y"] - 12), (web["x"] + web["width"] + 20, data["y"] + 30))
        ana.keyboard.up("Shift")
        expect(card(ana, "InstanceArray web")).to_have_accessible_description("selected")
        expect(card(ana, "DriveArray web-data")).to_have_accessible_description("selected")
        expect(ana.get_by_role("status").filter(has_text="2 selected")).to_have_count(1)
        with ana.expect_response("**/move/") as answer:
            drag(ana, (web["x"] + 20, web["y"] + 14), (web["x"] + 140, web["y"] + 38))
        assert answer.value.ok
        moved = [data["x"] + 120 + data["width"] / 2, data["y"] + 24 + data["height"] - 4]
        for page in (ana, tomas):
            page.wait_for_function(
                "([id, x, y]) => document.elementFromPoint(x, y)?.closest('li')?.id === id",
                arg=[f"node-drive-array-{world.drive_array}", *moved],
            )

    steps = [
        (after["x"] - before["x"], after["y"] - before["y"])
        for before, after in ((web, box(tomas, "InstanceArray web")), (data, box(tomas, "DriveArray web-data")))
    ]
    assert steps[0] == steps[1]
    assert steps[0][0] > 100
    card(ana, "InstanceArray web").focus()
    ana.keyboard.press("Escape")
    expect(card(ana, "InstanceArray web")).not_to_have_accessible_description("selected")


def test_others_see_who_is_here_and_what_they_look_at(people: People, hands: Hands) -> None:
    world = hands.make()
    ana = people.open("ana", world.canvas)
    is_live(ana)
    here = ana.get_by_role("list", name="Also here: Tomás Reyes")
    expect(ana.get_by_role("list", name=re.compile("^Also here"))).to_have_count(0)

    with without_page_load(ana):
        tomas = people.open("tomas", world.canvas)
        is_live(tomas)
        expect(here).to_contain_text("Tomás Reyes is viewing the canvas", timeout=SOON_MS)
        card(tomas, "DriveArray web-data").click()
        expect(here).to_contain_text("Tomás Reyes is viewing web-data", timeout=SOON_MS)
        avatar = ana.locator("#viewers").get_by_title("Tomás Reyes is viewing web-data")
        expect(avatar).to_be_visible()
        at, on = avatar.bounding_box(), box(ana, "DriveArray web-data")
        assert at
        assert on["x"] < at["x"] < on["x"] + on["width"]
        assert abs(at["y"] + at["height"] / 2 - on["y"]) < 3
        tomas.close()
        expect(here).to_have_count(0, timeout=SOON_MS)
        expect(avatar).to_have_count(0)
