"""Taking back and taking out: discarding what waits for a deploy, and deleting from the design."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TypeVar

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from editor import edits
from editor.actions import role_of
from editor.design import AnyProduct, decisions, products
from editor.design_forms import DeleteForm
from editor.design_rules import why_not_delete, why_not_design
from editor.models import Drive, DriveArray, Infrastructure, Instance, InstanceArray, Network, User
from editor.rules import Refused, why_not_operate
from editor.views.design import listed, named
from editor.views.dialogs import dialog, done, said, wants_text
from editor.views.page import visible
from editor.views.panel import Head
from editor.views.shrink import described
from editor.views.tags import tags_of
from editor.words import counted

SHOWN = 40
"""More drives of one product than that are counted, not named."""
WORDS = {InstanceArray: "InstanceArray", DriveArray: "DriveArray", Network: "network"}

P = TypeVar("P", Network, InstanceArray, DriveArray)


# ── Discard ──────────────────────────────────────────────────────────────────


@require_http_methods(["GET", "HEAD", "POST"])
def discard_all(request: HttpRequest, pk: int) -> HttpResponse:
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    refused, status = "", 200
    if request.method == "POST":
        try:
            edits.discard_all(infrastructure, by=_user(request))
        except Refused as no:
            refused, status = str(no), 409
        else:
            return done(request, infrastructure.get_absolute_url())
    changes = decisions(products(infrastructure))
    context = {
        "title_words": f"Discard {counted(len(changes), 'change')}?",
        "changes": [
            (one, WORDS[type(one)], [tag for each in (one, *along) for tag in tags_of(each)])
            for one, along in changes.items()
        ],
        "refused": refused or _fixed(request, infrastructure) or ("" if changes else "Nothing waits for a deploy."),
        "button": f"Discard {counted(len(changes), 'change')}",
    }
    head = Head(infrastructure=infrastructure, icon="pencil-ruler", title="Discard", current=infrastructure.label)
    back = infrastructure.get_absolute_url()
    return dialog(request, "editor/discard.html", head, context, back=back, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def discard_instance_array(request: HttpRequest, pk: int) -> HttpResponse:
    return _discard(request, _product(request, InstanceArray, pk))


@require_http_methods(["GET", "HEAD", "POST"])
def discard_drive_array(request: HttpRequest, pk: int) -> HttpResponse:
    return _discard(request, _product(request, DriveArray, pk))


@require_http_methods(["GET", "HEAD", "POST"])
def discard_network(request: HttpRequest, pk: int) -> HttpResponse:
    return _discard(request, _product(request, Network, pk))


def _discard(request: HttpRequest, product: AnyProduct) -> HttpResponse:
    infrastructure = product.infrastructure
    refused, status = "", 200
    if request.method == "POST":
        try:
            edits.discard(product, by=_user(request))
        except Refused as no:
            refused, status = str(no), 409
        else:
            # What was never deployed is not there any more, and neither is its panel.
            gone = not product.is_deployed and request.GET.get("from") != "review"
            return done(request, infrastructure.get_absolute_url() if gone else _back(request, product), go=gone)
    along = decisions(products(infrastructure)).get(product, [])
    tags = [tag for each in (product, *along) for tag in tags_of(each)]
    context = {
        "title_words": f"Keep {product}?" if product.leaves else f"Discard changes to {product}?",
        "changes": [(product, WORDS[type(product)], tags)] if tags else [],
        "refused": refused or _fixed(request, infrastructure) or ("" if tags else f"Nothing of {product} is changed."),
        "button": f"Keep {product}" if product.leaves else "Discard changes",
        "is_new": not product.is_deployed,
    }
    return dialog(
        request,
        "editor/discard.html",
        _head(product, "Discard"),
        context,
        back=_back(request, product),
        selected=product.topic,
        status=status,
    )


# ── Delete ───────────────────────────────────────────────────────────────────


@require_http_methods(["GET", "HEAD", "POST"])
def delete_instance_array(request: HttpRequest, pk: int) -> HttpResponse:
    product = _product(request, InstanceArray, pk)
    return _delete(request, product.infrastructure, [product])


@require_http_methods(["GET", "HEAD", "POST"])
def delete_drive_array(request: HttpRequest, pk: int) -> HttpResponse:
    product = _product(request, DriveArray, pk)
    return _delete(request, product.infrastructure, [product])


@require_http_methods(["GET", "HEAD", "POST"])
def delete_network(request: HttpRequest, pk: int) -> HttpResponse:
    product = _product(request, Network, pk)
    return _delete(request, product.infrastructure, [product])


@require_http_methods(["GET", "HEAD", "POST"])
def delete_selected(request: HttpRequest, pk: int) -> HttpResponse:
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    return _delete(request, infrastructure, named(request, infrastructure))


def _delete(request: HttpRequest, infrastructure: Infrastructure, chosen: list[AnyProduct]) -> HttpResponse:
    one = chosen[0] if len(chosen) == 1 else None
    back = one.get_absolute_url() if one else infrastructure.get_absolute_url()
    refused = wrong = drives = ""
    status = 200
    if request.method == "POST":
        form = DeleteForm(request.POST)
        drives = form.cleaned_data["drives"] if form.is_valid() else ""
        try:
            edits.delete(chosen, by=_user(request), drives=drives)
        except edits.Undecided as undecided:
            wrong, status = str(undecided), 422
        except Refused as no:
            refused, status = str(no), 409
        else:
            if wants_text(request):
                return said(f"{listed(chosen)} deleted from the draft.")
            gone = not any(product.is_deployed for product in chosen)
            return done(request, infrastructure.get_absolute_url() if gone else back, go=gone)
    if status == 200:
        refused = _fixed(request, infrastructure) or _why_not_delete(chosen)
    what = f"{WORDS[type(one)]} {one}" if one else counted(len(chosen), "product")
    context = {
        "title_words": f"Delete {what}?" if chosen else "Delete?",
        "gone": _gone(chosen) if not refused else [],
        "has_drives": _has_drives_to_choose(chosen),
        "drives": drives,
        "wrong": wrong,
        "refused": refused,
        "is_deployed": any(product.is_deployed for product in chosen),
        "topics": [product.topic for product in chosen] if not one else [],
        "button": f"Delete {one or counted(len(chosen), 'product')} from the draft",
    }
    head = (
        _head(one, "Delete")
        if one
        else Head(infrastructure=infrastructure, icon="trash-2", title="Delete", current=infrastructure.label)
    )
    return dialog(
        request, "editor/delete.html", head, context, back=back, selected=one.topic if one else "", status=status
    )


@dataclass(frozen=True)
class Gone:
    """A product of a confirmation, with the drives that go with it, by name."""

    name: str
    about: str
    drives: list[str]


def _gone(chosen: list[AnyProduct]) -> list[Gone]:
    """Answers all that goes; two queries, however much that is."""
    arrays = [one.pk for one in chosen if isinstance(one, InstanceArray)]
    own = [one.pk for one in chosen if isinstance(one, DriveArray)]
    servers = Counter(Instance.objects.filter(instance_array__in=arrays).values_list("instance_array_id", flat=True))
    drives: dict[str, list[Drive]] = defaultdict(list)
    # As drawn: those that are attached so far and shall not be any more stay, and the other way round.
    numbers = {one.pk: set(one.numbers) for one in chosen if isinstance(one, InstanceArray)}
    rows = Drive.objects.filter(Q(drive_array__instance_array__in=arrays) | Q(drive_array__in=own))
    for drive in rows.select_related("drive_array").order_by("drive_array__label", "number"):
        array = drive.drive_array
        if array.pk in own:
            drives[array.topic].append(drive)
        elif not array.leaves and drive.number in numbers[array.instance_array_id or 0] & set(array.numbers):
            drives[f"instance-array-{array.instance_array_id}"].append(drive)
    return [_gone_product(one, servers[one.pk], drives[one.topic]) for one in chosen]


def _gone_product(product: AnyProduct, servers: int, drives: list[Drive]) -> Gone:
    about = WORDS[type(product)]
    if isinstance(product, InstanceArray):
        about += f", {counted(servers or product.count, 'server')}"
    elif isinstance(product, DriveArray):
        about += f", {counted(len(drives), 'drive')}" if drives else ", not made yet"
    said = [described(drive) for drive in drives[:SHOWN]]
    if rest := drives[SHOWN:]:
        snapshots = counted(sum(drive.snapshot_count for drive in rest), "snapshot")
        said.append(f"and {counted(len(rest), 'more drive')} with {snapshots}")
    return Gone(product.label, about, said)


def _has_drives_to_choose(chosen: list[AnyProduct]) -> bool:
    """Whether drives that exist are attached to an InstanceArray that goes, and do not go themselves."""
    arrays = [one.pk for one in chosen if isinstance(one, InstanceArray)]
    going = [one.pk for one in chosen if isinstance(one, DriveArray)]
    attached = Drive.objects.filter(drive_array__instance_array__in=arrays, drive_array__leaves=False)
    found = attached.exclude(drive_array__in=going)
    return bool(arrays) and found.exists()


def _why_not_delete(chosen: list[AnyProduct]) -> str:
    if not chosen:
        return "Nothing is selected. Select what shall be deleted."
    return " ".join(dict.fromkeys(reason for one in chosen if (reason := why_not_delete(one))))


# ── Small things ─────────────────────────────────────────────────────────────


def _product(request: HttpRequest, model: type[P], pk: int) -> P:
    rows = model.objects.select_related("infrastructure")
    if model is DriveArray:
        rows = rows.select_related("instance_array")
    elif model is InstanceArray:
        rows = rows.select_related("server_type").prefetch_related("interfaces")
    return visible(request, rows, pk)


def _back(request: HttpRequest, product: AnyProduct) -> str:
    """Answers where the confirmation came from: the review, or the product's own panel."""
    if request.GET.get("from") == "review":
        return reverse("infrastructure_deploy", args=[product.infrastructure_id])
    return product.get_absolute_url()


def _head(product: AnyProduct, current: str) -> Head:
    icons = {InstanceArray: "server", DriveArray: "hard-drive"}
    icon = icons.get(type(product)) or f"port-{getattr(product, 'kind', 'lan')}"
    return Head(infrastructure=product.infrastructure, icon=icon, title=product.label, current=current)


def _fixed(request: HttpRequest, infrastructure: Infrastructure) -> str:
    """Why the design cannot be changed now, "" when it can."""
    return why_not_operate(role_of(_user(request), infrastructure.pk)) or why_not_design(infrastructure) or ""


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user
