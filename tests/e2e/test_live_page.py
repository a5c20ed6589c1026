"""static/js/live.js in a real browser, with a server that does what the test says and a clock that it moves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, WebSocketRoute, expect

STATIC = Path(__file__).parents[2] / "static"
NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

HTML = """<!doctype html><html lang="en"><title>Canvas</title>
<script src="/test.js"></script>
<script src="/vendor/htmx.min.js"></script>
<body data-infrastructure="4" data-event="812">
<form method="post" action="/snapshots/">
  <input name="note" aria-label="Note"><button>Create snapshot</button>
  <button aria-disabled="true" aria-describedby="why">Revert</button><p id="why">web-2 is on.</p>
</form>
<form action="/search/"><button>Search</button></form>
<button hx-post="/move/" hx-swap="none">Tidy up</button>
<button aria-describedby="why" hx-post="/move/" hx-swap="none">Power On</button>
<div id="unlocked" hx-post="/move/" hx-trigger="click" hx-swap="none">card</div>
<a href="/reload/" hx-get="/fragment/" hx-target="#part">Refresh</a><div id="part"></div>
<time data-seen="server-3" datetime="2026-03-01T11:00:00+00:00">1 h ago</time>
<span id="connection"><span role="status">Not connected</span><span data-as-of></span></span>
<script type="module" src="/js/live.js"></script>
</body></html>"""

SCRIPT = """window.heard = [];
document.addEventListener("DOMContentLoaded", () => {
  const names = ["canvas-refresh", "panel-refresh"];
  for (let n = 0; n <= 40; n++) names.push(`drive-${n}`);
  for (const name of names) document.body.addEventListener(name, () => window.heard.push(name));
});"""


class Server:
    """Serves the page, and a socket that the test speaks through."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.is_up = True
        self.sockets: list[WebSocketRoute] = []
        self.posts: list[str] = []
        page.route("**/*", self._answer)
        page.route_web_socket("**/ws/**", self._open)

    def tell(self, **message: Any) -> None:
        self.sockets[-1].send(json.dumps(message))

    def has_sockets(self, count: int) -> bool:
        """Answers whether the page has opened so many; waits for the one that is on its way."""
        for _ in range(500):
            if len(self.sockets) >= count:
                break
            self.page.evaluate("0")  # a round trip, in which word of a socket arrives
        return len(self.sockets) == count

    def goes_down(self) -> None:
        self.is_up = False
        self.sockets[-1].close()

    @property
    def addresses(self) -> list[str]:
        return [socket.url for socket in self.sockets]

    def _open(self, socket: WebSocketRoute) -> None:
        self.sockets.append(socket)
        socket.on_message(lambda _: None)
        if not self.is_up:
            socket.close()

    def _answer(self, route: Route) -> None:
        path = route.request.url.removeprefix("http://editor.test")
        if route.request.method == "POST":
            self.posts.append(path)
            route.fulfill(status=204)
        elif path == "/":
            route.fulfill(body=HTML, content_type="text/html")
        elif path == "/test.js":
            route.fulfill(body=SCRIPT, content_type="text/javascript")
        elif path == "/fragment/":
            route.fulfill(body="<form method=post><button>Delete</button></form>", content_type="text/html")
        elif (STATIC / path[1:]).is_file():
            route.fulfill(path=STATIC / path[1:], content_type="text/javascript")
        else:
            route.fulfill(status=404)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.clock.install(time=NOON - timedelta(minutes=1))  # it runs until paused
    page.clock.pause_at(NOON)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert errors == []


@pytest.fixture
def server(page: Page) -> Server:
    server = Server(page)
    page.goto("http://editor.test/")
    assert server.has_sockets(1)
    return server


@pytest.fixture
def live(page: Page, server: Server) -> Server:
    """A page that has caught up."""
    server.tell(id=812, topics=[])
    shows(page, "live", "Live", "· 12:00:00")
    return server


def shows(page: Page, state: str, word: str, time: str) -> None:
    expect(page.locator("html")).to_have_attribute("data-ui-connection", state)
    expect(page.locator("#connection")).to_have_attribute("data-state", state)
    expect(page.get_by_role("status")).to_have_text(word)
    expect(page.locator("[data-as-of]")).to_have_text(time)


def heard(page: Page) -> list[str]:
    return page.evaluate("window.heard")  # type: ignore[no-any-return]


def hears(page: Page, *names: str) -> None:
    page.wait_for_function("count => window.heard.length >= count", arg=len(names))
    assert heard(page) == list(names)


