"""Storage pools: how full they are, who is warned, what is refused, and where drives go."""

from __future__ import annotations

import gc
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from editor import bell, pools
from editor.models import DeployState, Drive, DriveArray, Event, Result, StoragePool, StorageType
from editor.pool_rules import told_next, warning_of, why_not_fill, why_not_work
from editor.reconcile import Worker
from editor.review import review
from editor.room import Pool, choose_pool
from editor.storage import Check, StorageError, Usage
from editor.storage.simulated import SimulatedStorage
from editor.volumes import driver_of
from snapshots.actions import request_create
from tests import factories
from tests.clock import Clock, clock  # noqa: F401 - a fixture
from tests.editor.deploying import World, make_world

GB = 1024**3
TB = 1024 * GB
WAIT_SECONDS = 20
FULL = (
    "Storage pool pool-simulated is 96 % full (96 of 100 GB). No drives are made or grown in it, and no snapshots "
    "created. When nothing is left, servers cannot write. Delete snapshots, or ask an administrator for room."
)


@pytest.fixture
def world(db: None, clock: Clock) -> World:  # noqa: F811
    return make_world(clock)


def fill(world: World, percent: int) -> StoragePool:
    """The pool's cluster says that it is so full, and the worker hears it."""
    world.driver().room = Usage(100 * GB, (100 - percent) * GB)
    world.clock.advance(10)
    world.settle()
    return StoragePool.objects.get()


def make_pool(label: str = "ssd", **fields: Any) -> StoragePool:
    return StoragePool(label=label, engine="simulated", **fields)


def told() -> list[tuple[str, str, str]]:
    """What activity logs say of pools, oldest first."""
    rows = Event.objects.filter(verb="warned about").order_by("pk")
    return [(event.subject, event.text.partition(". ")[0], event.result) for event in rows]


def silent_about(pool: StoragePool) -> int:
    return len(Event.objects.about(pool.topic).filter(result=Result.SILENT))


# ── Rules ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, None),
        ({"total_bytes": TB, "free_bytes": TB}, None),
        ({"total_bytes": 100 * GB, "free_bytes": 5 * GB + 1}, None),
        ({"total_bytes": 100 * GB, "free_bytes": 5 * GB}, "Storage pool ssd is 95 % full (95 of 100 GB). No drives "),
        ({"total_bytes": TB, "free_bytes": TB, "capacity_gb": 100, "held_bytes": 94 * GB}, None),
        (
            {"total_bytes": TB, "free_bytes": TB, "capacity_gb": 100, "held_bytes": 96 * GB},
            "Storage pool ssd is 96 % full (96 of 100 GB). No drives ",
        ),
        (
            {"total_bytes": TB, "free_bytes": 10 * GB, "capacity_gb": 100, "held_bytes": 20 * GB},
            "Storage pool ssd is 99 % full (0.99 of 1 TB). No drives ",
        ),
        ({"maintenance": True}, "Storage pool ssd is in maintenance. Nothing new is begun in it; "),
    ],
)
def test_what_takes_room_is_refused_from_95_percent_and_in_maintenance(fields: dict[str, Any], why: str | None) -> None:
    said = why_not_fill(make_pool(**fields))

    assert said is None if why is None else said and said.startswith(why)


def test_full_pool_still_lets_what_gives_room_back() -> None:
    assert why_not_work(make_pool(total_bytes=GB, free_bytes=0)) is None


def test_pool_that_could_not_be_read_for_long_counts_as_full(clock: Clock) -> None:  # noqa: F811
    pool = make_pool(total_bytes=TB, free_bytes=TB, usage_seen_at=clock(), usage_error="The cluster is silent.")

    clock.advance(299)
    assert why_not_fill(pool) is None
    clock.advance(1)
    assert why_not_fill(pool) == (
        "Storage pool ssd has not said for 5 min how full it is: The cluster is silent. "
        "Nothing that takes room is begun in it meanwhile. Ask an administrator to check it."
    )
    assert why_not_work(pool) is None


def test_new_pool_that_was_never_read_is_tried() -> None:
    assert why_not_fill(make_pool(usage_error="The folder does not exist.")) is None


