"""Designing on the canvas: several cards at once, cables drawn by hand or by keys, and who else is there."""

from __future__ import annotations

import re

from playwright.sync_api import FloatRect, Locator, Page, expect

from tests.e2e.hands import Hands
from tests.e2e.people import People
from tests.e2e.steps import card, dialog, is_live, waits_for_deploy, without_page_load

SOON_MS = 3000
"""A change of company is told once a second, and then fetched."""


def item(page: Page, name: str) -> Locator:
    """The item of the canvas that a card is."""
    return page.get_by_role("listitem").filter(has=card(page, name)).last


def box(page: Page, name: str) -> FloatRect:
    found = item(page, name).bounding_box()
    assert found
    return found


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=4)
    page.mouse.move(*end, steps=4)
    page.mouse.up()


def test_cards_in_a_frame_are_moved_together(people: People, hands: Hands) -> None:
    world = hands.make()
    ana, tomas = people.open("ana", world.canvas), people.open("tomas", world.canvas)
    for page in (ana, tomas):
        is_live(page)
    web, data = box(ana, "InstanceArray web"), box(ana, "DriveArray web-data")

    with without_page_load(tomas):
        ana.keyboard.down("Shift")
        drag(ana, (web["x"] - 20, web["y"] - 12), (web["x"] + web["width"] + 20, data["y"] + 30))
        ana.keyboard.up("Shift")
        expect(card(ana, "InstanceArray web")).to_have_accessible_description("selected")
        expect(card(ana, "DriveArray web-data")).to_have_accessible_description("selected")
        expect(ana.get_by_role("status").filter(has_text="2 selected")).to_have_count(1)
        with ana.expect_response("**/move/") as answer:
            drag(ana, (web["x"] + 20, web["y"] + 14), (web["x"] + 140, web["y"] + 38))
        assert answer.value.ok
        moved = [data["x"] + 120 + data["width"] / 2, data["y"] + 24 + data["height"] - 4]
        for page in (ana, tomas):
            page.wait_for_function(
                "([id, x, y]) => document.elementFromPoint(x, y)?.closest('li')?.id === id",
                arg=[f"node-drive-array-{world.drive_array}", *moved],
            )

    steps = [
        (after["x"] - before["x"], after["y"] - before["y"])
        for before, after in ((web, box(tomas, "InstanceArray web")), (data, box(tomas, "DriveArray web-data")))
    ]
    assert steps[0] == steps[1]
    assert steps[0][0] > 100
    card(ana, "InstanceArray web").focus()
    ana.keyboard.press("Escape")
    expect(card(ana, "InstanceArray web")).not_to_have_accessible_description("selected")


def test_others_see_who_is_here_and_what_they_look_at(people: People, hands: Hands) -> None:
    world = hands.make()
    ana = people.open("ana", world.canvas)
    is_live(ana)
    here = ana.get_by_role("list", name="Also here: Tomás Reyes")
    expect(ana.get_by_role("list", name=re.compile("^Also here"))).to_have_count(0)

    with without_page_load(ana):
        tomas = people.open("tomas", world.canvas)
        is_live(tomas)
        expect(here).to_contain_text("Tomás Reyes is viewing the canvas", timeout=SOON_MS)
        card(tomas, "DriveArray web-data").click()
        expect(here).to_contain_text("Tomás Reyes is viewing web-data", timeout=SOON_MS)
        avatar = ana.locator("#viewers").get_by_title("Tomás Reyes is viewing web-data")
        expect(avatar).to_be_visible()
        at, on = avatar.bounding_box(), box(ana, "DriveArray web-data")
        assert at
        assert on["x"] < at["x"] < on["x"] + on["width"]
        assert abs(at["y"] + at["height"] / 2 - on["y"]) < 3
        tomas.close()
        expect(here).to_have_count(0, timeout=SOON_MS)
        expect(avatar).to_have_count(0)


def middle(found: FloatRect) -> tuple[float, float]:
    return found["x"] + found["width"] / 2, found["y"] + found["height"] / 2


def port(page: Page, name: str) -> Locator:
    """The ports of the card under the pointer, or the selected one."""
    return page.get_by_role("button", name=f"Connect {name} to…")


