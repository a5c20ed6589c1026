"""What the worker does for storage pools: reads how full they are, warns in time, checks them when asked.

Storage is asked outside of any transaction, and without holding a connection: one that hangs keeps its own thread.
A reading that changes nothing worth telling is written once a minute, so that its age stays true.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from editor.models import Drive, Event, Result, StoragePool, User
from editor.news import News
from editor.pool_rules import FULL_PERCENT, UNREAD, fill_of, hindrance, told_next, warning_of
from editor.readings import at_the_database
from editor.reconcile import Job, Lane
from editor.storage import StorageDriver, StorageError, Usage
from editor.volumes import driver_of

log = logging.getLogger(__name__)

PAUSE = timedelta(seconds=10)
WRITE_ANYWAY = timedelta(minutes=1)
_told = News()

Checked = list[tuple[str, str | None]]
"""What was tried, and what is wrong with it, in a sentence."""


@dataclass(frozen=True)
class Reading:
    """What a pool said of itself; an error instead of the usage when it did not."""

    usage: Usage | None
    error: str = ""
    checked: Checked | None = None


def jobs(now: datetime, since: datetime) -> Iterator[Job]:
    """A job for each pool, which asks for a pause; at once when somebody wants it checked."""
    del now, since  # whoever asked still wants to know
    for pk, asked_at in StoragePool.objects.order_by("pk").values_list("pk", "check_asked_at"):
        yield Job(f"pool-{pk}", _attend(pk), at_once=asked_at is not None, lane=Lane.POOL)


def _attend(pk: int) -> Callable[[Callable[[], bool]], timedelta | None]:
    def run(should_stop: Callable[[], bool]) -> timedelta | None:
        del should_stop  # storage has time limits of its own
        return attend(pk)

    return run


def attend(pk: int) -> timedelta | None:
    """Reads one pool, has it checked if somebody asked, and writes down what is new; answers when to look again."""
    with at_the_database():
        pool = StoragePool.objects.filter(pk=pk).first()
    if pool is None:
        return None
    reading = read(pool, check=pool.check_asked_at is not None)
    with at_the_database():
        settle(pool, reading, timezone.now())
    return PAUSE


def read(pool: StoragePool, *, check: bool = False) -> Reading:
    """Asks storage how full a pool is, and whether it has what it needs. Changes nothing, and raises nothing."""
    try:
        driver = driver_of(pool)
    except ValueError as error:
        return Reading(None, str(error), [("Storage", str(error))] if check else None)
    checked = _check(driver) if check else None
    try:
        usage = driver.usage()
    except StorageError as error:
        if _told.is_new(pool.pk, str(error)):
            log.info("How full the pool %s is could not be read: %s %s", pool, error, error.detail)
        return Reading(None, str(error), checked)
    _told.is_new(pool.pk, "")
    return Reading(usage, checked=checked)


def _check(driver: StorageDriver) -> Checked:
    try:
        return [(found.what, found.wrong) for found in driver.check()]
    except StorageError as error:
        return [("Storage", str(error))]


class _Shown(NamedTuple):
    """What pages say of a pool; when it changes, they look again."""

    percent: int | None
    hindrance: str | None
    told: int


def _shown(pool: StoragePool) -> _Shown:
    fill = fill_of(pool)
    return _Shown(fill.percent if fill else None, hindrance(pool), pool.usage_told)


def settle(pool: StoragePool, reading: Reading, now: datetime) -> None:
    """Writes down a reading if it is news, and tells everybody who has drives there. `pool` is the row before it."""
    held_bytes = Drive.objects.filter(pool=pool).aggregate(held=Sum("used_bytes"))["held"] or 0
    if reading.checked is None and not _is_news(pool, _with(pool, reading, held_bytes, now), now):
        return
    with transaction.atomic():
        before = StoragePool.objects.select_for_update(of=("self",)).filter(pk=pool.pk).first()
        if before is None:
            return
        after = _with(before, reading, held_bytes, now)
        if reading.checked is not None:
            after.checked, after.checked_at = reading.checked, now
            if before.check_asked_at == pool.check_asked_at:
                after.check_asked_at = None  # or somebody asked once more meanwhile
        after.save(update_fields=WRITTEN)
        if _shown(before) != _shown(after) or _is_unread_since_just_now(after, now):
            if after.usage_told > before.usage_told:
                _warn(after)
            else:
                tell(after)


WRITTEN = (
    *("total_bytes", "free_bytes", "held_bytes", "usage_seen_at", "usage_error", "usage_told"),
    *("check_asked_at", "checked_at", "checked"),
)


def _with(pool: StoragePool, reading: Reading, held_bytes: int, now: datetime) -> StoragePool:
    """Answers the row as it is after a reading."""
    after = copy(pool)
    after.held_bytes, after.usage_error = held_bytes, reading.error[:300]
    if reading.usage:
        after.total_bytes, after.free_bytes = reading.usage.total_bytes, reading.usage.free_bytes
        after.usage_seen_at = now
    if fill := fill_of(after):
        after.usage_told = told_next(after.usage_told, fill.percent)
    return after


def _is_news(before: StoragePool, after: StoragePool, now: datetime) -> bool:
    if _shown(before) != _shown(after) or before.usage_error != after.usage_error:
        return True
    if after.usage_error:
        return _is_unread_since_just_now(after, now)
    return before.usage_seen_at is None or not timedelta() <= now - before.usage_seen_at < WRITE_ANYWAY


def _is_unread_since_just_now(pool: StoragePool, now: datetime) -> bool:
    """Whether time alone has changed what may be begun, within the last few readings."""
    if not pool.usage_error or pool.usage_seen_at is None:
        return False
    return UNREAD <= now - pool.usage_seen_at < UNREAD + 2 * PAUSE


def _warn(pool: StoragePool) -> None:
    full = pool.usage_told == FULL_PERCENT
    tell(pool, "warned about", text=warning_of(pool) or "", result=Result.FAILED if full else Result.NOTICE)


def tell(
    pool: StoragePool, verb: str = "", *, by: User | None = None, text: str = "", result: Result = Result.SILENT
) -> None:
    """Has the pages of those look again who have drives there; with a verb, it is in each activity log."""
    rows = Drive.objects.filter(pool=pool).values_list("drive_array__infrastructure_id", flat=True)
    for infrastructure in rows.distinct().order_by("drive_array__infrastructure_id"):
        Event.objects.record(
            infrastructure,
            verb,
            f"storage pool {pool}" if verb else "",
            by=by,
            text=text,
            result=result,
            topics=[pool.topic, f"infrastructure-{infrastructure}"] if verb else [pool.topic],
        )
