"""The reflink engine: the contract, and what is its own."""

from __future__ import annotations

import pytest

from editor.storage import Disturbing, StorageDriver, StorageError, reflink

from .copy_pools import assert_layers_read, assert_tidy, effects, prepared
from .file_systems import FileSystem, mounted, shared
from .images import TRUTH
from .storage import BLOCK, DRIVE, SIZE, StorageContract, content

system = shared("reflink")


class TestReflinkStorage(StorageContract):
    chained = False

    @pytest.fixture
    def driver(self, system: FileSystem) -> StorageDriver:
        return system.driver()


def test_live_snapshot_that_would_stop_the_disk_for_long_is_refused(
    system: FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = system.pool()
    driver = system.driver(pool)
    prepared(driver)
    for block in range(10, 30, 2):
        driver.write(DRIVE, offset=block * BLOCK, data=content(9))
    monkeypatch.setattr(reflink, "MAX_LIVE_EXTENTS", 10)
    monkeypatch.setattr(reflink, "SECONDS_PER_EXTENT", 0.2)
    driver.activate(DRIVE)

    with pytest.raises(Disturbing) as refused:
        driver.snapshot(DRIVE, frozen=3, new_layer=4)

    assert str(refused.value).startswith("The drive's content lies in 13 pieces. A snapshot would stop ")
    assert "for about 3 seconds. Nothing on the drive was changed. Shut the server down" in str(refused.value)
    assert_tidy(pool, {1, 2, 3})
    driver.deactivate(DRIVE)
    driver.snapshot(DRIVE, frozen=3, new_layer=4)
    assert_layers_read(pool, {**TRUTH, 4: {**TRUTH[3], 10: 9, 11: 0}})


def test_file_system_that_cannot_share_blocks_is_told() -> None:
    with mounted("reflink", 320 * 1024**2, make=("mkfs.xfs", "-q", "-m", "reflink=0")) as system:
        pool = system.pool()
        driver = system.driver(pool)

        [_folder, shared_blocks] = driver.check()

        assert "mkfs.xfs -m reflink=1" in str(shared_blocks.wrong)
        driver.create_drive(DRIVE, layer=1, size_bytes=SIZE)
        with pytest.raises(StorageError):
            driver.snapshot(DRIVE, frozen=1, new_layer=2)
        assert_tidy(pool, {1})


def test_order_of_a_snapshot_survives_a_power_cut(system: FileSystem) -> None:
    driver = system.driver()
    prepared(driver)

    with effects() as watch:
        driver.snapshot(DRIVE, frozen=3, new_layer=4)

    assert watch.seen == [
        "open lock",
        "unlink new-drive.json",
        "mkdir frozen-3",
        "open frozen-3/disk",
        "ioctl frozen-3/disk",
        "fchmod frozen-3/disk",
        "fsync frozen-3/disk",
        "fsync frozen-3",
        f"fsync drive-{DRIVE}",
        "fsync new-drive.json",
        "rename drive.json",
        f"fsync drive-{DRIVE}",
    ]
