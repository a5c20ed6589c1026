"""The simulated storage engine: the contract, what is its own, and engines that lie, which the contract must catch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from itertools import product
from pathlib import Path

import pytest

from editor.storage import StorageDriver, StorageError, driver_for
from editor.storage.base import never
from editor.storage.simulated import SimulatedStorage

from .storage import DRIVE, Disk, StorageContract, content


class TestSimulatedStorage(StorageContract):
    @pytest.fixture
    def driver(self) -> StorageDriver:
        return SimulatedStorage()


class TestForTests:
    """What the simulated engine has beyond the seam."""

    def test_failures_come_in_turn_and_change_nothing(self) -> None:
        driver = SimulatedStorage()
        disk = Disk(driver)
        driver.fail_next("snapshot", StorageError("Full."))
        driver.fail_next("snapshot", StorageError("Broken.", permanent=True))

        for sentence in ("Full.", "Broken."):
            with pytest.raises(StorageError, match=sentence):
                driver.snapshot(DRIVE, frozen=1, new_layer=2)
            assert disk.layers == {1}
        driver.snapshot(DRIVE, frozen=1, new_layer=2)

        asked = [arguments for verb, arguments in driver.calls if verb == "snapshot"]
        assert asked == [{"drive": DRIVE, "frozen": 1, "new_layer": 2}] * 3

    def test_hooks_run_before_and_after_the_work(self) -> None:
        driver = SimulatedStorage()
        disk = Disk(driver)
        heads: list[int] = []
        driver.before("snapshot", lambda: heads.append(disk.head))
        driver.after("snapshot", lambda: heads.append(disk.head))

        disk.snapshot()
        driver.before("snapshot", None)
        driver.after("snapshot", None)
        disk.snapshot()

        assert heads == [1, 2]

    def test_drives_in_a_folder_outlive_the_driver(self, tmp_path: Path) -> None:
        disk = Disk(SimulatedStorage(tmp_path / "pool"))
        [saved] = disk.snapshots_with_marks(1)
        disk.put(2)

        later = SimulatedStorage(tmp_path / "pool")

        assert (later.drives(), later.sha256(DRIVE)) == ({DRIVE}, disk.driver.sha256(DRIVE))
        later.revert(DRIVE, onto=saved, new_layer=9)
        assert later.read(DRIVE, offset=0, length=len(content(1))) == content(1)

    def test_one_driver_for_a_pool(self, tmp_path: Path) -> None:
        driver = driver_for("simulated", tmp_path)

        assert driver_for("simulated", tmp_path) is driver
        assert driver_for("simulated", tmp_path / "other") is not driver
        with pytest.raises(ValueError, match="Choose one of: qcow2, btrfs, "):
            driver_for("tape", tmp_path)


class SnapshotsCopyNothing(SimulatedStorage):
    """The new layer is on top, and later writes go into the frozen one too."""

    def write(self, drive: int, *, offset: int, data: bytes) -> None:
        super().write(drive, offset=offset, data=data)
        found = self._drives[drive]
        for layer in found.chain():
            found.layers[layer].blocks.update(found.layers[found.head].blocks)


class SnapshotsDoNothing(SimulatedStorage):
    def snapshot(self, drive: int, *, frozen: int, new_layer: int) -> None:
        """Says it is done."""


class RevertsForgetTheHead(SimulatedStorage):
    def revert(self, drive: int, *, onto: int, new_layer: int) -> None:
        head = self._known(drive).head
        super().revert(drive, onto=onto, new_layer=new_layer)
        self._drives[drive].head = head


class RevertsOntoTheHead(SimulatedStorage):
    def revert(self, drive: int, *, onto: int, new_layer: int) -> None:
        super().revert(drive, onto=self._known(drive).head, new_layer=new_layer)


class RevertsAgain(SimulatedStorage):
    """A repeated revert is made late and loses what was written since."""

    def revert(self, drive: int, *, onto: int, new_layer: int) -> None:
        super().revert(drive, onto=onto, new_layer=new_layer)
        self._drives[drive].layers[new_layer].blocks.clear()


class ReclaimsKeptLayers(SimulatedStorage):
    def reclaim(self, drive: int, *, keep: Collection[int], head: int, should_stop: Callable[[], bool] = never) -> bool:
        return super().reclaim(drive, keep=sorted(keep)[1:], head=head, should_stop=should_stop)


class ReclaimsNothing(SimulatedStorage):
    def reclaim(self, drive: int, *, keep: Collection[int], head: int, should_stop: Callable[[], bool] = never) -> bool:
        return True


class ReclaimsWithoutMerging(SimulatedStorage):
    """What the deleted layer held is lost."""

    def reclaim(self, drive: int, *, keep: Collection[int], head: int, should_stop: Callable[[], bool] = never) -> bool:
        found = self._known(drive)
        for layer in set(found.layers) - {found.head, *keep}:
            found.layers[layer].blocks.clear()
        return super().reclaim(drive, keep=keep, head=head, should_stop=should_stop)


class WritesNothing(SimulatedStorage):
    def write(self, drive: int, *, offset: int, data: bytes) -> None:
        """Says it is done."""


class WritesToTheWrongDrive(SimulatedStorage):
    def write(self, drive: int, *, offset: int, data: bytes) -> None:
        super().write(min(self._drives, default=drive), offset=offset, data=data)


class KnowsEveryDrive(SimulatedStorage):
    def head(self, drive: int) -> int:
        return self._drives[drive].head if drive in self._drives else 1


class AbandonsWhatHappened(SimulatedStorage):
    def abandon(self, drive: int, *, new_layer: int) -> bool:
        return True


class DeletesNothing(SimulatedStorage):
    def delete_drive(self, drive: int) -> None:
        """Says it is done."""


class SaysNothingWasWritten(SimulatedStorage):
    def written_since(self, drive: int, layers: Collection[int]) -> dict[int, int]:
        return dict.fromkeys(super().written_since(drive, layers), 0)


class HashesTheHeadOnly(SimulatedStorage):
    def sha256(self, drive: int) -> str:
        return str(sorted(self._known(drive).layers[self._known(drive).head].blocks))


class GrowsNothing(SimulatedStorage):
    def grow(self, drive: int, *, size_bytes: int) -> None:
        """Says it is done."""
        self._known(drive)


class Shrinks(SimulatedStorage):
    def grow(self, drive: int, *, size_bytes: int) -> None:
        self._known(drive).size_bytes = size_bytes


class GrowsByOldBytes(SimulatedStorage):
    """What is new holds what the disk's space held before."""

    def grow(self, drive: int, *, size_bytes: int) -> None:
        before = self.size_bytes(drive)
        super().grow(drive, size_bytes=size_bytes)
        if before < size_bytes:
            self.write(drive, offset=size_bytes - 512, data=content(7)[:512])


