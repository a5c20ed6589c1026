"""The qcow2 engine while its drives are served: each active drive is a file of a daemon of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from editor.storage import StorageDriver
from editor.storage.daemon import why_not_fuse
from editor.storage.qcow2 import Qcow2Storage

from .storage import StorageContract


def why_not() -> str | None:
    if not shutil.which("qemu-storage-daemon"):
        return "No drives are served here: Debian's package qemu-system-common is missing."
    return why_not_fuse()


pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "")


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


def ended(driver: Qcow2Storage) -> None:
    for found in driver.audit():
        if found.drive is not None:
            driver.deactivate(found.drive)
    assert driver.devices() == {}


class TestActiveQcow2Storage(StorageContract):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[StorageDriver]:
        driver = Active(tmp_path / "a: pool, with a name")
        yield driver
        ended(driver)
