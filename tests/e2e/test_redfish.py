"""The two walks on servers whose BMCs speak Redfish: behind OpenStack's emulator, which the test starts and stops."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.e2e.bmcs import PASSWORD, Bmcs
from tests.e2e.hands import Hands
from tests.e2e.people import People
from tests.e2e.product import Product
from tests.e2e.steps import (
    card,
    create_snapshot,
    dialog,
    history_says,
    note_field,
    panel,
    power_is,
    revert_button,
    select_and,
    tab,
    without_page_load,
)

pytestmark = pytest.mark.lab

ONE_READING_MS = 15_000
"""A server that nobody wants anything of is read every ten seconds."""


@pytest.fixture
def bmcs(tmp_path) -> Iterator[Bmcs]:
    bmcs = Bmcs(tmp_path)
    yield bmcs
    bmcs.stop()


def test_drive_of_a_real_server_gets_a_snapshot_and_goes_back_to_an_older_one(
    people: People, hands: Hands, product: Product, bmcs: Bmcs
) -> None:
    world = hands.make(bmcs=[bmcs.fields("on-1"), bmcs.fields("off-2")], snapshots=1, texts=["as it was", "spoiled"])
    page = people.open("ana", world.drive(1))

    with without_page_load(page):
        note_field(page).fill("before upgrade")
        create_snapshot(page)
        history_says(page, "#2before upgrade", "#1note 1")

        card(page, "InstanceArray web").click()
        tab(page, "Instances").click()
        power_is(page, "web-2", "Off")
        bmcs.switch("off-2", "On")  # which is seen at the next reading, below
        select_and(page, "web-1", "Soft Shutdown")
        power_is(page, "web-1", "Shutting down")
        with bmcs.time_passes():
            power_is(page, "web-1", "Off")
        assert bmcs.state("on-1") == "Off"

        card(page, "DriveArray web-data").click()
        tab(page, "Drives").click()
        panel(page).get_by_role("link", name="web-data-1", exact=True).click()
        tab(page, "Snapshots").click()
        revert_button(page, 1).click()
        dialog(page).get_by_role("button", name="Revert and delete 1 snapshot").click()
        expect(panel(page).get_by_text("web-data-1 reverted to #1. 1 snapshot deleted.")).to_be_visible()
        history_says(page, "#1note 1")
        assert hands.text(world.drives[0]) == "as it was"

        card(page, "InstanceArray web").click()
        tab(page, "Instances").click()
        select_and(page, "web-1", "Power On")
        power_is(page, "web-1", "Powering on")
        with bmcs.time_passes():
            power_is(page, "web-1", "On")
        assert bmcs.state("on-1") == "On"

        power_is(page, "web-2", "On", timeout=ONE_READING_MS)
        tab(page, "Activity").click()
        expect(panel(page).get_by_text("web-2 is on. Nobody asked here.")).to_be_visible()

    assert PASSWORD not in product.log
