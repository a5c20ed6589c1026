"""The small parts of security that belong to no page."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.views import redirect_to_login
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

log = logging.getLogger(__name__)

PERMISSIONS_POLICY = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"


def permissions_policy(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: the pages, and whatever may be slipped into them, get no device and no payment."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        return response

    return middleware


def account_tried(request: HttpRequest, credentials: Mapping[str, Any] | None) -> str:
    """Answers whose account a sign-in tries, for counting failures.

    In small letters: sign-in does not mind capitals, and each spelling must not get guesses of its own.
    """
    tried = (credentials or {}).get("username") or (credentials or {}).get("email") or request.POST.get("username", "")
    return str(tried).strip().lower()


class SignInRequired(LoginRequiredMiddleware):
    """Every page needs a sign-in, but those that say otherwise."""

    def handle_no_permission(self, request: HttpRequest, view_func: Any) -> HttpResponseRedirect:
        """After the sign-in back to the page; to the list when it was a change, which is not made by looking at it."""
        if request.method in ("GET", "HEAD"):
            return super().handle_no_permission(request, view_func)
        return redirect_to_login("/")


class DatabaseUnavailable:
    """Middleware: a database that is locked, full or away is said in a sentence, not as a fault of the page."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answers 503, whatever the page was; the traceback is in the log."""
        if not isinstance(exception, OperationalError):
            return None
        log.error("The database did not answer: %s %s", request.method, request.path, exc_info=exception)
        from editor.views.errors import unavailable  # views are imported once all apps are there

        return unavailable(request)