def test_open_socket_is_not_live_before_it_has_caught_up(page: Page, server: Server) -> None:
    shows(page, "connecting", "Connecting", "· shown as of 12:00:00")
    page.clock.run_for(2000)

    server.tell(id=815, topics=["drive-7"])

    shows(page, "live", "Live", "· 12:00:02")
    assert [server.addresses, heard(page)] == [["ws://editor.test/ws/infrastructures/4/?since=812"], ["drive-7"]]


def test_page_left_open_over_an_upgrade_asks_to_be_reloaded(page: Page) -> None:
    server = Server(page)
    dated = HTML.replace("data-event", 'data-static="/static/0ld/" data-event')
    page.route("**/dated/", lambda route: route.fulfill(body=dated, content_type="text/html"))
    page.goto("http://editor.test/dated/")
    assert server.has_sockets(1)

    server.tell(id=812, topics=[], outdated=True)

    shows(page, "live", "Updated, please reload", "· 12:00:00")
    assert server.addresses == ["ws://editor.test/ws/infrastructures/4/?since=812&static=/static/0ld/"]


def test_page_without_an_infrastructure_opens_no_socket(page: Page) -> None:
    server = Server(page)
    page.route(
        "**/list/", lambda route: route.fulfill(body=HTML.replace("data-infra", "data-x"), content_type="text/html")
    )
    page.goto("http://editor.test/list/")

    assert [server.sockets, page.get_by_role("status").inner_text()] == [[], "Not connected"]


def test_each_topic_is_said_on_the_body_at_once(page: Page, live: Server) -> None:
    live.tell(id=813, topics=["drive-7", "drive-3"])
    live.tell(id=814, topics=["drive-7"])

    hears(page, "drive-7", "drive-3", "drive-7")


def test_crowd_of_topics_becomes_one_refresh(page: Page, live: Server) -> None:
    live.tell(id=813, topics=["drive-1"])
    for number in range(2, 41):
        live.tell(id=812 + number, topics=[f"drive-{number}"])
    hears(page, *[f"drive-{number}" for number in range(1, 11)])

    page.clock.run_for(100)

    hears(page, *[f"drive-{number}" for number in range(1, 11)], "canvas-refresh", "panel-refresh")


def test_after_a_crowd_single_topics_are_said_again(page: Page, live: Server) -> None:
    page.clock.run_for(5000)
    live.tell(id=813, topics=[f"drive-{number}" for number in range(20)])
    expect(page.locator("[data-as-of]")).to_have_text("· 12:00:05")  # the message has arrived
    page.clock.run_for(100)
    hears(page, "canvas-refresh", "panel-refresh")

    live.tell(id=814, topics=["drive-7"])

    hears(page, "canvas-refresh", "panel-refresh", "drive-7")


def test_page_that_missed_too_much_looks_at_everything(page: Page, server: Server) -> None:
    server.tell(id=900, refetch=True)

    hears(page, "canvas-refresh", "panel-refresh")


def test_beat_moves_the_times_of_readings(page: Page, live: Server) -> None:
    page.clock.run_for(10_000)
    live.tell(id=812, seen={"server-3": "2026-03-01T12:00:09+00:00", 'server-9"]': "2026-03-01T12:00:09+00:00"})

    expect(page.locator("time")).to_have_attribute("datetime", "2026-03-01T12:00:09+00:00")
    shows(page, "live", "Live", "· 12:00:10")


def test_lost_socket_is_said_at_once_and_comes_back_where_it_was(page: Page, live: Server) -> None:
    live.tell(id=820, topics=[])
    page.clock.run_for(3000)
    live.tell(id=821, topics=[])
    shows(page, "live", "Live", "· 12:00:03")
    live.sockets[-1].close()
    shows(page, "reconnecting", "Reconnecting", "· shown as of 12:00:03")

    page.clock.run_for(500)
    assert live.has_sockets(2)
    assert live.addresses[1:] == ["ws://editor.test/ws/infrastructures/4/?since=821"]
    shows(page, "reconnecting", "Reconnecting", "· shown as of 12:00:03")
    live.tell(id=825, topics=["drive-7"])

    shows(page, "live", "Live", "· 12:00:03")
    assert heard(page) == ["drive-7"]


def test_silent_socket_counts_as_lost_after_25_seconds(page: Page, live: Server) -> None:
    page.clock.run_for(24_900)
    shows(page, "live", "Live", "· 12:00:00")
    page.clock.run_for(200)

    shows(page, "reconnecting", "Reconnecting", "· shown as of 12:00:00")


def test_attempts_get_rarer_until_ten_seconds(page: Page, live: Server) -> None:
    page.evaluate("Math.random = () => 0.999999")
    live.goes_down()
    shows(page, "reconnecting", "Reconnecting", "· shown as of 12:00:00")

    attempts = []
    for _ in range(60):
        page.clock.run_for(1000)
        attempts.append(len(live.sockets))

    gaps = [attempts.index(count) for count in sorted(set(attempts))]
    assert [later - earlier for earlier, later in pairwise(gaps[3:8])] == [8, 10, 10, 10]


