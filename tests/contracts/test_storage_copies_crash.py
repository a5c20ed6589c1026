"""The engines that copy, broken off at every point of every verb, and by a power cut: what is left can be finished."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from editor.storage import Found
from editor.storage.copies import CopyStorage
from tests.killing import Points

from .copy_pools import assert_layers_read, assert_tidy, copied, crashes, effects, prepared
from .file_systems import KINDS, FileSystem, mounted
from .images import TRUTH, Marks
from .storage import BLOCK, DRIVE, SIZE, Disk, content

EMPTY: Marks = dict.fromkeys(range(4), 0)


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


def test_snapshot_is_finished_by_repeating_it(system: FileSystem, template: Path, points: Points) -> None:
    def verb(driver: CopyStorage) -> None:
        driver.snapshot(DRIVE, frozen=3, new_layer=4)

    for left in crashes(system, template, verb, points):
        verb(system.driver(left))

        assert system.driver(left).head(DRIVE) == 4
        assert_layers_read(left, {**TRUTH, 4: TRUTH[3]})
        assert_tidy(left, {1, 2, 3, 4})


def test_revert_is_finished_by_repeating_it(system: FileSystem, template: Path, points: Points) -> None:
    def verb(driver: CopyStorage) -> None:
        driver.revert(DRIVE, onto=1, new_layer=4)

    for left in crashes(system, template, verb, points):
        verb(system.driver(left))

        assert system.driver(left).head(DRIVE) == 4
        assert_layers_read(left, {**TRUTH, 4: {**TRUTH[1], 63: 0}})
        assert_tidy(left, {1, 2, 3, 4})


def test_growth_is_finished_by_repeating_it(system: FileSystem, template: Path, points: Points) -> None:
    def verb(driver: CopyStorage) -> None:
        driver.grow(DRIVE, size_bytes=1024**4)

    for left in crashes(system, template, verb, points):
        verb(system.driver(left))

        assert system.driver(left).size_bytes(DRIVE) == 1024**4
        assert_layers_read(left, {**TRUTH, 3: {**TRUTH[3], 1024**4 // BLOCK - 1: 0}})


@pytest.mark.parametrize("verb", ["snapshot", "revert"])
def test_unfinished_verb_is_abandoned_or_had_happened(
    system: FileSystem, template: Path, verb: str, points: Points
) -> None:
    def attempt(driver: CopyStorage) -> None:
        if verb == "snapshot":
            driver.snapshot(DRIVE, frozen=3, new_layer=4)
        else:
            driver.revert(DRIVE, onto=2, new_layer=4)

    answers = []
    for left in crashes(system, template, attempt, points):
        driver = system.driver(left)

        answers.append(driver.abandon(DRIVE, new_layer=4))

        head, layers = (3, {1, 2, 3}) if answers[-1] else (4, {1, 2, 3, 4})
        assert (driver.head(DRIVE), driver.layers(DRIVE)) == (head, layers)
        assert_layers_read(left, {**TRUTH, 4: TRUTH[3 if verb == "snapshot" else 2]} if head == 4 else TRUTH)
        assert_tidy(left, layers)
    # Undone up to one point, rolled forward from there on.
    assert answers == sorted(answers, reverse=True)
    assert set(answers) == {True, False}


def test_removal_is_finished_by_repeating_it(system: FileSystem, template: Path, points: Points) -> None:
    reverted = copied(system, template)
    system.driver(reverted).revert(DRIVE, onto=1, new_layer=4)

    for left in crashes(system, reverted, lambda driver: driver.reclaim(DRIVE, keep=[1], head=4), points):
        assert system.driver(left).layers(DRIVE) >= {1, 4}
        assert system.driver(left).written_since(DRIVE, [1]) == {1: 0}

        assert system.driver(left).reclaim(DRIVE, keep=[1], head=4) is True

        assert_layers_read(left, {1: TRUTH[1], 4: TRUTH[1]})
        assert_tidy(left, {1, 4})


def test_creation_is_finished_by_repeating_it(system: FileSystem, points: Points) -> None:
    def verb(driver: CopyStorage) -> None:
        driver.create_drive(DRIVE, layer=1, size_bytes=SIZE)

    for left in crashes(system, system.pool(), verb, points):
        verb(system.driver(left))

        assert_layers_read(left, {1: EMPTY})
        assert_tidy(left, {1})


def test_creation_that_nobody_repeats_is_cleared_away(system: FileSystem, points: Points) -> None:
    def verb(driver: CopyStorage) -> None:
        driver.create_drive(DRIVE, layer=1, size_bytes=SIZE)

    for left in crashes(system, system.pool(), verb, points):
        driver = system.driver(left)
        made = (left / f"drive-{DRIVE}" / "drive.json").exists()

        assert driver.clear(DRIVE) is not made

        assert driver.audit() == ([Found(DRIVE, 1, frozenset({1}), ())] if made else [])
        assert made or not list(left.iterdir())


def test_data_without_drive_json_is_not_cleared_away(system: FileSystem, pool: Path) -> None:
    (pool / f"drive-{DRIVE}" / "drive.json").unlink()
    before = sorted(path.name for path in (pool / f"drive-{DRIVE}").iterdir())

    assert system.driver(pool).clear(DRIVE) is False
    assert sorted(path.name for path in (pool / f"drive-{DRIVE}").iterdir()) == before


@pytest.mark.parametrize("verb", ["snapshot", "delete_drive"])
def test_what_nobody_repeats_is_cleaned(system: FileSystem, template: Path, verb: str, points: Points) -> None:
    def attempt(driver: CopyStorage) -> None:
        if verb == "snapshot":
            driver.snapshot(DRIVE, frozen=3, new_layer=4)
        else:
            driver.delete_drive(DRIVE)

    cleaned = 0
    for left in crashes(system, template, attempt, points):
        driver = system.driver(left)
        assert list(driver.clean(spare={DRIVE})) == []

        cleaned += len(list(driver.clean(spare=())))

        if (left / f"drive-{DRIVE}").exists():
            head = driver.head(DRIVE)
            assert_layers_read(left, {**TRUTH, 4: TRUTH[3]} if head == 4 else TRUTH)
            assert_tidy(left, {1, 2, 3, head})
        else:
            assert list(left.iterdir()) == []
    assert cleaned > 1


def test_deletion_is_finished_by_repeating_it_and_brings_no_bytes_back(
    system: FileSystem, template: Path, points: Points
) -> None:
    for left in crashes(system, template, lambda driver: driver.delete_drive(DRIVE), points):
        driver = system.driver(left)

        marks = Disk(driver).marks(0, 1, 2, 3)
        driver.delete_drive(DRIVE)

        assert marks in ([0, 0, 0, 0], [3, 1, 2, 0])  # made anew, or never deleted; nothing in between
        assert (driver.audit(), list(left.iterdir())) == ([], [])


def test_repeating_a_switch_makes_it_durable(system: FileSystem, pool: Path) -> None:
    driver = system.driver(pool)
    driver.snapshot(DRIVE, frozen=3, new_layer=4)

    with effects() as watch:
        driver.snapshot(DRIVE, frozen=3, new_layer=4)
        driver.abandon(DRIVE, new_layer=4)

    assert [effect for effect in watch.seen if effect.startswith("fsync")] == [f"fsync drive-{DRIVE}"] * 2


# Power cuts: the disk of a file system as it is when a verb returns.


@pytest.fixture(params=KINDS)
def own_system(request: pytest.FixtureRequest) -> Iterator[FileSystem]:
    with mounted(request.param) as made:
        yield made


def test_what_a_verb_did_survives_a_power_cut(own_system: FileSystem) -> None:
    pool = own_system.pool()
    driver = own_system.driver(pool)
    prepared(driver)
    truth = {**TRUTH, 3: {**TRUTH[3], 0: 7}}
    with Path(driver.activate(DRIVE).name).open("r+b", buffering=0) as device:
        device.write(content(7))  # a write that nobody flushed belongs to the snapshot as well
        driver.snapshot(DRIVE, frozen=3, new_layer=4)
    own_system.cut_off()
    assert_layers_read(pool, {**truth, 4: truth[3]})
    assert (driver.head(DRIVE), driver.written_since(DRIVE, [3])) == (4, {3: 0})

    driver.deactivate(DRIVE)
    driver.revert(DRIVE, onto=1, new_layer=5)
    own_system.cut_off()
    assert driver.head(DRIVE) == 5
    assert_layers_read(pool, {**truth, 5: {**TRUTH[1], 63: 0}})

    driver.write(DRIVE, offset=0, data=content(9))
    driver.grow(DRIVE, size_bytes=2 * SIZE)
    own_system.cut_off()
    assert driver.size_bytes(DRIVE) == 2 * SIZE
    assert_layers_read(pool, {5: {0: 9, 1: 1, 127: 0}})

    assert driver.reclaim(DRIVE, keep=[1, 3], head=5) is True
    driver.create_drive(8, layer=1, size_bytes=SIZE)
    own_system.cut_off()
    assert_layers_read(pool, {1: truth[1], 3: truth[3], 5: {0: 9, 1: 1, 127: 0}})
    assert (driver.layers(DRIVE), driver.head(8)) == ({1, 3, 5}, 1)

    driver.delete_drive(DRIVE)
    own_system.cut_off()
    assert [found.drive for found in driver.audit() if found.drive] == [8]


@pytest.mark.parametrize("verb", ["snapshot", "revert"])
def test_power_cut_at_any_point_of_a_verb_leaves_one_state_or_the_other(
    own_system: FileSystem, verb: str, points: Points
) -> None:
    truth = {**TRUTH, 4: TRUTH[3] if verb == "snapshot" else {**TRUTH[1], 63: 0}}

    def attempt(driver: CopyStorage) -> None:
        if verb == "snapshot":
            driver.snapshot(DRIVE, frozen=3, new_layer=4)
        else:
            driver.revert(DRIVE, onto=1, new_layer=4)

    pool = own_system.pool()
    prepared(own_system.driver(pool))
    answers = []
    for left in crashes(own_system, pool, attempt, points, settle=True):
        own_system.cut_off()
        driver = own_system.driver(left)
        assert_layers_read(left, TRUTH)

        answers.append(driver.abandon(DRIVE, new_layer=4))
        attempt(driver)

        assert_layers_read(left, truth)
        assert_tidy(left, {1, 2, 3, 4})
    assert answers == sorted(answers, reverse=True)
    assert set(answers) == {True, False}


def test_what_was_deactivated_survives_a_power_cut(own_system: FileSystem) -> None:
    pool = own_system.pool()
    driver = own_system.driver(pool)
    prepared(driver)
    with Path(driver.activate(DRIVE).name).open("r+b", buffering=0) as device:
        device.write(content(7))

    driver.deactivate(DRIVE)
    own_system.cut_off()

    assert_layers_read(pool, {3: {**TRUTH[3], 0: 7}})


@pytest.mark.parametrize("verb", ["snapshot", "revert"])
def test_power_cut_of_the_test_loses_what_is_not_made_durable(
    own_system: FileSystem, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = own_system.pool()
    driver = own_system.driver(pool)
    prepared(driver)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        if verb == "snapshot":
            driver.snapshot(DRIVE, frozen=3, new_layer=4)
        else:
            driver.revert(DRIVE, onto=1, new_layer=4)

        own_system.cut_off()

    assert driver.head(DRIVE) == 3
    assert_layers_read(pool, TRUTH)
