"""The panel of an InstanceArray, and what its instances are told to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from editor import actions
from editor.actions import role_of
from editor.design_rules import SAN_INDEX, why_not_change, why_not_design
from editor.forms import ASKED_FIRST, DISMISS, KEEP_WAITING, LEAVE_ON, LimitForm, LookForm, PowerForm
from editor.models import (
    INTERFACES,
    Instance,
    InstanceArray,
    Network,
    NetworkKind,
    Power,
    PowerCommand,
    User,
)
from editor.rules import Refused, why_not_operate
from editor.views.instance_rows import rows_of, waiting_of, why_not
from editor.views.page import is_partial, render_fragment, render_panel, visible
from editor.views.panel import Head, Tab, words
from editor.views.power_history import Span, history_of, span_of
from editor.views.tags import coming
from editor.words import counted

NAMED = 3
"""More instances than that are counted, not named."""


@dataclass(frozen=True)
class Port:
    """An interface of all servers of an InstanceArray, and what it could be put on."""

    index: int
    network: Network | None
    others: list[Network]
    is_new: bool
    """Whether the next deploy connects it so."""

    @property
    def name(self) -> str:
        return f"if{self.index}"


@require_safe
def overview(request: HttpRequest, pk: int) -> HttpResponse:
    array = visible_array(request, pk)
    rows = rows_of(array, now=timezone.now())
    powers = Counter(row.power for row in rows)
    context = {
        "array": array,
        "rows": rows,
        "coming": coming(array, [row.number for row in rows]),
        "powers": [(power, powers[power], power.label.lower()) for power in Power if powers[power]],
        "drive_arrays": array.drive_arrays.order_by("label"),
    }
    return _panel(request, array, "Overview", context)


@require_safe
def instances(request: HttpRequest, pk: int) -> HttpResponse:
    return _instances(request, visible_array(request, pk))


@require_safe
def networks(request: HttpRequest, pk: int) -> HttpResponse:
    array = visible_array(request, pk)
    drawn = {one.index: one.network for one in array.interfaces.select_related("network")}
    real = (array.deployed or {}).get("interfaces")
    others = array.infrastructure.networks.filter(leaves=False).order_by("kind", "label")
    role = role_of(_user(request), array.infrastructure_id)
    ports = [
        Port(
            index=index,
            network=drawn.get(index),
            others=[one for one in others if (one.kind == NetworkKind.SAN) == (index == SAN_INDEX)],
            is_new=real is not None and real[index : index + 1] != [getattr(drawn.get(index), "pk", None)],
        )
        for index in range(INTERFACES)
    ]
    context = {
        "array": array,
        "ports": ports,
        "seen": array.revision,
        "fixed": why_not_operate(role) or why_not_design(array.infrastructure) or why_not_change(array) or "",
    }
    return _panel(request, array, "Networks", context)


@require_http_methods(["GET", "HEAD", "POST"])
def power(request: HttpRequest, pk: int) -> HttpResponse:
    """Tells instances what to do, each for itself. GET answers the confirmation of what loses data."""
    array = visible_array(request, pk)
    form = PowerForm(request.POST if request.method == "POST" else request.GET, array=array)
    if not form.is_valid():
        at_its_field = request.method == "POST" and form.errors.keys() == {"limit"}
        return _instances(request, array, form=form if at_its_field else None, refused=form.first_error(), status=422)
    command, chosen = form.cleaned_data["command"], form.chosen(array)
    if request.method != "POST":
        if command not in ASKED_FIRST:
            return redirect(_list_url(request, array))
        return _confirm(request, array, PowerCommand(command), chosen)
    if command in ASKED_FIRST and not form.cleaned_data["confirmed"]:
        query = urlencode({"command": command, "instances": [one.pk for one in chosen]}, doseq=True)
        return redirect(f"{request.path}?{query}{_span(request).query.replace('?', '&')}")
    refusals = _tell(
        command, chosen, by=_user(request), key=form.cleaned_data["key"], limit_seconds=form.cleaned_data["limit"]
    )
    if not refusals and not is_partial(request):
        return redirect(_list_url(request, array))
    response = _instances(
        request,
        array,
        said=refusals,
        news=_news(command, [one for one in chosen if one.pk not in refusals], list(refusals.values())),
        status=409 if len(refusals) == len(chosen) else 200,
    )
    if form.cleaned_data["confirmed"]:
        response["HX-Trigger"] = "close-dialog"
    return response


@require_POST
def look(request: HttpRequest, pk: int) -> HttpResponse:
    """Has the BMCs of all instances, or of those that are named, read at once."""
    array = visible_array(request, pk)
    form = LookForm(request.POST, array=array)
    if not form.is_valid():
        return _instances(request, array, refused=form.first_error(), status=422)
    chosen = form.chosen(array)
    try:
        number = actions.look_now(array, chosen or None, by=_user(request))
    except Refused as refused:
        return _instances(request, array, refused=str(refused), status=409)
    if not is_partial(request):
        return redirect(_list_url(request, array))
    whom = f"the BMC of {chosen[0]}" if len(chosen) == 1 else counted(number, "BMC")
    return _instances(request, array, news=f"Asking {whom}.")


def visible_array(request: HttpRequest, pk: int) -> InstanceArray:
    """Answers an InstanceArray with all that its head shows; raises Http404 for strangers."""
    return visible(request, InstanceArray.objects.select_related("infrastructure", "server_type"), pk)


def head(array: InstanceArray, current: str) -> Head:
    """Answers the head of an InstanceArray's panel."""
    kind = array.server_type
    connected = array.interfaces.filter(network__isnull=False).count()
    return Head(
        infrastructure=array.infrastructure,
        icon="server",
        title=array.label,
        current=current,
        sub=words(f"InstanceArray, {array.count} × {kind}: {kind.cores} cores, {kind.ram_gb} GB"),
        tabs=(
            Tab("Overview", reverse("instance_array", args=[array.pk])),
            Tab("Instances", reverse("instance_array_instances", args=[array.pk]), str(array.count)),
            Tab("Networks", reverse("instance_array_networks", args=[array.pk]), str(connected)),
            Tab("Configuration", reverse("instance_array_configure", args=[array.pk])),
            Tab("Activity", reverse("instance_array_activity", args=[array.pk])),
        ),
    )


