"""The canvas page of many arrays: what the server takes, what the browser takes, and how smoothly it moves."""

from __future__ import annotations

import http.client
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, Page

from tests.bench.browser import SCREEN, signed_in
from tests.bench.figures import Figures, table
from tests.bench.server import Installation

WARM_UP = 3
STEP_MS = 16
WHEEL_PX = 60
STEPS_EACH_WAY = 24
DRAG_PX = 12


@dataclass
class Drawing:
    """What was measured on one page. Times in ms."""

    arrays: int
    server: Figures = field(default_factory=Figures)
    size_bytes: int = 0
    nodes: int = 0
    first_visit: Figures = field(default_factory=Figures)
    first_paint: Figures = field(default_factory=Figures)
    drawn: Figures = field(default_factory=Figures)
    zoom: Figures = field(default_factory=Figures)
    pan: Figures = field(default_factory=Figures)


def measure(
    browser: Browser, where: Installation, scenes: Sequence[dict[str, Any]], *, rounds: int, seconds: float
) -> list[Drawing]:
    found = [Drawing(scene["arrays"]) for scene in scenes]
    for drawing, scene in zip(found, scenes, strict=True):
        _ask(where, scene, drawing, rounds=rounds)
    for _ in range(rounds):
        for drawing, scene in zip(found, scenes, strict=True):
            _visit(browser, where, scene, drawing)
    for drawing, scene in zip(found, scenes, strict=True):
        _move(browser, where, scene, drawing, seconds=seconds)
    return found


def _path(scene: dict[str, Any]) -> str:
    return f"/infrastructures/{scene['infrastructure']}/"


def _ask(where: Installation, scene: dict[str, Any], drawing: Drawing, *, rounds: int) -> None:
    """Times the page's GET from the first byte sent to the last one read, over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", where.port, timeout=60)
    for turn in range(WARM_UP + rounds):
        begin = time.perf_counter()
        connection.request("GET", _path(scene), headers={"Cookie": f"sessionid={scene['session']}"})
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise RuntimeError(f"{_path(scene)} answered {response.status}.")
        if turn >= WARM_UP:
            drawing.server.add((time.perf_counter() - begin) * 1000)
    drawing.size_bytes = len(body)
    connection.close()


def _visit(browser: Browser, where: Installation, scene: dict[str, Any], drawing: Drawing) -> None:
    """Opens the page in a new window: once with an empty cache, once as everybody after that."""
    context = signed_in(browser, where, scene["session"])
    for again in (False, True):
        page = context.new_page()
        page.goto(_path(scene))
        times = page.evaluate("() => bench.painted()")
        if again:
            drawing.first_paint.add(times["first"])
            drawing.drawn.add(times["drawn"])
            drawing.nodes = page.evaluate("() => document.getElementsByTagName('*').length")
        else:
            drawing.first_visit.add(times["drawn"])
        page.close()
    context.close()


def _move(browser: Browser, where: Installation, scene: dict[str, Any], drawing: Drawing, *, seconds: float) -> None:
    """Zooms in and out by wheel, then drags the picture about, noting every frame."""
    context = signed_in(browser, where, scene["session"])
    page = context.new_page()
    page.goto(_path(scene))
    page.evaluate("() => bench.painted()")
    for moving, figures in ((_zoom, drawing.zoom), (_pan, drawing.pan)):
        page.wait_for_timeout(500)
        page.evaluate("() => bench.startFrames()")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            moving(page)
        noted = page.evaluate("() => bench.stopFrames()")
        if noted["places"] < STEPS_EACH_WAY // 2:
            raise RuntimeError(f"The canvas did not move: {noted['places']} places in {seconds:g} s.")
        figures.values += noted["times"]
    context.close()


def _zoom(page: Page) -> None:
    page.mouse.move(SCREEN["width"] // 2, SCREEN["height"] // 2)
    for direction in (-1, 1):
        for _ in range(STEPS_EACH_WAY):
            page.mouse.wheel(0, direction * WHEEL_PX)
            page.wait_for_timeout(STEP_MS)


def _pan(page: Page) -> None:
    """With Space held, since where a card is under the pointer, the card would be dragged."""
    x, y = SCREEN["width"] // 2, SCREEN["height"] // 2
    page.mouse.move(x, y)
    page.keyboard.down("Space")
    page.mouse.down()
    for direction in (1, -1):
        for step in range(STEPS_EACH_WAY):
            far = step if direction > 0 else STEPS_EACH_WAY - step
            page.mouse.move(x + far * DRAG_PX, y - far * DRAG_PX // 2)
            page.wait_for_timeout(STEP_MS)
    page.mouse.up()
    page.keyboard.up("Space")


def report(found: Sequence[Drawing]) -> str:
    head = (
        "Arrays",
        "Server",
        "kB",
        "Elements",
        "First paint",
        "Drawn",
        "Drawn, empty cache",
        "Zoom frame",
        "Pan frame",
    )
    rows = [
        (
            str(one.arrays),
            str(one.server),
            f"{one.size_bytes / 1000:.0f}",
            str(one.nodes),
            str(one.first_paint),
            str(one.drawn),
            str(one.first_visit),
            str(one.zoom),
            str(one.pan),
        )
        for one in found
    ]
    return table(head, rows)
