"""One wish is carried out once, however often it arrives."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.e2e.hands import Hands
from tests.e2e.people import People
from tests.e2e.steps import create_button, dialog, history_says, note_field, panel, revert_button


def test_double_click_makes_one_snapshot(people: People, hands: Hands) -> None:
    world = hands.make(count=1)
    page = people.open("ana", world.drive(1))

    create_button(page).dblclick()
    history_says(page, "#1")
    page.reload()

    history_says(page, "#1")
    assert hands.facts(world.drives[0])["count"] == 1


def test_enter_twice_makes_one_snapshot(people: People, hands: Hands) -> None:
    world = hands.make(count=1)
    page = people.open("ana", world.drive(1))

    note_field(page).fill("once")
    note_field(page).press("Enter")
    history_says(page, "#1once")
    note_field(page).press("Enter")
    expect(panel(page).get_by_text("Snapshot #1 created at")).to_be_visible()
    page.reload()

    history_says(page, "#1once")


def test_post_that_is_sent_again_makes_no_second_snapshot(people: People, hands: Hands) -> None:
    world = hands.make(count=1)
    page = people.open("ana", world.drive(1))
    with page.expect_request("**/snapshots/create/") as sent:
        create_button(page).click()
    history_says(page, "#1")
    first = sent.value

    headers = {name: value for name, value in first.all_headers().items() if name != "content-length"}
    again = [page.request.post(first.url, data=first.post_data, headers=headers).status for _ in range(2)]
    page.reload()

    history_says(page, "#1")
    assert [again, hands.facts(world.drives[0])["count"]] == [[200, 200], 1]


def test_double_click_on_the_danger_button_reverts_once(people: People, hands: Hands) -> None:
    world = hands.make(count=1, snapshots=2, texts=["one", "two", "now"])
    page = people.open("ana", world.drive(1))
    posts = []
    page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)

    revert_button(page, 1).click()
    dialog(page).get_by_role("button", name="Revert and delete 1 snapshot").dblclick()

    expect(panel(page).get_by_text("web-data-1 reverted to #1. 1 snapshot deleted.")).to_be_visible()
    expect(dialog(page)).to_be_hidden()
    history_says(page, "#1")
    assert hands.text(world.drives[0]) == "one"


def test_two_people_at_once_make_two_snapshots_of_two_wishes(people: People, hands: Hands) -> None:
    world = hands.make(count=1)
    pages = [people.open(who, world.drive(1)) for who in ("ana", "tomas")]

    create_button(pages[0]).click()
    history_says(pages[1], "#1")
    create_button(pages[1]).click()

    for page in pages:
        history_says(page, "#2", "#1")
        expect(panel(page).get_by_role("listitem").filter(has_text="#2").filter(has_text="Tomás Reyes")).to_be_visible()