# ── What is done ─────────────────────────────────────────────────────────────


SWITCHES: dict[str, Callable[..., None]] = {
    PowerCommand.POWER_ON: actions.power_on,
    PowerCommand.RESET: actions.reset,
    PowerCommand.HARD_POWER_OFF: actions.hard_power_off,
}
ANSWERS: dict[str, Callable[..., None]] = {
    KEEP_WAITING: actions.keep_waiting,
    LEAVE_ON: actions.leave_on,
    DISMISS: actions.dismiss_trouble,
}


def _tell(
    command: str, chosen: list[Instance], *, by: User, key: UUID | None, limit_seconds: int | None
) -> dict[int, str]:
    """Does it for each instance by itself; answers the sentences of those that were refused, by id."""
    refusals = {}
    for instance in chosen:
        try:
            if command == PowerCommand.SOFT_SHUTDOWN:
                actions.soft_shut_down(instance, by=by, key=key, limit_seconds=limit_seconds)
            elif command in SWITCHES:
                SWITCHES[command](instance, by=by, key=key)
            else:
                ANSWERS[command](instance, by=by)
        except Refused as refused:
            refusals[instance.pk] = str(refused)
    return refusals


def _news(command: str, done: list[Instance], refusals: Iterable[str]) -> str:
    """Answers what a screen reader says: "Soft Shutdown asked of web-2. web-4 is already off." """
    said = []
    if done:
        names = _names(done)
        said.append(
            {
                KEEP_WAITING: f"Waiting for {names} again.",
                LEAVE_ON: f"No longer waiting for {names}.",
                DISMISS: "Dismissed.",
            }.get(command)
            or f"{PowerCommand(command).label} asked of {names}."
        )
    # Many instances are refused for one and the same reason when it is about the person.
    said += dict.fromkeys(refusals)
    return " ".join(said[: NAMED + 1])


