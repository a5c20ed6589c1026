"""What browsers are told over the socket, and who is told nothing."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from asgiref.testing import ApplicationCommunicator
from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from django.conf import settings as django_settings
from django.contrib.sessions.models import Session
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from editor import bell, follower, live
from editor.models import (
    DesignStep,
    Event,
    Infrastructure,
    Instance,
    InstanceArray,
    Membership,
    Power,
    Result,
    Role,
    Server,
    ServerType,
    User,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]

application = AuthMiddlewareStack(URLRouter(cast(Any, live.websocket_urlpatterns)))


@dataclass
class World:
    """Two infrastructures with an owner each; somebody who may look at the first; somebody who may at neither."""

    ours: Infrastructure
    theirs: Infrastructure
    owner: User
    viewer: User
    stranger: User


@pytest.fixture
def world() -> World:
    owner, viewer, stranger = (
        User.objects.create_user(f"{name}@example.org", name=name.title()) for name in ("owner", "viewer", "stranger")
    )
    ours, theirs = (Infrastructure.objects.create(label=label) for label in ("ours", "theirs"))
    Membership.objects.create(infrastructure=ours, user=owner, role=Role.OWNER)
    Membership.objects.create(infrastructure=ours, user=viewer, role=Role.VIEWER)
    Membership.objects.create(infrastructure=theirs, user=stranger, role=Role.OWNER)
    return World(ours, theirs, owner, viewer, stranger)


def cookie(user: User | None) -> bytes:
    """A Cookie header of a session of its own; an empty one for nobody."""
    if user is None:
        return b""
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    name = django_settings.SESSION_COOKIE_NAME
    return f"{name}={client.cookies[name].value}".encode()


def record(infrastructure: Infrastructure, *topics: str, result: Result = Result.DONE) -> int:
    with transaction.atomic():
        return Event.objects.record(infrastructure.pk, topics=topics, result=result).pk


class Tab:
    """One browser tab.

    Not by channels.testing: that package cannot be imported without daphne, a second server.
    """

    def __init__(self, path: str, header: bytes, application: Any = application) -> None:
        address, _, query = path.partition("?")
        self.socket = ApplicationCommunicator(
            application,
            {
                "type": "websocket",
                "path": address,
                "query_string": query.encode(),
                "headers": [(b"cookie", header)],
                "subprotocols": [],
            },
        )

    async def asks(self) -> dict[str, Any]:
        """Asks for the socket to be opened, and answers what the application makes of it."""
        await self.socket.send_input({"type": "websocket.connect"})
        return cast(dict[str, Any], await self.socket.receive_output(timeout=5))

    async def open(self) -> bool:
        return bool((await self.asks())["type"] == "websocket.accept")

    async def hears(self) -> dict[str, Any]:
        output = await self.socket.receive_output(timeout=5)
        assert output["type"] == "websocket.send"
        return cast(dict[str, Any], json.loads(output["text"]))

    async def says(self, **message: Any) -> None:
        await self.socket.send_input({"type": "websocket.receive", **message})

    async def is_closed_with(self) -> int:
        """Waits for the end, whatever is told before it."""
        while (output := await self.socket.receive_output(timeout=5))["type"] != "websocket.close":
            pass
        return cast(int, output["code"])

    async def close(self) -> None:
        await self.socket.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.socket.wait(timeout=5)


def path_of(infrastructure: int | Infrastructure, since: int | str | None = 0) -> str:
    pk = infrastructure if isinstance(infrastructure, int) else infrastructure.pk
    return f"/ws/infrastructures/{pk}/" + ("" if since is None else f"?since={since}")


@asynccontextmanager
async def following() -> AsyncIterator[follower.Follower]:
    await live.start()
    try:
        assert live._follower
        yield live._follower
    finally:
        await live.stop()


@asynccontextmanager
async def opened(
    user: User, infrastructure: Infrastructure, since: int | str | None, **options: Any
) -> AsyncIterator[Tab]:
    """A tab that is open but has not heard anything yet."""
    tab = Tab(path_of(infrastructure, since), await sync_to_async(cookie)(user), **options)
    assert await tab.open()
    try:
        yield tab
    finally:
        await tab.close()


def live_test(test: Callable[..., Awaitable[None]]) -> Callable[[World, pytest.MonkeyPatch], None]:
    """Makes a test of a coroutine that runs while a follower does."""

    def run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        async def main() -> None:
            async with following() as running:
                await test(world, monkeypatch, running)

        async_to_sync(main)()

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(follower, "POLL_SECONDS", 0.02)


# ── News ─────────────────────────────────────────────────────────────────────


@live_test
async def test_new_event_is_told_to_all_pages_of_its_infrastructure(world: World, *_: Any) -> None:
    since = await sync_to_async(record)(world.ours, "drive-1")
    async with opened(world.owner, world.ours, since) as one, opened(world.viewer, world.ours, since) as two:
        firsts = [await one.hears(), await two.hears()]

        event = await sync_to_async(record)(world.ours, "drive-7", "drive-array-3")

        told = {"id": event, "topics": ["drive-7", "drive-array-3"]}
        assert [firsts, await one.hears(), await two.hears()] == [[{"id": since, "topics": []}] * 2, told, told]


@live_test
async def test_page_hears_nothing_of_other_infrastructures(world: World, *_: Any) -> None:
    since = await sync_to_async(record)(world.ours, "drive-1")
    async with opened(world.owner, world.ours, since) as tab:
        await tab.hears()

        await sync_to_async(record)(world.theirs, "drive-99")
        event = await sync_to_async(record)(world.ours, "drive-1")

        assert await tab.hears() == {"id": event, "topics": ["drive-1"]}


def test_bell_wakes_the_follower_long_before_the_next_poll(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "POLL_SECONDS", 3600)

    async def main() -> None:
        async with following():
            since = await sync_to_async(record)(world.ours, "drive-1")
            async with opened(world.owner, world.ours, since) as tab:
                await tab.hears()

                event = await sync_to_async(record)(world.ours, "drive-7")

                assert await tab.hears() == {"id": event, "topics": ["drive-7"]}

    async_to_sync(main)()


def test_event_of_another_process_is_found_by_polling(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes ring bells of their own."""
    monkeypatch.setattr(bell, "ring", lambda: None)

    async def main() -> None:
        async with following():
            since = await sync_to_async(record)(world.ours, "drive-1")
            async with opened(world.owner, world.ours, since) as tab:
                await tab.hears()

                event = await sync_to_async(record)(world.ours, "drive-7")

                assert await tab.hears() == {"id": event, "topics": ["drive-7"]}

    async_to_sync(main)()