def pull(page: Page, name: str, end: tuple[float, float]) -> None:
    """Draws a cable from a card's first port to a place, without letting it go."""
    item(page, name).hover()
    found = port(page, name).first.bounding_box()
    assert found
    page.mouse.move(*middle(found))
    page.mouse.down()
    page.mouse.move(end[0] - 30, end[1] - 30, steps=4)
    page.mouse.move(*end, steps=4)


def says(page: Page, sentence: str | re.Pattern[str]) -> None:
    """A message on the screen says so."""
    expect(page.get_by_role("region", name="Notifications").get_by_text(sentence).last).to_be_visible()


def test_drives_are_attached_by_a_cable(people: People, hands: Hands) -> None:
    world = hands.make(attached=False)
    ana, tomas = people.open("ana", world.canvas), people.open("tomas", world.canvas)
    for page in (ana, tomas):
        is_live(page)

    with without_page_load(ana), without_page_load(tomas):
        with ana.expect_response("**/targets/**"):
            pull(ana, "DriveArray web-data", middle(box(ana, "LAN network lan")))
        expect(ana.get_by_text("web-data is reached over the SAN of its InstanceArray.")).to_be_visible()
        web = middle(box(ana, "InstanceArray web"))
        ana.mouse.move(*web, steps=4)
        expect(ana.get_by_text("web-data is reached over the SAN of its InstanceArray.")).to_be_hidden()
        ana.mouse.up()

        says(ana, "web-data is attached to web. It waits for Deploy.")
        for page in (ana, tomas):
            expect(item(page, "DriveArray web-data")).to_contain_text("attached to web")
        expect(ana.get_by_role("link", name=re.compile("^Deploy")).or_(ana.locator("#review"))).to_contain_text("1")
        pull(ana, "DriveArray web-data", middle(box(ana, "InstanceArray web")))
        ana.mouse.up()
        says(ana, "web-data is attached to web already.")


def test_servers_are_put_on_a_network_by_a_cable(people: People, hands: Hands) -> None:
    world = hands.make()
    page = people.open("ana", world.canvas)
    is_live(page)

    pull(page, "InstanceArray web", middle(box(page, "WAN network wan")))
    page.mouse.up()

    says(page, "if2 of web is connected to wan. It waits for Deploy.")


def test_a_cable_that_is_let_go_on_the_ground_or_with_escape_does_nothing(people: People, hands: Hands) -> None:
    world = hands.make(attached=False)
    page = people.open("ana", world.canvas)
    is_live(page)
    web = box(page, "InstanceArray web")

    pull(page, "DriveArray web-data", (web["x"] - 60, web["y"] + 20))
    page.mouse.up()
    pull(page, "DriveArray web-data", middle(web))
    page.keyboard.press("Escape")
    page.mouse.up()

    expect(page.locator("[data-ui-target]")).to_have_count(0)
    expect(item(page, "DriveArray web-data")).to_contain_text("Detached")
    expect(page.get_by_role("region", name="Notifications").get_by_role("alert")).to_have_count(0)


def test_cards_are_connected_and_taken_apart_with_the_keyboard(people: People, hands: Hands) -> None:
    world = hands.make(attached=False)
    page = people.open("ana", world.canvas)
    is_live(page)

    with without_page_load(page):
        card(page, "DriveArray web-data").focus()
        page.keyboard.press("c")
        expect(dialog(page).get_by_role("button", name="InstanceArray web")).to_be_focused()
        expect(dialog(page).get_by_role("button", name="WAN network wan")).to_have_accessible_description(
            "web-data is reached over the SAN of its InstanceArray. Attach it to one."
        )
        page.keyboard.press("Enter")
        expect(dialog(page)).to_be_hidden()
        expect(card(page, "DriveArray web-data")).to_be_focused()
        expect(item(page, "DriveArray web-data")).to_contain_text("attached to web")

        page.keyboard.press("c")
        expect(dialog(page)).to_be_visible()
        dialog(page).get_by_role("button", name="Detach from web").press("Enter")
        expect(dialog(page)).to_be_hidden()
        expect(item(page, "DriveArray web-data")).to_contain_text("Detached")


