"""The whole story on real parts: a machine whose disk is a drive, a snapshot while it writes, and back to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.hands import Hands, World
from tests.e2e.people import People
from tests.e2e.product import Product
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
from tests.lab.conftest import Ceph
from tests.lab.guest import STOPPING, UP, VERSION, WROTE, make_disk
from tests.lab.machines import IscsiDisk

if TYPE_CHECKING:
    from tests.lab.machines import Machine, Machines

SOON_MS = 30_000
"""A machine takes some seconds, a busy one more."""


Install = Callable[["Machine", str], World]


@pytest.fixture
def installed(hands: Hands, machines: Machines, product: Product, ceph: Ceph, tmp_path: Path) -> Install:
    """Makes a world whose only server is a machine, with a system on its drive that says version 0."""

    def install(machine: Machine, engine: str) -> World:
        place = ceph.place() if engine == "rbd" else None
        world = hands.make(count=1, bmcs=[machines.fields(machine)], engine=engine, ceph=place)
        disk = tmp_path / "disk"
        make_disk(disk, "0")
        product.manage("drive", "write", str(world.drives[0]), "--file", str(disk))
        return world

    return install


@pytest.mark.parametrize("engine", ["qcow2", "rbd"])
def test_machine_on_its_drive_writes_is_stopped_and_finds_what_it_wrote_first(
    people: People, machines: Machines, installed: Install, engine: str
) -> None:
    machine = machines.make(f"web-1-{engine}")
    world = installed(machine, engine)
    page = people.open("ana", world.list_of_instances)

    with without_page_load(page):
        power_is(page, "web-1", "Off")
        open_drive(page, "iSCSI")
        machines.give_disk(machine, _read_off(page))

        open_instances(page)
        select_and(page, "web-1", "Power On")
        power_is(page, "web-1", "On", timeout=SOON_MS)
        machine.wait_until_it_says(UP)
        machine.tell("1")
        machine.wait_until_it_says(f"{WROTE} 1")

        open_drive(page, "Snapshots")
        note_field(page).fill("version 1")
        create_snapshot(page)
        history_says(page, "#1version 1")
        machine.tell("2")
        machine.wait_until_it_says(f"{WROTE} 2")
        expect(revert_button(page, 1)).to_be_disabled()

        open_instances(page)
        select_and(page, "web-1", "Soft Shutdown")
        power_is(page, "web-1", "Off", timeout=SOON_MS)
        assert machine.said.count(STOPPING) == 1

        open_drive(page, "Snapshots")
        expect(revert_button(page, 1)).to_be_enabled()
        revert_button(page, 1).click()
        dialog(page).get_by_role("button", name=re.compile("^Revert")).click()
        expect(panel(page).get_by_text("web-data-1 reverted to #1.")).to_be_visible()

        open_instances(page)
        select_and(page, "web-1", "Power On")
        power_is(page, "web-1", "On", timeout=SOON_MS)
        machine.wait_until_it_says(UP, times=2)

    assert re.findall(f"{VERSION} (.*?)\\s", machine.said) == ["0", "1"]


def _read_off(page: Page) -> IscsiDisk:
    """What a person finds on the iSCSI tab and enters at the server."""
    expect(panel(page).get_by_role("status").filter(has_text="Served")).to_be_visible()
    panel(page).get_by_role("button", name="Show password").click()

    def value(name: str) -> str:
        row = panel(page).locator("dt", has_text=name).locator("xpath=following-sibling::dd[1]").locator("code")
        return row.inner_text()

    address, _, port = value("Portal").rpartition(":")
    return IscsiDisk(
        target=value("Target IQN"),
        lun=int(value("LUN")),
        address=address,
        port=int(port),
        initiator=value("Initiator IQN"),
        user=value("CHAP user"),
        password=value("CHAP password"),
    )