@live_test
async def test_nothing_is_told_of_what_was_rolled_back(world: World, *_: Any) -> None:
    since = await sync_to_async(record)(world.ours, "drive-1")

    def undone() -> None:
        with transaction.atomic():
            Event.objects.record(world.ours.pk, topics=["drive-2"])
            transaction.set_rollback(True)

    async with opened(world.owner, world.ours, since) as tab:
        await tab.hears()

        await sync_to_async(undone)()
        event = await sync_to_async(record)(world.ours, "drive-3")

        assert await tab.hears() == {"id": event, "topics": ["drive-3"]}


@live_test
async def test_more_events_than_one_batch_are_all_told(
    world: World, monkeypatch: pytest.MonkeyPatch, running: follower.Follower
) -> None:
    monkeypatch.setattr(follower, "BATCH_ROWS", 2)
    since = await sync_to_async(record)(world.ours, "drive-0")

    def seven() -> int:
        with transaction.atomic():
            return [Event.objects.record(world.ours.pk, topics=[f"drive-{n}"]).pk for n in range(1, 8)][-1]

    async with opened(world.owner, world.ours, since) as tab:
        await tab.hears()

        last = await sync_to_async(seven)()

        topics: list[str] = []
        message: dict[str, Any] = {}
        while message.get("id") != last:
            message = await tab.hears()
            topics += message["topics"]
        assert topics == [f"drive-{n}" for n in range(1, 8)]


# ── Catching up ──────────────────────────────────────────────────────────────


