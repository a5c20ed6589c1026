"""Reads what happened from the Event table and hands it to the open pages of this process.

One thread with one database connection serves all of them. `editor.live` puts websockets around this.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.db.models import Max, Min
from django.utils import timezone

from editor import bell
from editor.models import DesignStep, Drive, Event, Infrastructure, Membership, Result, Server, User

POLL_SECONDS = 0.2
"""How long news of other processes may lie unread; those of this process ring the bell."""
SILENT_SECONDS = 0.2
"""How long a silent Event waits for one that tells how it ended: most wishes come true meanwhile, and pages look once
instead of twice, and not while the answer to the wish itself is in work."""
BEAT_SECONDS = 10
"""How often a page hears something, and how long one may outlive its session or membership."""
STOP_SECONDS = 1.5
RETRY_SECONDS_MAX = 10
PRUNE_FIRST_SECONDS = 60
PRUNE_SECONDS = 3600
PRUNE_ROWS = 1000
BATCH_ROWS = 500
TOPICS_MAX = 100
"""More than this is not worth listing: the page looks at everything again."""
PAGES_PER_USER = 50

# Why a page is let go, as websocket close codes: RFC 6455, section 7.4.1, and IANA's registry; from 4000 on they are
# an application's own.
RESTARTING = 1012
TRY_LATER = 1013
NOT_YOURS = 4403

log = logging.getLogger(__name__)

T = TypeVar("T")


class Page:
    """One open page, and what it has not been told yet.

    The untold is merged, never queued: however slow a browser is, it takes no more room and holds up nobody.
    """

    def __init__(self, infrastructure: int, user: User, session_key: str) -> None:
        self.infrastructure = infrastructure
        self.user = user.pk
        self.session_key = session_key
        # Changes with the password, and with nothing else.
        self.session_hash = user.get_session_auth_hash()
        self.caught_up_to = 0
        self.knows_seen = False
        self.close_code: int | None = None
        self._id = 0
        self._topics: dict[str, None] = {}
        self._refetch = False
        self._seen: dict[str, str] = {}
        self._has_news = asyncio.Event()
        self._has_loud_news = asyncio.Event()

    def tell(
        self,
        last_id: int,
        topics: Iterable[str] = (),
        *,
        silent: bool = False,
        seen: Mapping[str, str] | None = None,
        refetch: bool = False,
    ) -> None:
        """Has the page told these topics, and that with them it knows everything up to `last_id`.

        What is silent may wait for a moment.
        """
        self._id = max(self._id, last_id)
        self._topics.update(dict.fromkeys(topics))
        self._seen.update(seen or {})
        self._refetch = self._refetch or refetch or len(self._topics) > TOPICS_MAX
        if self._refetch:
            self._topics.clear()
        self._has_news.set()
        if not silent:
            self._has_loud_news.set()

    def close(self, code: int) -> None:
        """Lets the page go as soon as a message in work is sent."""
        self.close_code = code
        self._has_news.set()
        self._has_loud_news.set()

    async def message(self) -> dict[str, Any] | None:
        """Waits for news and answers it; null when the page is to be let go."""
        await self._has_news.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SILENT_SECONDS):
                await self._has_loud_news.wait()
        if self.close_code is not None:
            return None
        message: dict[str, Any] = {"id": self._id}
        if self._refetch:
            message["refetch"] = True
        elif self._topics or not self._seen:
            message["topics"] = list(self._topics)
        if self._seen:
            message["seen"] = self._seen
        self._topics, self._seen, self._refetch = {}, {}, False
        self._has_news.clear()
        self._has_loud_news.clear()
        return message


class Follower:
    """Reads the Event table for all pages of this process, in one thread with one database connection."""

    def __init__(self) -> None:
        self.pages: dict[int, set[Page]] = {}
        self._last_id = 0
        self._seen: dict[int, dict[str, str]] = {}
        self._rung = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="live")
        self._tasks: list[asyncio.Task[None]] = []
        self._stop_listening: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Returns once it follows: whatever is recorded from then on is handed out. Raises database errors."""
        self._last_id = await self.ask(_newest_id)
        self._stop_listening = bell.listen(self._ringer())
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._prune_at_times())]

    async def stop(self) -> None:
        """Lets all pages go and ends the thread; gives up waiting for a query that hangs after STOP_SECONDS."""
        self._stop_listening()
        for pages in self.pages.values():
            for page in pages:
                page.close(RESTARTING)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        closed = self._thread.submit(lambda: connection.close())  # noqa: PLW0108 - the connection of that thread
        self._thread.shutdown(wait=False)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await asyncio.wrap_future(closed)
        except TimeoutError:
            log.warning("A query of the live updates is still running; it is not waited for.")

    async def ask(self, query: Callable[..., T], *arguments: Any) -> T:
        """Runs a function that reads the database, in the follower's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, _fresh_after_error, query, *arguments)

    def join(self, page: Page) -> bool:
        """Has a page told all that is read from now on; answers false when its user has too many already."""
        of_user = sum(other.user == page.user for pages in self.pages.values() for other in pages)
        if of_user >= PAGES_PER_USER:
            return False
        self.pages.setdefault(page.infrastructure, set()).add(page)
        return True

    def leave(self, page: Page) -> None:
        pages = self.pages.get(page.infrastructure, set())
        pages.discard(page)
        if not pages:
            self.pages.pop(page.infrastructure, None)
            self._seen.pop(page.infrastructure, None)

    async def may_see(self, user: User, infrastructure: int) -> bool:
        """Whether the user is a member; false as well for what does not exist."""
        return await self.ask(_may_see, user, infrastructure)

    async def catch_up(self, page: Page, since: int | None) -> None:
        """Tells a page what it missed since it last heard something.

        It must have joined before: what is recorded while this reads is then told here or by the follower, or by both.
        """
        read_before = self._last_id
        last_id, topics = await self.ask(_missed, page.infrastructure, since)
        page.caught_up_to = last_id
        page.tell(max(last_id, read_before), topics or (), refetch=topics is None)

    def _ringer(self) -> Callable[[], None]:
        loop = asyncio.get_running_loop()

        def ring() -> None:
            # When the loop has just ended: what was committed must not suffer from that.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._rung.set)

        return ring

    async def _follow(self) -> None:
        """Reads and hands out, for ever. While reading fails nobody hears a beat: no page then claims to be live."""
        clock = asyncio.get_running_loop().time
        next_beat = clock() + BEAT_SECONDS
        failures = 0
        while True:
            self._rung.clear()
            try:
                await self._read_news()
                if clock() >= next_beat:
                    next_beat = clock() + BEAT_SECONDS
                    await self._beat()
                failures = 0
            except Exception:  # whatever it was, the next attempt may go well, and no page is live without
                wait = min(POLL_SECONDS * 2 ** min(failures, 10), RETRY_SECONDS_MAX)
                failures += 1
                # One traceback is enough for an outage of hours.
                log.warning("Live updates cannot be read; next attempt in %.1f s.", wait, exc_info=failures == 1)
                await asyncio.sleep(wait)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._rung.wait()

    async def _read_news(self) -> None:
        more = True
        while more:
            rows = await self.ask(_newer_than, self._last_id)
            for event_id, infrastructure, topics, result in rows:
                self._last_id = event_id
                for page in self.pages.get(infrastructure, ()):
                    if event_id > page.caught_up_to:
                        page.tell(event_id, topics.split(), silent=result == Result.SILENT)
            more = len(rows) == BATCH_ROWS

    async def _beat(self) -> None:
        """Lets every page hear something, and those go whose user may not listen any more."""
        open_pages = [page for pages in self.pages.values() for page in pages]
        if not open_pages:
            return
        allowed = await self.ask(_still_allowed, open_pages)
        readings = await self.ask(_seen_times, {page.infrastructure for page in open_pages})
        # Those that joined meanwhile hear something at the next beat.
        for page in open_pages:
            if page not in allowed:
                page.close(NOT_YOURS)
                continue
            now = readings.get(page.infrastructure, {})
            told = self._seen.get(page.infrastructure, {}) if page.knows_seen else {}
            page.knows_seen = True
            page.tell(self._last_id, seen={topic: at for topic, at in now.items() if told.get(topic) != at})
        self._seen = readings

    async def _prune_at_times(self) -> None:
        """In a thread of its own: deleting may have to wait for other writers, news must not."""
        await asyncio.sleep(PRUNE_FIRST_SECONDS)
        while True:
            try:
                while await asyncio.to_thread(_with_connection_closed, prune, timezone.now()):
                    pass
            except Exception:  # as in _follow
                log.exception("Old events could not be deleted; trying again in an hour.")
            await asyncio.sleep(PRUNE_SECONDS)


def prune(now: datetime) -> int:
    """Deletes events older than EVENT_DAYS, a batch at a time; answers how many: call again until that is 0.

    Steps of designs that are so old go as well: nobody undoes them any more. Events go in the order of their ids,
    and the newest always stays: from the oldest id left, a page that was away learns whether it missed something that
    is gone.
    """
    cutoff = now - timedelta(days=settings.EVENT_DAYS)
    recent = Event.objects.filter(at__gte=cutoff).order_by("pk").values_list("pk", flat=True).first()
    first_kept = _newest_id() if recent is None else recent
    old = Event.objects.filter(pk__lt=first_kept).order_by("pk").values_list("pk", flat=True)[:PRUNE_ROWS]
    pks = list(old)
    with transaction.atomic():
        # What last went wrong is forgotten with its event. Locked in everybody's order (see editor.actions).
        for model in (Server, Drive):
            list(model.objects.select_for_update(of=("self",)).filter(trouble__in=pks).order_by("pk"))
        Event.objects.filter(pk__in=pks).delete()
    DesignStep.objects.filter(at__lt=cutoff).delete()
    return len(pks)


# ── What is asked of the database ────────────────────────────────────────────


def _fresh_after_error(query: Callable[..., T], *arguments: Any) -> T:
    """A connection that failed may be broken for good; the next query gets a new one."""
    try:
        return query(*arguments)
    except Exception:
        connection.close()
        raise


def _with_connection_closed(work: Callable[..., T], *arguments: Any) -> T:
    try:
        return work(*arguments)
    finally:
        connection.close()


def _newest_id() -> int:
    return Event.objects.aggregate(newest=Max("pk"))["newest"] or 0


def _newer_than(event_id: int) -> list[tuple[int, int, str, str]]:
    rows = Event.objects.filter(pk__gt=event_id).order_by("pk")
    return list(rows.values_list("pk", "infrastructure_id", "topics", "result")[:BATCH_ROWS])


def _missed(infrastructure: int, since: int | None) -> tuple[int, list[str] | None]:
    """Answers the newest event's id and the topics after `since`; null for topics that cannot be listed."""
    # Read before the rows: an event in between is told again rather than not at all.
    newest = _newest_id()
    # Newer than all there is: the database is an older one, from a backup.
    if since is None or since > newest:
        return newest, None
    rows = Event.objects.filter(infrastructure=infrastructure, pk__gt=since).order_by("pk")
    missed = list(rows.values_list("topics", flat=True)[: BATCH_ROWS + 1])
    # Read after the rows, which may be pruned meanwhile. Older than all that is left: some may be gone.
    oldest = Event.objects.aggregate(oldest=Min("pk"))["oldest"] or 0
    if len(missed) > BATCH_ROWS or since + 1 < oldest:
        return newest, None
    return newest, list(dict.fromkeys(topic for text in missed for topic in text.split()))


