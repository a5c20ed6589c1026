"""Many BMCs: until all that answer were read, from a change at one to the changed page, and what the worker takes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.bench.emulated import hangs
from tests.bench.figures import Figures, table
from tests.bench.server import ROOT, STOP_SECONDS, Installation
from tests.contracts.certificates import issue

READ_SECONDS = 120


class Emulated:
    """The bench's end of the program that emulates them."""

    def __init__(self, number: int, folder: Path) -> None:
        self.number = number
        certificate = issue("bmc")
        self.fingerprint = certificate.fingerprint
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.emulated", str(number), *map(str, certificate.write(folder))],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._line())

    def ask(self, words: str) -> Any:
        assert self._process.stdin
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()
        return json.loads(self._line())

    def stop(self) -> None:
        self._process.communicate(timeout=STOP_SECONDS)

    def _line(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The emulated BMCs have ended.")
        return line


@contextlib.contextmanager
def emulated(number: int, folder: Path) -> Iterator[Emulated]:
    bmcs = Emulated(number, folder)
    try:
        yield bmcs
    finally:
        bmcs.stop()


@dataclass
class Polled:
    """What was measured: seconds, then ms, then what the process took."""

    bmcs: int
    read: float = 0
    changing: Figures = field(default_factory=Figures)
    steady: Figures = field(default_factory=Figures)
    cpu: float = 0
    """Seconds of the processor in a minute in which nothing is asked."""
    megabytes: float = 0


def measure(
    page: Page, where: Installation, seeded: dict[str, Any], bmcs: Emulated, pid: int, *, rounds: int
) -> Polled:
    """Machine 0 is switched as people do, the others at their BMCs."""
    found = Polled(bmcs.number, read=_all_read(where, bmcs))
    instances = seeded["instances"]
    page.goto(f"/instance-arrays/{seeded['instance_array']}/instances/")
    page.get_by_role("status").get_by_text("Live").wait_for()
    for turn in range(rounds):
        _switch(page, bmcs, instances[0], to_on=turn % 2 == 1, figures=found.changing)
    others = [number for number in range(1, len(instances)) if not hangs(number)]
    chance, begin, used = random.Random(4), time.monotonic(), _cpu_seconds(pid)
    for turn in range(rounds):
        number = others[turn % len(others)]
        power = "Off" if turn // len(others) % 2 == 0 else "On"
        time.sleep(chance.random())
        found.steady.add(_shown(page, bmcs, number, instances[number], power))
    found.cpu = (_cpu_seconds(pid) - used) / (time.monotonic() - begin) * 60
    found.megabytes = _megabytes(pid)
    return found


def _all_read(where: Installation, bmcs: Emulated) -> float:
    """Answers the seconds from the first question of the worker until all that answer are known to be on."""
    wanted = sum(not hangs(number) for number in range(bmcs.number))
    end = time.monotonic() + READ_SECONDS
    with contextlib.closing(sqlite3.connect(f"file:{where.folder}/editor.sqlite3?mode=ro", uri=True)) as database:
        while database.execute("SELECT count(*) FROM editor_server WHERE power = 'on'").fetchone()[0] < wanted:
            if time.monotonic() > end:
                raise RuntimeError(f"After {READ_SECONDS} s not all BMCs were read.")
            time.sleep(0.05)
    return time.time() - float(bmcs.ask("started?"))


def _switch(page: Page, bmcs: Emulated, instance: int, *, to_on: bool, figures: Figures) -> None:
    """Asks for a change on the page; it comes true some seconds later, and only that is measured."""
    told = bmcs.ask("told? 0")
    page.locator(f"#select-{instance}").check()
    page.get_by_role("button", name="Power On" if to_on else "Soft Shutdown", exact=True).click()
    while bmcs.ask("told? 0") == told:
        page.wait_for_timeout(50)
    page.wait_for_timeout(1000 + 500 * random.Random(told).random())
    figures.add(_shown(page, bmcs, 0, instance, "On" if to_on else "Off"))


def _shown(page: Page, bmcs: Emulated, number: int, instance: int, power: str) -> float:
    """Answers the ms from a change at a BMC to the frame of the page that shows it."""
    page.evaluate("selector => bench.watchFor(selector)", f"#instance-{instance} .pill[data-power={power.lower()}]")
    switched = float(bmcs.ask(f"switch {number} {power}"))
    return float(page.evaluate("() => bench.answer()")) - switched * 1000


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _megabytes(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def report(found: Polled) -> str:
    head = (
        "Polled BMCs",
        "All others read once, s",
        "Change → shown, in transition",
        "Change → shown, idle",
        "CPU, s per minute",
        "Memory, MB",
    )
    silent = sum(hangs(number) for number in range(found.bmcs))
    row = (
        f"{found.bmcs}, of which {silent} hang",
        f"{found.read:.1f}",
        str(found.changing),
        str(found.steady),
        f"{found.cpu:.1f}",
        f"{found.megabytes:.0f}",
    )
    return table(head, [row])
