"""What all pages share: who may see what, and how a panel is answered.

A panel has one URL. htmx asks for the fragment and gets the partial `panel` of the template; everybody else
(a cold link, a reload, Back, a browser without JavaScript) gets the whole page with the canvas behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers

from editor.actions import role_of
from editor.models import Event, Infrastructure, User
from editor.rules import why_not_operate


class Request(HttpRequest):
    """A request of somebody who is signed in; LoginRequiredMiddleware sees to that."""

    user: User


M = TypeVar("M", bound=Model)

NEWEST_EVENT = "X-Newest-Event"
"""Header of an answer that is at least as new as this Event. What is said meanwhile, static/js/live.js says again."""


def visible(request: HttpRequest, rows: QuerySet[M], pk: int, *, path: str = "infrastructure") -> M:
    """Answers the row if the user is a member of its infrastructure; raises Http404 otherwise.

    `path` leads from the model to its infrastructure ("" for an infrastructure itself). Missing and forbidden
    look the same. Before that it asks for the newest Event, of which the answer tells the page (see NEWEST_EVENT):
    what is read from then on is at least as new. Two queries.
    """
    vars(request)["newest_event"] = last_event_id()
    member = f"{path}__memberships__user" if path else "memberships__user"
    row = rows.filter(**{member: request.user}).filter(pk=pk).first()
    if row is None:
        raise Http404("No such page, or not yours to see.")
    return row


def is_partial(request: HttpRequest) -> bool:
    """Whether htmx asks for a fragment; restoring history, it asks for the whole page."""
    return request.headers.get("HX-Request-Type") == "partial"


def last_event_id() -> int:
    """Answers the newest Event's id, 0 without any. A page asks this first: what is read later is at least as new."""
    return Event.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def newest_event(request: HttpRequest) -> int:
    """Answers the Event that was the newest before anything of the answer was read (see `visible`)."""
    newest: int = vars(request)["newest_event"]
    return newest


def newest_event_header(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: says how new an answer about an infrastructure is."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if "newest_event" in vars(request):
            response.headers[NEWEST_EVENT] = str(newest_event(request))
        return response

    return middleware


def member_context(request: HttpRequest, infrastructure: Infrastructure) -> dict[str, Any]:
    """What every fragment of an infrastructure may need: the infrastructure and why nothing can be changed, if so."""
    assert isinstance(request.user, User)
    return {
        "infrastructure": infrastructure,
        "why_not_operate": why_not_operate(role_of(request.user, infrastructure.pk)),
    }


def render_panel(
    request: HttpRequest,
    template: str,
    infrastructure: Infrastructure,
    context: dict[str, Any],
    *,
    selected: str = "",
    status: int = 200,
) -> HttpResponse:
    """Answers the template's partial `panel` to htmx, else the whole page with the canvas behind.

    `selected` is the topic of the card that is marked ("drive-array-3").
    """
    # The canvas needs the panel's helpers and a panel needs the canvas behind it.
    from editor.views.canvas import canvas_context

    if is_partial(request):
        content = member_context(request, infrastructure) | context | {"selected": selected}
        response = render(request, f"{template}#panel", content, status=status)
    else:
        content = canvas_context(request, infrastructure, selected=selected)
        content |= context | {"selected": selected}
        response = render(request, template, content, status=status)
    patch_vary_headers(response, ["HX-Request", "HX-Request-Type"])
    return response


def render_fragment(
    request: HttpRequest,
    template: str,
    context: dict[str, Any],
    *,
    status: int = 200,
    target: str = "",
    swap: str = "",
    trigger: str = "",
) -> HttpResponse:
    """Answers one fragment ("snapshots/list.html#body").

    `target` and `swap` send it elsewhere than the asking element meant (a refused dialog stays a dialog);
    `trigger` names an event for the page, e.g. "close-dialog".
    """
    response = render(request, template, context, status=status)
    for header, value in (("HX-Retarget", target), ("HX-Reswap", swap), ("HX-Trigger", trigger)):
        if value:
            response[header] = value
    patch_vary_headers(response, ["HX-Request", "HX-Request-Type"])
    return response
