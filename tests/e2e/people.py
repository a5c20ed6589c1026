"""People at their browsers, and an ear on every page: none may complain about anything."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

from tests.e2e.hands import Hands
from tests.e2e.product import Product

PATIENCE_MS = 10_000
# Chromium's own words for an answer that is not a success; nothing on a page can keep it from saying so.
NETWORK_LINE = "Failed to load resource: the server responded with a status of {status} "
# What Chromium and htmx write when nobody answers.
AWAY = re.compile(r"WebSocket connection to .* failed|Failed to load resource: net::ERR_|htmx:error: Failed to fetch")
VIOLATIONS = """document.addEventListener("securitypolicyviolation", event =>
  reportViolation(`${event.violatedDirective}: ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`))"""
HEIGHTS = {1440: 900, 768: 1024, 390: 844}


class Profile:
    """A browser of one person's own. It forgets who used it, and keeps the files it has loaded for who comes next."""

    def __init__(self, browser: Browser, **options: Any) -> None:
        self.options = options
        self.people: People | None = None
        self.once = False
        self.context: BrowserContext = browser.new_context(**options)
        self.context.set_default_timeout(PATIENCE_MS)
        if options.get("java_script_enabled", True):
            self.context.expose_binding("reportViolation", lambda _, said: self._tell(f"CSP: {said}"))
            self.context.add_init_script(VIOLATIONS)
        self.context.on("weberror", lambda error: self._tell(f"page error: {error.error}"))
        self.context.on("console", self._hear)

    def forget(self) -> None:
        """Closes all pages, signs out and clears what pages have kept."""
        self.people = None
        for page in self.context.pages:
            if page.url.startswith("http"):
                page.evaluate("localStorage.clear()")
            page.close()
        self.context.clear_cookies()

    def _hear(self, message: ConsoleMessage) -> None:
        if self.people:
            self.people.hear(message)

    def _tell(self, problem: str) -> None:
        if self.people:
            self.people.problems.append(problem)


class Profiles:
    """All there are. Files that each test would load anew cost half a second for every page that is opened."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._free: list[Profile] = []

    def take(self, **options: Any) -> Profile:
        for profile in self._free:
            if profile.options == options:
                self._free.remove(profile)
                return profile
        return Profile(self._browser, **options)

    def give_back(self, profile: Profile) -> None:
        profile.forget()
        self._free.append(profile)


class People:
    """Opens browsers for people, and keeps an ear on every page."""

    def __init__(self, profiles: Profiles, product: Product, hands: Hands) -> None:
        self._profiles, self._product, self._hands = profiles, product, hands
        self._used: list[Profile] = []
        self.problems: list[str] = []
        self._expected: list[re.Pattern[str]] = []

    def open(self, who: str | None, path: str = "", *, width: int = 1440, once: bool = False, **options: Any) -> Page:
        """Answers a new window of a browser of one's own, signed in as "ana", "tomas", "vera", "stranger" or nobody.

        `once`: the test changes the browser itself, its clock for example, so nobody uses it afterwards.
        """
        profile = self._profiles.take(
            base_url=self._product.url,
            **{"viewport": {"width": width, "height": HEIGHTS[width]}, "reduced_motion": "reduce", **options},
        )
        profile.people, profile.once = self, once
        self._used.append(profile)
        if who:
            session: Any = {"name": "sessionid", "value": self._hands.session(who), "url": self._product.url}
            profile.context.add_cookies([session])
        page = profile.context.new_page()
        if path:
            page.goto(path)
        return page

    def expect_status(self, status: int) -> None:
        """The test causes an answer with this status, of which Chromium writes a line on the console."""
        self._expected.append(re.compile(re.escape(NETWORK_LINE.format(status=status))))

    def expect_absence(self) -> None:
        """The test takes the product away for a while; each attempt to reach it leaves a line."""
        self._expected.append(AWAY)

    def leave(self, *, failed: bool = False) -> None:
        """Closes all pages. What a failed test has left in a browser does not reach the next test."""
        for profile in self._used:
            if failed or profile.once:
                profile.context.close()
            else:
                self._profiles.give_back(profile)
        self._used = []

    @property
    def pages(self) -> list[Page]:
        """All that are open."""
        return [page for profile in self._used for page in profile.context.pages]

    def hear(self, message: ConsoleMessage) -> None:
        """Notes a message of a page, if it is an error that was not expected."""
        where = message.location.get("url", "")
        # A card is asked for when something is said of it, and may be gone by then; the page leaves it at that.
        is_gone = NETWORK_LINE.format(status=404) in message.text and where.endswith("/card/")
        if message.type == "error" and not is_gone and not any(one.search(message.text) for one in self._expected):
            self.problems.append(f"console: {message.text} ({where})")
