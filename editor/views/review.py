"""The review of what waits for a deploy, and beginning it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from editor import deploys
from editor.actions import role_of
from editor.changes import Change
from editor.design_forms import DeployForm, first_error
from editor.estimate import estimate
from editor.models import DeployState, Infrastructure, User
from editor.review import Review, review
from editor.rules import Refused, why_not_deploy
from editor.views.deploy import SIGNS, show
from editor.views.dialogs import done
from editor.views.infrastructures import when
from editor.views.page import render_panel, visible
from editor.views.panel import Head
from editor.words import counted, size

TALLY = {"add": "added", "edit": "changed", "del": "reduced"}
NAMED = 6
"""More servers and drives than that are counted, not named."""


@require_http_methods(["GET", "HEAD", "POST"])
def of_infrastructure(request: HttpRequest, pk: int) -> HttpResponse:
    """What waits for a deploy; POST begins it. While one runs, that one is shown."""
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    running = infrastructure.deploys.filter(state=DeployState.RUNNING).select_related("infrastructure", "by").first()
    if running and request.method != "POST":
        return show(request, running)
    found = review(infrastructure)
    if request.method != "POST":
        return _review(request, found)
    form = DeployForm(request.POST, destroys=bool(found.destroys))
    if not form.is_valid():
        unreadable = "" if form.errors.keys() <= {"destroy", "seconds"} else first_error(form)
        return _review(request, found, form, refused=unreadable, status=422)
    try:
        deploy = deploys.start(
            infrastructure,
            by=_user(request),
            fingerprint=form.cleaned_data["fingerprint"],
            destroy=form.cleaned_data["destroy"],
            soft_seconds=form.soft_seconds(settings.SHUTDOWN_SECONDS),
            then_hard=form.then_hard,
            key=form.cleaned_data["key"],
        )
    except deploys.Changed as changed:
        return _review(request, changed.review, refused=str(changed), status=409)
    except Refused as refused:
        return _review(request, review(infrastructure), form, refused=str(refused), status=409)
    return done(request, deploy.get_absolute_url(), go=True)


def _review(
    request: HttpRequest, found: Review, form: DeployForm | None = None, *, refused: str = "", status: int = 200
) -> HttpResponse:
    infrastructure, now = found.infrastructure, timezone.now()
    number = len(found.changes)
    kinds = Counter(change.kind for change in found.changes)
    last = infrastructure.deploys.order_by("-number").first()
    why = why_not_deploy(role_of(_user(request), infrastructure.pk)) or ""
    form = form or DeployForm(
        initial={"how": "wait", "seconds": settings.SHUTDOWN_SECONDS}, destroys=bool(found.destroys)
    )
    context = {
        "head": Head(
            infrastructure=infrastructure,
            icon="pencil-ruler",
            title=f"Review {counted(number, 'change')}" if number else "Nothing to deploy",
            current="Deploy",
            crumb="Deploy",
        ),
        "review": found,
        "changes": [_change(change, now) for change in found.changes],
        "tally": [(kind, SIGNS[kind], kinds[kind]) for kind in SIGNS if kinds[kind]],
        "tally_words": ", ".join(f"{kinds[kind]} {word}" for kind, word in TALLY.items() if kinds[kind]),
        "lost": _lost(found),
        "number": number,
        "form": form,
        "how": form["how"].value() or "wait",
        "estimate": estimate(found) if found.steps and not found.reasons else None,
        "refused": refused,
        "why_not_deploy": why,
        "cannot": bool(found.reasons) or not number,
        "last": last,
        "now": now.isoformat(),
        "key": uuid4(),
        "next_key": uuid4(),
        "address": reverse("infrastructure_deploy", args=[infrastructure.pk]),
    }
    return render_panel(request, "editor/review.html", infrastructure, context, status=status)


def _lost(found: Review) -> str:
    """Answers "analytics-11, analytics-12 and their drives, 312 GB written."; many are counted."""
    servers, drives = found.destroys.servers, found.destroys.drives
    with_server = {server.place for server in servers}
    alone = [drive.label for drive in drives if drive.instance not in with_server]
    labels = [server.label for server in servers] + alone
    if len(labels) > NAMED:
        said = " and ".join(
            counted(number, thing) for number, thing in ((len(servers), "server"), (len(alone), "drive")) if number
        )
    else:
        said = ", ".join(labels)
    if len(drives) > len(alone):
        said += " and their drives" if len(drives) - len(alone) > 1 else " and its drive"
    if not drives:
        return f"{said}."
    return f"{said}, {size(found.destroys.written_bytes)} written."


@dataclass(frozen=True)
class Told:
    """A change as the review lists it."""

    change: Change
    sign: str
    when: str
    discard: str
    discard_name: str


def _change(change: Change, now: datetime) -> Told:
    kind = change.topic.rpartition("-")[0].replace("-", "_")
    said = when(change.at, now) if change.at else ""
    kind_word = change.what.partition(",")[0]
    return Told(
        change=change,
        sign=SIGNS[change.kind],
        when=f"today {said}" if ":" in said and " " not in said else said[:1].lower() + said[1:],
        discard=reverse(f"{kind}_discard", args=[change.row.pk]) + "?from=review",
        discard_name=f"new {kind_word} {change.label}" if change.kind == "add" else f"change to {change.label}",
    )


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user
