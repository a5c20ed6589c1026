"""An administrator brings servers in, and sees what their BMCs say without asking twice."""

from __future__ import annotations

from playwright.sync_api import FilePayload, expect

from tests.e2e.hands import Hands
from tests.e2e.people import People

FILE = "serial;server_type;address;username;password\nrack-9;M.16.64;simulated://rack-9?start=off;root;hunter2\n"


def test_servers_of_a_file_are_looked_at_imported_and_checked(people: People) -> None:
    page = people.open("ana", "/admin/editor/server/import/", width=390)
    file: FilePayload = {"name": "servers.csv", "mimeType": "text/csv", "buffer": FILE.encode("utf-8-sig")}

    page.get_by_label("CSV file").set_input_files(file)
    page.get_by_role("button", name="Show what would happen").click()
    expect(
        page.get_by_role("row", name="2 rack-9 M.16.64 at simulated://rack-9?start=off, with a password")
    ).to_be_visible()
    page.get_by_role("button", name="Add 1 server").click()
    expect(page.get_by_text("1 server added.")).to_be_visible()
    page.goto("/admin/editor/server/?q=rack-9")  # there may be more than fit on a page
    page.get_by_role("link", name="rack-9", exact=True).click()

    connection = page.get_by_role("region", name="Connection")
    expect(connection).to_contain_text("Reached")
    expect(connection).to_contain_text("Off, seen")
    page.evaluate("document.body.dataset.same = 'page'")
    connection.get_by_role("button", name="Check connection").click()
    expect(connection).to_contain_text("Checking…")
    expect(connection).to_contain_text("Reached just now.")
    assert page.evaluate("document.body.dataset.same") == "page"
    assert "hunter2" not in page.content()


def test_what_can_be_done_with_a_server_stands_in_one_line(people: People, hands: Hands) -> None:
    hands.make()
    page = people.open("ana", "/admin/editor/server/?instance__isempty=0")
    page.get_by_role("main").get_by_role("row").nth(1).get_by_role("link").first.click()
    connection = page.get_by_role("region", name="Connection")

    replace = connection.get_by_role("link", name="Replace under").bounding_box()
    check = connection.get_by_role("button", name="Check connection").bounding_box()

    assert replace
    assert check
    assert (replace["y"], replace["height"]) == (check["y"], check["height"])
