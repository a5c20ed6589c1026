"""What people do on the pages, by the roles and names that they see and hear."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from playwright.sync_api import Locator, Page, expect

Mode = Literal["mouse", "keys"]


def panel(page: Page) -> Locator:
    return page.get_by_role("complementary")


def tab(page: Page, name: str) -> Locator:
    """A tab of the panel; its count is not part of the name."""
    return panel(page).get_by_role("navigation").get_by_role("link", name=name, exact=True)


def shows_tab(page: Page, title: str, name: str) -> None:
    expect(panel(page).get_by_role("heading", name=title, exact=True)).to_be_visible()
    expect(tab(page, name)).to_have_attribute("aria-current", "page")


def card(page: Page, name: str) -> Locator:
    """The link that a card is: "InstanceArray web", "DriveArray web-data"."""
    return page.get_by_role("link", name=name, exact=True)


def open_drive(page: Page, name: str) -> None:
    """From the canvas to a tab of the first drive of web-data."""
    card(page, "DriveArray web-data").click()
    tab(page, "Drives").click()
    panel(page).get_by_role("link", name="web-data-1", exact=True).click()
    tab(page, name).click()


def open_instances(page: Page) -> None:
    """From the canvas to the instances of web."""
    card(page, "InstanceArray web").click()
    tab(page, "Instances").click()


def history(page: Page) -> Locator:
    """The rows of the list of snapshots: the current state, then the newest first."""
    return panel(page).get_by_role("region", name="History").get_by_role("listitem")


def history_says(page: Page, *rows: str) -> None:
    """Each row begins with these words; there are no others."""
    expect(history(page)).to_contain_text(["Current state", *rows])
    expect(history(page)).to_have_count(len(rows) + 1)


def create_button(page: Page, name: str | re.Pattern[str] = "Create snapshot") -> Locator:
    return panel(page).get_by_role("button", name=name, exact=isinstance(name, str))


def create_snapshot(page: Page, name: str = "Create snapshot") -> None:
    """Presses the button, and lets the form become a new one, as it is by the time that somebody can want another."""
    key = page.locator("input[name=key]").first
    before = key.input_value()
    create_button(page, name).click()
    expect(key).not_to_have_value(before)


def note_field(page: Page) -> Locator:
    return panel(page).get_by_role("textbox", name="Note (optional)")


def revert_button(page: Page, number: int) -> Locator:
    return panel(page).get_by_role("button", name=f"Revert to #{number}", exact=True)


def dialog(page: Page) -> Locator:
    return page.get_by_role("dialog")


def instance_row(page: Page, label: str) -> Locator:
    name = re.compile(rf"^{re.escape(label)}( − goes with the next deploy)?$")
    return panel(page).get_by_role("row").filter(has=page.get_by_role("rowheader", name=name))


def power_is(page: Page, label: str, word: str, *, timeout: float | None = None) -> None:
    """The list of instances says so of one of them."""
    expect(instance_row(page, label).get_by_text(word, exact=True)).to_be_visible(timeout=timeout)


def select_and(page: Page, label: str, command: str) -> None:
    """Selects one instance of the list and gives it a command."""
    panel(page).get_by_role("checkbox", name=f"Select {label}", exact=True).check()
    bar = panel(page).get_by_role("toolbar", name="Actions for selected instances")
    bar.get_by_role("button", name=command, exact=True).click()


def is_live(page: Page) -> None:
    expect(page.get_by_role("contentinfo").get_by_text("Live", exact=True)).to_be_visible()


@contextmanager
def without_page_load(page: Page) -> Iterator[None]:
    """What happens inside swaps parts of the document; the document itself stays the same one."""
    page.evaluate("window.isTheSameDocument = true")
    yield
    assert page.evaluate("window.isTheSameDocument") is True


def numbers(locator: Locator) -> list[str]:
    """The snapshot numbers that rows speak of, in their order."""
    return re.findall(r"#\d+", " ".join(locator.all_inner_texts()))


def deploy_button(page: Page) -> Locator:
    """The button of the header: "Deploy (2 changes)", or what is deployed just now."""
    return page.locator("#review")


def waits_for_deploy(page: Page, number: int) -> None:
    """The header counts what waits."""
    words = rf"\({number}\s*change{'' if number == 1 else 's'}\)" if number else ", nothing to deploy"
    expect(deploy_button(page)).to_have_accessible_name(re.compile(rf"^Deploy ?{words}$"))


def open_review(page: Page) -> None:
    deploy_button(page).click()
    expect(panel(page).get_by_role("heading", name=re.compile("^Review "))).to_be_visible()


def confirm_button(page: Page) -> Locator:
    """The button of the review that begins it."""
    return panel(page).get_by_role("button", name=re.compile(r"^Deploy \d+ changes?$"))


def is_deployed(page: Page) -> None:
    expect(panel(page).get_by_role("heading", name=re.compile("^Deployed "))).to_be_visible()


def changes(page: Page) -> Locator:
    """The changes that a review lists."""
    return panel(page).get_by_role("list", name="Changes", exact=True).locator("> li")


def plan_step(page: Page, title: str | re.Pattern[str]) -> Locator:
    """A step of a deploy that runs or ran."""
    return panel(page).get_by_role("list", name="Steps").get_by_role("listitem").filter(has_text=title)


FAR = 80
"""More presses of Tab than any walk needs."""


def tab_to(page: Page, place: Locator, *, key: str = "Tab") -> None:
    """Presses Tab until the focus is there; it must be visible, or nobody could tell."""
    expect(place).to_be_visible()
    for _ in range(FAR):
        page.keyboard.press(key)
        if place.evaluate("element => element === document.activeElement"):
            break
    expect(place).to_be_focused()
    assert place.evaluate("element => element.matches(':focus-visible')")


def press(page: Page, place: Locator, key: str = "Enter") -> None:
    tab_to(page, place)
    page.keyboard.press(key)
