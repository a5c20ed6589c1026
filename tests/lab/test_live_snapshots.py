"""Snapshots of drives that servers write to over iSCSI, on each engine: what each of them holds, to the byte.

All is real: the engine, tgtd, and an initiator, which logs in with its CHAP password. What a snapshot holds is read by
a server that logs in after a revert to it.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Self

import pytest

from editor.iscsi import Export, ExportError
from editor.iscsi.tgt import TgtExporter
from editor.iscsi.tgt import daemon as tgt_daemon
from editor.iscsi.tgt.socket import TgtError, peer
from editor.storage import StorageDriver
from editor.storage.patience import PatientStorage
from editor.storage.qcow2 import Qcow2Storage
from editor.storage.rbd import RbdStorage
from tests import ceph
from tests.contracts import server
from tests.contracts.file_systems import mounted
from tests.contracts.iscsi import PREFIX
from tests.contracts.server import Server, killed
from tests.contracts.writer import Writer, assert_holds
from tests.ports import free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        tgt_daemon.program_path() is None, reason="tgtd is missing. On Debian: apt-get install tgt tgt-rbd"
    ),
    pytest.mark.skipif(server.why_not() is not None, reason=server.why_not() or ""),
]

MIB = 1024 * 1024
SIZE = 128 * MIB
SNAPSHOTS = 4
RECOVERED = re.compile(r".*: (recovering journal|clean, .*|\d+/\d+ files .*)")


# ── Engines ──────────────────────────────────────────────────────────────────


@contextmanager
def qcow2(folder: Path) -> Iterator[StorageDriver]:
    pool = folder / "pool"
    pool.mkdir()
    # On threads of its own: a browser of an earlier test leaves an event loop running in this one.
    yield PatientStorage(Qcow2Storage(pool))


@contextmanager
def btrfs(folder: Path) -> Iterator[StorageDriver]:
    del folder  # of its own
    with mounted("btrfs") as system:
        yield system.driver()


@contextmanager
def reflink(folder: Path) -> Iterator[StorageDriver]:
    del folder  # of its own
    with mounted("reflink") as system:
        yield system.driver()


@contextmanager
def rbd(folder: Path) -> Iterator[StorageDriver]:
    if reason := ceph.why_not():
        pytest.skip(reason)
    if not any(Path("/usr/lib/tgt/backing-store").glob("bs_rbd.so")):
        pytest.skip("tgtd's part for Ceph is missing. On Debian: apt-get install tgt-rbd")
    (folder / "ceph").mkdir()
    cluster = ceph.CephCluster(folder / "ceph")
    try:
        driver = RbdStorage(folder / "locks", cluster.cluster())
        yield driver
        driver.close()
    finally:
        cluster.stop()


ENGINES: dict[str, Callable[[Path], AbstractContextManager[StorageDriver]]] = {
    "qcow2": qcow2,
    "btrfs": btrfs,
    "reflink": reflink,
    "rbd": rbd,
}


ids = count(1)
"""Of drives: what was deleted does not come back."""


class Drive:
    """A drive on an engine, served by a tgtd of its own."""

    def __init__(self, driver: StorageDriver, folder: Path) -> None:
        self._driver = driver
        self._id = next(ids)
        self._iqn = f"{PREFIX}:drive-{self._id}"
        self._folder = folder
        self._servers = count(1)
        self._layers = count(2)
        self._exporter = TgtExporter(folder / "iscsi", f"127.0.0.1:{free_port()}")

    def __enter__(self) -> Self:
        self._driver.create_drive(self._id, layer=1, size_bytes=SIZE)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._exporter.stop()
        except ExportError:
            # Somebody is logged in still.
            with suppress(TgtError):
                killed(peer(self._exporter.daemon.folder, seconds=5))
        self._driver.deactivate(self._id)
        self._driver.delete_drive(self._id)

    def server(self) -> Server:
        """One that is about to log in."""
        export = Export(
            drive=self._id,
            iqn=self._iqn,
            serial=f"DRIVE{self._id}",
            device=self._driver.activate(self._id),
            initiator=f"{PREFIX}:instance-1",
            user="instance-1",
            password="correct0horse",
        )
        self._exporter.publish(export)
        return Server(self._folder / f"server-{next(self._servers)}", self._exporter.portal, export)

    def snapshot(self) -> int:
        """Takes one; answers its layer."""
        frozen = self._driver.head(self._id)
        self._driver.snapshot(self._id, frozen=frozen, new_layer=next(self._layers))
        return frozen

    def revert(self, layer: int) -> None:
        """The server must be off."""
        self._exporter.withdraw(self._iqn)
        self._driver.deactivate(self._id)
        self._driver.revert(self._id, onto=layer, new_layer=next(self._layers))


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageDriver]:
    with ENGINES[request.param](tmp_path_factory.mktemp("engine")) as driver:
        yield driver


@pytest.fixture
def drive(engine: StorageDriver, tmp_path: Path) -> Iterator[Drive]:
    with Drive(engine, tmp_path) as drive:
        yield drive


# ── What is proved ───────────────────────────────────────────────────────────


def test_snapshots_while_a_server_writes_hold_each_write_before_a_moment_and_none_after_it(drive: Drive) -> None:
    taken = []
    with drive.server() as server, Writer(server.disk) as writer:
        for _ in range(SNAPSHOTS):
            writer.wait_for_more()
            acked = writer.acked
            taken.append((drive.snapshot(), acked, writer.begun))
        writer.wait_for_more()
    assert writer.errors == []

    for layer, acked, begun in taken:
        drive.revert(layer)
        with drive.server() as server:
            assert_holds(server.disk, acked, begun)


class FileSystem:
    """ext4 on a server's disk, and somebody who saves files there as databases do."""

    def __init__(self, disk: Path) -> None:
        self.begun = self.acked = -1
        self.errors: list[OSError] = []
        self._disk = disk
        self._point = disk.with_name("files")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._save, daemon=True)

    def __enter__(self) -> Self:
        subprocess.run(["mkfs.ext4", "-qF", str(self._disk)], check=True)
        self._point.mkdir()
        _mount(self._disk, self._point)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        _unmount(self._point)

    def wait_for_more(self) -> None:
        goal = self.acked + 25
        server.wait_until(lambda: self.acked >= goal or self.errors, "files")
        assert self.errors == []

    def _save(self) -> None:
        for number in count():
            if self._stop.is_set():
                return
            self.begun = number
            try:
                fresh = self._point / f"{number}.new"
                with fresh.open("wb") as file:
                    file.write(_text(number))
                    file.flush()
                    os.fsync(file.fileno())
                fresh.rename(self._point / str(number))
                folder = os.open(self._point, os.O_RDONLY)
                os.fsync(folder)
                os.close(folder)
            except OSError as error:
                self.errors.append(error)
                return
            self.acked = number


