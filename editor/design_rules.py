"""What may be drawn, said once: `why_not_…` answers the reason as a sentence, or None when nothing stands against it.

Forms and the canvas ask to say why beforehand; editor.edits asks again, with the infrastructure locked.
"""

from __future__ import annotations

from collections.abc import Collection

from django.core.exceptions import ValidationError

from editor.models import (
    COUNT_MAX,
    INTERFACES,
    MB,
    SIZE_MB_MAX,
    SIZE_MB_MIN,
    Deploy,
    DeployState,
    Drive,
    DriveArray,
    Infrastructure,
    Instance,
    InstanceArray,
    Membership,
    Network,
    NetworkKind,
    Product,
    Role,
    User,
    valid_label,
)
from editor.rules import why_not_operate
from editor.words import counted, size

RESERVED = frozenset(
    {
        *("clusters", "drive-arrays", "drive-snapshots", "drives", "infrastructures", "instance-arrays", "instances"),
        *("ips", "licenses", "networks", "shared-drives", "snapshots", "subnets", "volume-templates"),
        *(f"if{index}" for index in range(101)),
    }
)
"""Words that addresses and commands use for something else; no label may be one of them."""

DESCRIPTION_MAX = 120

SAN_INDEX = 0
"""The interface that carries the drives."""


# ── The infrastructure ───────────────────────────────────────────────────────


def why_not_design(infrastructure: Infrastructure) -> str | None:
    """Whether a deploy is making the design real just now: it stands still until that ends."""
    if Deploy.objects.filter(infrastructure=infrastructure, state=DeployState.RUNNING).exists():
        return f"{infrastructure.label} is being deployed. Editing goes on when that ends."
    return None


def why_not_own(role: str | None) -> str | None:
    """Whether a member with this role may rename and delete an infrastructure."""
    if role == Role.OWNER:
        return None
    return why_not_operate(None) if role is None else "Only an owner may do that. Ask one of them."


def why_not_create_infrastructure(user: User) -> str | None:
    """Whether this person owns as many infrastructures as the admin allows."""
    owned = Membership.objects.filter(user=user, role=Role.OWNER).count()
    if owned < user.infrastructure_quota:
        return None
    most = counted(user.infrastructure_quota, "infrastructure")
    return f"You may own {most}, and you own {owned}. Delete one, or ask an administrator for more."


def why_not_infrastructure_label(label: str, others: Collection[str]) -> str | None:
    """`others` are the labels of the infrastructures that this person sees, in small letters."""
    if reason := _why_not_word(label):
        return reason
    return f"You have an infrastructure {label} already. Choose another label." if label.lower() in others else None


def why_not_description(description: str) -> str | None:
    if len(description) <= DESCRIPTION_MAX:
        return None
    return f"A description has at most {DESCRIPTION_MAX} characters, and this one has {len(description)}."


def why_not_delete_infrastructure(infrastructure: Infrastructure) -> str | None:
    """Whether something in it is real, or being made real: only a deploy may take that away."""
    if reason := why_not_design(infrastructure):
        return reason
    servers = Instance.objects.filter(instance_array__infrastructure=infrastructure, server__isnull=False).count()
    drives = Drive.objects.filter(drive_array__infrastructure=infrastructure).count()
    if not servers and not drives:
        return None
    parts = [counted(servers, "server")] * bool(servers) + [counted(drives, "drive")] * bool(drives)
    return (
        f"{infrastructure.label} has {' and '.join(parts)}. "
        "Delete all its arrays in the design and deploy that; then it can be deleted."
    )


# ── Labels and amounts ───────────────────────────────────────────────────────


def why_not_label(label: str, others: Collection[str]) -> str | None:
    """`others` are the labels in use by everything else in the infrastructure, in small letters."""
    if reason := _why_not_word(label):
        return reason
    if label.lower() in others:
        return f"{label} is taken in this infrastructure. Choose another label."
    return None


def _why_not_word(label: str) -> str | None:
    try:
        valid_label(label)
    except ValidationError:
        return str(valid_label.message)
    return f"{label} is a reserved word. Choose another label." if label.lower() in RESERVED else None


def why_not_count(count: int, thing: str) -> str | None:
    """`thing` is "server" or "drive"."""
    if 0 <= count <= COUNT_MAX:
        return None
    return f"An array has 0 to {COUNT_MAX} {thing}s, not {count}."


def why_not_size(size_mb: int, deployed_mb: int = 0, label: str = "") -> str | None:
    """`deployed_mb` is what each drive has already, 0 before the first deploy."""
    if not SIZE_MB_MIN <= size_mb <= SIZE_MB_MAX:
        return f"A drive has {size(SIZE_MB_MIN * MB)} to {SIZE_MB_MAX // 1024} GB."
    if size_mb < deployed_mb:
        return f"Drives only grow, and those of {label} have {size(deployed_mb * MB)}. Choose that or more."
    return None


