"""How fast a server writes through iSCSI, before and after snapshots, beside the device without iSCSI.

A process of its own: `python -m tests.bench.throughput ENGINE FOLDER PORTAL ROUNDS`. "plain" is a file without an
engine. Answers on standard output, as JSON, {pattern: {"device" | "iscsi": {"before" | "after": [ms]}}}.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from editor.iscsi import LUN, Export
from editor.iscsi.tgt import TgtExporter
from editor.storage import Device
from tests.bench.engines import Bed, Disk, bed

MIB = 1024 * 1024
DRIVE_BYTES = 512 * MIB
SNAPSHOTS = 5
INITIATOR = "iqn.2026-11.bench.example:server"
SCATTER_BYTES = int(DRIVE_BYTES * 0.618 / 4096) * 4096 + 4096
"""From one write to the next, past the end and around: so no two are near each other."""


@dataclass(frozen=True)
class Pattern:
    """So many writes of a size, so many at a time."""

    name: str
    bytes_each: int
    at_once: int
    writes: int
    step_bytes: int

    @property
    def arguments(self) -> list[str]:
        # A server's file system flushes from time to time; the last writes are flushed, too.
        flush = self.writes // 8
        words = f"-w -c {self.writes} -d {self.at_once} -s {self.bytes_each} -S {self.step_bytes}"
        return [*words.split(), f"--flush-interval={flush}"]


PATTERNS = (
    Pattern("4 KiB, scattered, 16 at once", 4096, 16, 4000, SCATTER_BYTES),
    Pattern("1 MiB, one after the other", MIB, 4, 256, MIB),
)

Times = dict[str, dict[str, dict[str, list[float]]]]


def measure(where: Bed | Path, exporter: TgtExporter, *, rounds: int) -> Times:
    """A new drive in each round, on which all was written once."""
    found: Times = {one.name: {way: defaultdict(list) for way in ("device", "iscsi")} for one in PATTERNS}
    for number in range(1, rounds + 1):
        with _drive(where, number) as (device, snapshot):
            _fill(device)
            export = _export(number, device)
            exporter.publish(export)
            ways = {"device": _device(device), "iscsi": _iscsi(export, exporter.portal)}
            for when in ("before", "after"):
                for _ in range(SNAPSHOTS - 1 if when == "after" else 0):
                    snapshot()
                    _touch(device)
                for pattern in PATTERNS:
                    for way in sorted(ways, reverse=number % 2 == 0):
                        if when == "after":
                            snapshot()  # so that each meets what nobody wrote since
                        found[pattern.name][way][when].append(_run(ways[way], pattern))
            exporter.remove(export.iqn)
    return found


@contextlib.contextmanager
def _drive(where: Bed | Path, number: int) -> Iterator[tuple[Device, Callable[[], None]]]:
    """Gives the device of a new drive, and what takes a snapshot of it."""
    if isinstance(where, Path):
        plain = where / f"plain-{number}"
        with plain.open("wb") as file:
            file.truncate(DRIVE_BYTES)
        yield Device("file", str(plain)), lambda: None
        plain.unlink()
        return
    driver, head = where.driver, 1

    def snapshot() -> None:
        nonlocal head
        driver.snapshot(number, frozen=head, new_layer=head + 1)
        head += 1

    driver.create_drive(number, layer=1, size_bytes=DRIVE_BYTES)
    device = driver.activate(number)
    try:
        yield device, snapshot
    finally:
        driver.deactivate(number)
        driver.delete_drive(number)


def _fill(device: Device) -> None:
    disk, chance = Disk(device), random.Random(1)
    for offset in range(0, DRIVE_BYTES, MIB):
        disk.write(offset, chance.randbytes(MIB))
    disk.flush()
    disk.close()


def _touch(device: Device) -> None:
    """A few writes, so that no two snapshots are the same."""
    disk, chance = Disk(device), random.Random(2)
    for _ in range(16):
        disk.write(chance.randrange(DRIVE_BYTES // MIB) * MIB, chance.randbytes(4096))
    disk.flush()
    disk.close()


def _export(number: int, device: Device) -> Export:
    iqn = f"iqn.2026-11.bench.example:drive-{number}"
    return Export(number, iqn, f"BENCH{number:08d}", device, INITIATOR, "server", "correct0horse")


def _device(device: Device) -> dict[str, str]:
    if device.backing == "file":
        return {"driver": "raw", "file.driver": "file", "file.filename": device.name}
    pool, image = device.name.split("/")
    options = dict(device.options)
    rbd = {"driver": "rbd", "pool": pool, "image": image, "conf": options["conf"], "user": options["id"]}
    return {"driver": "raw", **{f"file.{name}": value for name, value in rbd.items()}}


def _iscsi(export: Export, portal: str) -> dict[str, str]:
    iscsi = {
        "driver": "iscsi",
        "transport": "tcp",
        "portal": portal,
        "target": export.iqn,
        "lun": str(LUN),
        "user": export.user,
        "password": export.password,
        "initiator-name": export.initiator,
    }
    return {"driver": "raw", **{f"file.{name}": value for name, value in iscsi.items()}}


def _run(image: dict[str, str], pattern: Pattern) -> float:
    """How many ms the writes take, without opening and closing."""
    options = ",".join(f"{name}={value}" for name, value in image.items())
    command = ["qemu-img", "bench", "-t", "writeback", *pattern.arguments, "--image-opts", options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = re.search(r"Run completed in ([0-9.]+) seconds", done.stdout)
    if said is None:
        raise RuntimeError(f"qemu-img bench failed: {done.stderr}")
    return float(said[1]) * 1000


def main(engine: str, folder: str, portal: str, rounds: str) -> Times:
    exporter = TgtExporter(Path(folder).with_name("target"), portal)
    with contextlib.ExitStack() as stack:
        if engine == "plain":
            where: Bed | Path = Path(folder)
            Path(folder).mkdir()
        else:
            where = stack.enter_context(bed(engine, Path(folder)))
        stack.callback(exporter.stop)
        return measure(where, exporter, rounds=int(rounds))


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
