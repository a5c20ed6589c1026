"""The canvas: the page, its fragments, and moving cards. What is drawn comes from editor.views.scene."""

from __future__ import annotations

import re
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import render
from django.views.decorators.http import require_POST, require_safe

from editor import actions, canvas
from editor.models import DriveArray, Infrastructure, InstanceArray, Network, User
from editor.rules import Refused
from editor.views.draft import draft_of, last_deploy
from editor.views.page import Request, is_partial, member_context, newest_event, visible
from editor.views.presence import people_here
from editor.views.scene import count, draw, draw_cards, draw_wiring

MAX_CARDS = 200
"""So many cards are drawn again in one answer."""
MAX_PLACES = 5000
TOPIC = re.compile(r"(network|instance-array|drive-array)-[0-9]{1,18}")


def canvas_context(request: HttpRequest, infrastructure: Infrastructure, *, selected: str = "") -> dict[str, Any]:
    """What templates/editor/canvas.html needs, alone or behind a panel."""
    assert isinstance(request.user, User)
    context = member_context(request, infrastructure) | _scene(infrastructure, selected)
    context["event"] = newest_event(request)
    scene = context["scene"]
    context["draft"] = draft_of(infrastructure, request.user, scene.changes)
    context["deployed"] = last_deploy(infrastructure, is_deployed=scene.is_deployed)
    context["here"] = people_here(infrastructure, besides=request.user)
    return context


def _scene(infrastructure: Infrastructure, selected: str = "") -> dict[str, Any]:
    scene = draw(infrastructure, selected=selected)
    return {"scene": scene, "drawing": scene.drawing, "counts": scene.counts}


@require_safe
def page(request: Request, pk: int) -> HttpResponse:
    """The canvas without a panel; asked for as a fragment it is a closed panel: nothing."""
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    if is_partial(request):
        return HttpResponse("", headers={"Vary": "HX-Request, HX-Request-Type"})
    return render(request, "editor/canvas.html", canvas_context(request, infrastructure))


@require_safe
def nodes(request: Request, pk: int) -> HttpResponse:
    """The whole world anew; with ?of=drive-array-3,instance-array-2 these cards alone, with their bays."""
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    context = member_context(request, infrastructure)
    if topics := request.GET.get("of"):
        context["nodes"] = draw_cards(infrastructure, topics.split(",")[:MAX_CARDS])
        return render(request, "editor/canvas.html#cards", context)
    context |= _scene(infrastructure)
    return render(request, "editor/canvas.html#world_again", context)


@require_safe
def wiring(request: Request, pk: int) -> HttpResponse:
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    context = member_context(request, infrastructure) | {"drawing": draw_wiring(infrastructure)}
    return render(request, "editor/canvas.html#wiring_again", context)


@require_safe
def status(request: Request, pk: int) -> HttpResponse:
    """The counts in the footer, and when it was deployed."""
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    counts = count(infrastructure)
    context = member_context(request, infrastructure) | {"counts": counts}
    context["deployed"] = last_deploy(infrastructure, is_deployed=bool(counts.servers or counts.drives))
    return render(request, "editor/canvas.html#counts_again", context)


@require_safe
def presence(request: HttpRequest, pk: int) -> HttpResponse:
    """Who else is here, in the bar and on the cards."""
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    context = {"infrastructure": infrastructure, "here": people_here(infrastructure, besides=request.user)}
    return render(request, "parts/presence.html#presence_again", context)


@require_safe
def instance_array_card(request: Request, pk: int) -> HttpResponse:
    return _card(request, visible(request, InstanceArray.objects.select_related("infrastructure"), pk))


@require_safe
def drive_array_card(request: Request, pk: int) -> HttpResponse:
    return _card(request, visible(request, DriveArray.objects.select_related("infrastructure"), pk))


@require_safe
def network_card(request: Request, pk: int) -> HttpResponse:
    return _card(request, visible(request, Network.objects.select_related("infrastructure"), pk))


def _card(request: Request, product: InstanceArray | DriveArray | Network) -> HttpResponse:
    drawn = draw_cards(product.infrastructure, [product.topic])
    if not drawn:
        raise Http404  # a deploy has just removed it
    context = member_context(request, product.infrastructure) | {"node": drawn[0]}
    return render(request, "editor/canvas.html#card", context)


@require_POST
def move_instance_array(request: Request, pk: int) -> HttpResponse:
    return _move(request, visible(request, InstanceArray.objects.select_related("infrastructure"), pk))


@require_POST
def move_drive_array(request: Request, pk: int) -> HttpResponse:
    return _move(request, visible(request, DriveArray.objects.select_related("infrastructure"), pk))


@require_POST
def move_network(request: Request, pk: int) -> HttpResponse:
    return _move(request, visible(request, Network.objects.select_related("infrastructure"), pk))


@require_POST
def move_many(request: Request, pk: int) -> HttpResponse:
    """Saves the places of several cards at once, each as place=drive-array-3:120:-48. Answers as for a single one.

    They keep their distances, and are not put onto the grid one by one.
    """
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    try:
        places = dict(map(_place, request.POST.getlist("place")[:MAX_PLACES]))
    except (ValueError, OverflowError):
        return HttpResponseBadRequest("A place is a topic and two numbers: drive-array-3:120:-48. Nothing was moved.")
    try:
        actions.move_many(infrastructure, places, by=request.user)
    except Refused as refusal:
        return HttpResponse(str(refusal), status=409, content_type="text/plain")
    return HttpResponse(status=204)


def _place(text: str) -> tuple[str, tuple[int, int]]:
    """Raises ValueError or OverflowError when it is none."""
    topic, x, y = text.split(":")
    if not TOPIC.fullmatch(topic):
        raise ValueError(topic)
    return topic, (round(float(x)), round(float(y)))


def _move(request: Request, product: InstanceArray | DriveArray | Network) -> HttpResponse:
    """Saves the place of a card. Answers 204: the live update draws it, for everyone alike."""
    try:
        x, y = float(request.POST.get("x", "")), float(request.POST.get("y", ""))
        place = canvas.snap(x), canvas.snap(y)
    except (ValueError, OverflowError):
        return HttpResponseBadRequest("A place is two numbers, x and y. Nothing was moved.")
    try:
        actions.move(product, x=place[0], y=place[1], by=request.user)
    except Refused as refusal:
        return HttpResponse(str(refusal), status=409, content_type="text/plain")
    return HttpResponse(status=204)


@require_POST
def tidy(request: Request, pk: int) -> HttpResponse:
    """Puts all cards into their lanes, for everyone."""
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    try:
        actions.tidy_up(infrastructure, by=request.user)
    except Refused as refusal:
        return HttpResponse(str(refusal), status=409, content_type="text/plain")
    context = member_context(request, infrastructure)
    context |= _scene(infrastructure)
    return render(request, "editor/canvas.html#world_again", context)
