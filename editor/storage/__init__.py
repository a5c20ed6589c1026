"""Where drives live. `driver_for` gives the one driver of a pool; `base` says what it promises."""

import functools
from collections.abc import Callable
from pathlib import Path

from editor.storage.base import (
    Check,
    Cluster,
    Device,
    Disturbing,
    Found,
    StorageDriver,
    StorageError,
    UnknownDrive,
    Usage,
)
from editor.storage.btrfs import BtrfsStorage
from editor.storage.patience import PatientStorage
from editor.storage.qcow2 import Qcow2Storage
from editor.storage.rbd import RbdStorage
from editor.storage.reflink import ReflinkStorage
from editor.storage.simulated import SimulatedStorage

__all__ = [
    "ENGINES",
    "Check",
    "Cluster",
    "Device",
    "Disturbing",
    "Found",
    "StorageDriver",
    "StorageError",
    "UnknownDrive",
    "Usage",
    "driver_for",
]

ENGINES: dict[str, Callable[[Path], StorageDriver]] = {
    "qcow2": Qcow2Storage,
    "btrfs": BtrfsStorage,
    "reflink": ReflinkStorage,
    "rbd": RbdStorage,
    "simulated": SimulatedStorage,
}

ON_DISKS = {"qcow2", "btrfs", "reflink"}
"""Their disks may hang in the kernel. What Ceph is asked has time limits of its own."""


@functools.cache
def driver_for(engine: str, folder: Path, cluster: Cluster | None = None) -> StorageDriver:
    """The process's driver of a pool: the same object each time, so that its verbs know of each other.

    `cluster` is where the engines of Ceph keep drives; they too have a folder, for their locks. Raises ValueError for
    an unknown engine.
    """
    if engine == "rbd":
        return RbdStorage(folder, cluster)
    if engine not in ENGINES:
        raise ValueError(f"There is no storage engine {engine!r}. Choose one of: {', '.join(ENGINES)}.")
    driver = ENGINES[engine](folder)
    return PatientStorage(driver) if engine in ON_DISKS else driver
