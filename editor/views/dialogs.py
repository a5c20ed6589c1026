"""Confirmations: a dialog for htmx, a page of the same form for everybody else. See templates/parts/dialog.html."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.cache import patch_vary_headers

from editor.views.page import is_partial, render_fragment, render_panel
from editor.views.panel import Head


def dialog(
    request: HttpRequest,
    template: str,
    head: Head,
    context: dict[str, Any],
    *,
    back: str,
    target: str = "#panel",
    selected: str = "",
    status: int = 200,
) -> HttpResponse:
    """Answers the dialog, or the page of the same form. Asked for by a form elsewhere, it still goes to #dialog."""
    content = {
        "shell": "parts/dialog.html" if is_partial(request) else "parts/dialog_page.html",
        "head": head,
        "infrastructure": head.infrastructure,
        "back": back,
        "target": target,
        "action": request.get_full_path(),
        **context,
    }
    if is_partial(request):
        return render_fragment(request, template, content, status=status, target="#dialog", swap="innerHTML")
    return render_panel(request, template, head.infrastructure, content, selected=selected, status=status)


def done(request: HttpRequest, url: str, *, go: bool = False, sentence: str = "") -> HttpResponse:
    """Answers what was done: closes the dialog, and lets live updates show it; with `go` the panel goes to `url`.

    The sentence, if any, is said on the page.
    """
    if not is_partial(request):
        return redirect(url)
    response = HttpResponse(status=200 if go else 204)
    events: dict[str, Any] = {"close-dialog": ""}
    if sentence:
        events["said"] = {"sentence": sentence}
    response["HX-Trigger"] = json.dumps(events)
    if go:
        response["HX-Location"] = json.dumps({"path": url, "target": "#panel", "swap": "innerHTML"})
    patch_vary_headers(response, ["HX-Request", "HX-Request-Type"])
    return response


def wants_text(request: HttpRequest) -> bool:
    """Whether a script asks, which says the sentence itself."""
    return request.headers.get("Accept", "").startswith("text/plain")


def said(sentence: str, *, status: int = 200, **headers: str) -> HttpResponse:
    """Answers one sentence to a script."""
    response = HttpResponse(sentence, status=status, content_type="text/plain")
    for name, value in headers.items():
        response[name.replace("_", "-")] = value
    return response


def refuse(request: HttpRequest, sentence: str, *, back: str) -> HttpResponse:
    """Answers a no where there is no form to put it in: as a message on the page, or a page of its own."""
    if wants_text(request):
        return said(sentence, status=409)
    context = {"sentence": sentence, "back": back}
    if is_partial(request):
        return render_fragment(request, "parts/toast.html", context, status=409, target="#toasts", swap="beforeend")
    return render(request, "refused.html", context, status=409)
