"""Who is here: what is written and read of open pages, whom it is told, and what the page shows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from editor import presence
from editor.models import DriveArray, Event, Infrastructure, User
from editor.models.presence import Presence
from editor.presence import Presences
from tests import factories
from tests.clock import Clock, clock  # noqa: F401 - a fixture
from tests.editor.test_live import following, opened
from tests.reading import read

pytestmark = pytest.mark.postgres


@dataclass
class World:
    ours: Infrastructure
    theirs: Infrastructure
    ana: User
    tomas: User
    data: DriveArray


def make_world() -> World:
    ana, tomas = map(factories.make_user, ("Ana Marin", "Tomás Reyes"))
    ours = factories.make_infrastructure(ana, operator=tomas)
    theirs = factories.make_infrastructure(tomas, "theirs")
    web = factories.make_instance_array(ours)
    return World(ours, theirs, ana, tomas, factories.make_drive_array(ours, instance_array=web))


class Process:
    """The presences of one process, turned by hand; `queries` counts what each turn asked."""

    def __init__(self) -> None:
        self.presences = Presences()
        self.told: list[str] = []
        self.queries: list[int] = []

    def enter(self, infrastructure: Infrastructure, user: User) -> presence.Visit:
        return self.presences.enter(infrastructure.pk, user.pk, lambda: self.told.append(user.name))

    def turn(self) -> list[str]:
        """Answers who was told in this turn."""
        self.told.clear()
        # In this thread and transaction; without a thread to wait for, a turn ends at its first step.
        self.presences._ask = _ask_here  # type: ignore[method-assign]
        with CaptureQueriesContext(connection) as queries, pytest.raises(StopIteration):
            self.presences.turn().send(None)
        self.queries.append(len([one for one in queries if not one["sql"].startswith(("SAVEPOINT", "RELEASE"))]))
        return list(self.told)


async def _ask_here(query: Callable[..., Any], *arguments: object) -> Any:
    return query(*arguments)


@pytest.fixture
def world(db: None) -> World:
    return make_world()


# ── Turns ────────────────────────────────────────────────────────────────────


def test_others_are_told_who_came_and_what_they_look_at(world: World, clock: Clock) -> None:  # noqa: F811
    here = Process()
    here.enter(world.ours, world.ana)
    first = here.turn()
    tomas = here.enter(world.ours, world.tomas)

    came = here.turn()
    here.presences.look(tomas, world.data.topic)
    looks = here.turn() + here.turn()

    assert (first, sorted(came), looks) == ([], ["Ana Marin", "Tomás Reyes"], ["Ana Marin"])
    assert {(row.user.name, row.looks_at) for row in Presence.objects.all()} == {
        ("Ana Marin", ""),
        ("Tomás Reyes", world.data.topic),
    }


def test_other_infrastructures_and_own_pages_are_told_nothing(world: World, clock: Clock) -> None:  # noqa: F811
    here = Process()
    here.enter(world.ours, world.ana)
    here.enter(world.ours, world.ana)
    here.enter(world.theirs, world.tomas)

    assert [here.turn() for _ in range(4)] == [[]] * 4


def test_processes_hear_of_each_other(world: World, clock: Clock) -> None:  # noqa: F811
    one, other = Process(), Process()
    one.enter(world.ours, world.ana)
    one.turn()
    other.enter(world.ours, world.tomas)
    other.turn()

    assert [one.turn(), other.turn()] == [["Ana Marin"], ["Tomás Reyes"]]


def test_who_closes_the_page_is_gone_at_once(world: World, clock: Clock) -> None:  # noqa: F811
    here = Process()
    here.enter(world.ours, world.ana)
    tomas = here.enter(world.ours, world.tomas)
    here.turn()

    here.presences.leave(tomas)

    assert here.turn() == ["Ana Marin"]


def test_who_is_not_heard_of_any_more_is_gone_after_fifteen_seconds(world: World, clock: Clock) -> None:  # noqa: F811
    here, dies = Process(), Process()
    here.enter(world.ours, world.ana)
    dies.enter(world.ours, world.tomas)
    for process in (dies, here):
        process.turn()
    here.turn()

    told = []
    for second in range(1, 20):
        clock.advance(1)
        if here.turn():
            told.append(second)

    assert len(told) == 1
    assert 15 <= told[0] <= 17


def test_whoever_stays_stays(world: World, clock: Clock) -> None:  # noqa: F811
    here, there = Process(), Process()
    here.enter(world.ours, world.ana)
    there.enter(world.ours, world.tomas)
    for process in (here, there, here, there):
        process.turn()

    told = []
    for _ in range(60):
        clock.advance(1)
        told += here.turn() + there.turn()

    assert told == []
    assert Presence.objects.filter(seen_at__gt=timezone.now() - presence.RENEW * 2).count() == 2


def test_a_process_asks_once_a_turn_whatever_happens(world: World, clock: Clock) -> None:  # noqa: F811
    here = Process()
    visits = [here.enter(world.ours, world.ana) for _ in range(40)] + [here.enter(world.theirs, world.tomas)]
    for second in range(130):
        clock.advance(1)
        here.presences.look(visits[second % 40], f"drive-array-{second}")
        here.turn()

    assert max(here.queries) == 1


def test_nobody_here_asks_nothing(world: World, clock: Clock) -> None:  # noqa: F811
    here = Process()
    here.presences.leave(here.enter(world.ours, world.ana))

    for _ in range(5):
        here.turn()

    assert here.queries == [1, 0, 0, 0, 0]


def test_reading_is_not_held_up_by_somebody_who_clicks_all_the_time(world: World, clock: Clock) -> None:  # noqa: F811
    here, there = Process(), Process()
    ana = here.enter(world.ours, world.ana)
    here.turn()
    there.enter(world.ours, world.tomas)
    there.turn()

    told = []
    for number in range(presence.WRITES_IN_A_ROW + 1):
        here.presences.look(ana, f"drive-array-{number}")
        told += here.turn()

    assert told == ["Ana Marin"]


def test_what_is_left_of_those_who_went_is_swept_away(world: World, clock: Clock) -> None:  # noqa: F811
    here = Process()
    here.enter(world.ours, world.ana)
    here.presences.leave(here.enter(world.ours, world.tomas))
    here.turn()
    assert Presence.objects.count() == 2

    for _ in range(70):
        clock.advance(1)
        here.turn()

    assert [row.user for row in Presence.objects.all()] == [world.ana]


@pytest.mark.parametrize("topic", ["server-1", "drive-array-", "drive-array-1 x", "<b>", "drive-array-" + "9" * 30])
def test_what_is_no_card_is_not_looked_at(world: World, clock: Clock, topic: str) -> None:  # noqa: F811
    here = Process()
    visit = here.enter(world.ours, world.ana)

    here.presences.look(visit, topic)

    assert visit.looks_at == ""


# ── Over the socket ──────────────────────────────────────────────────────────


@pytest.mark.django_db(transaction=True)
def test_a_page_that_says_what_it_looks_at_is_seen_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "TURN_SECONDS", 0.05)
    world = make_world()

    async def main() -> None:
        async with following(), opened(world.ana, world.ours, 0) as ana, opened(world.tomas, world.ours, 0) as tomas:
            await tomas.says(text="nonsense")
            await tomas.says(text=json.dumps(["looks_at"]))
            await tomas.says(text=json.dumps({"looks_at": world.data.topic}))
            async with asyncio.timeout(5):
                while f"presence-{world.ours.pk}" not in (await ana.hears()).get("topics", []):
                    pass
                while await sync_to_async(looks)() != [world.data.topic]:
                    await ana.hears()

    def looks() -> list[str]:
        return list(Presence.objects.filter(user=world.tomas).values_list("looks_at", flat=True))

    async_to_sync(main)()
    assert Event.objects.count() == 0


# ── On the page ──────────────────────────────────────────────────────────────


def present(world: World, user: User, page: str, topic: str = "", *, seconds_ago: float = 0) -> None:
    Presence.objects.create(
        infrastructure=world.ours,
        user=user,
        page=page,
        looks_at=topic,
        seen_at=timezone.now() - timedelta(seconds=seconds_ago),
    )


def shown(client: Client, world: World, user: User) -> str:
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    response = client.get(reverse("infrastructure_presence", args=[world.ours.pk]), headers={"HX-Request": "true"})
    assert response.status_code == 200
    return response.content.decode()


def test_the_page_names_others_and_marks_their_cards(client: Client, world: World) -> None:
    present(world, world.ana, "own", world.data.topic)
    present(world, world.tomas, "one")
    present(world, world.tomas, "two", world.data.topic)
    present(world, factories.make_user("Wei Chen"), "three", "drive-array-999")
    present(world, factories.make_user("Gone Girl"), "four", seconds_ago=16)

    html = shown(client, world, world.ana)

    assert 'aria-label="Also here: Tomás Reyes, Wei Chen"' in html
    assert 'title="Tomás Reyes is viewing web-data"' in html
    assert 'title="Wei Chen is viewing the canvas"' in html
    assert html.count("data-on=") == html.count(f'data-on="{world.data.topic}"') == 1
    assert "Ana Marin" not in html


def test_alone_nobody_is_named(client: Client, world: World) -> None:
    present(world, world.ana, "own", world.data.topic)

    html = shown(client, world, world.ana)

    assert "Also here" not in html
    assert "hidden" in html


def test_a_crowd_is_counted(client: Client, world: World) -> None:
    for number in range(7):
        present(world, factories.make_user(f"Person {number}"), f"page-{number}", world.data.topic)

    shown(client, world, world.ana)
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(reverse("infrastructure_presence", args=[world.ours.pk]))

    assert answer.content.decode().count(">+3<") == 1
    assert len(queries) <= 8


def test_the_whole_page_shows_who_is_here_and_strangers_see_nothing(client: Client, world: World) -> None:
    present(world, world.tomas, "one")
    client.force_login(world.ana, backend="django.contrib.auth.backends.ModelBackend")

    page = read(client.get(world.ours.get_absolute_url()))
    theirs = client.get(reverse("infrastructure_presence", args=[world.theirs.pk]))

    assert "Tomás Reyes is viewing the canvas" in page.words
    assert theirs.status_code == 404
