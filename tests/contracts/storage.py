"""What every storage engine must do: one class of tests, run against each of them, and against engines that lie.

An engine's own test module makes a `driver` fixture, an empty pool, and subclasses StorageContract.
"""

from __future__ import annotations

from contextlib import suppress
from typing import ClassVar

import pytest

from editor.storage import StorageDriver, StorageError
from editor.storage.base import HASH_BLOCK_BYTES, MAX_DEPTH, content_hash

MIB = 1024 * 1024
SIZE = 4 * MIB
BLOCK = 64 * 1024
ODD = 512
"""What makes a drive end inside a block, where its layers store more than they show."""
DRIVE = 7


def content(mark: int) -> bytes:
    """A block that only holds one byte value."""
    return bytes([mark]) * BLOCK


class Disk:
    """A drive under test: counts layers as the database does, and writes and reads marks instead of bytes."""

    def __init__(self, driver: StorageDriver, drive: int = DRIVE, size_bytes: int = SIZE) -> None:
        self.driver = driver
        self.drive = drive
        self.reserved = 1
        driver.create_drive(drive, layer=1, size_bytes=size_bytes)

    def put(self, mark: int, *, block: int = 0) -> None:
        self.driver.write(self.drive, offset=block * BLOCK, data=content(mark))

    def marks(self, *blocks: int) -> list[int]:
        """What the first blocks of the drive hold; each must hold one value only."""
        length = (max(blocks) + 1) * BLOCK
        data = self.driver.read(self.drive, offset=0, length=length)
        assert len(data) == length
        found = [data[block * BLOCK : (block + 1) * BLOCK] for block in blocks]
        assert [block.count(block[0]) for block in found] == [BLOCK] * len(blocks)
        return [block[0] for block in found]

    def mark(self) -> int:
        return self.marks(0)[0]

    def snapshot(self) -> int:
        """Takes a snapshot and answers its layer."""
        frozen = self.driver.head(self.drive)
        self.driver.snapshot(self.drive, frozen=frozen, new_layer=self.reserve())
        return frozen

    def revert(self, onto: int) -> None:
        self.driver.revert(self.drive, onto=onto, new_layer=self.reserve())

    def grow(self, size_bytes: int) -> None:
        self.driver.grow(self.drive, size_bytes=size_bytes)

    def reserve(self) -> int:
        self.reserved += 1
        return self.reserved

    def reclaim(self, *keep: int) -> None:
        """Removes all but these snapshots and the head."""
        assert self.driver.reclaim(self.drive, keep=keep, head=self.head) is True

    def revert_and_forget(self, onto: int, *older: int) -> None:
        """A revert as the product does it: what is newer goes."""
        self.revert(onto)
        self.reclaim(*older, onto)

    @property
    def head(self) -> int:
        return self.driver.head(self.drive)

    @property
    def layers(self) -> frozenset[int]:
        return self.driver.layers(self.drive)

    def snapshots_with_marks(self, *marks: int) -> list[int]:
        """For each mark, writes it and takes a snapshot; block n holds the n-th mark, block 0 the last."""
        layers = []
        for number, mark in enumerate(marks, start=1):
            self.put(mark)
            self.put(mark, block=number)
            layers.append(self.snapshot())
        return layers


def is_of(blocks: int, counted: int, object_bytes: int) -> bool:
    """Whether that many bytes is what an engine may say of so many blocks."""
    return blocks * BLOCK <= counted <= blocks * object_bytes


