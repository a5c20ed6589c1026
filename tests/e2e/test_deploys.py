"""Deploys with others about: who may, who is told, what a failure or a crash in the middle leaves, and what waits."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.hands import Hands, World
from tests.e2e.people import People
from tests.e2e.product import Product
from tests.e2e.steps import (
    changes,
    confirm_button,
    create_snapshot,
    deploy_button,
    dialog,
    history_says,
    instance_row,
    is_deployed,
    is_live,
    open_review,
    panel,
    plan_step,
    select_and,
    waits_for_deploy,
    without_page_load,
)


def configuration(world: World) -> str:
    return f"/drive-arrays/{world.drive_array}/configure/"


def review(world: World) -> str:
    return f"/infrastructures/{world.infrastructure}/deploy/"


def size_field(page: Page) -> Locator:
    return panel(page).get_by_role("spinbutton", name="Size of each drive")


def test_second_save_is_refused_and_shows_theirs_and_yours(people: People, hands: Hands) -> None:
    world = hands.make()
    people.expect_status(409)
    ana, tomas = people.open("ana", configuration(world)), people.open("tomas", configuration(world))
    for page in (ana, tomas):
        is_live(page)
    size_field(tomas).fill("3")

    size_field(ana).fill("2")
    panel(ana).get_by_role("button", name="Save to draft").click()
    waits_for_deploy(ana, 1)
    waits_for_deploy(tomas, 1)
    expect(size_field(tomas)).to_have_value("3")
    panel(tomas).get_by_role("button", name="Save to draft").click()

    alert = panel(tomas).get_by_role("alert").filter(has_text="Not saved yet")
    expect(alert.get_by_role("row", name="Size of each drive 2 GB 3 GB")).to_be_visible()
    expect(size_field(tomas)).to_have_value("3")
    expect(size_field(ana)).to_have_value("2")
    alert.get_by_role("button", name="Save mine").click()
    expect(alert).to_have_count(0)
    expect(size_field(ana)).to_have_value("3")


def test_viewer_and_operator_see_the_review_and_may_not_deploy(people: People, hands: Hands) -> None:
    world = hands.make(count=1)
    hands.configure_drives(world.drive_array, by="ana", size_mb=2048)
    vera, tomas = people.open("vera", review(world)), people.open("tomas", review(world))

    for page, reason in ((vera, "^You can look but not change"), (tomas, "^Only owners deploy")):
        expect(changes(page)).to_contain_text(["web-data"])
        expect(confirm_button(page)).to_have_attribute("aria-disabled", "true")
        expect(confirm_button(page)).to_have_accessible_description(re.compile(reason))
        confirm_button(page).click(force=True)
    expect(tomas.get_by_role("button", name="Undo")).to_be_visible()
    expect(tomas.get_by_role("link", name="Discard change to web-data")).to_be_visible()
    expect(vera.get_by_role("link", name=re.compile("Discard"))).to_have_count(0)
    expect(vera.get_by_role("button", name=re.compile("Undo"))).to_have_count(0)
    vera.goto(configuration(world))
    expect(panel(vera).get_by_role("button", name="Save to draft")).to_have_attribute("aria-disabled", "true")
    expect(panel(vera).get_by_role("spinbutton", name="Size of each drive")).to_be_disabled()

    assert hands.real(world.infrastructure)["deploys"] == []


def test_plan_that_changed_after_it_was_read_is_shown_anew(people: People, hands: Hands) -> None:
    """The page is not live, so that nothing can tell it before it asks."""
    world = hands.make(count=1)
    hands.configure_drives(world.drive_array, by="ana", size_mb=2048)
    people.expect_status(409)
    people.expect_absence()
    ana = people.open("ana")
    ana.route_web_socket("**", lambda socket: None)
    ana.goto(review(world))
    expect(changes(ana)).to_contain_text(["2 GB"])

    hands.configure_drives(world.drive_array, by="tomas", size_mb=3072)
    confirm_button(ana).click()

    expect(panel(ana).get_by_role("alert")).to_contain_text(
        "What this deploy would do has changed while you were reading. Look at it again."
    )
    expect(changes(ana)).to_contain_text(["3 GB"])
    assert hands.real(world.infrastructure)["deploys"] == []
    confirm_button(ana).click()
    expect(panel(ana).get_by_role("heading", name=re.compile("^Deploy(ing|ed) 1 change$"))).to_be_visible()


def test_step_that_fails_stops_the_deploy_and_can_be_retried(people: People, hands: Hands, product: Product) -> None:
    world = hands.make(count=1)
    hands.add_drives(world, by="ana", label="logs", count=1)
    page = people.open("ana", review(world))
    is_live(page)
    product.qemu_img.finds_the_disk_full()

    with without_page_load(page):
        confirm_button(page).click()
        expect(panel(page).get_by_text("Attempt 1 of 4:")).to_be_visible()
        hands.last_try(world.infrastructure)
        alert = panel(page).get_by_role("alert")
        expect(alert.get_by_role("heading", name="Step 1 failed. Step 2 did not run.")).to_be_visible()
        expect(alert).to_contain_text("logs-1 could not be created")
        expect(alert).to_contain_text("Nothing was destroyed.")
        waits_for_deploy(page, 1)
        assert list(hands.real(world.infrastructure)["drives"]) == ["web-data-1"]
        product.qemu_img.works()
        panel(page).get_by_role("button", name="Retry from step 1").click()
        is_deployed(page)

    real = hands.real(world.infrastructure)
    assert real["drives"]["logs-1"][1:] == [1.0, ""]
    assert real["deploys"] == ["done"]


@pytest.mark.lab
def test_deploy_that_was_killed_goes_on_and_ends_right(people: People, hands: Hands, product: Product) -> None:
    world = hands.make(count=1, texts=["mine"])
    hands.add_drives(world, by="ana", attached=True, label="logs")
    hands.configure_drives(world.drive_array, by="ana", size_mb=2048)
    people.expect_absence()
    page = people.open("ana", review(world))
    is_live(page)
    product.qemu_img.waits()
    confirm_button(page).click()
    pid = product.qemu_img.is_reached()

    product.kill()
    product.qemu_img.dies(pid)
    product.start()
    page.reload()

    is_deployed(page)
    real = hands.real(world.infrastructure)
    assert {label: drive[1:] for label, drive in real["drives"].items()} == {
        "web-data-1": [2.0, "web-1"],
        "logs-1": [1.0, "web-1"],
    }
    assert [real["deploys"], hands.text(world.drives[0])] == [["done"], "mine"]


def test_double_click_on_deploy_makes_one(people: People, hands: Hands) -> None:
    world = hands.make(count=1)
    hands.configure_drives(world.drive_array, by="ana", size_mb=2048)
    page = people.open("ana", review(world))
    is_live(page)

    confirm_button(page).dblclick()

    is_deployed(page)
    assert hands.real(world.infrastructure)["deploys"] == ["done"]


def test_design_stands_still_while_it_is_deployed(people: People, hands: Hands, product: Product) -> None:
    """The program that makes layers waits, so this deploy lasts as long as the test wants."""
    world = hands.make(count=2, snapshots=1)
    hands.add_drives(world, by="ana", label="archive", count=1)
    ana, tomas = people.open("ana", review(world)), people.open("tomas", configuration(world))
    beside = people.open("tomas", world.drive(1))
    for page in (ana, tomas, beside):
        is_live(page)
    size_field(tomas).fill("7")
    product.qemu_img.waits()

    with without_page_load(tomas):
        confirm_button(ana).click()
        product.qemu_img.is_reached()
        reason = f"{world.label} is being deployed. Editing goes on when that ends."
        save = panel(tomas).get_by_role("button", name="Save to draft")
        expect(save).to_have_attribute("aria-disabled", "true")
        expect(save).to_have_accessible_description(reason)
        expect(panel(tomas).get_by_role("textbox", name="Label")).to_be_disabled()
        expect(deploy_button(tomas)).to_have_accessible_name(re.compile(r"^Deploying 1/2$"))
        expect(tomas.get_by_role("button", name=re.compile("^Undo"))).to_have_count(0)
        # Snapshots of drives that it does not name are nobody's concern.
        create_snapshot(beside)
        history_says(beside, "#2", "#1")

        product.qemu_img.goes_on()
        is_deployed(ana)
        expect(panel(tomas).get_by_role("textbox", name="Label")).to_be_enabled()
        expect(size_field(tomas)).to_have_value("7")
        save.click()
        waits_for_deploy(tomas, 1)

    assert set(hands.real(world.infrastructure)["drives"]) == {"web-data-1", "web-data-2", "archive-1"}


def test_servers_of_a_deploy_are_its_own_meanwhile(people: People, hands: Hands) -> None:
    world = hands.make(count=2, power="on", options="soft=ignored")
    hands.configure_servers(world.instance_array, by="ana", count=1, drives="keep")
    ana, tomas = people.open("ana", review(world)), people.open("tomas", world.list_of_instances)
    for page in (ana, tomas):
        is_live(page)

    panel(ana).get_by_role("checkbox", name="Yes, destroy 1 server").check()
    confirm_button(ana).click()
    expect(plan_step(ana, "Shut down web-2")).to_have_attribute("aria-current", "step")
    expect(instance_row(tomas, "web-2").get_by_text("Shutting down", exact=True)).to_be_visible()
    panel(tomas).get_by_role("checkbox", name="Select web-2", exact=True).check()
    button = (
        panel(tomas)
        .get_by_role("toolbar", name="Actions for selected instances")
        .get_by_role("button", name="Soft Shutdown", exact=True)
    )
    expect(button).to_have_attribute("aria-disabled", "true")
    expect(button).to_have_accessible_description(re.compile("web-2 is being deployed"))
    panel(tomas).get_by_role("checkbox", name="Select web-2", exact=True).uncheck()
    select_and(tomas, "web-1", "Soft Shutdown")
    expect(instance_row(tomas, "web-1").get_by_text("Shutting down", exact=True)).to_be_visible()

    hands.press_power_button(world.instances[1], "off")
    is_deployed(ana)
    real = hands.real(world.infrastructure)
    assert [list(real["servers"]), real["drives"]["web-data-2"][2]] == [["web-1"], ""]
    expect(instance_row(tomas, "web-2")).to_have_count(0)


def test_review_says_what_is_lacking(people: People, hands: Hands) -> None:
    world = hands.make(count=1)
    hands.free_servers(1, kind="X.32.128")
    hands.add_servers(world, by="ana", kind="X.32.128", label="db", count=3)
    page = people.open("ana", review(world))

    expect(panel(page).get_by_text("3 more servers of type X.32.128 are needed, 1 is free.")).to_be_visible()
    expect(confirm_button(page)).to_have_attribute("aria-disabled", "true")
    expect(confirm_button(page)).to_have_accessible_description(re.compile("3 more servers"))
    confirm_button(page).click(force=True)

    assert hands.real(world.infrastructure)["deploys"] == []


def test_history_tells_what_was_confirmed_and_how_it_went(people: People, hands: Hands) -> None:
    world = hands.make(count=1)
    hands.configure_drives(world.drive_array, by="tomas", size_mb=2048)
    page = people.open("ana", world.canvas)
    is_live(page)

    with without_page_load(page):
        open_review(page)
        confirm_button(page).click()
        is_deployed(page)
        waits_for_deploy(page, 0)
        panel(page).get_by_role("link", name="All deploys").click()
        row = panel(page).get_by_role("row").filter(has_text="Deploy 1")
        expect(row).to_contain_text("Done")
        expect(row).to_contain_text("1 change")
        expect(row).to_contain_text("Ana Marin")
        row.get_by_role("link", name="Deploy 1").click()
        expect(panel(page).get_by_role("list", name="Changes of Deploy 1")).to_contain_text("2 GB")
    vera = people.open("vera", f"/infrastructures/{world.infrastructure}/deploys/")
    expect(panel(vera).get_by_role("row").filter(has_text="Deploy 1")).to_contain_text("Done")
    assert dialog(page).count() == 0
