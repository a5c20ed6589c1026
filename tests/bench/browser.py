"""Chromium as the tests use it, signed in, with the clocks of page.js in every page."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.bench.server import Installation

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
SCREEN = {"width": 1440, "height": 900}
CLOCKS = Path(__file__).with_name("page.js")


@contextlib.contextmanager
def chromium(executable: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def signed_in(browser: Browser, where: Installation, session: str) -> BrowserContext:
    """A window of its own, with an empty cache."""
    context = browser.new_context(
        viewport={"width": SCREEN["width"], "height": SCREEN["height"]}, base_url=where.address
    )
    context.add_cookies([{"name": "sessionid", "value": session, "url": where.address}])
    # In a block of its own: its names are not the page's.
    context.add_init_script(f"{{{CLOCKS.read_text()}}}")
    context.set_default_timeout(20_000)
    return context


def watch(page: Page, *present: str, absent: tuple[str, ...] = ()) -> None:
    """Has the next click timed; `waited` answers."""
    page.evaluate("wanted => bench.watch(wanted)", {"present": present, "absent": absent})


def waited(page: Page) -> float:
    """Answers the ms from the click after `watch` to the frame that showed what was wanted."""
    return float(page.evaluate("() => bench.answer()"))
