"""From a click to what it was for: creating, reverting and opening a panel, each beside the bare engine call."""

from __future__ import annotations

import contextlib
import functools
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from editor.storage.qcow2 import Qcow2Storage
from tests.bench.browser import waited, watch
from tests.bench.figures import Figures, ratio, table

REST_MS = 600
"""Between two clicks, as people leave: the cards behind the panel are refreshed meanwhile."""


@dataclass
class Waits:
    """What was measured on one drive, in ms."""

    name: str
    engine_create: Figures = field(default_factory=Figures)
    create: Figures = field(default_factory=Figures)
    engine_revert: Figures = field(default_factory=Figures)
    revert: Figures = field(default_factory=Figures)
    dialog: Figures = field(default_factory=Figures)
    panel: Figures = field(default_factory=Figures)


class Twin:
    """A copy of a drive, file by file, that only the engine is asked about; it is active, as the drive is."""

    def __init__(self, pool: Path, original: Path, drive: dict[str, Any]) -> None:
        pool.mkdir(parents=True, exist_ok=True)
        folder = f"drive-{drive['pk']}"
        (pool / folder).mkdir()
        self._engine = Qcow2Storage(pool)
        self._drive = int(drive["pk"])
        Qcow2Storage(original).used_bytes(self._drive)  # which has the drive's daemon write what it holds
        (pool / folder / "head").symlink_to((original / folder / "head").readlink())
        for file in (original / folder).glob("layer-*.qcow2"):
            _copy_sparse(file, pool / folder / file.name)
        self._thread = ThreadPoolExecutor(1)  # in Playwright's own, no other event loop may run
        self._asked(self._engine.activate, self._drive)
        self._kept = set(drive["layers"])
        self._onto = max(self._kept)
        self._next = self._engine.head(self._drive) + 1

    def snapshot(self) -> float:
        frozen = self._engine.head(self._drive)
        return self._timed(lambda new: self._engine.snapshot(self._drive, frozen=frozen, new_layer=new))

    def revert(self) -> float:
        def revert(new: int) -> None:
            self._engine.deactivate(self._drive)
            self._engine.revert(self._drive, onto=self._onto, new_layer=new)
            self._engine.activate(self._drive)

        return self._timed(revert)

    def reclaim(self) -> None:
        head = self._engine.head(self._drive)
        self._asked(functools.partial(self._engine.reclaim, self._drive, keep=self._kept, head=head))

    def end(self) -> None:
        self._asked(self._engine.deactivate, self._drive)
        self._thread.shutdown()

    def _timed(self, call: Callable[[int], None]) -> float:
        begin = time.perf_counter()
        self._asked(call, self._next)
        self._next += 1
        return (time.perf_counter() - begin) * 1000

    def _asked(self, call: Callable[..., object], *arguments: object) -> None:
        self._thread.submit(call, *arguments).result()


def _copy_sparse(source: Path, target: Path) -> None:
    """Images are mostly holes; copied as they are, they stay so."""
    block = 1 << 16
    with source.open("rb") as old, target.open("wb") as new:
        while data := old.read(block):
            if data.count(0) == len(data):
                new.seek(len(data), 1)
            else:
                new.write(data)
        new.truncate(source.stat().st_size)
    shutil.copystat(source, target)


def measure(page: Page, seeded: dict[str, Any], twins: Path, *, rounds: int, warm_up: int) -> list[Waits]:
    """Goes round the drives, so that what else the machine does meets all of them, clicks and engine calls alike.

    The first `warm_up` rounds are not counted.
    """
    drives = seeded["drives"]
    found = [Waits(drive["name"]) for drive in drives]
    with contextlib.ExitStack() as stack:
        copies = []
        for drive in drives:
            copies.append(Twin(twins, Path(seeded["pool"]), drive))
            stack.callback(copies[-1].end)
        page.goto(f"/infrastructures/{seeded['infrastructure']}/")
        page.get_by_role("status").get_by_text("Live").wait_for()
        for turn in range(warm_up + rounds):
            for drive, waits, twin in zip(drives, found, copies, strict=True):
                number = len(drive["layers"]) + 1 + turn  # numbers are never used again
                _one_round(page, drive, number, twin, waits if turn >= warm_up else Waits(""))
    return found


def _one_round(page: Page, drive: dict[str, Any], number: int, twin: Twin, waits: Waits) -> None:
    """Card, drive, snapshot, revert to the one before it, close: afterwards all is as it was."""
    array, panel = drive["label"].rpartition("-")[0], page.locator("#panel")
    before, new, tab = len(drive["layers"]), f"#snap-{number}", f"#drive-{drive['pk']}-snapshots"

    watch(page, f"#panel #drive-array-{drive['array']}-panel .tabs")
    page.get_by_role("link", name=f"DriveArray {array}", exact=True).click()
    waits.panel.add(waited(page))
    panel.get_by_role("link", name="Drives", exact=True).click()
    panel.get_by_role("link", name=drive["label"], exact=True).click()
    panel.get_by_role("link", name="Snapshots", exact=True).click()
    button = panel.get_by_role("button", name="Create snapshot", exact=True)
    button.wait_for()
    page.wait_for_timeout(REST_MS)

    waits.engine_create.add(twin.snapshot())
    # Finished: the row says when the snapshot was taken, and the next one can be made.
    watch(page, f"{tab} {new} time", "#create-button", absent=("#create-button[aria-busy]",))
    button.click()
    waits.create.add(waited(page))
    page.wait_for_timeout(REST_MS)

    waits.engine_revert.add(twin.revert())
    twin.reclaim()
    watch(page, "#dialog[open] [data-first]")
    panel.get_by_role("button", name=f"Revert to #{before}", exact=True).click()
    waits.dialog.add(waited(page))
    page.wait_for_timeout(REST_MS)
    watch(page, f"{tab} #reverted", absent=(new, "#reverting", "#dialog[open]"))
    page.get_by_role("dialog").get_by_role("button", name="Revert and delete 1 snapshot").click()
    waits.revert.add(waited(page))
    page.wait_for_timeout(REST_MS)
    panel.get_by_role("link", name="Close panel (Esc)", exact=True).click()
    panel.locator("> *").first.wait_for(state="detached")


def report(found: Sequence[Waits]) -> str:
    head = (
        "Drive",
        "Create: engine",
        "Create: click → finished",
        "ratio",
        "Revert: engine",
        "Revert: click → reverted",
        "ratio",
        "Confirmation",
        "Panel",
    )
    rows = [
        (
            one.name,
            str(one.engine_create),
            str(one.create),
            ratio(one.create, one.engine_create),
            str(one.engine_revert),
            str(one.revert),
            ratio(one.revert, one.engine_revert),
            str(one.dialog),
            str(one.panel),
        )
        for one in found
    ]
    return table(head, rows)