@live_test
async def test_returning_page_is_told_all_it_missed_in_one_message(world: World, *_: Any) -> None:
    since = await sync_to_async(record)(world.ours, "drive-1")
    for topics in (["drive-2", "drive-array-1"], ["drive-3", "drive-array-1"]):
        await sync_to_async(record)(world.ours, *topics)
    newest = await sync_to_async(record)(world.theirs, "drive-99")

    async with opened(world.owner, world.ours, since) as tab:
        assert await tab.hears() == {"id": newest, "topics": ["drive-2", "drive-array-1", "drive-3"]}


@live_test
async def test_page_that_missed_nothing_hears_that_at_once(world: World, *_: Any) -> None:
    since = await sync_to_async(record)(world.ours, "drive-1")

    async with opened(world.owner, world.ours, since) as tab:
        assert await tab.hears() == {"id": since, "topics": []}


def test_event_that_a_page_caught_up_with_is_not_told_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the follower is behind: it reads the first event only after the page has."""
    monkeypatch.setattr(follower, "POLL_SECONDS", 3600)
    ring = bell.ring

    async def main() -> None:
        async with following():
            monkeypatch.setattr(bell, "ring", lambda: None)
            since = await sync_to_async(record)(world.ours, "drive-1")
            async with opened(world.owner, world.ours, since) as tab:
                await tab.hears()
                event = await sync_to_async(record)(world.ours, "drive-7")
                ring()

                assert await tab.hears() == {"id": event, "topics": ["drive-7"]}

    async_to_sync(main)()


@live_test
async def test_event_while_a_page_catches_up_is_not_lost(
    world: World, monkeypatch: pytest.MonkeyPatch, running: follower.Follower
) -> None:
    """It comes after the catch-up has read and before anything was sent: the worst moment."""
    since = await sync_to_async(record)(world.ours, "drive-1")
    read, may_go_on = asyncio.Event(), asyncio.Event()
    ask = running.ask

    async def ask_and_wait(query: Callable[..., Any], *arguments: Any) -> Any:
        answer = await ask(query, *arguments)
        if query is follower._missed:
            read.set()
            await may_go_on.wait()
        return answer

    monkeypatch.setattr(running, "ask", ask_and_wait)
    async with opened(world.owner, world.ours, since) as late, asyncio.timeout(5):
        await read.wait()
        event = await sync_to_async(record)(world.ours, "drive-7")
        while running._last_id < event:
            await ask(follower._newest_id)
        may_go_on.set()

        assert await late.hears() == {"id": event, "topics": ["drive-7"]}


@pytest.mark.parametrize("since", [None, "", "-1", "abc", "1e3", "²", "9" * 19, "9" * 18])
def test_page_without_a_believable_since_looks_at_everything_again(world: World, since: str | None) -> None:
    newest = record(world.ours, "drive-1")

    async def main() -> None:
        async with following(), opened(world.owner, world.ours, since) as tab:
            assert await tab.hears() == {"id": newest, "refetch": True}

    async_to_sync(main)()


@live_test
async def test_page_whose_since_was_pruned_looks_at_everything_again(world: World, *_: Any) -> None:
    since = await sync_to_async(record)(world.ours, "drive-1")
    await sync_to_async(record)(world.ours, "drive-2")
    newest = await sync_to_async(record)(world.ours, "drive-3")
    await sync_to_async(Event.objects.filter(pk__lt=newest).delete)()

    async with (
        opened(world.owner, world.ours, since) as behind,
        opened(world.owner, world.ours, newest - 1) as close_by,
    ):
        assert await behind.hears() == {"id": newest, "refetch": True}
        assert await close_by.hears() == {"id": newest, "topics": ["drive-3"]}


@live_test
async def test_more_topics_than_are_worth_listing_become_one_refetch(
    world: World, monkeypatch: pytest.MonkeyPatch, running: follower.Follower
) -> None:
    monkeypatch.setattr(follower, "TOPICS_MAX", 3)
    since = await sync_to_async(record)(world.ours, "drive-1")
    newest = await sync_to_async(record)(world.ours, "drive-1", "drive-2", "drive-3", "drive-4")

    async with opened(world.owner, world.ours, since) as tab:
        assert await tab.hears() == {"id": newest, "refetch": True}

        event = await sync_to_async(record)(world.ours, "drive-5")

        assert await tab.hears() == {"id": event, "topics": ["drive-5"]}


@live_test
async def test_more_events_than_are_worth_reading_become_one_refetch(
    world: World, monkeypatch: pytest.MonkeyPatch, running: follower.Follower
) -> None:
    monkeypatch.setattr(follower, "BATCH_ROWS", 2)
    since = await sync_to_async(record)(world.ours, "drive-1")
    newest = [await sync_to_async(record)(world.ours, "drive-1") for _ in range(3)][-1]

    async with opened(world.owner, world.ours, since) as tab:
        assert await tab.hears() == {"id": newest, "refetch": True}


# ── Who may listen ───────────────────────────────────────────────────────────


def test_missing_and_forbidden_get_the_same_refusal(world: World) -> None:
    record(world.ours, "drive-1")
    former = cookie(world.owner)
    Session.objects.all().delete()
    attempts = [
        ("/ws/infrastructures/999999/?since=0", cookie(world.stranger)),
        (f"/ws/infrastructures/{'9' * 40}/?since=0", cookie(world.stranger)),
        (path_of(world.ours), cookie(world.stranger)),
        (path_of(world.ours), b""),
        (path_of(world.ours), former),
        ("/ws/elsewhere/", cookie(world.owner)),
    ]

    async def outcome(path: str, header: bytes) -> list[dict[str, Any]]:
        tab = Tab(path, header)
        answers = [await tab.asks()]
        await tab.socket.wait(timeout=5)
        while not tab.socket.output_queue.empty():
            answers.append(await tab.socket.receive_output(timeout=5))
        return answers

    async def main() -> None:
        async with following():
            outcomes = [await outcome(*attempt) for attempt in attempts]

        assert outcomes == [[{"type": "websocket.close"}]] * len(attempts)

    async_to_sync(main)()


def test_viewer_may_listen(world: World) -> None:
    since = record(world.ours, "drive-1")

    async def main() -> None:
        async with following(), opened(world.viewer, world.ours, since) as tab:
            assert await tab.hears() == {"id": since, "topics": []}

    async_to_sync(main)()


def loses_membership(world: World) -> None:
    Membership.objects.filter(user=world.viewer).delete()


def signs_out(world: World) -> None:
    Session.objects.all().delete()


def session_runs_out(world: World) -> None:
    Session.objects.update(expire_date=datetime(2020, 1, 1, tzinfo=UTC))


def changes_password(world: World) -> None:
    world.viewer.set_password("another long password")
    world.viewer.save()


def is_deactivated(world: World) -> None:
    User.objects.filter(pk=world.viewer.pk).update(is_active=False)


@pytest.mark.parametrize(
    "what_happens", [loses_membership, signs_out, session_runs_out, changes_password, is_deactivated]
)
def test_page_is_let_go_at_the_next_beat_once_its_user(
    world: World, monkeypatch: pytest.MonkeyPatch, what_happens: Callable[[World], None]
) -> None:
    quick_beats(monkeypatch)
    since = record(world.ours, "drive-1")

    async def main() -> None:
        async with following() as running, opened(world.viewer, world.ours, since) as tab:
            await tab.hears()
            await sync_to_async(what_happens)(world)

            assert await tab.is_closed_with() == follower.NOT_YOURS
            await tab.socket.wait(timeout=5)
            assert running.pages == {}

    async_to_sync(main)()


def test_beat_lets_only_those_go_who_lost_their_place(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    quick_beats(monkeypatch)
    since = record(world.ours, "drive-1")

    async def main() -> None:
        async with (
            following(),
            opened(world.viewer, world.ours, since) as viewer,
            opened(world.owner, world.ours, since) as owner,
        ):
            await owner.hears()
            await sync_to_async(loses_membership)(world)
            await viewer.is_closed_with()

            event = await sync_to_async(record)(world.ours, "drive-7")

            heard = await owner.hears()
            while heard["id"] != event:
                heard = await owner.hears()
            assert heard == {"id": event, "topics": ["drive-7"]}

    async_to_sync(main)()


@live_test
async def test_user_with_too_many_pages_is_refused_until_one_closes(
    world: World, monkeypatch: pytest.MonkeyPatch, running: follower.Follower
) -> None:
    monkeypatch.setattr(follower, "PAGES_PER_USER", 2)
    header = await sync_to_async(cookie)(world.owner)
    others = await sync_to_async(cookie)(world.viewer)
    tabs = [Tab(path_of(world.ours), header) for _ in range(2)]

    both = [await tab.open() for tab in tabs]
    third = await Tab(path_of(world.ours), header).open()
    somebody_else = Tab(path_of(world.ours), others)
    of_somebody_else = await somebody_else.open()
    await tabs[0].close()
    again = Tab(path_of(world.ours), header)
    after_one_left = await again.open()

    for tab in (tabs[1], somebody_else, again):
        await tab.close()
    assert [both, third, of_somebody_else, after_one_left] == [[True, True], False, True, True]


# ── The beat ─────────────────────────────────────────────────────────────────


def servers_of(infrastructure: Infrastructure, *, count: int) -> list[Server]:
    """Servers that were read a minute apart from each other."""
    kind, _ = ServerType.objects.get_or_create(label="M.16.64", cores=16, ram_gb=64)
    array = InstanceArray.objects.create(infrastructure=infrastructure, label="web", server_type=kind, count=count)
    servers = []
    for number in range(1, count + 1):
        server = Server.objects.create(
            server_type=kind,
            serial=f"{infrastructure.label}-{number}",
            address=f"simulated://web-{number}",
            power=Power.ON,
            power_seen_at=datetime(2026, 3, 1, 12, number, 0, 123456, tzinfo=UTC),
        )
        Instance.objects.create(instance_array=array, number=number, server=server)
        servers.append(server)
    return servers


def test_beat_tells_when_servers_were_seen_and_afterwards_only_what_changed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_beats(monkeypatch)
    since = record(world.ours, "drive-1")
    one, two = servers_of(world.ours, count=2)
    servers_of(world.theirs, count=1)

    async def main() -> None:
        async with following(), opened(world.owner, world.ours, since) as tab:
            opening = await tab.hears()
            first = await tab.hears()
            second = await tab.hears()
            await sync_to_async(Server.objects.filter(pk=two.pk).update, thread_sensitive=True)(
                power_seen_at=datetime(2026, 3, 1, 13, 0, tzinfo=UTC)
            )
            heard = await tab.hears()
            while "seen" not in heard:
                heard = await tab.hears()

        assert [opening, first, second, heard] == [
            {"id": since, "topics": []},
            {
                "id": since,
                "seen": {
                    f"server-{one.pk}": "2026-03-01T12:01:00+00:00",
                    f"server-{two.pk}": "2026-03-01T12:02:00+00:00",
                },
            },
            {"id": since, "topics": []},
            {"id": since, "seen": {f"server-{two.pk}": "2026-03-01T13:00:00+00:00"}},
        ]

    async_to_sync(main)()


def test_beat_carries_the_newest_event_of_any_infrastructure(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a quiet page that was away is not believed to have missed what has been pruned."""
    quick_beats(monkeypatch)
    since = record(world.ours, "drive-1")

    async def main() -> None:
        async with following(), opened(world.owner, world.ours, since) as tab:
            await tab.hears()
            newest = await sync_to_async(record)(world.theirs, "drive-99")

            heard = await tab.hears()
            while heard["id"] == since:
                heard = await tab.hears()
            assert heard == {"id": newest, "topics": []}

    async_to_sync(main)()


