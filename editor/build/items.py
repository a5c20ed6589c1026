"""How an item of a deploy begins, and how it ends: the rows, what is real of its product, and who is told.

Each begins in a short transaction that reserves what it needs, calls drivers outside of any, and settles in one more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db import models, transaction
from django.utils import timezone

from editor.deploys import lock_hardware
from editor.design import AnyProduct
from editor.models import (
    Deploy,
    DeployItem,
    DeployState,
    DeployStep,
    DriveArray,
    Event,
    InstanceArray,
    ItemState,
    Network,
    Result,
    Told,
)
from editor.plan import Kind, kind_of, real_so_far

PAUSES = (timedelta(seconds=1), timedelta(seconds=5), timedelta(seconds=15))
"""After a failure that may pass, an item is tried again so many times, with these pauses before."""
TRIES = len(PAUSES) + 1

_VERBS = {
    Kind.ALLOCATE: "get a server",
    Kind.CREATE: "be created",
    Kind.SHUT_DOWN: "be shut down",
    Kind.DETACH: "be detached",
    Kind.GROW: "grow",
    Kind.ATTACH: "be attached",
    Kind.DESTROY: "be destroyed",
    Kind.RELEASE: "be given back",
    Kind.SETTLE: "be finished",
    Kind.REMOVE: "be removed",
    Kind.POWER_ON: "be powered on again",
}

_turn = threading.Lock()


@contextmanager
def writing() -> Iterator[None]:
    """A transaction; those of all items take turns.

    SQLite has one writer, and whoever waits for that gets it by luck: a page would wait among all our threads.
    """
    with _turn, transaction.atomic():
        yield


class Failed(Exception):
    """An item cannot be done. `str()` is why, as a sentence; one in small letters stands after a colon.

    `permanent`: trying again at once does not help.
    """

    def __init__(self, why: str, *, permanent: bool = False, detail: str = "") -> None:
        super().__init__(why)
        self.permanent = permanent
        self.detail = detail


def begin(known: DeployItem, prepare: Callable[[DeployItem], None] | None) -> DeployItem | None:
    """Notes that an item is in work, and reserves what it needs. None when it is not to be done (any more)."""
    with writing():
        # The deploy is locked, so that none ends while one of its items begins; that orders its items as well.
        deploy = Deploy.objects.select_for_update(of=("self",)).get(pk=known.step.deploy_id)
        item = DeployItem.objects.select_related("step").get(pk=known.pk)
        item.step.deploy = deploy
        if deploy.state != DeployState.RUNNING or item.state not in (ItemState.WAITING, ItemState.RUNNING):
            return None
        first = item.step.started_at is None
        if deploy.stop_asked and first:
            return None
        if item.state == ItemState.WAITING:
            item.state, item.started_at = ItemState.RUNNING, timezone.now()
            if prepare:
                prepare(item)
            item.save(update_fields=["state", "started_at", "payload"])
        if first:
            DeployStep.objects.filter(pk=item.step_id).update(started_at=item.started_at)
            wake(item)
    return item


def settle(
    item: DeployItem,
    change: Callable[[], None] | None = None,
    *,
    server: int | None = None,
    drive: int | None = None,
    topics: Iterable[str] = (),
) -> None:
    """Ends an item as done: locks what it changes, changes it, and writes down what is real of its product."""
    with writing():
        lock_hardware([server], [drive])
        product = product_of(item.step.of) if change else None
        step = DeployStep.objects.select_for_update(of=("self",)).get(pk=item.step_id)
        fresh = DeployItem.objects.select_for_update(of=("self",)).get(pk=item.pk)
        if fresh.state != ItemState.RUNNING:
            return
        if change:
            change()
        if product and item.step.kind not in (Kind.SETTLE, Kind.REMOVE):
            note_real(product, item)
        item.state, item.ended_at, item.detail = ItemState.DONE, timezone.now(), ""
        item.save(update_fields=["state", "ended_at", "payload", "detail"])
        if not step.items.exclude(state=ItemState.DONE).exists():
            step.ended_at = item.ended_at
            step.save(update_fields=["ended_at"])
        wake(item, [item.step.of, *topics] if change else topics)


_MODELS: dict[str, type[InstanceArray | DriveArray | Network]] = {
    "instance-array": InstanceArray,
    "drive-array": DriveArray,
    "network": Network,
}


def product_of(topic: str) -> AnyProduct | None:
    """Reads the row of a product anew, locked; null once it is removed."""
    rows: models.QuerySet[Any] = _MODELS[kind_of(topic)].objects.select_for_update(of=("self",), no_key=True)
    product: AnyProduct | None = rows.filter(pk=array_pk(topic)).first()
    return product


def note_real(product: AnyProduct, item: DeployItem) -> None:
    """Writes into `deployed` what is there of a product in the middle of a deploy."""
    if isinstance(product, Network):
        return
    if isinstance(product, InstanceArray):
        numbers = list(product.instances.filter(server__isnull=False).values_list("number", flat=True))
    else:
        # One that is held and has no volume is being made just now.
        there = product.drives.exclude(~models.Q(hold=""), head_layer=None)
        numbers = list(there.values_list("number", flat=True))
    goal = item.step.deploy.goal
    topic = product.topic
    product.deployed = dict(
        real_so_far(product.deployed, goal.get(topic), topic, [(topic, number) for number in numbers])
    )
    product.unsettled = True
    product.save(update_fields=["deployed", "unsettled"])


def settle_failed(pk: int, failure: Failed, give_up: Callable[[DeployItem], None] | None = None) -> timedelta | None:
    """Has an item tried again after a pause, or ends it as failed; `give_up` then leaves its rows in order."""
    with writing():
        item = DeployItem.objects.select_for_update(of=("self",)).select_related("step__deploy").get(pk=pk)
        if item.state not in (ItemState.WAITING, ItemState.RUNNING):
            return None
        tries = item.payload["tries"] = item.payload.get("tries", 0) + 1
        if not failure.permanent and tries < TRIES:
            again = f"Attempt {tries} of {TRIES}: {failure} It is tried again in {PAUSES[tries - 1].seconds} s."
            item.detail = f"{again}\n{failure.detail}".strip()
            item.save(update_fields=["payload", "detail"])
            wake(item)
            return PAUSES[tries - 1]
        if give_up:
            give_up(item)
        why = str(failure)
        joint = ". " if why[:1].isupper() else ": "
        item.error = f"{item.label} could not {_VERBS[Kind(item.step.kind)]}{joint}{why}"[:500]
        item.detail = failure.detail
        item.state, item.ended_at = ItemState.FAILED, timezone.now()
        item.started_at = item.started_at or item.ended_at
        item.save(update_fields=["payload", "state", "started_at", "ended_at", "error", "detail"])
        wake(item)
    return None


def settle_stopped(item: DeployItem, why: str = "", *, topics: Iterable[str] = (), told: Told | None = None) -> None:
    """Ends an item that only waits, since the deploy was asked to stop. Inside `writing`; a retry begins it anew."""
    fresh = DeployItem.objects.select_for_update(of=("self",)).get(pk=item.pk)
    if fresh.state != ItemState.RUNNING:
        return
    item.state, item.ended_at, item.error, item.detail = ItemState.STOPPED, timezone.now(), why[:500], ""
    item.save(update_fields=["state", "ended_at", "error", "detail", "payload"])
    wake(item, topics, told=told)


def wait(item: DeployItem, says: str) -> None:
    """Writes down what an item waits for."""
    if item.detail != says:
        item.detail = says
        with writing():
            item.save(update_fields=["detail", "payload"])
            wake(item)


def wake(item: DeployItem, topics: Iterable[str] = (), *, told: Told | None = None) -> None:
    """Has everybody who looks at the deploy, and at what it just changed, look again."""
    deploy = item.step.deploy
    topics = dict.fromkeys([deploy.topic, *topics])
    Event.objects.record(deploy.infrastructure_id, result=Result.SILENT, topics=topics, told=told)


def number_of(item: DeployItem) -> int:
    assert item.number is not None  # or its step would be about a whole product
    return item.number


def array_pk(topic: str) -> int:
    return int(topic.rpartition("-")[2])
