"""What happened, newest first: of an infrastructure, and as the Activity tab of what it happened to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from urllib.parse import urlencode

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from editor.models import DriveArray, Event, Infrastructure, InstanceArray, Result, User
from editor.models.event import EventQuerySet
from editor.views import drive_arrays, drives, instance_arrays
from editor.views.infrastructures import day
from editor.views.page import render_panel, visible
from editor.views.panel import Head

PAGE = 50
ID_MAX = 2**63 - 1

MARKS = {
    Result.DONE: ("ok", "check"),
    Result.STARTED: ("busy", "play"),
    Result.REFUSED: ("warn", "lock"),
    Result.FAILED: ("bad", "circle-alert"),
    Result.FORCED: ("warn", "triangle-alert"),
    Result.NOTICE: ("", "info"),
}
"""The tone and the icon of a result."""


@dataclass(frozen=True)
class Entry:
    """One Event as it is told."""

    pk: int
    time: str
    iso: str
    who: str
    initials: str
    tint: str
    verb: str
    subject: str
    url: str
    text: str
    detail: str
    tone: str
    icon: str
    result: str


@dataclass(frozen=True)
class Day:
    """The entries of one day, newest first."""

    heading: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Log:
    """One page of the log; `earlier` leads on to the next, "" at its end."""

    days: tuple[Day, ...]
    earlier: str
    is_latest: bool


@require_safe
def of_infrastructure(request: HttpRequest, pk: int) -> HttpResponse:
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    events = Event.objects.told().filter(infrastructure=infrastructure)
    who, result, wanted = (request.GET.get(name, "").replace("\0", "").strip() for name in ("who", "result", "q"))
    if who:
        events = events.filter(actor__pk=_number(who))
    if result:
        events = events.filter(result=result)
    for word in wanted.split()[:8]:
        events = events.filter(
            Q(subject__icontains=word)
            | Q(verb__icontains=word)
            | Q(text__icontains=word)
            | Q(actor__name__icontains=word)
        )
    context = {
        "filters": {"who": who, "result": result, "q": wanted},
        "people": User.objects.filter(memberships__infrastructure=infrastructure).order_by("name", "pk"),
        "results": [(one.value, one.label) for one in MARKS],
        "is_filtered": bool(who or result or wanted),
    }
    head = Head(infrastructure=infrastructure, icon="history", title="Activity", current=infrastructure.label)
    return _answer(request, head, events, topic=infrastructure.topic, selected="", **context)


@require_safe
def of_instance_array(request: HttpRequest, pk: int) -> HttpResponse:
    array = instance_arrays.visible_array(request, pk)
    return _answer(request, instance_arrays.head(array, "Activity"), _about(array), topic=array.topic)


@require_safe
def of_drive_array(request: HttpRequest, pk: int) -> HttpResponse:
    array = visible(request, DriveArray.objects.select_related("infrastructure", "instance_array"), pk)
    return _answer(request, drive_arrays.head(array, "Activity"), _about(array), topic=array.topic)


@require_safe
def of_drive(request: HttpRequest, pk: int) -> HttpResponse:
    drive = drives.visible_drive(request, pk)
    events = Event.objects.told().filter(infrastructure=drive.drive_array.infrastructure_id).about(drive.topic)
    head = drives.head(drive, "Activity")
    return _answer(request, head, events, topic=drive.topic, selected=drive.drive_array.topic)


def log_of(events: EventQuerySet, *, before: str = "", query: str = "", now: datetime) -> Log:
    """Answers one page of the log, from the Event with the id `before` on; `query` goes along to the next page."""
    if before:
        events = events.filter(pk__lt=_number(before))
    found = list(events.select_related("actor").order_by("-pk")[: PAGE + 1])
    shown, more = found[:PAGE], len(found) > PAGE
    today = timezone.localdate(now)
    days: dict[date, list[Entry]] = {}
    for event in shown:
        days.setdefault(timezone.localtime(event.at).date(), []).append(_entry(event))
    return Log(
        days=tuple(Day(_heading(at, today), tuple(entries)) for at, entries in days.items()),
        earlier=f"?{query + '&' if query else ''}before={shown[-1].pk}" if more else "",
        is_latest=not before,
    )


def _answer(
    request: HttpRequest, head: Head, events: EventQuerySet, *, topic: str, selected: str | None = None, **more: object
) -> HttpResponse:
    before = request.GET.get("before", "")
    query = urlencode({name: value for name in ("q", "who", "result") if (value := request.GET.get(name, ""))})
    context = {
        "head": head,
        "topic": topic,
        "log": log_of(events, before=before, query=query, now=timezone.now()),
        "log_url": request.path,
        "here": request.get_full_path(),
        **more,
    }
    return render_panel(
        request,
        "editor/activity.html",
        head.infrastructure,
        context,
        selected=topic if selected is None else selected,
    )


def _about(array: InstanceArray | DriveArray) -> EventQuerySet:
    events: EventQuerySet = Event.objects.told().filter(infrastructure=array.infrastructure_id).about(array.topic)
    return events


def _entry(event: Event) -> Entry:
    tone, icon = MARKS.get(Result(event.result), ("", "info"))
    at = timezone.localtime(event.at)
    return Entry(
        pk=event.pk,
        time=f"{at:%H:%M:%S}",
        iso=event.at.isoformat(),
        who=str(event.actor) if event.actor else "The editor",
        initials=event.actor.initials if event.actor else "",
        tint=event.actor.tint if event.actor else "",
        verb=event.verb,
        subject=event.subject,
        url=event.url,
        text=event.text,
        detail=event.detail,
        tone=tone,
        icon=icon,
        result=Result(event.result).label,
    )


def _heading(at: date, today: date) -> str:
    if at == today:
        return f"Today, {day(at, today)}"
    if at == today - timedelta(days=1):
        return f"Yesterday, {day(at, today)}"
    return day(at, today)


def _number(text: str) -> int:
    """Answers an id from an address; 0, which nothing has, for what cannot be one."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
    return number if number <= ID_MAX else 0