@pytest.mark.parametrize("tabs", [1, 3])
def test_beat_asks_as_many_queries_for_one_page_as_for_many(world: World, tabs: int) -> None:
    record(world.ours, "drive-1")
    servers_of(world.ours, count=tabs)
    pages = []
    for _ in range(tabs):
        cookie(world.owner)
        key = Session.objects.order_by("-expire_date").values_list("session_key", flat=True)[0]
        pages.append((world.ours.pk, world.owner, key))

    def queries(open_pages: list[follower.Page]) -> int:
        with CaptureQueriesContext(connection) as captured:
            allowed = follower._still_allowed(open_pages)
            follower._seen_times({world.ours.pk})
        assert allowed == set(open_pages)
        return len(captured)

    async def main() -> None:
        open_pages = [follower.Page(*page) for page in pages]
        assert await sync_to_async(queries)(open_pages) == 4

    async_to_sync(main)()


# ── When something is slow or breaks ─────────────────────────────────────────


def slow_application(gate: asyncio.Event) -> Any:
    """A browser behind a line on which no message gets through until the gate opens."""

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        async def through_the_gate(message: dict[str, Any]) -> None:
            if message["type"] == "websocket.send":
                await gate.wait()
            await send(message)

        await application(scope, receive, through_the_gate)

    return slow


