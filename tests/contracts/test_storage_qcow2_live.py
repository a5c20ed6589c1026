"""The qcow2 engine while its drives are served: each active drive is a file of a daemon of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from editor.storage import Device, StorageDriver, freeze
from editor.storage.freeze import opened
from editor.storage.layers import DriveFolder
from editor.storage.locks import DriveLocks
from editor.storage.monitor import Monitor
from editor.storage.qcow2 import Qcow2Storage
from tests.killing import Points

from .images import TRUTH, Popen, PowerCut, assert_layers_read, assert_tidy, prepared
from .live import (
    Active,
    active,
    as_left,
    device_of,
    ended,
    failure,
    folder_of,
    killed,
    live_crashes,
    marks,
    needs_daemon,
    process_of,
    put,
)
from .storage import BLOCK, DRIVE, MIB, SIZE, Disk, StorageContract
from .writer import Writer, assert_point_in_time

pytestmark = needs_daemon


@pytest.mark.lab
class TestActiveQcow2Storage(StorageContract):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[StorageDriver]:
        pool = tmp_path / "a: pool, with a name"
        pool.mkdir()
        yield Active(pool)
        ended(pool)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inactive drive; layer 4 is the head, empty, on top of what `prepared` makes."""
    pool = tmp_path_factory.mktemp("template") / "pool"
    prepared(pool).snapshot(DRIVE, frozen=3, new_layer=4)
    return pool


@pytest.fixture
def pool(template: Path, tmp_path: Path) -> Iterator[Path]:
    with active(template, tmp_path / "pool") as pool:
        yield pool


NOW = {**TRUTH, 4: TRUTH[3]}


# Being active


def test_device_outlives_whoever_made_it(template: Path, tmp_path: Path) -> None:
    with active(template, tmp_path / "pool") as pool:
        driver = Qcow2Storage(pool)
        driver.deactivate(DRIVE)
        code = "import sys; from pathlib import Path; from editor.storage.qcow2 import Qcow2Storage\n"
        code += f"print(Qcow2Storage(Path(sys.argv[1])).activate({DRIVE}).name)"

        said = subprocess.run([sys.executable, "-c", code, str(pool)], capture_output=True, text=True, check=True)

        assert said.stdout.strip() == str(device_of(pool))
        assert driver.devices() == {DRIVE: Device("file", str(device_of(pool)))}
        assert (driver.device(DRIVE), driver.device(99)) == (Device("file", str(device_of(pool))), None)
        assert marks(pool, 0, 1, 2, 3) == [3, 1, 2, 0]


def test_inactive_drive_has_no_device_and_leaves_no_file(pool: Path) -> None:
    driver = Qcow2Storage(pool)
    put(pool, 3, 9)

    for _ in range(2):
        driver.deactivate(DRIVE)

    assert (driver.devices(), driver.device(DRIVE)) == ({}, None)
    assert_layers_read(pool, {**TRUTH, 4: {**TRUTH[3], 3: 9}})
    assert_tidy(pool, {1, 2, 3, 4}, check=True)


def test_deep_folder_is_no_trouble(template: Path, tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 100) / ("b" * 100)
    deep.mkdir(parents=True)

    with active(template, deep / "pool") as pool:
        assert marks(pool, 0) == [3]
        Qcow2Storage(pool).snapshot(DRIVE, frozen=4, new_layer=5)


