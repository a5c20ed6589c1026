"""A drive that is served for real, and its server: for tests in which what serves it breaks."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from itertools import count
from pathlib import Path

from django.core.management import call_command
from pytest_django import Settings

from editor import exports
from editor.chap import chap_password
from editor.iscsi import Export
from editor.iscsi.tgt import TgtExporter
from editor.iscsi.tgt.socket import TgtError, peer
from editor.iscsi_names import chap_user, initiator_iqn, serial_number, target_iqn
from editor.storage import Device
from editor.volumes import driver_of
from snapshots import actions
from snapshots.models import Snapshot
from tests.clock import Clock
from tests.contracts.initiator import Initiator
from tests.contracts.rbd_images import at_last
from tests.contracts.server import Server, killed
from tests.contracts.writer import Writer, assert_holds, assert_keeps
from tests.ports import free_port
from tests.snapshots.beds import ANSWER_SECONDS, Bed, Qcow2Bed
from tests.snapshots.conftest import World, look_and_work, make_world


class Rack:
    """A drive, what serves it, and its server."""

    def __init__(self, world: World, bed: Bed, folder: Path) -> None:
        self.world = world
        self.bed = bed
        self.marks: dict[int, tuple[int, int]] = {}
        """For each snapshot the last write that it must hold, and the last that it may hold."""
        self.shaken: set[int] = set()
        """Snapshots that were being made when something broke: as after a loss of power."""
        self._folder = folder
        self._servers = count(1)

    def tgtd(self) -> int:
        """The process that serves it."""
        return peer(exporter().daemon.folder, seconds=5)

    def daemon(self) -> int:
        """The process that has it open for that one, on qcow2."""
        assert isinstance(self.bed, Qcow2Bed)
        return self.bed.daemon(self.world.pk)  # asks no database: verbs are carried out on threads of their own

    def kill_tgtd(self) -> None:
        killed(self.tgtd())

    def kill_daemon(self) -> None:
        killed(self.daemon())

    def kill_both(self) -> None:
        """As much of it as runs."""
        self.kill_tgtd()
        with suppress(FileNotFoundError):
            self.kill_daemon()

    def server(self) -> Server:
        """Its server, by what its pages say."""
        return Server(self._folder / f"server-{next(self._servers)}", exporter().portal, self.export)

    def serial(self) -> str:
        """As a server reads it that logs in for that."""
        with Initiator(exporter().portal, self.export) as initiator:
            return initiator.log_in().serial()

    @property
    def export(self) -> Export:
        drive, instance = self.world.drive, self.world.instance
        return Export(
            drive=drive.pk,
            iqn=target_iqn(drive),
            serial=serial_number(drive),
            device=Device("file", ""),
            initiator=initiator_iqn(instance),
            user=chap_user(instance),
            password=chap_password(instance),
        )

    def ask_for_snapshot(self) -> None:
        drive = self.world.drive
        expect = drive.snapshots.order_by("number")[0].pk if drive.snapshots.count() == 5 else None
        actions.request_create(drive, by=self.world.operator, expect_delete=expect)

    def take(self, writer: Writer) -> Snapshot:
        """Takes a snapshot while the server writes."""
        writer.wait_for_more()
        low = writer.acked
        self.ask_for_snapshot()
        self.world.work()
        self.world.clock.advance(60)
        taken = self.world.drive.snapshots.newest_first()[0]
        self.marks[taken.number] = (low, writer.begun)
        return taken

    def settle(self) -> None:
        """The worker works until the drive is served and nothing waits, as it does by itself."""
        for _ in range(12):
            look_and_work(self.world)
            self.world.clock.advance(60)
            drive = self.world.drive
            if drive.exported and not (drive.hold or drive.reclaim_due or drive.export_due or drive.export_error):
                return
        raise AssertionError((drive.exported, drive.hold, drive.reclaim_due, drive.export_error, drive.trouble))

    def assert_nothing_amiss(self) -> None:
        said = StringIO()
        call_command("reconcile", "--audit", stdout=said)
        assert said.getvalue().strip() == "Nothing amiss."

    def assert_snapshots_kept(self) -> None:
        """Each that is listed holds what it should."""
        for snapshot in self.world.drive.snapshots.all():
            low, high = self.marks[snapshot.number]
            with self.bed.layer(self.world.drive, snapshot.layer) as disk:
                (assert_keeps if snapshot.number in self.shaken else assert_holds)(disk, low, high)


def exporter() -> TgtExporter:
    one = exports.exporter()
    assert isinstance(one, TgtExporter)
    return one


@contextmanager
def served(clock: Clock, settings: Settings, bed: Bed, folder: Path) -> Iterator[Rack]:
    """A drive that is served; nothing is left running, whatever became of it."""
    settings.ISCSI_EXPORTER = "tgt"
    settings.ISCSI_PORTAL = f"127.0.0.1:{free_port()}"
    exporter().daemon.seconds = ANSWER_SECONDS
    bed.make_pool()
    rack = Rack(make_world(clock, bed.engine), bed, folder)
    try:
        rack.settle()
        yield rack
    finally:
        for process in (rack.tgtd, rack.daemon):
            with suppress(TgtError, FileNotFoundError, ProcessLookupError, AssertionError):
                os.kill(process(), signal.SIGCONT)
        with suppress(TgtError):
            killed(rack.tgtd())
        driver = driver_of(rack.world.drive.pool)
        driver.deactivate(rack.world.pk)
        at_last(lambda: driver.delete_drive(rack.world.pk))


@contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """A process that is there and does nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
