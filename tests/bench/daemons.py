"""One qemu-storage-daemon for each of several drives, beside one for all of them: memory, speed, and what a kill takes.

A process of its own: `python -m tests.bench.daemons FOLDER DRIVES ROUNDS`. Answers on standard output, as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench import memory

WRITTEN_AT_ONCE = 8
MIB = 1024 * 1024
DRIVE_BYTES = 512 * MIB
WRITES = 2000
READY_SECONDS = 60

Found = dict[str, dict[str, list[float]]]


class Daemons:
    """The devices of drives, in processes with so many each."""

    def __init__(self, folder: Path, *, drives: int, in_each: int) -> None:
        folder.mkdir()
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.devices: list[Path] = []
        for drive in range(drives):
            image = str(folder / f"{drive}.qcow2")
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, str(DRIVE_BYTES)], check=True)
        begin = time.monotonic()
        for first in range(0, drives, in_each):
            self._start(range(first, min(first + in_each, drives)))
        end = begin + READY_SECONDS
        while not all(device.stat().st_size == DRIVE_BYTES for device in self.devices):
            if time.monotonic() > end:
                raise TimeoutError("The storage daemons did not begin.")
            time.sleep(0.01)
        self.start_seconds = time.monotonic() - begin

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def _start(self, drives: range) -> None:
        words = ["qemu-storage-daemon"]
        for drive in drives:
            image, device = self._folder / f"{drive}.qcow2", self._folder / f"{drive}.device"
            device.touch()
            file = {"driver": "file", "node-name": f"file-{drive}", "filename": str(image)}
            node = {"driver": "qcow2", "node-name": f"drive-{drive}", "file": f"file-{drive}"}
            export = {"type": "fuse", "id": f"export-{drive}", "node-name": f"drive-{drive}", "writable": True}
            words += ["--blockdev", json.dumps(file), "--blockdev", json.dumps(node)]
            words += ["--export", json.dumps({**export, "mountpoint": str(device)})]
            self.devices.append(device)
        self._processes.append(subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True))

    def kill_one(self) -> int:
        """Answers how many devices are dead after a process was killed."""
        self._processes[0].send_signal(signal.SIGKILL)
        self._processes[0].wait()
        dead = 0
        for device in self.devices:
            try:
                os.stat(device)  # noqa: PTH116 - of a dead one, Path.stat says the same
            except OSError:
                dead += 1
        return dead

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()
        for device in self.devices:
            with contextlib.suppress(subprocess.CalledProcessError):
                subprocess.run(["fusermount3", "-u", "-z", str(device)], capture_output=True, check=True)


@contextlib.contextmanager
def running(folder: Path, *, drives: int, in_each: int) -> Iterator[Daemons]:
    daemons = Daemons(folder, drives=drives, in_each=in_each)
    try:
        yield daemons
    finally:
        daemons.stop()


def measure(folder: Path, *, drives: int, rounds: int) -> Found:
    found: Found = {"a process each": {}, "one process": {}}
    for number in range(rounds):
        kinds = [("a process each", 1), ("one process", drives)]
        for name, in_each in kinds if number % 2 else kinds[::-1]:
            with running(folder / f"{name} {number}", drives=drives, in_each=in_each) as daemons:
                figures = {"start, s": daemons.start_seconds, "processes": float(len(daemons.pids))}
                figures |= memory.of(daemons.pids, drives=drives)
                figures["one drive written, MB/s"] = _written(daemons.devices[:1], MIB, WRITES // 16)
                figures["8 drives written at once, MB/s"] = _written(
                    daemons.devices[:WRITTEN_AT_ONCE], MIB, WRITES // 16
                )
                figures["one drive, 4 KiB writes/s"] = _written(daemons.devices[:1], 4096, WRITES) * 1e6 / 4096
                eight = _written(daemons.devices[:WRITTEN_AT_ONCE], 4096, WRITES)
                figures["8 drives at once, 4 KiB writes/s"] = eight * 1e6 / 4096
                figures["dead after a kill -9"] = float(daemons.kill_one())
            for what, figure in figures.items():
                found[name].setdefault(what, []).append(figure)
    return found


def _written(devices: list[Path], bytes_each: int, writes: int) -> float:
    """MB/s, all together, until the last one is through."""
    step = bytes_each if bytes_each >= MIB else int(DRIVE_BYTES * 0.618 / 4096) * 4096 + 4096
    words = f"qemu-img bench -f raw -t none -w -d 16 -c {writes} -s {bytes_each} -S {step}".split()

    def write(device: Path) -> None:
        subprocess.run([*words, str(device)], stdout=subprocess.DEVNULL, check=True)

    begin = time.perf_counter()
    with ThreadPoolExecutor(len(devices)) as threads:
        list(threads.map(write, devices))
    return len(devices) * writes * bytes_each / (time.perf_counter() - begin) / 1e6


def main(folder: str, drives: str, rounds: str) -> Found:
    Path(folder).mkdir(parents=True)
    return measure(Path(folder), drives=int(drives), rounds=int(rounds))


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