def test_cards_are_added_copied_deleted_and_brought_back_with_keys(people: People, hands: Hands) -> None:
    world = hands.make()
    page = people.open("ana", world.canvas)
    is_live(page)

    with without_page_load(page):
        page.keyboard.press("i")
        new = card(page, "InstanceArray instance-array-1")
        expect(new).to_be_focused()
        page.keyboard.press("d")
        drives = page.get_by_role("link", name=re.compile("^DriveArray drive-array-"))
        expect(drives).to_be_focused()
        expect(drives).to_have_count(1)
        new.focus()
        page.keyboard.press("Control+c")
        page.keyboard.press("Control+v")
        copied = card(page, "InstanceArray instance-array-1-copy")
        expect(copied).to_be_focused()
        page.keyboard.press("Delete")
        expect(copied).to_have_count(0)
        page.keyboard.press("Control+z")
        says(page, re.compile("^Undone: "))
        expect(copied).to_have_count(1)
        page.keyboard.press("Control+Shift+z")
        says(page, re.compile("^Done again: "))
        expect(copied).to_have_count(0)
        page.keyboard.press("Control+z")
        expect(copied).to_have_count(1)
        page.keyboard.press("Control+Enter")
        expect(page.get_by_role("complementary").get_by_role("heading", name=re.compile("^Review"))).to_be_visible()


def test_servers_are_deleted_with_a_key_and_a_choice_for_their_drives_and_kept_after_all(
    people: People, hands: Hands
) -> None:
    world = hands.make()
    page = people.open("ana", world.canvas)
    is_live(page)
    web, data = item(page, "InstanceArray web"), item(page, "DriveArray web-data")

    with without_page_load(page):
        card(page, "InstanceArray web").focus()
        page.keyboard.press("Delete")
        expect(dialog(page).get_by_role("heading", name="Delete InstanceArray web?")).to_be_visible()
        delete = dialog(page).get_by_role("button", name="Delete web from the draft")
        dialog(page).get_by_role("radio", name=re.compile("^Keep")).check()
        delete.click()
        expect(web).to_contain_text("Deleted on deploy")
        expect(data).to_contain_text("Detached")

        page.keyboard.press("Control+z")
        expect(data).to_contain_text("attached to web")
        card(page, "InstanceArray web").focus()
        page.keyboard.press("Delete")
        dialog(page).get_by_role("radio", name=re.compile("^Delete")).check()
        delete.click()
        expect(data).to_contain_text("Deleted on deploy")

        card(page, "InstanceArray web").click(modifiers=["Shift"])
        page.get_by_role("button", name="More actions").click()
        page.get_by_role("menuitem", name="Discard this change…").click()
        dialog(page).get_by_role("button", name="Keep web").click()
        expect(web).not_to_contain_text("Deleted on deploy")
        expect(data).to_contain_text("attached to web")
        waits_for_deploy(page, 0)


def test_what_is_pasted_stands_at_the_pointer(people: People, hands: Hands) -> None:
    world = hands.make()
    page = people.open("ana", world.canvas)
    is_live(page)
    card(page, "DriveArray web-data").focus()
    page.keyboard.press("Control+c")

    page.mouse.move(1100, 300)
    page.keyboard.press("Control+v")
    at = middle(box(page, "DriveArray web-data-copy"))

    assert abs(at[0] - 1100) < 40
    assert abs(at[1] - 300) < 40


def test_among_many_cards_one_types_what_to_connect_to(people: People, hands: Hands) -> None:
    world = hands.make(attached=False)
    for number in range(20):
        hands.add_drives(world, by="tomas", label=f"spare-{number}")
    page = people.open("ana", world.canvas)
    is_live(page)

    with without_page_load(page):
        card(page, "DriveArray web-data").focus()
        page.keyboard.press("c")
        expect(dialog(page).get_by_role("searchbox", name="Filter by name")).to_be_focused()
        page.keyboard.type("web")
        expect(dialog(page).get_by_role("status")).to_have_text("1 of 24 cards")
        page.keyboard.press("Enter")  # presses none of the buttons
        expect(dialog(page).get_by_role("button")).to_have_text([re.compile("web"), "Cancel"])
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(item(page, "DriveArray web-data")).to_contain_text("attached to web")


