"""What the engines that copy have in common beyond the contract: serving, trouble, and what they find in a pool."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from editor.storage import Check, Device, Found, StorageError, UnknownDrive
from editor.storage.base import content_hash
from editor.storage.extents import Extent, differing_bytes, held_bytes

from .copy_pools import assert_layers_read, assert_tidy, copied, prepared
from .file_systems import KINDS, FileSystem, mounted
from .images import TRUTH
from .storage import BLOCK, DRIVE, MIB, SIZE, Disk, content


@pytest.fixture(scope="module", params=KINDS)
def system(request: pytest.FixtureRequest) -> Iterator[FileSystem]:
    with mounted(request.param) as made:
        yield made


@pytest.fixture(scope="module")
def template(system: FileSystem) -> Path:
    pool = system.pool()
    prepared(system.driver(pool))
    return pool


@pytest.fixture
def pool(system: FileSystem, template: Path) -> Path:
    return copied(system, template)


@pytest.fixture
def own_system(request: pytest.FixtureRequest) -> Iterator[FileSystem]:
    """One that a test may fill or unmount."""
    kind = request.param
    with mounted(kind, KINDS[kind].smallest_bytes) as made:
        yield made


on_its_own = pytest.mark.parametrize("own_system", KINDS, indirect=True)


def refused(attempt: Callable[[], object]) -> StorageError:
    with pytest.raises(StorageError) as error:
        attempt()
    return error.value


def test_device_stays_the_same_file_while_snapshots_are_taken(system: FileSystem, pool: Path) -> None:
    driver = system.driver(pool)
    device = driver.activate(DRIVE)
    with Path(device.name).open("r+b", buffering=0) as served:
        served.write(content(7))
        driver.snapshot(DRIVE, frozen=3, new_layer=4)
        served.seek(0)
        served.write(content(8))
        assert Path(device.name).samefile(f"/proc/self/fd/{served.fileno()}")

    assert (device.backing, driver.activate(DRIVE), driver.devices()) == ("file", device, {DRIVE: device})
    assert_layers_read(pool, {3: {**TRUTH[3], 0: 7}, 4: {**TRUTH[3], 0: 8}})
    assert driver.written_since(DRIVE, [3]) == {3: BLOCK}
    assert driver.reclaim(DRIVE, keep=[1], head=4) is True
    assert driver.devices() == {DRIVE: device}
    assert (driver.device(DRIVE), driver.device(99)) == (device, None)


def test_what_a_server_may_have_open_is_not_taken_away(system: FileSystem, pool: Path) -> None:
    driver = system.driver(pool)
    device = driver.activate(DRIVE)
    after_a_crash = system.driver(pool)

    for attempt in (
        lambda: after_a_crash.revert(DRIVE, onto=1, new_layer=4),
        lambda: after_a_crash.grow(DRIVE, size_bytes=2 * SIZE),
        lambda: after_a_crash.delete_drive(DRIVE),
    ):
        assert "served over iSCSI" in str(refused(attempt))
    assert_layers_read(pool, TRUTH)
    assert_tidy(pool, {1, 2, 3})

    for _ in range(2):
        driver.deactivate(DRIVE)
    assert (driver.devices(), driver.device(DRIVE)) == ({}, None)
    driver.revert(DRIVE, onto=1, new_layer=4)
    assert driver.activate(DRIVE).name != device.name  # so that who serves it notices
    driver.deactivate(99)


def test_disk_that_somebody_else_writes_to_is_not_taken_away(system: FileSystem, pool: Path) -> None:
    """Whatever serves it that we do not know of: another target, or one that was to be ended."""
    driver = system.driver(pool)
    device = driver.activate(DRIVE)
    driver.deactivate(DRIVE)
    head = driver.head(DRIVE)
    attempts: list[Callable[[], object]] = [
        lambda: driver.revert(DRIVE, onto=1, new_layer=head + 1),
        lambda: driver.grow(DRIVE, size_bytes=SIZE + MIB),
        lambda: driver.delete_drive(DRIVE),
    ]

    with Path(device.name).open("r+b"):
        for attempt in attempts:
            assert "open to write to it" in str(refused(attempt))
    with Path(device.name).open("rb"):
        driver.revert(DRIVE, onto=1, new_layer=head + 1)

    assert driver.head(DRIVE) == head + 1


def test_bytes_that_a_server_gives_back_count_as_changed(system: FileSystem, pool: Path) -> None:
    driver = system.driver(pool)
    driver.snapshot(DRIVE, frozen=3, new_layer=4)
    device = driver.activate(DRIVE)

    subprocess.run(["fallocate", "--punch-hole", "-o", "0", "-l", str(BLOCK), device.name], check=True)

    assert driver.written_since(DRIVE, [3]) == {3: BLOCK}
    assert_layers_read(pool, {3: TRUTH[3], 4: {**TRUTH[3], 0: 0}})


# Trouble


@on_its_own
def test_full_pool_loses_nothing_and_can_be_emptied(own_system: FileSystem) -> None:
    pool = own_system.pool()
    driver = own_system.driver(pool)
    prepared(driver)
    Disk(driver, 9)
    ballast = own_system.point / "ballast"
    for unit in ("1M", "4k"):
        subprocess.run(["dd", "if=/dev/zero", f"of={ballast}-{unit}", f"bs={unit}"], capture_output=True, check=False)

    for attempt in (
        lambda: driver.write(DRIVE, offset=40 * BLOCK, data=content(3) * 16),
        lambda: driver.create_drive(8, layer=1, size_bytes=SIZE),
        lambda: driver.snapshot(DRIVE, frozen=3, new_layer=4),
        lambda: driver.revert(DRIVE, onto=1, new_layer=4),
    ):
        error = refused(attempt)
        assert (str(error).split(".")[0], error.permanent) == ("The storage pool is full", False)
    assert_layers_read(pool, TRUTH)

    # A full pool can be served, and emptied.
    driver.activate(DRIVE)
    driver.deactivate(DRIVE)
    with suppress(StorageError):
        driver.reclaim(DRIVE, keep=[2], head=3)
    assert driver.layers(DRIVE) == {2, 3}
    driver.delete_drive(9)
    for unit in ("1M", "4k"):
        Path(f"{ballast}-{unit}").unlink()
    assert driver.reclaim(DRIVE, keep=[2], head=3) is True
    assert_tidy(pool, {2, 3})
    assert_layers_read(pool, {2: TRUTH[2], 3: TRUTH[3]})


@on_its_own
def test_full_pool_is_served_reverted_and_emptied_out_of_its_reserve(
    own_system: FileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("editor.storage.reserve.LEAST_POOL_BYTES", 0)
    pool = own_system.pool()
    driver = own_system.driver(pool)
    prepared(driver)
    Disk(driver, 9)
    driver.activate(9)
    own_system.sync()
    own_system.fill()
    with pytest.raises(OSError, match="No space left"):
        (own_system.point / "one more").mkdir()
    assert str(refused(lambda: driver.snapshot(DRIVE, frozen=3, new_layer=4))).startswith("The storage pool is full.")
    assert_layers_read(pool, TRUTH)

    driver.revert(DRIVE, onto=2, new_layer=4)
    assert driver.reclaim(DRIVE, keep=[1, 2], head=4) is True
    driver.activate(DRIVE)
    assert_layers_read(pool, {1: TRUTH[1], 2: TRUTH[2], 4: TRUTH[2]})
    driver.deactivate(DRIVE)
    driver.revert(DRIVE, onto=1, new_layer=5)
    assert driver.reclaim(DRIVE, keep=[1], head=5) is True
    driver.deactivate(9)
    driver.delete_drive(9)

    assert_layers_read(pool, {1: TRUTH[1], 5: TRUTH[1]})
    assert_tidy(pool, {1, 5})
    assert [(found.drive, found.strange) for found in driver.audit()] == [(DRIVE, ())]


@on_its_own
def test_reserve_whose_maker_was_killed_is_made_again(own_system: FileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("editor.storage.reserve.LEAST_POOL_BYTES", 0)
    pool = own_system.pool()
    prepared(own_system.driver(pool))
    reserve = pool / "reserve"
    assert reserve.stat().st_size == 64 * MIB
    reserve.write_bytes(b"")
    own_system.sync()

    own_system.driver(pool).activate(DRIVE)

    assert reserve.stat().st_size == 64 * MIB
    assert reserve.stat().st_blocks * 512 >= 64 * MIB


@on_its_own
def test_pool_that_is_not_mounted_is_not_taken_for_an_empty_one(own_system: FileSystem) -> None:
    pool = own_system.point  # as if it were the mount point itself, which is there without its disk
    driver = own_system.driver(pool)
    prepared(driver)
    own_system.unmount()
    shutil.copytree("/etc/skel", own_system.point, dirs_exist_ok=True)

    for attempt in (
        lambda: driver.head(DRIVE),
        lambda: driver.layers(DRIVE),
        lambda: driver.create_drive(8, layer=1, size_bytes=SIZE),
        lambda: driver.snapshot(DRIVE, frozen=3, new_layer=4),
        lambda: driver.activate(DRIVE),
        lambda: driver.delete_drive(DRIVE),
        driver.audit,
        driver.devices,
        driver.usage,
    ):
        error = refused(attempt)
        assert "Mount the pool's disk there." in str(error)
        assert not error.permanent
        assert not isinstance(error, UnknownDrive)
    [check] = driver.check()
    assert (check.what, "Mount the pool's disk there." in str(check.wrong)) == ("Folder", True)

    own_system.mount()
    assert driver.head(DRIVE) == 3
    assert_layers_read(pool, TRUTH)


@on_its_own
def test_folder_below_the_mount_point_is_made_by_whoever_mounts(own_system: FileSystem) -> None:
    driver = own_system.driver(own_system.point / "not there")

    for attempt in (driver.audit, lambda: driver.create_drive(8, layer=1, size_bytes=SIZE)):
        assert str(refused(attempt)).startswith("The storage pool's folder does not exist.")


@on_its_own
def test_pool_that_is_read_only_is_said_to_be_one(own_system: FileSystem) -> None:
    pool = own_system.pool()
    driver = own_system.driver(pool)
    prepared(driver)
    own_system.remount("ro")

    for attempt in (
        lambda: driver.create_drive(8, layer=1, size_bytes=SIZE),
        lambda: driver.snapshot(DRIVE, frozen=3, new_layer=4),
        lambda: driver.write(DRIVE, offset=0, data=content(9)),
    ):
        assert str(refused(attempt)).startswith("The storage pool cannot be written to.")
    assert "may not write" in str(driver.check()[0].wrong)
    assert (driver.head(DRIVE), driver.used_bytes(DRIVE)) == (3, 5 * BLOCK)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"head": 3, "layers": {}}',
        '{"head": "3", "layers": {"3": ["live-1", null]}}',
        '{"head": 3, "layers": {"3": ["live-1", 2]}}',
        '{"head": 3, "layers": {"3": ["live-1", 3]}}',
        '{"head": 3, "layers": {"3": ["../drive-8/live-1", null]}}',
        '{"head": 3, "layers": {"3": "live-1"}}',
        '{"head": 3, "layers": {"x": ["live-1", null]}}',
    ],
)
def test_damaged_list_of_copies_is_reported_and_nothing_is_removed(system: FileSystem, pool: Path, text: str) -> None:
    driver = system.driver(pool)
    folder = pool / f"drive-{DRIVE}"
    before = sorted(folder.iterdir())
    (folder / "drive.json").write_text(text)

    for attempt in (
        lambda: driver.head(DRIVE),
        lambda: driver.snapshot(DRIVE, frozen=3, new_layer=4),
        lambda: driver.reclaim(DRIVE, keep=[], head=3),
        lambda: driver.activate(DRIVE),
        lambda: driver.create_drive(DRIVE, layer=1, size_bytes=SIZE),
    ):
        error = refused(attempt)
        assert ("damaged" in str(error), error.permanent) == (True, True)

    assert sorted(folder.iterdir()) == before
    [found] = driver.audit()
    assert (found.head, len(found.strange), found.strange[0][:9]) == (None, 1, "Damaged: ")


def test_drive_that_was_copied_without_its_list_is_left_alone(system: FileSystem, pool: Path) -> None:
    driver = system.driver(pool)
    (pool / f"drive-{DRIVE}/drive.json").rename(pool / "drive.json")

    assert isinstance(refused(lambda: driver.head(DRIVE)), UnknownDrive)
    error = refused(lambda: driver.create_drive(DRIVE, layer=1, size_bytes=SIZE))
    assert ("but no head" in str(error), error.permanent) == (True, True)

    assert driver.audit()[0] == Found(DRIVE, None, frozenset(), ("The drive has no head.",))
    (pool / "drive.json").rename(pool / f"drive-{DRIVE}/drive.json")
    assert_layers_read(pool, TRUTH)


def test_missing_head_is_reported_and_a_revert_mends_it(system: FileSystem, pool: Path) -> None:
    driver = system.driver(pool)
    (pool / f"drive-{DRIVE}/live-1/disk").unlink()

    for attempt in (
        lambda: driver.size_bytes(DRIVE),
        lambda: driver.snapshot(DRIVE, frozen=3, new_layer=4),
        lambda: driver.reclaim(DRIVE, keep=[], head=3),
        lambda: driver.activate(DRIVE),
        lambda: driver.written_since(DRIVE, [1]),
        lambda: driver.read(DRIVE, offset=0, length=512),
    ):
        assert "damaged" in str(refused(attempt))
    assert driver.audit() == [Found(DRIVE, 3, frozenset({1, 2}), ("Damaged: layer 3 is missing.",))]

    driver.revert(DRIVE, onto=1, new_layer=4)
    assert_layers_read(pool, {1: TRUTH[1], 2: TRUTH[2], 4: TRUTH[1]})
    assert driver.reclaim(DRIVE, keep=[1], head=4) is True
    assert_tidy(pool, {1, 4})


def test_missing_snapshot_is_reported_and_harms_no_other(system: FileSystem, pool: Path) -> None:
    driver = system.driver(pool)
    driver.remove(pool / f"drive-{DRIVE}/frozen-2")

    error = refused(lambda: driver.revert(DRIVE, onto=2, new_layer=4))
    assert ("does not exist in the storage pool any more" in str(error), error.permanent) == (True, True)
    assert (driver.layers(DRIVE), driver.used_bytes(DRIVE)) == ({1, 3}, 4 * BLOCK)
    assert driver.audit()[0].strange == ("Damaged: layer 2 is missing.",)
    assert_layers_read(pool, {1: TRUTH[1], 3: TRUTH[3]})


def test_audit_tells_what_does_not_belong(system: FileSystem, pool: Path) -> None:
    driver = system.driver(pool)
    folder = pool / f"drive-{DRIVE}"
    (folder / "notes.txt").touch()
    (folder / "frozen-9").mkdir()  # what a snapshot left that was killed
    (pool / "deleted-3").mkdir()
    (pool / "drive-5").mkdir()
    driver.check()
    before = sorted(pool.rglob("*"))

    found = driver.audit()

    assert found == [
        Found(5, None, frozenset(), ("The drive has no head.",)),
        Found(DRIVE, 3, frozenset({1, 2, 3}), ("notes.txt is not a layer.",)),
        Found(None, None, frozenset(), ("deleted-3 is not a drive.",)),
    ]
    assert sorted(pool.rglob("*")) == before


def test_check_tries_what_the_pool_needs_and_leaves_nothing(system: FileSystem, pool: Path) -> None:
    driver = system.driver(pool)
    (pool / "check/live-1").mkdir(parents=True)  # of one that was killed

    checks = driver.check()

    assert [check.wrong for check in checks] == [None] * len(checks)
    assert Check("Folder") in checks
    assert [path.name for path in (pool / "check").iterdir()] == ["lock"]
    room = driver.usage()
    assert 0 < room.free_bytes < room.total_bytes <= 1024 * MIB


def test_reclaim_that_is_stopped_half_way_is_finished_later(system: FileSystem, pool: Path) -> None:
    driver = system.driver(pool)
    answers = iter([False, True])

    assert driver.reclaim(DRIVE, keep=[], head=3, should_stop=lambda: next(answers)) is False

    assert driver.layers(DRIVE) == {1, 3}  # newest first
    assert driver.reclaim(DRIVE, keep=[], head=3) is True
    assert_tidy(pool, {3})
    assert_layers_read(pool, {3: TRUTH[3]})


def test_older_snapshots_are_told_apart_after_one_between_was_removed(system: FileSystem, pool: Path) -> None:
    driver = system.driver(pool)

    driver.reclaim(DRIVE, keep=[1], head=3)

    assert driver.written_since(DRIVE, [1, 2]) == {1: 2 * BLOCK}
    assert driver.used_bytes(DRIVE) == 4 * BLOCK


def test_threads_take_turns_on_one_drive(system: FileSystem) -> None:
    driver = system.driver()
    disk = Disk(driver)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda block: disk.put(block + 1, block=block), range(8)))
        list(threads.map(lambda drive: Disk(driver, drive).snapshot(), range(20, 28)))

    assert disk.marks(*range(8)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert driver.used_bytes(DRIVE) == 8 * BLOCK


def test_pool_can_be_moved(system: FileSystem, pool: Path) -> None:
    moved = pool.rename(pool.with_name("elsewhere"))
    driver = system.driver(moved)

    assert driver.reclaim(DRIVE, keep=[2], head=3) is True
    assert driver.activate(DRIVE) == Device("file", f"{moved}/drive-{DRIVE}/live-1/disk")
    shutil.rmtree(moved, ignore_errors=True)


def test_drives_are_for_their_owner_only(system: FileSystem, pool: Path) -> None:
    Disk(system.driver(pool), 8)

    assert {path.stat().st_mode & 0o77 for path in (pool / "drive-8", pool / "drive-8/live-1/disk")} == {0}


def test_hash_is_that_of_the_content(system: FileSystem, pool: Path) -> None:
    blocks = [(0, content(3)), (BLOCK, content(1)), (2 * BLOCK, content(2))]

    assert system.driver(pool).sha256(DRIVE) == content_hash(SIZE, blocks)


# Extents

runs = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.integers(0, 12)), max_size=6)


def as_extents(runs: list[tuple[int, int, int]]) -> list[Extent]:
    """A file from gaps, lengths and places."""
    found, at = [], 0
    for gap, length, place in runs:
        found.append(Extent(at + gap, place, length))
        at += gap + length
    return found


def as_bytes(extents: list[Extent]) -> dict[int, int]:
    return {
        extent.logical + at: extent.physical + at
        for extent in extents
        for at in range(extent.length)
        if extent.physical is not None
    }


@given(runs, runs)
def test_what_differs_is_counted_byte_by_byte(
    one: list[tuple[int, int, int]], other: list[tuple[int, int, int]]
) -> None:
    first, second = as_extents(one), as_extents(other)
    here, there = as_bytes(first), as_bytes(second)

    assert differing_bytes(first, second) == sum(here.get(at) != there.get(at) for at in here.keys() | there.keys())
    assert held_bytes([first, second]) == len({*here.values(), *there.values()})
    assert differing_bytes(first, first) == 0


def test_parts_of_compressed_data_never_count_as_the_same() -> None:
    whole, part = Extent(0, 1000, 100, encoded=True), Extent(50, 1050, 50, encoded=True)

    assert (differing_bytes([whole], [whole]), differing_bytes([whole], [part])) == (0, 100)
    assert held_bytes([[whole], [whole, Extent(100, 1050, 50)]]) == 150


def test_data_without_a_place_may_always_differ() -> None:
    inline = [Extent(0, None, 100)]

    assert (differing_bytes(inline, inline), held_bytes([inline, inline])) == (100, 200)
