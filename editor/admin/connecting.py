"""The part of a server's page that tells what its BMC last said, and asks it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from editor import inventory
from editor.admin.base import Admin, person
from editor.models import Instance, PowerCommand, Server
from editor.words import ago, listed

DRAINED, RETURNED = "Drained.", "Returned to the pool."
"""In a server's history."""
PATIENCE = timedelta(seconds=30)
"""A worker that runs has begun by then."""


@dataclass(frozen=True)
class Connection:
    """What the page says of a server and its BMC."""

    server: Server
    instance: Instance | None
    power: str
    seen: str
    said: tuple[tuple[str, str], ...]
    """What the BMC said of itself and its server, when that was last asked for."""
    checked: str
    error: str
    detail: str
    checking: bool
    unattended: bool
    """Whether nobody has begun to check for longer than a worker needs."""
    replacing: str
    trouble: str
    """What failed last, until somebody has read it there, or tried again."""
    may_change: bool

    @property
    def in_work(self) -> bool:
        return self.checking or bool(self.replacing)


def connection_of(request: HttpRequest, site: Admin, server: Server) -> Connection:
    """Answers it as the row is now."""
    now = timezone.now()
    instance = Instance.objects.select_related("instance_array").filter(server=server).first()
    coming = Server.objects.filter(replaces=instance).first() if instance else None
    promised = server.replaces
    replacing = f"{coming} is taking its place." if coming else f"It is getting {promised}." if promised else ""
    since = now - server.check_asked_at if server.check_asked_at else timedelta()
    return Connection(
        server=server,
        instance=instance,
        power=str(server.shown_power.label),
        seen=ago(now - server.power_seen_at) if server.power_seen_at else "",
        said=_said(server.described or {}),
        checked=ago(now - server.checked_at) if server.checked_at else "",
        error=server.check_error,
        detail=server.check_detail,
        checking=server.check_asked_at is not None,
        unattended=since > PATIENCE,
        replacing=replacing,
        trouble=server.trouble.text if server.trouble else "",
        may_change=site.has_change_permission(request, server),
    )


def _said(described: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    commands = [str(PowerCommand(one).label) for one in described.get("commands", []) if one in PowerCommand.values]
    pairs = (
        ("Machine", " ".join(filter(None, [described.get("manufacturer", ""), described.get("model", "")]))),
        ("Serial", described.get("serial", "")),
        ("Boots from", ", then ".join(described.get("boot_order", []))),
        ("BMC firmware", described.get("firmware", "")),
        ("Can be told", listed(commands)),
    )
    return tuple((name, text or "not said") for name, text in pairs) if described else ()


def watch(site: Admin) -> Callable[[HttpRequest, int], HttpResponse]:
    """Answers the view of that part: GET for how it stands, POST for checking, draining and returning to the pool."""

    def view(request: HttpRequest, pk: int) -> HttpResponse:
        server = Server.objects.select_related("replaces__instance_array", "trouble").filter(pk=pk).first()
        if server is None:
            raise Http404("No such server.")
        if not site.has_view_permission(request, server):
            raise PermissionDenied
        if request.method == "POST":
            if not site.has_change_permission(request, server):
                raise PermissionDenied
            _act(request, site, server)
            if not request.headers.get("HX-Request"):
                return HttpResponseRedirect(reverse("admin:editor_server_change", args=[pk]))
            server.refresh_from_db()
        context = {"connection": connection_of(request, site, server)}
        return render(request, "admin/editor/server/connection.html", context)

    return view


def _act(request: HttpRequest, site: Admin, server: Server) -> None:
    match request.POST.get("do"):
        case "check":
            inventory.ask_checks(Server.objects.filter(pk=server.pk), by=person(request))
        case "drain" | "return" as what:
            if inventory.set_drained(server, drained=what == "drain", by=person(request)):
                site.log_change(request, server, DRAINED if what == "drain" else RETURNED)