def why_not_leave(label: str, numbers: Collection[int], leaving: Collection[int], count: int) -> str | None:
    """Whether the chosen ones are those that go when the array gets so small."""
    if set(leaving) <= set(numbers) and len(set(leaving)) == len(numbers) - count:
        return None
    return f"{label} gets from {len(numbers)} to {count}: choose exactly {len(numbers) - count} of them to go."


def why_not_server_type(array: InstanceArray, server_type: int) -> str | None:
    """Whether the servers have been there already: a server is not exchanged for one of another type."""
    if array.deployed is None or array.deployed["server_type"] == server_type:
        return None
    return f"{array.label} is deployed: its server type stays. Add an InstanceArray of the other type instead."


def why_not_storage_type(array: DriveArray, storage_type: str) -> str | None:
    """Whether the drives have been made already: bytes do not move to another class of storage."""
    if array.deployed is None or array.deployed["storage_type"] == storage_type:
        return None
    return f"{array.label} is deployed: its storage class stays. Add a DriveArray of the other class instead."


def why_not_without(array: DriveArray, owner: InstanceArray, missing: int) -> str | None:
    """Whether a DriveArray that grows with its InstanceArray would have servers without a drive."""
    if not missing:
        return None
    return (
        f"{array.label} grows with {owner.label}: each of its {counted(owner.count, 'server')} needs a drive. "
        f"Take servers out of {owner.label}, detach {array.label}, or let it not grow any more."
    )


# ── Products and what is between them ────────────────────────────────────────


def why_not_change(product: Product) -> str | None:
    """Whether the next deploy deletes it."""
    if not product.leaves:
        return None
    return f"{product.label} is deleted by the next deploy. Discard that to keep it."


def why_not_delete(product: Product) -> str | None:
    if isinstance(product, Network) and product.kind != NetworkKind.LAN:
        return f"{product.label} is the {NetworkKind(product.kind).label} of this infrastructure. It stays."
    return why_not_change(product)


def why_not_attach(drive_array: DriveArray, instance_array: InstanceArray) -> str | None:
    """Whether the drives may be given to these servers. Prefetch the interfaces when asking about many."""
    if reason := _why_not_join(drive_array, instance_array):
        return reason
    if drive_array.instance_array_id not in (None, instance_array.pk):
        return f"{drive_array.label} is attached to {drive_array.instance_array}. Detach it there first."
    if not any(one.index == SAN_INDEX and one.network_id for one in instance_array.interfaces.all()):
        return f"{instance_array.label} is not on the SAN, which carries the drives. Connect its if0 first."
    numbers = {*drive_array.numbers, *instance_array.numbers}
    if drive_array.grows and len(numbers) > COUNT_MAX:
        return f"{drive_array.label} would get {len(numbers)} drives, and {COUNT_MAX} is the most."
    return None


def why_not_connect(instance_array: InstanceArray, index: int, network: Network) -> str | None:
    """Whether an interface may be put on a network. It leaves the one that it was on."""
    if not 0 <= index < INTERFACES:
        return f"A server has the interfaces if0 to if{INTERFACES - 1}."
    if reason := _why_not_join(instance_array, network):
        return reason
    if index == SAN_INDEX and network.kind != NetworkKind.SAN:
        return f"if0 carries the drives: it takes the SAN only. Choose if1 to if{INTERFACES - 1} for {network.label}."
    if index != SAN_INDEX and network.kind == NetworkKind.SAN:
        return f"The SAN carries the drives: it takes if0 only, not if{index}."
    return None


def why_not_disconnect(instance_array: InstanceArray, index: int) -> str | None:
    """Whether drives are reached through this interface."""
    if not 0 <= index < INTERFACES:
        return f"A server has the interfaces if0 to if{INTERFACES - 1}."
    if reason := why_not_change(instance_array):
        return reason
    if index != SAN_INDEX:
        return None
    attached = instance_array.drive_arrays.filter(leaves=False).first()
    if attached is None:
        return None
    return f"{instance_array.label} reaches the drives of {attached.label} through if0. Detach {attached.label} first."


def _why_not_join(one: InstanceArray | DriveArray | Network, other: InstanceArray | DriveArray | Network) -> str | None:
    if one.infrastructure_id != other.infrastructure_id:
        return f"{other.label} is in another infrastructure. Nothing reaches across."
    return why_not_change(one) or why_not_change(other)