def test_a_card_is_renamed_where_it_stands(people: People, hands: Hands) -> None:
    people.expect_status(422)
    world = hands.make()
    ana, tomas = people.open("ana", world.canvas), people.open("tomas", world.canvas)
    for page in (ana, tomas):
        is_live(page)

    with without_page_load(ana), without_page_load(tomas):
        card(ana, "InstanceArray web").focus()
        ana.keyboard.press("F2")
        field = ana.get_by_role("textbox", name="New label of web")
        expect(field).to_be_focused()
        ana.keyboard.type("web_data")
        ana.keyboard.press("Enter")
        expect(field).to_have_accessible_description(re.compile("^Use 1 to 63 letters"))
        expect(field).to_be_focused()
        field.fill("front")
        ana.keyboard.press("Enter")
        expect(card(ana, "InstanceArray front")).to_be_focused()
        expect(card(tomas, "InstanceArray front")).to_be_visible()
        ana.keyboard.press("F2")
        expect(ana.get_by_role("textbox", name="New label of front")).to_be_focused()
        ana.keyboard.press("Escape")
        expect(ana.get_by_role("textbox")).to_have_count(0)
        expect(card(ana, "InstanceArray front")).to_be_focused()


def test_the_bar_under_the_selection_and_its_menu_do_what_the_keys_do(people: People, hands: Hands) -> None:
    world = hands.make()
    page = people.open("ana", world.canvas)
    is_live(page)
    card(page, "InstanceArray web").click(modifiers=["Shift"])
    bar = page.get_by_role("toolbar", name="InstanceArray web")
    expect(bar.get_by_role("button")).to_have_text([re.compile("^Open"), "Resize", "Rename", ""])
    menu = page.get_by_role("menu", name="More actions")

    with without_page_load(page):
        bar.get_by_role("button", name="More actions").press("ArrowDown")
        expect(menu.get_by_role("menuitem", name="Connect to…")).to_be_focused()
        expect(menu.get_by_role("menuitem", name="Discard this change…")).to_be_hidden()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        copied = page.get_by_role("toolbar", name="InstanceArray web-copy")
        expect(copied).to_be_visible()
        copied.get_by_role("button", name="More actions").press("ArrowUp")
        expect(menu.get_by_role("menuitem", name="Delete…")).to_be_focused()
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Enter")
        expect(dialog(page).get_by_role("heading", name="Discard changes to web-copy?")).to_be_visible()
        page.keyboard.press("Escape")
        expect(copied.get_by_role("button", name="More actions")).to_be_focused()

        copied.get_by_role("button", name="Resize").click()
        servers = page.get_by_role("complementary").get_by_label("Servers", exact=True)
        expect(servers).to_be_focused()
        page.keyboard.type("3")
        page.keyboard.press("Enter")
        expect(item(page, "InstanceArray web-copy")).to_contain_text("×3")
        page.keyboard.press("Control+a")
        page.keyboard.press("Escape")

    card(page, "InstanceArray web").click(modifiers=["Shift"])
    card(page, "DriveArray web-data").click(modifiers=["Shift"])
    several = page.get_by_role("toolbar", name=re.compile("selected cards"))
    expect(several.get_by_role("button")).to_have_text(["Copy", "Delete"])
    several.get_by_role("button", name="Delete").click()
    expect(dialog(page)).to_contain_text("web-data")


def test_viewers_get_no_ports_and_are_told_why(people: People, hands: Hands) -> None:
    world = hands.make()
    page = people.open("vera", world.canvas)
    is_live(page)
    card(page, "InstanceArray web").focus()

    page.keyboard.press("i")
    page.keyboard.press("Delete")
    page.keyboard.press("F2")

    says(page, "You can look but not change anything here.")
    expect(port(page, "InstanceArray web")).to_have_count(0)
    expect(page.get_by_role("textbox")).to_have_count(0)


def test_the_first_card_of_an_empty_canvas_needs_no_page_load(people: People, hands: Hands) -> None:
    empty = hands.demo()["sandbox-tomas"]
    page = people.open("tomas", f"/infrastructures/{empty}/")
    is_live(page)
    expect(page.get_by_role("heading", name="Nothing drawn yet")).to_be_visible()

    with without_page_load(page):
        page.keyboard.press("i")
        expect(card(page, "InstanceArray instance-array-1")).to_be_focused()
        expect(page.get_by_role("heading", name="Nothing drawn yet")).to_be_hidden()
        page.keyboard.press("Control+z")
        expect(page.get_by_role("heading", name="Nothing drawn yet")).to_be_visible()


