"""Two people at the same moment, on both databases: exactly one gets through, and nobody misses what happened."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from editor import actions as editor_actions
from editor import follower
from editor.follower import _newer_than
from editor.models import Drive, Event, Instance, Power, PowerCommand, Result, Server, User
from editor.reconcile import Worker
from snapshots import actions
from snapshots.models import Snapshot, State
from snapshots.rules import MAX_PER_DRIVE
from tests import factories
from tests.together import WAIT_SECONDS, together, until_waiting

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]

LONG_AGO = timezone.now() - timedelta(days=1)


@dataclass
class World:
    """One drive on a server that is off."""

    user: User
    drive: Drive
    instance: Instance


@pytest.fixture
def world() -> World:
    user = factories.make_user("Olga Own")
    infrastructure = factories.make_infrastructure(user)
    web = factories.make_instance_array(infrastructure, count=1)
    array = factories.make_drive_array(infrastructure, instance_array=web, count=1, made=False)
    work()
    return World(user, array.drives.select_related("drive_array").get(), web.instances.get())


def work() -> None:
    Worker(since=LONG_AGO).run_until_quiet()


@pytest.mark.parametrize("first", ["revert", "power on"])
def test_of_a_revert_and_a_power_on_one_gets_through(first: str, world: World) -> None:
    actions.request_create(world.drive, by=world.user)
    work()
    snapshot = Snapshot.objects.get()
    calls: list[Callable[[], object]] = [
        lambda: actions.request_revert(snapshot, by=world.user, expect=()),
        lambda: editor_actions.power_on(world.instance, by=world.user),
    ]

    ended = together(*(calls if first == "revert" else reversed(calls)))

    server, snapshot, drive = Server.objects.get(), Snapshot.objects.get(), Drive.objects.get()
    reverting = (snapshot.state, drive.hold, server.power_command) == (State.REVERTING, "Reverting to #1.", "")
    powering_on = (snapshot.state, drive.hold, server.power_command) == (State.READY, "", PowerCommand.POWER_ON)
    assert (min(ended), reverting + powering_on) == ("", 1)
    (sentence,) = filter(None, ended)
    assert sentence == (
        "web-data-1 is in work: Reverting to #1. web-1 can be powered on when that is done."
        if reverting
        else "web-1 is powering on. Shut it down first: reverting needs it off."
    )


def test_same_form_sent_twice_at_once_makes_one_snapshot(world: World) -> None:
    key = uuid4()

    ended = together(*[lambda: actions.request_create(world.drive, by=world.user, key=key)] * 2)
    work()

    assert ended == ["", ""]
    assert list(Snapshot.objects.values_list("number", "state")) == [(1, State.READY)]


def test_of_two_snapshots_at_once_one_is_refused(world: World) -> None:
    ended = together(
        lambda: actions.request_create(world.drive, by=world.user, key=uuid4()),
        lambda: actions.request_create(world.drive, by=world.user, key=uuid4()),
    )
    work()

    assert sorted(ended) == ["", "web-data-1 is busy: Creating snapshot #1. Try again in a moment."]
    assert list(Snapshot.objects.values_list("number", "state")) == [(1, State.READY)]


def test_of_two_sixth_snapshots_at_once_one_deletes_the_oldest(world: World) -> None:
    for _ in range(MAX_PER_DRIVE):
        actions.request_create(world.drive, by=world.user)
        work()
    oldest = Snapshot.objects.get(number=1).pk

    ended = together(*[lambda: actions.request_create(world.drive, by=world.user, expect_delete=oldest)] * 2)
    work()

    assert sorted(ended) == ["", "web-data-1 is busy: Creating snapshot #6. Try again in a moment."]
    assert list(Snapshot.objects.values_list("number", flat=True)) == [6, 5, 4, 3, 2]
    assert Drive.objects.get().snapshot_count == MAX_PER_DRIVE


def test_of_two_reverts_at_once_one_gets_through(world: World) -> None:
    for _ in range(2):
        actions.request_create(world.drive, by=world.user)
        work()
    newest, oldest = Snapshot.objects.newest_first()

    ended = together(
        lambda: actions.request_revert(newest, by=world.user, expect=()),
        lambda: actions.request_revert(oldest, by=world.user, expect={newest.pk}),
    )

    assert sorted(map(bool, ended)) == [False, True]
    assert Snapshot.objects.in_work().count() == 1


def test_snapshot_is_deleted_once(world: World) -> None:
    actions.request_create(world.drive, by=world.user)
    work()
    snapshot = Snapshot.objects.get()

    ended = together(*[lambda: actions.delete(snapshot, by=world.user)] * 2)

    assert sorted(ended) == ["", "#1 was deleted already."]
    assert Event.objects.filter(verb="deleted snapshot #1 of").count() == 1


def test_two_power_commands_at_once_are_one(world: World) -> None:
    Server.objects.update(power=Power.ON)

    ended = together(
        lambda: editor_actions.soft_shut_down(world.instance, by=world.user),
        lambda: editor_actions.reset(world.instance, by=world.user),
    )

    assert sorted(map(bool, ended)) == [False, True]
    assert Event.objects.filter(result__in=[Result.STARTED, Result.FORCED]).count() == 1


def test_old_events_are_deleted_in_the_order_in_which_others_lock(world: World) -> None:
    array = world.drive.drive_array
    logs = factories.make_drive_array(array.infrastructure, "logs", instance_array=array.instance_array, count=1)
    first, second = world.drive.pk, logs.drives.get().pk
    with transaction.atomic():
        old = Event.objects.record(array.infrastructure_id, "could not do it", topics=["drive-1"])
        Event.objects.record(array.infrastructure_id, "did it", topics=["drive-1"])
    Server.objects.update(trouble=old)
    for pk in (second, first):  # PostgreSQL finds what was written last behind the others
        Drive.objects.filter(pk=pk).update(trouble=old)

    def prune() -> int:
        try:
            return follower.prune(timezone.now() + timedelta(days=36500))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            Drive.objects.select_for_update().get(pk=first)
            pruning = pool.submit(prune)
            until_waiting(1, [])
            # Fails at once if whoever waits for the first drive holds the second.
            nowait = connection.features.has_select_for_update_nowait
            Drive.objects.select_for_update(nowait=nowait).get(pk=second)
        deleted = pruning.result(WAIT_SECONDS)

    assert deleted >= 1
    assert not Server.objects.filter(trouble__isnull=False)
    assert not Drive.objects.filter(trouble__isnull=False)


# ── The order of events ──────────────────────────────────────────────────────


def test_later_event_does_not_become_visible_before_an_earlier_one(world: World) -> None:
    infrastructure = world.drive.drive_array.infrastructure_id
    recorded, may_commit = threading.Event(), threading.Event()
    before = Event.objects.latest("pk").pk

    def record(verb: str) -> None:
        try:
            with transaction.atomic():
                Event.objects.record(infrastructure, verb, topics=["drive-1"])
                if verb == "first":
                    recorded.set()
                    assert may_commit.wait(WAIT_SECONDS)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(record, "first")
        assert recorded.wait(WAIT_SECONDS)
        second = pool.submit(record, "second")
        if connection.vendor == "postgresql":
            until_waiting(1, [])
        seen_meanwhile = _newer_than(before)
        is_second_done = second.done()
        may_commit.set()
        first.result(WAIT_SECONDS)
        second.result(WAIT_SECONDS)

    assert (seen_meanwhile, is_second_done) == ([], False)
    assert [Event.objects.get(pk=pk).verb for pk, *_ in _newer_than(before)] == ["first", "second"]


def test_follower_misses_nothing_that_many_write_at_once(world: World) -> None:
    infrastructure = world.drive.drive_array.infrastructure_id
    writers, each = 4, 25 if connection.vendor == "postgresql" else 4  # SQLite has one writer: the others wait
    last = before = Event.objects.latest("pk").pk
    begin = threading.Barrier(writers + 1)

    def write() -> None:
        try:
            begin.wait(WAIT_SECONDS)
            for _ in range(each):
                with transaction.atomic():
                    Event.objects.record(infrastructure, "wrote", topics=["drive-1"])
        finally:
            connections.close_all()

    seen: list[int] = []
    with ThreadPoolExecutor(writers) as pool:
        futures = [pool.submit(write) for _ in range(writers)]
        begin.wait(WAIT_SECONDS)
        while True:
            done = all(future.done() for future in futures)  # asked first: what is read afterwards is then complete
            news = [pk for pk, *_ in _newer_than(last)]
            seen += news
            last = news[-1] if news else last
            if done and not news:
                break
        for future in futures:
            future.result()

    assert len(seen) == writers * each
    assert seen == list(Event.objects.filter(pk__gt=before).order_by("pk").values_list("pk", flat=True))
