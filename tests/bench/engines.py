"""Where drives of each engine can be kept on this machine: a folder, a file system of its own, a Ceph cluster."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editor.storage import Cluster, Device, StorageDriver, driver_for
from editor.storage.daemon import why_not_fuse
from editor.storage.rbd import RbdStorage, ceph
from tests.ceph import CephCluster
from tests.ceph import why_not as why_no_ceph
from tests.contracts.file_systems import KINDS, FileSystem
from tests.contracts.file_systems import why_not as why_no_file_system

GIB = 1024**3
ENGINES = ("qcow2", "btrfs", "reflink", "rbd")
ROOM_BYTES = 64 * GIB
"""Of a file system or cluster; as a file with holes."""


@dataclass(frozen=True)
class Bed:
    """A pool of one engine."""

    engine: str
    folder: Path
    cluster: Cluster | None = None

    @property
    def driver(self) -> StorageDriver:
        return driver_for(self.engine, self.folder, self.cluster)


def why_not(engine: str) -> str | None:
    """Why an engine cannot be measured here, in a sentence, or None."""
    if engine == "qcow2":
        return why_not_fuse() or None
    return why_no_ceph() if engine == "rbd" else why_no_file_system(engine)


@contextlib.contextmanager
def bed(engine: str, folder: Path) -> Iterator[Bed]:
    """Gives an empty pool, on the disk that `folder` is on; nothing is left of it afterwards."""
    folder.mkdir(parents=True)
    if engine == "rbd":
        (folder / "ceph").mkdir()
        cluster = CephCluster(folder / "ceph", store="bluestore", store_bytes=ROOM_BYTES, watch_seconds=30)
        try:
            made = Bed(engine, folder / "locks", cluster.cluster())
            driver = made.driver
            assert isinstance(driver, RbdStorage)
            with contextlib.closing(driver):
                yield made
        finally:
            cluster.stop()
    elif engine == "qcow2":
        (folder / "pool").mkdir()
        yield Bed(engine, folder / "pool")
    else:
        with _mounted(engine, folder) as point:
            (point / "pool").mkdir()
            yield Bed(engine, point / "pool")


@contextlib.contextmanager
def _mounted(engine: str, folder: Path) -> Iterator[Path]:
    system = FileSystem(KINDS[engine], folder / "image", folder / "disk")
    system.point.mkdir()
    with system.image.open("wb") as file:
        file.truncate(ROOM_BYTES)
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    command = [*system.kind.make, str(system.image)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env={**os.environ, "PATH": path})
    system.mount()
    try:
        yield system.point
    finally:
        system.unmount()


class Disk:
    """The device of an active drive, to be written to as a server's target does."""

    def __init__(self, device: Device, *, direct: bool = False) -> None:
        self._stack = contextlib.ExitStack()
        self._image: Any = None
        if device.backing == "rbd":
            options, (pool, image) = dict(device.options), device.name.split("/")
            rados = ceph.rados().Rados(conffile=options["conf"], rados_id=options["id"])
            rados.connect()
            self._stack.callback(rados.shutdown)
            opened = self._stack.enter_context(rados.open_ioctx(pool))
            self._image = self._stack.enter_context(ceph.rbd().Image(opened, image))
        else:
            self._file = os.open(device.name, os.O_RDWR | (os.O_DIRECT if direct else 0))
            self._stack.callback(os.close, self._file)

    def write(self, offset: int, data: Any) -> None:
        if self._image is None:
            os.pwrite(self._file, data, offset)
        else:
            self._image.write(bytes(data), offset)

    def flush(self) -> None:
        if self._image is None:
            os.fsync(self._file)
        else:
            self._image.flush()

    def close(self) -> None:
        self._stack.close()