class StorageContract:
    """Promises of StorageDriver."""

    chained: ClassVar[bool] = True
    """Whether layers stand on one another: then their number is bounded, and one that carries several cannot go."""

    object_bytes: ClassVar[int] = BLOCK
    """In what the engine counts what is held: in larger objects than blocks, a block counts up to a whole one."""

    def test_nothing_is_removed_for_a_caller_who_knows_another_head(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        disk.snapshots_with_marks(1, 2)
        layers = disk.layers

        with pytest.raises(StorageError) as refusal:
            driver.reclaim(DRIVE, keep=(1, 2), head=2)

        assert refusal.value.permanent
        assert disk.layers == layers

    def test_switch_to_a_layer_that_stands_elsewhere_is_refused(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        first, _second = disk.snapshots_with_marks(1, 2)
        disk.put(3)

        with pytest.raises(StorageError) as refusal:
            driver.revert(DRIVE, onto=first, new_layer=disk.head)

        assert refusal.value.permanent
        assert disk.mark() == 3

    def test_snapshot_that_was_made_is_told_from_a_revert_that_was(self, driver: StorageDriver) -> None:
        """Both have put a new layer on top; whoever asks again says what it has to stand on."""
        disk = Disk(driver)
        first, second = disk.snapshots_with_marks(1, 2)
        before = disk.head
        disk.snapshot()
        after = disk.head
        driver.snapshot(DRIVE, frozen=before, new_layer=after)
        disk.revert(first)

        for layer in (second, before, after):
            with pytest.raises(StorageError) as refusal:
                driver.snapshot(DRIVE, frozen=layer, new_layer=disk.head)
            assert refusal.value.permanent
        driver.snapshot(DRIVE, frozen=first, new_layer=disk.head)
        assert disk.mark() == 1

    def test_new_drive_is_empty(self, driver: StorageDriver) -> None:
        disk = Disk(driver)

        assert disk.marks(0, 63) == [0, 0]
        assert (disk.head, disk.layers, driver.used_bytes(DRIVE)) == (1, {1}, 0)

    def test_creating_a_drive_again_keeps_what_is_on_it(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        disk.put(5)
        disk.snapshot()

        driver.create_drive(DRIVE, layer=1, size_bytes=SIZE)

        assert (disk.mark(), disk.head) == (5, 2)
        with pytest.raises(StorageError) as refused:
            driver.create_drive(DRIVE, layer=1, size_bytes=2 * SIZE)
        assert refused.value.permanent is True

    def test_nothing_is_cleared_away_of_a_drive_that_exists(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        disk.put(5)
        disk.snapshot()

        assert (driver.clear(DRIVE), driver.clear(DRIVE + 1)) == (False, True)
        assert list(driver.clean(spare=())) == []
        assert (disk.mark(), disk.head, disk.layers) == (5, 2, {1, 2})

    def test_written_bytes_are_read_back_at_any_sector(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        data = bytes(range(256)) * 6

        driver.write(DRIVE, offset=4096 - 512, data=data)
        driver.write(DRIVE, offset=SIZE - 512, data=data[:512])

        assert driver.read(DRIVE, offset=4096 - 512, length=1536) == data
        assert driver.read(DRIVE, offset=0, length=4096 - 512) == bytes(4096 - 512)
        assert driver.read(DRIVE, offset=SIZE - 512, length=512) == data[:512]
        assert driver.read(DRIVE, offset=512, length=0) == b""
        assert disk.head == 1

    @pytest.mark.parametrize(("offset", "length"), [(1, 512), (0, 511), (SIZE, 512), (SIZE - 512, 1024), (-512, 512)])
    def test_windows_that_do_not_fit_are_refused(self, driver: StorageDriver, offset: int, length: int) -> None:
        disk = Disk(driver)
        disk.put(1)

        for attempt in (
            lambda: driver.read(DRIVE, offset=offset, length=length),
            lambda: driver.write(DRIVE, offset=offset, data=bytes(length)),
        ):
            with pytest.raises(StorageError) as refused:
                attempt()
            assert (refused.value.permanent, str(refused.value)[-1]) == (True, ".")
        assert disk.mark() == 1

    def test_revert_brings_back_the_bytes_of_the_snapshot(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        disk.put(1)
        disk.put(1, block=9)
        saved = disk.snapshot()
        disk.put(2)
        disk.put(2, block=3)

        disk.revert(saved)

        assert disk.marks(0, 3, 9) == [1, 0, 1]
        disk.put(3)
        assert disk.mark() == 3

    def test_snapshot_changes_nothing_one_sees(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        disk.put(1)
        before = driver.sha256(DRIVE)

        disk.snapshot()

        assert (disk.mark(), driver.sha256(DRIVE), disk.head, disk.layers) == (1, before, 2, {1, 2})

    def test_revert_removes_newer_and_keeps_older(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        first, second, third = disk.snapshots_with_marks(1, 2, 3)

        disk.revert_and_forget(second, first)

        assert disk.layers == {first, second, disk.head}
        assert third not in disk.layers
        assert disk.marks(0, 1, 2, 3) == [2, 1, 2, 0]
        disk.revert_and_forget(first)
        assert disk.marks(0, 1, 2, 3) == [1, 1, 0, 0]

    def test_one_snapshot_is_reverted_to_twice(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        [saved] = disk.snapshots_with_marks(1)
        for mark in (2, 3):
            disk.put(mark)
            disk.revert_and_forget(saved)

            assert disk.mark() == 1
        assert disk.layers == {saved, disk.head}

    @pytest.mark.parametrize("newest", [True, False])
    def test_revert_that_happened_is_confirmed_also_while_the_drive_is_active(
        self, driver: StorageDriver, newest: bool
    ) -> None:
        disk = Disk(driver)
        layers = disk.snapshots_with_marks(1, 2)
        onto = layers[-1] if newest else layers[0]
        disk.revert(onto)
        with suppress(StorageError):  # not on every machine
            driver.activate(DRIVE)

        driver.snapshot(DRIVE, frozen=onto, new_layer=disk.reserved)

        assert (disk.head, disk.mark()) == (disk.reserved, 2 if newest else 1)
        with pytest.raises(StorageError):
            driver.snapshot(DRIVE, frozen=layers[0] if newest else layers[1], new_layer=disk.reserved)
        driver.deactivate(DRIVE)

    def test_revert_unlinks_nothing_by_itself(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        first, second = disk.snapshots_with_marks(1, 2)
        before = disk.layers

        disk.revert(first)

        assert disk.layers == before | {disk.head}
        disk.revert(second)
        assert disk.mark() == 2

    @pytest.mark.parametrize("gone", [0, 1, 2])
    def test_deleting_one_snapshot_keeps_the_others(self, driver: StorageDriver, gone: int) -> None:
        disk = Disk(driver)
        layers = disk.snapshots_with_marks(1, 2, 3)
        disk.put(4)
        now = driver.sha256(DRIVE)
        del layers[gone]

        disk.reclaim(*layers)

        assert disk.layers == {*layers, disk.head}
        assert driver.sha256(DRIVE) == now
        for layer, mark in [(layers[1], [1, 2, 3][:gone] + [1, 2, 3][gone + 1 :])[0:2]]:
            disk.revert(layer)
            assert disk.mark() == mark[1]
        disk.revert(layers[0])
        assert disk.mark() == [2, 1, 1][gone]

    def test_deleting_all_snapshots_leaves_one_layer(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        disk.snapshots_with_marks(1, 2, 3)
        disk.put(4)

        disk.reclaim()

        assert disk.layers == {disk.head}
        assert disk.marks(0, 1, 2, 3, 4) == [4, 1, 2, 3, 0]

    def test_revert_to_one_older_than_a_deleted_one(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        first, _second, third = disk.snapshots_with_marks(1, 2, 3)
        disk.reclaim(first, third)

        disk.revert_and_forget(first)

        assert disk.layers == {first, disk.head}
        assert disk.marks(0, 1, 2, 3) == [1, 1, 0, 0]

    @pytest.mark.parametrize("small", ["upper", "lower"])
    def test_merging_keeps_overwritten_and_zeroed_blocks(self, driver: StorageDriver, small: str) -> None:
        disk = Disk(driver)
        disk.put(1)
        disk.put(1, block=1)
        disk.put(1, block=2)
        first = disk.snapshot()
        disk.put(0)
        disk.put(2, block=1)
        for block in range(4, 4 + 4 * (small == "upper")):
            disk.put(9, block=block)
        disk.snapshot()
        disk.put(3, block=1)
        for block in range(8, 8 + 4 * (small == "lower")):
            disk.put(8, block=block)
        third = disk.snapshot()
        now = driver.sha256(DRIVE)

        disk.reclaim(first, third)

        assert driver.sha256(DRIVE) == now
        assert disk.marks(0, 1, 2, 4, 8) == [0, 3, 1, 9 * (small == "upper"), 8 * (small == "lower")]
        disk.revert(third)
        assert driver.sha256(DRIVE) == now
        disk.revert(first)
        assert disk.marks(0, 1, 2, 4, 8) == [1, 1, 1, 0, 0]

    def test_layer_with_two_children_stays_until_one_is_left(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        base, other = disk.snapshots_with_marks(1, 2)
        disk.revert(base)
        disk.put(3)

        disk.reclaim(other)

        assert disk.layers == {other, disk.head} | ({base} if self.chained else set())
        assert disk.mark() == 3
        disk.reclaim()
        assert (disk.layers, disk.mark()) == ({disk.head}, 3)

    def test_reclaim_ignores_unknown_layers_and_is_repeatable(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        first, second = disk.snapshots_with_marks(1, 2)

        disk.reclaim(second, 99)
        before = disk.layers
        disk.reclaim(second, 99)

        assert disk.layers == before == {second, disk.head}
        assert first not in before

    def test_reclaim_stops_when_asked_and_ends_later(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        disk.snapshots_with_marks(1, 2)
        disk.put(3)

        stopped = driver.reclaim(DRIVE, keep=[], head=disk.head, should_stop=lambda: True)

        assert (stopped, disk.marks(0, 1, 2)) == (False, [3, 1, 2])
        disk.reclaim()
        assert (disk.layers, disk.marks(0, 1, 2)) == ({disk.head}, [3, 1, 2])
        assert driver.reclaim(DRIVE, keep=[], head=disk.head, should_stop=lambda: True) is True

    def test_finished_verbs_can_be_repeated(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        disk.put(1)
        driver.snapshot(DRIVE, frozen=1, new_layer=2)
        disk.put(2)

        driver.snapshot(DRIVE, frozen=1, new_layer=2)

        assert (disk.mark(), disk.head, disk.layers) == (2, 2, {1, 2})
        driver.revert(DRIVE, onto=1, new_layer=3)
        disk.put(3)
        driver.revert(DRIVE, onto=1, new_layer=3)
        assert (disk.mark(), disk.head, disk.layers) == (3, 3, {1, 2, 3})

    def test_snapshot_of_what_is_not_the_head_is_refused(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        first, _second = disk.snapshots_with_marks(1, 2)
        before = disk.layers

        with pytest.raises(StorageError) as refused:
            driver.snapshot(DRIVE, frozen=first, new_layer=9)

        assert (refused.value.permanent, disk.layers, disk.mark()) == (True, before, 2)

    def test_reserved_layer_that_holds_data_is_refused(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        first, second = disk.snapshots_with_marks(1, 2)

        for attempt in (
            lambda: driver.revert(DRIVE, onto=first, new_layer=second),
            lambda: driver.snapshot(DRIVE, frozen=disk.head, new_layer=first),
            lambda: driver.abandon(DRIVE, new_layer=second),
        ):
            with pytest.raises(StorageError) as refused:
                attempt()
            assert refused.value.permanent is True
        disk.revert(second)
        assert disk.marks(0, 1, 2) == [2, 1, 2]

    def test_abandon_undoes_only_what_did_not_happen(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        [first] = disk.snapshots_with_marks(1)
        disk.put(2)

        assert driver.abandon(DRIVE, new_layer=disk.head) is False
        assert driver.abandon(DRIVE, new_layer=9) is True
        assert (disk.mark(), disk.layers) == (2, {first, disk.head})

    def test_revert_onto_a_reclaimed_layer_is_refused(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        first, second = disk.snapshots_with_marks(1, 2)
        disk.reclaim(second)

        with pytest.raises(StorageError) as refused:
            driver.revert(DRIVE, onto=first, new_layer=9)

        assert (refused.value.permanent, disk.layers) == (True, {second, disk.head})

    def test_unknown_drives_are_said_to_be_unknown(self, driver: StorageDriver) -> None:
        attempts = [
            lambda: driver.grow(99, size_bytes=SIZE),
            lambda: driver.head(99),
            lambda: driver.size_bytes(99),
            lambda: driver.layers(99),
            lambda: driver.snapshot(99, frozen=1, new_layer=2),
            lambda: driver.revert(99, onto=1, new_layer=2),
            lambda: driver.abandon(99, new_layer=2),
            lambda: driver.reclaim(99, keep=[], head=1),
            lambda: driver.written_since(99, [1]),
            lambda: driver.used_bytes(99),
            lambda: driver.read(99, offset=0, length=512),
            lambda: driver.write(99, offset=0, data=bytes(512)),
            lambda: driver.sha256(99),
        ]
        for attempt in attempts:
            with pytest.raises(StorageError) as refused:
                attempt()
            assert (refused.value.permanent, "does not exist" in str(refused.value)) == (True, True)
        driver.delete_drive(99)
        assert driver.audit() == []

    def test_deleted_drive_is_gone_and_can_be_made_anew(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        disk.snapshots_with_marks(1, 2)

        driver.delete_drive(DRIVE)
        driver.delete_drive(DRIVE)

        assert driver.audit() == []
        again = Disk(driver)
        assert (again.marks(0, 1, 2), again.layers) == ([0, 0, 0], {1})

    def test_drives_do_not_touch_each_other(self, driver: StorageDriver) -> None:
        one, two = Disk(driver, 1), Disk(driver, 2)
        saved = one.snapshots_with_marks(1)[0]
        two.put(2)
        one.put(3)
        before = driver.sha256(2)

        one.revert_and_forget(saved)
        one.reclaim()
        driver.delete_drive(1)

        assert (two.mark(), two.layers, driver.sha256(2)) == (2, {1}, before)

    def test_written_since_is_zero_until_something_is_written(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        first, second = disk.snapshots_with_marks(1, 2)
        assert driver.written_since(DRIVE, [first, second]) == {first: 2 * BLOCK, second: 0}

        disk.put(3)

        # Block 0 was written twice since the first: once if what differs is counted, twice if what is held.
        assert driver.written_since(DRIVE, [first, second, 99]) in (
            {first: 2 * BLOCK, second: BLOCK},
            {first: 3 * BLOCK, second: BLOCK},
        )
        assert driver.used_bytes(DRIVE) == 5 * BLOCK
        disk.revert(first)
        assert driver.written_since(DRIVE, [first, second]) == {first: 0}
        assert driver.used_bytes(DRIVE) == 2 * BLOCK

    def test_written_since_covers_what_was_merged(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        first, _second = disk.snapshots_with_marks(1, 2)
        disk.put(3, block=5)

        disk.reclaim(first)

        written = driver.written_since(DRIVE, [first])
        assert (written.keys(), is_of(3, written[first], self.object_bytes)) == ({first}, True)

    def test_size_does_not_matter(self, driver: StorageDriver) -> None:
        disk = Disk(driver, size_bytes=1024**4)
        driver.write(DRIVE, offset=1024**4 - BLOCK, data=content(1))
        first = disk.snapshot()
        second = disk.snapshot()

        assert driver.written_since(DRIVE, [first, second]) == {first: 0, second: 0}
        assert is_of(1, driver.used_bytes(DRIVE), self.object_bytes)
        disk.reclaim(second)
        assert driver.read(DRIVE, offset=1024**4 - BLOCK, length=BLOCK) == content(1)
        assert driver.sha256(DRIVE) == content_hash(1024**4, [(1024**4 - BLOCK, content(1))])

    @pytest.mark.parametrize("grown", [SIZE + ODD, 1024**4])
    def test_grown_drive_holds_what_it_held_and_zeros(self, driver: StorageDriver, grown: int) -> None:
        disk = Disk(driver)
        disk.put(1)
        disk.put(2, block=63)

        for _ in range(2):
            disk.grow(grown)

            assert (driver.size_bytes(DRIVE), driver.sha256(DRIVE)) == (
                grown,
                content_hash(grown, [(0, content(1)), (63 * BLOCK, content(2))]),
            )
        assert driver.read(DRIVE, offset=grown - 512, length=512) == bytes(512)
        assert 2 * BLOCK <= driver.used_bytes(DRIVE) < 2 * self.object_bytes + BLOCK
        assert [(found.head, found.layers, found.strange) for found in driver.audit()] == [(1, {1}, ())]
        driver.write(DRIVE, offset=grown - 512, data=content(3)[:512])
        saved = disk.snapshot()
        assert driver.read(DRIVE, offset=grown - 512, length=512) == content(3)[:512]
        assert driver.written_since(DRIVE, [saved]) == {saved: 0}

    def test_drive_never_shrinks(self, driver: StorageDriver) -> None:
        disk = Disk(driver, size_bytes=40 * 1024**3)

        for size_bytes in (40 * 1024**3 - 512, 40 * 1024**3 + 1, 0):
            with pytest.raises(StorageError) as refused:
                disk.grow(size_bytes)
            assert refused.value.permanent is True
            if size_bytes == 40 * 1024**3 - 512:
                assert str(refused.value).startswith("A drive can only grow: it has 40 GB. ")
        assert driver.size_bytes(DRIVE) == 40 * 1024**3

    def test_snapshot_from_before_growth_has_zeros_beyond_it(self, driver: StorageDriver) -> None:
        small, large, larger = BLOCK + ODD, 3 * BLOCK + ODD, 6 * BLOCK
        disk = Disk(driver, size_bytes=small)
        driver.write(DRIVE, offset=0, data=bytes([1]) * small)
        before = disk.snapshot()
        driver.write(DRIVE, offset=0, data=bytes([2]) * small)
        disk.grow(large)
        driver.write(DRIVE, offset=0, data=bytes([3]) * large)
        after = disk.snapshot()
        driver.write(DRIVE, offset=0, data=bytes([4]) * large)

        for layer, held in ((before, bytes([1]) * small), (after, bytes([3]) * large), (before, bytes([1]) * small)):
            disk.revert(layer)

            assert driver.size_bytes(DRIVE) == large
            assert driver.read(DRIVE, offset=0, length=large) == held.ljust(large, b"\0")
        assert [found.strange for found in driver.audit()] == [()]
        disk.grow(larger)
        assert driver.read(DRIVE, offset=0, length=larger) == (bytes([1]) * small).ljust(larger, b"\0")
        disk.reclaim(after)
        disk.revert(after)
        assert driver.read(DRIVE, offset=0, length=larger) == (bytes([3]) * large).ljust(larger, b"\0")

    @pytest.mark.parametrize(("lower", "upper"), [(2, 0), (3, 1), (1, 3)])
    def test_merging_layers_of_different_sizes_keeps_the_larger(
        self, driver: StorageDriver, lower: int, upper: int
    ) -> None:
        disk = Disk(driver, size_bytes=BLOCK)
        disk.put(9)
        disk.snapshot()
        disk.grow(4 * BLOCK + ODD)
        driver.write(DRIVE, offset=ODD, data=content(1) * lower)
        driver.write(DRIVE, offset=4 * BLOCK + ODD - 512, data=content(8)[:512])
        disk.snapshot()
        size_bytes = 9 * BLOCK
        disk.grow(size_bytes)
        for block in range(5, 5 + upper):
            disk.put(2, block=block)
        held = driver.read(DRIVE, offset=0, length=size_bytes)

        disk.reclaim()

        assert (disk.layers, driver.size_bytes(DRIVE)) == ({disk.head}, size_bytes)
        assert driver.read(DRIVE, offset=0, length=size_bytes) == held
        disk.grow(2 * size_bytes)
        assert driver.read(DRIVE, offset=0, length=2 * size_bytes) == held + bytes(size_bytes)

    def test_hash_depends_on_content_only(self, driver: StorageDriver) -> None:
        one, two = Disk(driver, 1), Disk(driver, 2)
        one.snapshots_with_marks(1, 2)
        one.put(0, block=1)
        one.put(0, block=9)
        two.put(2)
        assert driver.sha256(1) != driver.sha256(2)

        two.put(2, block=2)

        expected = content_hash(SIZE, [(0, content(2)), (2 * HASH_BLOCK_BYTES, content(2))])
        assert (driver.sha256(1), driver.sha256(2)) == (expected, expected)

    def test_depth_is_bounded_until_layers_are_merged(self, driver: StorageDriver) -> None:
        disk = Disk(driver)
        disk.put(1)
        first = disk.snapshot()
        for _ in range(MAX_DEPTH - 2):
            disk.snapshot()
        disk.put(2, block=1)
        before = disk.layers
        if not self.chained:
            disk.snapshot()
            assert (disk.layers, disk.marks(0, 1)) == (before | {disk.head}, [1, 2])
            return

        with pytest.raises(StorageError, match="still merging deleted snapshots") as refused:
            disk.snapshot()

        assert (refused.value.permanent, disk.layers, disk.marks(0, 1)) == (False, before, [1, 2])
        with pytest.raises(StorageError, match="still merging deleted snapshots"):
            disk.revert(disk.head)
        disk.reclaim(first)
        disk.snapshot()
        assert disk.marks(0, 1) == [1, 2]

    def test_audit_lists_drives_and_layers(self, driver: StorageDriver) -> None:
        Disk(driver, 12).snapshot()
        Disk(driver, 2)

        found = [(one.drive, one.head, one.layers, one.strange) for one in driver.audit()]

        assert found == [(2, 1, {1}, ()), (12, 2, {1, 2}, ())]