def test_on_a_phone_a_step_is_undone_and_done_again_with_a_finger(people: People, hands: Hands) -> None:
    world = hands.make()
    page = people.open("ana", world.canvas, has_touch=True, width=390)
    is_live(page)
    undo, redo = (page.get_by_role("button", name=re.compile(f"^{name}")) for name in ("Undo", "Redo"))

    undo.tap(force=True)  # it is said to be disabled, and answers why
    expect(page.get_by_text("Nothing of yours to undo")).to_be_focused()
    page.get_by_role("button", name="Add", exact=True).tap()
    page.get_by_role("menuitem", name="LAN network").tap()
    expect(page.get_by_role("heading", name="network-1", exact=True).last).to_be_visible()
    page.get_by_role("link", name="Close panel").tap()
    for button, name in ((undo, "Undo: add network-1"), (redo, "Redo: add network-1")):
        expect(button).to_have_accessible_name(name)
        size = button.bounding_box()
        assert size
        assert min(size["width"], size["height"]) >= 44
        button.tap()
    expect(card(page, "LAN network network-1")).to_be_visible()


def test_with_a_finger_cards_are_selected_by_a_long_press_and_by_the_tool(people: People, hands: Hands) -> None:
    world = hands.make()
    page = people.open("ana", world.canvas, has_touch=True, width=768)
    is_live(page)
    touch = page.context.new_cdp_session(page)
    x, y = box(page, "InstanceArray web")["x"] + 40, box(page, "InstanceArray web")["y"] + 14

    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    expect(card(page, "InstanceArray web")).to_have_accessible_description("selected")
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.get_by_role("complementary")).to_be_hidden()

    tool = page.get_by_role("button", name="Select", exact=True)
    tool.tap()
    expect(tool).to_have_attribute("aria-pressed", "true")
    data = box(page, "DriveArray web-data")
    points = [(data["x"] - 16, data["y"] - 12), (data["x"] + 10, data["y"] + 10), (data["x"] + 60, data["y"] + 40)]
    for number, (left, top) in enumerate(points):
        kind = "touchMove" if number else "touchStart"
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": left, "y": top}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    expect(card(page, "DriveArray web-data")).to_have_accessible_description("selected")
    expect(card(page, "InstanceArray web")).not_to_have_accessible_description("selected")
    expect(tool).to_have_attribute("aria-pressed", "false")


def test_all_is_selected_and_moved_with_keys(people: People, hands: Hands) -> None:
    world = hands.make()
    page = people.open("ana", world.canvas)
    is_live(page)
    card(page, "DriveArray web-data").focus()
    before = {name: box(page, name) for name in ("InstanceArray web", "SAN network san")}

    page.keyboard.press("Control+a")
    with page.expect_response("**/move/") as answer:
        page.keyboard.press("Alt+ArrowRight")
        page.keyboard.press("Alt+ArrowRight")

    assert answer.value.ok
    steps = {name: box(page, name)["x"] - found["x"] for name, found in before.items()}
    assert len(set(steps.values())) == 1
    assert 12 < steps["InstanceArray web"] <= 30
    page.keyboard.press("Escape")
    page.keyboard.press("Space")
    expect(page.get_by_role("toolbar", name="DriveArray web-data")).to_be_visible()


def test_keys_of_the_canvas_never_fire_in_fields(people: People, hands: Hands) -> None:
    world = hands.make(snapshots=1)
    page = people.open("ana", world.drive(1))
    is_live(page)
    before = page.get_by_role("list", name=re.compile("^Networks and arrays")).get_by_role("listitem").count()
    field = page.get_by_role("textbox", name="Note (optional)")
    field.click()

    page.keyboard.type("icd")
    expect(field).to_have_value("icd")
    for key in ("F2", "Control+a", "Delete", "Control+z", "Control+v"):
        page.keyboard.press(key)

    expect(field).to_be_focused()
    after = page.get_by_role("list", name=re.compile("^Networks and arrays")).get_by_role("listitem").count()
    assert after == before
    expect(dialog(page)).to_be_hidden()


def test_words_of_the_panel_can_be_selected_and_copied(people: People, hands: Hands) -> None:
    world = hands.make()
    page = people.open("ana", f"/drive-arrays/{world.drive_array}/")
    is_live(page)
    title = page.get_by_role("complementary").get_by_role("heading", name="web-data", exact=True)

    title.dblclick()

    assert page.evaluate("getSelection().toString().trim()") in {"web", "data", "web-data"}
    page.keyboard.press("Control+c")
    page.keyboard.press("Control+v")
    expect(page.get_by_role("link", name=re.compile("^DriveArray"))).to_have_count(1)
