"""tgtd for tests: real, in a folder and on a port of its own, gone at the end."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from editor.iscsi import Export
from editor.iscsi.tgt import TgtExporter
from editor.iscsi.tgt import daemon as tgt_daemon
from editor.iscsi.tgt.socket import TgtError, peer
from editor.storage.base import Device
from tests.ports import free_port

from .initiator import CheckCondition, HungUp, Initiator, LoginRefused
from .iscsi import Disk, Network, NoDisk, Refused

MIB = 1024 * 1024
SECTOR = 512

WHY_NOT = None if tgt_daemon.program_path() else "tgtd is missing. On Debian: apt-get install tgt"


@dataclass
class RealDisk(Disk):
    initiator: Initiator

    @property
    def serial(self) -> str:
        self.device  # noqa: B018 - where there is no disk, the controller tells its own serial number
        return self.initiator.serial()

    @property
    def device(self) -> str:
        try:
            return self.initiator.read().rstrip(b"\0").decode()
        except (CheckCondition, HungUp) as error:
            raise NoDisk from error


class RealNetwork(Network):
    """Files in a folder, served on loopback."""

    def __init__(self, folder: Path) -> None:
        self.pool = folder / "pool"
        self.pool.mkdir()
        # Deeper than an address of a Unix socket can say.
        self.folder = folder / "deep" / ("d" * 100) / "tgt"
        self.tgt = TgtExporter(self.folder, f"127.0.0.1:{free_port()}")
        self.exporter = self.tgt

    def make_device(self, name: str) -> Device:
        path = self.pool / name
        if not path.exists():
            path.write_bytes(str(path).encode().ljust(SECTOR, b"\0"))
            os.truncate(path, 8 * MIB)
        return Device("file", str(path))

    @contextmanager
    def log_in(self, export: Export) -> Iterator[Disk]:
        with self.initiator(export) as initiator:
            yield RealDisk(initiator)

    def initiator(self, export: Export, *, alias: str = "") -> Initiator:
        try:
            return Initiator(self.tgt.portal, export, alias=alias).log_in()
        except (LoginRefused, HungUp, ConnectionRefusedError) as error:
            raise Refused from error

    def half_way(self, export: Export) -> Initiator:
        """A login that the target has seen and that waits."""
        initiator = Initiator(self.tgt.portal, export)
        initiator.name_target()
        return initiator

    @property
    def pid(self) -> int:
        return peer(self.folder, seconds=5)

    def open_files(self) -> list[str]:
        """What tgtd has open, by number."""
        return [path.name for path in Path(f"/proc/{self.pid}/fd").iterdir()]

    def crash(self) -> None:
        pid = self.pid
        process = os.pidfd_open(pid)
        try:
            os.kill(pid, signal.SIGKILL)
            select.select([process], [], [], 10)
        finally:
            os.close(process)


@pytest.fixture
def network(tmp_path: Path) -> Iterator[RealNetwork]:
    network = RealNetwork(tmp_path)
    yield network
    with suppress(TgtError):
        network.crash()
