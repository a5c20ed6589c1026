"""Fills an empty installation with three infrastructures to learn on: real drives, real snapshots, open changes."""

from __future__ import annotations

import json
import os
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from editor import edits
from editor.changes import changes_of
from editor.deploys import record
from editor.design import by_topic, design_of, mark_deployed, products
from editor.lock import worker_lock
from editor.models import (
    Deploy,
    DeployItem,
    DeployState,
    DeployStep,
    DesignStep,
    Drive,
    DriveArray,
    Event,
    Infrastructure,
    Instance,
    InstanceArray,
    Interface,
    ItemState,
    Membership,
    Network,
    Role,
    Server,
    ServerType,
    StoragePool,
    StorageType,
    User,
)
from editor.plan import State, plan, wanted
from editor.reconcile import Worker
from editor.rules import Refused
from editor.told import step_title
from editor.volumes import driver_of
from snapshots import actions
from snapshots.models import Snapshot
from snapshots.models import State as SnapshotState

KB = 1024


class Taken(NamedTuple):
    """A snapshot of the demo: who took it, how long ago, with which note, and how much was written before it."""

    by: str
    hours_ago: float
    note: str = ""
    written_kb: int = 256


Plan = dict[int, tuple[Taken, ...]]
"""The snapshots to take, by drive, oldest first."""

ANA, TOMAS, WEI, VERA = "ana", "tomas", "wei", "vera"
PEOPLE = {ANA: "Ana Marin", TOMAS: "Tomás Reyes", WEI: "Wei Chen", VERA: "Vera Lindt"}

WEB_2 = (
    Taken(ANA, 53, "Before kernel 6.8", 1024),
    Taken(TOMAS, 16, "Manual, after index rebuild", 2048),
    Taken(ANA, 2.4, "Before release 2.3.0", 768),
)
WEB_3 = (Taken(ANA, 285, "Golden image", 4096), Taken(WEI, 170, "After TLS rotation", 1536), *WEB_2)
ROUTINE = (
    Taken(WEI, 96, "Before schema 41", 1024),
    Taken(TOMAS, 72, "Nightly", 512),
    Taken(TOMAS, 48, "Nightly", 512),
    Taken(TOMAS, 24, "Nightly", 640),
)
DAYS = 14
"""So long ago the demo was drawn and deployed."""
STEP_TOOK = timedelta(seconds=9)
FREE_SERVERS = 3
"""Of each type."""
ANALYTICS = (1, 1, 2, 0, 1, 1, 2, 1, 0, 1, 4, 3)


class Command(BaseCommand):
    help = "Loads the demo into an installation that has no users yet, or goes on where that was killed."

    def handle(self, *args: Any, **options: Any) -> None:
        plan_file = settings.DATA_DIR / "demo_unfinished"
        if User.objects.exists() and not plan_file.exists():
            raise CommandError("There are users already; the demo is only for an empty installation.")
        lock = worker_lock()
        if lock is None:
            raise CommandError("A worker is running on this installation. Stop it, then load the demo.")
        try:
            if not User.objects.exists():
                with transaction.atomic():
                    plan = _draw()
                    # Before the commit: whoever finds the people finds what is still to be done as well.
                    plan_file.write_text(json.dumps(plan))
            _take_snapshots(_read_plan(plan_file))
            _draw_changes()
            plan_file.unlink()
        finally:
            lock.release()
        self.stdout.write(sign_in_note() or "")


def _draw() -> Plan:
    people = _people()
    plan = _atlas_prod(people) | _atlas_staging(people)
    _free_servers()
    sandbox = Infrastructure.objects.create(label="sandbox-tomas", description="Scratch space")
    _members(sandbox, people, {TOMAS: Role.OWNER, ANA: Role.OWNER, VERA: Role.VIEWER})
    return plan


def _read_plan(file: Path) -> Plan:
    plan = json.loads(file.read_text())
    return {int(drive): tuple(Taken(*taken) for taken in all_taken) for drive, all_taken in plan.items()}


