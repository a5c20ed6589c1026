"""The qcow2 engine: the contract, and what it says when the machine does not play along."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from editor.storage import Found, StorageDriver, StorageError
from editor.storage.base import HASH_BLOCK_BYTES, content_hash
from editor.storage.locks import DriveLocks
from editor.storage.qcow2 import Qcow2Storage

from .images import TRUTH, assert_layers_read, assert_tidy, prepared
from .storage import BLOCK, DRIVE, MIB, SIZE, Disk, StorageContract, content


class TestQcow2Storage(StorageContract):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> StorageDriver:
        pool = tmp_path / "a: pool, with a name"
        pool.mkdir()
        return Qcow2Storage(pool)


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    pool = tmp_path / "pool"
    pool.mkdir()
    return pool


def fake(folder: Path, script: str) -> str:
    """A qemu-img, or qemu-io, that does something else."""
    program = folder / "fake"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    return str(program)


def attempts(driver: StorageDriver) -> list[Callable[[], object]]:
    """Verbs that start programs, on what `prepared` makes."""
    return [
        lambda: driver.create_drive(8, layer=1, size_bytes=SIZE),
        lambda: driver.snapshot(DRIVE, frozen=3, new_layer=4),
        lambda: driver.revert(DRIVE, onto=1, new_layer=4),
        lambda: driver.reclaim(DRIVE, keep=[1], head=3),
        lambda: driver.read(DRIVE, offset=0, length=BLOCK),
        lambda: driver.write(DRIVE, offset=3 * BLOCK, data=bytes(BLOCK)),
        lambda: driver.sha256(DRIVE),
        lambda: driver.grow(DRIVE, size_bytes=1024**4),
    ]


def sentences(verbs: list[Callable[[], object]], *, permanent: bool = False) -> set[str]:
    """How each of them fails."""
    found = set()
    for attempt in verbs:
        with pytest.raises(StorageError) as failed:
            attempt()
        assert failed.value.permanent is permanent
        found.add(str(failed.value))
    return found


def assert_untouched(pool: Path) -> None:
    shutil.rmtree(pool / "drive-8", ignore_errors=True)
    assert_layers_read(pool, TRUTH)
    for mark in (pool / f"drive-{DRIVE}").glob("*.merging"):
        mark.unlink()
    assert_tidy(pool, {1, 2, 3}, check=True)


def test_pool_whose_disk_is_not_mounted_is_no_empty_pool(tmp_path: Path) -> None:
    away = tmp_path / "mount point" / "pool"
    driver = Qcow2Storage(away)
    refused: list[Callable[[], object]] = [
        lambda: driver.create_drive(DRIVE, layer=1, size_bytes=SIZE),
        lambda: driver.delete_drive(DRIVE),
        driver.devices,
        driver.usage,
        driver.audit,
    ]

    for verb in refused:
        with pytest.raises(StorageError, match=r"folder does not exist\. Mount the pool's disk, or make the folder"):
            verb()

    assert [check.what for check in driver.check() if check.wrong] == ["Folder", "Room"]
    assert list(tmp_path.iterdir()) == []


def test_missing_programs_are_named_with_their_package(pool: Path) -> None:
    assert prepared(pool).missing_programs() is None

    driver = Qcow2Storage(pool, qemu_img="no-qemu-img", qemu_io="no-qemu-io")

    assert driver.missing_programs() == (
        "no-qemu-img and no-qemu-io are not installed. Install the package qemu-utils: apt-get install qemu-utils"
    )
    assert all("apt-get install qemu-utils. " in sentence for sentence in sentences(attempts(driver)))
    assert_untouched(pool)


def test_program_that_hangs_is_stopped(pool: Path, tmp_path: Path) -> None:
    prepared(pool)
    os.mkfifo(tmp_path / "never")
    script = f'touch "new-$$"; read -r _ <{tmp_path / "never"}'
    driver = Qcow2Storage(pool, qemu_img=fake(tmp_path, script), program_seconds=0.02)

    for attempt in attempts(driver)[:3]:
        with pytest.raises(StorageError, match="did not answer in time and was stopped") as failed:
            attempt()
        assert failed.value.permanent is False

    assert Qcow2Storage(pool).head(DRIVE) == 3
    Qcow2Storage(pool).abandon(DRIVE, new_layer=4)
    assert_untouched(pool)


@pytest.mark.parametrize(
    ("said", "sentence", "permanent"),
    [
        ("error: No space left on device", "The storage pool is full.", False),
        ("error: Disk quota exceeded", "The storage pool is full.", False),
        ("error: Read-only file system", "The storage pool cannot be written to.", False),
        ("error: Permission denied", "The storage pool cannot be written to.", False),
        ("error: Input/output error", "The storage pool's disk reports errors.", False),
        ("qcow2: Image is corrupt; cannot be opened", "The stored data of this drive is damaged.", True),
        ("something new", "The storage pool could not do this.", False),
    ],
)
def test_failures_are_said_in_a_sentence(pool: Path, tmp_path: Path, said: str, sentence: str, permanent: bool) -> None:
    prepared(pool)
    program = fake(tmp_path, f'for last; do :; done; echo half >"new-layer-4.qcow2"; echo "{said}" >&2; exit 1')
    driver = Qcow2Storage(pool, qemu_img=program, qemu_io=program)

    # What each verb makes of it is one matter, and asked once for either kind; what a program's words mean is another.
    verbs = attempts(driver) if said.endswith(("on device", "opened")) else attempts(driver)[1:2]
    found = sentences(verbs, permanent=permanent)

    assert {one.split(". ")[0] + "." for one in found} == {sentence}
    assert_untouched_after_tidying(pool)


def assert_untouched_after_tidying(pool: Path) -> None:
    """What is left is only what the next verb removes."""
    assert Qcow2Storage(pool).abandon(DRIVE, new_layer=4) is True
    assert_untouched(pool)


def test_sentence_says_what_happened_what_is_unchanged_and_what_to_do(pool: Path, tmp_path: Path) -> None:
    prepared(pool)
    driver = Qcow2Storage(pool, qemu_img=fake(tmp_path, 'echo "oh: No space left on device" >&2; exit 1'))

    with pytest.raises(StorageError) as failed:
        driver.snapshot(DRIVE, frozen=3, new_layer=4)

    assert str(failed.value) == (
        "The storage pool is full. Nothing on the drive was changed. Free some space in the pool, then try again."
    )
    assert "oh: No space left on device" in failed.value.detail


def test_file_size_limit_counts_as_a_full_pool(pool: Path) -> None:
    driver = prepared(pool)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, before[1]))
    try:
        for attempt in attempts(driver)[:4]:
            with pytest.raises(StorageError, match="The storage pool is full") as failed:
                attempt()
            assert failed.value.permanent is False
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert_untouched(pool)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(("lower", "upper"), [(3, 1), (1, 3)], ids=["upper-into-lower", "lower-into-upper"])
def test_full_disk_loses_nothing(small_disk: Path, lower: int, upper: int) -> None:
    pool = small_disk / "pool"
    pool.mkdir()
    driver = Qcow2Storage(pool)
    disk = Disk(driver)
    for block in range(lower):
        disk.put(1, block=block)
    disk.snapshot()
    for block in range(4, 4 + upper):
        disk.put(2, block=block)
    disk.snapshot()
    truth = {2: {**dict.fromkeys(range(lower), 1), **dict.fromkeys(range(4, 4 + upper), 2), 10: 0}}
    truth[3] = truth[2]
    ballast = small_disk / "ballast"
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=4k"], capture_output=True, check=False)
    assert shutil.disk_usage(small_disk).free == 0

    for attempt in (
        lambda: driver.create_drive(8, layer=1, size_bytes=SIZE),
        lambda: driver.snapshot(DRIVE, frozen=3, new_layer=4),
        lambda: driver.revert(DRIVE, onto=1, new_layer=4),
        lambda: driver.write(DRIVE, offset=10 * BLOCK, data=content(3)),
        lambda: driver.reclaim(DRIVE, keep=[2], head=3),
        lambda: driver.grow(DRIVE, size_bytes=1024**4),
    ):
        with pytest.raises(StorageError, match="The storage pool is full") as failed:
            attempt()
        assert failed.value.permanent is False

    assert_layers_read(pool, truth)
    assert (driver.head(DRIVE), disk.marks(0, 4)) == (3, [1, 2])
    ballast.unlink()
    driver.delete_drive(8)
    assert driver.reclaim(DRIVE, keep=[2], head=3) is True
    assert_layers_read(pool, truth)
    assert_tidy(pool, {2, 3}, check=True)


def test_read_only_pool_is_said_to_be_one(small_disk: Path) -> None:
    pool = small_disk / "pool"
    driver = prepared(pool)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    found = sentences(attempts(driver))

    assert {one.split(". ")[0] for one in found} == {"The storage pool cannot be written to"}
    assert (driver.head(DRIVE), driver.used_bytes(DRIVE)) == (3, 5 * BLOCK)


def _cut(path: Path) -> None:
    os.truncate(path, 60)


def _scribble(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"not an image")


def _mark_corrupt(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(79)
        file.write(b"\x02")


@pytest.mark.parametrize("harm", [_cut, _scribble, _mark_corrupt, Path.unlink])
@pytest.mark.parametrize("layer", [1, 3])
def test_damaged_layers_are_reported_and_left_alone(pool: Path, harm: Callable[[Path], None], layer: int) -> None:
    driver = prepared(pool)
    harm(pool / f"drive-{DRIVE}" / f"layer-{layer}.qcow2")
    before = sorted(path.name for path in (pool / f"drive-{DRIVE}").iterdir())

    for attempt in (
        lambda: driver.snapshot(DRIVE, frozen=3, new_layer=4),
        lambda: driver.used_bytes(DRIVE),
        lambda: driver.reclaim(DRIVE, keep=[2], head=3),
    ):
        with pytest.raises(StorageError, match="damaged") as failed:
            attempt()
        assert failed.value.permanent is True

    assert sorted(path.name for path in (pool / f"drive-{DRIVE}").iterdir()) == before
    [found] = driver.audit()
    assert (found.head, len(found.strange), found.strange[0][:9]) == (3, 1, "Damaged: ")


def test_drive_with_a_damaged_head_is_reverted_and_keeps_its_size(pool: Path) -> None:
    driver = prepared(pool)
    driver.snapshot(DRIVE, frozen=3, new_layer=4)
    _scribble(pool / f"drive-{DRIVE}" / "layer-4.qcow2")

    driver.revert(DRIVE, onto=1, new_layer=5)

    assert driver.size_bytes(DRIVE) == SIZE
    assert_layers_read(pool, {**TRUTH, 5: {**TRUTH[1], 63: 0}})


def test_layer_on_a_larger_one_is_merged_with_none(pool: Path) -> None:
    driver = prepared(pool)
    resize = ["qemu-img", "resize", "-q", "-f", "qcow2", f"{pool}/drive-{DRIVE}/layer-1.qcow2", str(2 * SIZE)]
    subprocess.run(resize, check=True)

    with pytest.raises(StorageError, match="damaged") as refused:
        driver.reclaim(DRIVE, keep=[2], head=3)

    assert (refused.value.permanent, refused.value.detail) == (True, "layer 2 is smaller than layer 1 under it")
    assert_untouched(pool)


def test_audit_tells_what_does_not_belong(pool: Path) -> None:
    driver = Qcow2Storage(pool)
    assert driver.audit() == []
    prepared(pool)
    folder = pool / f"drive-{DRIVE}"
    (folder / "notes.txt").touch()
    (folder / "new-layer-9.qcow2").touch()
    (pool / "deleted-3").mkdir()
    (pool / "drive-5").mkdir()
    before = sorted(pool.rglob("*"))

    found = driver.audit()

    assert found == [
        Found(5, None, frozenset(), ("The drive has no head.",)),
        Found(DRIVE, 3, frozenset({1, 2, 3}), ("notes.txt is not a layer.",)),
        Found(None, None, frozenset(), ("deleted-3 is not a drive.",)),
    ]
    assert sorted(pool.rglob("*")) == before


def test_threads_take_turns_on_one_drive(pool: Path) -> None:
    driver = Qcow2Storage(pool)
    disk = Disk(driver)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda block: disk.put(block + 1, block=block), range(8)))

    assert disk.marks(*range(8)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert driver.used_bytes(DRIVE) == 8 * BLOCK


def test_lock_of_a_deleted_drive_is_worth_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "drive-1"
    folder.mkdir()
    with ThreadPoolExecutor(1) as threads:
        with DriveLocks(10).held(folder):
            waiting = threads.submit(DriveLocks(10).held(folder).__enter__)
            folder.rename(tmp_path / "deleted-1")

        with pytest.raises(FileNotFoundError):
            waiting.result()


def test_drive_is_for_its_owner_only(pool: Path) -> None:
    prepared(pool)

    assert (pool / f"drive-{DRIVE}").stat().st_mode & 0o777 == 0o700


def test_pool_can_be_moved(pool: Path, tmp_path: Path) -> None:
    prepared(pool)
    pool.rename(tmp_path / "elsewhere")

    assert_layers_read(tmp_path / "elsewhere", TRUTH)
    assert Qcow2Storage(tmp_path / "elsewhere").reclaim(DRIVE, keep=[], head=3) is True


def test_zeroed_clusters_hide_what_is_below_after_a_merge(pool: Path) -> None:
    driver = Qcow2Storage(pool)
    disk = Disk(driver)
    disk.put(1)
    disk.put(1, block=1)
    disk.snapshot()
    zero = ["qemu-io", "-f", "qcow2", "-c", f"write -q -z 0 {BLOCK}", f"{pool}/drive-{DRIVE}/layer-2.qcow2"]
    subprocess.run(zero, check=True)
    disk.put(2, block=2)
    disk.snapshot()
    for block in range(8, 12):
        disk.put(3, block=block)

    disk.reclaim(1)

    assert disk.marks(0, 1, 2, 8) == [0, 1, 2, 3]
    disk.reclaim()
    assert disk.marks(0, 1, 2, 8) == [0, 1, 2, 3]


@pytest.mark.parametrize("blocks", [1, 3, 1024])
def test_hash_does_not_depend_on_how_much_is_read_at_once(
    pool: Path, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = prepared(pool)
    driver.write(DRIVE, offset=SIZE - MIB, data=content(5) * 4)
    monkeypatch.setattr("editor.storage.content.MAX_TRANSFER_BYTES", blocks * HASH_BLOCK_BYTES)

    found = driver.sha256(DRIVE)

    marks = {0: 3, 1: 1, 2: 2, **dict.fromkeys(range(48, 52), 5)}
    assert found == content_hash(SIZE, [(block * BLOCK, content(mark)) for block, mark in marks.items()])
