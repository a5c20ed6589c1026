"""The deploy that runs or ran, and all of them so far."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_http_methods, require_safe

from editor import deploys
from editor.actions import role_of
from editor.models import Deploy, DeployItem, DeployState, DeployStep, Infrastructure, ItemState, PowerCommand, User
from editor.outcome import how_it_went
from editor.plan import DESTROYING, Kind
from editor.rules import Refused, why_not_deploy, why_not_operate
from editor.views.dialogs import done, refuse
from editor.views.infrastructures import when
from editor.views.page import render_panel, visible
from editor.views.panel import Head
from editor.words import counted, elapsed, moment

SIGNS = {"add": "+", "edit": "~", "del": "−"}
NAMED = 6
"""More parts of a step than that are counted, not named."""
HISTORY = 100


# ── A deploy ─────────────────────────────────────────────────────────────────


@require_http_methods(["GET", "HEAD", "POST"])
def progress(request: HttpRequest, pk: int) -> HttpResponse:
    """A deploy that runs or ran. POST does=stop or does=retry."""
    deploy = _visible(request, pk)
    if request.method != "POST":
        return show(request, deploy)
    does = request.POST.get("does", "")
    if does not in ("stop", "retry"):
        return refuse(request, "There is nothing like that to do.", back=deploy.get_absolute_url())
    try:
        if does == "stop":
            deploys.stop(deploy, by=_user(request))
        else:
            deploys.retry(deploy, by=_user(request), ended_at=_moment(request.POST.get("ended", "")))
    except Refused as refused:
        return show(request, _visible(request, pk), refused=str(refused), status=409)
    return show(request, _visible(request, pk)) if _is_htmx(request) else done(request, deploy.get_absolute_url())


@dataclass(frozen=True)
class Line:
    """A step of a deploy as it is told. `state` is done, now, fail or wait; `since` is when it began, if it runs."""

    position: int
    title: str
    state: str
    said: str
    at: str
    since: str
    detail: str


def show(request: HttpRequest, deploy: Deploy, *, refused: str = "", status: int = 200) -> HttpResponse:
    """Answers the panel of a deploy."""
    now, infrastructure = timezone.now(), deploy.infrastructure
    steps = list(deploy.steps.prefetch_related("items").order_by("position"))
    items = [item for step in steps for item in step.items.all()]
    ready = sum(item.state == ItemState.DONE for item in items)
    lines = [_line(step, deploy, now) for step in steps]
    current = next((line.position for line in lines if line.state in ("now", "fail")), 0) or next(
        (line.position for line in lines if line.state == "wait"), len(lines)
    )
    running = deploy.state == DeployState.RUNNING
    number = len(deploy.review.get("changes", ()))
    titles = {
        DeployState.RUNNING: f"Deploying {counted(number, 'change')}",
        DeployState.STOPPED: "Deploy stopped",
        DeployState.DONE: f"Deployed {counted(number, 'change')}",
    }
    role = role_of(_user(request), infrastructure.pk)
    context = {
        "head": Head(
            infrastructure=infrastructure,
            icon="pencil-ruler",
            title=titles[DeployState(deploy.state)],
            current="Deploy",
            crumb="Deploy",
        ),
        "deploy": deploy,
        "running": running,
        "stopped": deploy.state == DeployState.STOPPED,
        "steps": lines,
        "current": current,
        "ready": ready,
        "parts": len(items),
        "elapsed": elapsed((deploy.ended_at or now) - deploy.started_at),
        "since": deploy.started_at.isoformat(),
        "began": moment(deploy.started_at),
        "ended": deploy.ended_at.isoformat() if deploy.ended_at else "",
        "went": how_it_went(deploy) if deploy.state == DeployState.STOPPED else None,
        "destroying": _destroying(steps),
        "asks_systems": _asks_systems(steps, deploy),
        "why_not_deploy": why_not_deploy(role) or "",
        "why_not_stop": why_not_deploy(role) or deploys.why_not_stop(deploy) or "",
        "why_not_retry": why_not_deploy(role) or deploys.why_not_retry(deploy) or "",
        "why_not_discard": why_not_operate(role) or "",
        "refused": refused,
        "confirmed": [
            (SIGNS.get(change["kind"], "~"), change["kind"], change["label"], change["what"], change["lines"])
            for change in deploy.review.get("changes", ())
        ],
        "destroyed": deploy.review.get("destroys", ""),
        "destroyed_lines": deploy.review.get("lines", ()),
        "now": now.isoformat(),
    }
    return render_panel(request, "editor/deploy.html", infrastructure, context, status=status)


def _line(step: DeployStep, deploy: Deploy, now: datetime) -> Line:
    items = list(step.items.all())
    states = Counter(item.state for item in items)
    if states[ItemState.FAILED]:
        state, said = "fail", "failed"
    elif items and states[ItemState.DONE] == len(items):
        state, said = "done", "done"
    elif deploy.state == DeployState.RUNNING and (states[ItemState.RUNNING] or states[ItemState.DONE]):
        state, said = "now", "running"
    elif states[ItemState.DONE] or states[ItemState.STOPPED]:
        state, said = "wait", "not finished"
    else:
        state, said = "wait", "waiting" if deploy.state == DeployState.RUNNING else "not run"
    at = f"{timezone.localtime(step.ended_at):%H:%M:%S}" if state == "done" and step.ended_at else ""
    if not at and state == "wait" and deploy.state != DeployState.RUNNING:
        at = said
    begun = state == "now" and step.started_at
    return Line(
        position=step.position,
        title=step.title,
        state=state,
        said=said,
        at=elapsed(now - step.started_at) if begun and step.started_at else at,
        since=step.started_at.isoformat() if begun and step.started_at else "",
        detail=_detail(items) if state in ("now", "fail") or said == "not finished" else "",
    )


def _detail(items: list[DeployItem]) -> str:
    """Answers how far its parts are, and what those that run wait for."""
    waits = [item.detail for item in items if item.state == ItemState.RUNNING and item.detail]
    parts = [_parts(items)] if len(items) > 1 else []
    return ". ".join([*parts, *waits[:2]])


def _parts(items: list[DeployItem]) -> str:
    """Answers "db-data-1 done, db-data-2 running", or "11 of 40 done, db-data-12 failed"."""
    order = (ItemState.DONE, ItemState.RUNNING, ItemState.FAILED, ItemState.STOPPED, ItemState.WAITING)
    words = {state: state.label.lower() for state in order}
    if len(items) <= NAMED:
        return ", ".join(
            f"{item.label} {words[ItemState(item.state)]}" for state in order for item in items if item.state == state
        )
    counts = Counter(item.state for item in items)
    failed = [item.label for item in items if item.state == ItemState.FAILED]
    said = [f"{counts[ItemState.DONE]} of {len(items)} done"]
    if counts[ItemState.RUNNING]:
        said.append(f"{counts[ItemState.RUNNING]} running")
    if counts[ItemState.STOPPED]:
        said.append(f"{counts[ItemState.STOPPED]} stopped")
    if failed:
        said.append(f"{', '.join(failed[:3])}{' and more' if len(failed) > 3 else ''} failed")
    return ", ".join(said)


def _asks_systems(steps: list[DeployStep], deploy: Deploy) -> bool:
    """Whether operating systems are asked to stop just now: a stop takes effect at once, not after this step."""
    return bool(deploy.soft_seconds) and any(
        item.state == ItemState.RUNNING and item.payload.get("asked") != PowerCommand.HARD_POWER_OFF
        for step in steps
        if step.kind == Kind.SHUT_DOWN
        for item in step.items.all()
    )


def _destroying(steps: list[DeployStep]) -> str:
    """Answers what is said beside "Stop after this step" of the steps that destroy."""
    lost = [step for step in steps if step.kind in DESTROYING]
    if not lost:
        return "Nothing is destroyed by this deploy."
    if any(item.state != ItemState.WAITING for step in lost for item in step.items.all()):
        return "Destroying has begun."
    if len(lost) == 1:
        return "The destroying step has not started."
    return f"The {len(lost)} destroying steps have not started."


# ── All of them ──────────────────────────────────────────────────────────────


@require_safe
def history(request: HttpRequest, pk: int) -> HttpResponse:
    infrastructure = visible(request, Infrastructure.objects.all(), pk, path="")
    now = timezone.now()
    rows = [
        (
            deploy,
            when(deploy.started_at, now),
            elapsed((deploy.ended_at or now) - deploy.started_at),
            counted(len(deploy.review.get("changes", ())), "change"),
            deploy.review.get("destroys", ""),
        )
        for deploy in infrastructure.deploys.select_related("by").order_by("-number")[:HISTORY]
    ]
    head = Head(infrastructure=infrastructure, icon="history", title="Deploys", current=infrastructure.label)
    context = {"head": head, "rows": rows}
    return render_panel(request, "editor/deploys.html", infrastructure, context)


def _visible(request: HttpRequest, pk: int) -> Deploy:
    return visible(request, Deploy.objects.select_related("infrastructure", "by"), pk)


def _moment(text: str) -> datetime | None:
    """Reads what a form said of when a deploy ended; nothing when that cannot be read."""
    try:
        read = parse_datetime(text)
    except ValueError:
        return None
    return read if read and timezone.is_aware(read) else None


def _is_htmx(request: HttpRequest) -> bool:
    return request.headers.get("HX-Request-Type") == "partial"


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user
