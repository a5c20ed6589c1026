"""Fills an installation for the benchmark; run as a process of its own, it answers on standard output, as JSON.

- `python -m tests.bench.seed drives`: drives of several sizes, each with two snapshots
- `python -m tests.bench.seed canvas 1000`: an infrastructure with so many arrays
- `python -m tests.bench.seed bmcs 500 PORT FINGERPRINT`: servers behind the emulated BMCs, ten in an InstanceArray
- `python -m tests.bench.seed deploy`: an empty infrastructure, and a pool for what is deployed there
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from typing import Any

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "editor.settings"
django.setup()

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402 - only now
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.utils import timezone  # noqa: E402

from editor import actions as editor_actions  # noqa: E402
from editor import sealed  # noqa: E402
from editor.design import mark_deployed  # noqa: E402
from editor.models import (  # noqa: E402
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
    StorageType,
    Trust,
    User,
)
from editor.reconcile import Worker  # noqa: E402
from editor.volumes import driver_of  # noqa: E402
from snapshots import actions  # noqa: E402
from tests.bench import emulated  # noqa: E402

GB_IN_MB = 1024
MIB = 1024 * 1024
DRIVES = (
    ("1 GiB", GB_IN_MB, 0),
    ("100 GiB", 100 * GB_IN_MB, 0),
    ("1 TiB", 1024 * GB_IN_MB, 0),
    ("1 TiB, fragmented", 1024 * GB_IN_MB, 1200),
)
"""Name, MB, and how many scattered writes each of its three layers gets."""
SNAPSHOTS = 2
SERVERS_PER_ARRAY = 2
SERVERS_READ_PER_ARRAY = 10


def main(what: str, *arguments: str) -> dict[str, Any]:
    owner = make_owner()
    if what == "drives":
        made = drives(owner)
    elif what == "bmcs":
        made = bmcs(owner, int(arguments[0]), port=arguments[1], fingerprint=arguments[2])
    elif what == "deploy":
        made = deploy(owner)
    else:
        made = canvas(owner, int(arguments[0]))
    return made | {"session": _session(owner)}


def make_owner() -> User:
    """Answers whom all of it belongs to; the database is made, if there is none."""
    call_command("migrate", verbosity=0)
    # Setting a password, even none, would end the sessions that an earlier call answered.
    owner = User.objects.filter(email="bench@example.org").first()
    return owner or User.objects.create_user("bench@example.org", None, name="Bench")


def drives(owner: User) -> dict[str, Any]:
    """One server, off, with a drive of each size: each in an array of its own, served, with two snapshots."""
    infrastructure, networks = make_infrastructure(owner, "bench-drives")
    array = make_instance_array(networks, "bench", count=1)
    pool = StoragePool.objects.create(label="Bench")
    made: list[tuple[str, int, Drive]] = []
    for name, size_mb, writes in DRIVES:
        drive_array = make_drive_array(array, f"drive-{len(made) + 1}", size_mb=size_mb)
        instance = array.instances.get()
        drive = Drive.objects.create(drive_array=drive_array, number=1, instance=instance, pool=pool, size_mb=size_mb)
        made.append((name, writes, drive))
    mark_deployed(infrastructure)
    editor_actions.tidy_up(infrastructure, by=owner)
    worker = Worker(since=timezone.now())
    worker.run_until_quiet()
    chance = random.Random(2)
    for turn in range(SNAPSHOTS + 1):
        for _, writes, drive in made:
            _scatter(drive, writes, chance)
            if turn < SNAPSHOTS:
                actions.request_create(drive, by=owner, note=f"Before round {turn}")
        worker.run_until_quiet()
    return {
        "infrastructure": infrastructure.pk,
        "pool": str(pool.path),
        "drives": [
            {
                "name": name,
                "pk": drive.pk,
                "label": drive.label,
                "array": drive.drive_array.pk,
                "writes": writes * (SNAPSHOTS + 1),
                "layers": list(drive.snapshots.order_by("number").values_list("layer", flat=True)),
            }
            for name, writes, drive in made
        ],
    }


def _scatter(drive: Drive, writes: int, chance: random.Random) -> None:
    """Writes all over the drive, 4 to 64 KB each. One qemu-io for all of them: starting one for each takes minutes."""
    if not writes:
        return
    device = driver_of(drive.pool).devices()[drive.pk].name
    commands = []
    for _ in range(writes):
        kilobytes = chance.choice((4, 8, 16, 32, 64))
        offset = chance.randrange(drive.size_bytes // 65536) * 65536 + chance.choice((0, 4096))
        commands.append(f"write -q -P {chance.randrange(1, 255)} {offset % (drive.size_bytes - 65536)} {kilobytes}k\n")
    subprocess.run(
        ["qemu-io", "-f", "raw", "-t", "writeback", device],
        input="".join(commands),
        text=True,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def canvas(owner: User, arrays: int) -> dict[str, Any]:
    """Half InstanceArrays, half DriveArrays on them, in lanes. Rows only: no drive is made, none is worked on."""
    infrastructure, networks = make_infrastructure(owner, f"bench-{arrays}")
    pool, _ = StoragePool.objects.get_or_create(label="Drawn only", defaults={"engine": "simulated"})
    for number in range(1, arrays // 2 + 2):
        if number * 2 - 1 > arrays:
            break
        array = make_instance_array(networks, f"web-{number}", count=SERVERS_PER_ARRAY)
        for attached in range(1 if number * 2 <= arrays else 0):
            drive_array = make_drive_array(array, f"web-{number}-data-{attached + 1}", size_mb=40 * GB_IN_MB)
            Drive.objects.bulk_create(
                Drive(
                    drive_array=drive_array,
                    number=instance.number,
                    instance=instance,
                    pool=pool,
                    size_mb=drive_array.size_mb,
                    head_layer=1,
                    next_layer=2,
                    snapshot_count=instance.number % 6,
                    used_bytes=instance.number * 10**9,
                )
                for instance in array.instances.all()
            )
    mark_deployed(infrastructure)
    editor_actions.tidy_up(infrastructure, by=owner)
    return {
        "infrastructure": infrastructure.pk,
        "arrays": arrays,
        "instance_array": infrastructure.instance_arrays.order_by("pk")[0].pk,
        "servers": Server.objects.count(),
    }


def bmcs(owner: User, number: int, *, port: str, fingerprint: str) -> dict[str, Any]:
    """Nobody has read any of them yet."""
    infrastructure, networks = make_infrastructure(owner, "bench-bmcs")
    for first in range(0, number, SERVERS_READ_PER_ARRAY):
        make_instance_array(networks, f"web-{first}", count=min(SERVERS_READ_PER_ARRAY, number - first))
    password = sealed.first_key().seal("a password")
    servers = list(Server.objects.order_by("pk"))
    for index, server in enumerate(servers):
        server.driver, server.address = "redfish", f"https://{emulated.host(index)}:{port}"
        server.username, server.password_sealed = "bench", password
        server.trust, server.certificate = Trust.PINNED, fingerprint
        server.power, server.power_seen_at = Power.UNKNOWN, None
    Server.objects.bulk_update(
        servers,
        ["driver", "address", "username", "password_sealed", "trust", "certificate", "power", "power_seen_at"],
    )
    mark_deployed(infrastructure)
    editor_actions.tidy_up(infrastructure, by=owner)
    array = infrastructure.instance_arrays.order_by("pk")[0]
    return {
        "instance_array": array.pk,
        "instances": list(array.instances.order_by("number").values_list("pk", flat=True)),
    }


def deploy(owner: User) -> dict[str, Any]:
    infrastructure, _ = make_infrastructure(owner, "bench-deploy")
    StoragePool.objects.update(storage_type=StorageType.HDD)  # what was drawn only takes nothing new
    StoragePool.objects.create(label="Deployed")
    return {"infrastructure": infrastructure.pk}


def make_infrastructure(owner: User, label: str) -> tuple[Infrastructure, list[Network]]:
    infrastructure = Infrastructure.objects.create(label=label)
    Membership.objects.create(infrastructure=infrastructure, user=owner, role=Role.OWNER)
    return infrastructure, [
        Network.objects.create(infrastructure=infrastructure, label=kind, kind=kind, deployed={"label": kind})
        for kind in ("san", "wan", "lan")
    ]


def make_instance_array(networks: list[Network], label: str, *, count: int) -> InstanceArray:
    """Its servers are off, and the simulated machines agree."""
    server_type, _ = ServerType.objects.get_or_create(label="M.16.64", defaults={"cores": 16, "ram_gb": 64})
    array = InstanceArray.objects.create(
        infrastructure=networks[0].infrastructure,
        label=label,
        server_type=server_type,
        count=count,
    )
    Interface.objects.bulk_create(
        Interface(instance_array=array, index=index, network=network) for index, network in enumerate(networks)
    )
    for number in range(1, count + 1):
        name = f"{array.infrastructure.label}-{label}-{number}"
        server = Server.objects.create(
            server_type=server_type,
            serial=name,
            address=f"simulated://{name}?start=off",
            power=Power.OFF,
            power_seen_at=timezone.now(),
        )
        Instance.objects.create(instance_array=array, number=number, server=server)
    return array


def make_drive_array(array: InstanceArray, label: str, *, size_mb: int) -> DriveArray:
    return DriveArray.objects.create(
        infrastructure=array.infrastructure,
        instance_array=array,
        label=label,
        count=array.count,
        size_mb=size_mb,
    )


def _session(user: User) -> str:
    """Signs the user in; answers the session cookie's value."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
