"""What the verbs of an engine would cost by the plainest means that a person at a terminal has, on the same drive.

Each is durable when it returns, as the verbs are. None keeps the drive whole for good: what they make stands beside it.
"""

from __future__ import annotations

import abc
import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from editor.storage.copy_folder import CopyFolder
from editor.storage.layers import DriveFolder, fsync
from editor.storage.rbd import ceph
from editor.storage.rbd.driver import RbdStorage
from editor.storage.reflink import FICLONE
from tests.bench.engines import Bed


class Bare(abc.ABC):
    """Of one drive."""

    @abc.abstractmethod
    def create(self) -> None:
        """Freeze what the drive holds now."""

    @abc.abstractmethod
    def revert(self, layer: int) -> None:
        """Make what may be written out of a frozen layer, and switch a name to it."""

    def prepare(self, layer: int) -> None:
        """What must be there before `delete`, and is not part of it; like the deletion of `layer`."""
        del layer

    @abc.abstractmethod
    def delete(self) -> None:
        """Let go of what was frozen first, or of what was prepared."""

    @abc.abstractmethod
    def tidy(self) -> None:
        """Remove what is left."""


def bare(bed: Bed, drive: int) -> Bare:
    """The plainest means of an engine."""
    scratch = bed.folder.parent / f"bare-{drive}"
    if bed.engine == "rbd":
        driver = bed.driver
        assert isinstance(driver, RbdStorage)
        return BareRbd(driver, drive)
    scratch.mkdir(exist_ok=True)
    kinds: dict[str, type[BareQcow2 | BareBtrfs | BareReflink]] = {
        "qcow2": BareQcow2,
        "btrfs": BareBtrfs,
        "reflink": BareReflink,
    }
    return kinds[bed.engine](bed.folder, drive, scratch)


def _run(*command: str, folder: Path | None = None) -> None:
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)


class InFolder(Bare):
    """Beside the pool's folder, in one of its own."""

    def __init__(self, pool: Path, drive: int, scratch: Path) -> None:
        self._pool, self._drive, self._scratch = pool, drive, scratch
        self._number = 0
        self._made: list[Path] = []

    def _new(self) -> Path:
        self._number += 1
        return self._scratch / f"bare-{self._number}"

    def _switch(self, target: Path) -> None:
        link = self._scratch / "new"
        link.symlink_to(target)
        link.rename(self._scratch / "head")
        fsync(self._scratch)


class BareQcow2(InFolder):
    """qemu-img create -b for what is frozen; qemu-img commit for what is deleted, on copies of two layers."""

    def create(self) -> None:
        folder = DriveFolder(self._pool, self._drive)
        self._overlay(folder, folder.head())

    def revert(self, layer: int) -> None:
        self._switch(self._overlay(DriveFolder(self._pool, self._drive), layer))

    def _overlay(self, folder: DriveFolder, layer: int) -> Path:
        new = self._new()
        # Given the size, and -u, since a daemon has the image open.
        size = str(folder.top().size_bytes)
        _run(
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-u",
            "-b",
            f"{folder.file(layer)}",
            "-F",
            "qcow2",
            f"{new}",
            size,
        )
        fsync(new)
        fsync(self._scratch)
        return new

    def prepare(self, layer: int) -> None:
        folder = DriveFolder(self._pool, self._drive)
        tree = folder.tree()
        child = next(found.id for found in tree.values() if found.parent == layer)
        for number in (layer, child):
            _run("cp", "--sparse=always", str(folder.file(number)), str(self._scratch))
        _run("sync", "--file-system", str(self._scratch))
        self._made = [self._scratch / folder.file(number).name for number in (layer, child)]

    def delete(self) -> None:
        parent, child = self._made
        # Without the layers below: they are open in a daemon, and nothing of them is copied.
        alone = {"driver": "qcow2", "file": {"driver": "file", "filename": str(parent)}, "backing": None}
        below = f"json:{json.dumps(alone)}"
        _run("qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-b", below, "-F", "qcow2", str(child))
        _run("qemu-img", "commit", "-q", "-d", "-f", "qcow2", str(child))
        fsync(parent)
        parent.rename(child)
        fsync(self._scratch)

    def tidy(self) -> None:
        shutil.rmtree(self._scratch)
        self._scratch.mkdir()


class BareBtrfs(InFolder):
    """btrfs subvolume snapshot and delete."""

    def create(self) -> None:
        new = self._new()
        _run("btrfs", "subvolume", "snapshot", "-r", str(self._source()), str(new))
        self._made.append(new)

    def revert(self, layer: int) -> None:
        new = self._new()
        _run("btrfs", "subvolume", "snapshot", str(self._source(layer)), str(new))
        self._switch(new)
        self._made.append(new)

    def delete(self) -> None:
        _run("btrfs", "subvolume", "delete", "-c", str(self._made.pop(0)))

    def tidy(self) -> None:
        while self._made:
            self.delete()

    def _source(self, layer: int | None = None) -> Path:
        folder = CopyFolder(self._pool, self._drive)
        tree = folder.tree()
        return folder.path / tree.copies[tree.head if layer is None else layer].name


class BareReflink(BareBtrfs):
    """FICLONE, as cp --reflink=always, into a file of its own."""

    def create(self) -> None:
        self._clone(self._source())

    def revert(self, layer: int) -> None:
        self._clone(self._source(layer)).rename(self._scratch / "head")
        self._made.pop()
        fsync(self._scratch)

    def _clone(self, source: Path) -> Path:
        new = self._new()
        with (source / "disk").open("rb") as old, new.open("xb") as file:
            fcntl.ioctl(file, FICLONE, old.fileno())
            os.fsync(file.fileno())
        fsync(self._scratch)
        self._made.append(new)
        return new

    def delete(self) -> None:
        self._made.pop(0).unlink()
        fsync(self._scratch)


class BareRbd(Bare):
    """rbd snap create, clone and snap rm, through librbd."""

    def __init__(self, driver: RbdStorage, drive: int) -> None:
        self._driver, self._drive = driver, drive
        self._images = driver._images
        self._number = 0
        self._made: list[tuple[str, str]] = []
        self._clones: list[str] = []

    def create(self) -> None:
        self._number += 1
        name, snapshot = self._live(), f"bare-{self._number}"
        with self._images.opened(name, writable=True) as image:
            image.create_snap(snapshot)
        self._made.append((name, snapshot))

    def revert(self, layer: int) -> None:
        self._number += 1
        found = self._driver._look(self._drive)[0].holding(layer)
        snapshot = next(each.name for each in found.frozen if each.layer == layer)
        new = f"bare-{self._drive}-{self._number}"
        with self._images._connection.pool() as pool:
            ceph.rbd().RBD().clone(pool, found.name, snapshot, pool, new)
        self._clones.append(new)

    def delete(self) -> None:
        name, snapshot = self._made.pop(0)
        with self._images.opened(name, writable=True) as image:
            image.remove_snap(snapshot)

    def tidy(self) -> None:
        while self._made:
            self.delete()
        while self._clones:
            self._images.remove(self._clones.pop())

    def _live(self) -> Any:
        return self._driver._look(self._drive)[1].name
