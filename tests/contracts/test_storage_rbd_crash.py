"""The engine in Ceph, broken off at every effect of every verb, and on a cluster that breaks: nothing is lost."""

from __future__ import annotations

import contextlib
import functools
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from editor.storage import StorageError, UnknownDrive
from editor.storage.rbd import RbdStorage
from tests.ceph import CephCluster, why_not

from .rbd_images import SIZE, TRUTH, Marks, assert_nothing_left, at_last, contents, effects, emptied, engine, prepared

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

Verb = Callable[[RbdStorage, int], object]
ALL = {1, 2, 3, 4}


def create(driver: RbdStorage, drive: int) -> None:
    driver.create_drive(drive, layer=1, size_bytes=SIZE)


def snapshot(driver: RbdStorage, drive: int) -> None:
    driver.snapshot(drive, frozen=4, new_layer=5)


def revert(driver: RbdStorage, drive: int) -> None:
    driver.revert(drive, onto=1, new_layer=5)


def revert_onto_what_was_left(driver: RbdStorage, drive: int) -> None:
    driver.revert(drive, onto=3, new_layer=5)


def grow(driver: RbdStorage, drive: int) -> None:
    driver.grow(drive, size_bytes=2 * SIZE)


def keep_one(driver: RbdStorage, drive: int) -> None:
    assert driver.reclaim(drive, keep=[1], head=4) is True


def keep_none(driver: RbdStorage, drive: int) -> None:
    assert driver.reclaim(drive, keep=[], head=4) is True


AFTER: dict[Verb, dict[int, Marks]] = {
    snapshot: {**TRUTH, 5: TRUTH[4]},
    revert: {**TRUTH, 5: TRUTH[1]},
    revert_onto_what_was_left: {**TRUTH, 5: TRUTH[3]},
    grow: TRUTH,
    keep_one: {layer: TRUTH[layer] for layer in (1, 4)},
    keep_none: {4: TRUTH[4]},
}
"""What the layers of a drive read as when the verb has done its work."""

