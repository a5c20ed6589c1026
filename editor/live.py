"""Tells browsers what to look at again.

One follower per process reads the Event table and hands what is new to this process's open sockets. A socket belongs
to one infrastructure and is told, as JSON:

- `{"id": 812, "topics": ["drive-7"]}`: look at these again; everything up to event 812 has been told.
  The first message after opening is always one of these: from then on the page is live.
- `{"id": 812, "refetch": true}`: look at everything again; what was missed cannot be listed any more.
- `{"id": 812, "seen": {"server-3": "2026-03-01T12:00:00+00:00"}}`: every few seconds, a sign of life, with the
  times of readings that changed nothing else.

What falls together travels together, so one message may hold all of these. Lost or doubled messages do no harm.
With `"outdated": true` they say that the page came from another version of the editor, and has its scripts and styles.
A page says one thing only: `{"looks_at": "drive-array-3"}`, what is selected there ("" for nothing).
Channels' layers are not used: between threads the in-memory one delivers late or never.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast
from urllib.parse import parse_qs

from django.conf import settings
from django.urls import path, re_path

from editor.follower import TRY_LATER, Follower, Page
from editor.presence import Presences, Visit

SEND_SECONDS = 20
"""A browser that takes no message for so long is let go; it comes back by itself."""
CLOSE_SECONDS = 1
SAID_MAX = 200
"""A page has nothing to say that is longer."""
DIGITS_MAX = 18
"""Ids have no more; a longer number is no id, and no database column takes it."""

log = logging.getLogger(__name__)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_follower: Follower | None = None
_presences: Presences | None = None


async def start() -> None:
    """Starts this process's follower; the server's lifespan calls it. Raises when the database cannot be read."""
    global _follower, _presences  # noqa: PLW0603 - one per process, from start to stop
    follower = Follower()
    await follower.start()
    _presences = Presences()
    _presences.start()
    _follower = follower


async def stop() -> None:
    """Ends the follower within two seconds; fine when none runs."""
    global _follower, _presences
    follower, _follower = _follower, None
    presences, _presences = _presences, None
    if presences:
        await presences.stop()
    if follower:
        await follower.stop()


async def infrastructure_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """The socket of one infrastructure's page, from opening to closing.

    A stranger, a missing infrastructure and an ended session get the same refusal, before anything is accepted.
    """
    await receive()  # websocket.connect
    follower, presences = _follower, _presences
    infrastructure = scope["url_route"]["kwargs"]["pk"]
    user = scope["user"]
    if follower is None or presences is None:
        await send({"type": "websocket.close"})
        return
    if not user.is_authenticated or not await follower.may_see(user, infrastructure):
        await send({"type": "websocket.close"})
        return
    page = Page(infrastructure, user, scope["session"].session_key)
    if not follower.join(page):
        await send({"type": "websocket.close"})
        return
    visit = presences.enter(infrastructure, user.pk, lambda: page.tell(0, [f"presence-{infrastructure}"]))
    try:
        await send({"type": "websocket.accept"})
        await _first_of(_listen(receive, presences, visit), _speak(follower, page, scope, send))
    finally:
        presences.leave(visit)
        follower.leave(page)


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """The answer to an address that no socket has: the same as to an infrastructure that does not exist."""
    await receive()
    await send({"type": "websocket.close"})


async def _listen(receive: Receive, presences: Presences, visit: Visit) -> None:
    """Hears what the page looks at, until it leaves. Anything else it says is ignored."""
    while (message := await receive())["type"] != "websocket.disconnect":
        text = message.get("text") or ""
        if len(text) > SAID_MAX:
            continue
        with contextlib.suppress(ValueError):
            said = json.loads(text)
            if isinstance(said, dict) and isinstance(said.get("looks_at"), str):
                presences.look(visit, said["looks_at"])


async def _speak(follower: Follower, page: Page, scope: Scope, send: Send) -> None:
    always = {"outdated": True} if _is_outdated(scope) else {}
    try:
        await follower.catch_up(page, _since(scope))
        while message := await page.message():
            message |= always
            async with asyncio.timeout(SEND_SECONDS):
                await send({"type": "websocket.send", "text": json.dumps(message, separators=(",", ":"))})
    except TimeoutError:
        page.close_code = TRY_LATER
    except OSError:
        return  # gone in the middle of a message, as servers report it
    except Exception:
        log.exception("A page's live updates ended; it will ask for them again.")
        page.close_code = TRY_LATER
    # Who takes no message takes no farewell either; the connection is then dropped.
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await send({"type": "websocket.close", "code": page.close_code})


async def _first_of(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Runs all until one is done, then ends the others."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _since(scope: Scope) -> int | None:
    """Answers the event that the page knows everything up to; null when it does not say so in plain digits."""
    text = _said(scope, "since")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else None


def _is_outdated(scope: Scope) -> bool:
    """Whether the page names other static files than those of this version."""
    return _said(scope, "static") not in ("", settings.STATIC_URL)


def _said(scope: Scope, name: str) -> str:
    """Answers what the page says in the socket's address; "" for nothing."""
    return parse_qs(str(scope["query_string"], "latin-1")).get(name, [""])[-1]


# Channels' router calls these with (scope, receive, send); Django's types know only views.
websocket_urlpatterns = [
    path("ws/infrastructures/<int:pk>/", cast(Any, infrastructure_socket)),
    re_path(r"", cast(Any, refuse)),
]
