"""Every screen and state of the product, and how to get there: for axe, and for looking at pictures."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from playwright.sync_api import Error, Page, expect

from tests.e2e.hands import Hands, World
from tests.e2e.product import Product
from tests.e2e.steps import (
    confirm_button,
    create_button,
    dialog,
    history,
    note_field,
    panel,
    power_is,
    revert_button,
    select_and,
)

STILL = "() => document.getAnimations().every(one => one.playState !== 'running')"
"""Whether nothing moves or changes its colour any more."""


@dataclass(frozen=True)
class Scene:
    """What the screens are about: the demo, and three worlds that tests may change."""

    product: Product
    hands: Hands
    demo: dict[str, int]
    off: World
    """Servers are off, drives have snapshots 1 to 3."""
    on: World
    """Servers are on and do not obey a soft shutdown; drives are full."""
    odd: World
    """BMCs are silent, drives have one snapshot."""
    draft: World
    """Servers do not obey a soft shutdown; the next deploy destroys web-2 with its drive and two snapshots."""
    broken: World
    """Servers are off; the next deploy makes two drives."""
    fills: World
    """A drive with two snapshots, whose pool fills up."""

    def drive(self, label: str, tab: str = "snapshots/") -> str:
        return f"/drives/{self.demo[f'atlas-prod/{label}']}/{tab}"

    def array(self, kind: str, label: str, tab: str = "") -> str:
        return f"/{kind}-arrays/{self.demo[f'atlas-prod/{label}']}/{tab}"


def scene_of(product: Product, hands: Hands) -> Scene:
    """Makes the worlds."""
    draft = hands.make(power="on", options="soft=ignored", snapshots=2)
    hands.configure_servers(draft.instance_array, by="tomas", count=1, drives="delete")
    broken = hands.make(count=1, attached=False)
    hands.add_drives(broken, by="ana", label="more", count=2)
    return Scene(
        product=product,
        hands=hands,
        demo=hands.demo(),
        off=hands.make(snapshots=3, texts=["one", "two", "three", "now"]),
        on=hands.make(power="on", options="soft=ignored", snapshots=5),
        odd=hands.make(power="on", options="bmc=silent", snapshots=1),
        draft=draft,
        broken=broken,
        fills=hands.make(count=1, snapshots=2),
    )


@dataclass(frozen=True)
class Screen:
    """One state. `show` begins at any page and ends when the state is complete."""

    name: str
    show: Callable[[Page, Scene], None]
    who: str | None = "ana"
    status: int = 200
    """The status of an answer on the way, of which Chromium writes a line."""


def at(path: str | Callable[[Scene], str], says: str) -> Callable[[Page, Scene], None]:
    """Goes there, and waits until the page says so."""

    def show(page: Page, scene: Scene) -> None:
        page.goto(path if isinstance(path, str) else path(scene))
        expect(page.get_by_text(says).and_(page.locator(":visible")).first).to_be_visible()

    return show


def sign_in_refused(page: Page, scene: Scene) -> None:
    page.goto("/sign-in/")
    page.get_by_label("Email").fill("ana@example.org")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()


def outline(page: Page, scene: Scene) -> None:
    page.goto(f"/infrastructures/{scene.demo['atlas-prod']}/")
    toggle = page.get_by_role("button", name="Outline")
    if toggle.is_visible():
        toggle.click()
        expect(toggle).to_have_attribute("aria-pressed", "true")


def far_away(page: Page, scene: Scene) -> None:
    page.goto(f"/infrastructures/{scene.demo['atlas-prod']}/")
    button = page.get_by_role("button", name="Zoom out")
    if button.is_visible():
        while page.locator("#canvas").get_attribute("data-lod") != "far":
            button.click()
            expect(page.locator("#canvas")).to_have_attribute("data-lod", re.compile("near|far"))


def account_menu(page: Page, scene: Scene) -> None:
    page.goto(scene.off.canvas)
    page.get_by_role("button", name=re.compile("account of")).click()
    expect(page.get_by_role("menu", name="Account")).to_be_visible()


def shortcuts(page: Page, scene: Scene) -> None:
    page.goto(scene.off.canvas)
    page.keyboard.press("?")
    expect(dialog(page)).to_be_visible()


def network(page: Page, scene: Scene) -> None:
    page.goto(f"/infrastructures/{scene.demo['atlas-prod']}/")
    page.goto(page.get_by_role("link", name=re.compile("^LAN network")).get_attribute("href") or "")
    expect(panel(page)).to_be_visible()


def instances_selected(page: Page, scene: Scene) -> None:
    page.goto(scene.array("instance", "web", "instances/"))
    panel(page).get_by_role("checkbox", name="Select web-1", exact=True).check()
    expect(panel(page).get_by_role("toolbar", name="Actions for selected instances")).to_be_visible()


def power_history(page: Page, scene: Scene) -> None:
    """A week in which one was silent and off; of the other nothing is known but that it is as it is."""
    scene.hands.remember_power(scene.off.instances[0])
    page.goto(scene.off.list_of_instances)
    panel(page).get_by_role("link", name="7 days", exact=True).click()
    line = panel(page).get_by_role("img", name=re.compile("^Power of web-1 in the last 7 days: "))
    expect(line).to_be_in_viewport()


def power_menu(page: Page, scene: Scene) -> None:
    instances_selected(page, scene)
    panel(page).get_by_role("button", name="More power actions").click()
    expect(page.get_by_role("menuitem", name="Reset…")).to_be_visible()


def hard_power_off(page: Page, scene: Scene) -> None:
    power_menu(page, scene)
    page.get_by_role("menuitem", name="Hard Power Off…").click()
    expect(dialog(page)).to_be_visible()


def shutting_down(page: Page, scene: Scene) -> None:
    page.goto(scene.on.list_of_instances)
    row = panel(page).get_by_role("row", name=re.compile("web-1"))
    if row.get_by_text("On", exact=True).is_visible():
        select_and(page, "web-1", "Soft Shutdown")
    power_is(page, "web-1", "Shutting down")


def overdue(page: Page, scene: Scene) -> None:
    shutting_down(page, scene)
    scene.hands.let_time_limit_pass(scene.on.instances[0])
    expect(panel(page).get_by_role("heading", name="web-1 is still on after 2:00")).to_be_visible()


def overdue_beside_the_drive(page: Page, scene: Scene) -> None:
    overdue(page, scene)
    page.goto(scene.on.drive(1))
    expect(panel(page).get_by_role("heading", name="web-1 is still on after 2:00")).to_be_visible()


def created(page: Page, scene: Scene) -> None:
    page.goto(scene.off.drive(2))
    note_field(page).fill("a note")
    create_button(page, re.compile("^Create snapshot")).click()
    expect(panel(page).get_by_text(re.compile("^Snapshot #\\d+ created at "))).to_be_visible()


def chap_password_shown(page: Page, scene: Scene) -> None:
    """Beside what the server calls itself that is logged in."""
    scene.hands.log_in(scene.off.drives[1])
    page.goto(f"/drives/{scene.off.drives[1]}/iscsi/")
    panel(page).get_by_role("button", name="Show password").click()
    expect(panel(page).get_by_role("button", name="Hide password")).to_be_visible()


def in_work(page: Page, scene: Scene) -> None:
    """It stays in work: the program that makes layers waits, until whoever looks lets it go on."""
    page.goto(scene.off.drive(2))
    scene.product.qemu_img.waits()
    create_button(page, re.compile("^Create snapshot")).click()
    scene.product.qemu_img.is_reached()
    expect(panel(page).get_by_role("button", name="Creating…")).to_be_visible()


def in_work_ends(page: Page, scene: Scene) -> None:
    scene.product.qemu_img.goes_on()
    page.goto(scene.off.drive(2))
    expect(create_button(page, re.compile("^Create snapshot"))).to_be_enabled()


def refused_by_storage(page: Page, scene: Scene) -> None:
    page.goto(scene.off.drive(2))
    scene.product.qemu_img.finds_the_disk_full()
    create_button(page, re.compile("^Create snapshot")).click()
    expect(panel(page).get_by_role("heading", name="Snapshot not created")).to_be_visible()
    scene.product.qemu_img.works()


def pool_filled(percent: int, tab: str) -> Callable[[Page, Scene], None]:
    """A tab of a drive whose storage pool is so full."""

    def show(page: Page, scene: Scene) -> None:
        scene.hands.fill_pool(scene.fills.drives[0], percent)
        page.goto(scene.fills.drive(1, tab))
        expect(panel(page).get_by_text(f"is {percent} % full").first).to_be_visible()

    return show


def pool_checked(page: Page, scene: Scene) -> None:
    page.goto("/admin/editor/storagepool/")
    page.get_by_role("link", name="Flash", exact=True).click()
    page.get_by_role("button", name="Check", exact=True).click()
    expect(page.get_by_text("Checked just now.")).to_be_visible()


def note_edited(page: Page, scene: Scene) -> None:
    page.goto(scene.off.drive(1))
    panel(page).get_by_role("button", name="Edit note of #2").click()
    expect(panel(page).get_by_role("textbox", name="Note of #2")).to_be_visible()


def revert_asked(page: Page, scene: Scene) -> None:
    page.goto(scene.off.drive(1))
    revert_button(page, 1).click()
    expect(dialog(page)).to_be_visible()


def revert_refused(page: Page, scene: Scene) -> None:
    revert_asked(page, scene)
    scene.hands.create(scene.off.drives[0], by="tomas", note="in between")
    expect(history(page).filter(has_text="in between")).not_to_have_count(0)
    dialog(page).get_by_role("button", name=re.compile("^Revert and delete")).click()
    expect(dialog(page).get_by_role("alert")).to_be_visible()


def delete_asked(page: Page, scene: Scene) -> None:
    page.goto(scene.off.drive(1))
    panel(page).get_by_role("button", name="Delete #1…").click()
    expect(dialog(page)).to_be_visible()


def reverted(page: Page, scene: Scene) -> None:
    page.goto(scene.off.drive(1))
    revert_button(page, 1).click()
    dialog(page).get_by_role("button", name=re.compile("^Revert")).click()
    expect(panel(page).get_by_text(re.compile("^web-data-1 reverted to #1"))).to_be_visible()


def several_selected(page: Page, scene: Scene) -> None:
    page.goto(f"/infrastructures/{scene.demo['atlas-prod']}/")
    for name in ("InstanceArray web", "DriveArray web-data"):
        page.get_by_role("link", name=name, exact=True).click(modifiers=["Shift"])
    expect(page.get_by_role("link", name="DriveArray web-data", exact=True)).to_have_accessible_description("selected")


def is_drawn(page: Page) -> bool:
    """Whether the window is wide enough for a canvas; narrow ones have the outline."""
    return page.get_by_role("toolbar", name="Zoom").is_visible()


def more_menu(page: Page, scene: Scene) -> None:
    """The menu of the bar under a card that has a change; the outline has no bar."""
    page.goto(f"/infrastructures/{scene.demo['atlas-prod']}/")
    page.get_by_role("link", name="DriveArray db-data", exact=True).click(modifiers=["Shift"])
    if not is_drawn(page):
        return
    page.get_by_role("button", name="More actions", exact=True).click()
    expect(page.get_by_role("menuitem", name="Discard this change…")).to_be_visible()


def cable_drawn(page: Page, scene: Scene) -> None:
    """Half way to a card that it cannot end at; narrow windows have no canvas to draw on."""
    page.goto(f"/infrastructures/{scene.demo['atlas-prod']}/")
    start = page.get_by_role("link", name="DriveArray web-data", exact=True)
    end = page.get_by_role("link", name=re.compile("^LAN network"))
    if not is_drawn(page):
        return
    start.hover()
    port, target = page.locator("#ports > :visible").first.bounding_box(), end.bounding_box()
    assert port
    assert target
    page.mouse.move(port["x"] + 12, port["y"] + 12)
    page.mouse.down()
    page.mouse.move(target["x"] + 4, target["y"] + 4, steps=6)
    expect(page.get_by_text("web-data belongs to web.")).to_be_visible()


def topic(scene: Scene, label: str) -> str:
    return f"instance-array-{scene.demo[f'atlas-prod/{label}']}"


def connect_asked(page: Page, scene: Scene) -> None:
    page.goto(f"/infrastructures/{scene.demo['atlas-prod']}/")
    page.get_by_role("link", name="DriveArray web-data", exact=True).focus()
    page.keyboard.press("c")
    expect(dialog(page)).to_be_visible()


def renamed(page: Page, scene: Scene) -> None:
    page.goto(f"/infrastructures/{scene.demo['atlas-prod']}/")
    page.get_by_role("link", name="InstanceArray web", exact=True).focus()
    page.keyboard.press("F2")
    page.get_by_role("textbox", name="New label of web").fill("no_label")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Use 1 to 63 letters")).to_be_visible()


def company(page: Page, scene: Scene) -> None:
    """Somebody else looks at the same canvas."""
    scene.hands.be_present("tomas", scene.demo["atlas-prod"], topic(scene, "db"))
    page.goto(f"/infrastructures/{scene.demo['atlas-prod']}/")
    expect(page.locator("#presence").get_by_text("Tomás Reyes is viewing db")).to_have_count(1)


def add_menu(page: Page, scene: Scene) -> None:
    page.goto(f"/infrastructures/{scene.demo['atlas-prod']}/")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("menu", name="Add to the draft")).to_be_visible()


def configure_wrong(page: Page, scene: Scene) -> None:
    page.goto(scene.array("drive", "web-data", "configure/"))
    panel(page).get_by_label("Size of each drive").fill("8")
    panel(page).get_by_role("button", name="Save to draft").click()
    expect(panel(page).get_by_role("alert")).to_be_visible()


def configure_stale(page: Page, scene: Scene) -> None:
    page.goto(f"/instance-arrays/{scene.draft.instance_array}/configure/")
    field = panel(page).get_by_label("Label")
    name = field.input_value()
    field.fill("mine")
    scene.hands.configure_servers(scene.draft.instance_array, by="tomas", label=f"{name[:8]}-x")
    panel(page).get_by_role("button", name="Save to draft").click()
    expect(panel(page).get_by_role("button", name="Save mine")).to_be_visible()


def shrink_asked(page: Page, scene: Scene) -> None:
    page.goto(scene.array("instance", "web", "configure/"))
    panel(page).get_by_label("Servers", exact=True).fill("2")
    panel(page).get_by_role("button", name="Save to draft").click()
    expect(dialog(page).get_by_role("checkbox")).not_to_have_count(0)


def array_delete_asked(page: Page, scene: Scene) -> None:
    page.goto(scene.array("instance", "web", "configure/"))
    panel(page).get_by_role("link", name="Delete web…").click()
    expect(dialog(page)).to_be_visible()


def discard_asked(page: Page, scene: Scene) -> None:
    page.goto(f"/infrastructures/{scene.demo['atlas-prod']}/deploy/")
    panel(page).get_by_role("link", name="Discard all…").click()
    expect(dialog(page)).to_be_visible()


def review_unticked(page: Page, scene: Scene) -> None:
    page.goto(f"{scene.draft.canvas}deploy/")
    confirm_button(page).click()
    expect(panel(page).get_by_text("Tick this to go on.")).to_be_visible()
    expect(panel(page).get_by_role("checkbox")).to_be_focused()


def deploy_runs(page: Page, scene: Scene) -> None:
    """It waits for a server that does not obey."""
    page.goto(f"{scene.draft.canvas}deploy/")
    if confirm_button(page).is_visible():
        panel(page).get_by_role("checkbox").check()
        confirm_button(page).click()
    expect(panel(page).get_by_role("button", name="Stop now")).to_be_visible()
    expect(panel(page).locator("[aria-current=step]")).to_be_visible()


def configure_while_deployed(page: Page, scene: Scene) -> None:
    deploy_runs(page, scene)
    page.goto(f"/instance-arrays/{scene.draft.instance_array}/configure/")
    expect(panel(page).get_by_text("Editing goes on when that ends.").first).to_be_visible()


def deploy_fails(page: Page, scene: Scene) -> None:
    page.goto(f"{scene.broken.canvas}deploy/")
    scene.product.qemu_img.finds_the_disk_full()
    confirm_button(page).click()
    expect(panel(page).get_by_role("heading", name=re.compile("^Deploying"))).to_be_visible()
    stopped = panel(page).get_by_role("heading", name="Deploy stopped")
    for _ in range(40):
        scene.hands.last_try(scene.broken.infrastructure)
        with suppress(Error):
            stopped.wait_for(timeout=250)
            break
    expect(stopped).to_be_visible()
    scene.product.qemu_img.works()


SCREENS = [
    Screen("sign-in", at("/sign-in/", "Infrastructure editor"), who=None),
    Screen("sign-in-refused", sign_in_refused, who=None, status=422),
    Screen("infrastructures", at("/infrastructures/", "atlas-prod")),
    Screen("infrastructures-none", at("/infrastructures/", "No infrastructures yet"), who="stranger"),
    Screen("infrastructures-no-match", at("/infrastructures/?q=nothing-like-that", "nothing-like-that")),
    Screen("not-found", at("/infrastructures/999999/", "Nothing here"), status=404),
    Screen("canvas", at(lambda scene: f"/infrastructures/{scene.demo['atlas-prod']}/", "analytics-data")),
    Screen("canvas-empty", at(lambda scene: f"/infrastructures/{scene.demo['sandbox-tomas']}/", "Nothing drawn yet")),
    Screen("canvas-viewer", at(lambda scene: scene.off.canvas, "Ask an owner"), who="vera"),
    Screen("canvas-far", far_away),
    Screen("canvas-several", several_selected),
    Screen("canvas-more", more_menu),
    Screen("canvas-cable", cable_drawn),
    Screen("canvas-connect", connect_asked),
    Screen("canvas-rename", renamed, status=422),
    Screen("canvas-company", company),
    Screen("outline", outline),
    Screen("account-menu", account_menu),
    Screen("shortcuts", shortcuts),
    Screen("activity", at(lambda scene: f"/infrastructures/{scene.demo['atlas-prod']}/activity/", "created snapshot")),
    Screen("network", network),
    Screen("instance-array", at(lambda scene: scene.array("instance", "web"), "Servers and their drives")),
    Screen("instances", at(lambda scene: scene.array("instance", "analytics", "instances/"), "analytics-12")),
    Screen("instances-selected", instances_selected),
    Screen("power-history", power_history),
    Screen("power-menu", power_menu),
    Screen("hard-power-off", hard_power_off),
    Screen("instances-unknown", at(lambda scene: scene.odd.list_of_instances, "Power state of web-1 is unknown")),
    Screen("instances-viewer", at(lambda scene: scene.on.list_of_instances, "You can look"), who="vera"),
    Screen("shutting-down", shutting_down),
    Screen("overdue", overdue),
    Screen("overdue-at-drive", overdue_beside_the_drive),
    Screen("instance-networks", at(lambda scene: scene.array("instance", "web", "networks/"), "10.20.0.0/22")),
    Screen("instance-activity", at(lambda scene: scene.array("instance", "web", "activity/"), "Activity")),
    Screen("drive-array", at(lambda scene: scene.array("drive", "web-data"), "Attached to")),
    Screen("drives", at(lambda scene: scene.array("drive", "web-data", "drives/"), "web-data-4")),
    Screen("drive-array-activity", at(lambda scene: scene.array("drive", "web-data", "activity/"), "created snapshot")),
    Screen("drive", at(lambda scene: scene.drive("web-data-2", ""), "Server")),
    Screen("drive-activity", at(lambda scene: scene.drive("web-data-2", "activity/"), "created snapshot")),
    Screen("iscsi", chap_password_shown),
    Screen("iscsi-viewer", at(lambda scene: f"/drives/{scene.off.drives[0]}/iscsi/", "Only operators"), who="vera"),
    Screen("snapshots-on", at(lambda scene: scene.drive("web-data-2"), "Reverting needs web-2 off")),
    Screen("snapshots-full", at(lambda scene: scene.drive("web-data-3"), "All 5 slots are in use")),
    Screen("snapshots-none", at(lambda scene: scene.drive("web-data-4"), "No snapshots yet")),
    Screen("snapshots-unknown", at(lambda scene: scene.odd.drive(1), "Power state of web-1 is unknown")),
    Screen("snapshots-viewer", at(lambda scene: scene.off.drive(1), "You can look"), who="vera"),
    Screen("snapshots-off", at(lambda scene: scene.off.drive(1), "You can revert")),
    Screen("pools", at("/admin/editor/storagepool/", "Flash")),
    Screen("pool", pool_checked),
    Screen("pool-fills", pool_filled(87, "")),
    Screen("pool-fills-snapshots", pool_filled(88, "snapshots/")),
    Screen("pool-full", pool_filled(96, "snapshots/")),
    Screen("note-edited", note_edited),
    Screen("delete-asked", delete_asked),
    Screen("revert-asked", revert_asked),
    Screen("revert-refused", revert_refused, status=409),
    Screen("reverted", reverted),
    Screen("created", created),
    Screen("in-work", in_work),
    Screen("refused-by-storage", refused_by_storage),
    Screen("add-menu", add_menu),
    Screen("infrastructure-new", at("/infrastructures/new/", "New infrastructure")),
    Screen("settings", at(lambda scene: f"/infrastructures/{scene.demo['atlas-prod']}/settings/", "Members")),
    Screen("configure", at(lambda scene: scene.array("instance", "analytics", "configure/"), "Waits for Deploy")),
    Screen("configure-drives", at(lambda scene: scene.array("drive", "db-data", "configure/"), "Waits for Deploy")),
    Screen(
        "configure-viewer",
        at(lambda scene: f"/drive-arrays/{scene.off.drive_array}/configure/", "You can look"),
        who="vera",
    ),
    Screen("configure-wrong", configure_wrong, status=422),
    Screen("configure-stale", configure_stale, status=409),
    Screen("shrink-asked", shrink_asked),
    Screen("array-delete-asked", array_delete_asked),
    Screen("discard-asked", discard_asked),
    Screen("review", at(lambda scene: f"/infrastructures/{scene.demo['atlas-prod']}/deploy/", "This deploy destroys")),
    Screen("review-nothing", at(lambda scene: f"{scene.off.canvas}deploy/", "The drawing is as it is deployed")),
    Screen("review-operator", at(lambda scene: f"{scene.draft.canvas}deploy/", "Only owners deploy"), who="tomas"),
    Screen("review-unticked", review_unticked, status=422),
    Screen("deploy-runs", deploy_runs),
    Screen("configure-while-deployed", configure_while_deployed),
    Screen("deploy-fails", deploy_fails),
    Screen("deploys", at(lambda scene: f"{scene.broken.canvas}deploys/", "Deploy")),
]