def sign_in_note() -> str | None:
    """Answers how to sign in to the demo, as long as its password was not changed; None without a demo."""
    file = settings.DATA_DIR / "demo_password"
    ana = User.objects.filter(email=_email(ANA)).first()
    if ana is None or not file.exists():
        return None
    password = file.read_text().strip()
    return f"Demo sign-in: {ana.email}, password {password}" if ana.check_password(password) else None


def _email(key: str) -> str:
    return f"{key}@example.org"


def _people() -> dict[str, User]:
    """Makes the demo's people. All share one password, made up for this installation and kept beside its data."""
    password = os.environ.get("DEMO_PASSWORD") or f"atlas-{secrets.token_hex(4)}"
    file = settings.DATA_DIR / "demo_password"
    file.touch(mode=0o600)
    file.write_text(password + "\n")
    stored = make_password(password)  # a quarter of a second: once for all of them
    return {
        key: User.objects.create(
            email=_email(key), password=stored, name=name, is_staff=key == ANA, is_superuser=key == ANA
        )
        for key, name in PEOPLE.items()
    }


def _members(infrastructure: Infrastructure, people: dict[str, User], roles: dict[str, Role]) -> None:
    for key, role in roles.items():
        Membership.objects.create(infrastructure=infrastructure, user=people[key], role=role)


def _networks(infrastructure: Infrastructure) -> dict[str, Network]:
    places = {"wan": (0, 0, "198.51.100.0/28"), "lan": (0, 76, "10.20.0.0/22"), "san": (0, 364, "iSCSI · 25 GbE")}
    return {
        kind: Network.objects.create(
            infrastructure=infrastructure,
            label=kind,
            kind=kind,
            addresses=addresses,
            x=x,
            y=y,
            deployed={"label": kind},
        )
        for kind, (x, y, addresses) in places.items()
    }


def _pool(storage_type: str) -> StoragePool:
    label, capacity_gb = ("Flash", 1024) if storage_type == StorageType.SSD else ("Disks", 8192)
    pool, _ = StoragePool.objects.get_or_create(
        label=label, defaults={"storage_type": storage_type, "capacity_gb": capacity_gb}
    )
    return pool


def _instance_array(
    networks: dict[str, Network],
    label: str,
    count: int,
    kind: tuple[str, int, int],
    *,
    at: tuple[int, int],
    on: tuple[str, ...],
    subnet: int,
    quirks: dict[int, str] | None = None,
) -> InstanceArray:
    infrastructure = networks["san"].infrastructure
    server_type, _ = ServerType.objects.get_or_create(label=kind[0], defaults={"cores": kind[1], "ram_gb": kind[2]})
    array = InstanceArray.objects.create(
        infrastructure=infrastructure,
        label=label,
        count=count,
        server_type=server_type,
        x=at[0],
        y=at[1],
    )
    for index in range(4):
        network = networks[on[index]] if index < len(on) else None
        Interface.objects.create(instance_array=array, index=index, network=network)
    for number in range(1, count + 1):
        name = f"{infrastructure.label}-{label}-{number}"
        quirk = (quirks or {}).get(number, "")
        server = Server.objects.create(
            server_type=server_type, serial=name, address=f"simulated://{name}" + (f"?{quirk}" if quirk else "")
        )
        Instance.objects.create(
            instance_array=array, number=number, server=server, address=f"10.20.{subnet}.{10 + number}"
        )
    return array


def _drive_array(
    array: InstanceArray, label: str, size_gb: int, storage_type: str, *, at: tuple[int, int]
) -> list[Drive]:
    drive_array = DriveArray.objects.create(
        infrastructure=array.infrastructure,
        instance_array=array,
        label=label,
        count=array.count,
        size_mb=size_gb * KB,
        storage_type=storage_type,
        x=at[0],
        y=at[1],
    )
    return [
        Drive.objects.create(
            drive_array=drive_array,
            number=instance.number,
            instance=instance,
            pool=_pool(storage_type),
            size_mb=size_gb * KB,
        )
        for instance in array.instances.all()
    ]


