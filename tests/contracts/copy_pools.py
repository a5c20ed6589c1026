"""Looks at the files of engines that copy from outside, and breaks off their verbs at any point."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from editor.storage import ioctls
from editor.storage.copies import CopyStorage
from tests.killing import Points

from .file_systems import FileSystem
from .images import Marks, PowerCut
from .storage import BLOCK, DRIVE, SIZE, Disk

CHANGES = ("fsync", "ftruncate", "fchmod", "mkdir", "rename", "rmdir", "unlink")
NAMELESS = {"fsync", "ftruncate", "fchmod", "ioctl"}
LOOKS = {0xC020660B, 0x80086601}
"""The requests that only read: FIEMAP, and a file's flags."""


def prepared(driver: CopyStorage) -> None:
    """A drive with two snapshots, which grew after each; its layers read as TRUTH says."""
    disk = Disk(driver, size_bytes=4 * BLOCK)
    disk.put(1)
    disk.put(1, block=1)
    disk.snapshot()
    disk.grow(8 * BLOCK)
    disk.put(2)
    disk.put(2, block=2)
    disk.snapshot()
    disk.grow(SIZE)
    disk.put(3)


def copied(system: FileSystem, pool: Path) -> Path:
    """A new pool that holds the same, made by the engine's own means of copying."""
    to, driver = system.pool(), system.driver(pool)
    for drive in pool.iterdir():
        folder = to / drive.name
        folder.mkdir()
        for one in drive.iterdir():
            if one.is_dir():
                driver.make_copy(one, folder / one.name, frozen=one.name.startswith("frozen"))
            else:
                shutil.copy(one, folder / one.name)
    return to


def disks(pool: Path) -> dict[int, Path]:
    """Where the layers of the drive are, as its drive.json says."""
    folder = pool / f"drive-{DRIVE}"
    said = json.loads((folder / "drive.json").read_text())
    return {int(layer): folder / name / "disk" for layer, (name, _parent) in said["layers"].items()}


def assert_layers_read(pool: Path, expected: Mapping[int, Marks]) -> None:
    """Reads the files themselves, whatever our driver thinks of them."""
    found = disks(pool)
    for layer, marks in expected.items():
        with found[layer].open("rb") as file:
            for block, mark in marks.items():
                file.seek(block * BLOCK)
                assert file.read(BLOCK) == bytes([mark]) * BLOCK, (layer, block)


def assert_tidy(pool: Path, layers: set[int]) -> None:
    """Nothing but these layers is there."""
    found = disks(pool)
    assert set(found) == layers
    names = {path.name for path in (pool / f"drive-{DRIVE}").iterdir()}
    assert names - {"active", "inactive"} == {"lock", "drive.json", *(path.parent.name for path in found.values())}
    assert len(names & {"active", "inactive"}) == 1


class Effects:
    """Counts what a verb does to the disk, and breaks it off after one of these effects."""

    def __init__(self, at: int | None) -> None:
        self.at = at
        self.seen: list[str] = []

    def wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def effect(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not (len(arguments) > 1 and arguments[1] & os.O_CREAT):
                return real(*arguments, **options)
            if name == "ioctl" and arguments[1] in LOOKS:
                return real(*arguments, **options)
            if self.is_over():
                raise PowerCut
            self.seen.append(_told(name, arguments))
            try:
                result = real(*arguments, **options)
            except OSError:
                if not self.is_over():
                    raise
                raise PowerCut from None
            if self.is_over():
                if name == "open":
                    os.close(result)
                raise PowerCut
            return result

        return effect

    def is_over(self) -> bool:
        return self.at is not None and len(self.seen) > self.at


def _told(name: str, arguments: tuple[Any, ...]) -> str:
    """An effect in words, such as "fsync drive.json"; in a copy's disk, "fsync live-1/disk"."""
    path = Path(f"/proc/self/fd/{arguments[0]}").readlink() if name in NAMELESS else Path(arguments[name == "rename"])
    return f"{name} {path.parent.name}/disk" if path.name == "disk" else f"{name} {path.name}"


@contextmanager
def effects(at: int | None = None) -> Iterator[Effects]:
    """Watches, and breaks off, what is done inside. Ends quietly when it was broken off."""
    watch = Effects(at)
    with pytest.MonkeyPatch.context() as patch:
        for name in (*CHANGES, "open"):
            patch.setattr(os, name, watch.wrap(name, getattr(os, name)))
        for module in (fcntl, ioctls):
            patch.setattr(module, "ioctl", watch.wrap("ioctl", module.ioctl))
        with suppress(PowerCut):
            yield watch


def crashes(
    system: FileSystem, pool: Path, verb: Callable[[CopyStorage], object], points: Points, *, settle: bool = False
) -> Iterator[Path]:
    """For each of the effects of the verb: a copy of the pool as it is when the verb ends right after it.

    With `settle` everything before the verb is on the disk when it begins.
    """
    unbroken = system.driver(copied(system, pool))
    with effects() as whole:
        verb(unbroken)
    assert len(whole.seen) > 2
    for at in points.of(range(len(whole.seen))):
        left = copied(system, pool)
        if settle:
            system.sync()
        with effects(at) as broken:
            verb(system.driver(left))
        assert len(broken.seen) == at + 1
        yield left
