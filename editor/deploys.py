"""The verbs of deploying: start what was reviewed, stop it, go on with it. The worker does the rest (editor.deployer).

Rows are locked in everybody's order: the infrastructure, its owners, then servers by id, then drives by id. While a
deploy runs, `hold` on each server and drive that it names says so, and nobody else touches these.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from editor.actions import demand, own_key, role_of
from editor.design import design_of, products, real_of
from editor.losses import lost_with
from editor.models import (
    Deploy,
    DeployItem,
    DeployState,
    DeployStep,
    Drive,
    Event,
    Infrastructure,
    Instance,
    ItemState,
    Result,
    Server,
    User,
)
from editor.plan import DESTROYING, Kind, wanted
from editor.quota import lock_owners
from editor.review import Review, ToldStep, review, why_not_command, why_not_take_down
from editor.rules import Refused, why_not_deploy, why_not_use_drive

SOFT_SECONDS_MIN, SOFT_SECONDS_MAX = 30, 86400

_HOLDS = {
    Kind.DESTROY: "destroys it",
    Kind.GROW: "grows it",
    Kind.DETACH: "detaches it",
    Kind.ATTACH: "attaches it",
}


class Changed(Refused):
    """What was reviewed is not what a deploy would do now; `review` is what it would. Nothing was begun."""

    def __init__(self, sentence: str, now: Review) -> None:
        super().__init__(sentence)
        self.review = now


def start(
    infrastructure: Infrastructure,
    *,
    by: User,
    fingerprint: str,
    destroy: bool,
    soft_seconds: int,
    then_hard: bool,
    key: UUID | None = None,
) -> Deploy:
    """Begins to make the design real, as it was reviewed. `destroy`: whether the person agreed to all that is lost.

    Servers that must be off get `soft_seconds` for a soft shutdown (0: hard at once); after that the power is cut,
    or the deploy waits for them (`then_hard`). The same key again answers the deploy that it began.
    """
    key = own_key(key, f"deploy {infrastructure.pk}", by)
    with transaction.atomic():
        fresh = Infrastructure.objects.select_for_update(of=("self",), no_key=True).get(pk=infrastructure.pk)
        demand(why_not_deploy(role_of(by, fresh.pk)))
        if key and (begun := _begun_with(key)):
            return begun
        lock_owners(fresh.pk)
        now = _reviewed_and_locked(fresh)
        if now.fingerprint != fingerprint:
            raise Changed("What this deploy would do has changed while you were reading. Look at it again.", now)
        demand(" ".join(now.reasons) or None)
        if now.destroys and not destroy:
            raise Refused(f"This deploy destroys {now.destroys.title}. Tick that you agree to go on.")
        newest = Deploy.objects.filter(infrastructure=fresh).order_by("-number").first()
        deploy = Deploy.objects.create(
            infrastructure=fresh,
            number=newest.number + 1 if newest else 1,
            by=by,
            started_at=timezone.now(),
            review=now.as_json(),
            goal=dict(now.goal.products),
            soft_seconds=max(SOFT_SECONDS_MIN, min(soft_seconds, SOFT_SECONDS_MAX)) if soft_seconds > 0 else 0,
            then_hard=then_hard,
        )
        _write_steps(deploy, now)
        hold(deploy)
        record(
            deploy,
            "began to deploy",
            by=by,
            text=_summary(now),
            result=Result.STARTED,
            key=key,
            topics=[topic for change in now.changes for topic in (change.topic, *change.along)],
        )
    return deploy


def stop(deploy: Deploy, *, by: User) -> None:
    """Asks a running deploy to end: steps that have begun are finished, nothing more begins.

    Soft shutdowns are not waited for. Nothing happens when that was asked before, also if it has ended by now.
    """
    with transaction.atomic():
        demand(why_not_deploy(role_of(by, deploy.infrastructure_id)))
        fresh = _locked(deploy)
        if fresh.stop_asked:
            return
        demand(why_not_stop(fresh))
        fresh.stop_asked = True
        fresh.save(update_fields=["stop_asked"])
        record(fresh, "asked to stop the deploy of", by=by, result=Result.SILENT)


def retry(deploy: Deploy, *, by: User, ended_at: datetime | None = None) -> None:
    """Goes on with a deploy that was stopped, or failed: the same plan, at the steps that are not done.

    `ended_at`: the end that the person saw. Nothing happens when somebody has gone on from there already: to a
    double click, or to the second of two people. What a start asks of all is asked again of what is left.
    """
    with transaction.atomic():
        infrastructure = Infrastructure.objects.select_for_update(of=("self",), no_key=True).get(
            pk=deploy.infrastructure_id
        )
        demand(why_not_deploy(role_of(by, infrastructure.pk)))
        lock_owners(infrastructure.pk)
        fresh = _locked(deploy)
        if ended_at and fresh.ended_at != ended_at:
            return
        demand(why_not_retry(fresh))
        items = _not_done(fresh)
        _take_down_again(items)
        now = _reviewed_and_locked(
            infrastructure,
            servers=[item.payload.get("server") for item in items],
            drives=[item.payload.get("drive") for item in items],
        )
        demand(_why_not_go_on(items))
        # Without a step left, only servers are to be powered on.
        demand(" ".join(now.reasons if now.steps else ()) or None)
        for item in items:
            item.state, item.error, item.detail, item.started_at, item.ended_at = ItemState.WAITING, "", "", None, None
            for said in ("tries", "asked"):  # of the last attempt
                item.payload.pop(said, None)
        DeployItem.objects.bulk_update(
            items, ["state", "error", "detail", "payload", "started_at", "ended_at"], batch_size=200
        )
        # None of them has begun this time: a stop holds them back again.
        fresh.steps.filter(pk__in={item.step_id for item in items}).update(started_at=None, ended_at=None)
        fresh.state, fresh.stop_asked, fresh.ended_at = DeployState.RUNNING, False, None
        fresh.save(update_fields=["state", "stop_asked", "ended_at"])
        hold(fresh)
        record(fresh, "goes on with the deploy of", by=by, result=Result.STARTED)


def why_not_stop(deploy: Deploy) -> str | None:
    """Whether there is something to stop."""
    return None if deploy.state == DeployState.RUNNING else f"{deploy} has ended already."


def why_not_retry(deploy: Deploy) -> str | None:
    """Whether the same plan can go on; a design that was changed since must be reviewed anew."""
    if deploy.state != DeployState.STOPPED:
        return f"{deploy} is {deploy.get_state_display().lower()}. Only a stopped deploy can be retried."
    if Deploy.objects.filter(infrastructure=deploy.infrastructure_id, number__gt=deploy.number).exists():
        return f"{deploy} is not the last one. Review what is left and deploy that."
    rows = products(deploy.infrastructure_id)
    if dict(wanted(design_of(rows), real_of(deploy.infrastructure_id, rows)).products) != deploy.goal:
        return f"The design was changed since {str(deploy).lower()}. Review the remaining changes and deploy those."
    return None


# ── Holds ────────────────────────────────────────────────────────────────────


def _mark(deploy: Deploy) -> str:
    """What the holds of a deploy begin with; no other words do."""
    return f"Deploy {deploy.number} "


def hold(deploy: Deploy) -> None:
    """Lets nobody else touch what the deploy still has to do with. Inside a transaction that has locked these rows."""
    drives: dict[str, set[int]] = {}
    servers: set[int] = set()
    for item in _not_done(deploy):
        if "server" in item.payload:
            servers.add(item.payload["server"])
        if "drive" in item.payload and item.step.kind in _HOLDS:
            drives.setdefault(_HOLDS[Kind(item.step.kind)], set()).add(item.payload["drive"])
    for doing, pks in drives.items():
        Drive.objects.filter(pk__in=pks).update(hold=f"{_mark(deploy)}{doing}.")
    Server.objects.filter(pk__in=servers).update(hold=f"{_mark(deploy)}needs it off.")


def release(deploy: Deploy) -> None:
    """Gives up all holds of a deploy. Inside a transaction that locks no more rows afterwards but Events'."""
    mark = _mark(deploy)
    servers = Server.objects.filter(
        instance__instance_array__infrastructure=deploy.infrastructure_id, hold__startswith=mark
    )
    drives = Drive.objects.filter(drive_array__infrastructure=deploy.infrastructure_id, hold__startswith=mark)
    lock_hardware(servers.values_list("pk", flat=True), drives.values_list("pk", flat=True))
    Server.objects.filter(pk__in=list(servers.values_list("pk", flat=True))).update(hold="")
    Drive.objects.filter(pk__in=list(drives.values_list("pk", flat=True))).update(hold="")


