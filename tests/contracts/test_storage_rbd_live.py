"""The engine in Ceph while another client has the drive's image open and writes to it, as a target does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from editor.storage import Device, StorageError
from editor.storage.rbd import RbdStorage
from tests.ceph import CephCluster, why_not

from .rbd_images import emptied, engine
from .rbd_writer import PAGES, STRIDE, RbdWriter, assert_point_in_time
from .storage import DRIVE, MIB, Disk

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

SIZE = PAGES * STRIDE


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CephCluster]:
    cluster = CephCluster(tmp_path_factory.mktemp("ceph"))
    yield cluster
    cluster.stop()


@pytest.fixture
def driver(cluster: CephCluster, tmp_path: Path) -> Iterator[RbdStorage]:
    driver = engine(cluster, tmp_path)
    yield driver
    emptied(driver)


@pytest.fixture
def writer(cluster: CephCluster, tmp_path: Path) -> Callable[[Device], RbdWriter]:
    def writer(device: Device) -> RbdWriter:
        options = dict(device.options)
        return RbdWriter(options["conf"], options["id"], device.name, tmp_path / "counts")

    return writer


Start = Callable[[Device], RbdWriter]


def test_snapshots_of_a_drive_that_is_written_to_are_points_in_time(driver: RbdStorage, writer: Start) -> None:
    disk = Disk(driver, size_bytes=SIZE)
    taken = []
    with writer(driver.activate(DRIVE)) as writing:
        for _ in range(5):
            low = writing.acked
            layer = disk.snapshot()
            taken.append((layer, low, writing.begun))
            writing.wait_for_more()
        assert driver.reclaim(DRIVE, keep=[taken[0][0], taken[3][0]], head=disk.head) is True
        writing.wait_for_more()

    driver.deactivate(DRIVE)
    for layer, low, high in (taken[3], taken[0]):
        disk.revert(layer)
        with driver._images.opened(driver.activate(DRIVE).name.split("/")[1]) as image:
            assert_point_in_time(image, low, high)
        driver.deactivate(DRIVE)


def test_drive_that_is_written_to_is_copied_free_of_what_it_was_cloned_from(driver: RbdStorage, writer: Start) -> None:
    disk = Disk(driver, size_bytes=SIZE)
    for megabyte in range(64):
        driver.write(DRIVE, offset=megabyte * STRIDE, data=bytes(8 * 512))
    saved = disk.snapshot()
    disk.revert(saved)
    with writer(driver.activate(DRIVE)) as writing:
        disk.reclaim()
        writing.wait_for_more()
        low = writing.acked
        layer = disk.snapshot()
        high = writing.begun

    assert [found.parent for found in driver._read(DRIVE).all] == [None]
    driver.deactivate(DRIVE)
    disk.revert(layer)
    with driver._images.opened(driver.activate(DRIVE).name.split("/")[1]) as image:
        assert_point_in_time(image, low, high)


def test_active_drive_is_neither_reverted_nor_grown_nor_deleted(driver: RbdStorage, cluster: CephCluster) -> None:
    disk = Disk(driver)
    disk.put(1)
    saved = disk.snapshot()
    disk.put(2)
    where = cluster.cluster()
    device = Device("rbd", f"{where.pool}/drive-{DRIVE}.1", (("conf", where.conf), ("id", where.user)))
    assert (driver.activate(DRIVE), driver.activate(DRIVE), driver.devices()) == (device, device, {DRIVE: device})
    assert (driver.device(DRIVE), driver.device(99)) == (device, None)

    for attempt in (
        lambda: disk.revert(saved),
        lambda: disk.grow(2 * 4 * MIB),
        lambda: driver.delete_drive(DRIVE),
    ):
        with pytest.raises(StorageError, match="is served over iSCSI") as refused:
            attempt()
        assert refused.value.permanent is False

    assert disk.mark() == 2
    driver.deactivate(DRIVE)
    driver.deactivate(DRIVE)
    assert (driver.devices(), driver.device(DRIVE)) == ({}, None)
    disk.revert(saved)
    assert (disk.mark(), driver.activate(DRIVE).name) == (1, f"{where.pool}/drive-{DRIVE}.{disk.head}")


def test_what_is_active_outlives_the_worker(driver: RbdStorage, cluster: CephCluster, tmp_path: Path) -> None:
    Disk(driver)
    device = driver.activate(DRIVE)

    next_one = engine(cluster, tmp_path / "another folder")

    assert next_one.devices() == {DRIVE: device}
    next_one.deactivate(DRIVE)
    next_one.close()
    assert driver.devices() == {}


def test_drive_that_somebody_has_open_is_left_alone(driver: RbdStorage, writer: Start) -> None:
    disk = Disk(driver, size_bytes=SIZE)
    saved = disk.snapshot()
    device = driver.activate(DRIVE)
    driver.deactivate(DRIVE)  # so it is said; but something still writes
    with writer(device) as writing:
        for attempt in (
            lambda: disk.revert(saved),
            lambda: disk.grow(2 * SIZE),
            lambda: driver.delete_drive(DRIVE),
        ):
            with pytest.raises(StorageError, match=r"The drive's image is open at 127\.0\.0\.1:") as refused:
                attempt()
            assert refused.value.permanent is False
        writing.wait_for_more()

    disk.revert(saved)
    assert disk.marks(0) == [0]


def test_thousand_drives_are_listed_in_two_calls(driver: RbdStorage) -> None:
    for drive in range(1, 1201):
        driver._images.set_active(drive, f"drive-{drive}.1")

    assert list(driver.devices()) == list(range(1, 1201))