def test_page_is_offline_after_15_seconds_and_live_again_as_soon_as_it_hears(page: Page, live: Server) -> None:
    live.goes_down()
    shows(page, "reconnecting", "Reconnecting", "· shown as of 12:00:00")
    page.clock.run_for(14_000)
    shows(page, "reconnecting", "Reconnecting", "· shown as of 12:00:00")
    page.clock.run_for(2000)
    shows(page, "offline", "Offline", "· shown as of 12:00:00")

    live.is_up = True
    attempts = len(live.sockets)
    page.clock.run_for(10_000)
    assert live.has_sockets(attempts + 1)
    live.tell(id=830, topics=["drive-7"])

    expect(page.get_by_role("status")).to_have_text("Live")
    assert heard(page) == ["drive-7"]


def test_browser_that_gets_its_network_back_tries_at_once(page: Page, live: Server) -> None:
    live.goes_down()
    page.clock.run_for(30_000)
    shows(page, "offline", "Offline", "· shown as of 12:00:00")
    live.is_up = True
    attempts = len(live.sockets)

    page.evaluate("dispatchEvent(new Event('online'))")
    assert live.has_sockets(attempts + 1)
    live.tell(id=830, topics=[])

    expect(page.get_by_role("status")).to_have_text("Live")


def test_page_that_is_looked_at_again_tries_at_once(page: Page, live: Server) -> None:
    live.goes_down()
    page.clock.run_for(30_000)
    live.is_up = True
    attempts = len(live.sockets)

    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert live.has_sockets(attempts + 1)
    live.tell(id=830, topics=[])

    expect(page.get_by_role("status")).to_have_text("Live")


def test_live_page_that_is_looked_at_again_keeps_its_socket(page: Page, live: Server) -> None:
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    shows(page, "live", "Live", "· 12:00:00")
    assert len(live.sockets) == 1


def test_without_network_the_page_asks_the_server_before_it_calls_itself_offline(page: Page, live: Server) -> None:
    """A server on the same machine answers all the same."""
    page.evaluate("Object.defineProperty(navigator, 'onLine', { get: () => false })")
    page.evaluate("dispatchEvent(new Event('offline'))")
    assert live.has_sockets(2)
    live.tell(id=813, topics=[])
    shows(page, "live", "Live", "· 12:00:00")

    live.is_up = False
    page.evaluate("dispatchEvent(new Event('offline'))")

    shows(page, "offline", "Offline", "· shown as of 12:00:00")


def unavailable(page: Page) -> list[str]:
    buttons = page.locator("[aria-disabled=true][aria-describedby=connection]")
    return buttons.all_inner_texts()


def test_offline_holds_back_what_writes_and_nothing_else(page: Page, live: Server) -> None:
    live.goes_down()
    page.clock.run_for(16_000)
    shows(page, "offline", "Offline", "· shown as of 12:00:00")
    assert unavailable(page) == ["Create snapshot", "Tidy up", "Power On"]

    page.get_by_label("Note").fill("before upgrade")
    page.get_by_label("Note").press("Enter")
    expect(page.locator("#connection")).to_be_focused()
    page.get_by_role("button", name="Tidy up").click(force=True)
    page.locator("#unlocked").click()
    page.get_by_role("link", name="Refresh").click()

    expect(page.get_by_role("button", name="Delete")).to_have_attribute("aria-describedby", "connection")
    assert [live.posts, page.url, page.get_by_label("Note").input_value()] == [
        [],
        "http://editor.test/",
        "before upgrade",
    ]


def test_controls_are_as_before_once_the_page_is_live_again(page: Page, live: Server) -> None:
    live.goes_down()
    page.clock.run_for(16_000)
    expect(page.get_by_role("button", name="Power On")).to_have_attribute("aria-describedby", "connection")
    live.is_up = True
    attempts = len(live.sockets)
    page.clock.run_for(10_000)
    assert live.has_sockets(attempts + 1)
    live.tell(id=813, topics=[])
    shows(page, "live", "Live", page.locator("[data-as-of]").inner_text())

    with page.expect_request("**/move/"):
        page.get_by_role("button", name="Power On").click()

    marks = page.locator("button").evaluate_all(
        "all => all.map(e => [e.textContent, e.getAttribute('aria-disabled'), e.getAttribute('aria-describedby')])"
    )
    assert marks == [
        ["Create snapshot", None, None],
        ["Revert", "true", "why"],
        ["Search", None, None],
        ["Tidy up", None, None],
        ["Power On", None, "why"],
    ]
