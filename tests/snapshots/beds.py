"""Where each engine keeps drives in tests of the whole product, and what can be broken there."""

from __future__ import annotations

import abc
import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest

from editor import storage
from editor.models import Drive, StoragePool
from editor.storage.copies import CopyStorage
from editor.storage.layers import layer_name
from editor.storage.patience import PatientStorage
from editor.storage.qcow2 import Qcow2Storage
from editor.storage.rbd import RbdStorage
from editor.volumes import driver_of
from tests.ceph import CephCluster
from tests.ceph import why_not as why_no_ceph
from tests.contracts.file_systems import mounted
from tests.contracts.writer import PAGES, STRIDE, as_disk

ANSWER_SECONDS = 1
"""How long a driver waits here for what does not answer."""


class Bed(abc.ABC):
    """A place for drives of one engine."""

    engine: str

    @property
    def place(self) -> dict[str, str]:
        """What an administrator enters for a pool there."""
        return {}

    def make_pool(self) -> None:
        """The one in which `factories.make_drive_array` puts drives of this engine."""
        StoragePool.objects.create(label=f"pool-{self.engine}", engine=self.engine, **self.place)

    @abc.abstractmethod
    def layer(self, drive: Drive, layer: int) -> AbstractContextManager[Path]:
        """What a layer reads as, in a file, whatever our driver thinks of it."""


class FolderBed(Bed):
    """On a file system of its own."""

    def __init__(self, pool: Path) -> None:
        self._pool = pool
        self._filler = pool.parent / "filler"

    @property
    def place(self) -> dict[str, str]:
        return {"folder": str(self._pool)}

    def fill(self) -> None:
        """Leave no room."""
        room = os.statvfs(self._pool)
        size = room.f_bavail * room.f_frsize
        with self._filler.open("wb", buffering=0) as file:
            end = 0
            while size >= room.f_frsize:
                try:
                    os.posix_fallocate(file.fileno(), end, size)
                    end += size
                except OSError:
                    size //= 2

    def make_room(self) -> None:
        """Give the room back that `fill` took."""
        self._filler.unlink()
        # btrfs counts it as free when it has written that down.
        subprocess.run(["sync", "--file-system", str(self._pool)], check=True)


class Qcow2Bed(FolderBed):
    engine = "qcow2"

    def daemon(self, pk: int) -> int:
        """The process that has a drive open."""
        return int((self._pool / f"drive-{pk}/daemon.pid").read_text())

    def layer(self, drive: Drive, layer: int) -> AbstractContextManager[Path]:
        return as_disk(self._pool / f"drive-{drive.pk}" / layer_name(layer))


class CopyBed(FolderBed):
    def __init__(self, engine: str, pool: Path) -> None:
        super().__init__(pool)
        self.engine = engine

    @contextmanager
    def layer(self, drive: Drive, layer: int) -> Iterator[Path]:
        patient = driver_of(drive.pool)
        assert isinstance(patient, PatientStorage)
        driver = patient.driver
        assert isinstance(driver, CopyStorage)
        folder = driver._pool.drive(drive.pk)
        yield folder.layer(folder.tree(), layer)


class RbdBed(Bed):
    engine = "rbd"

    def __init__(self, cluster: CephCluster, folder: Path) -> None:
        self.cluster = cluster
        self._folder = folder

    @property
    def place(self) -> dict[str, str]:
        where = self.cluster.cluster()
        return {"ceph_conf": where.conf, "ceph_user": where.user, "ceph_pool": where.pool}

    @contextmanager
    def layer(self, drive: Drive, layer: int) -> Iterator[Path]:
        driver = driver_of(drive.pool)
        assert isinstance(driver, RbdStorage)
        generation = driver._drives.read(drive.pk).holding(layer)
        name = next((each.name for each in generation.frozen if each.layer == layer), None)
        raw = self._folder / f"layer-{layer}"
        with driver._images.opened(generation.name) as image:
            image.set_snap(name)
            raw.write_bytes(image.read(0, PAGES * STRIDE))
        yield raw
        raw.unlink()


@contextmanager
def bed(engine: str, folder: Path) -> Iterator[Bed]:
    """A place for drives, gone at the end. Skips the test where there can be none."""
    with pytest.MonkeyPatch.context() as patch:
        if engine == "qcow2":
            patch.setitem(storage.ENGINES, engine, partial(Qcow2Storage, program_seconds=ANSWER_SECONDS))
            pool = folder / "pools/qcow2"
            pool.mkdir(parents=True)
            yield Qcow2Bed(pool)
        elif engine == "rbd":
            if reason := why_no_ceph():
                pytest.skip(reason)
            if not any(Path("/usr/lib/tgt/backing-store").glob("bs_rbd.so")):
                pytest.skip("tgtd's part for Ceph is missing. On Debian: apt-get install tgt-rbd")
            patch.setattr(storage, "RbdStorage", partial(RbdStorage, answer_seconds=ANSWER_SECONDS))
            (folder / "ceph").mkdir()
            # Not in memory: there, an OSD crashes now and then while it gives the room of snapshots back.
            # Room for its own notes, too: with 1 GiB an OSD aborted after two minutes of a server that writes.
            cluster = CephCluster(folder / "ceph", store="bluestore")
            try:
                yield RbdBed(cluster, folder)
            finally:
                cluster.stop()
        else:
            with mounted(engine) as system:
                yield CopyBed(engine, system.pool())
