"""From an empty canvas to running servers, and all that a design can become: bigger, smaller, gone, as it was."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.hands import Hands, World
from tests.e2e.people import People
from tests.e2e.steps import (
    card,
    changes,
    confirm_button,
    create_button,
    create_snapshot,
    deploy_button,
    dialog,
    history_says,
    is_deployed,
    is_live,
    open_review,
    panel,
    plan_step,
    power_is,
    press,
    select_and,
    shows_tab,
    tab,
    tab_to,
    waits_for_deploy,
    without_page_load,
)


def field(page: Page, name: str) -> Locator:
    return panel(page).get_by_label(name, exact=True)


def save(page: Page, **fields: str) -> None:
    """Fills in fields of the Configuration tab, by their names, and saves them to the draft."""
    for name, value in fields.items():
        field(page, name.replace("_", " ")).fill(value)
    with page.expect_response(lambda answer: answer.request.method == "POST" and answer.url.endswith("/configure/")):
        panel(page).get_by_role("button", name="Save to draft").click()
    expect(panel(page).locator(".htmx-request")).to_have_count(0)  # what else the panel asks is about what was saved


def add(page: Page, what: str) -> None:
    """Chooses from the menu, and waits for the form of what is new."""
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("menuitem", name=re.compile(f"^{what} ")).click()
    expect(panel(page).get_by_role("heading", name=re.compile(r"^(instance|drive)-array-\d$"))).to_be_visible()
    expect(tab(page, "Configuration")).to_have_attribute("aria-current", "page")


def pull_cable(page: Page, start: str, end: str) -> None:
    """Draws a cable from a port of one card to another card."""
    page.get_by_role("listitem").filter(has=card(page, start)).last.hover()
    ends = []
    for place in (page.get_by_role("button", name=f"Connect {start} to…").first, card(page, end)):
        found = place.bounding_box()
        assert found
        ends.append((found["x"] + found["width"] / 2, found["y"] + found["height"] / 2))
    page.mouse.move(*ends[0])
    page.mouse.down()
    page.mouse.move(ends[1][0] - 30, ends[1][1] - 30, steps=4)
    page.mouse.move(*ends[1], steps=4)
    page.mouse.up()


def makes_smaller(page: Page, servers: str, leaving: str, drives: str) -> None:
    """Takes one server out of web: of two, the one that is named."""
    field(page, "Servers").fill(servers)
    panel(page).get_by_role("button", name="Save to draft").click()
    expect(dialog(page).get_by_role("heading", name="Which 1 server of web goes?")).to_be_visible()
    for box in dialog(page).get_by_role("checkbox").all():
        box.set_checked(leaving in (box.locator("xpath=..").text_content() or ""))
    dialog(page).get_by_role("radio", name=re.compile(f"^{drives}")).check()
    dialog(page).get_by_role("button", name="Take 1 server out of the draft").click()
    expect(dialog(page)).to_be_hidden()


def configuration(world: World, kind: str) -> str:
    pk = world.instance_array if kind == "instance" else world.drive_array
    return f"/{kind}-arrays/{pk}/configure/"


def test_from_an_empty_infrastructure_to_a_snapshot_by_mouse(people: People, hands: Hands) -> None:
    hands.free_servers(2)
    page = people.open("ana", "/infrastructures/")
    page.get_by_role("link", name="New infrastructure").click()
    page.get_by_label("Label").fill("by-mouse")
    page.get_by_role("button", name="Create infrastructure").click()
    is_live(page)
    pk = hands.infrastructure("by-mouse")

    with without_page_load(page):
        add(page, "InstanceArray")
        field(page, "Server type").select_option(label="M.16.64")
        save(page, Label="app", Servers="2")
        add(page, "DriveArray")
        save(page, Label="data", Size_of_each_drive="2")
        add(page, "DriveArray")
        save(page, Label="logs", Size_of_each_drive="1")
        panel(page).get_by_label("Attach to").select_option(label="app")
        panel(page).get_by_role("button", name="Attach", exact=True).click()
        expect(panel(page).get_by_role("heading", name="Attached to app")).to_be_visible()
        panel(page).get_by_role("link", name="Close panel (Esc)").click()
        page.get_by_role("button", name="Fit all (1)").click()
        pull_cable(page, "DriveArray data", "InstanceArray app")
        data = page.get_by_role("listitem").filter(has=card(page, "DriveArray data")).last
        expect(data).to_contain_text("attached to app")

        waits_for_deploy(page, 3)
        open_review(page)
        expect(changes(page)).to_contain_text(["app", "data", "logs"])
        confirm_button(page).click()
        is_deployed(page)
        waits_for_deploy(page, 0)

        card(page, "InstanceArray app").click()
        shows_tab(page, "app", "Overview")
        tab(page, "Instances").click()
        select_and(page, "app-2", "Power On")
        power_is(page, "app-2", "Powering on")
        hands.press_power_button(hands.real(pk)["servers"]["app-2"][0], "on")
        power_is(page, "app-2", "On")
        power_is(page, "app-1", "Off")
        card(page, "DriveArray data").click()
        shows_tab(page, "data", "Overview")
        tab(page, "Drives").click()
        panel(page).get_by_role("link", name="data-1", exact=True).click()
        tab(page, "Snapshots").click()
        create_snapshot(page)
        history_says(page, "#1")

    real = hands.real(pk)
    assert {label: drive[1:] for label, drive in real["drives"].items()} == {
        "data-1": [2.0, "app-1"],
        "data-2": [2.0, "app-2"],
        "logs-1": [1.0, "app-1"],
        "logs-2": [1.0, "app-2"],
    }
    assert hands.facts(real["drives"]["data-1"][0])["snapshots"] == [[1, "", "ready"]]


@pytest.mark.lab
def test_from_an_empty_infrastructure_to_a_snapshot_by_keys(people: People, hands: Hands) -> None:
    hands.free_servers(1, kind="A.1.2")
    page = people.open("ana", "/infrastructures/")
    press(page, page.get_by_role("link", name="New infrastructure"))
    tab_to(page, page.get_by_label("Label"))
    page.keyboard.type("by-keys")
    page.keyboard.press("Enter")
    is_live(page)
    pk = hands.infrastructure("by-keys")

    with without_page_load(page):
        page.keyboard.press("i")
        expect(card(page, "InstanceArray instance-array-1")).to_be_focused()
        page.keyboard.press("F2")
        expect(page.get_by_role("textbox", name="New label of instance-array-1")).to_be_focused()
        page.keyboard.type("app")
        page.keyboard.press("Enter")
        expect(card(page, "InstanceArray app")).to_be_focused()
        page.keyboard.press("d")
        expect(card(page, "DriveArray drive-array-1")).to_be_focused()
        page.keyboard.press("c")
        expect(dialog(page).get_by_role("button", name="Detach from app")).to_be_visible()
        page.keyboard.press("Escape")
        page.keyboard.press("Control+Enter")
        expect(panel(page).get_by_role("heading", name="Review 2 changes")).to_be_focused()
        press(page, confirm_button(page))
        is_deployed(page)
        page.keyboard.press("Escape")
        expect(panel(page)).to_be_hidden()

        press(page, card(page, "InstanceArray app"))
        press(page, tab(page, "Instances"))
        press(page, panel(page).get_by_role("checkbox", name="Select app-1"), "Space")
        tab_to(page, panel(page).get_by_role("button", name="Power On", exact=True), key="Shift+Tab")
        with page.expect_response("**/power/"):
            page.keyboard.press("Enter")
        hands.press_power_button(hands.real(pk)["servers"]["app-1"][0], "on")
        power_is(page, "app-1", "On")
        page.keyboard.press("Escape")
        press(page, card(page, "DriveArray drive-array-1"))
        press(page, tab(page, "Drives"))
        press(page, panel(page).get_by_role("link", name="drive-array-1-1", exact=True))
        press(page, tab(page, "Snapshots"))
        press(page, create_button(page))
        history_says(page, "#1")

    real = hands.real(pk)
    assert {label: drive[1:] for label, drive in real["drives"].items()} == {"drive-array-1-1": [40.0, "app-1"]}


def test_growing_shuts_down_what_it_must_and_powers_it_on_again(people: People, hands: Hands) -> None:
    world = hands.make(count=1, power="on", snapshots=1, texts=["one", "now"])
    hands.free_servers(1)
    page = people.open("ana", configuration(world, "instance"))
    is_live(page)

    with without_page_load(page):
        save(page, Servers="2")
        waits_for_deploy(page, 1)
        card(page, "DriveArray web-data").click()
        shows_tab(page, "web-data", "Overview")
        tab(page, "Configuration").click()
        save(page, Size_of_each_drive="2")
        open_review(page)
        expect(panel(page).get_by_role("heading", name="1 server must be off")).to_be_visible()
        expect(panel(page).get_by_role("listitem").filter(has_text=re.compile("^web-1"))).to_be_visible()
        confirm_button(page).click()
        expect(plan_step(page, "Shut down web-1")).to_have_attribute("aria-current", "step")
        hands.press_power_button(world.instances[0], "off")
        expect(plan_step(page, "Power web-1 on again")).to_have_attribute("aria-current", "step")
        expect(plan_step(page, "Grow web-data to 2 GB")).to_have_attribute("data-step", "done")
        hands.press_power_button(world.instances[0], "on")
        is_deployed(page)

    real = hands.real(world.infrastructure)
    assert {label: power for label, (_, power) in real["servers"].items()} == {"web-1": "on", "web-2": "off"}
    assert [drive[1:] for drive in real["drives"].values()] == [[2.0, "web-1"], [2.0, "web-2"]]
    assert hands.text(world.drives[0]) == "now"


def test_shrinking_keeps_the_drive_of_the_chosen_server(people: People, hands: Hands) -> None:
    world = hands.make(count=2, snapshots=1, texts=["one", "now"])
    page = people.open("ana", configuration(world, "instance"))
    is_live(page)

    with without_page_load(page):
        makes_smaller(page, "1", "web-1", "Keep them, detached")
        open_review(page)
        expect(panel(page).get_by_role("heading", name="This deploy destroys 1 server")).to_be_visible()
        panel(page).get_by_role("checkbox", name="Yes, destroy 1 server").check()
        confirm_button(page).click()
        is_deployed(page)

    real = hands.real(world.infrastructure)
    assert list(real["servers"]) == ["web-2"]
    assert {label: drive[1:] for label, drive in real["drives"].items()} == {
        "web-data-1": [1.0, ""],
        "web-data-2": [1.0, "web-2"],
    }
    assert [hands.text(world.drives[0]), hands.facts(world.drives[0])["count"]] == ["now", 1]


def test_shrinking_with_the_drives_destroys_what_was_named_and_agreed_to(people: People, hands: Hands) -> None:
    world = hands.make(count=2, snapshots=2)
    people.expect_status(422)
    page = people.open("ana", configuration(world, "instance"))
    is_live(page)

    with without_page_load(page):
        makes_smaller(page, "1", "web-2", "Delete them with the servers")
        open_review(page)
        lost = panel(page).locator("#destroys")
        expect(lost.get_by_role("heading")).to_have_text("This deploy destroys 1 server, 1 drive and 2 snapshots")
        for name in ("web-2", "drive web-data-2", "2 snapshots (#1 and #2)"):
            expect(lost).to_contain_text(name)
        confirm_button(page).click()
        box = panel(page).get_by_role("checkbox", name="Yes, destroy 1 server, 1 drive and 2 snapshots")
        expect(box).to_have_accessible_description("Tick this to go on.")
        before = hands.real(world.infrastructure)
        assert [before["deploys"], len(before["servers"]), len(before["drives"])] == [[], 2, 2]
        box.check()
        confirm_button(page).click()
        is_deployed(page)

    real = hands.real(world.infrastructure)
    assert [list(real["servers"]), list(real["drives"])] == [["web-1"], ["web-data-1"]]


def test_array_of_drives_is_deleted(people: People, hands: Hands) -> None:
    world = hands.make(count=2, snapshots=1)
    page = people.open("ana", configuration(world, "drive"))
    is_live(page)

    with without_page_load(page):
        panel(page).get_by_role("link", name="Delete web-data…").click()
        expect(dialog(page)).to_contain_text("web-data-2")
        dialog(page).get_by_role("button", name="Delete web-data from the draft").click()
        expect(dialog(page)).to_be_hidden()
        open_review(page)
        panel(page).get_by_role("checkbox", name="Yes, destroy 2 drives and 2 snapshots").check()
        confirm_button(page).click()
        is_deployed(page)
        expect(card(page, "DriveArray web-data")).to_have_count(0)

    assert hands.real(world.infrastructure)["drives"] == {}


def test_changes_are_undone_done_again_and_discarded(people: People, hands: Hands) -> None:
    world = hands.make(count=1)
    page = people.open("ana", configuration(world, "drive"))
    is_live(page)
    size = field(page, "Size of each drive")

    with without_page_load(page):
        save(page, Size_of_each_drive="2")
        waits_for_deploy(page, 1)
        panel(page).get_by_role("heading", name="web-data", exact=True).focus()
        page.keyboard.press("Control+z")
        waits_for_deploy(page, 0)
        expect(size).to_have_value("1")
        page.keyboard.press("Control+Shift+z")
        waits_for_deploy(page, 1)
        expect(size).to_have_value("2")
        add(page, "DriveArray")
        waits_for_deploy(page, 2)

        open_review(page)
        panel(page).get_by_role("link", name="Discard change to web-data").click()
        dialog(page).get_by_role("button", name="Discard changes").click()
        waits_for_deploy(page, 1)
        expect(changes(page)).to_have_count(1)
        page.locator("#discard-all").click()
        dialog(page).get_by_role("button", name="Discard 1 change").click()
        waits_for_deploy(page, 0)
        expect(page.get_by_role("link", name=re.compile("^DriveArray drive-array"))).to_have_count(0)
        deploy_button(page).click()
        expect(panel(page).get_by_role("heading", name="Nothing to deploy")).to_be_visible()
