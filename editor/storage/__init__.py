"""Where drives live. `driver_for` gives the one driver of a pool; `base` says what it promises."""

import functools
from pathlib import Path

from editor.storage.base import Found, StorageDriver, StorageError, UnknownDrive
from editor.storage.qcow2 import Qcow2Storage
from editor.storage.simulated import SimulatedStorage

__all__ = ["ENGINES", "Found", "StorageDriver", "StorageError", "UnknownDrive", "driver_for"]

ENGINES: dict[str, type[Qcow2Storage] | type[SimulatedStorage]] = {
    "qcow2": Qcow2Storage,
    "simulated": SimulatedStorage,
}


@functools.cache
def driver_for(engine: str, folder: Path) -> StorageDriver:
    """The process's driver of a pool: the same object each time, so that its verbs know of each other.

    Raises ValueError for an unknown engine.
    """
    if engine not in ENGINES:
        raise ValueError(f"There is no storage engine {engine!r}. Choose one of: {', '.join(ENGINES)}.")
    return ENGINES[engine](folder)
