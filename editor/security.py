"""The small parts of security that belong to no page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse

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
