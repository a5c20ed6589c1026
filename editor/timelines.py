"""The power of instances over time, as their Events told it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import NamedTuple

from django.db.models import OuterRef, Subquery

from editor.models import Event, InstanceArray

EVENTS_MAX = 5000
"""What was before the newest so many is not drawn: a machine that flaps for days would be all that a page is about."""
SEGMENTS_MAX = 150
"""More than that in one line nobody can tell apart."""


class Change(NamedTuple):
    """One Event about one instance."""

    at: datetime
    before: str
    power: str


@dataclass(frozen=True)
class Segment:
    """A time without a change. `power` is a value of `Power`, or "" where nothing is recorded."""

    power: str
    since: datetime
    until: datetime


def timelines_of(
    array: InstanceArray, powers: dict[int, str], *, span: timedelta, now: datetime
) -> dict[int, list[Segment]]:
    """Answers what is recorded of these instances, by id, in two queries. `powers` is what is shown of them now."""
    since = now - span
    events = Event.objects.filter(instance__in=array.instances.values("pk"), at__gte=since).order_by("-at")
    rows = list(events.values_list("instance", "pk", "at", "power_before", "power")[: EVENTS_MAX + 1])
    recorded_since = since
    if len(rows) > EVENTS_MAX:
        recorded_since = rows.pop()[2]
    earlier = Event.objects.filter(instance=OuterRef("pk"), at__lte=recorded_since).order_by("-at").values("power")[:1]
    at_start = dict(array.instances.values_list("pk", Subquery(earlier)))
    changes: dict[int, list[Change]] = {}
    # In the order in which they were written: the clock may have been set back between two.
    for instance, _, at, before, power in sorted(rows, key=lambda row: row[1]):
        changes.setdefault(instance, []).append(Change(at, before, power))
    return {
        pk: segments(
            changes.get(pk, []), at_start=at_start.get(pk), is_now=power, since=recorded_since, start=since, now=now
        )
        for pk, power in powers.items()
    }


def segments(
    changes: list[Change], *, at_start: str | None, is_now: str, since: datetime, start: datetime, now: datetime
) -> list[Segment]:
    """Answers the time from `start` to `now` without gaps, oldest first.

    `at_start` is what the last Event before `since` told; None when there is none: then it was as the first one after
    it found it, or, when there is none at all, as it is now. What was before `since` is not recorded.
    """
    found: list[Segment] = []
    end = now
    # From the newest on: what was written later is right about the time since, whatever the clock said.
    for change in reversed(changes):
        begin = min(max(change.at, since), end)
        found.append(Segment(change.power, begin, end))
        end = begin
    first = changes[0].before if changes else is_now
    found.append(Segment(first if at_start is None else at_start, since, end))
    found.append(Segment("", start, since))
    found = _merged(one for one in reversed(found) if one.since < one.until)
    return found if len(found) <= SEGMENTS_MAX else _resampled(found, start, now)


def _merged(found: Iterable[Segment]) -> list[Segment]:
    merged = []
    for power, group in groupby(found, key=lambda one: one.power):
        alike = list(group)
        merged.append(Segment(power, alike[0].since, alike[-1].until))
    return merged


def _resampled(found: list[Segment], start: datetime, now: datetime) -> list[Segment]:
    """Answers as many slots of the same length as can be told apart, each with what lasted longest in it."""
    length = (now - start) / SEGMENTS_MAX
    slots: list[Segment] = []
    waiting = list(reversed(found))
    for number in range(SEGMENTS_MAX):
        begin, end = start + number * length, start + (number + 1) * length
        lasted: dict[str, timedelta] = {}
        while waiting:
            one = waiting[-1]
            lasted[one.power] = lasted.get(one.power, timedelta()) + (min(one.until, end) - max(one.since, begin))
            if one.until > end:
                break
            waiting.pop()
        if lasted:
            slots.append(Segment(max(lasted, key=lambda power: lasted[power]), begin, end))
    return _merged(slots)
