"""The iSCSI tab in a browser: a password that is shown stays as long as somebody looks at it, and no longer."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.e2e.hands import Hands
from tests.e2e.people import People
from tests.e2e.steps import panel, shows_tab, tab


def test_password_is_shown_copied_kept_through_updates_and_hidden(people: People, hands: Hands) -> None:
    world = hands.make(count=1)
    page = people.open("tomas", world.drive(1), permissions=["clipboard-read", "clipboard-write"])
    tab(page, "iSCSI").click()
    shows_tab(page, "web-data-1", "iSCSI")
    region = panel(page)

    region.get_by_role("button", name="Show password").press("Enter")
    secret = region.get_by_text(re.compile(r"^[A-Za-z0-9]{16}$"))
    expect(secret).to_be_visible()
    hide = region.get_by_role("button", name="Hide password")
    expect(hide).to_be_focused()
    password = secret.inner_text()
    hands.create(world.drives[0], by="ana")
    expect(tab(page, "Snapshots")).to_contain_text("1/5")
    expect(secret).to_have_text(password)
    expect(hide).to_be_focused()
    region.get_by_role("button", name="Copy the CHAP password").click()
    expect(region.get_by_text("Copied", exact=True)).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == password

    hide.click()
    expect(secret).to_have_count(0)
    expect(region.get_by_role("button", name="Show password")).to_be_focused()

    # Whoever comes back finds it hidden.
    region.get_by_role("button", name="Show password").click()
    expect(secret).to_be_visible()
    tab(page, "Activity").click()
    expect(region.get_by_text("looked at the CHAP password of").first).to_be_visible()
    page.go_back()
    expect(region.get_by_role("button", name="Show password")).to_be_visible()
    expect(secret).to_have_count(0)


def test_password_is_hidden_at_once_even_if_nobody_answers(people: People, hands: Hands) -> None:
    world = hands.make(count=1)
    page = people.open("tomas", f"/drives/{world.drives[0]}/iscsi/")
    panel(page).get_by_role("button", name="Show password").click()
    secret = panel(page).get_by_text(re.compile(r"^[A-Za-z0-9]{16}$"))
    expect(secret).to_be_visible()
    page.route("**/iscsi/", lambda route: None)  # the answer never comes

    panel(page).get_by_role("button", name="Hide password").click()

    expect(secret).to_have_count(0)
    page.unroute_all(behavior="ignoreErrors")


def test_what_cannot_be_copied_is_selected(people: People, hands: Hands) -> None:
    world = hands.make(count=1)
    page = people.open("vera", f"/drives/{world.drives[0]}/iscsi/")
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')) }")

    panel(page).get_by_role("button", name="Copy the commands for QEMU").press("Enter")

    expect(panel(page).get_by_text("Selected: press Ctrl+C")).to_be_visible()
    assert page.evaluate("getSelection().toString()").startswith("( set -eu")


def test_tab_works_without_javascript(people: People, hands: Hands) -> None:
    world = hands.make(count=1)
    page = people.open("ana", f"/drives/{world.drives[0]}/iscsi/", java_script_enabled=False)

    panel(page).get_by_role("button", name="Show password").click()
    secret = panel(page).get_by_text(re.compile(r"^[A-Za-z0-9]{16}$"))
    expect(secret).to_be_visible()
    panel(page).get_by_role("button", name="Hide password").click()

    expect(panel(page).get_by_role("button", name="Show password")).to_be_visible()
    expect(secret).to_have_count(0)
    expect(page).to_have_url(re.compile(r"/iscsi/\??$"))
