"""Designing and deploying: what an edit takes of the server, on small and large drawings; a deploy of many drives."""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Page

from editor.storage.qcow2 import Qcow2Storage
from tests.bench.browser import waited, watch
from tests.bench.figures import Figures, ratio, table
from tests.bench.server import Installation

DRIVES = 100
DRIVE_MB = 1024
DEPLOY_WAIT_MS = 300_000
TEXT = {"Accept": "text/plain"}
PART = {"HX-Request": "true", "HX-Request-Type": "partial"}


@dataclass
class Edits:
    """What each edit took on one drawing, from the first byte sent to the last one read, in ms."""

    arrays: int
    add: Figures = field(default_factory=Figures)
    configure: Figures = field(default_factory=Figures)
    attach: Figures = field(default_factory=Figures)
    review: Figures = field(default_factory=Figures)
    undo: Figures = field(default_factory=Figures)


@dataclass
class Deploys:
    """What deploys of `DRIVES` new drives took, in ms."""

    engine: Figures = field(default_factory=Figures)
    """The bare driver calls, one after the other."""
    shown: Figures = field(default_factory=Figures)
    done: Figures = field(default_factory=Figures)


class Person:
    """Somebody who is signed in and sends requests over one connection."""

    def __init__(self, where: Installation, session: str, page: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", where.port, timeout=60)
        self._headers = {"Cookie": f"sessionid={session}"}
        response, body = self._ask("GET", page)
        cookie = (response.getheader("Set-Cookie") or "").partition(";")[0]
        token = re.search(r'"x-csrftoken": "(\w+)"', body)
        if not token or not cookie:
            raise RuntimeError(f"{page} gave no token against forged requests.")
        self._headers |= {"Cookie": f"sessionid={session}; {cookie}", "X-CSRFToken": token[1]}

    def get(self, path: str, figures: Figures) -> str:
        return self._timed(figures, "GET", path, headers=PART)[1]

    def post(
        self, path: str, figures: Figures, words: Mapping[str, Any] | None = None, *, headers: Mapping[str, str] = TEXT
    ) -> http.client.HTTPResponse:
        more = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        return self._timed(figures, "POST", path, urlencode(words or {}), headers=more)[0]

    def close(self) -> None:
        self._connection.close()

    def _timed(
        self, figures: Figures, *request: str, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPResponse, str]:
        begin = time.perf_counter()
        answer = self._ask(*request, headers=headers)
        figures.add((time.perf_counter() - begin) * 1000)
        return answer

    def _ask(
        self, method: str, path: str, body: str | None = None, *, headers: Mapping[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, str]:
        self._connection.request(method, path, body, headers={**self._headers, **(headers or {})})
        response = self._connection.getresponse()
        text = response.read().decode()
        if response.status not in (200, 204):
            raise RuntimeError(f"{method} {path} answered {response.status}: {text[:500]}")
        return response, text


# ── Edits ────────────────────────────────────────────────────────────────────


def edits(where: Installation, scenes: Sequence[dict[str, Any]], *, rounds: int, warm_up: int) -> list[Edits]:
    """Goes round the drawings: adds drives, configures and attaches them, reviews, and takes all of it back."""
    found = [Edits(scene["arrays"]) for scene in scenes]
    people = [Person(where, scene["session"], f"/infrastructures/{scene['infrastructure']}/") for scene in scenes]
    for turn in range(warm_up + rounds):
        for scene, person, figures in zip(scenes, people, found, strict=True):
            _one_round(person, scene, figures if turn >= warm_up else Edits(0))
    for person in people:
        person.close()
    return found


def _one_round(person: Person, scene: dict[str, Any], figures: Edits) -> None:
    at = f"/infrastructures/{scene['infrastructure']}"
    drives = _pk(person.post(f"{at}/add/drive-array/", figures.add))
    words = {"label": "bench-drives", "size_gb": 80, "storage_type": "iscsi_ssd", "count": 2, "grows": "on"}
    person.post(f"/drive-arrays/{drives}/configure/", figures.configure, words, headers=PART)
    person.post(f"/drive-arrays/{drives}/attach/", figures.attach, {"instance_array": scene["instance_array"]})
    person.get(f"{at}/deploy/", figures.review)
    for _ in range(3):
        person.post(f"{at}/undo/", figures.undo)


def _pk(response: http.client.HTTPResponse) -> int:
    """The DriveArray that was added."""
    return int((response.getheader("X-Topics") or "").rpartition("-")[2])


def report_edits(found: Sequence[Edits]) -> str:
    head = ("Arrays", "Add a DriveArray", "Configure it", "Attach it", "Review", "Undo")
    rows = [(str(one.arrays), *map(str, (one.add, one.configure, one.attach, one.review, one.undo))) for one in found]
    return table(head, rows)


# ── Deploys ──────────────────────────────────────────────────────────────────


def deploys(page: Page, where: Installation, seeded: dict[str, Any], twins: Path, *, rounds: int) -> Deploys:
    """Each round draws new drives, deploys them in the browser, and makes as many by the engine alone."""
    found, at = Deploys(), f"/infrastructures/{seeded['infrastructure']}"
    twins.mkdir(exist_ok=True)
    engine = Qcow2Storage(twins)
    for turn in range(rounds):
        person = Person(where, seeded["session"], f"{at}/")  # a connection that rests for a deploy is closed
        drives = _pk(person.post(f"{at}/add/drive-array/", Figures()))
        words = {"label": f"round-{turn}", "size_gb": DRIVE_MB / 1024, "storage_type": "iscsi_ssd", "count": DRIVES}
        person.post(f"/drive-arrays/{drives}/configure/", Figures(), words, headers=PART)
        person.close()

        page.goto(f"{at}/deploy/")
        page.get_by_role("status").get_by_text("Live").wait_for()
        watch(page, "#panel .steps [data-step=now]")
        begin = time.perf_counter()
        page.locator("#deploy-now").click()
        found.shown.add(waited(page))
        page.get_by_role("heading", name="Deployed 1 change").wait_for(timeout=DEPLOY_WAIT_MS)
        found.done.add((time.perf_counter() - begin) * 1000)

        begin = time.perf_counter()
        for number in range(DRIVES):
            engine.create_drive(turn * DRIVES + number + 1, layer=1, size_bytes=DRIVE_MB * 1024 * 1024)
        found.engine.add((time.perf_counter() - begin) * 1000)
    return found


def report_deploys(found: Deploys) -> str:
    head = ("Deploy", "Engine", "Click → progress", "Click → done", "ratio")
    row = (
        f"{DRIVES} new drives",
        str(found.engine),
        str(found.shown),
        str(found.done),
        ratio(found.done, found.engine),
    )
    return table(head, [row])
