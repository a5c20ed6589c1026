"""The qemu-storage-daemon that serves one drive: starting and ending it, and telling whether it lives.

    drive-7/device         the drive as a file, by FUSE, for whoever serves it; absent or empty while it is inactive
    drive-7/copier         the same, while a merge copies what is read there (editor.storage.live)
    drive-7/daemon.log     what the daemon says; locked by it for as long as it lives, however it ends
    drive-7/daemon.pid     its process; written, and locked too, by the daemon when the device is there
    drive-7/daemon.sock    its monitor (editor.storage.monitor)

The daemon outlives us. It is told all names relative to the drive's folder, its working directory, so that no path is
taken for a URL or is too long for a socket. It does not hold the drive's lock, which verbs need; two of them never
have one drive, by the lock on the log, and by QEMU's own locks on images.

Each layer is a node "layer-3" on a node "file-3". Only the top can be written. All files are opened for writing
nevertheless (and locked for reading only), so that a merge need not open one again by a name it may have lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from editor.storage.layers import Layer, layer_name
from editor.storage.monitor import PROGRAM, Monitor
from editor.storage.programs import DaemonMute, ProgramFailed, ProgramHung, ProgramMissing, missing_sentence, run

DEVICE = "device"
COPIER = "copier"
LOG, PID, SOCKET = "daemon.log", "daemon.pid", "daemon.sock"
FILES = frozenset({DEVICE, COPIER, LOG, PID, SOCKET})
EXPORT = "device"
UNMOUNT = "fusermount3"
FUSE = Path("/dev/fuse")
MOUNTS = Path("/proc/self/mountinfo")
POLL_SECONDS = 0.005
TOP_CACHE_MIB, CACHE_MIB = 16, 4
"""What a layer's tables may take of memory; those of 8 GiB are 1 MiB. QEMU's own limit is 32 MiB for each of 30 layers,
and a daemon gives back none of it. One that has nothing to do takes 1.3 MiB of its own, and 8 that all share; in use
with five snapshots 3.5; after writes scattered over 100 GiB 15."""
SAID_BYTES = 4000
ESCAPED = re.compile(r"\\([0-7]{3})", re.ASCII)
WHOLE_FILE = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)  # struct flock

_started: list[subprocess.Popen[bytes]] = []
"""Daemons that are our children, to be buried when they have ended."""


def node(layer: int) -> str:
    """What the daemon calls a layer."""
    return f"layer-{layer}"


def file_node(layer: int) -> str:
    """What the daemon calls a layer's file."""
    return f"file-{layer}"


def file_options(layer: int) -> dict[str, Any]:
    """How a layer's file is opened."""
    return {"driver": "file", "node-name": file_node(layer), "filename": layer_name(layer), "discard": "unmap"}


def node_options(layer: int, below: int | None, *, top: bool) -> dict[str, Any]:
    """How a layer is opened, on a layer that is open already; whatever its header names under it."""
    return {
        "driver": "qcow2",
        "node-name": node(layer),
        "file": file_node(layer),
        "backing": None if below is None else node(below),
        "discard": "unmap",
        "read-only": not top,
        "l2-cache-size": (TOP_CACHE_MIB if top else CACHE_MIB) * 1024 * 1024,
    }


def export_options(name: str, source: str, *, mountpoint: str, writable: bool) -> dict[str, Any]:
    """How a node is shown as a file; to our own user only."""
    options = {"type": "fuse", "id": name, "node-name": source, "mountpoint": mountpoint}
    return {**options, "writable": writable, "allow-other": "off"}


