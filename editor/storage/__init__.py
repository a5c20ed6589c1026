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
    return ENGINES[engine](folder)
