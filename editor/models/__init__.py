"""Everything an infrastructure is made of, one module per subject."""

from .account import User
from .compute import (
    INTERFACES,
    Instance,
    InstanceArray,
    Interface,
    Power,
    PowerCommand,
    Server,
    ServerType,
    Trust,
    shown_power,
)
from .deploy import Deploy, DeployItem, DeployState, DeployStep, DesignStep, ItemState
from .event import Event, Result, Told
from .infrastructure import COUNT_MAX, Infrastructure, Membership, Network, NetworkKind, Product, Role, valid_label
from .presence import PRESENCE_SECONDS, Presence
from .storage import MB, SIZE_MB_MAX, SIZE_MB_MIN, Drive, DriveArray, StoragePool, StorageType

__all__ = [
    "COUNT_MAX",
    "INTERFACES",
    "MB",
    "PRESENCE_SECONDS",
    "SIZE_MB_MAX",
    "SIZE_MB_MIN",
    "Deploy",
    "DeployItem",
    "DeployState",
    "DeployStep",
    "DesignStep",
    "Drive",
    "DriveArray",
    "Event",
    "Infrastructure",
    "Instance",
    "InstanceArray",
    "Interface",
    "ItemState",
    "Membership",
    "Network",
    "NetworkKind",
    "Power",
    "PowerCommand",
    "Presence",
    "Product",
    "Result",
    "Role",
    "Server",
    "ServerType",
    "StoragePool",
    "StorageType",
    "Told",
    "Trust",
    "User",
    "shown_power",
    "valid_label",
]
