"""The engine in Ceph: the contract, with no more rights than the README gives, on a cluster of one machine."""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from editor.storage import Cluster, StorageError, Usage, driver_for
from editor.storage.rbd import RbdStorage, ceph, differences, images, reclaiming, trial
from editor.storage.rbd.images import OBJECT_BYTES
from editor.storage.rbd.usage import room
from tests.ceph import CephCluster, why_not

from .rbd_images import FAR, SIZE, TRUTH, assert_nothing_left, contents, emptied, engine, prepared
from .storage import BLOCK, DRIVE, MIB, Disk, StorageContract, content
from .storage_model import walk

FULL = r"^The Ceph pool drives is full\."

needs_cluster = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


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


@needs_cluster
class TestRbdStorage(StorageContract):
    object_bytes = OBJECT_BYTES


@needs_cluster
def test_promises_are_kept_in_any_order(driver: RbdStorage) -> None:
    def empty() -> RbdStorage:
        driver.delete_drive(DRIVE)
        return driver

    walk(empty, times=3, steps=12)


@needs_cluster
class TestGenerations:
    """How a drive's images come and go."""

    def test_copying_stops_when_asked_and_goes_on_where_it_stopped(self, driver: RbdStorage) -> None:
        disk = Disk(driver, size_bytes=400 * OBJECT_BYTES)
        with driver._images.opened(f"drive-{DRIVE}.1", writable=True) as image:
            for number in range(400):
                image.write(content(1), number * OBJECT_BYTES)
        disk.revert(disk.snapshot())
        before = driver.sha256(DRIVE)
        asked = 0

        def soon() -> bool:
            nonlocal asked
            asked += 1
            return asked > 4

        assert driver.reclaim(DRIVE, keep=[], head=disk.head, should_stop=soon) is False

        assert driver.sha256(DRIVE) == before
        disk.reclaim()
        assert (driver.sha256(DRIVE), disk.layers) == (before, {disk.head})
        assert [(each.first, each.parent) for each in driver._drives.read(DRIVE).all] == [(disk.head, None)]

    def test_what_was_reverted_takes_no_room(self, driver: RbdStorage) -> None:
        disk = Disk(driver, size_bytes=100 * OBJECT_BYTES)
        disk.put(1)
        saved = disk.snapshot()
        with driver._images.opened(f"drive-{DRIVE}.1", writable=True) as image:
            for number in range(1, 100):
                image.write(content(2), number * OBJECT_BYTES)

        disk.revert_and_forget(saved)

        [dead, _live] = driver._drives.read(DRIVE).all
        assert dead.layers == [saved]
        with driver._connection.pool() as pool:
            objects = [found.key for found in pool.list_objects() if found.key.startswith(f"rbd_data.{dead.id}")]
        assert len(objects) <= 1  # that of the snapshot
        disk.revert(saved)
        assert disk.mark() == 1

    def test_images_are_copied_out_of_the_way_when_many_are_opened_together(
        self, driver: RbdStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reclaiming, "MAX_GENERATIONS", 3)
        disk = Disk(driver)
        disk.put(1)
        first = disk.snapshot()
        disk.put(2, block=1)
        for block in range(2, 6):
            disk.put(3, block=block)
            disk.revert(disk.snapshot())
            disk.reclaim(first)

            found = driver._drives.read(DRIVE)
            assert found.depth() <= 3
            assert disk.layers == {first, disk.head}
            assert list(driver.written_since(DRIVE, [first])) == [first]
        assert disk.marks(*range(7)) == [1, 2, 3, 3, 3, 3, 0]
        disk.revert(first)
        assert disk.marks(*range(7)) == [1, 0, 0, 0, 0, 0, 0]
        disk.reclaim()
        assert len(driver._drives.read(DRIVE).all) == 1

    def test_nothing_piles_up_in_images_that_are_cloned_from_each_other(self, driver: RbdStorage) -> None:
        disk = Disk(driver)
        noted = []
        for _ in range(4):
            disk.revert_and_forget(disk.snapshot())
            with driver._images.opened(f"drive-{DRIVE}.{disk.head}") as image:
                noted.append([key for key, _value in image.metadata_list()])

        assert [len(keys) for keys in noted] == [1, 1, 1, 1]

    def test_deleted_drive_leaves_nothing(self, driver: RbdStorage) -> None:
        disk = Disk(driver, size_bytes=200 * OBJECT_BYTES)
        for number in range(0, 200, 10):
            driver.write(DRIVE, offset=number * OBJECT_BYTES, data=content(1))
        saved = disk.snapshot()
        disk.revert(saved)
        disk.snapshot()

        driver.delete_drive(DRIVE)

        assert_nothing_left(driver)

    def test_image_that_was_never_made_whole_is_removed_by_the_next_verb(self, driver: RbdStorage) -> None:
        disk = Disk(driver)
        driver._images.create(f"drive-{DRIVE}.2", MIB)
        assert (disk.head, [found.strange for found in driver.audit()]) == (1, [()])

        disk.put(1)

        assert driver._images.names() == [f"drive-{DRIVE}.1"]


