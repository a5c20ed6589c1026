"""What is said when a page cannot be answered. None of these names what was asked for, or whose it is."""

from __future__ import annotations

import logging
from uuid import uuid4

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils import timezone

from editor.views.page import is_partial

log = logging.getLogger(__name__)


def unreadable(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """What was sent is too much or no form, or to another address. So neither user nor session are looked for."""
    context = {"is_elsewhere": isinstance(exception, DisallowedHost)}
    if is_partial(request):
        return _toast(HttpResponse(render_to_string("400.html#fragment", context), status=400))
    return HttpResponse(render_to_string("400.html", context), status=400)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    del exception
    return _answer(request, "403.html", 403)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Missing and forbidden look the same."""
    del exception
    return _answer(request, "404.html", 404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Reads nothing from the database, which may be what is broken: no session, no user, no context processors.

    The number on the page is in the log beside the traceback.
    """
    number = uuid4().hex[:8]
    log.error("Request %s could not be answered: %s %s", number, request.method, request.path)
    context = {"number": number, "at": timezone.now(), "path": request.path if request.method == "GET" else "/"}
    if is_partial(request):
        return _toast(HttpResponse(render_to_string("500.html#fragment", context), status=500))
    return HttpResponse(render_to_string("500.html", context), status=500)


def unavailable(request: HttpRequest) -> HttpResponse:
    """The database is locked, full or away. Reads nothing from it."""
    name = "503.html#fragment" if is_partial(request) else "503.html"
    context = {"path": request.path if request.method == "GET" else "/"}
    response = HttpResponse(render_to_string(name, context), status=503, headers={"Retry-After": "10"})
    return _toast(response) if is_partial(request) else response


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form was sent without its token: the page is older than the session, or cookies are refused."""
    log.warning("A form was refused: %s %s: %s", request.method, request.path, reason)
    if is_partial(request):
        return _toast(render(request, "403_csrf.html#fragment", status=403))
    return render(request, "403_csrf.html", status=403)


def _toast(response: HttpResponse) -> HttpResponse:
    """What is on the page, half-typed text included, stays."""
    response["HX-Retarget"] = "#toasts"
    response["HX-Reswap"] = "beforeend"
    return response


def _answer(request: HttpRequest, template: str, status: int) -> HttpResponse:
    return render(request, f"{template}#fragment" if is_partial(request) else template, status=status)