def _text(number: int) -> bytes:
    return b"%09d\n" % number * 400


def _mount(disk: Path, point: Path, *options: str) -> None:
    subprocess.run(["mount", "-t", "ext4", "-o", ",".join(("loop", *options)), str(disk), str(point)], check=True)


def _unmount(point: Path) -> None:
    # What looks at new mounts may have it open for a moment.
    server.wait_until(lambda: subprocess.run(["umount", str(point)], check=False).returncode == 0, "umount")


def _files(disk: Path) -> dict[int, bytes]:
    """What is saved on a disk, by number."""
    point = disk.with_name("files")
    point.mkdir()
    _mount(disk, point, "ro")
    try:
        return {int(path.name): path.read_bytes() for path in point.iterdir() if path.name.isdecimal()}
    finally:
        _unmount(point)


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root may mount a file system for the test.")
def test_file_system_on_a_snapshot_has_its_journal_replayed_and_misses_nothing(drive: Drive) -> None:
    taken = []
    with drive.server() as server, FileSystem(server.disk) as files:
        for _ in range(SNAPSHOTS):
            files.wait_for_more()
            acked = files.acked
            taken.append((drive.snapshot(), acked, files.begun))
        files.wait_for_more()

    for layer, acked, begun in taken:
        drive.revert(layer)
        with drive.server() as server:
            first = _checked("-fp", server.disk)
            assert first.returncode in {0, 1}
            assert [line for line in first.stdout.splitlines() if not RECOVERED.fullmatch(line)] == []
            assert "recovering journal" in first.stdout
            second = _checked("-fn", server.disk)
            assert second.returncode == 0, second.stdout
            found = _files(server.disk)
        assert [number for number in range(acked + 1) if number not in found] == []
        assert [number for number, text in found.items() if text != _text(number)] == []
        assert max(found) <= begun


def _checked(how: str, disk: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["e2fsck", how, str(disk)], capture_output=True, text=True, check=False)
