"""A server that writes all the time: `python -m tests.bench.load DEVICE`, until its input ends.

16 KiB at a time, past all caches, anywhere in the drive's first 64 MiB; each write waits for the one before.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import random
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import astuple

from editor.storage import Device
from tests.bench.engines import Disk

PIECE_BYTES = 16 * 1024
WINDOW_BYTES = 64 * 1024 * 1024


def main(device: Device) -> None:
    disk, chance = Disk(device, direct=True), random.Random(3)
    page = mmap.mmap(-1, PIECE_BYTES)
    written = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        page[:] = bytes([chance.randrange(1, 255)]) * PIECE_BYTES
        disk.write(chance.randrange(WINDOW_BYTES // PIECE_BYTES) * PIECE_BYTES, page)
        written += 1
        if written == 1:
            print("writing", flush=True)
    disk.close()
    print(written, flush=True)


@contextlib.contextmanager
def writing(device: Device) -> Iterator[None]:
    """Inside, a process writes to the device; none has it open any more afterwards."""
    command = [sys.executable, "-m", "tests.bench.load", json.dumps(astuple(device))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        if process.stdout.readline() != "writing\n":
            raise RuntimeError("The process that was to write all the time ended.")
        yield
    finally:
        process.communicate()
    if process.returncode:
        raise RuntimeError("The process that was to write all the time failed.")


if __name__ == "__main__":
    backing, name, options = json.loads(sys.argv[1])
    main(Device(backing, name, tuple((key, value) for key, value in options)))
