"""Drives in Ceph served by tgt: tgtd talks to the cluster itself, there is no device on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from editor.iscsi import ExportError
from editor.iscsi.tgt import daemon as tgt_daemon
from editor.iscsi.tgt.socket import Mode, Op
from editor.storage.rbd.driver import RbdStorage
from tests import ceph

from .initiator import CheckCondition
from .iscsi import served
from .tgt import RealNetwork, network

__all__ = ["network"]

MIB = 1024 * 1024
PLUGIN = Path("/usr/lib/tgt/backing-store/bs_rbd.so")


def why_not() -> str | None:
    if tgt_daemon.program_path() is None or not PLUGIN.exists():
        return "tgtd or its part for Ceph is missing. On Debian: apt-get install tgt tgt-rbd"
    return ceph.why_not()


pytestmark = [pytest.mark.skipif(why_not() is not None, reason=why_not() or ""), pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ceph.CephCluster]:
    cluster = ceph.CephCluster(tmp_path_factory.mktemp("ceph"))
    yield cluster
    cluster.stop()


@pytest.fixture
def storage(cluster: ceph.CephCluster, tmp_path: Path) -> Iterator[RbdStorage]:
    storage = RbdStorage(tmp_path / "locks", cluster.cluster())
    yield storage
    storage.close()


def test_image_is_served_withdrawn_and_comes_back(network: RealNetwork, storage: RbdStorage) -> None:
    storage.create_drive(7, layer=1, size_bytes=8 * MIB)
    drive = replace(network.export(), device=storage.activate(7))

    network.tgt.publish(drive)
    network.tgt.publish(drive)
    with network.initiator(drive) as disk:
        disk.write(b"\x5a" * 4096, 8)
        disk.flush()
        assert disk.serial() == drive.serial
    assert storage.read(7, offset=4096, length=4096) == b"\x5a" * 4096
    storage.snapshot(7, frozen=1, new_layer=2)
    with network.initiator(drive) as disk:
        disk.write(b"\xa5" * 4096, 8)
        # Not offered: tgtd would say that it failed.
        with pytest.raises(CheckCondition):
            disk.unmap(64, 8)
    assert network.tgt.targets() == {drive.iqn: served(drive)}

    network.tgt.withdraw(drive.iqn)
    storage.deactivate(7)
    storage.revert(7, onto=1, new_layer=3)
    network.tgt.publish(replace(drive, device=storage.activate(7)))

    with network.initiator(drive) as disk:
        assert (disk.serial(), disk.read(8, 8)) == (drive.serial, b"\x5a" * 4096)
    network.tgt.remove(drive.iqn)


def test_client_of_an_image_has_one_thread_for_its_connections(network: RealNetwork, storage: RbdStorage) -> None:
    storage.create_drive(9, layer=1, size_bytes=8 * MIB)
    drive = replace(network.export(9), device=storage.activate(9))

    network.tgt.publish(drive)

    names = [path.read_text().strip() for path in Path(f"/proc/{network.pid}/task").glob("*/comm")]
    assert [name for name in names if name.startswith("msgr-worker")] == ["msgr-worker-0"]
    network.tgt.remove(drive.iqn)


def test_image_that_is_not_there_is_told(network: RealNetwork, cluster: ceph.CephCluster) -> None:
    options = (("conf", cluster.cluster().conf), ("id", cluster.cluster().user))
    drive = network.export()
    broken = replace(drive, device=replace(drive.device, backing="rbd", name="drives/gone", options=options))

    with pytest.raises(ExportError, match="tgtd could not open the drive's device"):
        network.tgt.publish(broken)

    network.tgt.publish(drive)
    assert network.tgt.targets() == {drive.iqn: served(drive)}


def test_tgtd_without_its_part_for_ceph_is_told(network: RealNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    send = network.tgt.daemon.send

    def without(mode: Mode, op: Op, text: str, **more: int) -> str:
        return send(mode, op, text, **more).replace("    rbd", "    rd")

    monkeypatch.setattr(network.tgt.daemon, "send", without)
    drive = network.export()

    with pytest.raises(ExportError, match="apt-get install tgt-rbd"):
        network.tgt.publish(replace(drive, device=replace(drive.device, backing="rbd", name="drives/7")))


def test_lost_session_does_not_hold_an_image(network: RealNetwork, storage: RbdStorage) -> None:
    storage.create_drive(8, layer=1, size_bytes=8 * MIB)
    drive = replace(network.export(8), device=storage.activate(8))
    network.tgt.publish(drive)

    with network.initiator(drive) as disk:
        network.tgt.withdraw(drive.iqn, dead=True)
        with pytest.raises(CheckCondition):
            disk.read()

    storage.deactivate(8)
    storage.delete_drive(8)
