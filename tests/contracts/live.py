"""Drives that are active: what is needed to have them, what they hold, and their verbs broken off at any point."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from editor.storage import StorageError
from editor.storage.daemon import DEVICE, Daemon, why_not_fuse
from editor.storage.monitor import Monitor
from editor.storage.qcow2 import Qcow2Storage

from .images import Effects, PowerCut, effects
from .storage import BLOCK, DRIVE, content

LOOKS = ("query-", "blockdev-del")
"""Commands that change nothing; or close what is not in use, if it is not."""
NOTHING = ("open lock", "fsync drive-", "qemu-img map", "unlink copier", "open copier")
"""Effects that leave the same as the one before, for whoever does not lose power."""


def why_not() -> str | None:
    """Why no drive is served on this machine."""
    if not shutil.which("qemu-storage-daemon"):
        return "No drives are served here: Debian's package qemu-system-common is missing."
    return why_not_fuse()


needs_daemon = pytest.mark.skipif(bool(why_not()), reason=why_not() or "")


class Active(Qcow2Storage):
    """Drives that are active whenever they may be."""

    def create_drive(self, drive: int, *, layer: int, size_bytes: int) -> None:
        super().create_drive(drive, layer=layer, size_bytes=size_bytes)
        self.activate(drive)

    def grow(self, drive: int, *, size_bytes: int) -> None:
        with self.inactive(drive):
            super().grow(drive, size_bytes=size_bytes)

    def revert(self, drive: int, *, onto: int, new_layer: int) -> None:
        with self.inactive(drive):
            super().revert(drive, onto=onto, new_layer=new_layer)

    def delete_drive(self, drive: int) -> None:
        self.deactivate(drive)
        super().delete_drive(drive)

    @contextmanager
    def inactive(self, drive: int) -> Iterator[None]:
        was = drive in self.devices()
        self.deactivate(drive)
        try:
            yield
        finally:
            if was:
                self.activate(drive)


def folder_of(pool: Path) -> Path:
    return pool / f"drive-{DRIVE}"


def device_of(pool: Path) -> Path:
    return folder_of(pool) / DEVICE


def process_of(pool: Path) -> int:
    return int((folder_of(pool) / "daemon.pid").read_text())


def killed(pool: Path) -> None:
    """Kills the daemon, and waits until it is dead."""
    os.kill(process_of(pool), signal.SIGKILL)
    assert Daemon(folder_of(pool), seconds=5).ends_within(5)


def put(pool: Path, block: int, mark: int) -> None:
    """Writes as a server does, and flushes."""
    descriptor = os.open(device_of(pool), os.O_WRONLY)
    try:
        os.pwrite(descriptor, content(mark), block * BLOCK)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def marks(pool: Path, *blocks: int) -> list[int]:
    """What a server reads."""
    with device_of(pool).open("rb", buffering=0) as file:
        found = [os.pread(file.fileno(), BLOCK, block * BLOCK) for block in blocks]
    assert [set(block) for block in found] == [{block[0]} for block in found]
    return [block[0] for block in found]


def ended(pool: Path) -> None:
    """Leaves nothing running or mounted, whatever became of a test."""
    driver = Qcow2Storage(pool)
    for found in driver.audit() if pool.is_dir() else ():
        if found.drive is not None:
            with suppress(FileNotFoundError):
                os.kill(int((pool / f"drive-{found.drive}" / "daemon.pid").read_text()), signal.SIGCONT)
            driver.deactivate(found.drive)
    assert driver.devices() == {}


def as_left(pool: Path, to: Path) -> Path:
    """A copy of the files as they are: what there would be if the daemon were killed now."""
    return Path(shutil.copytree(pool, to, symlinks=True, ignore=shutil.ignore_patterns(DEVICE, "copier", "daemon.*")))


@contextmanager
def live_effects(at: int | None = None, *, told: Callable[[str], object] = str) -> Iterator[Effects]:
    """As `effects`, those on the daemon included; breaks off after one. The daemon lives on."""
    with pytest.MonkeyPatch.context() as patch, suppress(PowerCut), effects(at, "after", told=told) as watch:
        real = Monitor.execute

        def execute(self: Monitor, command: str, arguments: dict[str, Any] | None = None) -> Any:
            if command.startswith(LOOKS):
                if watch.dead:
                    raise PowerCut
                return real(self, command, arguments)
            return watch.wrap(command, lambda _told: real(self, command, arguments))(_Told())

        patch.setattr(Monitor, "execute", execute)
        yield watch


class _Told:
    """What a command is about, for `Effects`."""

    def __fspath__(self) -> str:
        return "daemon"


def live_crashes(
    template: Path, verb: Callable[[Qcow2Storage], object], scratch: Path, *, only: Collection[str] = ()
) -> Iterator[tuple[str, Path, Path]]:
    """For each point at which a verb on an active drive can be broken off: the effect it ended with, the pool with
    its daemon at work, and a copy of the pool as it is left when the daemon is killed there too. `only` after some."""
    with active(template, scratch / "whole") as pool, live_effects() as whole:
        verb(Qcow2Storage(pool))
    for at, effect in enumerate(whole.seen):
        if effect.startswith(NOTHING) or (only and effect not in only):
            continue
        with active(template, scratch / f"{at}-live") as pool:
            with live_effects(at) as broken:
                verb(Qcow2Storage(pool))
            assert broken.dead
            yield effect, pool, as_left(pool, scratch / f"{at}-dead")


@contextmanager
def active(template: Path, to: Path) -> Iterator[Path]:
    """A copy of a pool, whose drive is active inside."""
    pool = Path(shutil.copytree(template, to, symlinks=True))
    Qcow2Storage(pool).activate(DRIVE)
    try:
        yield pool
    finally:
        ended(pool)


def failure(call: Callable[[], object]) -> StorageError:
    """How a call fails; it must not be for good."""
    with pytest.raises(StorageError) as failed:
        call()
    assert failed.value.permanent is False
    return failed.value
