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
from playwright.sync_api import Browser, expect, sync_playwright

from tests.e2e.hands import Hands
from tests.e2e.people import PATIENCE_MS, People, Profiles
from tests.e2e.product import ROOT, Product

RESULTS = ROOT / "test-results"
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


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
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium-headless-shell"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def profiles(browser: Browser) -> Profiles:
    return Profiles(browser)


@pytest.fixture
def people(profiles: Profiles, product: Product, hands: Hands, request: pytest.FixtureRequest) -> Iterator[People]:
    """Opens browsers; after the test nothing may have been complained about, on any page or in the product's log."""
    if not product.is_running:  # the test before took it away and failed
        product.start()
    product.qemu_img.works()
    logged = len(product.log)
    people = People(profiles, product, hands)
    yield people
    failed = request.node.stash.get(FAILED, False)
    if failed:
        _keep(people, request.node.name)
    people.leave(failed=failed)
    said = product.log[logged:]
    if failed:
        print(f"The product said:\n{said}")
    assert people.problems == []
    assert [line for line in said.splitlines() if re.search(r" (ERROR|CRITICAL) |^Traceback", line)] == []


def _keep(people: People, name: str) -> None:
    """Leaves pictures of all pages of a test that failed."""
    RESULTS.mkdir(exist_ok=True)
    plain = re.sub(r"[^\w.-]+", "-", name)
    for number, page in enumerate(people.pages):
        page.screenshot(path=RESULTS / f"{plain}-{number}.png")
        (RESULTS / f"{plain}-{number}.html").write_text(f"<!-- {page.url} -->\n{page.content()}")
