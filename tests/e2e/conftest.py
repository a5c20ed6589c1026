"""The product as a process, one browser, people at it; and no page may complain about anything.

All of it ends with this package: Playwright's sync API keeps Django from working in the same process.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.e2e.hands import Hands
from tests.e2e.product import ROOT, Product

RESULTS = ROOT / "test-results"
PATIENCE_MS = 10_000
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
# Chromium's own words for an answer that is not a success; nothing on a page can keep it from saying so.
NETWORK_LINE = "Failed to load resource: the server responded with a status of {status} "
# What Chromium and htmx write when nobody answers.
AWAY = re.compile(r"WebSocket connection to .* failed|Failed to load resource: net::ERR_|htmx:error: Failed to fetch")
VIOLATIONS = """document.addEventListener("securitypolicyviolation", event =>
  reportViolation(`${event.violatedDirective}: ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`))"""
HEIGHTS = {1440: 900, 768: 1024, 390: 844}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    item.stash.setdefault(FAILED, False)
    if report.failed:
        item.stash[FAILED] = True
    return report


FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="package")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    product = Product(tmp_path_factory.mktemp("product"))
    product.start()
    yield product
    product.stop()


@pytest.fixture(scope="package")
def hands(product: Product) -> Iterator[Hands]:
    hands = Hands(product)
    yield hands
    hands.close()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


class People:
    """Opens browsers for people, and keeps an ear on every page."""

    def __init__(self, browser: Browser, product: Product, hands: Hands) -> None:
        self._browser, self._product, self._hands = browser, product, hands
        self.contexts: list[BrowserContext] = []
        self.problems: list[str] = []
        self._expected: list[re.Pattern[str]] = []

    def open(self, who: str | None, path: str = "", *, width: int = 1440, **options: Any) -> Page:
        """Answers a new window of a browser of one's own, signed in as "ana", "tomas", "vera", "stranger" or nobody."""
        context = self._browser.new_context(
            base_url=self._product.url,
            **{"viewport": {"width": width, "height": HEIGHTS[width]}, "reduced_motion": "reduce", **options},
        )
        self.contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        if options.get("java_script_enabled", True):
            context.expose_binding("reportViolation", lambda _, said: self.problems.append(f"CSP: {said}"))
            context.add_init_script(VIOLATIONS)
        context.on("weberror", lambda error: self.problems.append(f"page error: {error.error}"))
        context.on("console", self._hear)
        if who:
            context.add_cookies([{"name": "sessionid", "value": self._hands.session(who), "url": self._product.url}])
        page = context.new_page()
        if path:
            page.goto(path)
        return page

    def expect_status(self, status: int) -> None:
        """The test causes an answer with this status, of which Chromium writes a line on the console."""
        self._expected.append(re.compile(re.escape(NETWORK_LINE.format(status=status))))

    def expect_absence(self) -> None:
        """The test takes the product away for a while; each attempt to reach it leaves a line."""
        self._expected.append(AWAY)

    def _hear(self, message: ConsoleMessage) -> None:
        where = message.location.get("url", "")
        # A card is asked for when something is said of it, and may be gone by then; the page leaves it at that.
        is_gone = NETWORK_LINE.format(status=404) in message.text and where.endswith("/card/")
        if message.type == "error" and not is_gone and not any(one.search(message.text) for one in self._expected):
            self.problems.append(f"console: {message.text} ({where})")


@pytest.fixture
def people(browser: Browser, product: Product, hands: Hands, request: pytest.FixtureRequest) -> Iterator[People]:
    """Opens browsers; after the test nothing may have been complained about, on any page or in the product's log."""
    if not product.is_running:  # the test before took it away and failed
        product.start()
    product.qemu_img.works()
    logged = len(product.log)
    people = People(browser, product, hands)
    yield people
    if request.node.stash.get(FAILED, False):
        _keep(people, request.node.name)
    for context in people.contexts:
        context.close()
    said = product.log[logged:]
    if request.node.stash.get(FAILED, False):
        print(f"The product said:\n{said}")
    assert people.problems == []
    assert [line for line in said.splitlines() if re.search(r" (ERROR|CRITICAL) |^Traceback", line)] == []


def _keep(people: People, name: str) -> None:
    """Leaves pictures of all pages of a test that failed."""
    RESULTS.mkdir(exist_ok=True)
    plain = re.sub(r"[^\w.-]+", "-", name)
    for number, page in enumerate(page for context in people.contexts for page in context.pages):
        page.screenshot(path=RESULTS / f"{plain}-{number}.png")
        (RESULTS / f"{plain}-{number}.html").write_text(f"<!-- {page.url} -->\n{page.content()}")
