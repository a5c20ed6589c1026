"""What is asked when an array gets smaller: which servers or drives go, and what becomes of the drives of servers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from editor.design_forms import ArrayForm
from editor.design_rules import why_not_leave
from editor.models import Drive, DriveArray, InstanceArray
from editor.views import drive_arrays, instance_arrays
from editor.views.dialogs import dialog
from editor.words import counted, size


@dataclass(frozen=True)
class Leaver:
    """A server or drive that may go when an array gets smaller, and what goes with it, in words."""

    number: int
    label: str
    power: str
    about: str
    chosen: bool


def ask(
    request: HttpRequest,
    array: InstanceArray | DriveArray,
    form: ArrayForm,
    leavers: list[Leaver],
    refused: str = "",
    *,
    status: int = 200,
) -> HttpResponse:
    """Asks which go, and what becomes of their drives."""
    name = "instance_array_configure" if isinstance(array, InstanceArray) else "drive_array_configure"
    goes, thing = len(array.numbers) - form.cleaned_data["count"], form.thing
    head = instance_arrays.head if isinstance(array, InstanceArray) else drive_arrays.head
    has_drives = isinstance(array, InstanceArray) and any(one.about for one in leavers)
    kept = [
        (name, value)
        for name in form.fields
        if name not in {"leaving", "drives", "key"}
        for value in request.POST.getlist(name)
    ]
    context = {
        "product": array,
        "leavers": leavers,
        "goes": goes,
        "thing": thing,
        "title_words": f"Which {counted(goes, thing)} of {array.label} {'goes' if goes == 1 else 'go'}?",
        "has_drives": has_drives,
        "drives": form.cleaned_data.get("drives", ""),
        "fields": kept,
        "refused": refused,
    }
    return dialog(
        request,
        "editor/shrink.html",
        head(array, "Configuration"),  # type: ignore[arg-type]  # each with its own kind
        context,
        back=reverse(name, args=[array.pk]),
        target=f"#{array.topic}-configuration",
        selected=array.topic,
        status=status,
    )


def why_not_go(array: InstanceArray | DriveArray, leaving: Collection[int], count: int) -> str | None:
    return why_not_leave(array.label, array.numbers, leaving, count)


def is_real(array: InstanceArray | DriveArray) -> bool:
    rows = array.instances if isinstance(array, InstanceArray) else array.drives
    return rows.exists()


def servers_to_go(array: InstanceArray, goes: int, chosen: Collection[int] = ()) -> list[Leaver]:
    """Answers all servers, the ones with the highest numbers chosen unless somebody chose; two queries."""
    instances = {one.number: one for one in array.instances.select_related("server")}
    drives: dict[int, list[str]] = {}
    rows = Drive.objects.filter(drive_array__instance_array=array).select_related("drive_array")
    for drive in rows.order_by("drive_array__label"):
        drives.setdefault(drive.number, []).append(described(drive))
    picked = set(chosen) or set(array.numbers[len(array.numbers) - goes :])
    return [
        Leaver(
            number,
            f"{array.label}-{number}",
            instances[number].shown_power if number in instances else "",
            "; ".join(drives.get(number, ())),
            number in picked,
        )
        for number in reversed(array.numbers)
    ]


def drives_to_go(array: DriveArray, goes: int, chosen: Collection[int] = ()) -> list[Leaver]:
    rows = {drive.number: drive for drive in array.drives.select_related("drive_array")}
    owner = array.instance_array
    served = set(owner.numbers) if owner else set()
    order = sorted(array.numbers, key=lambda number: (number not in served, number))
    picked = set(chosen) or set(order[len(order) - goes :])
    return [
        Leaver(
            number,
            f"{array.label}-{number}",
            "",
            described(rows[number], named=False) if number in rows else "not made yet",
            number in picked,
        )
        for number in reversed(order)
    ]


def described(drive: Drive, *, named: bool = True) -> str:
    """Answers "web-data-2, 31.1 GB written, 3 snapshots"."""
    snapshots = counted(drive.snapshot_count, "snapshot") if drive.snapshot_count else "no snapshots"
    pieces = [drive.label] * named + [f"{size(drive.used_bytes)} written", snapshots]
    return ", ".join(pieces)