def drive_hold(deploy: Deploy, doing: str) -> str:
    """Answers the hold of a drive that a deploy is at, e.g. "Deploy 3 creates it."."""
    return f"{_mark(deploy)}{doing}."


def is_held_by(hold: str, deploy: Deploy) -> bool:
    """Whether a hold is this deploy's own."""
    return hold.startswith(_mark(deploy))


def is_deployed_now(drive: Drive) -> bool:
    """Whether a drive is held by a deploy that is at work on it; select_related("drive_array")."""
    deploy = Deploy.objects.filter(
        infrastructure=drive.drive_array.infrastructure_id, state=DeployState.RUNNING
    ).first()
    return deploy is not None and is_held_by(drive.hold, deploy)


def lock_hardware(servers: Iterable[int | None], drives: Iterable[int | None]) -> None:
    """Locks servers, then drives, each by id; null is none."""
    list(Server.objects.select_for_update(of=("self",)).filter(pk__in=_known(servers)).order_by("pk"))
    list(Drive.objects.select_for_update(of=("self",)).filter(pk__in=_known(drives)).order_by("pk"))


def _known(pks: Iterable[int | None]) -> list[int]:
    return sorted({pk for pk in pks if pk is not None})


# ── Beginning ────────────────────────────────────────────────────────────────


