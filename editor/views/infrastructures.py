"""The list of infrastructures that somebody is a member of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import Count, Exists, OuterRef, Q, Subquery, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from editor.canvas import Thumb, thumb
from editor.design import decisions_in
from editor.design_rules import why_not_create_infrastructure
from editor.models import (
    MB,
    Deploy,
    DeployState,
    Drive,
    DriveArray,
    Event,
    Infrastructure,
    InstanceArray,
    Interface,
    NetworkKind,
    Power,
    Server,
    User,
    shown_power,
)
from editor.views.page import last_event_id
from editor.words import counted, size

BAR_PX = 160
GAP_PX = 2
SEEN = {
    "on": (Power.ON,),
    "busy": (Power.POWERING_ON, Power.SHUTTING_DOWN),
    "off": (Power.OFF,),
    "unknown": (Power.UNKNOWN,),
}
"""The pieces of a power bar, from its start, and what each stands for."""


@dataclass(frozen=True)
class Piece:
    """One colour of a power bar, in px of a bar that is BAR_PX long."""

    kind: str
    x: float
    width: float

    @property
    def middle(self) -> float:
        return self.x + self.width / 2

    @property
    def end(self) -> float:
        return self.x + self.width


@dataclass(frozen=True)
class State:
    """Where the design of an infrastructure is. `kind` is ok, draft, busy, bad or new."""

    kind: str
    text: str

    @property
    def icon(self) -> str:
        icons = {"ok": "check", "busy": "loader-circle", "bad": "circle-alert", "new": "circle-dashed"}
        return icons.get(self.kind, "pencil-ruler")


@dataclass(frozen=True)
class Row:
    """One infrastructure in the list, with everything said already."""

    infrastructure: Infrastructure
    servers: int
    said: str
    bar: tuple[Piece, ...]
    drives: str
    state: State
    event: Event | None
    when: str
    thumb: Thumb


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.user, User)
    newest = last_event_id()
    wanted = request.GET.get("q", "").replace("\0", "").strip()
    all_of_them = Infrastructure.objects.visible_to(request.user)
    found = all_of_them.filter(label__icontains=wanted) if wanted else all_of_them
    rows = rows_of(list(found), now=timezone.now())
    context = {
        "rows": rows,
        "q": wanted,
        "any": bool(rows) or (bool(wanted) and all_of_them.exists()),
        "bar_px": BAR_PX,
        "why_not_create": why_not_create_infrastructure(request.user) or "",
        "last_event": newest,
    }
    return render(request, "editor/infrastructures.html", context)


def rows_of(infrastructures: list[Infrastructure], *, now: datetime) -> list[Row]:
    """Answers the rows in the order given, with as many queries for one as for a thousand."""
    ids = [one.pk for one in infrastructures]
    powers: dict[int, Counter[Power]] = {pk: Counter() for pk in ids}
    groups = Server.objects.filter(instance__instance_array__infrastructure__in=ids).order_by()
    for pk, power, command, number in groups.values_list(
        "instance__instance_array__infrastructure", "power", "power_command"
    ).annotate(Count("pk")):
        powers[pk][shown_power(power, command)] += number
    drives = {
        pk: (number, size_mb)
        for pk, number, size_mb in Drive.objects.filter(drive_array__infrastructure__in=ids)
        .order_by()
        .values_list("drive_array__infrastructure")
        .annotate(Count("pk"), Sum("size_mb"))
    }
    made = [
        Exists(model.objects.filter(infrastructure=OuterRef("pk"), deployed__isnull=False))
        for model in (InstanceArray, DriveArray)
    ]
    latest = Event.objects.told().filter(infrastructure=OuterRef("pk")).order_by("-pk").values("pk")[:1]
    states = {
        pk: (is_deployed, event)
        for pk, is_deployed, event in Infrastructure.objects.filter(pk__in=ids)
        .annotate(is_deployed=made[0] | made[1], last=Subquery(latest))
        .values_list("pk", "is_deployed", "last")
    }
    events = {
        event.pk: event
        for event in Event.objects.filter(pk__in=[event for _, event in states.values()]).select_related("actor")
    }
    thumbs = _thumbs(infrastructures)
    changes = decisions_in(ids)
    deploys = _last_deploys(ids)
    rows = []
    for one in infrastructures:
        is_deployed, last = states[one.pk]
        event = events.get(last)
        number, size_mb = drives.get(one.pk, (0, 0))
        rows.append(
            Row(
                infrastructure=one,
                servers=powers[one.pk].total(),
                said=_said(powers[one.pk]),
                bar=bar_of(powers[one.pk]),
                drives=f"{number} · {size(size_mb * MB)}" if number else "0",
                state=_state(deploys.get(one.pk), changes[one.pk], is_deployed=is_deployed),
                event=event,
                when=when(event.at, now) if event else "",
                thumb=thumbs[one.pk],
            )
        )
    return rows


def bar_of(powers: Counter[Power]) -> tuple[Piece, ...]:
    """Answers the pieces of a power bar, as long as the servers they stand for are many."""
    parts = [(kind, number) for kind, states in SEEN.items() if (number := sum(powers[state] for state in states))]
    room = BAR_PX - GAP_PX * (len(parts) - 1)
    x, pieces = 0.0, []
    for kind, number in parts:
        width = room * number / powers.total()
        pieces.append(Piece(kind, round(x, 1), round(width, 1)))
        x += width + GAP_PX
    return tuple(pieces)


def when(at: datetime, now: datetime) -> str:
    """Answers "14:02" for today, "Yesterday 19:40", "12 May", "12 May 2025"."""
    local, today = timezone.localtime(at), timezone.localdate(now)
    if local.date() == today:
        return f"{local:%H:%M}"
    if local.date() == today - timedelta(days=1):
        return f"Yesterday {local:%H:%M}"
    return day(local.date(), today)


def day(at: date, today: date) -> str:
    """Answers "12 May", with the year unless it is this one."""
    return f"{at.day} {at:%b}" if at.year == today.year else f"{at.day} {at:%b %Y}"


def _said(powers: Counter[Power]) -> str:
    """Answers "all on", or "· 15 on, 1 powering on, 1 off"."""
    present = [(power.label.lower(), powers[power]) for power in Power if powers[power]]
    if len(present) == 1:
        return f"all {present[0][0]}"
    return "· " + ", ".join(f"{number} {word}" for word, number in present) if present else ""


def _last_deploys(infrastructures: list[int]) -> dict[int, Deploy]:
    """Answers the newest deploy of each, by id, with how many of its steps are done; one query."""
    newest = Deploy.objects.filter(infrastructure=OuterRef("infrastructure")).order_by("-number").values("pk")[:1]
    found = Deploy.objects.filter(infrastructure__in=infrastructures, pk=Subquery(newest)).annotate(
        all_steps=Count("steps"), done_steps=Count("steps", filter=Q(steps__ended_at__isnull=False))
    )
    return {deploy.infrastructure_id: deploy for deploy in found}


def _state(deploy: Any, changes: int, *, is_deployed: bool) -> State:
    if deploy and deploy.state == DeployState.RUNNING:
        return State("busy", f"Deploying {min(deploy.done_steps + 1, deploy.all_steps)}/{deploy.all_steps}")
    if deploy and deploy.state == DeployState.STOPPED and changes:
        return State("bad", "Deploy stopped")
    if changes and is_deployed:
        return State("draft", f"Draft · {counted(changes, 'change')}")
    if not is_deployed:
        return State("new", "Never deployed")
    return State("ok", "Deployed")


def _thumbs(infrastructures: list[Infrastructure]) -> dict[int, Thumb]:
    """Answers a small drawing for each, by id."""
    on_wan = Interface.objects.filter(instance_array=OuterRef("pk"), network__kind=NetworkKind.WAN)
    arrays: dict[int, list[tuple[bool, int]]] = {one.pk: [] for one in infrastructures}
    rows = (
        InstanceArray.objects.filter(infrastructure__in=arrays)
        .annotate(on_wan=Exists(on_wan), drives=Count("drive_arrays"))
        .order_by("x", "pk")
        .values_list("infrastructure", "on_wan", "drives")
    )
    for pk, is_on_wan, number in rows:
        arrays[pk].append((is_on_wan, number))
    return {pk: thumb(drawn) for pk, drawn in arrays.items()}
