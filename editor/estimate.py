"""How long a deploy may take, going by what the same kinds of steps took in earlier deploys of this installation."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import ceil
from statistics import median

from django.db.models import Count, Exists, F, OuterRef, Q

from editor.models import DeployItem, DeployStep, Power
from editor.plan import Kind
from editor.reconcile import THREADS, Lane
from editor.review import Review
from editor.words import listed

SAMPLES = 9
"""So many of the newest finished steps of each kind count: few enough to follow a change of hardware."""

_OF_SERVERS = (Kind.SHUT_DOWN, Kind.POWER_ON)
"""Servers of a step go off, or on, all at once: no thread of the worker waits for them."""
_WORDS = {
    Kind.ALLOCATE: "take servers",
    Kind.CREATE: "create drives",
    Kind.SHUT_DOWN: "shut servers down",
    Kind.DETACH: "detach drives",
    Kind.GROW: "grow drives",
    Kind.ATTACH: "attach drives",
    Kind.DESTROY: "destroy drives",
    Kind.RELEASE: "give servers back",
    Kind.SETTLE: "finish a design",
    Kind.REMOVE: "take arrays and networks away",
    Kind.POWER_ON: "power servers on",
}


@dataclass(frozen=True)
class Estimate:
    """How long a deploy may take. `unmeasured`: what it does that no deploy here has done, so that it counts as 0."""

    seconds: float
    unmeasured: tuple[Kind, ...] = ()
    waits: bool = False
    """Whether it waits for operating systems, which take as long as they like."""

    @property
    def title(self) -> str:
        """ "About 6 min", "At least 40 s", "A few seconds"."""
        rough = _rough(self.seconds)
        if self.unmeasured:
            return f"At least {rough}"
        return f"About {rough}" if rough[0].isdigit() else rough.capitalize()

    @property
    def text(self) -> str:
        """Where it comes from, in sentences."""
        said = "The time is what such steps took in the latest deploys of this installation."
        if self.waits:
            said += " Operating systems may take longer to shut down."
        if self.unmeasured:
            what = listed([_WORDS[kind] for kind in self.unmeasured])
            said += f" How long it takes to {what} is not known: no deploy has done that here yet."
        return said


def estimate(review: Review) -> Estimate | None:
    """Answers how long a deploy of this would take; None when nothing like it was deployed here. One query."""
    kinds = dict.fromkeys(told.step.kind for told in review.steps if _works(review, told.step.kind))
    measured = _measured(kinds)
    if not measured:
        return None
    return Estimate(
        seconds=_length(review, measured),
        unmeasured=tuple(kind for kind in kinds if kind not in measured),
        waits=Kind.SHUT_DOWN in measured,
    )


def _works(review: Review, kind: Kind) -> bool:
    """Whether there is something to wait for: servers that are off already are neither shut down nor powered on."""
    return kind not in _OF_SERVERS or any(one.power != Power.OFF for one in review.must_be_off)


def _measured(kinds: Collection[Kind]) -> dict[Kind, float]:
    """Answers the median seconds that a step of each kind took, for as many items as the worker does side by side."""
    newest = Q(pk__in=[])
    ended = DeployStep.objects.filter(started_at__isnull=False, ended_at__isnull=False)
    for kind in kinds:
        alike = ended.filter(kind=kind)
        if kind in _OF_SERVERS:
            # Of those that found all servers as they should be, nothing can be learned.
            alike = alike.filter(Exists(DeployItem.objects.filter(step=OuterRef("pk"), payload__has_key="asked")))
        if kind == Kind.SHUT_DOWN:
            alike = alike.filter(deploy__soft_seconds__gt=0)
        newest |= Q(pk__in=alike.order_by("-pk").values("pk")[:SAMPLES])
    took: dict[Kind, list[float]] = {}
    # Of a step that was gone on with, only what was left counts; of the demo's, nothing.
    items = Count("items", filter=Q(items__started_at__gte=F("started_at")))
    rows = DeployStep.objects.filter(newest).annotate(number=items).filter(number__gt=0)
    for name, began, end, number in rows.values_list("kind", "started_at", "ended_at", "number").order_by():
        kind = Kind(name)
        assert began is not None
        assert end is not None
        rounds = 1 if kind in _OF_SERVERS else ceil(number / THREADS[Lane.WORK])
        took.setdefault(kind, []).append(max(0.0, (end - began).total_seconds()) / rounds)
    return {kind: median(seconds) for kind, seconds in took.items()}


def _length(review: Review, measured: Mapping[Kind, float]) -> float:
    """Plays the plan: a step begins when those before it are done, and the worker's threads share what is ready."""
    before = {position: len(told.after) for position, told in enumerate(review.steps, 1)}
    behind: dict[int, list[int]] = {position: [] for position in before}
    for position, told in enumerate(review.steps, 1):
        for other in told.after:
            behind[other].append(position)
    ready = [(0.0, position) for position, number in before.items() if not number]
    begins = dict.fromkeys(before, 0.0)
    threads = [0.0] * THREADS[Lane.WORK]
    last = 0.0
    while ready:
        begin, position = heapq.heappop(ready)
        step = review.steps[position - 1].step
        seconds = measured.get(step.kind, 0.0)
        end = begin
        if step.kind in _OF_SERVERS:
            places = [review.instances.get((step.of, number)) for number in step.numbers]
            if any(one and one.shown_power != Power.OFF for one in places):
                end += seconds
        else:
            for _ in step.numbers or (None,):
                thread_end = max(heapq.heappop(threads), begin) + seconds
                heapq.heappush(threads, thread_end)
                end = max(end, thread_end)
        last = max(last, end)
        for other in behind[position]:
            before[other] -= 1
            begins[other] = max(begins[other], end)
            if not before[other]:
                heapq.heappush(ready, (begins[other], other))
    return last


def _rough(seconds: float) -> str:
    """Answers "a few seconds", "40 s", "6 min", "2 h 10 min": no closer than an estimate is."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 55:
        return f"{ceil(seconds / 10) * 10} s"
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(round(minutes, -1), 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"
