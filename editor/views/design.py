"""Drawing: what is added, copied, undone and done again. Forms send here, and so does the canvas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_POST

from editor import edits
from editor.design import AnyProduct, by_topic, products
from editor.models import Infrastructure, InstanceArray, Network, User
from editor.rules import Refused
from editor.views.dialogs import done, refuse, said, wants_text
from editor.views.page import visible
from editor.words import counted

MOST = 500
"""So many products can be asked about at once."""


# ── Add and copy ─────────────────────────────────────────────────────────────


@require_POST
def add_instance_array(request: HttpRequest, pk: int) -> HttpResponse:
    return _add(request, pk, edits.add_instance_array, **_place(request))


@require_POST
def add_drive_array(request: HttpRequest, pk: int) -> HttpResponse:
    """Attached to the InstanceArray `instance_array`, if that is named."""
    owner = request.POST.get("instance_array", "")
    found = InstanceArray.objects.filter(pk=_number(owner), infrastructure=pk).first() if owner else None
    return _add(request, pk, edits.add_drive_array, instance_array=found, **_place(request))


@require_POST
def add_network(request: HttpRequest, pk: int) -> HttpResponse:
    """Its place follows from the others', whatever was sent."""
    return _add(request, pk, edits.add_network)


def _add(request: HttpRequest, pk: int, make: Callable[..., AnyProduct], **design: Any) -> HttpResponse:
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    try:
        product = make(infrastructure, by=_user(request), key=_key(request), **design)
    except Refused as refused:
        return refuse(request, str(refused), back=infrastructure.get_absolute_url())
    if wants_text(request):
        return said(f"{product.label} added to the draft.", X_Topics=product.topic)
    return done(request, _first_page_of(product), go=True)


@require_POST
def copy(request: HttpRequest, pk: int) -> HttpResponse:
    """Beside what is copied, or near the place (x, y)."""
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    try:
        place = _place(request)
        at = (round(place["x"]), round(place["y"])) if place else None
        new = edits.copy_all(named(request, infrastructure), by=_user(request), key=_key(request), at=at)
    except Refused as refused:
        return refuse(request, str(refused), back=infrastructure.get_absolute_url())
    if wants_text(request):
        return said(f"{listed(new)} added to the draft.", X_Topics=",".join(one.topic for one in new))
    return done(request, infrastructure.get_absolute_url())


# ── Undo and redo ────────────────────────────────────────────────────────────


@require_POST
def undo(request: HttpRequest, pk: int) -> HttpResponse:
    return _step(request, pk, edits.undo, "Undone")


@require_POST
def redo(request: HttpRequest, pk: int) -> HttpResponse:
    return _step(request, pk, edits.redo, "Done again")


def _step(request: HttpRequest, pk: int, act: Callable[..., Any], word: str) -> HttpResponse:
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    try:
        step = act(infrastructure, by=_user(request))
    except Refused as refused:
        return refuse(request, str(refused), back=infrastructure.get_absolute_url())
    sentence = f"{word}: {step.title}."
    if wants_text(request):
        return said(sentence)
    return done(request, infrastructure.get_absolute_url(), sentence=sentence)


# ── Small things ─────────────────────────────────────────────────────────────


def named(request: HttpRequest, infrastructure: Infrastructure) -> list[AnyProduct]:
    """Answers the products of this infrastructure that ?of= names; others are left out."""
    source = request.POST if request.method == "POST" and "of" in request.POST else request.GET
    topics = [topic for value in source.getlist("of") for topic in value.split(",")][:MOST]
    known = by_topic(products(infrastructure))
    found = [known[topic] for topic in dict.fromkeys(topics) if topic in known]
    for product in found:
        product.infrastructure = infrastructure
    return found


def _first_page_of(product: AnyProduct) -> str:
    """Answers where one goes on after adding: to what it shall be."""
    if isinstance(product, Network):
        return product.get_absolute_url()
    kind = "instance_array" if isinstance(product, InstanceArray) else "drive_array"
    return reverse(f"{kind}_configure", args=[product.pk])


def listed(rows: list[AnyProduct]) -> str:
    labels = [row.label for row in rows]
    if len(labels) > 3:
        return counted(len(labels), "product")
    return " and ".join([", ".join(labels[:-1]), labels[-1]] if len(labels) > 1 else labels)


def _place(request: HttpRequest) -> dict[str, float]:
    """Answers where something shall stand, if that was said: {"x": 12.0, "y": 24.0}."""
    try:
        x, y = float(request.POST["x"]), float(request.POST["y"])
    except (KeyError, ValueError):
        return {}
    return {"x": x, "y": y} if abs(x) < 100_000 and abs(y) < 100_000 else {}


def _key(request: HttpRequest) -> UUID | None:
    try:
        return UUID(request.POST.get("key", ""))
    except ValueError:
        return None


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else 0


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user