def throw_two(driver: RbdStorage) -> None:
    """Two images with something in them, in the trash."""
    for name in "drive-1.1", "drive-2.1":
        driver._images.create(name, 16 * MIB)
        with driver._images.opened(name, writable=True) as image:
            image.write(b"x" * 4096, 8 * MIB)
        driver._trash.throw(name)


def test_driver_that_is_closed_ends_quietly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its cluster may have gone before it."""
    driver = RbdStorage(tmp_path / "locks", Cluster(str(tmp_path / "gone.conf"), "editor", "drives"))
    asked, closing, list_ = threading.Event(), driver._trash._stopping, driver._images.trash

    def wait_and_list() -> list[tuple[str, str]]:
        asked.set()
        assert closing.wait(10)
        return list_()

    driver._images.trash = wait_and_list  # type: ignore[method-assign]
    driver._trash.empty_soon()
    assert asked.wait(10)

    driver.close()

    assert caplog.messages == []


def looks(driver: RbdStorage, drive: int) -> list[object]:
    """All that is asked about a drive."""
    return [
        *(driver.head(drive), driver.size_bytes(drive), driver.layers(drive), driver.sha256(drive)),
        *(driver.written_since(drive, [1, 2, 3, 4]), driver.used_bytes(drive)),
    ]


def object_maps(driver: RbdStorage, drive: int) -> list[int]:
    """What is wrong with the object maps of a drive's images; 0 is nothing."""
    found = []
    for generation in driver._drives.read(drive).all:
        with driver._images.opened(generation.name) as image:
            found.append(image.flags())
    return found


def lose_object(driver: RbdStorage, name: str, block: int) -> None:
    """Leave an image as librbd does when it is killed between an object map's change and the object's."""
    with driver._images.opened(name, writable=True) as image:
        number = block * BLOCK // OBJECT_BYTES
        driver._images.copy_up(image, number * OBJECT_BYTES)
        prefix = image.stat()["block_name_prefix"]
    with driver._connection.pool() as pool:
        pool.remove_object(f"{prefix}.{number:016x}")