@live_test
async def test_slow_page_holds_up_nobody_and_gets_everything_merged(world: World, *_: Any) -> None:
    since = await sync_to_async(record)(world.ours, "drive-0")
    gate = asyncio.Event()
    async with (
        opened(world.viewer, world.ours, since, application=slow_application(gate)) as slow,
        opened(world.owner, world.ours, since) as quick,
    ):
        await quick.hears()
        heard = []
        for number in range(1, 6):
            await sync_to_async(record)(world.ours, f"drive-{number}")
            heard.append((await quick.hears())["topics"])
        gate.set()

        first, rest = await slow.hears(), await slow.hears()

        everything = [f"drive-{number}" for number in range(1, 6)]
        assert heard == [[topic] for topic in everything]
        assert first["topics"] + rest["topics"] == everything


@live_test
async def test_page_that_takes_no_message_is_let_go_to_come_back(
    world: World, monkeypatch: pytest.MonkeyPatch, running: follower.Follower
) -> None:
    monkeypatch.setattr(live, "SEND_SECONDS", 0.05)
    async with opened(world.owner, world.ours, 0, application=slow_application(asyncio.Event())) as stuck:
        assert await stuck.is_closed_with() == follower.TRY_LATER
        await stuck.socket.wait(timeout=5)
        assert running.pages == {}


