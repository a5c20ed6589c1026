"""The walks of a person on machines that boot an operating system, and stop when it has stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.e2e.hands import Hands
from tests.e2e.people import People
from tests.e2e.steps import (
    create_snapshot,
    dialog,
    history_says,
    note_field,
    open_drive,
    open_instances,
    panel,
    power_is,
    revert_button,
    select_and,
    without_page_load,
)
from tests.lab.guest import STOPPING, UP

if TYPE_CHECKING:
    from tests.lab.machines import Machines

SOON_MS = 30_000
"""A machine takes some seconds, a busy one more."""
IN_FIRMWARE_MS = 6_000
OF_THE_KERNEL = "Linux version"


def test_drive_of_a_machine_gets_a_snapshot_and_goes_back_to_an_older_one(
    people: People, hands: Hands, machines: Machines
) -> None:
    machine = machines.make("web-1")
    world = hands.make(count=1, bmcs=[machines.fields(machine)], snapshots=1, texts=["as it was", "spoiled"])
    page = people.open("ana", world.list_of_instances)

    with without_page_load(page):
        power_is(page, "web-1", "Off")
        select_and(page, "web-1", "Power On")
        power_is(page, "web-1", "On", timeout=SOON_MS)
        machine.wait_until_it_says(UP)

        open_drive(page, "Snapshots")
        note_field(page).fill("before upgrade")
        create_snapshot(page)
        history_says(page, "#2before upgrade", "#1note 1")

        open_instances(page)
        select_and(page, "web-1", "Soft Shutdown")
        power_is(page, "web-1", "Shutting down")
        power_is(page, "web-1", "Off", timeout=SOON_MS)
        assert machine.said.count(STOPPING) == 1
        assert not machines.is_running(machine)

        open_drive(page, "Snapshots")
        revert_button(page, 1).click()
        dialog(page).get_by_role("button", name="Revert and delete 1 snapshot").click()
        expect(panel(page).get_by_text("web-data-1 reverted to #1. 1 snapshot deleted.")).to_be_visible()
        history_says(page, "#1note 1")
        assert hands.text(world.drives[0]) == "as it was"

        open_instances(page)
        select_and(page, "web-1", "Power On")
        power_is(page, "web-1", "On", timeout=SOON_MS)
        machine.wait_until_it_says(UP, times=2)


def test_soft_shutdown_that_firmware_does_not_hear_is_sent_again(
    people: People, hands: Hands, machines: Machines
) -> None:
    machine = machines.make("slow-1", firmware_ms=IN_FIRMWARE_MS)
    world = hands.make(count=1, bmcs=[machines.fields(machine)])
    page = people.open("ana", world.list_of_instances)
    power_is(page, "web-1", "Off")
    select_and(page, "web-1", "Power On")
    power_is(page, "web-1", "On", timeout=SOON_MS)

    select_and(page, "web-1", "Soft Shutdown")
    power_is(page, "web-1", "Shutting down")
    machines.wait_until_told(machine, times=2)
    assert OF_THE_KERNEL not in machine.said
    machine.wait_until_it_says(UP)  # as if nobody had said a word
    assert STOPPING not in machine.said

    power_is(page, "web-1", "Off", timeout=SOON_MS)
    assert machine.said.count(STOPPING) == 1
    machines.wait_until_told(machine, times=3)