@needs_cluster
class TestPools:
    """What else is in a cluster, and what is wrong with it."""

    def test_what_is_not_ours_is_strange_and_left_alone(self, driver: RbdStorage) -> None:
        Disk(driver)
        for name in ("volume", "drive-08.1", "drive-9.1"):
            driver._images.create(name, MIB)
        with driver._images.opened(f"drive-{DRIVE}.1", writable=True) as image:
            image.create_snap("before-the-update")
        driver._images.create("thrown-away", MIB)
        driver._images.create("drive-5.1", MIB)
        for name in ("thrown-away", "drive-5.1"):
            driver._images.move_to_trash(name)  # by hand: without our note

        found = driver.audit()
        assert list(driver.clean(spare=())) == []

        assert [(one.drive, one.head, one.strange) for one in found] == [
            (DRIVE, 1, (f"before-the-update in drive-{DRIVE}.1 is not a layer.",)),
            (9, None, ("The drive has no head.",)),
            (None, None, ("drive-08.1 is not a drive.", "volume is not a drive.")),
        ]
        assert sorted(name for _id, name in driver._images.trash()) == ["drive-5.1", "thrown-away"]
        with driver._images.opened(f"drive-{DRIVE}.1", writable=True) as image:
            image.remove_snap("before-the-update")
        for image_id, _name in driver._images.trash():
            driver._images.remove_from_trash(image_id)
        for name in ("volume", "drive-08.1"):
            driver._images.remove(name)

    def test_verbs_read_names_of_their_own_drive_only(
        self, driver: RbdStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("drive-1.1", "drive-1.2", "drive-1.3", "drive-11.1", "drive-12.1", "a", "z"):
            driver._images.create(name, MIB)
        monkeypatch.setattr(images, "PAGE", 2)
        read = driver._images._pairs
        keys: list[str] = []

        def record(name: str, *, prefix: str = "") -> Iterator[tuple[str, bytes]]:
            for key, value in read(name, prefix=prefix):
                keys.append(key)
                yield key, value

        monkeypatch.setattr(driver._images, "_pairs", record)
        monkeypatch.setattr(driver._images, "names", None)

        assert [found.name for found in driver._drives.read(1).all] == ["drive-1.1", "drive-1.2", "drive-1.3"]
        assert keys == ["name_drive-1.1", "name_drive-1.2", "name_drive-1.3"]
        assert driver._drives.read(2).all == ()
        monkeypatch.undo()
        for name in ("a", "z"):
            driver._images.remove(name)

    def test_two_processes_empty_the_trash_at_once(
        self, driver: RbdStorage, cluster: CephCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = engine(cluster, tmp_path / "other")
        throw_two(driver)
        real = differences._diff
        answers: list[bool] = []

        def look(image: Any, *window: Any, whole: bool) -> list[differences.Extent]:
            if not answers:
                answers.append(False)
                answers.append(other._trash.empty())
            return real(image, *window, whole=whole)

        monkeypatch.setattr(differences, "_diff", look)

        assert driver._trash.empty() is False  # nothing is left of it, and it may be in the other's hands
        assert driver._trash.empty() is True
        assert (answers, driver._images.trash()) == ([False, False], [])  # the other one had to wait for us
        other.close()

    def test_two_threads_do_not_empty_the_trash_at_once(
        self, driver: RbdStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        throw_two(driver)
        found: list[object] = []
        second = threading.Thread(target=driver._trash.empty)
        listed = driver._images.trash

        def list_and_begin_another() -> list[tuple[str, str]]:
            if threading.current_thread() is second:
                found.append(listed())
            elif not second.ident:
                second.start()
            return listed()

        monkeypatch.setattr(driver._images, "trash", list_and_begin_another)

        assert driver._trash.empty() is True
        second.join()
        assert found == [[]]

    def test_pools_and_users_of_one_cluster_know_nothing_of_each_other(
        self, driver: RbdStorage, cluster: CephCluster, tmp_path: Path
    ) -> None:
        cluster.make_pool("slow")
        cluster.make_user("second", mon="profile rbd", osd="profile rbd pool=slow")
        there = replace(cluster.cluster(), user="second", pool="slow")
        other = driver_for("rbd", tmp_path / "slow", there)
        assert isinstance(other, RbdStorage)
        Disk(driver).put(1)
        Disk(other).put(2)

        assert (Disk(driver).mark(), Disk(other).mark()) == (1, 2)
        assert driver_for("rbd", tmp_path / "slow", there) is other
        trespasser = RbdStorage(tmp_path / "slow", replace(there, pool="drives"))
        with pytest.raises(StorageError, match=r"does not allow client\.second") as refused:
            trespasser.create_drive(2, layer=1, size_bytes=MIB)
        assert refused.value.permanent is False
        trespasser.close()
        emptied(other)

    def test_everything_that_a_pool_needs_is_tried(self, driver: RbdStorage, cluster: CephCluster) -> None:
        *works, room_left = driver.check()

        assert [check.wrong for check in works] == [None] * 10
        assert room_left.wrong is not None  # nobody counts in this cluster
        assert "Check that a manager (ceph-mgr) runs." in room_left.wrong
        assert driver.audit() == []
        assert driver._images.trash() == []

    def test_trial_that_was_killed_is_cleaned_after_a_while(
        self, driver: RbdStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trials = "trial-" + "a" * 32, "trial-" + "b" * 32, "trial-" + "b" * 32 + ".clone"
        for name in trials[:2]:
            driver._images.create(name, MIB)
        with driver._images.opened(trials[1], writable=True) as image:
            driver._images.create_snapshot(image, "trial")
        driver._images.clone(trials[1], "trial", trials[2])
        driver._images.move_to_trash(trials[0])
        assert list(driver.clean(spare=())) == []  # they may be going on

        monkeypatch.setattr(trial, "A_WHILE", timedelta())

        assert sorted(driver.clean(spare=())) == [f"{name}, with which the pool was tried" for name in trials]
        assert (driver._images.names(), driver._images.trash()) == ([], [])

    @pytest.mark.parametrize(
        ("wrong", "sentence"),
        [
            ({"conf": "/nowhere/ceph.conf"}, "The Ceph configuration /nowhere/ceph.conf cannot be read"),
            ({"user": "stranger"}, "There is no keyring of client.stranger where"),
            ({"pool": "absent"}, "There is no pool absent in the Ceph cluster."),
            ({"user": "reader"}, "does not allow client.reader"),
            ({"pool": "bare", "user": "admin"}, "rbd pool init bare"),
        ],
    )
    def test_what_is_wrong_with_a_pool_is_said(
        self, cluster: CephCluster, tmp_path: Path, wrong: dict[str, str], sentence: str
    ) -> None:
        cluster.make_user("reader", mon="allow r", osd="allow r")
        if "bare" in wrong.values():
            cluster.tell("osd", "pool", "create", "bare", "1", "1")
        driver = RbdStorage(tmp_path / "locks", replace(cluster.cluster(), **wrong))

        *works, last = driver.check()

        assert [check.wrong for check in works] == [None] * len(works)
        assert sentence in str(last.wrong)
        driver.close()

    def test_full_cluster_says_so_and_takes_deletions(self, driver: RbdStorage, cluster: CephCluster) -> None:
        driver.check()
        disk = Disk(driver)
        driver.write(DRIVE, offset=0, data=content(1) * 64)
        saved = disk.snapshot()
        with cluster.full():
            for attempt in (
                lambda: disk.revert(saved),
                lambda: driver.create_drive(8, layer=1, size_bytes=MIB),
            ):
                with pytest.raises(StorageError, match=FULL) as refused:
                    attempt()
                assert refused.value.permanent is False
            assert (disk.head, disk.mark()) == (2, 1)
            driver.delete_drive(DRIVE)

            assert driver.audit() == []
            assert_nothing_left(driver)
        driver.create_drive(8, layer=1, size_bytes=MIB)

    def test_full_cluster_takes_a_change_whole_or_not_at_all(self, driver: RbdStorage, cluster: CephCluster) -> None:
        for drive in (1, 2, 3):
            prepared(driver, drive)
        driver._images.create("drive-4.1", SIZE)  # and nothing more: whoever made it was killed
        before = looks(driver, 1)
        with cluster.full():
            for attempt in (
                lambda: driver.grow(1, size_bytes=2 * SIZE),
                lambda: driver.snapshot(1, frozen=4, new_layer=5),
                lambda: driver.revert(1, onto=3, new_layer=5),
                lambda: driver.revert(1, onto=1, new_layer=5),
                lambda: driver.reclaim(2, keep=[], head=4),
            ):
                with pytest.raises(StorageError, match=FULL) as refused:
                    attempt()
                assert refused.value.permanent is False
            assert (looks(driver, 1), contents(driver, 1)) == (before, TRUTH)
            assert contents(driver, 2) == {4: TRUTH[4]}
            # What takes no room is done.
            assert driver.abandon(1, new_layer=5) is True
            assert driver.reclaim(3, keep=[1], head=4) is True
            assert contents(driver, 3) == {layer: TRUTH[layer] for layer in (1, 4)}
            assert [driver.clear(drive) for drive in (4, 1)] == [True, False]
            assert [found.drive for found in driver.audit()] == [1, 2, 3]
            driver.delete_drive(3)

        driver.grow(1, size_bytes=2 * SIZE)
        driver.snapshot(1, frozen=4, new_layer=5)
        assert driver.reclaim(2, keep=[], head=4) is True

        assert (driver.size_bytes(1), contents(driver, 1)) == (2 * SIZE, {**TRUTH, 5: TRUTH[4]})
        assert contents(driver, 2) == {4: TRUTH[4]}
        assert object_maps(driver, 1) == [0, 0]

    def test_copying_that_a_full_cluster_breaks_off_loses_nothing(
        self, driver: RbdStorage, cluster: CephCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prepared(driver, 1)
        monkeypatch.setattr(driver._images, "demand_room", lambda drive: None)  # it fills up just then
        with cluster.full():
            for _ in range(3):
                with pytest.raises(StorageError, match=FULL):
                    driver.reclaim(1, keep=[], head=4)
                assert contents(driver, 1) == {4: TRUTH[4]}

        assert driver.reclaim(1, keep=[], head=4) is True

        assert [found.parent for found in driver._drives.read(1).all] == [None]
        assert contents(driver, 1) == {4: TRUTH[4]}

    def test_what_was_not_written_when_a_target_was_killed_is_not_lost_with_the_parent(
        self, driver: RbdStorage, cluster: CephCluster, tmp_path: Path
    ) -> None:
        prepared(driver, 1)
        lose_object(driver, "drive-1.4", FAR)
        driver.snapshot(1, frozen=4, new_layer=5)
        after = {4: TRUTH[4], 5: TRUTH[4]}
        target = engine(cluster, tmp_path / "a target")
        with contextlib.closing(target), target._images.opened("drive-1.4", writable=True):
            assert contents(driver, 1) == {**TRUTH, **after}
            with pytest.raises(StorageError, match="It is copied when the server is shut down") as refused:
                driver.reclaim(1, keep=[4], head=5)
            assert (refused.value.permanent, contents(driver, 1)) == (False, after)

        assert driver.reclaim(1, keep=[4], head=5) is True

        assert [found.parent for found in driver._drives.read(1).all] == [None]
        assert contents(driver, 1) == after

    def test_image_that_was_left_does_not_copy_what_it_shares(self, driver: RbdStorage) -> None:
        disk = Disk(driver, size_bytes=50 * OBJECT_BYTES)
        for number in range(0, 50, 2):
            driver.write(DRIVE, offset=number * OBJECT_BYTES, data=content(1))
        first = disk.snapshot()
        disk.revert(first)
        disk.put(2)
        second = disk.snapshot()
        disk.put(3, block=70)

        disk.revert_and_forget(second, first)

        [_root, left, _live] = driver._drives.read(DRIVE).all
        with driver._connection.pool() as pool:
            objects = [found.key for found in pool.list_objects() if found.key.startswith(f"rbd_data.{left.id}")]
        assert len(objects) <= 2
        assert disk.marks(0, 70, 128) == [2, 0, 1]


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ceph, "FOLDERS", (str(tmp_path),))

    with pytest.raises(ceph.Missing) as missing:
        ceph._load("no_such_module", "python3-rados")
    assert "apt-get install python3-rados python3-rbd" in str(missing.value)

    (tmp_path / "no_such_module.cpython-39-x86_64-linux-gnu.so").touch()
    with pytest.raises(ceph.Missing) as other:
        ceph._load("no_such_module", "python3-rados")
    assert f"is of another Python than this one, which is {ceph.VERSION}" in str(other.value)


def test_pool_without_a_cluster_says_what_is_missing(tmp_path: Path) -> None:
    driver = driver_for("rbd", tmp_path)

    with pytest.raises(StorageError, match=r"cannot be read|is not installed"):
        driver.head(1)


@pytest.mark.parametrize("code", ceph._TOLD)
def test_each_error_is_sentences(code: int) -> None:
    class Failed(Exception):
        errno = code

    what, then = ceph.why(Cluster("/etc/ceph/ceph.conf", "editor", "drives"), Failed())

    assert [what[-1], then[0].isupper(), "{" in what + then] == [".", True, False]
    assert errno.errorcode[code] not in what


def test_room_is_what_clients_can_write() -> None:
    gib = 1024**3
    assert room({"stored": 2 * gib, "max_avail": 8 * gib}) == Usage(10 * gib, 8 * gib)
    assert room({"stored": 2 * gib, "max_avail": 8 * gib, "quota_bytes": 5 * gib}) == Usage(5 * gib, 3 * gib)
    assert room({"stored": 6 * gib, "max_avail": 8 * gib, "quota_bytes": 5 * gib}) == Usage(6 * gib, 0)