class Daemon:
    """The daemon of the drive in `folder`, running or not. What changes it is called with the drive's lock held."""

    def __init__(self, folder: Path, *, program: str = PROGRAM, seconds: float) -> None:
        self.folder = folder
        self._program = program
        self._seconds = seconds

    @property
    def device(self) -> Path:
        """Where the device is while the drive is active."""
        return self.folder / DEVICE

    def is_running(self) -> bool:
        """Whether the daemon lives, answering or not. Takes some microseconds."""
        return _is_locked(self.folder / LOG)

    def has_died(self) -> bool:
        """Whether the daemon ended without being told to: it may hold clusters that it took and did not use."""
        return (self.folder / PID).exists() and not self.is_running()

    def is_mounted(self) -> bool:
        """Whether there is a device, be it the stale one of a daemon that was killed."""
        return _is_mounted(self.device)

    def monitor(self) -> Monitor:
        """A connection to the running daemon, to be entered."""
        return Monitor(self.folder, SOCKET, seconds=self._seconds)

    def start(self, chain: Sequence[Layer]) -> None:
        """Open a chain of layers, the top first, and wait until the device is there. Nothing is left of a failure."""
        if shutil.which(self._program) is None:
            raise ProgramMissing(self._program)
        self.clean()
        try:
            with self._locked_log() as log:
                process = subprocess.Popen(
                    self._command(chain),
                    cwd=self.folder,
                    env={**os.environ, "LC_ALL": "C"},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            _started.append(process)
            self.wait_until_ready(process)
            self._check_device(chain[0].size_bytes)
        except Exception:
            with contextlib.suppress(DaemonMute):
                self.stop()
            raise

    def wait_until_ready(self, process: subprocess.Popen[bytes] | None = None) -> None:
        """Wait for the device of a daemon that is being started: `process`, or one that somebody else started."""
        end = time.monotonic() + self._seconds
        while not _is_locked(self.folder / PID) or self._pid() is None:
            if process.poll() is not None if process else not self.is_running():
                raise ProgramFailed(self._program, 1, self._said())
            if time.monotonic() >= end:
                if process:
                    process.kill()  # nobody has written to it yet
                    self.ends_within(self._seconds)
                raise ProgramHung(self._program, -signal.SIGKILL, f"not ready within {self._seconds:g} s")
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """End the daemon, which writes all it holds, and remove what it leaves. Raises DaemonMute if it does not end.

        It is never killed: what it was told and has not written would be lost.
        """
        if self.is_running():
            try:
                with self.monitor() as monitor:
                    monitor.execute("quit")
            except (DaemonMute, ProgramFailed):
                self._terminate()
            if not self.ends_within(self._seconds):
                raise DaemonMute(f"process {self._pid()} did not end within {self._seconds:g} s")
        self.clean()

    def ends_within(self, seconds: float) -> bool:
        """Whether the daemon has ended, at the latest after so long."""
        end = time.monotonic() + seconds
        while self.is_running():
            if time.monotonic() >= end:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def clean(self) -> None:
        """Remove what a daemon that has ended left: its device, which answers nobody any more, and its files."""
        _bury()
        for name in (DEVICE, COPIER):
            while _is_mounted(self.folder / name):
                # Lazily: a target may have it open still, and gets errors until it closes it.
                run(UNMOUNT, "-u", "-z", name, folder=self.folder, seconds=self._seconds)
        for name in FILES:
            (self.folder / name).unlink(missing_ok=True)

    def _command(self, chain: Sequence[Layer]) -> list[str]:
        words = [
            self._program,
            "--chardev",
            f"socket,path={SOCKET},server=on,wait=off,id=qmp",
            "--monitor",
            "chardev=qmp",
        ]
        below: int | None = None
        for layer in reversed(chain):
            options = node_options(layer.id, below, top=layer is chain[0])
            for blockdev in (file_options(layer.id), options):
                words += ["--blockdev", json.dumps(blockdev)]
            below = layer.id
        export = export_options(EXPORT, node(chain[0].id), mountpoint=DEVICE, writable=True)
        return [*words, "--export", json.dumps(export), "--pidfile", PID]

    @contextlib.contextmanager
    def _locked_log(self) -> Iterator[int]:
        """The log, and the file that the device will cover. The daemon inherits the lock with the open file."""
        os.close(os.open(self.device, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        log = os.open(self.folder / LOG, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.fcntl(log, fcntl.F_OFD_SETLK, WHOLE_FILE)
            yield log
        finally:
            os.close(log)

    def _terminate(self) -> None:
        pid = self._pid()
        if pid is not None and _is_locked(self.folder / PID):  # so this process number is no other's by now
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def _check_device(self, size_bytes: int) -> None:
        """Raise unless a target that opens the device gets the drive, not the empty file under it."""
        if not self.is_mounted() or os.stat(self.device).st_size != size_bytes:
            raise ProgramFailed(self._program, 1, f"the device is not there, or has another size. {self._said()}")

    def _pid(self) -> int | None:
        """The daemon's process, when the file is written whole."""
        with contextlib.suppress(FileNotFoundError):
            text = (self.folder / PID).read_text()
            if text.endswith("\n"):
                return int(text)
        return None

    def _said(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / LOG).read_bytes()[-SAID_BYTES:].decode(errors="replace").strip()
        return ""


def why_not_fuse() -> str | None:
    """Why no device can be made on this machine, and what to do; None when one can."""
    if not shutil.which(UNMOUNT):
        return missing_sentence(UNMOUNT)
    if not FUSE.exists():
        return f"This machine has no {FUSE}. Load the kernel's module: modprobe fuse"
    try:
        os.close(os.open(FUSE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        said = f"{FUSE} cannot be opened by this user: {error.strerror}."
        return f"{said} Make it readable and writable to all, as udev does: chmod 666 {FUSE}"
    return None


def _is_mounted(path: Path) -> bool:
    # Not of the path itself: a device whose daemon hangs must not be looked at.
    return f"{os.path.realpath(path.parent)}/{path.name}" in mounted_devices()


def mounted_devices() -> frozenset[str]:
    """The paths, without symbolic links, of all FUSE devices that are mounted here, answering or not."""
    found = set()
    # https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
    for line in MOUNTS.read_text(errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        path = before.split(" ")[4]
        if after.startswith("fuse") and path.endswith((f"/{DEVICE}", f"/{COPIER}")):
            found.add(ESCAPED.sub(lambda match: chr(int(match[1], 8)), path))
    return frozenset(found)


def _is_locked(path: Path) -> bool:
    """Whether somebody holds a lock on a file: asked without taking it, which would look like a daemon to others."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, WHOLE_FILE)
    finally:
        os.close(descriptor)
    return bool(struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK)


def _bury() -> None:
    """Forget children that have ended, so that they do not stay as zombies."""
    for process in [*_started]:
        if process.poll() is not None:
            with contextlib.suppress(ValueError):  # another thread was faster
                _started.remove(process)
