"""The qcow2 engine, broken off at every point of every verb: what is left is whole, and can be finished."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from editor.storage import Found, StorageError
from editor.storage.qcow2 import Qcow2Storage
from tests.killing import Points

from .images import TRUTH, Marks, assert_layers_read, assert_tidy, copied, crashes, effects, prepared
from .storage import BLOCK, DRIVE, MIB, SIZE, Disk

EMPTY: Marks = dict.fromkeys(range(4), 0)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pool = tmp_path_factory.mktemp("template") / "pool"
    prepared(pool)
    return pool


@pytest.fixture
def pool(template: Path, tmp_path: Path) -> Path:
    return copied(template, tmp_path / "pool")


def test_snapshot_is_finished_by_repeating_it(template: Path, tmp_path: Path, points: Points) -> None:
    def verb(driver: Qcow2Storage) -> None:
        driver.snapshot(DRIVE, frozen=3, new_layer=4)

    for left in crashes(template, verb, tmp_path, points):
        verb(Qcow2Storage(left))

        assert Qcow2Storage(left).head(DRIVE) == 4
        assert_layers_read(left, {**TRUTH, 4: TRUTH[3]})
        assert_tidy(left, {1, 2, 3, 4})


def test_revert_is_finished_by_repeating_it(template: Path, tmp_path: Path, points: Points) -> None:
    def verb(driver: Qcow2Storage) -> None:
        driver.revert(DRIVE, onto=1, new_layer=4)

    for left in crashes(template, verb, tmp_path, points):
        verb(Qcow2Storage(left))

        assert Qcow2Storage(left).head(DRIVE) == 4
        assert_layers_read(left, {**TRUTH, 4: {**TRUTH[1], 63: 0}})
        assert_tidy(left, {1, 2, 3, 4})


def test_growth_is_finished_by_repeating_it(template: Path, tmp_path: Path, points: Points) -> None:
    size_bytes = 1024**4  # needs a larger table, not only another number in the header

    def verb(driver: Qcow2Storage) -> None:
        driver.grow(DRIVE, size_bytes=size_bytes)

    for left in crashes(template, verb, tmp_path, points):
        assert_layers_read(left, TRUTH)

        verb(Qcow2Storage(left))

        assert Qcow2Storage(left).size_bytes(DRIVE) == size_bytes
        assert_layers_read(left, {**TRUTH, 3: {**TRUTH[3], size_bytes // BLOCK - 1: 0}})
        assert_tidy(left, {1, 2, 3})


@pytest.mark.parametrize("verb", ["snapshot", "revert"])
def test_switch_that_is_repeated_after_growth_does_not_undo_it(pool: Path, verb: str) -> None:
    def attempt(driver: Qcow2Storage) -> None:
        if verb == "snapshot":
            driver.snapshot(DRIVE, frozen=3, new_layer=4)
        else:
            driver.revert(DRIVE, onto=1, new_layer=4)

    with effects(at=5) as watch:
        attempt(Qcow2Storage(pool))
    assert watch.seen[-1] == "symlink new-head"  # the new layer is there, the switch did not happen
    driver = Qcow2Storage(pool)
    driver.grow(DRIVE, size_bytes=2 * SIZE)

    attempt(driver)

    assert driver.size_bytes(DRIVE) == 2 * SIZE
    assert_layers_read(pool, {**TRUTH, 4: {**TRUTH[3 if verb == "snapshot" else 1], 127: 0}})


@pytest.mark.parametrize("verb", ["snapshot", "revert"])
def test_unfinished_verb_is_abandoned_or_had_happened(
    template: Path, tmp_path: Path, verb: str, points: Points
) -> None:
    def attempt(driver: Qcow2Storage) -> None:
        if verb == "snapshot":
            driver.snapshot(DRIVE, frozen=3, new_layer=4)
        else:
            driver.revert(DRIVE, onto=2, new_layer=4)

    answers = []
    for left in crashes(template, attempt, tmp_path, points):
        driver = Qcow2Storage(left)

        answers.append(driver.abandon(DRIVE, new_layer=4))

        head, layers = (3, {1, 2, 3}) if answers[-1] else (4, {1, 2, 3, 4})
        assert driver.head(DRIVE) == head
        assert_layers_read(left, {**TRUTH, 4: TRUTH[3 if verb == "snapshot" else 2]} if head == 4 else TRUTH)
        assert_tidy(left, layers)
    # Undone up to one point, rolled forward from there on.
    assert answers == sorted(answers, reverse=True)
    assert set(answers) == {True, False}


@pytest.mark.parametrize(
    ("keep", "program"),
    [([2], "qemu-io -C"), ([1], "qemu-img commit")],
    ids=["lower-into-upper", "upper-into-lower"],
)
def test_merge_changes_no_content_wherever_it_ends(
    template: Path, tmp_path: Path, keep: list[int], program: str, points: Points
) -> None:
    def verb(driver: Qcow2Storage) -> None:
        driver.reclaim(DRIVE, keep=keep, head=3)

    unbroken = copied(template, tmp_path / "pool")
    with effects() as whole:
        verb(Qcow2Storage(unbroken))
    assert program in whole.seen
    kept = {layer: TRUTH[layer] for layer in (*keep, 3)}
    for left in crashes(template, verb, tmp_path, points):
        assert_layers_read(left, kept)

        verb(Qcow2Storage(left))

        assert_layers_read(left, kept)
        assert_tidy(left, set(kept), check=True)


def test_unlinking_is_finished_by_repeating_it(template: Path, tmp_path: Path, points: Points) -> None:
    reverted = copied(template, tmp_path / "reverted")
    Qcow2Storage(reverted).revert(DRIVE, onto=1, new_layer=4)

    for left in crashes(reverted, lambda driver: driver.reclaim(DRIVE, keep=[1], head=4), tmp_path, points):
        assert_layers_read(left, {1: TRUTH[1], 4: TRUTH[1]})

        assert Qcow2Storage(left).reclaim(DRIVE, keep=[1], head=4) is True

        assert_layers_read(left, {1: TRUTH[1], 4: TRUTH[1]})
        assert_tidy(left, {1, 4})


def test_creation_is_finished_by_repeating_it(tmp_path: Path, points: Points) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()

    def verb(driver: Qcow2Storage) -> None:
        driver.create_drive(DRIVE, layer=1, size_bytes=SIZE)

    for left in crashes(empty, verb, tmp_path, points):
        verb(Qcow2Storage(left))

        assert_layers_read(left, {1: EMPTY})
        assert_tidy(left, {1})


def test_creation_that_nobody_repeats_is_cleared_away(tmp_path: Path, points: Points) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()

    def verb(driver: Qcow2Storage) -> None:
        driver.create_drive(DRIVE, layer=1, size_bytes=SIZE)

    for left in crashes(empty, verb, tmp_path, points):
        driver = Qcow2Storage(left)
        made = (left / f"drive-{DRIVE}" / "head").is_symlink()

        assert driver.clear(DRIVE) is not made

        assert driver.audit() == ([Found(DRIVE, 1, frozenset({1}), ())] if made else [])
        assert made or not list(left.iterdir())


def test_data_without_a_head_is_not_cleared_away(pool: Path) -> None:
    (pool / f"drive-{DRIVE}" / "head").unlink()

    assert Qcow2Storage(pool).clear(DRIVE) is False
    assert_layers_read(pool, TRUTH)


@pytest.mark.parametrize("verb", ["snapshot", "delete_drive"])
def test_what_nobody_repeats_is_cleaned(template: Path, tmp_path: Path, verb: str, points: Points) -> None:
    def attempt(driver: Qcow2Storage) -> None:
        if verb == "snapshot":
            driver.snapshot(DRIVE, frozen=3, new_layer=4)
        else:
            driver.delete_drive(DRIVE)

    for left in crashes(template, attempt, tmp_path, points):
        before = {path for path in left.rglob("*") if path.name.startswith(("new-", "deleted-"))}
        driver = Qcow2Storage(left)
        assert list(driver.clean(spare={DRIVE})) == []

        said = list(driver.clean(spare=()))

        assert bool(said) == bool(before)
        assert not {path for path in left.rglob("*") if path.name.startswith(("new-", "deleted-"))}
        if (left / f"drive-{DRIVE}").exists():
            assert_layers_read(left, {**TRUTH, 4: TRUTH[3]} if driver.head(DRIVE) == 4 else TRUTH)


def test_creation_with_another_size_starts_over(tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    (tmp_path / "whole").mkdir()
    with effects() as whole:
        Qcow2Storage(tmp_path / "whole").create_drive(DRIVE, layer=1, size_bytes=SIZE)
    with effects(at=whole.seen.index("symlink new-head")):
        Qcow2Storage(pool).create_drive(DRIVE, layer=1, size_bytes=SIZE)
    driver = Qcow2Storage(pool)

    driver.create_drive(DRIVE, layer=1, size_bytes=2 * SIZE)

    assert driver.read(DRIVE, offset=2 * SIZE - BLOCK, length=BLOCK) == bytes(BLOCK)
    assert_tidy(pool, {1})


def test_deletion_is_finished_by_repeating_it_and_brings_no_bytes_back(
    template: Path, tmp_path: Path, points: Points
) -> None:
    for left in crashes(template, lambda driver: driver.delete_drive(DRIVE), tmp_path, points):
        driver = Qcow2Storage(left)

        marks = Disk(driver).marks(0, 1, 2, 3)
        driver.delete_drive(DRIVE)

        assert marks in ([0, 0, 0, 0], [3, 1, 2, 0])  # made anew, or never deleted; nothing in between
        assert (driver.audit(), list(left.iterdir())) == ([], [])


def test_order_of_a_snapshot_survives_a_power_cut(pool: Path) -> None:
    with effects() as watch:
        Qcow2Storage(pool).snapshot(DRIVE, frozen=3, new_layer=4)

    assert watch.seen == [
        "open lock",
        "qemu-img create",
        "fsync new-layer-4.qcow2",
        "rename layer-4.qcow2",
        f"fsync drive-{DRIVE}",
        "symlink new-head",
        "rename head",
        f"fsync drive-{DRIVE}",
    ]


def test_order_of_growth_survives_a_power_cut(pool: Path) -> None:
    with effects() as watch:
        for _ in range(2):
            Qcow2Storage(pool).grow(DRIVE, size_bytes=2 * SIZE)

    durable = ["fsync layer-3.qcow2", f"fsync drive-{DRIVE}"]
    assert watch.seen == ["open lock", "qemu-img resize", *durable, "open lock", *durable]


def test_order_of_both_merges_survives_a_power_cut(pool: Path) -> None:
    with effects() as watch:
        Qcow2Storage(pool).reclaim(DRIVE, keep=[], head=3)

    assert watch.seen == [
        "open lock",
        "open layer-2.merging",
        f"fsync drive-{DRIVE}",
        "qemu-img commit",
        "fsync layer-2.qcow2",
        "rename layer-3.qcow2",
        f"fsync drive-{DRIVE}",
        "unlink layer-2.merging",
        "open layer-1.merging",
        f"fsync drive-{DRIVE}",
        "qemu-img map",
        "qemu-io -C",
        "qemu-img map",
        "fsync layer-3.qcow2",
        "qemu-img rebase",
        "fsync layer-3.qcow2",
        "unlink layer-1.qcow2",
        "unlink layer-1.merging",
        f"fsync drive-{DRIVE}",
    ]


def test_lower_layer_is_durable_as_large_as_an_empty_upper_one(pool: Path) -> None:
    driver = Qcow2Storage(pool)
    driver.snapshot(DRIVE, frozen=3, new_layer=4)
    driver.grow(DRIVE, size_bytes=2 * SIZE)
    with effects(at=3, how="after") as broken:
        driver.reclaim(DRIVE, keep=[1, 2], head=4)
    assert broken.seen[-1] == "qemu-img commit"

    with effects() as watch:
        driver.reclaim(DRIVE, keep=[1, 2], head=4)

    assert watch.seen[-4:] == [
        "fsync layer-3.qcow2",
        "rename layer-4.qcow2",
        f"fsync drive-{DRIVE}",
        "unlink layer-3.merging",
    ]
    assert_layers_read(pool, {1: TRUTH[1], 2: TRUTH[2], 4: {**TRUTH[3], 127: 0}})


def test_what_an_earlier_attempt_copied_is_durable_before_the_lower_layer_is_left(pool: Path) -> None:
    with effects(at=5) as broken:
        Qcow2Storage(pool).reclaim(DRIVE, keep=[2], head=3)
    assert broken.seen[-2:] == ["qemu-io -C", "qemu-img map"]

    with effects() as watch:
        Qcow2Storage(pool).reclaim(DRIVE, keep=[2], head=3)

    assert watch.seen[3:6] == ["qemu-img map", "fsync layer-2.qcow2", "qemu-img rebase"]


def test_repeating_a_switch_makes_it_durable(pool: Path) -> None:
    driver = Qcow2Storage(pool)
    driver.snapshot(DRIVE, frozen=3, new_layer=4)

    with effects() as watch:
        driver.snapshot(DRIVE, frozen=3, new_layer=4)
        driver.abandon(DRIVE, new_layer=4)

    assert watch.seen == ["open lock", f"fsync drive-{DRIVE}"] * 2


def test_half_merged_layer_is_given_to_nobody(pool: Path, tmp_path: Path) -> None:
    with effects(at=4, how="before") as watch:
        Qcow2Storage(pool).reclaim(DRIVE, keep=[1], head=3)
    assert watch.seen[-2:] == ["qemu-img commit", "fsync layer-2.qcow2"]
    driver = Qcow2Storage(pool)

    for attempt in (
        lambda: driver.revert(DRIVE, onto=2, new_layer=4),
        lambda: driver.reclaim(DRIVE, keep=[1, 2], head=3),
    ):
        with pytest.raises(StorageError) as refused:
            attempt()
        assert refused.value.permanent is True
    driver.revert(DRIVE, onto=1, new_layer=4)
    driver.reclaim(DRIVE, keep=[1], head=4)
    assert_tidy(pool, {1, 4}, check=True)


def test_clusters_that_a_killed_writer_took_are_given_back(pool: Path) -> None:
    image = pool / f"drive-{DRIVE}" / "layer-2.qcow2"
    image.with_name("layer-2.merging").touch()
    with image.open("r+b") as file:
        clusters = -(-file.seek(0, os.SEEK_END) // BLOCK)
        file.truncate((clusters + 1) * BLOCK)
        # Count one more cluster as used, in the first refcount block, which is the third cluster; 16 bits each.
        file.seek(2 * BLOCK + 2 * clusters)
        file.write(b"\0\1")
    assert subprocess.run(["qemu-img", "check", "-q", image], check=False).returncode == 3

    assert Qcow2Storage(pool).reclaim(DRIVE, keep=[1], head=3) is True

    assert_layers_read(pool, {1: TRUTH[1], 3: TRUTH[3]})
    assert_tidy(pool, {1, 3}, check=True)


@pytest.mark.parametrize("polls", [2, 3])
@pytest.mark.parametrize(("lower", "upper"), [(24, 20), (20, 24)], ids=["upper-into-lower", "lower-into-upper"])
def test_killed_writers_leave_whole_images(tmp_path: Path, lower: int, upper: int, polls: int) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    driver = Qcow2Storage(pool)
    disk = Disk(driver, size_bytes=64 * MIB)
    for number, (mark, length) in enumerate([(1, lower), (2, upper)]):
        driver.write(DRIVE, offset=number * 10 * MIB, data=bytes([mark]) * length * MIB)
        disk.snapshot()
    truth = {3: dict.fromkeys(range(10 * 16), 1) | dict.fromkeys(range(10 * 16, (10 + upper) * 16), 2)}
    asked = 0

    def enough() -> bool:
        nonlocal asked
        asked += 1
        return asked > polls

    driver.reclaim(DRIVE, keep=[2], head=3, should_stop=enough)

    assert_layers_read(pool, truth)
    assert driver.reclaim(DRIVE, keep=[2], head=3) is True
    assert_layers_read(pool, truth)
    assert_tidy(pool, {2, 3}, check=True)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


class Gate:
    """A qemu-img that says when it starts a command (`commit`, until told otherwise), and waits until it is let go."""

    def __init__(self, folder: Path) -> None:
        self.started, self.go = folder / "started", folder / "go"
        os.mkfifo(self.started)
        os.mkfifo(self.go)
        self.program = folder / "qemu-img"
        self.stands_before("commit")

    def stands_before(self, command: str) -> None:
        self.program.write_text(
            "#!/bin/sh\n"
            f'if [ "$1" = {command} ]; then echo >{self.started}; read -r _ <{self.go}; fi\n'
            'exec qemu-img "$@"\n'
        )
        self.program.chmod(0o700)

    def wait(self) -> None:
        self.started.read_text()

    def open(self) -> None:
        self.go.write_text("go\n")


def killed_worker(pool: Path, gate: Gate, verb: str) -> None:
    """A process that was killed while its qemu-img stood at the gate."""
    code = (
        "import sys; from pathlib import Path; from editor.storage.qcow2 import Qcow2Storage\n"
        f"Qcow2Storage(Path(sys.argv[1]), qemu_img=sys.argv[2]).{verb}"
    )
    worker = subprocess.Popen([sys.executable, "-c", code, str(pool), str(gate.program)])
    gate.wait()
    worker.kill()
    assert worker.wait() == -signal.SIGKILL


def test_program_that_outlives_us_keeps_the_drive_locked(pool: Path, gate: Gate) -> None:
    gate.stands_before("create")
    killed_worker(pool, gate, f"snapshot({DRIVE}, frozen=3, new_layer=4)")

    impatient = Qcow2Storage(pool, busy_seconds=0.02)
    with pytest.raises(StorageError, match="busy with another operation") as busy:
        impatient.snapshot(DRIVE, frozen=3, new_layer=4)

    assert (busy.value.permanent, impatient.head(DRIVE), impatient.used_bytes(DRIVE)) == (False, 3, 5 * BLOCK)
    gate.open()
    driver = Qcow2Storage(pool)
    driver.snapshot(DRIVE, frozen=3, new_layer=4)
    assert driver.reclaim(DRIVE, keep=[1, 3], head=4) is True
    assert_layers_read(pool, {1: TRUTH[1], 3: TRUTH[3], 4: TRUTH[3]})
    assert_tidy(pool, {1, 3, 4}, check=True)


def test_merge_does_not_outlive_us(pool: Path, gate: Gate) -> None:
    killed_worker(pool, gate, f"reclaim({DRIVE}, keep=[1], head=3)")

    driver = Qcow2Storage(pool)  # while the gate is still shut
    driver.snapshot(DRIVE, frozen=3, new_layer=4)

    assert driver.reclaim(DRIVE, keep=[1, 3], head=4) is True
    assert_layers_read(pool, {1: TRUTH[1], 3: TRUTH[3], 4: TRUTH[3]})
    assert_tidy(pool, {1, 3, 4}, check=True)


def test_merge_gives_way_to_whoever_wants_the_drive(pool: Path, gate: Gate) -> None:
    driver = Qcow2Storage(pool, qemu_img=str(gate.program))
    answers: list[bool] = []
    merging = threading.Thread(target=lambda: answers.append(driver.reclaim(DRIVE, keep=[1], head=3)))
    merging.start()
    gate.wait()

    driver.snapshot(DRIVE, frozen=3, new_layer=4)

    merging.join()
    assert (answers, driver.head(DRIVE)) == ([False], 4)
    assert Qcow2Storage(pool).reclaim(DRIVE, keep=[1, 3], head=4) is True
    assert_layers_read(pool, {1: TRUTH[1], 3: TRUTH[3], 4: TRUTH[3]})
    assert_tidy(pool, {1, 3, 4}, check=True)
