"""The qcow2 engine when the power fails, at any moment of any verb: drives at rest, and served and written to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from editor.storage import UnknownDrive, daemon
from editor.storage.qcow2 import Qcow2Storage

from .images import Marks, assert_layers_read, assert_tidy, effects
from .live import device_of, ended, folder_of, live_effects, marks, needs_daemon, put
from .power_cuts import Machine, Moment, machine
from .storage import BLOCK, DRIVE, MIB, Disk, content
from .writer import Writer, as_disk, assert_keeps, assert_point_in_time

SIZE = 8 * MIB
TRUTH: dict[int, Marks] = {
    1: {100: 1, 101: 1, 102: 1, 103: 0, 104: 0},
    2: {100: 2, 101: 1, 102: 1, 103: 2, 104: 2},
    3: {100: 3, 101: 1, 102: 1, 103: 2, 104: 2},
}
"""What the layers of `prepared` read as, in the upper half: one who writes all the time has the lower one."""
NOW = {**TRUTH, 4: TRUTH[3]}
"""4 is the head, empty."""

Verb = Callable[[Qcow2Storage], object]


def prepared(host: Machine) -> Qcow2Storage:
    """A drive with three snapshots; 1 holds as much as 2, and 3 less."""
    driver = Qcow2Storage(host.pool)
    disk = Disk(driver, size_bytes=SIZE)
    for mark, blocks in ((1, (100, 101, 102)), (2, (100, 103, 104)), (3, (100,))):
        for block in blocks:
            disk.put(mark, block=block)
        disk.snapshot()
    return driver


@pytest.fixture(params=["ext4", pytest.param("xfs", marks=pytest.mark.lab)])
def host(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with machine(request.param) as made:
        yield made


@contextmanager
def written_to(host: Machine) -> Iterator[tuple[Qcow2Storage, Writer]]:
    """A drive that is served, and somebody who writes to the lower half of it without pause."""
    driver = prepared(host)
    driver.activate(DRIVE)
    try:
        with Writer(device_of(host.pool)) as writer:
            host.flushed, host.begun = (lambda: writer.flushed), (lambda: writer.begun)
            writer.wait_for_more()
            writer.wait_for_more()
            yield driver, writer
            writer.wait_for_more()
    finally:
        ended(host.pool)


def layer_of(pool: Path, layer: int) -> Path:
    return folder_of(pool) / f"layer-{layer}.qcow2"


def assert_sound(pool: Path) -> None:
    """Nothing is amiss but clusters that were taken and are not used."""
    assert [found.strange for found in Qcow2Storage(pool).audit()] == [()]
    for layer in folder_of(pool).glob("layer-*.qcow2"):
        checked = subprocess.run(["qemu-img", "check", "-q", layer], capture_output=True, check=False)
        assert checked.returncode in {0, 3}, (layer.name, checked)


def assert_drive_keeps(pool: Path, moment: Moment) -> None:
    """What was flushed is there, and nothing that was not written yet."""
    with as_disk(layer_of(pool, Qcow2Storage(pool).head(DRIVE))) as disk:
        assert_keeps(disk, moment.flushed, moment.begun)


def assert_goes_on(pool: Path) -> None:
    """All verbs work."""
    driver = Qcow2Storage(pool)
    head = driver.head(DRIVE)
    driver.activate(DRIVE)
    try:
        put(pool, 100, 8)
        driver.snapshot(DRIVE, frozen=head, new_layer=20)
        put(pool, 100, 9)
        assert driver.reclaim(DRIVE, keep=[head], head=20) is True
        assert marks(pool, 100, 101, 103) == [9, 1, 2]
    finally:
        driver.deactivate(DRIVE)
    driver.revert(DRIVE, onto=head, new_layer=21)
    driver.grow(DRIVE, size_bytes=2 * SIZE)
    assert driver.reclaim(DRIVE, keep=[], head=21) is True
    assert_layers_read(pool, {21: {**TRUTH[3], 100: 8, 255: 0}})
    assert_sound(pool)
    driver.delete_drive(DRIVE)
    assert (driver.audit(), list(pool.iterdir())) == ([], [])


# Drives at rest


@pytest.mark.lab
def test_what_a_verb_did_survives_a_power_cut(host: Machine) -> None:
    driver = prepared(host)
    two = {2: TRUTH[2], 4: TRUTH[3]}
    five = {**TRUTH[3], 100: 5}
    verbs: list[tuple[Callable[[], object], int, dict[int, Marks]]] = [
        (lambda: driver.reclaim(DRIVE, keep=[2], head=4), 4, two),
        (lambda: driver.snapshot(DRIVE, frozen=4, new_layer=5), 5, {**two, 5: TRUTH[3]}),
        (lambda: driver.write(DRIVE, offset=100 * BLOCK, data=content(5)), 5, {**two, 5: five}),
        (lambda: driver.grow(DRIVE, size_bytes=2 * SIZE), 5, {**two, 5: {**five, 255: 0}}),
        (lambda: driver.revert(DRIVE, onto=2, new_layer=6), 6, {**two, 5: five, 6: {**TRUTH[2], 255: 0}}),
        (lambda: driver.reclaim(DRIVE, keep=[2], head=6), 6, {2: TRUTH[2], 6: {**TRUTH[2], 255: 0}}),
        (lambda: driver.reclaim(DRIVE, keep=[], head=6), 6, {6: {**TRUTH[2], 255: 0}}),
    ]
    for verb, _head, _layers in verbs:
        verb()
        host.set_aside("done")
    driver.create_drive(8, layer=1, size_bytes=SIZE)
    created = host.set_aside("created")
    driver.delete_drive(DRIVE)
    deleted = host.set_aside("deleted")

    for moment, (_verb, head, layers) in zip(host.moments, verbs, strict=False):
        with host.restarted(moment) as pool:
            assert Qcow2Storage(pool).head(DRIVE) == head
            assert_layers_read(pool, layers)
            assert_sound(pool)
            assert Qcow2Storage(pool).layers(DRIVE) == set(layers)
    with host.restarted(created) as pool:
        assert [(found.drive, found.head, found.strange) for found in Qcow2Storage(pool).audit()] == [
            (DRIVE, 6, ()),
            (8, 1, ()),
        ]
        assert Qcow2Storage(pool).sha256(8) == driver.sha256(8)
    with host.restarted(deleted) as pool:
        assert [found.drive for found in Qcow2Storage(pool).audit() if found.drive] == [8]


@pytest.mark.lab
@pytest.mark.parametrize(
    ("verb", "kept", "after"),
    [
        (lambda driver: driver.snapshot(DRIVE, frozen=4, new_layer=5), NOW, {**NOW, 5: TRUTH[3]}),
        (lambda driver: driver.revert(DRIVE, onto=1, new_layer=5), NOW, {**NOW, 5: TRUTH[1]}),
        (lambda driver: driver.grow(DRIVE, size_bytes=1024**4), NOW, {**NOW, 4: {**TRUTH[3], 1024**4 // BLOCK - 1: 0}}),
        (lambda driver: driver.reclaim(DRIVE, keep=[2], head=4), {2: NOW[2], 4: NOW[4]}, {2: NOW[2], 4: NOW[4]}),
        (lambda driver: driver.reclaim(DRIVE, keep=[1, 3], head=4), *[{1: NOW[1], 3: NOW[3], 4: NOW[4]}] * 2),
    ],
    ids=["snapshot", "revert", "grow", "lower-into-upper", "upper-into-lower"],
)
def test_power_cut_at_any_point_of_a_verb_leaves_one_state_or_the_other(
    host: Machine, verb: Verb, kept: dict[int, Marks], after: dict[int, Marks]
) -> None:
    driver = prepared(host)
    with host.watched(), effects(told=host.set_aside):
        verb(driver)

    for number, (_moment, pool) in enumerate(host.restarts()):
        assert_sound(pool)
        assert_layers_read(pool, kept)

        verb(Qcow2Storage(pool))

        assert_layers_read(pool, after)
        assert_tidy(pool, set(after))
        assert_sound(pool)
        if number % 5 == 0 and after[max(after)] == TRUTH[3]:
            assert_goes_on(pool)


@pytest.mark.lab
def test_power_cut_while_a_drive_is_created_or_deleted_leaves_it_whole_or_not_at_all(host: Machine) -> None:
    with host.watched(), effects(told=host.set_aside):
        prepared(host)
        Qcow2Storage(host.pool).delete_drive(DRIVE)

    seen = set()
    for _moment, pool in host.restarts():
        driver = Qcow2Storage(pool)
        try:
            seen.add(len(driver.layers(DRIVE)))
            driver.read(DRIVE, offset=0, length=SIZE)
        except UnknownDrive:
            driver.create_drive(DRIVE, layer=1, size_bytes=SIZE)
            assert_layers_read(pool, {1: dict.fromkeys(TRUTH[1], 0)})
        driver.delete_drive(DRIVE)
        assert (driver.audit(), list(pool.iterdir())) == ([], [])
    assert seen >= {1, 2, 3, 4}


# Drives that are served


@needs_daemon
def test_snapshots_of_a_drive_that_is_written_to_survive_a_power_cut(host: Machine) -> None:
    spans: list[tuple[int, int, int]] = []
    with written_to(host) as (driver, writer):
        for layer in (4, 5):
            low = writer.acked
            driver.snapshot(DRIVE, frozen=layer, new_layer=layer + 1)
            host.set_aside("created")
            spans.append((layer, low, writer.begun))

    for number, (moment, pool) in enumerate(host.restarts(), start=1):
        assert Qcow2Storage(pool).head(DRIVE) == 4 + number
        assert_sound(pool)
        assert_layers_read(pool, NOW)
        for layer, low, high in spans[:number]:
            assert_point_in_time(layer_of(pool, layer), low, high)
        assert_drive_keeps(pool, moment)
        assert_goes_on(pool)


@needs_daemon
def test_what_was_deactivated_survives_a_power_cut(host: Machine) -> None:
    driver = prepared(host)
    driver.activate(DRIVE)
    try:
        device_of(host.pool).open("r+b", buffering=0).write(content(7))  # and nobody flushes
    finally:
        driver.deactivate(DRIVE)

    with host.restarted(host.set_aside("deactivated")) as pool:
        assert_layers_read(pool, {**NOW, 4: {**NOW[4], 0: 7}})
        assert_sound(pool)


@needs_daemon
@pytest.mark.lab
def test_power_cut_at_any_point_of_a_live_snapshot_leaves_it_made_or_not(host: Machine) -> None:
    with written_to(host) as (driver, writer):
        flushed = writer.flushed
        with host.watched(), live_effects(told=host.set_aside):
            driver.snapshot(DRIVE, frozen=4, new_layer=5)

    answers = []
    for moment, pool in host.restarts():
        driver = Qcow2Storage(pool)
        assert_sound(pool)
        assert_layers_read(pool, NOW)
        assert_drive_keeps(pool, moment)
        with as_disk(layer_of(pool, 4)) as disk:
            assert_keeps(disk, flushed, moment.begun)

        answers.append(driver.abandon(DRIVE, new_layer=5))

        assert driver.head(DRIVE) == (4 if answers[-1] else 5)
        assert_drive_keeps(pool, moment)
        driver.snapshot(DRIVE, frozen=4, new_layer=5)
        assert_goes_on(pool)
    assert answers == sorted(answers, reverse=True)
    assert set(answers) == {True, False}


@needs_daemon
@pytest.mark.lab
@pytest.mark.parametrize(
    ("keep", "telling"),
    [([1, 2], "change-backing-file daemon"), ([2, 3], "qemu-io -r"), ([1, 3], "block-commit daemon")],
    ids=["into-the-top", "lower-into-upper", "upper-into-lower"],
)
def test_power_cut_at_any_point_of_a_live_merge_changes_no_content(
    host: Machine, keep: list[int], telling: str
) -> None:
    kept = {layer: NOW[layer] for layer in (*keep, 4)}
    with written_to(host) as (driver, _writer), host.watched(), live_effects(told=host.set_aside) as watch:
        assert driver.reclaim(DRIVE, keep=keep, head=4) is True
    assert telling in watch.seen

    for number, (moment, pool) in enumerate(host.restarts()):
        driver = Qcow2Storage(pool)
        assert driver.head(DRIVE) == 4
        assert_sound(pool)
        assert_layers_read(pool, kept)
        assert_drive_keeps(pool, moment)
        assert moment.what != "done" or driver.layers(DRIVE) == set(kept)

        assert driver.reclaim(DRIVE, keep=keep, head=4) is True

        assert driver.layers(DRIVE) == set(kept)
        assert_layers_read(pool, kept)
        assert_drive_keeps(pool, moment)
        if number % 5 == 0:
            assert_goes_on(pool)


# That these tests can fail


def test_power_cut_of_the_test_loses_what_is_not_made_durable(host: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = prepared(host)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        driver.snapshot(DRIVE, frozen=4, new_layer=5)
        moment = host.set_aside("created")

    with host.restarted(moment) as pool:
        assert Qcow2Storage(pool).head(DRIVE) == 4
        assert_layers_read(pool, NOW)


@needs_daemon
def test_power_cut_of_the_test_loses_what_a_daemon_does_not_flush(
    host: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = daemon.file_options

    def careless(layer: int) -> dict[str, Any]:
        return {**real(layer), "cache": {"no-flush": True}}

    monkeypatch.setattr("editor.storage.daemon.file_options", careless)
    monkeypatch.setattr("editor.storage.live.file_options", careless)
    with written_to(host) as (driver, _writer):
        driver.snapshot(DRIVE, frozen=4, new_layer=5)
        moment = host.set_aside("created")

    with host.restarted(moment) as pool, pytest.raises(AssertionError):
        assert_drive_keeps(pool, moment)