def _atlas_prod(people: dict[str, User]) -> Plan:
    """The large one; answers the snapshots to take, by drive."""
    infrastructure = Infrastructure.objects.create(label="atlas-prod", description="Web, database and analytics")
    _members(
        infrastructure,
        people,
        {ANA: Role.OWNER, TOMAS: Role.OPERATOR, WEI: Role.OPERATOR, VERA: Role.VIEWER},
    )
    networks = _networks(infrastructure)
    web = _instance_array(
        networks, "web", 4, ("M.16.64", 16, 64), at=(200, 176), on=("san", "wan", "lan"), subnet=0,
        quirks={4: "soft=ignored"},
    )  # fmt: skip
    db = _instance_array(
        networks, "db", 2, ("M.32.256", 32, 256), at=(614, 176), on=("san", "lan"), subnet=1,
    )  # fmt: skip
    analytics = _instance_array(
        networks, "analytics", 12, ("L.64.512", 64, 512), at=(1028, 176), on=("san", "lan"), subnet=2,
        quirks={4: "bmc=silent", 9: "start=off"},
    )  # fmt: skip
    plan: Plan = {}
    web_data = _drive_array(web, "web-data", 40, StorageType.SSD, at=(200, 456))
    plan |= dict(zip((drive.pk for drive in web_data), (WEB_2[1:], WEB_2, WEB_3, ()), strict=True))
    db_data = _drive_array(db, "db-data", 160, StorageType.SSD, at=(480, 456))
    plan |= {drive.pk: ROUTINE for drive in db_data}
    analytics_data = _drive_array(analytics, "analytics-data", 500, StorageType.HDD, at=(1028, 456))
    plan |= {drive.pk: ROUTINE[4 - count :] for drive, count in zip(analytics_data, ANALYTICS, strict=True)}
    _deployed(infrastructure, by=people[ANA])
    return plan


def _atlas_staging(people: dict[str, User]) -> Plan:
    """The small one."""
    infrastructure = Infrastructure.objects.create(label="atlas-staging", description="Half-size copy of atlas-prod")
    _members(infrastructure, people, {ANA: Role.OWNER, WEI: Role.OWNER, TOMAS: Role.OPERATOR, VERA: Role.VIEWER})
    networks = _networks(infrastructure)
    web = _instance_array(
        networks, "web", 2, ("M.16.64", 16, 64), at=(200, 176), on=("san", "wan", "lan"), subnet=3,
    )  # fmt: skip
    drives = _drive_array(web, "web-data", 20, StorageType.SSD, at=(200, 456))
    _deployed(infrastructure, by=people[WEI])
    return {drives[0].pk: ROUTINE[3:], drives[1].pk: ()}


def _deployed(infrastructure: Infrastructure, *, by: User) -> None:
    """Says that all that is drawn was deployed once, with the plan that made it."""
    rows = products(infrastructure)
    before = State(products={row.topic: row.deployed for row in rows if row.deployed is not None})
    goal = wanted(design_of(rows), before)
    began = timezone.now() - timedelta(days=DAYS)
    deploy = Deploy.objects.create(
        infrastructure=infrastructure,
        number=1,
        by=by,
        state=DeployState.DONE,
        started_at=began,
        review={"changes": [change.as_json() | {"who": str(by)} for change in changes_of(rows)]},
        goal=dict(goal.products),
    )
    known, ended = by_topic(rows), began
    for position, step in enumerate(plan(goal, before), start=1):
        ended, since = ended + STEP_TOOK, ended
        told = DeployStep.objects.create(
            deploy=deploy,
            position=position,
            kind=step.kind,
            of=step.of,
            title=step_title(step, known, goal),
            started_at=since,
            ended_at=ended,
        )
        label = known[step.of].label
        # Without times: nobody measured these, so no estimate goes by them.
        DeployItem.objects.bulk_create(
            DeployItem(
                step=told,
                number=number,
                label=label if number is None else f"{label}-{number}",
                state=ItemState.DONE,
            )
            for number in step.numbers or (None,)
        )
    deploy.ended_at = ended
    deploy.save(update_fields=["ended_at"])
    record(deploy, "deployed", by=by)
    mark_deployed(infrastructure)


def _free_servers() -> None:
    """Servers that nobody has yet: a deploy can take them."""
    for server_type in ServerType.objects.all():
        for number in range(1, FREE_SERVERS + 1):
            name = f"free-{server_type.label}-{number}".lower().replace(".", "-")
            Server.objects.create(server_type=server_type, serial=name, address=f"simulated://{name}?start=off")


