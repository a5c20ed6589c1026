"""The panel of one drive. Its "Snapshots" tab lives in the snapshots app and is linked by name."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from editor.actions import dismiss_trouble
from editor.models import Drive, User
from editor.rules import Refused
from editor.views.page import is_partial, render_panel, visible
from editor.views.panel import Head, Step, Tab, words
from editor.views.pools import pools_of
from editor.views.trouble import trouble_of, why_not_served
from editor.words import percent_of, size, size_of

SLOTS = 5
"""How many snapshots a gauge has room for; the rule itself is in the app that takes them."""


@require_safe
def overview(request: HttpRequest, pk: int) -> HttpResponse:
    now = timezone.now()
    drive = visible_drive(request, pk)
    context = {
        "head": head(drive, "Overview"),
        "drive": drive,
        "size": size(drive.size_bytes).split(),
        "written": size_of(drive.used_bytes, drive.size_bytes),
        "slots": SLOTS,
        "percent": percent_of(drive.used_bytes, drive.size_bytes),
        "pools": pools_of([drive]),
        "trouble": trouble_of(drive),
        "not_served": why_not_served(drive),
        "now": now.isoformat(),
    }
    infrastructure = drive.drive_array.infrastructure
    return render_panel(request, "editor/drive.html", infrastructure, context, selected=drive.drive_array.topic)


@require_POST
def dismiss(request: HttpRequest, pk: int) -> HttpResponse:
    """Takes a failure off the page. The page then looks at the drive again, whichever of its tabs is open."""
    drive = visible_drive(request, pk)
    assert isinstance(request.user, User)
    try:
        dismiss_trouble(drive, by=request.user)
    except Refused as refused:
        return HttpResponse(str(refused), status=409, content_type="text/plain")
    if is_partial(request):
        return HttpResponse(status=204, headers={"HX-Trigger": drive.topic})
    return redirect(drive)


def visible_drive(request: HttpRequest, pk: int) -> Drive:
    """Answers a drive with all that its panel shows, in one query; raises Http404 for strangers."""
    rows = Drive.objects.select_related(
        "drive_array__infrastructure",
        "drive_array__instance_array",
        "pool",
        "instance__instance_array",
        "instance__server",
        "trouble",
    )
    return visible(request, rows, pk, path="drive_array__infrastructure")


def head(drive: Drive, current: str) -> Head:
    """Answers the head of a drive's panel; its neighbours are opened at the same tab."""
    tabs = {"Overview": "drive", "Snapshots": "snapshots:list", "iSCSI": "drive_iscsi", "Activity": "drive_activity"}
    siblings = drive.drive_array.drives.only("number", "drive_array_id")
    before = siblings.filter(number__lt=drive.number).order_by("-number").first()
    after = siblings.filter(number__gt=drive.number).order_by("number").first()
    instance = drive.instance
    rest = f"{drive.pool.storage_type}, {used_of_size(drive)}"
    return Head(
        infrastructure=drive.drive_array.infrastructure,
        icon="hard-drive",
        title=drive.label,
        current=current,
        crumbs=((drive.drive_array.label, reverse("drive_array_drives", args=[drive.drive_array_id])),),
        sub=words("Drive of ", (instance.label, instance.get_absolute_url()), f", {rest}") if instance else words(rest),
        tabs=tuple(
            Tab(name, reverse(url, args=[drive.pk]), f"{drive.snapshot_count}/{SLOTS}" if name == "Snapshots" else "")
            for name, url in tabs.items()
        ),
        power=instance.shown_power if instance else "",
        previous=_step("Previous", drive, before, tabs[current]),
        following=_step("Next", drive, after, tabs[current]),
    )


def used_of_size(drive: Drive) -> str:
    """Answers "31.1 of 40 GB used"."""
    used, whole = size_of(drive.used_bytes, drive.size_bytes)
    return f"{used} of {whole} used"


def _step(word: str, drive: Drive, other: Drive | None, url: str) -> Step | None:
    if other is None:
        return None
    return Step(f"{word} drive, {drive.drive_array.label}-{other.number}", reverse(url, args=[other.pk]))