def _may_see(user: User, infrastructure: int) -> bool:
    return Infrastructure.objects.visible_to(user).filter(pk=infrastructure).exists()


def _still_allowed(pages: list[Page]) -> set[Page]:
    """Those whose session lasts, whose user is active with the same password, and still a member."""
    sessions = set(
        Session.objects.filter(
            session_key__in={page.session_key for page in pages}, expire_date__gt=timezone.now()
        ).values_list("session_key", flat=True)
    )
    users = User.objects.filter(pk__in={page.user for page in pages}, is_active=True)
    hashes = {user.pk: user.get_session_auth_hash() for user in users}
    members = set(
        Membership.objects.filter(infrastructure__in={page.infrastructure for page in pages}).values_list(
            "user_id", "infrastructure_id"
        )
    )
    return {
        page
        for page in pages
        if page.session_key in sessions
        and hashes.get(page.user) == page.session_hash
        and (page.user, page.infrastructure) in members
    }


def _seen_times(infrastructures: set[int]) -> dict[int, dict[str, str]]:
    """Answers when each server was last read: {<infrastructure>: {"server-3": "2026-03-01T12:00:00+00:00"}}."""
    rows = Server.objects.filter(instance__instance_array__infrastructure__in=infrastructures).values_list(
        "instance__instance_array__infrastructure", "pk", "power_seen_at"
    )
    seen: dict[int, dict[str, str]] = {}
    for infrastructure, pk, at in rows:
        if at:
            seen.setdefault(infrastructure, {})[f"server-{pk}"] = at.isoformat(timespec="seconds")
    return seen
