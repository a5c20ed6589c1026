"""A server that is logged in to its drive: a real initiator, without a kernel module and without a machine.

qemu-storage-daemon logs in through libiscsi, with the CHAP password and under the name of its instance, and shows the
LUN as a file, which is written to like a disk. libiscsi logs in again by itself when the target goes away.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from editor.iscsi import LUN, Export
from editor.storage.daemon import why_not_fuse

START_SECONDS = 20
LOGOUT_SECONDS = 10
PLUGINS = "x86_64-linux-gnu/qemu/block-iscsi.so", "aarch64-linux-gnu/qemu/block-iscsi.so"


class NotLoggedIn(Exception):
    """The target did not admit the server, or has no disk for it."""


def why_not() -> str | None:
    """Why there are no servers on this machine."""
    if not shutil.which("qemu-storage-daemon"):
        return "No servers log in here: Debian's package qemu-system-common is missing."
    if not any((Path("/usr/lib") / plugin).exists() for plugin in PLUGINS):
        return "No servers log in here: Debian's package qemu-block-extra is missing."
    return why_not_fuse()


def wait_until(holds: Callable[[], object], what: str, *, seconds: float = 30) -> float:
    """Waits for a condition; answers how long that took, in seconds."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() < started + seconds, f"{what}: not within {seconds:g} s"
        time.sleep(0.01)
    return time.monotonic() - started


def killed(pid: int) -> None:
    """Kills a process, which may be nobody's child, and waits until it is dead."""
    process = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
        assert select.select([process], [], [], 10)[0], f"process {pid} lives on"
    finally:
        os.close(process)


class Server:
    """Logged in from the beginning to the end of the block. `disk` is the LUN; `folder` is made for it."""

    def __init__(self, folder: Path, portal: str, export: Export) -> None:
        self.folder = folder
        self.disk = folder / "disk"
        self.export = export
        self._portal = portal
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Raises NotLoggedIn."""
        self.folder.mkdir()
        self.disk.touch()
        chap = self.folder / "chap"
        chap.touch(mode=0o600)
        chap.write_text(self.export.password)
        options = {
            "driver": "iscsi",
            "node-name": "lun",
            "transport": "tcp",
            "portal": self._portal,
            "target": self.export.iqn,
            "lun": str(LUN),
            "initiator-name": self.export.initiator,
            "user": self.export.user,
            "password-secret": "chap",
            "cache.direct": "on",
        }
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "qemu-storage-daemon",
                    *("--object", f"secret,id=chap,file={chap}"),
                    *("--blockdev", ",".join(f"{name}={value}" for name, value in options.items())),
                    *("--export", f"type=fuse,id=disk,node-name=lun,mountpoint={self.disk},writable=on"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(lambda: os.path.ismount(self.disk) or not self._lives(), "login", seconds=START_SECONDS)
            self._demand_life()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.log_out()

    def log_out(self) -> None:
        """As on shutdown. A server whose target is gone is switched off instead."""
        if self._process is not None and self._lives():
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(LOGOUT_SECONDS)
        self.end()

    def stand_still(self) -> None:
        """As a machine that lost its power: it answers nothing, and nobody says that it is gone."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def end(self) -> None:
        """Whatever it was at: nothing of it is left running or mounted."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        # Not through the path, which answers nobody any more.
        if f" {os.path.realpath(self.folder)}/disk " in Path("/proc/self/mountinfo").read_text():
            subprocess.run(["fusermount3", "-u", "-z", str(self.disk)], check=True)

    def _demand_life(self) -> None:
        if not self._lives():
            raise NotLoggedIn((self.folder / "log").read_text().strip())

    def _lives(self) -> bool:
        return self._process is not None and self._process.poll() is None
