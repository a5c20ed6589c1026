"""Adding and configuring InstanceArrays and DriveArrays."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db import transaction

from editor import canvas
from editor.actions import demand
from editor.design_rules import (
    why_not_attach,
    why_not_change,
    why_not_count,
    why_not_label,
    why_not_leave,
    why_not_server_type,
    why_not_size,
    why_not_storage_type,
    why_not_without,
)
from editor.models import (
    INTERFACES,
    MB,
    DriveArray,
    Infrastructure,
    InstanceArray,
    Network,
    NetworkKind,
    ServerType,
    StorageType,
    User,
)
from editor.rules import Refused
from editor.words import counted, numbered, size

from .draft import Draft, Stale, made_earlier
from .growth import DELETE, KEEP, attached_to, follow, grown, set_numbers

FIRST_ROW_Y = 176
"""Where the first InstanceArray stands, below WAN and LAN."""
DRIVES_BELOW_Y = 280
"""So far below an InstanceArray its drives stand; the SAN runs between."""


def add_instance_array(
    infrastructure: Infrastructure, *, by: User, key: UUID | None = None, **design: Any
) -> InstanceArray:
    """Adds servers to the design. `design` may say label, server_type, count, interfaces (networks), x and y."""
    with transaction.atomic():
        draft = Draft(infrastructure.pk, by=by, key=key, or_permission="editor.add_instancearray")
        if draft.earlier:
            return made_earlier(draft, InstanceArray)
        label = design.get("label") or draft.free_label("instance-array")
        demand(why_not_label(label, draft.labels_like(label)))
        count = design.get("count", 1)
        demand(why_not_count(count, "server"))
        server_type = design.get("server_type") or ServerType.objects.first()
        if server_type is None:
            raise Refused("There is no server type yet. Ask an administrator to add one.")
        x, y = place(draft, design, canvas.card_height(count))
        array = InstanceArray(label=label, server_type=server_type, count=count, x=x, y=y)
        array.infrastructure = draft.infrastructure
        interfaces = design.get("interfaces") or _usual_networks(draft.infrastructure)
        drawn = {
            "label": label,
            "server_type": server_type.pk,
            "numbers": array.numbers,
            "interfaces": [one.pk if isinstance(one, Network) else one for one in interfaces],
        }
        draft.add(array, drawn)
        draft.record(f"add {label}", "added InstanceArray", label, url=array.get_absolute_url())
        return array


def _usual_networks(infrastructure: Infrastructure) -> list[int | None]:
    """SAN on if0 and WAN on if1."""
    networks = dict(infrastructure.networks.exclude(kind=NetworkKind.LAN).values_list("kind", "pk"))
    return [networks.get(NetworkKind.SAN), networks.get(NetworkKind.WAN), *[None] * (INTERFACES - 2)]


def add_drive_array(
    infrastructure: Infrastructure,
    *,
    by: User,
    key: UUID | None = None,
    instance_array: InstanceArray | None = None,
    **design: Any,
) -> DriveArray:
    """Adds drives to the design, one for each server of an InstanceArray, or one that is attached to nothing.

    `design` may say label, count, size_mb, storage_type, grows, x and y.
    """
    with transaction.atomic():
        draft = Draft(infrastructure.pk, by=by, key=key, or_permission="editor.add_drivearray")
        if draft.earlier:
            return made_earlier(draft, DriveArray)
        owner = draft.look(instance_array) if instance_array else None
        label = design.get("label") or draft.free_label("drive-array")
        demand(why_not_label(label, draft.labels_like(label)))
        array = DriveArray(
            infrastructure=draft.infrastructure,
            label=label,
            count=design.get("count", 0 if owner else 1),
            size_mb=design.get("size_mb", 40960),
            storage_type=design.get("storage_type", StorageType.SSD),
            grows=design.get("grows", True),
        )
        demand(why_not_count(array.count, "drive"))
        demand(why_not_size(array.size_mb))
        if owner:
            demand(why_not_attach(array, owner))
            array.instance_array = owner
            if array.grows or "count" not in design:
                array.numbers = {*array.numbers, *owner.numbers}
        array.x, array.y = place(draft, design, canvas.card_height(array.count), start=_below(owner))
        draft.add(array)
        text = f"Attached to {owner.label}." if owner else ""
        draft.record(f"add {label}", "added DriveArray", label, text, url=array.get_absolute_url())
        return array


def place(
    draft: Draft, design: dict[str, Any], height: int, *, start: tuple[int, int] | None = None
) -> tuple[int, int]:
    """Answers the place that was asked for, or the next free one: from the start, or beside the InstanceArrays."""
    if "x" in design and "y" in design:
        return canvas.snap(design["x"]), canvas.snap(design["y"])
    here = draft.infrastructure
    boxes = [(x, y, canvas.PLATE_W, canvas.PLATE_H) for x, y in here.networks.values_list("x", "y")]
    for rows in (here.instance_arrays, here.drive_arrays):
        boxes += [
            (x, y, canvas.CARD_W, canvas.card_height(count)) for x, y, count in rows.values_list("x", "y", "count")
        ]
    return canvas.free_place(start or (canvas.LANES_X, FIRST_ROW_Y), height, boxes)


def _below(owner: InstanceArray | None) -> tuple[int, int]:
    """Where drives stand first."""
    if owner is None:
        return canvas.LANES_X, FIRST_ROW_Y + DRIVES_BELOW_Y
    return owner.x, owner.y + DRIVES_BELOW_Y - canvas.CARD_H + canvas.card_height(owner.count)


# ── Configuring ──────────────────────────────────────────────────────────────


def configure_instance_array(
    array: InstanceArray,
    *,
    by: User,
    seen: int | None,
    label: str,
    server_type: ServerType,
    count: int,
    leaving: Collection[int] = (),
    drives: str = "",
) -> InstanceArray:
    """Changes what servers there shall be. When it gets smaller, `leaving` go, else those with the highest numbers.

    `drives` says what becomes of the drives of those: "keep" or "delete"; without it Undecided is raised when there
    are any.
    """
    with transaction.atomic():
        draft = Draft(array.infrastructure_id, by=by, or_permission="editor.change_instancearray")
        row = draft.look(array)
        theirs = {"label": row.label, "server_type": str(row.server_type), "count": counted(row.count, "server")}
        yours = {"label": label, "server_type": str(server_type), "count": counted(count, "server")}
        demand_seen(row, seen, theirs, yours)
        demand(why_not_change(row))
        demand(why_not_label(label, draft.labels_like(label, but=row)))
        demand(why_not_server_type(row, server_type.pk))
        demand(why_not_count(count, "server"))
        text = _differences(theirs, yours)
        numbers: Collection[int] = row.numbers
        if count < len(numbers):
            goes = set(leaving) or set(sorted(numbers)[count:])
            demand(why_not_leave(row.label, numbers, goes, count))
            numbers = set(numbers) - goes
            text += f". {_what_goes(row.label, goes, drives)}"
        elif count > len(numbers):
            waiting = {number for each in attached_to(draft, row) for number in each.numbers}
            numbers = grown(numbers, count, (row.deployed or {}).get("numbers", ()), waiting)
        draft.change(row, label=label, server_type=server_type.pk, numbers=sorted(numbers))
        if count != row.count:
            follow(draft, row, drives=drives)
        fate = {KEEP: ", drives kept", DELETE: ", drives deleted"}.get(drives, "") if count < row.count else ""
        title = f"{_in_words(row.label, theirs, yours)}{fate}"
        draft.record(title, "changed", label, text, url=row.get_absolute_url())
        return row


def _what_goes(label: str, goes: Collection[int], drives: str) -> str:
    """Answers "web-3 and web-4 go, their drives are kept." """
    fate = {KEEP: ", their drives are kept", DELETE: ", their drives are deleted"}.get(drives, "")
    return f"{numbered(goes, sign=f'{label}-')} {'goes' if len(goes) == 1 else 'go'}{fate}."


def configure_drive_array(
    array: DriveArray,
    *,
    by: User,
    seen: int | None,
    label: str,
    size_mb: int,
    storage_type: str,
    count: int,
    grows: bool,
    leaving: Collection[int] = (),
) -> DriveArray:
    """Changes what drives there shall be. When it gets smaller, `leaving` go, else those without a server first."""
    with transaction.atomic():
        draft = Draft(array.infrastructure_id, by=by, or_permission="editor.change_drivearray")
        row = draft.look(array)
        theirs = _drive_words(row.label, row.size_mb, row.storage_type, row.count, row.grows)
        yours = _drive_words(label, size_mb, storage_type, count, grows)
        demand_seen(row, seen, theirs, yours)
        demand(why_not_change(row))
        demand(why_not_label(label, draft.labels_like(label, but=row)))
        demand(why_not_storage_type(row, storage_type))
        demand(why_not_size(size_mb, (row.deployed or {}).get("size_mb", 0), row.label))
        demand(why_not_count(count, "drive"))
        draft.change(row, label=label, size_mb=size_mb, storage_type=storage_type, grows=grows)
        owner = row.instance_array
        served = set(owner.numbers) if owner else set()
        numbers = set(row.numbers)
        if count < len(numbers):
            # The last of the list go first.
            order = sorted(numbers, key=lambda number: (number not in served, number))
            goes = set(leaving) or set(order[count:])
            demand(why_not_leave(row.label, numbers, goes, count))
            numbers -= goes
        elif count > len(numbers):
            numbers = set(grown(numbers, count, (row.deployed or {}).get("numbers", ()), served))
        if owner and grows:
            missing = served - numbers
            if count < row.count:
                demand(why_not_without(row, owner, len(missing)))
            numbers |= missing
        set_numbers(draft, row, numbers)
        title = _in_words(row.label, theirs, yours)
        draft.record(title, "changed", label, _differences(theirs, yours), url=row.get_absolute_url())
        return row


def _drive_words(label: str, size_mb: int, storage_type: str, count: int, grows: bool) -> dict[str, str]:  # noqa: FBT001 - by place, as the form has them
    return {
        "label": label,
        "size_mb": size(size_mb * MB),
        "storage_type": str(storage_type),
        "count": counted(count, "drive"),
        "grows": "yes" if grows else "no",
    }


def demand_seen(row: Any, seen: int | None, theirs: dict[str, str], yours: dict[str, str]) -> None:
    """Raises Stale when somebody changed the product after the form was shown, unless both want the same."""
    if seen is None or row.revision == seen:
        return
    differ = [field for field in yours if theirs[field] != yours[field]]
    if differ:
        raise Stale(row, {field: theirs[field] for field in differ}, {field: yours[field] for field in differ})


def _in_words(label: str, before: dict[str, str], after: dict[str, str]) -> str:
    """Answers what is done, for undo: "web from 6 to 4 servers, renamed to front"."""
    if [field for field in before if before[field] != after[field]] == ["label"]:
        return f"rename {label} to {after['label']}"
    said = [_change_in_words(field, old, after[field]) for field, old in before.items() if old != after[field]]
    # A name that changes is said last, as everything is said of the old one.
    return f"{label} {', '.join(sorted(said, key=lambda one: one.startswith('renamed')))}"


def _change_in_words(field: str, old: str, new: str) -> str:
    if field == "label":
        return f"renamed to {new}"
    if field == "grows":
        return "new servers get a drive" if new == "yes" else "new servers get no drive"
    # "from 6 to 4 servers", "from 1 server to 2 servers"
    same = old.partition(" ")[2] == new.partition(" ")[2]
    return f"from {old.partition(' ')[0] if field == 'count' and same else old} to {new}"


def _differences(before: dict[str, str], after: dict[str, str]) -> str:
    """Answers "web → front, 12 servers → 10 servers"."""
    return ", ".join(f"{old} → {after[field]}" for field, old in before.items() if old != after[field])
