"""The engine in Ceph while another client has the drive's image open and writes to it, as a target does."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from editor.storage import Device, StorageError
from editor.storage.rbd import RbdStorage
from tests.ceph import CephCluster, why_not

from .rbd_images import at_last, emptied, engine
from .rbd_writer import PAGES, STRIDE, RbdWriter, assert_point_in_time
from .server import wait_until
from .storage import DRIVE, MIB, Disk

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

SIZE = PAGES * STRIDE
HOLDER = """
import sys, time
from editor.storage.rbd import ceph
conf, user, pool, name = sys.argv[1:]
with (
    ceph.rados().Rados(conffile=conf, rados_id=user) as cluster,
    cluster.open_ioctx(pool) as images,
    ceph.rbd().Image(images, name) as image,
):
    image.write(bytes(512), 0)
    print(end=".", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CephCluster]:
    # Not in memory: there, an OSD crashes now and then while it gives the room of snapshots back.
    cluster = CephCluster(tmp_path_factory.mktemp("ceph"), store="bluestore")
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


def holder(cluster: CephCluster, name: str) -> subprocess.Popen[bytes]:
    """A client that holds the lock of an image, until it is killed."""
    where = cluster.cluster()
    words = [sys.executable, "-c", HOLDER, where.conf, where.user, where.pool, name]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as said:
        assert said.read(1) == b"."
    return process


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

    assert [found.parent for found in driver._drives.read(DRIVE).all] == [None]
    driver.deactivate(DRIVE)
    disk.revert(layer)
    with driver._images.opened(driver.activate(DRIVE).name.split("/")[1]) as image:
        assert_point_in_time(image, low, high)


