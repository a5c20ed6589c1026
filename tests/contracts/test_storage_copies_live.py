"""Drives of the engines that copy while somebody writes: the moment of a snapshot, and what a server sees of it."""

from __future__ import annotations

import mmap
import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from editor.iscsi import Export
from editor.iscsi.tgt import TgtExporter
from editor.iscsi.tgt import daemon as tgt_daemon
from editor.iscsi.tgt.socket import TgtError, peer
from tests.ports import free_port

from .copy_pools import assert_layers_read, prepared
from .file_systems import KINDS, FileSystem, mounted
from .images import TRUTH
from .initiator import Initiator
from .iscsi import PREFIX
from .storage import BLOCK, DRIVE, Disk, content

SECTORS = BLOCK // 512


@pytest.fixture(params=KINDS)
def system(request: pytest.FixtureRequest) -> Iterator[FileSystem]:
    with mounted(request.param) as made:
        yield made


def test_snapshot_is_one_point_in_time(system: FileSystem) -> None:
    driver = system.driver()
    slots, sector = 4096, 4096
    disk = Disk(driver, size_bytes=slots * sector)
    begun, acknowledged, stop = 0, 0, threading.Event()
    moved = threading.Semaphore(0)

    def serve(name: str) -> None:
        nonlocal begun, acknowledged
        buffer = mmap.mmap(-1, sector)  # O_DIRECT wants memory of whole pages
        device = os.open(name, os.O_RDWR | os.O_DIRECT)
        while not stop.is_set() and begun < slots:
            buffer[:] = (begun + 1).to_bytes(4) * (sector // 4)
            begun += 1
            os.pwrite(device, buffer, (begun - 1) * sector)
            if begun % 20 == 0:
                os.fsync(device)
            acknowledged = begun
            if begun % 50 == 0:
                moved.release()
        os.close(device)
        moved.release(100)

    server = threading.Thread(target=serve, args=[driver.activate(DRIVE).name])
    server.start()
    spans = []
    for _ in range(4):
        moved.acquire()
        before = acknowledged
        spans.append((disk.snapshot(), before, begun))
    stop.set()
    server.join()
    driver.deactivate(DRIVE)

    for layer, before, after in spans:
        disk.revert(layer)
        data = driver.read(DRIVE, offset=0, length=slots * sector)
        stamps = [data[at : at + sector] for at in range(0, len(data), sector)]
        count = sum(any(stamp) for stamp in stamps)
        assert before <= count <= after
        assert stamps[:count] == [number.to_bytes(4) * (sector // 4) for number in range(1, count + 1)]


@pytest.fixture
def exporter(system: FileSystem, tmp_path: Path) -> Iterator[TgtExporter]:
    """Ends before the file system under it is unmounted."""
    exporter = TgtExporter(tmp_path / "iscsi", f"127.0.0.1:{free_port()}")
    yield exporter
    with suppress(TgtError):
        process = os.pidfd_open(peer(exporter.daemon.folder, seconds=5))
        signal.pidfd_send_signal(process, signal.SIGKILL)
        select.select([process], [], [], 10)
        os.close(process)


@pytest.mark.skipif(tgt_daemon.program_path() is None, reason="tgtd is missing. On Debian: apt-get install tgt")
def test_server_writes_on_while_snapshots_are_taken_and_finds_what_was_after_a_revert(
    system: FileSystem, exporter: TgtExporter
) -> None:
    pool = system.pool()
    driver = system.driver(pool)
    prepared(driver)

    def published() -> Export:
        export = Export(
            drive=DRIVE,
            iqn=f"{PREFIX}:drive-{DRIVE}",
            serial="DRIVE7",
            device=driver.activate(DRIVE),
            initiator=f"{PREFIX}:instance-1",
            user="instance-1",
            password="correct0horse",
        )
        exporter.publish(export)
        return export

    with Initiator(exporter.portal, published()).log_in() as server:
        server.write(content(7), 0)
        driver.snapshot(DRIVE, frozen=3, new_layer=4)
        server.write(content(8), 0)
        server.unmap(1 * SECTORS, SECTORS)
        assert (server.read(0, SECTORS), server.read(SECTORS, SECTORS)) == (content(8), bytes(BLOCK))
        assert driver.written_since(DRIVE, [3]) == {3: 2 * BLOCK}
        driver.snapshot(DRIVE, frozen=4, new_layer=5)
        server.write(content(9), 0)
    frozen = {3: {**TRUTH[3], 0: 7}, 4: {**TRUTH[3], 0: 8, 1: 0}}
    assert_layers_read(pool, frozen)
    exporter.withdraw(f"{PREFIX}:drive-{DRIVE}")
    driver.deactivate(DRIVE)

    driver.revert(DRIVE, onto=3, new_layer=6)

    with Initiator(exporter.portal, published()).log_in() as server:
        assert (server.read(0, SECTORS), server.read(SECTORS, SECTORS)) == (content(7), content(1))
        server.write(content(5), 0)
        server.flush()
        driver.reclaim(DRIVE, keep=[3], head=6)
        assert server.read(0, SECTORS) == content(5)
    assert_layers_read(pool, {3: frozen[3], 6: {**frozen[3], 0: 5}})
