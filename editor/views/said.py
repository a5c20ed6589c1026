"""Short answers to what is done on the canvas: a sentence.

The canvas (static/js/canvas-post.js) asks for text/plain and shows it. htmx gets it as the event `said`, and closes the
dialog that it may have come from. A plain form is led on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect


def wants_sentence(request: HttpRequest) -> bool:
    """Whether the canvas asks, which shows a sentence and nothing else."""
    return request.headers.get("Accept") == "text/plain"


def done(request: HttpRequest, sentence: str, *, then: str, new: Iterable[str] = ()) -> HttpResponse:
    """Says what was done. `then` is where a plain form leads; `new` are the topics of cards that came."""
    if wants_sentence(request):
        return HttpResponse(sentence, content_type="text/plain", headers={"X-Topics": " ".join(new)})
    if not request.headers.get("HX-Request"):
        return redirect(then)
    events = {"close-dialog": "", "panel-refresh": "", "said": {"sentence": sentence}}
    return HttpResponse(status=204, headers={"HX-Trigger": json.dumps(events)})


def refused(request: HttpRequest, sentence: str) -> HttpResponse:
    """Says why not, with status 409, where there is no form to say it in."""
    if wants_sentence(request) or not request.headers.get("HX-Request"):
        return HttpResponse(sentence, status=409, content_type="text/plain")
    events = {"said": {"sentence": sentence, "tone": "bad"}}
    return HttpResponse(status=409, headers={"HX-Reswap": "none", "HX-Trigger": json.dumps(events)})