def _names(chosen: list[Instance]) -> str:
    """Answers "web-1", "web-1 and web-2", "web-1, web-2 and web-3", "12 servers"."""
    labels = [one.label for one in chosen]
    if len(labels) > NAMED:
        return counted(len(labels), "server")
    return " and ".join([", ".join(labels[:-1]), labels[-1]] if len(labels) > 1 else labels)


# ── What is answered ─────────────────────────────────────────────────────────


def _instances(
    request: HttpRequest,
    array: InstanceArray,
    *,
    said: dict[int, str] | None = None,
    news: str = "",
    refused: str = "",
    form: PowerForm | None = None,
    status: int = 200,
) -> HttpResponse:
    """`form` is the one whose time limit could not be taken."""
    now = timezone.now()
    rows = rows_of(array, now=now, said=said)
    context = {
        "array": array,
        "rows": rows,
        "coming": coming(array, [row.number for row in rows]),
        "now": now.isoformat(),
        "limit": (form or LimitForm(initial={"limit": settings.SHUTDOWN_SECONDS}))["limit"],
        "news": news,
        "refused": "" if form else refused,
        "history": history_of(array, rows, span=_span(request), now=now),
        "key": uuid4(),
        "next_key": uuid4(),
    }
    return _panel(request, array, "Instances", context, status=status)


def _span(request: HttpRequest) -> Span:
    """Answers how far back the power history is that the person looks at."""
    return span_of(request.GET.get("history", ""))


def _list_url(request: HttpRequest, array: InstanceArray) -> str:
    return f"{reverse('instance_array_instances', args=[array.pk])}{_span(request).query}"


def _confirm(request: HttpRequest, array: InstanceArray, command: PowerCommand, chosen: list[Instance]) -> HttpResponse:
    """Answers the dialog, or the page of the same form, that names every server and what becomes of it."""
    now = timezone.now()
    reasons = {one.pk: why_not(command, one) for one in chosen}
    able = [one for one in chosen if not reasons[one.pk]]
    left_out = [reason for reason in reasons.values() if reason]
    waiting = waiting_of(able[0], now) if len(able) == 1 else None
    whom = able[0].label if len(able) == 1 else counted(len(able), "server")
    operate = why_not_operate(role_of(_user(request), array.infrastructure_id))
    context: dict[str, Any] = {
        "shell": "parts/dialog.html" if is_partial(request) else "parts/dialog_page.html",
        "head": head(array, "Instances"),
        "array": array,
        "command": command,
        "able": able,
        "left_out": left_out[:NAMED],
        "left_out_more": len(left_out[NAMED:]),
        "refused": operate or ("" if able else next(iter(reasons.values()))),
        "title": f"{command.label} {whom if able else _names(chosen)}?",
        "button": f"{command.label} {whom}",
        "waiting": waiting,
        "key": uuid4(),
        "target": f"#{array.topic}-instances",
        "action": f"{request.path}{_span(request).query}",
        "back": _list_url(request, array),
    }
    if is_partial(request):
        return render_fragment(request, "editor/power.html", context)
    return render_panel(request, "editor/power.html", array.infrastructure, context, selected=array.topic)


def _panel(
    request: HttpRequest, array: InstanceArray, current: str, context: dict[str, Any], *, status: int = 200
) -> HttpResponse:
    content = {"head": head(array, current), "kind": array.server_type, **context}
    return render_panel(
        request, "editor/instance_array.html", array.infrastructure, content, selected=array.topic, status=status
    )


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user