class RevertsTheSize(SimulatedStorage):
    """A drive has the size it had when the snapshot was taken."""

    def __init__(self) -> None:
        super().__init__()
        self.then: dict[tuple[int, int], int] = {}

    def snapshot(self, drive: int, *, frozen: int, new_layer: int) -> None:
        super().snapshot(drive, frozen=frozen, new_layer=new_layer)
        self.then[drive, frozen] = self._drives[drive].size_bytes

    def revert(self, drive: int, *, onto: int, new_layer: int) -> None:
        super().revert(drive, onto=onto, new_layer=new_layer)
        self._drives[drive].size_bytes = self.then[drive, onto]


class RevertsWhatTheSnapshotHad(RevertsTheSize):
    """What was written beyond the size of then shows through."""

    def revert(self, drive: int, *, onto: int, new_layer: int) -> None:
        found = self._known(drive)
        now, held = found.size_bytes, dict(found.layers[found.head].blocks)
        super().revert(drive, onto=onto, new_layer=new_layer)
        beyond = {at: block for at, block in held.items() if at >= found.size_bytes}
        found.layers[new_layer].blocks.update(beyond)
        found.size_bytes = now


LIARS = [
    *(SnapshotsCopyNothing, SnapshotsDoNothing, RevertsForgetTheHead, RevertsOntoTheHead, RevertsAgain),
    *(ReclaimsKeptLayers, ReclaimsNothing, ReclaimsWithoutMerging, WritesNothing, WritesToTheWrongDrive),
    *(GrowsNothing, Shrinks, GrowsByOldBytes, RevertsTheSize, RevertsWhatTheSnapshotHad),
    *(KnowsEveryDrive, AbandonsWhatHappened, DeletesNothing, SaysNothingWasWritten, HashesTheHeadOnly),
]


def promises() -> Iterator[tuple[str, dict[str, object]]]:
    """Each test of the contract with each set of its parameters."""
    for name, test in inspect.getmembers(StorageContract, inspect.isfunction):
        columns = []
        for mark in getattr(test, "pytestmark", []):
            names = [mark.args[0]] if isinstance(mark.args[0], str) else mark.args[0]
            rows = mark.args[1] if len(names) > 1 else [(value,) for value in mark.args[1]]
            columns.append([dict(zip(names, row, strict=True)) for row in rows])
        for row in product(*columns):
            yield name, {key: value for part in row for key, value in part.items()}


def broken(make: Callable[[], StorageDriver]) -> set[str]:
    """The tests of the contract that an engine fails."""
    failed = set()
    for name, arguments in promises():
        try:
            getattr(StorageContract(), name)(make(), **arguments)
        except (AssertionError, StorageError, KeyError, pytest.fail.Exception):
            failed.add(name)
    return failed


def test_honest_engine_breaks_no_promise() -> None:
    assert broken(SimulatedStorage) == set()


@pytest.mark.parametrize("liar", LIARS, ids=lambda liar: liar.__name__)
def test_contract_catches_a_lying_engine(liar: type[SimulatedStorage]) -> None:
    assert broken(liar) != set()