def test_two_activations_at_once_make_one_daemon(pool: Path) -> None:
    Qcow2Storage(pool).deactivate(DRIVE)

    with ThreadPoolExecutor(3) as threads:
        devices = set(threads.map(lambda _: Qcow2Storage(pool).activate(DRIVE), range(3)))

    assert devices == {Device("file", str(device_of(pool)))}
    folders = [entry / "cwd" for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    assert sum(_is(folder, folder_of(pool)) for folder in folders) == 1


def _is(link: Path, folder: Path) -> bool:
    try:
        return link.readlink() == folder
    except OSError:
        return False


def test_daemon_whose_starter_was_killed_is_the_one_that_serves(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Qcow2Storage(pool)
    driver.deactivate(DRIVE)
    started: list[int] = []

    def start(*arguments, **options):
        started.append(Popen(*arguments, **options).pid)
        raise PowerCut

    with monkeypatch.context() as patch, suppress(PowerCut):
        patch.setattr(subprocess, "Popen", start)
        driver.activate(DRIVE)

    Qcow2Storage(pool).activate(DRIVE)

    assert ([process_of(pool)], marks(pool, 0)) == (started, [3])


def test_verbs_that_need_an_inactive_drive_say_so(pool: Path) -> None:
    driver = Qcow2Storage(pool)

    for attempt in (
        lambda: driver.revert(DRIVE, onto=1, new_layer=5),
        lambda: driver.grow(DRIVE, size_bytes=2 * SIZE),
        lambda: driver.delete_drive(DRIVE),
    ):
        assert str(failure(attempt)).startswith("The drive is served over iSCSI. Nothing on the drive was changed.")

    assert (marks(pool, 0), driver.layers(DRIVE)) == ([3], {1, 2, 3, 4})


def test_missing_programs_are_named_with_their_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = prepared(tmp_path / "pool")
    without = Qcow2Storage(tmp_path / "pool", daemon="no-qemu-storage-daemon")

    assert str(failure(lambda: without.activate(DRIVE))) == (
        "no-qemu-storage-daemon is not installed. "
        "Install the package qemu-system-common: apt-get install qemu-system-common. The drive is not served."
    )
    monkeypatch.setattr("editor.storage.daemon.FUSE", tmp_path / "fuse")
    assert str(failure(lambda: driver.activate(DRIVE))).startswith(f"This machine has no {tmp_path / 'fuse'}. ")
    assert [check.what for check in driver.check() if check.wrong] == ["FUSE"]
    assert_tidy(tmp_path / "pool", {1, 2, 3})


def test_daemon_that_cannot_start_says_why_and_leaves_nothing(pool: Path) -> None:
    driver = Qcow2Storage(pool)
    driver.deactivate(DRIVE)
    with (folder_of(pool) / "layer-4.qcow2").open("r+b") as file:
        file.seek(50)
        file.write(b"\xff" * 8)  # the refcount table is nowhere

    refused = failure(lambda: driver.activate(DRIVE))

    assert "layer-4" in refused.detail or "refcount" in refused.detail.lower()
    assert_tidy(pool, {1, 2, 3, 4})


# Looking


def test_what_a_server_wrote_and_has_not_flushed_is_counted(pool: Path) -> None:
    driver = Qcow2Storage(pool)
    assert driver.written_since(DRIVE, [3]) == {3: 0}
    descriptor = os.open(device_of(pool), os.O_WRONLY)
    os.pwrite(descriptor, bytes([1]) * BLOCK, 5 * BLOCK)

    assert driver.written_since(DRIVE, [3]) == {3: BLOCK}

    os.close(descriptor)
    assert [found.strange for found in driver.audit()] == [()]


# Snapshots


def test_snapshot_is_a_point_in_time_while_a_server_writes(pool: Path) -> None:
    driver = Qcow2Storage(pool)
    spans = []

    with Writer(device_of(pool)) as writer:
        for layer in range(4, 8):
            writer.wait_for_more()
            low = writer.acked
            driver.snapshot(DRIVE, frozen=layer, new_layer=layer + 1)
            spans.append((layer, low, writer.begun))
        writer.wait_for_more()

    for layer, low, high in spans:
        assert_point_in_time(folder_of(pool) / f"layer-{layer}.qcow2", low, high)
    assert driver.head(DRIVE) == 8


def test_snapshot_that_was_broken_off_is_abandoned_or_had_happened(
    template: Path, tmp_path: Path, points: Points
) -> None:
    def verb(driver: Qcow2Storage) -> None:
        driver.snapshot(DRIVE, frozen=4, new_layer=5)

    answers = []
    sample = ["rename head", "blockdev-snapshot daemon"]
    for effect, pool, dead in live_crashes(template, verb, tmp_path, only=() if points.are_all else sample):
        # The daemon died too: the pointer counts.
        moved = (folder_of(dead) / "head").readlink() == Path("layer-5.qcow2")
        assert Qcow2Storage(dead).abandon(DRIVE, new_layer=5) is not moved
        assert_layers_read(dead, {**NOW, 5: TRUTH[3]} if moved else NOW)
        # It lives: a snapshot is never made late.
        driver = Qcow2Storage(pool)
        put(pool, 3, 8)
        answers.append((effect, driver.abandon(DRIVE, new_layer=5)))
        assert marks(pool, 0, 3) == [3, 8]
        assert driver.head(DRIVE) == (4 if answers[-1][1] else 5)
        driver.snapshot(DRIVE, frozen=4, new_layer=5)
        put(pool, 3, 9)
        driver.deactivate(DRIVE)
        assert_layers_read(pool, {**TRUTH, 4: {**TRUTH[3], 3: 8 * answers[-1][1]}, 5: {**TRUTH[3], 3: 9}})
        assert_tidy(pool, {1, 2, 3, 4, 5}, check=True)
    happened = [effect for effect, undone in answers if not undone]
    assert happened == ["blockdev-snapshot daemon"]
    assert ("rename head", True) in answers


def test_snapshot_that_was_broken_off_is_finished_by_repeating_it(template: Path, tmp_path: Path) -> None:
    def verb(driver: Qcow2Storage) -> None:
        driver.snapshot(DRIVE, frozen=4, new_layer=5)

    for _effect, pool, _dead in live_crashes(template, verb, tmp_path, only=["rename head"]):
        verb(Qcow2Storage(pool))

        put(pool, 3, 9)
        Qcow2Storage(pool).deactivate(DRIVE)
        assert_layers_read(pool, {**NOW, 5: {**TRUTH[3], 3: 9}})


def test_deactivation_undoes_a_snapshot_that_the_daemon_did_not_follow(template: Path, tmp_path: Path) -> None:
    def verb(driver: Qcow2Storage) -> None:
        driver.snapshot(DRIVE, frozen=4, new_layer=5)

    for _effect, pool, _dead in live_crashes(template, verb, tmp_path, only=["rename head"]):
        driver = Qcow2Storage(pool)
        put(pool, 3, 8)

        driver.deactivate(DRIVE)

        assert (driver.head(DRIVE), driver.abandon(DRIVE, new_layer=5)) == (4, True)
        assert_layers_read(pool, {**TRUTH, 4: {**TRUTH[3], 3: 8}})


def test_snapshot_that_the_daemon_refuses_leaves_the_drive_as_it_was(
    pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Qcow2Storage(pool)
    real = Monitor.execute

    def execute(self, command, arguments=None):
        wrong = {"node": "no-such-node"} if command == "blockdev-snapshot" else {}
        return real(self, command, {**(arguments or {}), **wrong})

    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "execute", execute)
        assert "Nothing on the drive was changed." in str(
            failure(lambda: driver.snapshot(DRIVE, frozen=4, new_layer=5))
        )

    assert (driver.head(DRIVE), driver.layers(DRIVE), marks(pool, 0)) == (4, {1, 2, 3, 4}, [3])
    driver.snapshot(DRIVE, frozen=4, new_layer=5)
    assert driver.head(DRIVE) == 5


def test_layer_that_is_opened_for_a_backup_is_a_point_in_time_too(pool: Path, tmp_path: Path) -> None:
    folder = DriveFolder(pool, DRIVE)
    aside = as_left(pool, tmp_path / "aside")

    with Writer(device_of(pool)) as writer:
        writer.wait_for_more()
        low = writer.acked
        file = opened(folder, 4, DriveLocks(10))
        high = writer.begun
        writer.wait_for_more()
        with file:
            (folder_of(aside) / "layer-4.qcow2").write_bytes(file.read())

    assert_point_in_time(folder_of(aside) / "layer-4.qcow2", low, high)
    assert_tidy(aside, {1, 2, 3, 4}, check=True)
    Qcow2Storage(pool).snapshot(DRIVE, frozen=4, new_layer=5)
    Qcow2Storage(pool).deactivate(DRIVE)
    assert_tidy(pool, {1, 2, 3, 4, 5}, check=True)


def test_nobody_begins_to_write_to_a_layer_that_is_open_for_a_backup(pool: Path) -> None:
    folder, driver = DriveFolder(pool, DRIVE), Qcow2Storage(pool)
    driver.deactivate(DRIVE)
    file = opened(folder, 4, DriveLocks(10))

    assert "such as a backup" in str(failure(lambda: driver.activate(DRIVE)))
    driver.snapshot(DRIVE, frozen=4, new_layer=5)
    driver.activate(DRIVE)
    file.close()
    driver.deactivate(DRIVE)
    driver.activate(DRIVE)


def test_copying_for_a_backup_gives_way_to_a_snapshot(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Qcow2Storage(pool)
    for block in range(4, 64):
        put(pool, block, 7)
    begun = threading.Event()
    real = freeze._is_whole

    def is_whole(*arguments):
        begun.set()
        return real(*arguments)

    monkeypatch.setattr(freeze, "_is_whole", is_whole)
    monkeypatch.setattr("editor.storage.live.BYTES_PER_SECOND", BLOCK)

    with ThreadPoolExecutor(1) as threads:
        copying = threads.submit(opened, DriveFolder(pool, DRIVE), 4, DriveLocks(10))
        assert begun.wait(10)
        driver.snapshot(DRIVE, frozen=4, new_layer=5)

        with copying.result() as file:
            assert file.read() == (folder_of(pool) / "layer-4.qcow2").read_bytes()
    driver.deactivate(DRIVE)
    assert_tidy(pool, {1, 2, 3, 4, 5}, check=True)


# Merging

MERGES = pytest.mark.parametrize(
    ("keep", "telling"),
    [([1, 2], "change-backing-file daemon"), ([2, 3], "qemu-io -r"), ([1, 3], "block-commit daemon")],
    ids=["into-the-top", "lower-into-upper", "upper-into-lower"],
)


@MERGES
def test_merge_changes_no_content_wherever_it_ends(
    template: Path, tmp_path: Path, keep: list[int], telling: str, points: Points
) -> None:
    seen = []

    def verb(driver: Qcow2Storage) -> None:
        driver.reclaim(DRIVE, keep=keep, head=4)

    kept = {layer: NOW[layer] for layer in (*keep, 4)}
    for effect, pool, dead in live_crashes(template, verb, tmp_path, only=() if points.are_all else [telling]):
        seen.append(effect)
        assert_layers_read(dead, kept)
        verb(Qcow2Storage(dead))
        assert_layers_read(dead, kept)
        assert_tidy(dead, set(kept))
        assert marks(pool, 0, 1, 2, 3) == [3, 1, 2, 0]
        put(pool, 3, 8)
        verb(Qcow2Storage(pool))
        assert marks(pool, 0, 1, 2, 3) == [3, 1, 2, 8]
        put(pool, 3, 9)
        Qcow2Storage(pool).deactivate(DRIVE)
        assert_layers_read(pool, {**kept, 4: {**NOW[4], 3: 9}})
        assert_tidy(pool, set(kept))
    assert telling in seen


@MERGES
def test_space_that_a_server_gave_back_stays_empty_after_a_merge(pool: Path, keep: list[int], telling: str) -> None:
    del telling
    driver = Qcow2Storage(pool)
    driver.deactivate(DRIVE)
    driver.revert(DRIVE, onto=1, new_layer=5)
    driver.reclaim(DRIVE, keep=[1], head=5)
    driver.activate(DRIVE)
    discard = ["fallocate", "--punch-hole", "--offset", "0", "--length", str(BLOCK), str(device_of(pool))]
    subprocess.run(discard, check=True)
    driver.snapshot(DRIVE, frozen=5, new_layer=6)
    put(pool, 3, 3)
    driver.snapshot(DRIVE, frozen=6, new_layer=7)
    assert marks(pool, 0, 1, 3) == [0, 1, 3]

    # As above: what was layer 2 is 5 now, 3 is 6, and 4 is 7.
    driver.reclaim(DRIVE, keep=[{1: 1, 2: 5, 3: 6}[layer] for layer in keep], head=7)

    assert marks(pool, 0, 1, 3) == [0, 1, 3]
    driver.deactivate(DRIVE)
    assert_layers_read(pool, {7: {0: 0, 1: 1, 3: 3}})


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Path]:
    """An active drive whose merges take long: layers 1 to 4 hold 6, 4, 2 and no MiB, each its own number."""
    pool = tmp_path / "pool"
    pool.mkdir()
    driver = Qcow2Storage(pool)
    disk = Disk(driver, size_bytes=64 * MIB)
    for mark, mib in ((1, 6), (2, 4), (3, 2)):
        driver.write(DRIVE, offset=mark * 8 * MIB, data=bytes([mark]) * mib * MIB)
        disk.snapshot()
    driver.activate(DRIVE)
    yield pool
    ended(pool)


SLOW = 1024 * 1024
LARGE = (8 * 16, 13 * 16 + 15, 16 * 16, 19 * 16 + 15, 24 * 16, 25 * 16 + 15, 0, 40 * 16)


@pytest.mark.parametrize("keep", [[1, 3], [1, 2]], ids=["upper-into-lower", "into-the-top"])
def test_merge_stops_soon_and_changes_nothing(large: Path, keep: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Qcow2Storage(large)
    asked: list[float] = []

    def enough() -> bool:
        asked.append(time.monotonic())
        return len(asked) > 20

    with monkeypatch.context() as patch:
        patch.setattr("editor.storage.live.BYTES_PER_SECOND", SLOW)
        assert driver.reclaim(DRIVE, keep=keep, head=4, should_stop=enough) is False
        stopped = time.monotonic()

    assert stopped - asked[-1] < 0.5  # on a busy machine; a tenth of it otherwise
    assert driver.layers(DRIVE) == {1, 2, 3, 4}
    assert marks(large, *LARGE) == [1, 1, 2, 2, 3, 3, 0, 0]
    assert driver.reclaim(DRIVE, keep=keep, head=4) is True
    assert driver.layers(DRIVE) == {*keep, 4}
    assert marks(large, *LARGE) == [1, 1, 2, 2, 3, 3, 0, 0]


def test_merge_gives_way_to_a_snapshot(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("editor.storage.live.BYTES_PER_SECOND", SLOW)
    driver = Qcow2Storage(large)
    begun = threading.Event()

    def asked() -> bool:
        begun.set()
        return False

    with ThreadPoolExecutor(1) as threads:
        merging = threads.submit(driver.reclaim, DRIVE, keep=[1, 3], head=4, should_stop=asked)
        assert begun.wait(10)

        driver.snapshot(DRIVE, frozen=4, new_layer=5)

        assert (merging.result(), driver.head(DRIVE)) == (False, 5)
    assert marks(large, *LARGE) == [1, 1, 2, 2, 3, 3, 0, 0]


def test_merge_leaves_room_to_servers(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("editor.storage.live.SPARED_PERCENT", 100)

    refused = failure(lambda: Qcow2Storage(large).reclaim(DRIVE, keep=[1, 3], head=4))

    assert str(refused).startswith("The storage pool has too little room to give back that of deleted snapshots")
    assert_tidy_but_for_the_daemon(large, {1, 2, 3, 4})


def assert_tidy_but_for_the_daemon(pool: Path, layers: set[int]) -> None:
    Qcow2Storage(pool).deactivate(DRIVE)
    assert_tidy(pool, layers, check=True)


# Daemons that die, and that hang


def test_drive_of_a_killed_daemon_is_inactive_and_can_be_active_again(pool: Path) -> None:
    driver = Qcow2Storage(pool)
    put(pool, 3, 9)
    held = os.open(device_of(pool), os.O_RDONLY)  # as a target has it open still
    killed(pool)

    assert driver.devices() == {}
    assert driver.used_bytes(DRIVE) >= 6 * BLOCK
    assert driver.read(DRIVE, offset=3 * BLOCK, length=512) == bytes([9]) * 512
    assert [found.strange for found in driver.audit()] == [()]
    with pytest.raises(OSError, match="not connected"):
        os.pread(held, 512, 0)

    driver.activate(DRIVE)

    assert (marks(pool, 0, 3), list(driver.devices())) == ([3, 9], [DRIVE])
    with suppress(OSError):
        os.close(held)


def test_daemon_that_is_dying_is_replaced(pool: Path) -> None:
    for _ in range(5):
        os.kill(process_of(pool), signal.SIGKILL)  # it takes a moment, which differs

        Qcow2Storage(pool).activate(DRIVE)

        assert marks(pool, 0) == [3]


def test_drive_of_a_killed_daemon_is_reverted_and_deleted(pool: Path) -> None:
    driver = Qcow2Storage(pool)
    killed(pool)

    driver.revert(DRIVE, onto=1, new_layer=5)
    driver.activate(DRIVE)
    assert marks(pool, 0, 1, 2) == [1, 1, 0]
    killed(pool)
    driver.delete_drive(DRIVE)

    assert (driver.audit(), list(pool.iterdir())) == ([], [])


def test_drive_whose_head_was_damaged_is_deactivated_and_reverted(pool: Path) -> None:
    driver = Qcow2Storage(pool)
    with (folder_of(pool) / "layer-4.qcow2").open("r+b") as file:
        file.write(b"not an image")

    driver.deactivate(DRIVE)
    driver.revert(DRIVE, onto=3, new_layer=5)
    driver.activate(DRIVE)

    assert marks(pool, 0, 1, 2) == [3, 1, 2]


def test_device_that_somebody_unmounted_is_made_anew(pool: Path) -> None:
    driver = Qcow2Storage(pool)
    before = process_of(pool)
    subprocess.run(["fusermount3", "-u", "-z", str(device_of(pool))], check=True)
    assert (driver.devices(), device_of(pool).stat().st_size) == ({}, 0)

    driver.activate(DRIVE)

    assert (marks(pool, 0), process_of(pool) != before) == ([3], True)


def test_clusters_that_a_killed_daemon_took_are_given_back(pool: Path) -> None:
    image = folder_of(pool) / "layer-4.qcow2"
    killed(pool)
    with image.open("r+b") as file:
        clusters = -(-file.seek(0, os.SEEK_END) // BLOCK)
        file.truncate((clusters + 1) * BLOCK)
        # Count one more cluster as used, in the first refcount block, which is the third cluster; 16 bits each.
        file.seek(2 * BLOCK + 2 * clusters)
        file.write(b"\0\1")
    assert subprocess.run(["qemu-img", "check", "-q", image], check=False).returncode == 3

    Qcow2Storage(pool).activate(DRIVE)

    Qcow2Storage(pool).deactivate(DRIVE)
    assert_layers_read(pool, NOW)
    assert_tidy(pool, {1, 2, 3, 4}, check=True)


@pytest.fixture
def stopped(pool: Path) -> Path:
    """A pool whose daemon does nothing."""
    os.kill(process_of(pool), signal.SIGSTOP)
    return pool


MUTE = "The storage daemon that serves this drive does not answer."
SECONDS = 0.1


def test_verbs_wait_for_a_daemon_that_hangs_only_so_long(stopped: Path) -> None:
    driver = Qcow2Storage(stopped, program_seconds=SECONDS)
    asked: list[Callable[[], object]] = [
        lambda: driver.activate(DRIVE),
        lambda: driver.snapshot(DRIVE, frozen=4, new_layer=5),
        lambda: driver.reclaim(DRIVE, keep=[1], head=4),
        lambda: driver.used_bytes(DRIVE),
        lambda: driver.written_since(DRIVE, [1]),
        lambda: driver.deactivate(DRIVE),
    ]
    moved: list[Callable[[], object]] = [
        lambda: driver.read(DRIVE, offset=0, length=512),
        lambda: driver.write(DRIVE, offset=0, data=bytes(512)),
        lambda: driver.sha256(DRIVE),
    ]
    started = time.monotonic()

    for attempt in asked:
        assert str(failure(attempt)).startswith(MUTE)
    for attempt in moved:
        assert "did not answer in time and was stopped" in str(failure(attempt))

    assert time.monotonic() - started < 20
    assert (driver.head(DRIVE), driver.layers(DRIVE), list(driver.devices())) == (4, {1, 2, 3, 4}, [DRIVE])


def test_daemon_that_hangs_is_ended_when_it_goes_on(stopped: Path) -> None:
    failure(lambda: Qcow2Storage(stopped, program_seconds=SECONDS).deactivate(DRIVE))
    os.kill(process_of(stopped), signal.SIGCONT)

    Qcow2Storage(stopped).deactivate(DRIVE)

    assert_layers_read(stopped, NOW)
    assert_tidy(stopped, {1, 2, 3, 4}, check=True)


@pytest.mark.parametrize("command", ["blockdev-add", "blockdev-snapshot"])
def test_what_became_of_a_snapshot_of_a_daemon_that_hung_is_found_out(
    pool: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient, driver = Qcow2Storage(pool, program_seconds=SECONDS), Qcow2Storage(pool)
    real = Monitor.execute

    def execute(self, told, arguments=None):
        if told == command:
            os.kill(process_of(pool), signal.SIGSTOP)
        return real(self, told, arguments)

    monkeypatch.setattr(Monitor, "execute", execute)
    unknown = str(failure(lambda: impatient.snapshot(DRIVE, frozen=4, new_layer=5)))
    assert "Whether the snapshot was made is not known yet" in unknown
    assert str(failure(lambda: impatient.abandon(DRIVE, new_layer=5))).startswith(MUTE)
    os.kill(process_of(pool), signal.SIGCONT)
    put(pool, 3, 8)

    undone = driver.abandon(DRIVE, new_layer=5)

    assert driver.head(DRIVE) == (4 if undone else 5)
    driver.deactivate(DRIVE)
    assert_layers_read(pool, {**TRUTH, driver.head(DRIVE): {**TRUTH[3], 3: 8}})


def test_snapshot_of_a_daemon_that_dies_meanwhile_holds_what_was_flushed(
    pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Qcow2Storage(pool)
    put(pool, 3, 8)
    real = Monitor.execute

    def execute(self, told, arguments=None):
        if told == "blockdev-snapshot":
            os.kill(process_of(pool), signal.SIGKILL)
        return real(self, told, arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "execute", execute)
        driver.snapshot(DRIVE, frozen=4, new_layer=5)

    driver.activate(DRIVE)
    put(pool, 3, 9)
    driver.deactivate(DRIVE)
    assert_layers_read(pool, {**TRUTH, 4: {**TRUTH[3], 3: 8}, 5: {**TRUTH[3], 3: 9}})


# A full pool


@pytest.fixture
def small(template: Path, tmp_path: Path) -> Iterator[Path]:
    """The pool on a file system of 8 MiB, its drive active."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"needs the right to mount: {mounted.stderr.strip()}")
    with active(template, disk / "pool") as pool:
        yield pool
    subprocess.run(["umount", str(disk)], check=True)


def test_full_pool_fails_writes_and_loses_nothing(small: Path) -> None:
    driver = Qcow2Storage(small)
    put(small, 3, 8)
    ballast = small.parent / "ballast"
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=4k"], capture_output=True, check=False)

    with pytest.raises(OSError, match="No space left"):
        put(small, 9, 9)
    assert "The storage pool is full." in str(failure(lambda: driver.snapshot(DRIVE, frozen=4, new_layer=5)))
    assert "too little room" in str(failure(lambda: driver.reclaim(DRIVE, keep=[1], head=4)))
    assert (driver.head(DRIVE), driver.layers(DRIVE), marks(small, 0, 3)) == (4, {1, 2, 3, 4}, [3, 8])

    ballast.unlink()
    put(small, 9, 9)
    driver.snapshot(DRIVE, frozen=4, new_layer=5)
    driver.deactivate(DRIVE)
    assert_layers_read(small, {**TRUTH, 4: {**TRUTH[3], 3: 8, 9: 9}})
    assert_tidy(small, {1, 2, 3, 4, 5}, check=True)
