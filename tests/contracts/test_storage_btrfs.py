"""The btrfs engine: the contract, and what is its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from editor.storage import StorageDriver, StorageError

from .copy_pools import effects, prepared
from .file_systems import FileSystem, mounted, shared
from .storage import BLOCK, DRIVE, MIB, StorageContract

ROOT = Path(__file__).parents[2]
NOBODY = 65534
system = shared("btrfs")


class TestBtrfsStorage(StorageContract):
    chained = False

    @pytest.fixture
    def driver(self, system: FileSystem) -> StorageDriver:
        return system.driver()


WITHOUT_ROOT = """
import sys
from pathlib import Path
from editor.storage import driver_for
driver = driver_for("btrfs", Path(sys.argv[1]))
driver.create_drive(7, layer=1, size_bytes=1024**2)
driver.write(7, offset=0, data=b"1" * 4096)
driver.snapshot(7, frozen=1, new_layer=2)
driver.write(7, offset=0, data=b"2" * 4096)
driver.snapshot(7, frozen=2, new_layer=3)
driver.revert(7, onto=1, new_layer=4)
assert driver.reclaim(7, keep=[1], head=4) is True
assert (driver.layers(7), driver.read(7, offset=0, length=512)) == ({1, 4}, b"1" * 512)
assert (driver.written_since(7, [1]), driver.used_bytes(7)) == ({1: 0}, 4096)
driver.activate(7)
driver.deactivate(7)
print(*(check.wrong for check in driver.check()))
driver.delete_drive(7)
assert driver.audit() == []
"""


def as_ordinary_user(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python as a user who is not root: ours, or the system's if ours is in a folder of root."""
    nobody: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    nobody["env"] = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))}
    for python in (sys.executable, "/usr/bin/python3"):
        command = [python, "-B", *arguments]
        with suppress(PermissionError, FileNotFoundError):
            return subprocess.run(command, cwd=ROOT, **nobody, capture_output=True, text=True, check=False)
    pytest.skip("no Python here that another user may start")


@pytest.fixture(scope="module")
def ordinary_user() -> None:
    if as_ordinary_user("-c", "import editor.storage").returncode:
        pytest.skip("another user may not read this checkout, or has no Python that is new enough")


@pytest.mark.usefixtures("ordinary_user")
@pytest.mark.parametrize("option", [None, "user_subvol_rm_allowed"])
def test_ordinary_user_needs_no_root(option: str | None) -> None:
    """Nor the mount option; that it is not there is told, because removal takes longer then."""
    with mounted("btrfs") as system:
        if option:
            system.remount(option)
        pool = system.pool()
        os.chown(pool, NOBODY, NOBODY)

        done = as_ordinary_user("-c", WITHOUT_ROOT, str(pool))

    assert (done.returncode, done.stderr) == (0, "")
    assert ("user_subvol_rm_allowed" in done.stdout) == (option is None)


def test_frozen_layers_are_read_only_for_root_too(system: FileSystem) -> None:
    pool = system.pool()
    prepared(system.driver(pool))

    with pytest.raises(OSError, match="Read-only file system"):
        (pool / f"drive-{DRIVE}/frozen-1/disk").open("r+b")


def test_mount_without_copy_on_write_is_told() -> None:
    with mounted("btrfs") as system:
        system.remount("nodatacow")

        [_folder, _snapshots, copying, _removal] = system.driver().check()

    assert (copying.what, "Mount the pool without nodatacow" in str(copying.wrong)) == ("Copy on write", True)


def test_compressed_drives_are_counted_as_others_are() -> None:
    with mounted("btrfs") as system:
        system.remount("compress-force=zstd")
        driver = system.driver()
        prepared(driver)

        assert driver.written_since(DRIVE, [1, 2]) == {1: 2 * BLOCK, 2: BLOCK}
        assert driver.used_bytes(DRIVE) == 5 * BLOCK
        driver.revert(DRIVE, onto=1, new_layer=4)
        assert driver.written_since(DRIVE, [1]) == {1: 0}


def test_copies_that_are_no_subvolumes_any_more_are_damaged(system: FileSystem) -> None:
    pool = system.pool()
    prepared(system.driver(pool))
    plain = system.pool()
    subprocess.run(["cp", "-a", f"{pool}/.", plain], check=True)
    driver = system.driver(plain)

    with pytest.raises(StorageError, match="damaged") as refused:
        driver.snapshot(DRIVE, frozen=3, new_layer=4)

    assert (refused.value.permanent, refused.value.detail) == (True, "live-1 is not a subvolume")
    driver.delete_drive(DRIVE)
    assert driver.audit() == []


def test_order_of_a_snapshot_survives_a_power_cut(system: FileSystem) -> None:
    driver = system.driver()
    prepared(driver)

    with effects() as watch:
        driver.snapshot(DRIVE, frozen=3, new_layer=4)

    assert watch.seen == [
        "open lock",
        "unlink new-drive.json",
        f"ioctl drive-{DRIVE}",
        "fsync frozen-3/disk",
        "fsync frozen-3",
        f"fsync drive-{DRIVE}",
        "fsync new-drive.json",
        "rename drive.json",
        f"fsync drive-{DRIVE}",
    ]


def test_slow_disk_holds_up_no_other_thread(system: FileSystem) -> None:
    """Making a snapshot writes out what a server wrote, and so does counting; everything else goes on meanwhile."""
    driver = system.driver()
    driver.create_drive(DRIVE, layer=1, size_bytes=256 * MIB)
    device, still, random = Path(driver.activate(DRIVE).name), 0.0, os.urandom(MIB)
    ended = threading.Event()

    def beat() -> None:
        nonlocal still
        last = time.monotonic()
        while not ended.wait(0.001):
            last, before = time.monotonic(), last
            still = max(still, last - before)

    beating = threading.Thread(target=beat)
    with device.open("r+b", buffering=0) as disk:
        for megabyte in range(200):
            disk.seek(megabyte * MIB)
            disk.write(random)
        beating.start()
        began = time.monotonic()
        driver.snapshot(DRIVE, frozen=1, new_layer=2)
        took = time.monotonic() - began
        ended.set()
        beating.join()

    assert still < max(0.7 * took, 0.1)