def _reviewed_and_locked(
    infrastructure: Infrastructure, *, servers: Iterable[int | None] = (), drives: Iterable[int | None] = ()
) -> Review:
    """Reviews twice: once to know what to lock (with these), and again when nobody can change that any more."""
    first = review(infrastructure)
    lock_hardware(
        [*servers, *(one.server_id for one in first.instances.values())],
        [*drives, *(drive.pk for drive in first.drives.values())],
    )
    return review(infrastructure)


def _begun_with(key: UUID) -> Deploy | None:
    event = Event.objects.filter(request_key=key).first()
    topics = event.topic_list if event else []
    pks = [int(topic.removeprefix("deploy-")) for topic in topics if topic.startswith("deploy-")]
    return Deploy.objects.filter(pk__in=pks).first()


def _write_steps(deploy: Deploy, now: Review) -> None:
    DeployStep.objects.bulk_create(
        DeployStep(
            deploy=deploy,
            position=position,
            kind=told.step.kind,
            of=told.step.of,
            title=told.title[:300],
            after=list(told.after),
        )
        for position, told in enumerate(now.steps, 1)
    )
    rows = {step.position: step for step in deploy.steps.all()}
    DeployItem.objects.bulk_create(
        (
            DeployItem(
                step=rows[position],
                number=number,
                label=_label(now, told.step.of, number),
                payload={} if number is None else _payload(told, number, now),
            )
            for position, told in enumerate(now.steps, 1)
            for number in (told.step.numbers or (None,))
        ),
        batch_size=200,
    )


def _label(now: Review, topic: str, number: int | None) -> str:
    label = now.rows[topic].label
    return label if number is None else f"{label}-{number}"


