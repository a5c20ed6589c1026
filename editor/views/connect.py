"""Cables between cards: what can be joined to what and why not, and joining them.

Dragging from port to port, the dialog "Connect to…" and the forms of panels ask here, and send the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.http import Http404, HttpResponse, HttpResponseBadRequest, JsonResponse
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from editor import edits
from editor.actions import role_of
from editor.design import AnyProduct, by_topic, products
from editor.design_rules import (
    SAN_INDEX,
    why_not_attach,
    why_not_connect,
    why_not_design,
    why_not_disconnect,
)
from editor.models import INTERFACES, DriveArray, Infrastructure, InstanceArray, Network, NetworkKind
from editor.rules import Refused, why_not_operate
from editor.views.dialogs import done, refuse, said, wants_text
from editor.views.page import Request, is_partial, render_fragment, visible
from editor.words import counted

SHOWN = 200
"""So many are listed in the dialog; beyond, one types a part of the label."""
MANY = 20
"""Among more than that one can look for a label."""


@dataclass(frozen=True)
class Join:
    """What is done to join two cards, or take them apart: one field of one form. `why` is the reason against it."""

    label: str
    kind: str
    icon: str
    topic: str
    url: str = ""
    field: str = ""
    value: int | str = ""
    why: str = ""
    note: str = ""


@require_safe
def targets(request: Request, pk: int) -> JsonResponse:
    """What a cable from ?from=drive-array-3 may end at: {topic: {"why"}} or {topic: {"why": "", "url", "field", …}}."""
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    _, joins, _ = _joins(request, infrastructure, request.GET.get("from", ""))
    return JsonResponse(
        {
            join.topic: {"why": join.why}
            if join.why
            else {"why": "", "url": join.url, "field": join.field, "value": str(join.value)}
            for join in joins
        }
    )


@require_safe
def dialog(request: Request, pk: int) -> HttpResponse:
    """ "Connect to…": all other cards as buttons, and what is joined already, to take it apart."""
    start, find = request.GET.get("from", ""), request.GET.get("find")
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    if find is not None:
        return render_fragment(request, "editor/connect.html#found", _listed(request, infrastructure, start, find))
    return _dialog(request, infrastructure, start=start)


def _dialog(request: Request, infrastructure: Infrastructure, *, start: str = "", reason: str = "") -> HttpResponse:
    return render_fragment(
        request,
        "editor/connect.html",
        _listed(request, infrastructure, start) | {"reason": reason},
        status=409 if reason else 200,
        target="#dialog" if reason else "",
        swap="innerHTML" if reason else "",
    )


def _listed(request: Request, infrastructure: Infrastructure, start: str, find: str = "") -> dict[str, Any]:
    """What the dialog lists: all of it, or what has `find` in its label or kind."""
    one, all_joins, all_joined = _joins(request, infrastructure, start)
    wanted = find.strip().lower()
    joins, joined = (
        [join for join in some if wanted in f"{join.kind} {join.label}".lower()] for some in (all_joins, all_joined)
    )
    possible = [join for join in joins if not join.why]
    made = {join.topic for join in joined}
    # First those of which something stands in the way, then those that are never joined to such a card.
    impossible = [join for join in joins if join.why and join.topic not in made]
    impossible.sort(key=lambda join: not join.url)
    return {
        "infrastructure": infrastructure,
        "one": one,
        "find": find,
        "can_find": len(all_joins) > MANY,
        "said": f"{len(joins)} of {counted(len(all_joins), 'card')}" if wanted else "",
        "possible": possible[:SHOWN],
        "impossible": impossible[: max(0, SHOWN - len(possible))],
        "joined": joined,
        "left_out": max(0, len(joins) - SHOWN),
    }


def _joins(request: Request, infrastructure: Infrastructure, start: str) -> tuple[AnyProduct, list[Join], list[Join]]:
    """Answers the card that is asked about, its joins with all others, and those that are made. Eight queries."""
    rows = by_topic(products(infrastructure))
    one = rows.get(start)
    if one is None:
        raise Http404("No such card, or not yours to see.")
    for row in rows.values():
        if isinstance(row, DriveArray) and row.instance_array_id:
            owner = rows[f"instance-array-{row.instance_array_id}"]
            assert isinstance(owner, InstanceArray)
            row.instance_array = owner
    never = why_not_operate(role_of(request.user, infrastructure.pk)) or why_not_design(infrastructure) or ""
    others = [row for row in rows.values() if row is not one]
    return one, [_join(one, other, never) for other in others], _joined(one, others, rows, never)


def _join(one: AnyProduct, other: AnyProduct, never: str) -> Join:
    """What joins two cards, whichever of them is the first."""
    match one, other:
        case (InstanceArray() as owner, DriveArray() as drives) | (DriveArray() as drives, InstanceArray() as owner):
            why = never or why_not_attach(drives, owner) or ""
            if drives.instance_array_id == owner.pk:
                why = f"{drives.label} is attached to {owner.label} already."
            url = reverse("drive_array_attach", args=[drives.pk])
            return _named(other, url=url, field="instance_array", value=owner.pk, why=why)
        case (InstanceArray() as array, Network() as network) | (Network() as network, InstanceArray() as array):
            index = free_interface(array, network)
            why = never or _why_not_on(array, network) or why_not_connect(array, index, network) or ""
            return _named(
                other,
                url=reverse("instance_array_connect", args=[array.pk]),
                field="network",
                value=network.pk,
                why=why,
                note=f"by {_interface(index)} of {array.label}",
            )
    return _named(other, why=never or _why_not_kinds(one, other))


def free_interface(array: InstanceArray, network: Network) -> int:
    """Answers the interface a network comes to when nobody says which: if0 for the SAN, else the first free one.

    When none is free it is the number after the last, which no server has.
    """
    if network.kind == NetworkKind.SAN:
        return SAN_INDEX
    used = {one.index for one in array.interfaces.all() if one.network_id}
    return next((index for index in range(SAN_INDEX + 1, INTERFACES) if index not in used), INTERFACES)


def _why_not_on(array: InstanceArray, network: Network) -> str:
    there = next((one for one in array.interfaces.all() if one.network_id == network.pk), None)
    if there:
        return f"{array.label} is on {network.label} already, by {there}."
    if free_interface(array, network) == INTERFACES:
        return f"if1 to if{INTERFACES - 1} of {array.label} are all in use. Disconnect one of them first."
    return ""


def _why_not_kinds(one: AnyProduct, other: AnyProduct) -> str:
    """Why two cards of such kinds are never joined."""
    kinds = {type(one), type(other)}
    if kinds == {DriveArray}:
        return "Both are DriveArrays. Drives are attached to an InstanceArray."
    if kinds == {InstanceArray}:
        return "Both are InstanceArrays. Put them on the same network to join them."
    if kinds == {Network}:
        return "Both are networks. They meet only in the servers that are on both."
    drives, network = (one, other) if isinstance(one, DriveArray) else (other, one)
    assert isinstance(drives, DriveArray)
    if drives.instance_array:
        return f"{drives.label} belongs to {drives.instance_array}. Connect that to {network.label} instead."
    return f"{drives.label} is reached over the SAN of its InstanceArray. Attach it to one."


def _joined(one: AnyProduct, others: Sequence[AnyProduct], rows: dict[str, AnyProduct], never: str) -> list[Join]:
    """What is joined to a card, to be taken apart."""
    found: list[Join] = []
    for other in others:
        drives, owner = (one, other) if isinstance(one, DriveArray) else (other, one)
        if isinstance(drives, DriveArray) and isinstance(owner, InstanceArray) and drives.instance_array_id == owner.pk:
            url = reverse("drive_array_attach", args=[drives.pk])
            found.append(_named(other, url=url, field="instance_array", why=never))
    arrays = [one] if isinstance(one, InstanceArray) else others if isinstance(one, Network) else []
    for array in arrays:
        if not isinstance(array, InstanceArray):
            continue
        url = reverse("instance_array_connect", args=[array.pk])
        for port in array.interfaces.all():
            network = rows.get(f"network-{port.network_id}")
            if network is None or (isinstance(one, Network) and network is not one):
                continue
            carries = port.index == SAN_INDEX and any(
                isinstance(row, DriveArray) and row.instance_array_id == array.pk for row in rows.values()
            )
            why = never or (why_not_disconnect(array, port.index) if carries else "") or ""
            shown = network if array is one else array
            found.append(
                _named(shown, url=url, field="index", value=port.index, why=why, note=f"by {port} of {array.label}")
            )
    return found


_KINDS = {InstanceArray: ("InstanceArray", "server"), DriveArray: ("DriveArray", "hard-drive")}


def _named(row: AnyProduct, *, why: str, url: str = "", field: str = "", value: int | str = "", note: str = "") -> Join:
    if isinstance(row, Network):
        kind, icon = f"{NetworkKind(row.kind).label} network", f"port-{row.kind}"
    else:
        kind, icon = _KINDS[type(row)]
    return Join(row.label, kind, icon, row.topic, url, field, value, why, note)


def _interface(index: int) -> str:
    return f"if{index}"


# ── Joining ──────────────────────────────────────────────────────────────────


@require_POST
def attach(request: Request, pk: int) -> HttpResponse:
    """Attaches a DriveArray to the InstanceArray with the id `instance_array`; detaches it when that is empty.

    With `label`, to the InstanceArray that is called so.
    """
    drives = visible(request, DriveArray.objects.select_related("infrastructure"), pk)
    arrays = drives.infrastructure.instance_arrays
    wanted, label = request.POST.get("instance_array", ""), request.POST.get("label")
    if label is not None:
        owner = arrays.filter(label=label.strip()).first()
        if owner is None:
            return _no(request, drives, f"There is no InstanceArray with the label “{label.strip()}”. Choose one.")
    else:
        owner = arrays.filter(pk=_number(wanted) or 0).first() if wanted else None
        if wanted and owner is None:
            return _no(request, drives, "That InstanceArray is gone. Choose another one.")
    seen = _number(request.POST.get("seen", ""))
    try:
        edits.attach(drives, owner, by=request.user, seen=seen)
    except Refused as refusal:
        return _no(request, drives, str(refusal))
    sentence = f"{drives.label} is attached to {owner.label}." if owner else f"{drives.label} is detached."
    return _yes(request, drives, f"{sentence} It waits for Deploy.")


@require_POST
def connect(request: Request, pk: int) -> HttpResponse:
    """Puts an interface of an InstanceArray on a network, or on none.

    Without `index` it is the first that is free; without `network`, or with an empty one, it is disconnected.
    """
    array = visible(request, InstanceArray.objects.select_related("infrastructure").prefetch_related("interfaces"), pk)
    wanted = request.POST.get("network", "")
    network = array.infrastructure.networks.filter(pk=_number(wanted) or 0).first() if wanted else None
    if wanted and network is None:
        return _no(request, array, "That network is gone. Choose another one.")
    index = _number(request.POST.get("index", ""))
    if index is None:
        if network is None:
            return HttpResponseBadRequest("Say which interface, or which network. Nothing was changed.")
        if reason := _why_not_on(array, network):
            return _no(request, array, reason)
        index = free_interface(array, network)
    try:
        edits.connect(array, index, network, by=request.user, seen=_number(request.POST.get("seen", "")))
    except Refused as refusal:
        return _no(request, array, str(refusal))
    where = f"connected to {network.label}" if network else "disconnected"
    sentence = f"{_interface(index)} of {array.label} is {where}. It waits for Deploy."
    return _yes(request, array, sentence)


def _yes(request: Request, product: InstanceArray | DriveArray, sentence: str) -> HttpResponse:
    if wants_text(request):
        return said(sentence)
    response = done(request, product.get_absolute_url())
    if response.status_code == 204:
        response["HX-Trigger"] = json.dumps({"close-dialog": "", "said": {"sentence": sentence}})
    return response


def _no(request: Request, product: InstanceArray | DriveArray, sentence: str) -> HttpResponse:
    """Says why not; to a form, in the dialog that says what is possible instead."""
    if wants_text(request) or not is_partial(request):
        return refuse(request, sentence, back=product.get_absolute_url())
    start = request.POST.get("from") or product.topic
    return _dialog(request, product.infrastructure, start=start, reason=sentence)


def _number(text: str) -> int | None:
    """Answers the number, null when it is none that an id, an index or a revision can be."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
