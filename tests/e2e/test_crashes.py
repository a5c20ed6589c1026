"""The whole product is killed in the middle of things, and started again on the same data: nothing is stuck or lost."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.hands import Hands, World
from tests.e2e.people import People
from tests.e2e.product import Product
from tests.e2e.steps import create_button, dialog, history, is_live, note_field, numbers, panel, revert_button

pytestmark = pytest.mark.lab


def comes_back(page: Page, world: World, product: Product) -> None:
    """The product starts again; on the drive nothing waits any more."""
    product.start()
    page.goto(world.drive(1))
    is_live(page)
    expect(create_button(page, "Create snapshot")).to_be_enabled()
    expect(panel(page).get_by_text(re.compile("Creating…|Reverting"))).to_have_count(0)


def ask_for_snapshot(page: Page, note: str) -> None:
    note_field(page).fill(note)
    with page.expect_response("**/snapshots/create/"):
        create_button(page).click()


def ask_for_revert(page: Page, number: int) -> None:
    revert_button(page, number).click()
    # The dialog itself comes from the same address.
    with page.expect_response(lambda answer: answer.request.method == "POST" and answer.url.endswith("/revert/")):
        dialog(page).get_by_role("button", name=re.compile("^Revert")).click()


@pytest.mark.parametrize("child", ["lives on", "dies as well"])
def test_snapshot_that_was_being_made_is_undone_and_says_so(
    people: People, hands: Hands, product: Product, child: str
) -> None:
    world = hands.make(count=1, snapshots=1, texts=["golden", "now"])
    people.expect_absence()
    page = people.open("ana", world.drive(1))
    product.qemu_img.waits()
    ask_for_snapshot(page, "never made")
    pid = product.qemu_img.is_reached()

    product.kill()
    if child == "dies as well":
        product.qemu_img.dies(pid)
    else:
        product.qemu_img.goes_on()
    comes_back(page, world, product)

    alert = panel(page).get_by_role("alert")
    expect(alert.get_by_role("heading", name="Snapshot not created")).to_be_visible()
    expect(alert).to_contain_text("The editor was restarted before it could be made.")
    assert [numbers(history(page))[-1], hands.text(world.drives[0])] == ["#1", "now"]
    assert hands.facts(world.drives[0])["snapshots"] == [[1, "note 1", "ready"]]


@pytest.mark.parametrize("child", ["lives on", "dies as well"])
def test_revert_that_was_being_made_is_undone_and_says_so(
    people: People, hands: Hands, product: Product, child: str
) -> None:
    world = hands.make(count=1, snapshots=2, texts=["one", "two", "now"])
    people.expect_absence()
    page = people.open("ana", world.drive(1))
    product.qemu_img.waits()
    ask_for_revert(page, 1)
    pid = product.qemu_img.is_reached()

    product.kill()
    if child == "dies as well":
        product.qemu_img.dies(pid)
    else:
        product.qemu_img.goes_on()
    comes_back(page, world, product)

    expect(panel(page).get_by_role("alert").get_by_role("heading", name="Drive not reverted")).to_be_visible()
    assert hands.text(world.drives[0]) == "now"
    ask_for_revert(page, 1)
    expect(panel(page).get_by_text("web-data-1 reverted to #1. 1 snapshot deleted.")).to_be_visible()
    assert hands.text(world.drives[0]) == "one"


def test_whatever_moment_it_is_killed_at_the_drive_is_whole(people: People, hands: Hands, product: Product) -> None:
    """Right after the answer to a POST the worker is somewhere between its steps; where, is another place each time."""
    world = hands.make(count=1, snapshots=1, texts=["golden", "now"])
    drive = world.drives[0]
    people.expect_absence()
    page = people.open("ana", world.drive(1))

    for note in ("first", "second"):
        ask_for_snapshot(page, note)
        product.kill()
        comes_back(page, world, product)
        assert hands.text(drive) == "now"
    ask_for_revert(page, 1)
    product.kill()
    comes_back(page, world, product)

    facts = hands.facts(drive)
    assert hands.text(drive) == ("now" if facts["trouble"] else "golden")
    assert [facts["hold"], {state for _, _, state in facts["snapshots"]}] == ["", {"ready"}]
    ask_for_revert(page, 1)
    expect(panel(page).get_by_text("web-data-1 reverted to #1.")).to_be_visible()
    assert hands.text(drive) == "golden"