def _payload(told: ToldStep, number: int, now: Review) -> dict[str, Any]:
    """What the worker must know of an item, and what was confirmed for it."""
    step, place = told.step, (told.step.of, number)
    if step.kind in (Kind.SHUT_DOWN, Kind.RELEASE, Kind.POWER_ON):
        instance = now.instances[place]
        return {"instance": instance.pk, "server": instance.server_id}
    if step.kind == Kind.ALLOCATE:
        return {}
    payload: dict[str, Any] = {}
    drive = now.drives.get(place)
    if drive:
        payload["drive"] = drive.pk
    if step.kind in (Kind.CREATE, Kind.GROW):
        payload["size_mb"] = now.goal.drives[place].size_mb
    if step.kind == Kind.ATTACH:
        payload["partner"] = now.goal.drives[place].instance
    if step.kind == Kind.DESTROY:
        assert drive is not None
        (lost,) = [one for one in now.destroys.drives if one.pk == drive.pk]
        payload["snapshots"] = sorted(one.pk for one in lost.snapshots)
    return payload


def _summary(now: Review) -> str:
    said = f"{len(now.changes)} {'change' if len(now.changes) == 1 else 'changes'}."
    return f"{said} Destroys {now.destroys.title}." if now.destroys else said


# ── Going on ─────────────────────────────────────────────────────────────────


def _not_done(deploy: Deploy) -> list[DeployItem]:
    return list(
        DeployItem.objects.filter(step__deploy=deploy)
        .exclude(state=ItemState.DONE)
        .select_related("step")
        .order_by("step__position", "pk")
    )


def _take_down_again(items: list[DeployItem]) -> None:
    """Adds the shutdowns that were done before, of servers that must be off for what is not done."""
    waiting = [item for item in items if item.step.kind in {*DESTROYING, Kind.GROW, Kind.DETACH}]
    drives = [item.payload["drive"] for item in waiting if "drive" in item.payload]
    servers = {item.payload["server"] for item in waiting if "server" in item.payload}
    servers |= set(Server.objects.filter(instance__drives__in=drives).values_list("pk", flat=True))
    if not servers or not items:
        return
    done = DeployItem.objects.filter(
        step__deploy=items[0].step.deploy_id, step__kind=Kind.SHUT_DOWN, state=ItemState.DONE
    ).select_related("step")
    items += [item for item in done if item.payload["server"] in servers]


def _why_not_go_on(items: Iterable[DeployItem]) -> str | None:
    """Whether somebody did something since, with what is left to do, that must be reviewed or waited for."""
    items = list(items)
    drives = {
        drive.pk: drive
        for drive in Drive.objects.filter(pk__in=_known(item.payload.get("drive") for item in items)).select_related(
            "drive_array"
        )
    }
    for drive in drives.values():
        if reason := why_not_use_drive(drive):
            return reason
    off = {item.payload["instance"] for item in items if item.step.kind in (Kind.SHUT_DOWN, Kind.RELEASE)}
    on = {item.payload["instance"] for item in items if item.step.kind == Kind.POWER_ON}
    for instance in Instance.objects.filter(pk__in=off | on).select_related("server", "instance_array").order_by("pk"):
        if reason := why_not_take_down(instance) if instance.pk in off else why_not_command(instance):
            return reason
    lost = lost_with(list(drives))
    for item in items:
        pk = item.payload.get("drive")
        if (
            item.step.kind == Kind.DESTROY
            and pk in drives
            and {one.pk for one in lost[pk]} - set(item.payload["snapshots"])
        ):
            return f"{item.label} has snapshots that were not reviewed. Review the remaining changes."
    return None


def _locked(deploy: Deploy) -> Deploy:
    return Deploy.objects.select_for_update(of=("self",)).select_related("infrastructure").get(pk=deploy.pk)


def record(
    deploy: Deploy,
    verb: str,
    *,
    by: User | None,
    text: str = "",
    detail: str = "",
    result: Result = Result.DONE,
    key: UUID | None = None,
    topics: Iterable[str] = (),
) -> Event:
    """Writes down what a deploy does as a whole."""
    pk = deploy.infrastructure_id
    return Event.objects.record(
        pk,
        verb,
        deploy.infrastructure.label,
        by=by,
        text=text,
        detail=detail,
        url=deploy.get_absolute_url(),
        result=result,
        topics=dict.fromkeys([deploy.topic, f"infrastructure-{pk}", f"design-{pk}", f"nodes-{pk}", *topics]),
        request_key=key,
    )