@live_test
async def test_page_that_vanishes_in_the_middle_of_a_message_is_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch, running: follower.Follower
) -> None:
    async def vanishing(scope: Any, receive: Any, send: Any) -> None:
        async def broken(message: dict[str, Any]) -> None:
            if message["type"] == "websocket.send":
                raise ConnectionResetError
            await send(message)

        await application(scope, receive, broken)

    tab = Tab(path_of(world.ours), await sync_to_async(cookie)(world.owner), vanishing)
    await tab.open()
    await tab.socket.wait(timeout=5)

    assert running.pages == {}


def test_silent_event_waits_for_the_one_that_tells_how_it_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    since = record(world.ours, "drive-1")

    async def main() -> None:
        async with following(), opened(world.owner, world.ours, since) as tab:
            await tab.hears()

            await sync_to_async(record)(world.ours, "drive-7", result=Result.SILENT)
            ended = await sync_to_async(record)(world.ours, "drive-7", "drive-array-3")

            assert await tab.hears() == {"id": ended, "topics": ["drive-7", "drive-array-3"]}

    # Longer than this test waits for anything: it was the second one that was told at once.
    monkeypatch.setattr(follower, "SILENT_SECONDS", 600)
    async_to_sync(main)()


def test_silent_event_alone_is_told_after_a_moment(world: World) -> None:
    since = record(world.ours, "drive-1")

    async def main() -> None:
        async with following(), opened(world.owner, world.ours, since) as tab:
            await tab.hears()

            event = await sync_to_async(record)(world.ours, "drive-7", result=Result.SILENT)

            assert await tab.hears() == {"id": event, "topics": ["drive-7"]}

    async_to_sync(main)()


