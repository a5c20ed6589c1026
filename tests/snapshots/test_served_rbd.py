"""What serves a drive in Ceph stands still or is shut out by the cluster while a server writes: the worker sees to it.

Ceph cluster, tgtd and the server, an initiator that is logged in, are real. The cluster forgets who was not heard of
for 2 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from editor.iscsi.tgt import daemon as tgt_daemon
from editor.storage.rbd import RbdStorage
from editor.volumes import driver_of
from snapshots import actions
from tests.clock import Clock, clock  # noqa: F401 - a fixture
from tests.contracts import server
from tests.contracts.server import wait_until
from tests.contracts.writer import Writer
from tests.snapshots.beds import Bed, RbdBed, bed
from tests.snapshots.rack import Rack, served, standing_still

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.slow,
    pytest.mark.skipif(tgt_daemon.program_path() is None, reason="tgtd is missing. On Debian: apt-get install tgt"),
    pytest.mark.skipif(server.why_not() is not None, reason=server.why_not() or ""),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with bed("rbd", tmp_path_factory.mktemp("bed")) as place:
        yield place


@pytest.fixture
def rack(place: Bed, db: None, clock: Clock, settings: Settings, tmp_path: Path) -> Iterator[Rack]:  # noqa: F811
    with served(clock, settings, place, tmp_path) as rack:
        yield rack


def driver(rack: Rack) -> RbdStorage:
    driver = driver_of(rack.world.drive.pool)
    assert isinstance(driver, RbdStorage)
    return driver


def image(rack: Rack) -> str:
    name = driver(rack)._images.active_image(rack.world.pk)
    assert name is not None
    return name


def blocklist(rack: Rack, *command: str) -> str:
    assert isinstance(rack.bed, RbdBed)
    return rack.bed.cluster.tell("osd", "blocklist", *command)


@pytest.mark.parametrize("forgotten", [True, False], ids=["forgotten", "still watched for"])
def test_tgtd_that_stands_still_is_not_shut_out_by_a_snapshot_or_a_deletion(rack: Rack, forgotten: bool) -> None:
    with rack.server() as server, Writer(server.disk, stubborn=True) as writer:
        rack.take(writer)
        rack.take(writer)
        writer.wait_for_more()
        before = rack.world.numbers()
        shut_out = blocklist(rack, "ls")

        with standing_still(rack.tgtd()):
            if forgotten:
                wait_until(lambda: not driver(rack)._images.watchers(image(rack)), "Ceph forgets tgtd")
            rack.ask_for_snapshot()
            rack.world.work()
            trouble = rack.world.drive.trouble
            assert trouble is not None
            assert "does not answer the Ceph cluster" in trouble.text
            assert "nothing was changed" in trouble.text
            actions.delete(rack.world.drive.snapshots.get(number=before[1]), by=rack.world.operator)
            rack.world.work()
            assert rack.world.drive.reclaim_due

        writer.wait_for_more()
        rack.settle()
        assert rack.world.numbers() == before[:1]
        assert blocklist(rack, "ls") == shut_out
        rack.take(writer)
        writer.wait_for_more()
    rack.assert_snapshots_kept()
    rack.assert_nothing_amiss()


def test_drive_whose_client_was_shut_out_is_opened_anew(rack: Rack) -> None:
    with rack.server() as server, Writer(server.disk, stubborn=True) as writer:
        rack.take(writer)
        writer.wait_for_more()
        (client,) = driver(rack)._images.watchers(image(rack))
        pid = rack.tgtd()

        blocklist(rack, "add", client)
        wait_until(lambda: writer.errors, "the server is told of an error")
        rack.settle()

        writer.wait_for_more()
        assert rack.tgtd() == pid
        (successor,) = driver(rack)._images.watchers(image(rack))
        assert successor != client
        rack.take(writer)
        rack.settle()
        assert driver(rack)._images.watchers(image(rack)) == [successor]
    rack.assert_snapshots_kept()
    rack.assert_nothing_amiss()