@pytest.mark.parametrize(
    ("percents", "expected"),
    [
        ([84, 85, 86, 84, 80, 85], [0, 85, 85, 85, 85, 85]),  # wavering around it is one warning
        ([85, 79, 85], [85, 0, 85]),
        ([96, 94, 92, 95], [95, 95, 95, 95]),
        ([96, 91, 95], [95, 85, 95]),
        ([96, 82, 79], [95, 85, 0]),
        ([96, 0], [95, 0]),
    ],
)
def test_warning_stands_until_there_is_well_more_room(percents: list[int], expected: list[int]) -> None:
    told, found = 0, []
    for percent in percents:
        told = told_next(told, percent)
        found.append(told)

    assert found == expected


# ── Where drives go ──────────────────────────────────────────────────────────


def in_pool(label: str, used_gb: int, **fields: Any) -> Pool:
    return Pool(make_pool(label, pk=len(label), **fields), used_gb * 1024)


def chosen(*candidates: Pool, size_gb: int = 40) -> str:
    found = choose_pool(candidates, StorageType.SSD, size_gb * 1024)
    return found if isinstance(found, str) else found.row.label


def test_drive_goes_where_least_is_promised_of_what_there_is() -> None:
    small, large = in_pool("small", 30, capacity_gb=100), in_pool("larger", 200, capacity_gb=1000)

    assert chosen(small, large) == "larger"
    assert chosen(small, in_pool("larger", 310, capacity_gb=1000)) == "small"


def test_without_a_limit_the_file_system_says_what_there_is() -> None:
    disk = in_pool("disk", 100, total_bytes=TB, free_bytes=TB)

    assert chosen(disk, in_pool("small", 30, capacity_gb=100)) == "disk"
    assert chosen(disk, in_pool("nobody-knows", 0)) == "disk"


def test_pool_that_fills_up_is_taken_only_when_there_is_no_other() -> None:
    filling = in_pool("filling", 0, total_bytes=100 * GB, free_bytes=14 * GB)
    busy = in_pool("busy", 900, capacity_gb=1000)

    assert chosen(filling, busy) == "busy"
    assert chosen(filling, busy, size_gb=200) == "filling"


def test_over_provisioning_ends_at_its_limit() -> None:
    pool = in_pool("ssd", 110, capacity_gb=100, overcommit_percent=150)

    assert pool.why_not_take(40 * 1024) is None
    assert pool.why_not_take(41 * 1024) == (
        "storage pool ssd has 40 GB left to promise, 41 GB are needed. Ask an administrator for room."
    )
    pool.row.overcommit_percent = 100
    assert pool.why_not_take(1024) == ("storage pool ssd has 0 B free, 1 GB are needed. Ask an administrator for room.")


def test_reason_names_each_pool_that_does_not_take_a_drive() -> None:
    assert chosen(
        in_pool("a", 90, capacity_gb=100),
        in_pool("ab", 0, maintenance=True),
        in_pool("abc", 0, total_bytes=100 * GB, free_bytes=4 * GB),
    ) == (
        "no storage pool of class iscsi_ssd takes it: a has 10 GB free, 40 GB are needed; ab is in maintenance; "
        "abc is 96 % full. Ask an administrator for room."
    )


# ── What the worker reads ────────────────────────────────────────────────────


def test_worker_reads_how_full_a_pool_is(world: World) -> None:
    Drive.objects.filter(number=1).update(used_bytes=7 * GB)

    pool = fill(world, 40)

    assert (pool.total_bytes, pool.free_bytes, pool.held_bytes) == (100 * GB, 60 * GB, 7 * GB)
    assert (pool.usage_seen_at, pool.usage_error) == (world.clock(), "")


def test_reading_that_changes_nothing_is_written_once_a_minute_and_told_nobody(world: World) -> None:
    pool = fill(world, 40)
    events, seen_at = Event.objects.count(), pool.usage_seen_at

    world.clock.advance(59)
    world.settle()
    pool.refresh_from_db()
    assert pool.usage_seen_at == seen_at

    world.clock.advance(1)
    with CaptureQueriesContext(connection) as queries:
        pools.attend(pool.pk)
    pool.refresh_from_db()
    assert pool.usage_seen_at == world.clock()
    assert Event.objects.count() == events
    assert [query["sql"].split()[0] for query in queries if query["sql"].startswith("UPDATE")] == ["UPDATE"]


def test_pool_is_read_every_ten_seconds(world: World) -> None:
    worker, calls = Worker(since=world.clock()), world.driver().calls
    worker.run_until_quiet()
    calls.clear()

    for _ in range(20):
        world.clock.advance(1)
        worker.run_until_quiet()

    assert [verb for verb, _ in calls] == ["usage", "usage"]


