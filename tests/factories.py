"""Small worlds for tests. People have names and roles; everything else has a sensible default."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import TypeVar

from django.utils import timezone

from editor.models import (
    Drive,
    DriveArray,
    Infrastructure,
    Instance,
    InstanceArray,
    Interface,
    Membership,
    Network,
    Power,
    Role,
    Server,
    ServerType,
    StoragePool,
    User,
)
from snapshots.models import Snapshot, State

_serials = count(1)
A = TypeVar("A", InstanceArray, DriveArray)


def make_user(name: str = "Ana Marin") -> User:
    """Answers a user whose address is made of the name: ana.marin@example.org."""
    email = f"{name.lower().replace(' ', '.')}@example.org"
    return User.objects.create_user(email, "correct horse battery", name=name)


def make_infrastructure(
    owner: User | None = None,
    label: str = "atlas-prod",
    *,
    operator: User | None = None,
    viewer: User | None = None,
) -> Infrastructure:
    """Answers an infrastructure with its members and a WAN, a LAN and a SAN."""
    infrastructure = Infrastructure.objects.create(label=label)
    Network.objects.bulk_create(
        Network(infrastructure=infrastructure, label=kind, kind=kind, deployed={"label": kind})
        for kind in ("wan", "lan", "san")
    )
    Membership.objects.bulk_create(
        Membership(infrastructure=infrastructure, user=user, role=role)
        for user, role in ((owner, Role.OWNER), (operator, Role.OPERATOR), (viewer, Role.VIEWER))
        if user
    )
    return infrastructure


def make_instance_array(
    infrastructure: Infrastructure, label: str = "web", *, count: int = 2, power: Power = Power.OFF, options: str = ""
) -> InstanceArray:
    """Answers an InstanceArray with an instance on a server of its own for each number from 1; on SAN and LAN.

    What is stored of the servers' power, and the simulated machines themselves, agree. `options` are the
    machines' moods ("soft=ignored").
    """
    server_type, _ = ServerType.objects.get_or_create(label="M.16.64", defaults={"cores": 16, "ram_gb": 64})
    array = InstanceArray.objects.create(
        infrastructure=infrastructure, label=label, server_type=server_type, count=count
    )
    networks = {network.kind: network for network in infrastructure.networks.all()}
    Interface.objects.bulk_create(
        Interface(instance_array=array, index=index, network=networks.get(kind))
        for index, kind in enumerate(("san", "lan"))
    )
    start = "off" if power == Power.OFF else "on"
    serials = [f"S-{next(_serials)}" for _ in range(count)]
    servers = Server.objects.bulk_create(
        Server(
            server_type=server_type,
            serial=serial,
            address=f"simulated://{serial}?start={start}" + (f"&{options}" if options else ""),
            power=power,
            power_seen_at=timezone.now(),
        )
        for serial in serials
    )
    Instance.objects.bulk_create(
        Instance(instance_array=array, number=number, server=server) for number, server in enumerate(servers, 1)
    )
    return deployed(array)


def make_admin(name: str = "Ada Min") -> User:
    """Answers somebody who may do everything in the administration."""
    email = f"{name.lower().replace(' ', '.')}@example.org"
    return User.objects.create_superuser(email, "correct horse battery", name=name)


def make_free_server(serial: str = "", *, kind: str = "M.16.64", options: str = "start=off") -> Server:
    """Answers a simulated server that no instance runs on; `options` are its moods."""
    server_type, _ = ServerType.objects.get_or_create(label=kind, defaults={"cores": 16, "ram_gb": 64})
    serial = serial or f"S-{next(_serials)}"
    return Server.objects.create(
        server_type=server_type, serial=serial, address=f"simulated://{serial.lower()}?{options}"
    )


def make_drive_array(
    infrastructure: Infrastructure,
    label: str = "web-data",
    *,
    instance_array: InstanceArray | None = None,
    count: int = 2,
    size_mb: int = 40960,
    engine: str = "simulated",
    made: bool = True,
) -> DriveArray:
    """Answers a DriveArray, each drive with the instance of the same number, if any.

    The rows say that their volumes exist; `made=False` leaves making them to a worker.
    """
    pool, _ = StoragePool.objects.get_or_create(label=f"pool-{engine}", defaults={"engine": engine})
    array = DriveArray.objects.create(
        infrastructure=infrastructure,
        label=label,
        instance_array=instance_array,
        count=count,
        size_mb=size_mb,
    )
    instances = {one.number: one for one in instance_array.instances.all()} if instance_array else {}
    Drive.objects.bulk_create(
        Drive(
            drive_array=array,
            number=number,
            instance=instances.get(number),
            pool=pool,
            size_mb=size_mb,
            head_layer=1 if made else None,
            next_layer=2 if made else 1,
        )
        for number in range(1, count + 1)
    )
    return deployed(array)


def deployed(array: A) -> A:
    """Answers the array, of which all that is drawn is real."""
    array.deployed = array.drawn()
    array.save(update_fields=["deployed"])
    return array


def make_snapshots(drive: Drive, numbers: int, *, by: User | None = None) -> list[Snapshot]:
    """Takes so many ready snapshots of a drive, an hour apart, oldest first, and moves its head on."""
    made = []
    for _ in range(numbers):
        number = drive.next_snapshot_number
        made.append(
            Snapshot.objects.create(
                drive=drive,
                number=number,
                note=f"note {number}",
                state=State.READY,
                layer=drive.head_layer or 1,
                new_layer=drive.next_layer,
                requested_at=timezone.now(),
                taken_at=timezone.now() - timedelta(hours=50 - number),
                created_by=by,
                requested_by=by,
                written_since_bytes=(50 - number) * 1024 * 1024,
            )
        )
        drive.head_layer = drive.next_layer
        drive.next_layer += 1
        drive.next_snapshot_number += 1
    drive.snapshot_count = drive.snapshots.count()
    drive.save()
    return made