def test_snapshot_that_the_cluster_has_no_room_for_is_waited_for_with_patience_and_may_be_made_later(
    cluster: CephCluster, tmp_path: Path, writer: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = engine(cluster, tmp_path / "impatient", answer_seconds=1)
    monkeypatch.setattr(driver._images, "demand_room", lambda drive: None)  # it fills up just then
    Disk(driver, size_bytes=SIZE)
    with writer(driver.activate(DRIVE)) as writing:
        with cluster.full():
            with pytest.raises(StorageError, match=r"has not done this within 2 seconds, and may do it yet\.") as late:
                driver.snapshot(DRIVE, frozen=1, new_layer=2)
            with pytest.raises(StorageError, match="still at an earlier change of this drive") as busy:
                driver.abandon(DRIVE, new_layer=2)
            assert (driver.head(DRIVE), late.value.permanent, busy.value.permanent) == (1, False, False)

        assert at_last(lambda: driver.abandon(DRIVE, new_layer=2)) is False
        writing.wait_for_more()
    assert (driver.head(DRIVE), driver.layers(DRIVE)) == (2, {1, 2})
    driver.deactivate(DRIVE)
    emptied(driver)


def test_drive_that_is_written_to_is_copied_when_a_full_cluster_has_room_again(
    cluster: CephCluster, tmp_path: Path, writer: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = engine(cluster, tmp_path / "impatient", answer_seconds=1)
    disk = Disk(driver, size_bytes=SIZE)
    for megabyte in range(PAGES):
        driver.write(DRIVE, offset=megabyte * STRIDE, data=bytes(8 * 512))
    disk.revert(disk.snapshot())
    only_copying = functools.partial(driver.reclaim, DRIVE, keep=(), head=disk.head)
    with writer(driver.activate(DRIVE)) as writing:
        assert only_copying(should_stop=lambda: driver.layers(DRIVE) == {disk.head}) is False
        with cluster.full():
            with pytest.raises(StorageError, match="The Ceph pool drives is full"):
                only_copying()
            monkeypatch.setattr(driver._images, "demand_room", lambda drive: None)  # as if it filled up just then
            for _ in range(2):
                with pytest.raises(StorageError, match="it has copied nothing for 2 seconds") as late:
                    only_copying()
                assert late.value.permanent is False
            assert (driver.head(DRIVE), driver.size_bytes(DRIVE), driver.layers(DRIVE)) == (3, SIZE, {3})
            assert (driver.written_since(DRIVE, [3]), driver.used_bytes(DRIVE) > 0) == ({3: 0}, True)
        assert at_last(only_copying) is True
        writing.wait_for_more()
        low = writing.acked
        layer = disk.snapshot()
        high = writing.begun

    assert [found.parent for found in driver._drives.read(DRIVE).all] == [None]
    driver.deactivate(DRIVE)
    disk.revert(layer)
    with driver._images.opened(driver.activate(DRIVE).name.split("/")[1]) as image:
        assert_point_in_time(image, low, high)
    driver.deactivate(DRIVE)
    emptied(driver)


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
    cluster.tell("osd", "blocklist", "clear")  # or the drive, which nobody has open, might have lost its target
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


def test_snapshot_waits_for_who_has_the_drive_open_until_another_has(
    driver: RbdStorage, cluster: CephCluster, tmp_path: Path
) -> None:
    disk = Disk(driver)
    disk.put(1)
    saved = disk.snapshot()
    name = driver.activate(DRIVE).name.split("/")[1]
    killed = holder(cluster, name)
    killed.kill()
    killed.wait()

    for _ in range(2):  # while Ceph waits for it, and afterwards
        for attempt in disk.snapshot, lambda: disk.put(2), lambda: driver.reclaim(DRIVE, keep=(), head=disk.head):
            with pytest.raises(StorageError, match="does not answer the Ceph cluster") as refused:
                attempt()
            assert refused.value.permanent is False
        wait_until(lambda: not driver._images.watchers(name), "Ceph forgets who was killed")
    assert driver._drives.read(DRIVE).layers == {saved, disk.head}

    successor = engine(cluster, tmp_path / "another folder")
    with successor._images.opened(name, writable=True):
        disk.snapshot()
    successor.close()


def test_dead_owner_of_the_lock_of_an_inactive_drive_is_in_nobodys_way(
    driver: RbdStorage, cluster: CephCluster
) -> None:
    disk = Disk(driver)
    name = driver.activate(DRIVE).name.split("/")[1]
    killed = holder(cluster, name)
    driver.deactivate(DRIVE)
    killed.kill()
    killed.wait()
    wait_until(lambda: not driver._images.watchers(name), "Ceph forgets who was killed")

    disk.grow(2 * 4 * MIB)
    disk.snapshot()


def test_device_whose_client_was_shut_out_does_not_answer_until_it_is_activated_anew(
    driver: RbdStorage, cluster: CephCluster, tmp_path: Path
) -> None:
    Disk(driver)
    device = driver.activate(DRIVE)
    name = device.name.split("/")[1]
    target, worker = engine(cluster, tmp_path / "a target"), engine(cluster, tmp_path / "another worker")

    with target._images.opened(name, writable=True) as image:
        image.write(b"1" * 512, 0)
        (client,) = driver._images.watchers(name)
        cluster.tell("osd", "blocklist", "add", "127.0.0.7")  # somebody else
        assert driver.devices() == worker.devices() == {DRIVE: device}

        cluster.tell("osd", "blocklist", "add", client)

        for one in driver, worker:
            assert (one.device(DRIVE), one.devices()) == (None, {})
        with pytest.raises(Exception, match="shutdown"):
            image.write(b"2" * 512, 0)

    assert driver.activate(DRIVE) == device
    # Nobody has it open yet: it is not said once more that it was lost.
    for _ in range(2):
        assert (driver.device(DRIVE), driver.devices()) == (device, {DRIVE: device})
    driver.write(DRIVE, offset=0, data=b"3" * 512)
    for one in target, worker:
        one.close()


def test_only_a_longer_blocklist_has_active_images_looked_at(
    driver: RbdStorage, cluster: CephCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def look(name: str) -> list[str]:
        looked.append(name)
        return ["127.0.0.1:0/1"]

    monkeypatch.setattr(driver._images, "watchers", look)
    Disk(driver)
    name = driver.activate(DRIVE).name.split("/")[1]
    cluster.tell("osd", "blocklist", "add", "127.0.0.8")

    driver.devices()
    driver.devices()
    cluster.tell("osd", "blocklist", "rm", "127.0.0.8")
    driver.devices()
    assert looked == [name]

    cluster.tell("osd", "blocklist", "add", "127.0.0.8")
    driver.devices()
    assert looked == [name, name]


def test_thousand_drives_are_listed_in_two_calls(driver: RbdStorage) -> None:
    for drive in range(1, 1201):
        driver._images.set_active(drive, f"drive-{drive}.1")

    assert list(driver.devices()) == list(range(1, 1201))