def test_percent_more_is_told_to_pages_and_to_nobody_else(world: World) -> None:
    before = silent_about(fill(world, 40))

    pool = fill(world, 41)

    assert silent_about(pool) == before + 1
    assert not told()


def test_failed_reading_keeps_the_last_one_and_says_why(world: World) -> None:
    pool = fill(world, 40)
    for _ in range(2):
        world.driver().fail_next("usage", StorageError("The cluster is silent."))
        world.clock.advance(10)
        world.settle()

    seen_at, before = pool.usage_seen_at, silent_about(pool)
    pool.refresh_from_db()
    assert (pool.free_bytes, pool.usage_seen_at, pool.usage_error) == (60 * GB, seen_at, "The cluster is silent.")

    world.driver().fail_next("usage", StorageError("The cluster is silent."))
    world.clock.advance(290)
    world.settle()
    assert silent_about(pool) == before + 1  # pages say from now on that nothing is begun
    world.settle()
    pool.refresh_from_db()
    assert pool.usage_error == ""


def test_each_warning_is_told_once_in_each_infrastructure_with_drives_there(world: World) -> None:
    other = factories.make_infrastructure(world.owner, "staging")
    factories.make_drive_array(other, "data", count=2)
    factories.make_infrastructure(world.owner, "empty")

    for percent in (84, 86, 84, 87, 96, 94, 97, 99):
        fill(world, percent)

    early = ("storage pool pool-simulated", "Storage pool pool-simulated is 86 % full (86 of 100 GB)", Result.NOTICE)
    late = ("storage pool pool-simulated", "Storage pool pool-simulated is 96 % full (96 of 100 GB)", Result.FAILED)
    assert told() == [early, early, late, late]
    assert Event.objects.filter(text=FULL, infrastructure=other).count() == 1

    fill(world, 70)
    assert warning_of(StoragePool.objects.get()) is None
    fill(world, 85)
    assert len(told()) == 6


def test_storage_is_never_asked_inside_a_transaction(world: World) -> None:
    inside = []
    # The test itself runs in one.
    depth = len(connection.savepoint_ids)
    world.driver().before("usage", lambda: inside.append(len(connection.savepoint_ids) - depth))
    world.driver().before("check", lambda: inside.append(len(connection.savepoint_ids) - depth))
    StoragePool.objects.update(check_asked_at=world.clock())

    fill(world, 40)

    world.driver().before("usage", None)
    world.driver().before("check", None)
    assert inside == [0, 0]


@pytest.mark.django_db(transaction=True)
def test_pool_that_hangs_holds_up_neither_others_nor_work_on_its_drives(settings: Settings) -> None:
    operator = factories.make_user("Otto Op")
    infrastructure = factories.make_infrastructure(operator=operator)
    drive = factories.make_drive_array(infrastructure, count=1, size_mb=1024, made=False).drives.get()
    other = StoragePool.objects.create(label="other", engine="simulated")
    hangs, let_go, made, read_again = (threading.Event() for _ in range(4))
    stuck, free = driver_of(drive.pool), driver_of(other)
    assert isinstance(stuck, SimulatedStorage)
    assert isinstance(free, SimulatedStorage)

    def hang() -> None:
        hangs.set()
        let_go.wait(WAIT_SECONDS)

    stuck.before("usage", hang)
    stuck.after("snapshot", made.set)
    settings.RECONCILE_STEPS = ["editor.volumes.jobs", "editor.pools.jobs", "snapshots.reconcile.jobs"]
    worker = Worker()
    worker.start()
    try:
        assert hangs.wait(WAIT_SECONDS)
        free.after("check", read_again.set)
        StoragePool.objects.filter(pk=other.pk).update(check_asked_at=timezone.now())
        bell.ring()
        assert read_again.wait(WAIT_SECONDS)
        end = time.monotonic() + WAIT_SECONDS
        while Drive.objects.filter(pk=drive.pk, head_layer=None).exists():
            assert time.monotonic() < end, "The volume was not made."
            time.sleep(0.01)
        request_create(drive, by=operator)
        bell.ring()
        assert made.wait(WAIT_SECONDS)
        assert not let_go.is_set()
    finally:
        let_go.set()
        worker.stop()
        stuck.before("usage", None)
        stuck.after("snapshot", None)
        free.after("check", None)
        gc.collect()  # connections of threads that have ended keep PostgreSQL from dropping the database


# ── Check ────────────────────────────────────────────────────────────────────


