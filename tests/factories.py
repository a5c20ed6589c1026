"""Small worlds for tests: people with roles, and arrays of servers and drives on simulated engines."""

from __future__ import annotations

from itertools import count

from editor.models import (
    Drive,
    DriveArray,
    Infrastructure,
    Instance,
    InstanceArray,
    Interface,
    Membership,
    Network,
    Role,
    Server,
    ServerType,
    StoragePool,
    User,
)

PASSWORD = "correct horse"
_serials = count(1)


def make_user(name: str, **fields: object) -> User:
    """"Ana Marin" signs in as ana.marin@example.org."""
    return User.objects.create_user(f"{name.lower().replace(' ', '.')}@example.org", PASSWORD, name=name, **fields)


def make_infrastructure(owner: User | None = None, label: str = "atlas", **members: User) -> Infrastructure:
    """With WAN, LAN and SAN. Members by role: make_infrastructure(ana, operator=tom, viewer=vera)."""
    infrastructure = Infrastructure.objects.create(label=label)
    for kind in ("wan", "lan", "san"):
        Network.objects.create(infrastructure=infrastructure, label=kind, kind=kind, deployed={})
    if owner:
        add_member(infrastructure, owner, Role.OWNER)
    for role, user in members.items():
        add_member(infrastructure, user, Role(role))
    return infrastructure


def add_member(infrastructure: Infrastructure, user: User, role: Role) -> Membership:
    return Membership.objects.create(infrastructure=infrastructure, user=user, role=role)


def make_server(power: str = "on", *, options: str = "") -> Server:
    """A simulated server whose stored reading and machine agree; options as in its address ("soft=ignored")."""
    number = next(_serials)
    server_type, _ = ServerType.objects.get_or_create(label="M.16.64", defaults={"cores": 16, "ram_gb": 64})
    start = "&".join(filter(None, [f"start={power}" if power in ("on", "off") else "", options]))
    return Server.objects.create(
        server_type=server_type, serial=f"S{number:05}", address=f"simulated://s{number}?{start}", power=power
    )


def make_instance_array(
    infrastructure: Infrastructure, label: str = "web", count: int = 2, *, power: str = "on", options: str = ""
) -> InstanceArray:
    """Deployed; every instance on a server of its own, on SAN and LAN."""
    server_type, _ = ServerType.objects.get_or_create(label="M.16.64", defaults={"cores": 16, "ram_gb": 64})
    array = InstanceArray.objects.create(
        infrastructure=infrastructure, label=label, count=count, server_type=server_type, deployed={"label": label}
    )
    for index, kind in enumerate(("san", "lan")):
        network = infrastructure.networks.get(kind=kind)
        Interface.objects.create(instance_array=array, index=index, network=network)
    for number in range(1, count + 1):
        Instance.objects.create(
            instance_array=array, number=number, server=make_server(power, options=options), address=f"10.0.0.{number}"
        )
    return array


def make_drive_array(
    infrastructure: Infrastructure,
    instance_array: InstanceArray | None = None,
    label: str = "web-data",
    count: int | None = None,
    *,
    engine: str = "simulated",
    size_mb: int = 40960,
) -> DriveArray:
    """Deployed, attached one to one; the volumes are still to be made by the worker."""
    instances = list(instance_array.instances.all()) if instance_array else []
    count = len(instances) if count is None else count
    pool, _ = StoragePool.objects.get_or_create(label=engine, defaults={"engine": engine})
    array = DriveArray.objects.create(
        infrastructure=infrastructure,
        instance_array=instance_array,
        label=label,
        count=count,
        size_mb=size_mb,
        deployed={"label": label},
    )
    for number in range(1, count + 1):
        Drive.objects.create(
            drive_array=array,
            number=number,
            instance=instances[number - 1] if number <= len(instances) else None,
            pool=pool,
            size_mb=size_mb,
        )
    return array