def _draw_changes() -> None:
    """Leaves three changes in atlas-prod that wait for a deploy, by the verbs that everybody uses."""
    if DesignStep.objects.exists():
        return
    people = {key: User.objects.get(email=_email(key)) for key in PEOPLE}
    infrastructure = Infrastructure.objects.get(label="atlas-prod")
    db, analytics = (infrastructure.instance_arrays.get(label=label) for label in ("db", "analytics"))
    db_data = infrastructure.drive_arrays.get(label="db-data")
    with transaction.atomic():
        edits.add_drive_array(
            infrastructure,
            by=people[ANA],
            instance_array=db,
            label="db-logs",
            size_mb=100 * KB,
            storage_type=StorageType.HDD,
        )
        edits.configure_drive_array(
            db_data,
            by=people[ANA],
            seen=None,
            label=db_data.label,
            size_mb=200 * KB,
            storage_type=db_data.storage_type,
            count=db_data.count,
            grows=True,
        )
        edits.configure_instance_array(
            analytics,
            by=people[WEI],
            seen=None,
            label=analytics.label,
            server_type=analytics.server_type,
            count=10,
            drives="delete",
        )
        for step, hours_ago in zip(DesignStep.objects.order_by("pk"), (2.25, 2.2, 0.6), strict=True):
            at = timezone.now() - timedelta(hours=hours_ago)
            DesignStep.objects.filter(pk=step.pk).update(at=at)
            topics = [change["topic"] for change in step.changes]
            Event.objects.about(f"design-{infrastructure.pk}").about(topics[0]).update(at=at)
            for row in edits.rows_of(topics).values():
                type(row).objects.filter(pk=row.pk).update(changed_at=at)


def _take_snapshots(plan: Plan) -> None:
    """Takes the snapshots for real, in the order of their times, and dates them back: a history to look at.

    What was done before the command was killed is not done again.
    """
    people = {key: User.objects.get(email=_email(key)) for key in PEOPLE}
    worker = Worker(since=timezone.now())
    # Nobody has written since: a snapshot that was interrupted is still what was wanted.
    Snapshot.objects.filter(state=SnapshotState.CREATING).update(requested_at=timezone.now())
    worker.run_until_quiet()
    Event.objects.update(at=timezone.now() - timedelta(days=DAYS))
    drives = Drive.objects.select_related("pool", "drive_array").in_bulk(list(plan))
    in_order = sorted(
        ((pk, number, taken) for pk, all_taken in plan.items() for number, taken in enumerate(all_taken, start=1)),
        key=lambda one: -one[2].hours_ago,
    )
    for pk, number, taken in in_order:
        if not Snapshot.objects.filter(drive=pk, number=number).exists():
            text = f"{drives[pk].label}: {taken.note}\n"
            _write(drives[pk], text, megabyte=4 * (number - 1), kilobytes=taken.written_kb)
            try:
                actions.request_create(drives[pk], by=people[taken.by], note=taken.note)
            except Refused as no:
                # The disk here is full. What is there stays, and is gone on with the next time.
                raise CommandError(str(no)) from no
            worker.run_until_quiet()
        _date_back(pk, number, taken)
    for pk, all_taken in plan.items():
        if all_taken:
            _write(drives[pk], "since the last snapshot\n", megabyte=256, kilobytes=384)
    Drive.objects.filter(pk__in=plan).update(observe_due=True)
    worker.run_until_quiet()


def _write(drive: Drive, text: str, *, megabyte: int, kilobytes: int) -> None:
    """Fills so much of the drive, from there on, with a line of text."""
    line = text.encode()
    data = (line * (kilobytes * KB // len(line) + 1))[: kilobytes * KB]
    driver_of(drive.pool).write(drive.pk, offset=megabyte * KB * KB, data=data)


def _date_back(drive: int, number: int, taken: Taken) -> None:
    at = timezone.now() - timedelta(hours=taken.hours_ago)
    Snapshot.objects.filter(drive=drive, number=number).update(taken_at=at)
    Event.objects.filter(topics__contains=f" drive-{drive} ", verb__contains=f"snapshot #{number} ").update(at=at)
