"""What cannot be done is visible, says why in place, and offers the way out. Nothing is changed by trying."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, Route, WebSocketRoute, expect

from tests.e2e.hands import Hands
from tests.e2e.people import People
from tests.e2e.product import PASSWORD, Product
from tests.e2e.steps import (
    create_button,
    create_snapshot,
    dialog,
    history_says,
    instance_row,
    is_live,
    note_field,
    panel,
    power_is,
    revert_button,
    select_and,
    tab,
)

LOOK_ONLY = "You can look but not change anything here. Ask an owner to make you an operator."


def is_unavailable(control: Locator, because: str | re.Pattern[str]) -> None:
    """It is visible and can be reached, cannot be used, and says why to everybody."""
    expect(control).to_be_visible()
    expect(control).to_have_attribute("aria-disabled", "true")
    expect(control).to_have_accessible_description(because)


class News:
    """What a page hears from the server by itself; the test may hold it back for a while."""

    def __init__(self, page: Page) -> None:
        self._held: list[str | bytes] | None = None
        self._socket: WebSocketRoute | None = None
        page.route_web_socket("**/ws/**", self._open)

    def hold_back(self) -> None:
        self._held = []

    def let_through(self) -> None:
        held, self._held = self._held or [], None
        for message in held:
            self._pass(message)

    def _open(self, socket: WebSocketRoute) -> None:
        self._socket = socket
        socket.connect_to_server().on_message(self._pass)

    def _pass(self, message: str | bytes) -> None:
        if self._held is not None:
            self._held.append(message)
        elif self._socket:
            self._socket.send(message)


# ── Power ────────────────────────────────────────────────────────────────────


def test_running_server_is_shut_down_where_the_revert_was_wanted(people: People, hands: Hands) -> None:
    world = hands.make(power="on", snapshots=1, texts=["golden", "now"])
    page = people.open("ana", world.drive(2))
    expect(panel(page).get_by_role("heading", name="Reverting needs web-2 off")).to_be_visible()
    is_unavailable(revert_button(page, 1), re.compile("Reverting needs web-2 off"))
    expect(create_button(page)).to_be_enabled()

    revert_button(page, 1).focus()
    page.keyboard.press("Enter")
    expect(page.locator(":focus")).to_contain_text("Reverting needs web-2 off")
    expect(dialog(page)).to_be_hidden()

    panel(page).get_by_role("button", name="Shut down web-2 first").click()
    expect(panel(page).get_by_text("web-2 is shutting down. Reverting waits for it.")).to_be_visible()
    is_unavailable(revert_button(page, 1), re.compile("web-2 is shutting down"))
    hands.press_power_button(world.instances[1], "off")

    expect(panel(page).get_by_text("web-2 is off. You can revert.")).to_be_visible()
    expect(revert_button(page, 1)).to_be_enabled()
    expect(panel(page).get_by_role("button", name="Power on web-2")).to_be_enabled()


def test_unknown_power_blocks_what_needs_certainty_and_says_why(people: People, hands: Hands) -> None:
    world = hands.make(count=1, power="on", options="bmc=silent", snapshots=1)
    page = people.open("ana", world.drive(1))
    reason = "Power state of web-1 is unknown. Reverting waits until it is known to be off."
    expect(panel(page).get_by_role("heading", name=reason)).to_be_visible()
    expect(panel(page).get_by_text(re.compile(r"The BMC of this server does not answer\. Last seen "))).to_be_visible()
    is_unavailable(revert_button(page, 1), re.compile(re.escape(reason)))
    expect(create_button(page)).to_be_enabled()

    page.goto(world.list_of_instances)
    power_is(page, "web-1", "Unknown")
    panel(page).get_by_role("checkbox", name="Select web-1").check()
    for command in ("Soft Shutdown", "Power On"):
        is_unavailable(
            panel(page).get_by_role("button", name=command, exact=True),
            re.compile(r"Power state of web-1 is unknown\. The BMC of this server does not answer\."),
        )


def test_time_limit_is_refused_at_its_field_and_counts_for_one_request(people: People, hands: Hands) -> None:
    world = hands.make(count=2, power="on", options="soft=ignored")
    page = people.open("ana", world.list_of_instances)
    limit = panel(page).get_by_role("textbox", name="Time limit of Soft Shutdown")
    people.expect_status(422)

    panel(page).get_by_role("checkbox", name="Select web-1", exact=True).check()
    limit.fill("29")
    limit.press("Enter")
    select_and(page, "web-1", "Soft Shutdown")
    expect(limit).to_have_accessible_description("Give the servers 30 to 86400 seconds.")
    expect(limit).to_have_value("29")
    power_is(page, "web-1", "On")
    limit.fill("3600")
    select_and(page, "web-1", "Soft Shutdown")

    power_is(page, "web-1", "Shutting down")
    expect(panel(page).get_by_text("If it is still on at 1:00:00, you can force it off.")).to_be_visible()
    expect(limit).to_have_value("120")
    panel(page).get_by_role("checkbox", name="Select web-1", exact=True).uncheck()
    panel(page).get_by_role("button", name="Check now", exact=True).click()
    expect(panel(page).get_by_role("status").filter(has_text="Asking 2 BMCs.")).to_have_count(1)


def test_soft_shutdown_over_its_time_limit_asks_and_is_never_forced_by_itself(people: People, hands: Hands) -> None:
    world = hands.make(count=1, power="on", options="soft=ignored", snapshots=1)
    page = people.open("ana", world.list_of_instances)
    beside = people.open("tomas", world.drive(1))
    late = panel(page).get_by_role("alert").filter(has_text="web-1 is still on after 2:00")
    select_and(page, "web-1", "Soft Shutdown")
    power_is(page, "web-1", "Shutting down")

    hands.let_time_limit_pass(world.instances[0])
    expect(late).to_contain_text("Forcing it off cuts the power: data not yet written to disk is lost.")
    expect(panel(beside).get_by_role("heading", name="web-1 is still on after 2:00")).to_be_visible()
    expect(panel(beside).get_by_role("button", name="Keep waiting")).to_be_visible()
    late.get_by_role("button", name="Keep waiting").click()
    expect(late).to_be_hidden()
    expect(panel(page).get_by_text("Waiting for the operating system to stop")).to_be_visible()
    expect(panel(beside).get_by_text("web-1 is shutting down. Reverting waits for it.")).to_be_visible()

    hands.let_time_limit_pass(world.instances[0])
    late.get_by_role("button", name="Hard Power Off…").click()
    expect(dialog(page).get_by_role("heading", name="Hard Power Off web-1?")).to_be_visible()
    expect(dialog(page)).to_contain_text(
        "This cuts the power at once. Data that web-1 has not yet written to disk is lost, and its file systems may "
        "need a check at the next start."
    )
    expect(dialog(page).get_by_role("button", name=re.compile("Cancel|Keep waiting"))).to_be_focused()
    dialog(page).get_by_role("button", name="Hard Power Off web-1", exact=True).click()

    expect(dialog(page)).to_be_hidden()
    power_is(page, "web-1", "Off")
    expect(panel(beside).get_by_text("web-1 is off. You can revert.")).to_be_visible()


@pytest.mark.parametrize(
    ("command", "sentence", "ends"),
    [
        ("Reset", "This restarts web-2 at once, without a clean shutdown.", "Powering on"),
        ("Hard Power Off", "This cuts the power at once.", "Off"),
    ],
)
def test_what_loses_data_is_in_the_menu_behind_a_confirmation(
    people: People, hands: Hands, command: str, sentence: str, ends: str
) -> None:
    world = hands.make(power="on")
    page = people.open("ana", world.list_of_instances)
    panel(page).get_by_role("checkbox", name="Select web-2").check()

    panel(page).get_by_role("button", name="More power actions").click()
    item = page.get_by_role("menuitem", name=f"{command}…")
    expect(item).to_have_accessible_description(re.compile(r"\w\.$"))
    item.click()
    expect(dialog(page).get_by_role("heading", name=f"{command} web-2?")).to_be_visible()
    expect(dialog(page)).to_contain_text(sentence)
    expect(dialog(page).get_by_role("button", name="Cancel")).to_be_focused()
    dialog(page).get_by_role("button", name=f"{command} web-2", exact=True).click()

    power_is(page, "web-2", ends)
    power_is(page, "web-1", "On")


# ── The list is not what it was ──────────────────────────────────────────────


def test_confirmation_of_an_old_list_is_refused_with_the_new_one(people: People, hands: Hands) -> None:
    world = hands.make(count=1, snapshots=2, texts=["one", "two", "now"])
    page = people.open("ana", world.drive(1))
    revert_button(page, 1).click()
    expect(dialog(page).get_by_role("button", name="Revert and delete 1 snapshot")).to_be_visible()
    hands.create(world.drives[0], by="tomas", note="in between")
    expect(page.get_by_text("in between").first).to_be_attached()
    people.expect_status(409)

    dialog(page).get_by_role("button", name="Revert and delete 1 snapshot").click()

    expect(dialog(page).get_by_role("alert")).to_contain_text(
        re.compile(r"The list changed while you were reading: Tomás Reyes created #3 at \d\d:\d\d\. Check again\.")
    )
    expect(dialog(page).get_by_role("button", name="Cancel")).to_be_focused()
    expect(dialog(page).get_by_role("listitem")).to_contain_text(["Lost", "#3in between", "#2", "#1"])
    assert hands.text(world.drives[0]) == "now"
    dialog(page).get_by_role("button", name="Revert and delete 2 snapshots").click()
    expect(panel(page).get_by_text("web-data-1 reverted to #1. 2 snapshots deleted.")).to_be_visible()
    assert hands.text(world.drives[0]) == "one"


def test_full_drive_refuses_to_delete_another_snapshot_than_it_said(people: People, hands: Hands) -> None:
    world = hands.make(count=1, snapshots=5)
    page, beside = people.open("ana"), people.open("tomas", world.drive(1))
    news = News(page)
    page.goto(world.drive(1))
    is_live(page)
    refused = panel(page).get_by_role("alert")
    people.expect_status(409)

    news.hold_back()
    create_snapshot(beside, "Create snapshot, delete #1")
    history_says(beside, "#6", "#5", "#4", "#3", "#2")
    note_field(page).fill("mine")
    create_button(page, "Create snapshot, delete #1").click()
    expect(refused).to_contain_text(
        "The list changed while you were reading: the next snapshot now deletes #2. "
        "Nothing was created yet; check again."
    )
    history_says(page, "#6", "#5", "#4", "#3", "#2")
    expect(note_field(page)).to_have_value("mine")

    # What comes by itself does not take the sentence away before it was read.
    news.let_through()
    hands.delete(world.snapshots[0][4], by="tomas")
    history_says(page, "#6", "#4", "#3", "#2")
    expect(refused).to_contain_text("Nothing was created yet; check again.")
    create_button(page).click()

    history_says(page, "#7mine", "#6", "#4", "#3", "#2")
    expect(refused).to_be_hidden()


def test_snapshot_deleted_by_somebody_else_is_not_reverted_to(people: People, hands: Hands) -> None:
    world = hands.make(count=1, snapshots=2)
    page = people.open("ana", world.drive(1))
    revert_button(page, 1).click()
    expect(dialog(page)).to_be_visible()
    hands.delete(world.snapshots[0][0], by="tomas")
    people.expect_status(409)

    dialog(page).get_by_role("button", name="Revert and delete 1 snapshot").click()

    expect(dialog(page).get_by_role("alert")).to_contain_text("#1 does not exist any more. Nothing was reverted.")
    expect(dialog(page).get_by_role("button")).to_have_count(1)
    dialog(page).get_by_role("button", name="Cancel").click()
    history_says(page, "#2")


def test_drive_that_is_not_deployed_has_no_snapshots_yet(people: People, hands: Hands) -> None:
    world = hands.make(count=1, deployed=False)
    page = people.open("ana", world.drive(1))

    is_unavailable(create_button(page), re.compile(r"web-data-1 does not exist yet\. Deploy it first\."))


# ── Storage ──────────────────────────────────────────────────────────────────


def test_full_storage_is_said_in_place_and_trying_again_works(people: People, hands: Hands, product: Product) -> None:
    world = hands.make(count=1, snapshots=1, texts=["golden", "now"])
    page = people.open("ana", world.drive(1))
    product.qemu_img.finds_the_disk_full()
    note_field(page).fill("before upgrade")
    create_snapshot(page)
    alert = panel(page).get_by_role("alert")
    expect(alert.get_by_role("heading", name="Snapshot not created")).to_be_visible()
    expect(alert).to_contain_text("The storage pool is full.")
    expect(alert).to_contain_text("web-data-1 still has its 1 snapshot.")
    history_says(page, "#1")

    product.qemu_img.works()
    alert.get_by_role("button", name="Try again").click()

    expect(alert).to_be_hidden()
    expect(panel(page).get_by_text(re.compile("^Snapshot #3 created at "))).to_be_visible()
    assert [hands.text(world.drives[0]), hands.facts(world.drives[0])["trouble"]] == ["now", ""]


def test_details_for_support_can_be_copied(people: People, hands: Hands, product: Product) -> None:
    world = hands.make(count=1)
    page = people.open("ana", world.drive(1), permissions=["clipboard-read", "clipboard-write"])
    product.qemu_img.finds_the_disk_full()
    create_snapshot(page)
    alert = panel(page).get_by_role("alert")

    alert.get_by_role("button", name="Copy details").click()

    expect(alert.get_by_text("Details copied")).to_be_visible()
    assert "web-data-1" in page.evaluate("navigator.clipboard.readText()")


def test_revert_that_storage_refuses_leaves_everything_as_it_was(
    people: People, hands: Hands, product: Product
) -> None:
    world = hands.make(count=1, snapshots=2, texts=["one", "two", "now"])
    page = people.open("ana", world.drive(1))
    product.qemu_img.finds_the_disk_full()
    revert_button(page, 1).click()
    dialog(page).get_by_role("button", name="Revert and delete 1 snapshot").click()
    alert = panel(page).get_by_role("alert")
    expect(alert.get_by_role("heading", name="Drive not reverted")).to_be_visible()
    expect(alert).to_contain_text("nothing was changed, web-data-1 still has its 2 snapshots.")
    product.qemu_img.works()

    alert.get_by_role("button", name="Dismiss").click()

    expect(alert).to_be_hidden()
    history_says(page, "#2", "#1")
    assert [hands.text(world.drives[0]), hands.facts(world.drives[0])["hold"]] == ["now", ""]


def test_while_a_drive_is_in_work_nothing_else_starts_on_it(people: People, hands: Hands, product: Product) -> None:
    world = hands.make(count=1, snapshots=1)
    page = people.open("ana", world.drive(1))
    product.qemu_img.waits()
    revert_button(page, 1).click()
    dialog(page).get_by_role("button", name=re.compile("^Revert, lose")).click()

    expect(panel(page).get_by_text("Reverting to #1…")).to_be_visible()
    is_unavailable(create_button(page), re.compile(r"web-data-1 is busy: Reverting to #1\."))
    is_unavailable(panel(page).get_by_role("button", name="Power on web-1"), re.compile("Reverting to #1"))
    is_unavailable(panel(page).get_by_role("button", name="Delete #1…"), re.compile("Reverting to #1"))
    product.qemu_img.is_reached()
    product.qemu_img.goes_on()

    expect(panel(page).get_by_text("web-data-1 reverted to #1.")).to_be_visible()
    expect(panel(page).get_by_role("button", name="Power on web-1")).to_be_enabled()


# ── People ───────────────────────────────────────────────────────────────────


def test_viewer_sees_every_control_and_why_it_is_not_theirs(people: People, hands: Hands) -> None:
    world = hands.make(count=1, power="on", snapshots=1)
    page = people.open("vera", world.drive(1))
    expect(panel(page).get_by_text(LOOK_ONLY)).to_be_visible()
    for name in (
        *("Create snapshot", "Revert to #1", "Delete #1…"),
        *("Edit note of #1", "Shut down web-1 first"),
    ):
        is_unavailable(panel(page).get_by_role("button", name=name, exact=True), LOOK_ONLY)
    expect(note_field(page)).not_to_be_editable()

    page.goto(world.list_of_instances)
    panel(page).get_by_role("checkbox", name="Select web-1").check()
    for name in ("Soft Shutdown", "Power On"):
        is_unavailable(panel(page).get_by_role("button", name=name, exact=True), LOOK_ONLY)

    page.goto(world.canvas)
    is_unavailable(page.get_by_role("button", name="Tidy up"), LOOK_ONLY)
    is_live(page)


def test_what_is_not_yours_looks_like_what_is_not_there(people: People, hands: Hands) -> None:
    world = hands.make(count=1, snapshots=1)
    page = people.open("stranger")
    people.expect_status(404)

    seen = []
    for path in (world.canvas, world.drive(1), world.list_of_instances, "/infrastructures/999999/", "/no/such/page"):
        answer = page.goto(path)
        assert answer
        seen.append((answer.status, page.get_by_role("main").inner_text()))

    assert len(set(seen)) == 1
    assert seen[0][0] == 404
    assert "Nothing here" in seen[0][1]


def test_link_to_a_drive_leads_there_after_signing_in(people: People, hands: Hands) -> None:
    world = hands.make(count=1)
    page = people.open(None, world.drive(1))
    people.expect_status(422)

    page.get_by_label("Email").fill("ana@example.org")
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("Email or password is wrong. Check both and try again.")
    expect(page.get_by_label("Email")).to_have_value("ana@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()

    expect(page).to_have_url(re.compile(re.escape(world.drive(1)) + "$"))
    expect(create_button(page)).to_be_visible()


def test_session_that_ended_leads_to_signing_in_and_back(people: People, hands: Hands) -> None:
    world = hands.make(count=1)
    page = people.open("ana", world.drive(1, ""))
    is_live(page)
    page.context.clear_cookies()

    tab(page, "Snapshots").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    page.get_by_label("Email").fill("ana@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()

    expect(panel(page).get_by_role("heading", name="web-data-1", exact=True)).to_be_visible()


def test_signing_out_ends_it(people: People, hands: Hands) -> None:
    world = hands.make(count=1)
    page = people.open("wei", "/infrastructures/")

    page.get_by_role("button", name=re.compile("account of Wei Chen")).click()
    page.get_by_role("menuitem", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    page.goto(world.canvas)

    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_commands_for_several_instances_say_for_each_what_became_of_it(people: People, hands: Hands) -> None:
    world = hands.make(count=3, power="on")
    hands.press_power_button(world.instances[2], "off")
    page = people.open("ana", world.list_of_instances)
    power_is(page, "web-3", "Off")

    panel(page).get_by_role("checkbox", name="Select all instances").check()
    panel(page).get_by_role("button", name="Soft Shutdown", exact=True).click()

    power_is(page, "web-1", "Shutting down")
    power_is(page, "web-2", "Shutting down")
    expect(instance_row(page, "web-3")).to_contain_text("web-3 is already off.")


def test_answer_that_a_live_update_overtook_still_says_what_was_refused(people: People, hands: Hands) -> None:
    world = hands.make(power="on")
    hands.press_power_button(world.instances[1], "off")
    page = people.open("ana", world.list_of_instances)
    power_is(page, "web-2", "Off")

    def hold_back(route: Route) -> None:
        answer = route.fetch()
        power_is(page, "web-1", "Shutting down")
        route.fulfill(response=answer)

    page.route("**/power/", hold_back)
    panel(page).get_by_role("checkbox", name="Select all instances").check()
    panel(page).get_by_role("button", name="Soft Shutdown", exact=True).click()

    expect(instance_row(page, "web-2")).to_contain_text("web-2 is already off.")
    power_is(page, "web-1", "Shutting down")
