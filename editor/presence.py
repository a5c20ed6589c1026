"""Who has which infrastructure open just now, and what they look at.

Each open page is a row that its process renews; a row that was not renewed for PRESENCE_SECONDS is of somebody who has
gone. A process asks the database one thing a second at most, whatever the number of its pages: it writes what changed
here, or renews its rows, or reads what other processes wrote. No Events are written: they are for what stays true.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from django.db import connection
from django.utils import timezone

from editor.models.presence import PRESENCE_SECONDS, Presence

TURN_SECONDS = 1.0
"""A process asks the database once in so long."""
RENEW = timedelta(seconds=5)
SWEEP = timedelta(seconds=60)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
"""When somebody was last seen who has closed the page: what is left of them goes with the next sweep."""
WRITES_IN_A_ROW = 2
"""What other processes wrote is read after so many writes at the latest."""

_topic = re.compile(r"\A(instance-array|drive-array|network)-[0-9]{1,18}\Z")

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Seen:
    """What is known of one open page, of this process or another."""

    infrastructure: int
    user: int
    looks_at: str
    at: datetime


class Visit:
    """One open page of this process. `tell` is called when others came, went, or look at something else."""

    def __init__(self, name: str, infrastructure: int, user: int, tell: Callable[[], None]) -> None:
        self.name = name
        self.infrastructure = infrastructure
        self.user = user
        self.tell = tell
        self.looks_at = ""
        self.knows: frozenset[tuple[int, str]] = frozenset()


class Presences:
    """All open pages of this process, and what is known of those of others."""

    def __init__(self) -> None:
        self._process = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._visits: dict[str, Visit] = {}
        self._changed: dict[str, Seen] = {}
        self._known: dict[str, Seen] = {}
        self._writes = 0
        self._renewed_at = self._swept_at = timezone.now()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="presence")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ends at once; what stands in the table expires by itself."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.submit(lambda: connection.close())  # noqa: PLW0108 - the connection of that thread
        self._thread.shutdown(wait=False)

    def enter(self, infrastructure: int, user: int, tell: Callable[[], None]) -> Visit:
        visit = Visit(f"{self._process}-{next(self._numbers)}", infrastructure, user, tell)
        self._visits[visit.name] = visit
        self._change(visit)
        return visit

    def look(self, visit: Visit, topic: str) -> None:
        """Says what a page has selected; anything that is no topic of a card is nothing."""
        looks_at = topic if _topic.match(topic) else ""
        if looks_at != visit.looks_at:
            visit.looks_at = looks_at
            self._change(visit)

    def leave(self, visit: Visit) -> None:
        del self._visits[visit.name]
        self._changed[visit.name] = Seen(visit.infrastructure, visit.user, "", LONG_AGO)

    def _change(self, visit: Visit) -> None:
        self._changed[visit.name] = Seen(visit.infrastructure, visit.user, visit.looks_at, timezone.now())

    async def _run(self) -> None:
        failed = False
        while True:
            await asyncio.sleep(TURN_SECONDS)
            try:
                await self.turn()
                failed = False
            except Exception:  # whatever it was, the next turn may go well
                log.warning("Who is here cannot be kept; trying again.", exc_info=not failed)
                failed = True

    async def turn(self) -> None:
        """Does the most urgent of what there is to do, one query, and tells pages whose company changed."""
        now = timezone.now()
        may_write = self._writes < WRITES_IN_A_ROW
        self._writes += 1
        if self._changed and may_write:
            await self._write()
        elif self._visits and now - self._renewed_at >= RENEW and may_write:
            await self._renew(now)
        elif self._visits and now - self._swept_at >= SWEEP and may_write:
            await self._ask(_sweep, now - SWEEP)
            self._swept_at = now
        else:
            self._writes = 0
            places = {visit.infrastructure for visit in self._visits.values()}
            self._known = await self._ask(_read, places, _alive_after(now)) if places else {}
        self._tell(now)

    async def _write(self) -> None:
        changed, self._changed = self._changed, {}
        try:
            await self._ask(_save, changed)
        except Exception:
            # An infrastructure may be gone. Its pages are let go soon; the others must not suffer from it.
            self._save_all_again()
            raise
        self._known |= changed

    async def _renew(self, now: datetime) -> None:
        renewed = await self._ask(_renew, self._process, now)
        self._renewed_at = now
        for name, seen in self._known.items():
            if name in self._visits:
                self._known[name] = replace(seen, at=now)
        if renewed < len(self._visits.keys() - self._changed.keys()):
            self._save_all_again()

    def _save_all_again(self) -> None:
        for visit in self._visits.values():
            self._change(visit)

    def _tell(self, now: datetime) -> None:
        here: dict[int, set[tuple[int, str]]] = {}
        for seen in self._known.values():
            if seen.at > _alive_after(now):
                here.setdefault(seen.infrastructure, set()).add((seen.user, seen.looks_at))
        for visit in self._visits.values():
            others = frozenset(one for one in here.get(visit.infrastructure, ()) if one[0] != visit.user)
            if others != visit.knows:
                visit.knows = others
                visit.tell()

    async def _ask(self, query: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, _fresh_after_error, query, *arguments)


def _alive_after(now: datetime) -> datetime:
    return now - timedelta(seconds=PRESENCE_SECONDS)


# ── What is asked of the database ────────────────────────────────────────────


def _fresh_after_error(query: Callable[..., T], *arguments: object) -> T:
    """A connection that failed may be broken for good; the next query gets a new one."""
    try:
        return query(*arguments)
    except Exception:
        connection.close()
        raise


def _save(changed: dict[str, Seen]) -> None:
    Presence.objects.bulk_create(
        [
            Presence(
                infrastructure_id=seen.infrastructure,
                user_id=seen.user,
                page=page,
                looks_at=seen.looks_at,
                seen_at=seen.at,
            )
            for page, seen in changed.items()
        ],
        update_conflicts=True,
        unique_fields=["infrastructure", "page"],
        update_fields=["looks_at", "seen_at"],
    )


def _renew(process: str, now: datetime) -> int:
    """Answers how many rows there are to renew; those who left are not among them."""
    return Presence.objects.filter(page__startswith=process, seen_at__gt=LONG_AGO).update(seen_at=now)


def _sweep(before: datetime) -> None:
    Presence.objects.filter(seen_at__lt=before).delete()


def _read(infrastructures: Iterable[int], alive_after: datetime) -> dict[str, Seen]:
    rows = Presence.objects.filter(infrastructure__in=infrastructures, seen_at__gt=alive_after)
    return {
        page: Seen(infrastructure, user, looks_at, at)
        for page, infrastructure, user, looks_at, at in rows.values_list(
            "page", "infrastructure_id", "user_id", "looks_at", "seen_at"
        )
    }
