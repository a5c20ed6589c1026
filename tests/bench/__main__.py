"""`python -m tests.bench`: prints tables in Markdown, for README.

Starts the real server four times, on ports and data folders of its own, and Chromium; drives of each engine, for which
it mounts file systems and starts a Ceph cluster where it can. Does not touch DATA_DIR.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import Browser

from tests.bench import bmcs, by_engine, canvas, clicks, designs
from tests.bench.browser import chromium, signed_in
from tests.bench.engines import ENGINES
from tests.bench.server import installation, running, seed

ARRAYS = (3, 100, 1000)
DEPLOYS = 3
"""A deploy of many drives takes seconds, so there are few of them."""

Part = tuple[str, str]
"""A title and a table."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measures what a person waits for.")
    parser.add_argument("--rounds", type=int, default=20, help="how often each is measured, default: %(default)s")
    parser.add_argument("--seconds", type=float, default=6, help="of zooming and of panning, default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="see that it runs, in some minutes")
    parser.add_argument("--bmcs", type=int, default=500, help="how many are polled, default: %(default)s")
    parser.add_argument("--engines", choices=ENGINES, nargs="+", default=ENGINES, help="default: all that can run here")
    parser.add_argument("--drives", type=int, default=1000, help="in one pool, default: %(default)s")
    parser.add_argument("--served", type=int, default=1000, help="how many of these, default: %(default)s")
    parser.add_argument("--only", choices=[*IN_BROWSER, *BY_ENGINE], help="one part of it")
    parser.add_argument("--folder", type=Path, help="where to keep the data; on the disk to be measured")
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="default: %(default)s")
    chosen = parser.parse_args()
    warm_up = 2
    if chosen.quick:
        chosen.rounds, chosen.seconds, chosen.bmcs, warm_up = 1, 1, 40, 0
    folder = Path(tempfile.mkdtemp(prefix="editor-bench-", dir=chosen.folder))
    try:
        head(chosen)
        if chosen.only not in BY_ENGINE:
            with chromium(chosen.chromium) as browser:
                print(f"Chromium {browser.version}, software rendering.\n", flush=True)
                for name, in_browser in IN_BROWSER.items():
                    if chosen.only in (None, name):
                        show(in_browser(chosen, browser, folder, warm_up))
        for name, by_each in BY_ENGINE.items():
            if chosen.only in (None, name):
                show(by_each(chosen, folder, warm_up))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def of_clicks(chosen: argparse.Namespace, browser: Browser, folder: Path, warm_up: int) -> Iterator[Part]:
    with installation(folder / "clicks", iscsi=True) as where:
        seeded = seed(where, "drives")
        with running(where, log=folder / "clicks.log"):
            page = signed_in(browser, where, seeded["session"]).new_page()
            found = clicks.measure(page, seeded, folder / "twins", rounds=chosen.rounds, warm_up=warm_up)
            page.context.close()
    yield "From the click to its result", clicks.report(found)


def of_canvas(chosen: argparse.Namespace, browser: Browser, folder: Path, warm_up: int) -> Iterator[Part]:
    del warm_up
    with installation(folder / "canvas") as where:
        scenes = [seed(where, "canvas", str(arrays)) for arrays in ARRAYS]
        with running(where, log=folder / "canvas.log"):
            drawn = canvas.measure(browser, where, scenes, rounds=chosen.rounds, seconds=chosen.seconds)
    yield "The canvas", canvas.report(drawn)


def of_design(chosen: argparse.Namespace, browser: Browser, folder: Path, warm_up: int) -> Iterator[Part]:
    with installation(folder / "design") as where:
        scenes = [seed(where, "canvas", str(arrays)) for arrays in ARRAYS]
        seeded = seed(where, "deploy")
        with running(where, log=folder / "design.log"):
            edited = designs.edits(where, scenes, rounds=chosen.rounds, warm_up=warm_up)
            page = signed_in(browser, where, seeded["session"]).new_page()
            rounds = min(chosen.rounds, DEPLOYS)
            deployed = designs.deploys(page, where, seeded, folder / "engine", rounds=rounds)
            page.context.close()
    yield "Designing", designs.report_edits(edited)
    yield "Deploying", designs.report_deploys(deployed)


def of_bmcs(chosen: argparse.Namespace, browser: Browser, folder: Path, warm_up: int) -> Iterator[Part]:
    del warm_up
    with installation(folder / "bmcs") as where, bmcs.emulated(chosen.bmcs, where.folder) as many:
        seeded = seed(where, "bmcs", str(many.number), str(many.port), many.fingerprint)
        with running(where, log=folder / "bmcs.log") as pid:
            page = signed_in(browser, where, seeded["session"]).new_page()
            polled = bmcs.measure(page, where, seeded, many, pid, rounds=chosen.rounds)
            page.context.close()
    yield "Polling BMCs", bmcs.report(polled)


IN_BROWSER = {"clicks": of_clicks, "canvas": of_canvas, "design": of_design, "bmcs": of_bmcs}
BY_ENGINE = {"drives": by_engine.of_drives, "throughput": by_engine.of_throughput, "scale": by_engine.of_scale}


def show(parts: Iterator[Part]) -> None:
    for title, report in parts:
        print(f"### {title}\n\n{report}\n", flush=True)


def head(chosen: argparse.Namespace) -> None:
    load = os.getloadavg()[0]
    print(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} CPUs (load {load:.1f} at the start), "
        f"rounds: {chosen.rounds}. Milliseconds, "
        "median / 95th percentile. Repeat with `make bench`; options: `.venv/bin/python -m tests.bench --help`.\n",
        flush=True,
    )


if __name__ == "__main__":
    main()
