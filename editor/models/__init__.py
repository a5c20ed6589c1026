"""Everything an infrastructure is made of, one module per subject."""

from .account import User
from .compute import Instance, InstanceArray, Interface, Power, PowerCommand, Server, ServerType, shown_power
from .event import Event, Result
from .infrastructure import Infrastructure, Membership, Network, NetworkKind, Role
from .storage import MB, Drive, DriveArray, StoragePool, StorageType

__all__ = [
    "MB",
    "Drive",
    "DriveArray",
    "Event",
    "Infrastructure",
    "Instance",
    "InstanceArray",
    "Interface",
    "Membership",
    "Network",
    "NetworkKind",
    "Power",
    "PowerCommand",
    "Result",
    "Role",
    "Server",
    "ServerType",
    "StoragePool",
    "StorageType",
    "User",
    "shown_power",
]