def test_database_error_is_survived_and_nothing_is_lost(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    since = record(world.ours, "drive-1")
    newer_than = follower._newer_than
    failures = [DatabaseError("the disk is gone"), DatabaseError("still gone"), DatabaseError("and still")]
    begun = threading.Event()

    def failing(event_id: int) -> list[tuple[int, int, str, str]]:
        begun.set()
        if failures:
            raise failures.pop(0)
        return newer_than(event_id)

    async def main() -> None:
        async with following(), opened(world.owner, world.ours, since) as tab:
            await tab.hears()
            monkeypatch.setattr(follower, "_newer_than", failing)
            # Or the event could be found by a look that began before.
            await asyncio.to_thread(begun.wait, 10)

            event = await sync_to_async(record)(world.ours, "drive-7")

            assert await tab.hears() == {"id": event, "topics": ["drive-7"]}

    monkeypatch.setattr(follower, "POLL_SECONDS", 0.01)
    async_to_sync(main)()
    warnings = [(entry.getMessage(), bool(entry.exc_info)) for entry in caplog.records if "cannot be read" in entry.msg]
    assert warnings == [
        ("Live updates cannot be read; next attempt in 0.0 s.", True),
        ("Live updates cannot be read; next attempt in 0.0 s.", False),
        ("Live updates cannot be read; next attempt in 0.0 s.", False),
    ]


def test_no_beat_while_events_cannot_be_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that hears no beat stops claiming to be live."""
    monkeypatch.setattr(follower, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(follower, "BEAT_SECONDS", 0.01)
    since = record(world.ours, "drive-1")
    tried: list[int] = []

    def failing(event_id: int) -> list[tuple[int, int, str, str]]:
        tried.append(event_id)
        raise DatabaseError("the disk is gone")

    async def main() -> None:
        async with following() as running:
            monkeypatch.setattr(follower, "_newer_than", failing)
            while not tried:
                await running.ask(follower._newest_id)
            async with opened(world.owner, world.ours, since) as tab:
                first = await tab.hears()
                while len(tried) < 4:
                    await running.ask(follower._newest_id)

                assert [first, await tab.socket.receive_nothing(timeout=0)] == [{"id": since, "topics": []}, True]

    async_to_sync(main)()


def test_start_fails_when_the_database_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> int:
        raise DatabaseError("no such table")

    monkeypatch.setattr(follower, "_newest_id", failing)

    with pytest.raises(DatabaseError, match="no such table"):
        async_to_sync(live.start)()


@live_test
async def test_socket_before_the_start_is_refused(world: World, *_: Any) -> None:
    await live.stop()

    assert not await Tab(path_of(world.ours), await sync_to_async(cookie)(world.owner)).open()


def test_stop_lets_pages_go_and_ends_its_thread(world: World) -> None:
    since = record(world.ours, "drive-1")

    async def main() -> None:
        await live.start()
        tab = Tab(path_of(world.ours, since), await sync_to_async(cookie)(world.owner))
        await tab.open()
        await tab.hears()

        async with asyncio.timeout(2):
            await live.stop()
            await live.stop()

        assert await tab.is_closed_with() == follower.RESTARTING
        await tab.socket.wait(timeout=5)

    # One that could not start, in another test, leaves its thread to the garbage collector.
    listeners, before = len(bell._listeners), set(threading.enumerate())
    async_to_sync(main)()
    begun = [thread for thread in threading.enumerate() if thread.name.startswith("live") and thread not in before]
    for thread in begun:
        thread.join(timeout=2)
    assert [thread.name for thread in begun if thread.is_alive()] == []
    assert len(bell._listeners) == listeners


def test_bell_rung_after_the_loop_ended_hurts_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rings: list[Callable[[], None]] = []

    def listen(ring: Callable[[], None]) -> Callable[[], None]:
        rings.append(ring)
        return lambda: None

    monkeypatch.setattr(bell, "listen", listen)

    async def main() -> None:
        async with following():
            pass

    asyncio.run(main())
    rings[0]()

    assert len(rings) == 1


def test_what_the_page_says_is_ignored(world: World) -> None:
    since = record(world.ours, "drive-1")

    async def main() -> None:
        async with following(), opened(world.owner, world.ours, since) as tab:
            await tab.hears()
            await tab.says(text=json.dumps({"infrastructure": world.theirs.pk}))
            await tab.says(bytes=b"\x00")
            await sync_to_async(record)(world.theirs, "drive-99")
            event = await sync_to_async(record)(world.ours, "drive-7")

            assert await tab.hears() == {"id": event, "topics": ["drive-7"]}

    async_to_sync(main)()


# ── Order ────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite has one writer at a time: transactions never interleave."
)
def test_events_of_interleaved_transactions_are_all_told_in_order(world: World) -> None:
    """The second would overtake the first, whose id is lower, and the follower would never look back."""
    since = record(world.ours, "drive-1")
    has_recorded, may_commit = threading.Event(), threading.Event()

    def first() -> None:
        with transaction.atomic():
            Event.objects.record(world.ours.pk, topics=["first"])
            has_recorded.set()
            may_commit.wait(timeout=10)
        connection.close()

    def second() -> None:
        record(world.ours, "second")
        connection.close()

    def waits_for_the_order() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            return bool(cursor.fetchone()[0])

    async def main() -> None:
        async with following() as running, opened(world.owner, world.ours, since) as tab, asyncio.timeout(10):
            await tab.hears()
            early, late = threading.Thread(target=first), threading.Thread(target=second)
            early.start()
            await asyncio.to_thread(has_recorded.wait, 10)
            late.start()
            while not await running.ask(waits_for_the_order):
                pass
            before_commit = await tab.socket.receive_nothing(timeout=0)

            may_commit.set()

            heard = await tab.hears()
            topics = heard["topics"]
            while "second" not in topics:
                later = await tab.hears()
                assert later["id"] > heard["id"]
                topics = topics + later["topics"]
            await asyncio.to_thread(early.join, 10)
            await asyncio.to_thread(late.join, 10)
            assert [before_commit, topics] == [True, ["first", "second"]]

    async_to_sync(main)()


# ── Pruning ──────────────────────────────────────────────────────────────────


def test_prune_deletes_a_batch_of_what_is_too_old_and_says_when_nothing_is_left(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "PRUNE_ROWS", 2)
    now = datetime(2026, 3, 1, tzinfo=UTC)
    days = timedelta(days=django_settings.EVENT_DAYS)
    pks = [record(world.ours, f"drive-{number}") for number in range(5)]
    Event.objects.filter(pk__in=pks[:3]).update(at=now - days - timedelta(seconds=1))
    Event.objects.filter(pk__in=pks[3:]).update(at=now - days)

    deleted = [follower.prune(now) for _ in range(3)]

    assert [deleted, list(Event.objects.order_by("pk").values_list("pk", flat=True))] == [[2, 1, 0], pks[3:]]


def test_prune_keeps_the_newest_event_however_old(world: World) -> None:
    pks = [record(world.ours, f"drive-{number}") for number in range(3)]

    deleted = follower.prune(datetime(2126, 3, 1, tzinfo=UTC))

    assert [deleted, list(Event.objects.values_list("pk", flat=True))] == [2, pks[2:]]


def test_prune_forgets_what_nobody_undoes_any_more(world: World) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    days = timedelta(days=django_settings.EVENT_DAYS)
    for at in (now - days - timedelta(seconds=1), now - days):
        DesignStep.objects.create(infrastructure=world.ours, by=world.owner, at=at, title=f"move {at:%S}", changes=[])

    follower.prune(now)

    assert [step.at for step in DesignStep.objects.all()] == [now - days]


def test_prune_of_an_empty_table_is_fine(world: World) -> None:
    assert follower.prune(datetime(2026, 3, 1, tzinfo=UTC)) == 0


def test_follower_prunes_while_it_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "PRUNE_FIRST_SECONDS", 0)
    pks = [record(world.ours, f"drive-{number}") for number in range(3)]
    Event.objects.filter(pk__in=pks[:2]).update(at=datetime(2020, 1, 1, tzinfo=UTC))
    finished = threading.Event()
    prune = follower.prune

    def prune_and_say(now: datetime) -> int:
        deleted = prune(now)
        if not deleted:
            finished.set()
        return deleted

    monkeypatch.setattr(follower, "prune", prune_and_say)

    async def main() -> None:
        async with following():
            assert await asyncio.to_thread(finished.wait, 5)

    async_to_sync(main)()
    assert list(Event.objects.values_list("pk", flat=True)) == pks[2:]


@live_test
async def test_page_of_another_version_hears_that_it_is_outdated(world: World, *_: Any) -> None:
    since = await sync_to_async(record)(world.ours, "drive-1")

    async with opened(world.owner, world.ours, f"{since}&static={django_settings.STATIC_URL}") as tab:
        assert await tab.hears() == {"id": since, "topics": []}
    async with opened(world.owner, world.ours, f"{since}&static=/static/0ld/") as tab:
        assert await tab.hears() == {"id": since, "topics": [], "outdated": True}
        newest = await sync_to_async(record)(world.ours, "drive-2")
        assert await tab.hears() == {"id": newest, "topics": ["drive-2"], "outdated": True}
