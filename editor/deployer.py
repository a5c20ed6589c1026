"""What the worker does for deploys: begins each step when those before it are done, and ends the deploy.

Items of a step run side by side. When one fails, what depends on its step does not begin; the rest goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Count
from django.utils import timezone

from editor import build
from editor.deploys import record, release
from editor.models import Deploy, DeployItem, DeployState, DeployStep, ItemState, PowerCommand, Result, Server
from editor.outcome import how_it_went
from editor.plan import Kind
from editor.reconcile import Job, Lane

SIDE_BY_SIDE = 16
"""So many drives of one deploy are in the worker's hands at a time: a snapshot waits for few of them, not for all."""

_OF_SERVERS = (Kind.SHUT_DOWN, Kind.POWER_ON)
_OF_A_DRIVE = (Kind.DETACH, Kind.GROW, Kind.DESTROY)
_ASK_BMCS = (*_OF_SERVERS, *_OF_A_DRIVE, Kind.ALLOCATE, Kind.RELEASE)


def jobs(now: datetime, since: datetime) -> Iterator[Job]:
    """A job for each item whose turn it is, or one that ends a deploy in which nothing can go on."""
    del now, since  # an item is done whenever it waits
    for deploy in Deploy.objects.filter(state=DeployState.RUNNING).order_by("pk"):
        steps = begun(deploy, list(deploy.steps.all()))
        waiting = DeployItem.objects.filter(
            step__in=steps, state__in=(ItemState.WAITING, ItemState.RUNNING)
        ).select_related("step")
        at_power = list(waiting.filter(step__kind__in=_OF_SERVERS).order_by("pk"))
        others = list(waiting.exclude(step__kind__in=_OF_SERVERS).order_by("pk")[:SIDE_BY_SIDE])
        for item in [*others, *_due(at_power, stopping=deploy.stop_asked)]:
            # Who asked to stop does not sit through the pause after a failed attempt to shut down.
            at_once = deploy.stop_asked and item.step.kind == Kind.SHUT_DOWN
            lane = Lane.ASK if item.step.kind in _ASK_BMCS else Lane.WORK
            yield Job(_key(item), _run(item.pk), at_once=at_once, lane=lane)
        if not others and not at_power:
            yield Job(deploy.topic, _end(deploy.pk))


def begun(deploy: Deploy, steps: list[DeployStep]) -> list[DeployStep]:
    """Answers the steps that are not done and whose turn it is; of a deploy that is to stop, those in work."""
    undone: Counter[int] = Counter()
    counts = DeployItem.objects.filter(step__deploy=deploy).exclude(state=ItemState.DONE)
    for step, number in counts.values_list("step").annotate(Count("pk")).order_by():
        undone[step] = number
    done = {step.position for step in steps if not undone[step.pk]}
    return [
        step
        for step in steps
        if step.position not in done and done.issuperset(step.after) and (step.started_at or not deploy.stop_asked)
    ]


def _due(items: list[DeployItem], *, stopping: bool) -> Iterator[DeployItem]:
    """Those that nobody has begun, and those whose server has obeyed, has not in time, or never will.

    A deploy that is stopping waits for no operating system.
    """
    asked = {item.payload["server"] for item in items if "asked" in item.payload}
    obeying = Server.objects.filter(pk__in=asked, power_overdue=False).exclude(power_command="")
    if stopping:
        obeying = obeying.exclude(power_command=PowerCommand.SOFT_SHUTDOWN)
    still = set(obeying.values_list("pk", flat=True))
    for item in items:
        if "asked" not in item.payload or item.payload["server"] not in still:
            yield item


def _key(item: DeployItem) -> str:
    """Items that work on the bytes of a drive, or take it away from its server, take their turn with all that do."""
    if item.step.kind in _OF_A_DRIVE:
        return f"drive-{item.payload['drive']}"
    return f"deploy-item-{item.pk}"


def _run(pk: int) -> Callable[[Callable[[], bool]], timedelta | None]:
    def run(should_stop: Callable[[], bool]) -> timedelta | None:
        del should_stop  # each verb is short, and half of one is nothing
        return build.run(pk)

    return run


def _end(pk: int) -> Callable[[Callable[[], bool]], timedelta | None]:
    def run(should_stop: Callable[[], bool]) -> timedelta | None:
        del should_stop
        end(pk)
        return None

    return run


def end(pk: int) -> None:
    """Ends a deploy in which nothing can go on: done when all is, else stopped. Gives up its holds."""
    with transaction.atomic():
        deploy = Deploy.objects.select_for_update(of=("self",)).select_related("infrastructure", "by").get(pk=pk)
        items = DeployItem.objects.filter(step__deploy=deploy)
        if deploy.state != DeployState.RUNNING or items.filter(state=ItemState.RUNNING).exists():
            return
        # Whoever found nothing to do looked at steps and items one after the other, and an item may have ended between.
        if items.filter(state=ItemState.WAITING, step__in=begun(deploy, list(deploy.steps.all()))).exists():
            return
        done = not items.exclude(state=ItemState.DONE).exists()
        deploy.state = DeployState.DONE if done else DeployState.STOPPED
        deploy.ended_at = timezone.now()
        deploy.save(update_fields=["state", "ended_at"])
        release(deploy)
        went = how_it_went(deploy)
        failed = items.filter(state=ItemState.FAILED).exists()
        record(
            deploy,
            "deployed" if done else "could not deploy all of" if failed else "stopped the deploy of",
            by=deploy.by,
            text=f"{went.title} {went.text}".strip(),
            detail=went.detail,
            result=Result.DONE if done else Result.FAILED if failed else Result.NOTICE,
        )
