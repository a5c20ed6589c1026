"""What happened, newest first: of an infrastructure, and as the Activity tab of what it happened to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from urllib.parse import urlencode

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from editor.models import DriveArray, Event, Infrastructure, Result, User
from editor.models.event import EventQuerySet
from editor.views import drive_arrays, drives, instance_arrays
from editor.views.infrastructures import day
from editor.views.page import render_panel, visible
from editor.views.panel import Head, words

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


@require_GET
def of_infrastructure(request: HttpRequest, pk: int) -> HttpResponse:
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    events = Event.objects.told().filter(infrastructure=infrastructure)
    who, result, wanted = (request.GET.get(name, "").strip() for name in ("who", "result", "q"))
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


@require_GET
def of_instance_array(request: HttpRequest, pk: int) -> HttpResponse:
    array = instance_arrays.visible_array(request, pk)
    return _answer(request, instance_arrays.head(array, "Activity"), _about(array), topic=array.topic)


@require_GET
def of_drive_array(request: HttpRequest, pk: int) -> HttpResponse:
    array = visible(request, DriveArray.objects.select_related("infrastructure", "instance_array"), pk)
    return _answer(request, drive_arrays.head(array, "Activity"), _about(array), topic=array.topic)


@require_GET
def of_drive(request: HttpRequest, pk: int) -> HttpResponse:
    drive = drives.visible_drive(request, pk)
    events = Event.objects.told().filter(infrastructure=drive.drive_array.infrastructure_id).about(drive.topic)
    head = drives.head(drive, "Activity")
    return _answer(request, head, events, topic=drive.topic, selected=drive.drive_array.topic)