def test_check_is_made_at_once_and_its_result_stored(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(since=world.clock())
    worker.run_until_quiet()
    found = [Check("Programs"), Check("Folder", "The folder is not writable. Make it so.")]
    monkeypatch.setattr(world.driver(), "check", lambda: found)
    StoragePool.objects.update(check_asked_at=world.clock())

    worker.run_until_quiet()  # although it was read a moment ago

    pool = StoragePool.objects.get()
    assert pool.checked == [["Programs", None], ["Folder", "The folder is not writable. Make it so."]]
    assert (pool.check_asked_at, pool.checked_at) == (None, world.clock())


def test_check_that_fails_says_so(world: World) -> None:
    world.driver().fail_next("check", StorageError("The cluster is silent."))
    StoragePool.objects.update(check_asked_at=world.clock())

    world.settle()

    assert StoragePool.objects.get().checked == [["Storage", "The cluster is silent."]]


def test_engine_that_is_not_there_is_told_like_any_other_fault(world: World) -> None:
    StoragePool.objects.create(label="old", engine="zfs", check_asked_at=world.clock())

    world.settle()

    pool = StoragePool.objects.get(label="old")
    assert pool.usage_error.startswith("There is no storage engine 'zfs'.")
    assert pool.checked == [["Storage", pool.usage_error]]


# ── Deploys ──────────────────────────────────────────────────────────────────


def reasons(world: World) -> list[str]:
    return list(review(world.infrastructure).reasons)


def test_full_pool_takes_no_drives_and_grows_none_but_destroys_them(world: World) -> None:
    fill(world, 96)
    logs = world.infrastructure.drive_arrays.create(label="logs", size_mb=10240, count=1)
    world.data.size_mb *= 2
    world.data.save()
    lower = FULL[0].lower() + FULL[1:]
    assert reasons(world) == [f"web-data-1 cannot grow: {lower}", f"logs-1 cannot be created: {lower}"]

    logs.delete()
    world.data.refresh_from_db()
    world.data.size_mb //= 2
    world.data.leaves = True
    world.data.save()
    assert world.deploy().state == DeployState.DONE
    assert not Drive.objects.exists()


def test_nothing_is_destroyed_in_maintenance(world: World) -> None:
    StoragePool.objects.update(maintenance=True)
    world.data.leaves = True
    world.data.save()

    (reason,) = reasons(world)

    assert reason.startswith("web-data-1 cannot be destroyed: storage pool pool-simulated is in maintenance.")


@pytest.mark.parametrize("state", ["maintenance", "full"])
def test_what_became_impossible_since_the_click_fails_and_leaves_all_as_it_was(world: World, state: str) -> None:
    if state == "full":
        world.infrastructure.drive_arrays.create(label="logs", size_mb=10240, count=1)
    else:
        world.data.leaves = True
        world.data.save()
    deploy = world.start()
    if state == "full":
        StoragePool.objects.update(total_bytes=100 * GB, free_bytes=4 * GB)
        world.driver().room = Usage(100 * GB, 4 * GB)
    else:
        StoragePool.objects.update(maintenance=True)

    world.work(deploy)

    assert deploy.state == DeployState.STOPPED
    assert Drive.objects.filter(head_layer=1, drive_array=world.data).count() == 3
    assert world.driver().drives() == set(Drive.objects.values_list("pk", flat=True))


def test_missing_volume_is_made_when_maintenance_ends(world: World) -> None:
    StoragePool.objects.update(maintenance=True)
    array = factories.make_drive_array(world.infrastructure, "late", count=1, made=False)
    world.settle()
    assert array.drives.get().head_layer is None

    StoragePool.objects.update(maintenance=False)
    world.settle()
    assert array.drives.get().head_layer == 1


def test_new_drives_go_to_the_pool_with_room(world: World) -> None:
    StoragePool.objects.create(label="second", engine="simulated", capacity_gb=1000)
    StoragePool.objects.update(maintenance=True)
    StoragePool.objects.filter(label="second").update(maintenance=False)
    logs: DriveArray = world.infrastructure.drive_arrays.create(label="logs", size_mb=10240, count=1)

    assert world.deploy().state == DeployState.DONE

    assert logs.drives.get().pool.label == "second"
    assert driver_of(logs.drives.get().pool) is not world.driver()


def test_a_minute_is_more_than_a_pause() -> None:
    assert pools.PAUSE < pools.WRITE_ANYWAY < timedelta(minutes=2)
