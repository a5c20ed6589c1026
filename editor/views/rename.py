"""Renaming a card in its place on the canvas: a form of one field, swapped into the card."""

from __future__ import annotations

import json

from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from editor import edits
from editor.design import AnyProduct, labels, products
from editor.design_rules import why_not_label
from editor.models import DriveArray, InstanceArray, Network
from editor.models.infrastructure import LABEL_MAX
from editor.rules import Refused
from editor.views.page import Request, is_partial, render_fragment, visible

METHODS = ["GET", "HEAD", "POST"]


@require_http_methods(METHODS)
def instance_array(request: Request, pk: int) -> HttpResponse:
    return _rename(request, visible(request, InstanceArray.objects.all(), pk), "instance_array_rename")


@require_http_methods(METHODS)
def drive_array(request: Request, pk: int) -> HttpResponse:
    return _rename(request, visible(request, DriveArray.objects.all(), pk), "drive_array_rename")


@require_http_methods(METHODS)
def network(request: Request, pk: int) -> HttpResponse:
    return _rename(request, visible(request, Network.objects.all(), pk), "network_rename")


def _rename(request: Request, product: AnyProduct, name: str) -> HttpResponse:
    context = {
        "product": product,
        "url": reverse(name, args=[product.pk]),
        "label": product.label,
        "seen": product.revision,
        "label_max": LABEL_MAX,
    }
    if request.method != "POST":
        if not is_partial(request):
            return redirect(product)
        return render_fragment(request, "editor/rename.html", context)
    context["label"] = label = request.POST.get("label", "").strip()
    said = request.POST.get("seen", "")
    context["seen"] = seen = int(said) if said.isascii() and said.isdigit() and len(said) < 10 else product.revision
    others = [row for row in products(product.infrastructure_id) if row.topic != product.topic]
    if reason := why_not_label(label, labels(others)):
        return render_fragment(request, "editor/rename.html", context | {"reason": reason}, status=422)
    try:
        edits.rename(product, by=request.user, seen=seen, label=label)
    except edits.Stale as stale:
        # Who saves again now has read what the other one did.
        now = f" It is called {stale.theirs['label']} now."
        context |= {"reason": f"{stale}{now}", "seen": stale.product.revision}
        return render_fragment(request, "editor/rename.html", context, status=409)
    except Refused as refusal:
        return render_fragment(request, "editor/rename.html", context | {"reason": str(refusal)}, status=409)
    if not request.headers.get("HX-Request"):
        return redirect(product)
    events = {"close-rename": "", "said": {"sentence": f"{product.label} is called {label} now. It waits for Deploy."}}
    return HttpResponse(status=204, headers={"HX-Trigger": json.dumps(events)})
