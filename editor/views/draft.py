"""The part of the header about the design: how much waits for a deploy, undo and redo, and a deploy that runs."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from editor import edits
from editor.design import decisions, products
from editor.models import Deploy, DeployState, Infrastructure, User
from editor.views.infrastructures import when
from editor.views.page import member_context, visible


@dataclass(frozen=True)
class Draft:
    """What the header says. `undo` and `redo` name what they would do, "" when there is nothing."""

    changes: int
    deploy: Deploy | None
    """The newest one, running or not."""
    step: int
    steps: int
    undo: str
    redo: str

    @property
    def running(self) -> Deploy | None:
        return self.deploy if self.deploy and self.deploy.state == DeployState.RUNNING else None

    @property
    def stopped(self) -> Deploy | None:
        return self.deploy if self.deploy and self.deploy.state == DeployState.STOPPED else None


@require_safe
def fragment(request: HttpRequest, pk: int) -> HttpResponse:
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    return answer(request, infrastructure)


def answer(request: HttpRequest, infrastructure: Infrastructure) -> HttpResponse:
    """Answers the part of the header anew."""
    changes = len(decisions(products(infrastructure)))
    context = member_context(request, infrastructure) | {"draft": draft_of(infrastructure, _user(request), changes)}
    return render(request, "parts/draft.html#again", context)


def draft_of(infrastructure: Infrastructure, user: User, changes: int) -> Draft:
    """Answers what the header says, in as many queries for any design."""
    deploy = (
        infrastructure.deploys.annotate(
            all_steps=Count("steps"), done_steps=Count("steps", filter=Q(steps__ended_at__isnull=False))
        )
        .order_by("-number")
        .first()
    )
    steps = deploy.all_steps if deploy else 0
    return Draft(
        changes=changes,
        deploy=deploy,
        step=min(deploy.done_steps + 1, steps) if deploy else 0,
        steps=steps,
        undo=edits.can_undo(infrastructure, user) or "",
        redo=edits.can_redo(infrastructure, user) or "",
    )


def last_deploy(infrastructure: Infrastructure, *, is_deployed: bool) -> str:
    """Answers "Deployed 12 May 16:20 by Ana Marin", or "Never deployed". One query.

    What was there before the first deploy is only "Deployed".
    """
    done = infrastructure.deploys.filter(state=DeployState.DONE).select_related("by").order_by("-number").first()
    if done is None or done.ended_at is None:
        return "Deployed" if is_deployed else "Never deployed"
    now, at = timezone.now(), timezone.localtime(done.ended_at)
    said = when(done.ended_at, now)
    moment = said if ":" in said else f"{said} {at:%H:%M}"
    return f"Deployed {moment}" + (f" by {done.by}" if done.by else "")


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user
