"""The Configuration tabs of arrays: what they shall be, and what goes when they get smaller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from editor import edits
from editor.actions import role_of
from editor.design import AnyProduct
from editor.design_forms import (
    DriveArrayForm,
    InstanceArrayForm,
    LabelForm,
    disable,
    number,
)
from editor.design_rules import SAN_INDEX, why_not_attach, why_not_change, why_not_delete, why_not_design
from editor.models import MB, DriveArray, InstanceArray, Interface, Network, User
from editor.rules import Refused, why_not_operate
from editor.views import drive_arrays, instance_arrays, networks
from editor.views.page import is_partial, render_panel, visible
from editor.views.panel import Head
from editor.views.shrink import ask, drives_to_go, is_real, servers_to_go, why_not_go
from editor.views.tags import tags_of
from editor.words import size

LISTED = 100
"""So many InstanceArrays are listed to choose from."""
FIELDS = {
    "label": "Label",
    "server_type": "Server type",
    "count": "Number",
    "size_mb": "Size of each drive",
    "storage_type": "Class",
    "grows": "Grows along",
}


@dataclass(frozen=True)
class Difference:
    """One field of a form that somebody else changed meanwhile."""

    field: str
    theirs: str
    yours: str


@require_http_methods(["GET", "HEAD", "POST"])
def instance_array(request: HttpRequest, pk: int) -> HttpResponse:
    array = instance_arrays.visible_array(request, pk)
    if request.method != "POST":
        return _instance_array(request, array)
    form = InstanceArrayForm(request.POST, product=array, others=_others(request, array))
    if not form.is_valid():
        return _instance_array(request, array, form, status=422)
    data = form.cleaned_data
    asked = "asked" in request.POST
    goes = len(array.numbers) - data["count"]
    try:
        if goes > 0 and not asked and is_real(array) and not _fixed(array, request):
            return ask(request, array, form, servers_to_go(array, goes))
        if goes > 0 and asked and (reason := why_not_go(array, data["leaving"], data["count"])):
            return ask(request, array, form, servers_to_go(array, goes, data["leaving"]), reason, status=422)
        edits.configure_instance_array(
            array,
            by=_user(request),
            seen=data["seen"],
            label=data["label"],
            server_type=data["server_type"],
            count=data["count"],
            leaving=data["leaving"],
            drives=data["drives"],
        )
    except edits.Undecided as undecided:
        reason = str(undecided) if asked else ""
        leaving = servers_to_go(array, goes, data["leaving"])
        return ask(request, array, form, leaving, reason, status=422 if asked else 200)
    except edits.Stale as stale:
        return _instance_array(request, _fresh(request, array), form, stale=stale, status=409)
    except Refused as refused:
        return _instance_array(request, array, form, refused=str(refused), status=409)
    return _saved(request, array)


@require_http_methods(["GET", "HEAD", "POST"])
def drive_array(request: HttpRequest, pk: int) -> HttpResponse:
    array = drive_arrays.visible_array(request, pk)
    if request.method != "POST":
        return _drive_array(request, array)
    form = DriveArrayForm(request.POST, product=array, others=_others(request, array))
    if not form.is_valid():
        return _drive_array(request, array, form, status=422)
    data = form.cleaned_data
    asked = "asked" in request.POST
    goes = len(array.numbers) - data["count"]
    if goes > 0 and is_real(array):
        if not asked and not _fixed(array, request):
            return ask(request, array, form, drives_to_go(array, goes))
        if asked and (reason := why_not_go(array, data["leaving"], data["count"])):
            return ask(request, array, form, drives_to_go(array, goes, data["leaving"]), reason, status=422)
    try:
        edits.configure_drive_array(
            array,
            by=_user(request),
            seen=data["seen"],
            label=data["label"],
            size_mb=form.size_mb,
            storage_type=data["storage_type"],
            count=data["count"],
            grows=data["grows"],
            leaving=data["leaving"],
        )
    except edits.Stale as stale:
        return _drive_array(request, _fresh(request, array), form, stale=stale, status=409)
    except Refused as refused:
        return _drive_array(request, array, form, refused=str(refused), status=409)
    return _saved(request, array)


@require_http_methods(["GET", "HEAD", "POST"])
def network(request: HttpRequest, pk: int) -> HttpResponse:
    """A network has a label and nothing else to say."""
    row = visible(request, Network.objects.select_related("infrastructure"), pk)
    if request.method != "POST":
        return _network(request, row)
    form = LabelForm(request.POST, product=row, others=_others(request, row))
    if not form.is_valid():
        return _network(request, row, form, status=422)
    try:
        edits.rename(row, by=_user(request), seen=form.cleaned_data["seen"], label=form.cleaned_data["label"])
    except edits.Stale as stale:
        fresh = visible(request, Network.objects.select_related("infrastructure"), pk)
        return _network(request, fresh, form, stale=stale, status=409)
    except Refused as refused:
        return _network(request, row, form, refused=str(refused), status=409)
    return _saved(request, row)


# ── The tab ──────────────────────────────────────────────────────────────────


def _instance_array(
    request: HttpRequest,
    array: InstanceArray,
    form: InstanceArrayForm | None = None,
    *,
    stale: edits.Stale | None = None,
    refused: str = "",
    status: int = 200,
) -> HttpResponse:
    initial = {"label": array.label, "server_type": array.server_type_id, "count": array.count}
    form = form or InstanceArrayForm(initial=initial, product=array, others=())
    more = {"how_many": "Servers", "drive_arrays": list(array.drive_arrays.order_by("label"))}
    head = instance_arrays.head(array, "Configuration")
    return _tab(request, array, form, head, more, stale=stale, refused=refused, status=status)


def _drive_array(
    request: HttpRequest,
    array: DriveArray,
    form: DriveArrayForm | None = None,
    *,
    stale: edits.Stale | None = None,
    refused: str = "",
    status: int = 200,
) -> HttpResponse:
    initial = {
        "label": array.label,
        "count": array.count,
        "size_gb": number(array.size_mb / 1024),
        "storage_type": array.storage_type,
        "grows": array.grows,
    }
    form = form or DriveArrayForm(initial=initial, product=array, others=())
    # What is attached can only be detached: nothing to choose from then.
    more = {"how_many": "Drives"} | ({} if array.instance_array_id else _owners(array))
    head = drive_arrays.head(array, "Configuration")
    return _tab(request, array, form, head, more, stale=stale, refused=refused, status=status)


def _owners(array: DriveArray) -> dict[str, Any]:
    """What the drives may be attached to; among too many to look through, the label is typed."""
    owners = InstanceArray.objects.filter(infrastructure=array.infrastructure_id, leaves=False)
    if owners.count() > LISTED:
        return {"owner_is_typed": True}
    # Only the first interface is asked for: of many arrays, each row costs time.
    on_san = Prefetch("interfaces", Interface.objects.filter(index=SAN_INDEX))
    choices = [
        (owner, why_not_attach(array, owner) or "") for owner in owners.prefetch_related(on_san).order_by("label")
    ]
    return {
        "owners": [owner for owner, reason in choices if not reason],
        "owners_not": list(dict.fromkeys(reason for _, reason in choices if reason))[:3],
    }


def _network(
    request: HttpRequest,
    row: Network,
    form: LabelForm | None = None,
    *,
    stale: edits.Stale | None = None,
    refused: str = "",
    status: int = 200,
) -> HttpResponse:
    form = form or LabelForm(initial={"label": row.label}, product=row, others=())
    head = networks.head(row, "Configuration")
    return _tab(request, row, form, head, {}, stale=stale, refused=refused, status=status)


def _tab(
    request: HttpRequest,
    array: AnyProduct,
    form: LabelForm,
    head: Head,
    more: dict[str, Any],
    *,
    stale: edits.Stale | None,
    refused: str,
    status: int,
) -> HttpResponse:
    fixed = _fixed(array, request)
    if fixed:
        disable(form)
    deployed = array.deployed or {}
    context = {
        "head": head,
        "product": array,
        "form": form,
        "fixed": fixed,
        "seen": array.revision,
        "refused": refused,
        "stale": str(stale) if stale else "",
        "differences": _differences(stale) if stale else (),
        "tags": tags_of(array),
        "was": _was(array, deployed),
        "why_not_delete": fixed or why_not_delete(array) or "",
        "address": reverse(f"{_kind(array)}_configure", args=[array.pk]),
        **{name: reverse(f"{_kind(array)}_{name}", args=[array.pk]) for name in ("delete", "discard")},
        **more,
    }
    return render_panel(
        request, "editor/configure.html", array.infrastructure, context, selected=array.topic, status=status
    )


def _was(array: AnyProduct, deployed: Mapping[str, Any]) -> dict[str, str]:
    """Answers, by field, what is real where the design differs from it: "Deployed: 160 GB"."""
    if not deployed:
        return {}
    was = {}
    if deployed.get("label") != array.label:
        was["label"] = str(deployed.get("label"))
    if not isinstance(array, Network) and len(deployed.get("numbers", ())) != array.count:
        was["count"] = str(len(deployed.get("numbers", ())))
    if isinstance(array, DriveArray) and deployed.get("size_mb", array.size_mb) != array.size_mb:
        was["size"] = size(deployed["size_mb"] * MB)
    return {field: f"Deployed: {said}" for field, said in was.items()}


def _differences(stale: edits.Stale) -> list[Difference]:
    return [Difference(FIELDS.get(name, name), stale.theirs[name], stale.yours[name]) for name in stale.yours]


def _saved(request: HttpRequest, array: AnyProduct) -> HttpResponse:
    """Answers the tab as it is now; a dialog that asked what goes closes."""
    if not is_partial(request):
        return redirect(f"{_kind(array)}_configure", array.pk)
    if isinstance(array, Network):
        return _network(request, visible(request, Network.objects.select_related("infrastructure"), array.pk))
    fresh = _fresh(request, array)
    response = _instance_array(request, fresh) if isinstance(fresh, InstanceArray) else _drive_array(request, fresh)
    if "asked" in request.POST:
        response["HX-Trigger"] = "close-dialog"
    return response


# ── Small things ─────────────────────────────────────────────────────────────


def _fixed(array: AnyProduct, request: HttpRequest) -> str:
    """Why nothing can be changed now, "" when it can."""
    role = role_of(_user(request), array.infrastructure_id)
    return why_not_operate(role) or why_not_design(array.infrastructure) or why_not_change(array) or ""


def _others(request: HttpRequest, product: AnyProduct) -> set[str]:
    """Answers the label that was typed, in small letters, when something else has it; three queries."""
    label = request.POST.get("label", "").strip()
    return {
        label.lower()
        for model in (Network, InstanceArray, DriveArray)
        for pk in model.objects.filter(infrastructure=product.infrastructure_id, label__iexact=label).values_list(
            "pk", flat=True
        )
        if not (isinstance(product, model) and product.pk == pk)
    }


def _fresh(request: HttpRequest, array: InstanceArray | DriveArray) -> Any:
    if isinstance(array, InstanceArray):
        return instance_arrays.visible_array(request, array.pk)
    return drive_arrays.visible_array(request, array.pk)


def _kind(array: AnyProduct) -> str:
    if isinstance(array, Network):
        return "network"
    return "instance_array" if isinstance(array, InstanceArray) else "drive_array"


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user
