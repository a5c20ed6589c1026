"""axe-core finds nothing, on any page and state, in both themes; everything is there in forced colours, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.hands import Hands
from tests.e2e.people import People
from tests.e2e.product import Product
from tests.e2e.screens import SCREENS, STILL, Scene, Screen, in_work_ends, scene_of

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# Of all rules these alone look at colours; markup is the same in both themes.
COLOURS = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
# Read ahead, style sheets that import others would be put inline; no rule that is asked here reads them.
RUN = """([where, what]) =>
    axe.run(where, {runOnly: what, resultTypes: ['violations'], elementRef: false, preload: false})"""
EVERYWHERE: dict[str, list[str]] = {"exclude": []}
# Behind a panel stands the same canvas each time, in the same frame: these screens alone are looked at whole.
BESIDE_CANVAS = {"exclude": [".stage-scroll", ".stage > .tools", ".topbar", ".statusbar"]}
WHOLE = ("canvas", "outline", "account", "add", "instances-selected", "review")

FIRST = (
    *("sign-in", "infrastructures", "not-found", "canvas", "canvas-empty", "canvas-connect", "outline", "account-menu"),
    *("shortcuts", "activity", "network", "instances-selected", "power-menu", "hard-power-off", "shutting-down"),
    *("drive-array", "drives", "drive", "iscsi", "snapshots-on", "snapshots-full", "revert-asked", "revert-refused"),
    *("add-menu", "settings", "configure", "configure-wrong", "review", "deploy-runs", "deploy-fails"),
)
"""Of each kind of page, panel, menu, dialog and message one; in their other states they are looked at in `make lab`."""


def screens() -> Iterator[Any]:
    for screen in SCREENS:
        yield pytest.param(screen, id=screen.name, marks=() if screen.name in FIRST else pytest.mark.lab)


@pytest.fixture(scope="module")
def scene(product: Product, hands: Hands) -> Iterator[Scene]:
    yield scene_of(product, hands)
    product.qemu_img.works()


def violations(page: Page, what: Any, where: dict[str, list[str]] = EVERYWHERE) -> list[str]:
    found = page.evaluate(RUN, [where, what])["violations"]
    return [
        f"{one['id']}: {one['help']}: {node['target']} {node.get('failureSummary', '')} {node['html'][:160]}"
        for one in found
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("screen", list(screens()))
def test_screen_has_no_violation_in_either_theme(people: People, scene: Scene, screen: Screen) -> None:
    page = people.open(screen.who, color_scheme="light")
    if screen.status != 200:
        people.expect_status(screen.status)
    screen.show(page, scene)
    page.evaluate(AXE.read_text())
    where = EVERYWHERE if screen.name.startswith(WHOLE) or page.locator("#panel").count() == 0 else BESIDE_CANVAS

    found = violations(page, TAGS, where)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(STILL)
    found += [f"dark: {one}" for one in violations(page, COLOURS, where)]

    if screen.name == "in-work":
        in_work_ends(page, scene)
    assert not found, "\n".join(found)


def test_lamps_keep_their_shapes_in_forced_colours(people: People, scene: Scene) -> None:
    page = people.open("ana", scene.off.list_of_instances, forced_colors="active")

    expect(page.get_by_text("Off", exact=True).first).to_be_visible()
    page.evaluate(AXE.read_text())
    assert violations(page, COLOURS) == []
