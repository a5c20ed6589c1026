"""The iSCSI tab of a drive: whether it is served, to whom, and how its server logs in.

The password is in no page that a browser may ask for twice: only in the answer to "Show password".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from editor.actions import role_of
from editor.disclosures import show_chap_password
from editor.iscsi import LUN
from editor.iscsi_names import chap_user, initiator_iqn, serial_number, target_iqn
from editor.models import Drive, User
from editor.rules import Refused, why_not_see_chap_password
from editor.views.drives import head, visible_drive
from editor.views.initiators import recipes
from editor.views.page import is_partial, render_fragment, render_panel
from editor.views.pools import pools_of
from editor.views.trouble import why_not_served


@dataclass(frozen=True)
class State:
    """Whether a drive is served, in words. `tone` is that of a note: ok, bad, busy, or none."""

    tone: str
    heading: str
    text: str


@require_safe
def tab(request: HttpRequest, pk: int) -> HttpResponse:
    return _tab(request, visible_drive(request, pk))


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def password(request: HttpRequest, pk: int) -> HttpResponse:
    """Shows the CHAP password, once: in the place where it belongs, or without htmx on a whole page."""
    drive = visible_drive(request, pk)
    if request.method != "POST":
        return redirect("drive_iscsi", pk)
    assert isinstance(request.user, User)
    try:
        drive.instance, secret = show_chap_password(drive, by=request.user)
    except Refused as refused:
        return _tab(request, drive, status=409, refused=str(refused))
    return _tab(request, drive, secret=secret)


def state_of(drive: Drive) -> State:
    """Answers what is known of serving a drive; needs its instance with the server."""
    instance = drive.instance
    if settings.ISCSI_EXPORTER == "none":
        text = "An administrator sets ISCSI_EXPORTER to have drives served."
        return State("", "Serving is switched off on this installation", text)
    if drive.head_layer is None:
        return State("", "Not deployed yet", "It is served as soon as it is deployed.")
    if instance is None:
        text = "Nobody may log in. Attach its DriveArray to an InstanceArray, and deploy that."
        return State("", "Not attached to an instance", text)
    if instance.server is None:
        return State("", f"{instance.label} has no server yet", "The drive is served as soon as there is one.")
    if reason := why_not_served(drive):
        return State("bad", "Not served", reason)
    if drive.exported:
        return State("ok", "Served", f"{instance.label} may log in, nobody else.")
    if drive.hold:
        return State("busy", "Not served at the moment", drive.hold)
    return State("busy", "About to be served", "Usually that takes a few seconds.")


def _tab(request: HttpRequest, drive: Drive, *, status: int = 200, **more: Any) -> HttpResponse:
    """Answers the tab; to htmx that asked for the password, its place alone."""
    assert isinstance(request.user, User)
    instance, infrastructure = drive.instance, drive.drive_array.infrastructure
    context = {
        "drive": drive,
        "instance": instance,
        "why_not_see": why_not_see_chap_password(role_of(request.user, infrastructure.pk)),
        **more,
    }
    if more and is_partial(request):
        return render_fragment(request, "editor/iscsi.html#password", context, status=status)
    context |= {
        "head": head(drive, "iSCSI"),
        "state": state_of(drive),
        "pools": pools_of([drive]),
        "looks": settings.ISCSI_EXPORTER != "none",
        "target": target_iqn(drive),
        "portal": settings.ISCSI_PORTAL,
        "lun": LUN,
        "serial": serial_number(drive),
        "initiator": initiator_iqn(instance) if instance else "",
        "chap_user": chap_user(instance) if instance else "",
        "recipes": recipes(drive, instance) if instance else (),
        "now": timezone.now().isoformat(),
    }
    return render_panel(
        request, "editor/iscsi.html", infrastructure, context, selected=drive.drive_array.topic, status=status
    )