KILL = """
import os, signal, sys
from pathlib import Path
from editor.storage import Cluster
from editor.storage.rbd import RbdStorage
from tests.contracts import test_storage_rbd_crash as verbs
from tests.contracts.rbd_images import effects
folder, conf, user, pool, verb, drive, at = sys.argv[1:]
driver = RbdStorage(Path(folder), Cluster(conf, user, pool))
with effects(int(at), lambda: os.kill(os.getpid(), signal.SIGKILL)):
    getattr(verbs, verb)(driver, int(drive))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CephCluster]:
    cluster = CephCluster(tmp_path_factory.mktemp("ceph"))
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster_on_disk(tmp_path: Path) -> Iterator[CephCluster]:
    """One in which everything is still there after its OSD was killed."""
    (tmp_path / "ceph").mkdir()
    cluster = CephCluster(tmp_path / "ceph", store="bluestore")
    yield cluster
    cluster.stop()


@pytest.fixture
def driver(cluster: CephCluster, tmp_path: Path) -> Iterator[RbdStorage]:
    driver = engine(cluster, tmp_path)
    yield driver
    emptied(driver)


def crashes(driver: RbdStorage, verb: Verb) -> Iterator[int]:
    """Drives on which the verb was broken off before it began, and after each of its effects in turn."""
    for at in count():
        prepared(driver, 100 + at)
        with effects(at) as watch:
            verb(driver, 100 + at)
        yield 100 + at
        if len(watch.seen) < at:
            return


@pytest.mark.parametrize(
    "verb", [snapshot, revert_onto_what_was_left, grow, keep_one, keep_none], ids=lambda verb: verb.__name__
)
def test_verb_is_finished_by_repeating_it(driver: RbdStorage, verb: Verb) -> None:
    for drive in crashes(driver, verb):
        found = contents(driver, drive)
        assert {**TRUTH, **AFTER[verb]} | found == {**TRUTH, **AFTER[verb]}  # nothing that nobody wrote
        assert found.keys() >= ALL & AFTER[verb].keys()

        verb(driver, drive)

        assert (contents(driver, drive), driver.head(drive)) == (AFTER[verb], max(AFTER[verb]))
        driver.delete_drive(drive)
    assert driver.audit() == []
    assert_nothing_left(driver)


@pytest.mark.parametrize("verb", [snapshot, revert_onto_what_was_left], ids=lambda verb: verb.__name__)
def test_unfinished_verb_is_abandoned_or_had_happened(driver: RbdStorage, verb: Verb) -> None:
    answers = []
    for drive in crashes(driver, verb):
        answers.append(driver.abandon(drive, new_layer=5))

        assert contents(driver, drive) == (TRUTH if answers[-1] else AFTER[verb])
        driver.delete_drive(drive)
    # Undone up to one point, rolled forward from there on.
    assert answers == sorted(answers, reverse=True)
    assert set(answers) == {True, False}
    assert_nothing_left(driver)


def test_creation_is_finished_by_repeating_it(driver: RbdStorage) -> None:
    for at in count():
        with effects(at) as watch:
            create(driver, 1 + at)
        create(driver, 1 + at)

        assert contents(driver, 1 + at) == {1: dict.fromkeys(TRUTH[1], 0)}
        driver.delete_drive(1 + at)
        if len(watch.seen) < at:
            break
    assert_nothing_left(driver)


def test_deletion_is_finished_by_repeating_it_and_brings_nothing_back(driver: RbdStorage) -> None:
    driver._trash.empty_soon = lambda: None  # type: ignore[method-assign]  # here and now instead

    def delete(driver: RbdStorage, drive: int) -> None:
        driver.delete_drive(drive)
        driver._trash.empty()

    for number, drive in enumerate(crashes(driver, delete)):
        assert contents(driver, drive) == (TRUTH if number == 0 else {})
        delete(driver, drive)
        with pytest.raises(UnknownDrive):
            driver.head(drive)

        create(driver, drive)
        assert contents(driver, drive) == {1: dict.fromkeys(TRUTH[1], 0)}
        driver.delete_drive(drive)
    assert driver.audit() == []
    assert_nothing_left(driver)


def test_creation_that_nobody_repeats_is_cleared_away(driver: RbdStorage) -> None:
    answers = []
    for at in count():
        with effects(at) as watch:
            create(driver, 1 + at)

        answers.append(driver.clear(1 + at))

        driver.delete_drive(1 + at)
        if len(watch.seen) < at:
            break
    assert answers == [True, True, False, False]
    assert_nothing_left(driver)


def test_what_nobody_repeats_is_cleaned(driver: RbdStorage) -> None:
    driver._trash.empty_soon = lambda: None  # type: ignore[method-assign]  # so it is when the process is killed
    said: dict[str, list[str]] = {}
    for verb in (revert, RbdStorage.delete_drive):
        for drive in crashes(driver, verb):
            assert all(thing.endswith("from the trash") for thing in driver.clean(spare={drive}))
            said[f"{verb.__name__} {drive - 100}"] = sorted(driver.clean(spare=()))

            assert [found.strange for found in driver.audit()] in ([()], [])
            assert driver._images.trash() == []
            if driver.audit():
                assert contents(driver, drive) in (TRUTH, AFTER[revert])
                driver.delete_drive(drive)
                list(driver.clean(spare=()))
    assert said["revert 1"] == ["drive-101.5 from the trash", "drive-101.5, which was not finished"]
    assert said["delete_drive 1"] == [
        *("drive-101.1 from the trash", "drive-101.1, the rest of a deleted drive"),
        *("drive-101.4 from the trash", "drive-101.4, the rest of a deleted drive"),
    ]
    assert_nothing_left(driver)


def test_killed_process_leaves_what_the_next_one_finishes(
    driver: RbdStorage, cluster: CephCluster, tmp_path: Path
) -> None:
    killed = {snapshot: 1, revert: 2, revert_onto_what_was_left: 1, grow: 1, keep_one: 2, keep_none: 7}
    for drive, (verb, at) in enumerate(killed.items(), start=1):
        prepared(driver, drive)
        where = cluster.cluster()
        arguments = [str(tmp_path / "locks"), where.conf, where.user, where.pool, verb.__name__, str(drive), str(at)]
        ended = subprocess.run([sys.executable, "-c", KILL, *arguments], check=False)
        assert ended.returncode == -signal.SIGKILL

    for drive, verb in enumerate(killed, start=1):
        assert {**TRUTH, **AFTER[verb]} | contents(driver, drive) == {**TRUTH, **AFTER[verb]}
        at_last(functools.partial(verb, driver, drive))

        assert contents(driver, drive) == AFTER[verb]
        at_last(functools.partial(driver.delete_drive, drive))
    assert_nothing_left(driver)


@pytest.mark.parametrize("verb", [snapshot, keep_none], ids=lambda verb: verb.__name__)
def test_osd_that_stops_in_the_middle_is_told_in_time(cluster: CephCluster, tmp_path: Path, verb: Verb) -> None:
    driver = engine(cluster, tmp_path, answer_seconds=1)
    prepared(driver, 1)
    # What was done before it stopped may have been all.
    with effects(1, lambda: cluster.signal("osd", signal.SIGSTOP)), contextlib.suppress(StorageError):
        verb(driver, 1)
    cluster.signal("osd", signal.SIGCONT)

    at_last(lambda: verb(driver, 1))

    assert contents(driver, 1) == AFTER[verb]
    emptied(driver)


def test_killed_osd_brings_everything_back_when_it_is_started(cluster_on_disk: CephCluster, tmp_path: Path) -> None:
    cluster = cluster_on_disk
    driver = engine(cluster, tmp_path, answer_seconds=1)
    prepared(driver, 1)
    with effects(2, lambda: cluster.signal("osd", signal.SIGKILL)), pytest.raises(StorageError) as silent:
        keep_none(driver, 1)
    assert (silent.value.permanent, "did not answer in time" in str(silent.value)) == (False, True)

    cluster.start("osd")
    at_last(lambda: driver.head(1))
    assert contents(driver, 1)[4] == TRUTH[4]
    at_last(lambda: keep_none(driver, 1))

    assert contents(driver, 1) == AFTER[keep_none]
    emptied(driver)


def test_osd_that_stops_while_a_drive_is_read_is_told(
    cluster: CephCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = engine(cluster, tmp_path, answer_seconds=1)
    driver.create_drive(1, layer=1, size_bytes=SIZE)
    opened = driver._images.opened

    @contextlib.contextmanager
    def opened_and_silent(name: str) -> Iterator[object]:
        with opened(name) as image:
            cluster.signal("osd", signal.SIGSTOP)
            try:
                yield image
            finally:
                cluster.signal("osd", signal.SIGCONT)

    with monkeypatch.context() as patch:
        patch.setattr(driver._images, "opened", opened_and_silent)
        with pytest.raises(StorageError, match="could not do this") as silent:
            driver.head(1)

    assert silent.value.permanent is False
    at_last(lambda: driver.delete_drive(1))
    emptied(driver)


def test_monitor_that_is_down_is_told_in_time(cluster: CephCluster, tmp_path: Path) -> None:
    cluster.signal("mon", signal.SIGKILL)
    driver = engine(cluster, tmp_path, answer_seconds=1)

    with pytest.raises(StorageError) as silent:
        driver.create_drive(1, layer=1, size_bytes=SIZE)

    assert (silent.value.permanent, "did not answer in time" in str(silent.value)) == (False, True)
    assert [check.wrong is None for check in driver.check()] == [True, True, True, False]
    cluster.start("mon")
    at_last(lambda: driver.create_drive(1, layer=1, size_bytes=SIZE))
    assert driver.head(1) == 1
    emptied(driver)
