"""The panel of a DriveArray: what it holds, and which drive belongs to which server."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from editor.models import MB, Drive, DriveArray
from editor.views.drives import SLOTS
from editor.views.page import render_panel, visible
from editor.views.panel import Head, Tab, words
from editor.views.pools import pools_of
from editor.views.tags import coming, numbers_that_stay
from editor.views.trouble import why_not_served
from editor.words import counted, percent_of, size, size_of


@dataclass(frozen=True)
class Row:
    """A drive in the lists of its array, with everything said already: lists are long."""

    label: str
    url: str
    topic: str
    server: str
    server_url: str
    power: str
    power_said: str
    snapshots: int
    hold: str
    used: str
    size: str
    percent: int
    not_served: bool
    goes: bool
    """Whether the next deploy takes it away."""


@require_safe
def overview(request: HttpRequest, pk: int) -> HttpResponse:
    now = timezone.now()
    array = visible_array(request, pk)
    drives = _drives(array)
    written_bytes = sum(drive.used_bytes for drive in drives)
    whole_bytes = sum(drive.size_bytes for drive in drives) or array.size_mb * MB * array.count
    context = {
        "head": head(array, "Overview"),
        "array": array,
        "now": now.isoformat(),
        "rows": _rows(array, drives),
        "coming": coming(array, [drive.number for drive in drives]),
        "size_each": size(array.size_mb * MB).split(),
        "written": size_of(written_bytes, whole_bytes),
        "percent": percent_of(written_bytes, whole_bytes),
        "pools": pools_of(drives),
        "snapshots": (sum(drive.snapshot_count for drive in drives), SLOTS * array.count),
        "servers": counted(array.instance_array.count, "server") if array.instance_array else "",
    }
    return render_panel(request, "editor/drive_array.html", array.infrastructure, context, selected=array.topic)


@require_safe
def drives(request: HttpRequest, pk: int) -> HttpResponse:
    now = timezone.now()
    array = visible_array(request, pk)
    drives = _drives(array)
    context = {
        "head": head(array, "Drives"),
        "array": array,
        "now": now.isoformat(),
        "rows": _rows(array, drives),
        "coming": coming(array, [drive.number for drive in drives]),
        "pools": pools_of(drives),
    }
    return render_panel(request, "editor/drive_array.html", array.infrastructure, context, selected=array.topic)


def head(array: DriveArray, current: str) -> Head:
    """Answers the head of a DriveArray's panel."""
    spec = f"DriveArray, {array.count} × {size(array.size_mb * MB)} {array.storage_type}, "
    attached = array.instance_array
    return Head(
        infrastructure=array.infrastructure,
        icon="hard-drive",
        title=array.label,
        current=current,
        sub=words(spec, "attached to ", (attached.label, attached.get_absolute_url()))
        if attached
        else words(spec, "attached to nothing"),
        tabs=(
            Tab("Overview", reverse("drive_array", args=[array.pk])),
            Tab("Drives", reverse("drive_array_drives", args=[array.pk]), str(array.count)),
            Tab("Configuration", reverse("drive_array_configure", args=[array.pk])),
            Tab("Activity", reverse("drive_array_activity", args=[array.pk])),
        ),
    )


def visible_array(request: HttpRequest, pk: int) -> DriveArray:
    return visible(request, DriveArray.objects.select_related("infrastructure", "instance_array"), pk)


def _drives(array: DriveArray) -> list[Drive]:
    """Answers the drives in order with their servers and pools, in one query."""
    rows = array.drives.select_related("pool", "instance__instance_array", "instance__server")
    return list(rows.order_by("number"))


def _rows(array: DriveArray, drives: list[Drive]) -> list[Row]:
    stay = numbers_that_stay(array)
    return [_row(array, drive, goes=drive.number not in stay) for drive in drives]


def _row(array: DriveArray, drive: Drive, *, goes: bool) -> Row:
    used, whole = size_of(drive.used_bytes, drive.size_bytes)
    instance = drive.instance
    power = instance.shown_power if instance else None
    return Row(
        label=f"{array.label}-{drive.number}",
        url=drive.get_absolute_url(),
        topic=drive.topic,
        server=instance.label if instance else "",
        server_url=instance.get_absolute_url() if instance else "",
        power=power or "",
        power_said=power.label.lower() if power else "",
        snapshots=drive.snapshot_count,
        hold=drive.hold,
        used=used,
        size=whole,
        percent=percent_of(drive.used_bytes, drive.size_bytes),
        not_served=bool(why_not_served(drive)),
        goes=goes,
    )
