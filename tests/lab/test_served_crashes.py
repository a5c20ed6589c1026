"""What serves a drive is killed, stopped or starved while a server writes to it: the worker sets all of it right.

The qcow2 engine, tgtd and the server, an initiator that is logged in, are real. Whatever happens and when: the drive is
served again under the same names, nothing that was flushed is lost, and each snapshot that is listed holds its moment.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from pytest_django import Settings

from editor import exports
from editor.iscsi.tgt import TgtExporter
from editor.iscsi.tgt import daemon as tgt_daemon
from editor.rules import Refused
from editor.storage import StorageError
from editor.storage.monitor import Monitor
from editor.storage.qcow2 import Qcow2Storage
from editor.storage.serving import Serving
from editor.volumes import driver_of
from snapshots import actions
from tests.clock import Clock, clock  # noqa: F401 - a fixture
from tests.contracts import server
from tests.contracts.server import wait_until
from tests.contracts.writer import Writer, assert_holds
from tests.editor import deploying
from tests.snapshots.beds import bed
from tests.snapshots.conftest import look_and_work
from tests.snapshots.rack import Rack, exporter, served, standing_still

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.slow,
    pytest.mark.skipif(tgt_daemon.program_path() is None, reason="tgtd is missing. On Debian: apt-get install tgt"),
    pytest.mark.skipif(server.why_not() is not None, reason=server.why_not() or ""),
]


@pytest.fixture
def rack(
    db: None,
    clock: Clock,  # noqa: F811
    settings: Settings,
    tmp_path: Path,
) -> Iterator[Rack]:
    with bed("qcow2", tmp_path) as place, served(clock, settings, place, tmp_path) as rack:
        yield rack


# ── Killed ───────────────────────────────────────────────────────────────────


@pytest.fixture(params=["tgtd", "storage daemon", "both"])
def kill(request: pytest.FixtureRequest, rack: Rack) -> Callable[[], None]:
    return {"tgtd": rack.kill_tgtd, "storage daemon": rack.kill_daemon, "both": rack.kill_both}[request.param]


def once(owner: type, verb: str, strike: Callable[[], None], only: tuple[str, ...] = ()) -> ExitStack:
    """Strikes right before a verb is carried out for the first time; after one of the commands `only`."""
    real, stack = getattr(owner, verb), ExitStack()
    struck: list[str] = []
    patch = stack.enter_context(pytest.MonkeyPatch.context())

    def struck_at(self: object, *args: object, **more: object) -> object:
        hit = not struck and (not only or args[0] in only)
        if hit:
            struck.append(verb)
            if only:
                real(self, *args, **more)
            strike()
            if only:
                return real(self, "query-jobs")
        return real(self, *args, **more)

    patch.setattr(owner, verb, struck_at)
    stack.callback(lambda: struck or pytest.fail(f"{verb} was not reached"))
    return stack


def test_server_goes_on_writing_when_what_serves_it_was_killed(rack: Rack, kill: Callable[[], None]) -> None:
    serial = rack.serial()
    with rack.server() as server, Writer(server.disk, stubborn=True) as writer:
        snapshot = rack.take(writer)
        kill()
        rack.settle()
        writer.wait_for_next()
        rack.take(writer)
    assert rack.serial() == serial
    rack.assert_nothing_amiss()
    rack.settle()
    rack.world.switch_off()

    rack.world.revert(snapshot)
    rack.world.work()
    rack.settle()

    assert rack.world.numbers() == [1]
    with rack.server() as server:
        assert_holds(server.disk, *rack.marks[1])
    rack.assert_nothing_amiss()


def test_snapshot_during_which_it_is_killed_was_made_and_the_oldest_deleted_or_neither(
    rack: Rack, kill: Callable[[], None]
) -> None:
    with rack.server() as server, Writer(server.disk, stubborn=True) as writer:
        for _ in range(5):
            rack.take(writer)
        low = writer.flushed
        rack.ask_for_snapshot()
        with once(Serving, "follow", kill):
            rack.world.work()
        rack.marks[6] = (low, writer.begun)
        rack.shaken.add(6)
        rack.settle()
        writer.wait_for_next()
        assert rack.world.numbers() in ([5, 4, 3, 2, 1], [6, 5, 4, 3, 2])
    with rack.server() as server:
        assert_holds(server.disk, writer.acked, writer.begun)
    rack.assert_nothing_amiss()
    rack.assert_snapshots_kept()


def test_merge_during_which_it_is_killed_changes_no_content(rack: Rack, kill: Callable[[], None]) -> None:
    with rack.server() as server, Writer(server.disk, stubborn=True) as writer:
        taken = [rack.take(writer) for _ in range(3)]
        actions.delete(taken[1], by=rack.world.operator)
        with once(Monitor, "execute", kill, only=("block-commit", "block-export-add")):
            rack.world.work()
        rack.settle()
        writer.wait_for_next()
    assert rack.world.numbers() == [3, 1]
    with rack.server() as server:
        assert_holds(server.disk, writer.acked, writer.begun)
    rack.assert_nothing_amiss()
    rack.assert_snapshots_kept()


@pytest.mark.parametrize(
    ("owner", "verb"),
    [
        (Qcow2Storage, "revert"),
        (TgtExporter, "withdraw"),
        (TgtExporter, "publish"),
    ],
)
def test_revert_during_which_all_is_killed_happened_or_did_not(rack: Rack, owner: type, verb: str) -> None:
    with rack.server() as server, Writer(server.disk) as writer:
        taken = [rack.take(writer) for _ in range(2)]
        writer.wait_for_more()
    rack.world.switch_off()
    rack.settle()

    rack.world.revert(taken[0])
    with once(owner, verb, rack.kill_both):
        rack.world.work()
    rack.settle()

    allowed = {(2, 1): (writer.acked, writer.begun), (1,): rack.marks[1]}
    with rack.server() as server:
        assert_holds(server.disk, *allowed[tuple(rack.world.numbers())])
    rack.assert_nothing_amiss()
    rack.assert_snapshots_kept()


def test_drive_during_whose_growing_all_is_killed_has_what_it_had(rack: Rack) -> None:
    with rack.server() as server, Writer(server.disk) as writer:
        rack.take(writer)
        writer.wait_for_more()
    rack.settle()
    array = rack.world.drive.drive_array
    array.size_mb *= 2
    array.save()
    infrastructure, web = array.infrastructure, array.instance_array
    assert web is not None
    design = deploying.World(rack.world.clock, rack.world.owner, infrastructure, web, array)

    deploy = design.start()
    with once(TgtExporter, "withdraw", rack.kill_both):
        design.work(deploy)
    rack.settle()

    with rack.server() as server:
        assert server.disk.stat().st_size == rack.world.drive.size_bytes
        assert_holds(server.disk, writer.acked, writer.begun)
    rack.assert_nothing_amiss()
    rack.assert_snapshots_kept()


# ── Standing still ───────────────────────────────────────────────────────────


def test_tgtd_that_stands_still_is_told_and_holds_up_no_snapshot(rack: Rack) -> None:
    exporter().daemon.seconds = 0.5
    with rack.server() as server, Writer(server.disk, stubborn=True) as writer:
        rack.take(writer)
        with standing_still(rack.tgtd()):
            look_and_work(rack.world)
            assert "tgtd does not answer" in rack.world.drive.export_error
            low = writer.acked
            rack.ask_for_snapshot()
            rack.world.work()
            rack.marks[2] = (low, writer.begun)
            assert (rack.world.numbers(), rack.world.drive.hold) == ([2, 1], "")
        rack.settle()
        writer.wait_for_next()
        assert writer.errors == []
    rack.assert_nothing_amiss()
    rack.assert_snapshots_kept()


def test_storage_daemon_that_stands_still_is_asked_again_until_it_says_what_became_of_a_snapshot(rack: Rack) -> None:
    with rack.server() as server, Writer(server.disk, stubborn=True) as writer, ExitStack() as stopped:
        rack.take(writer)
        low = writer.acked
        rack.ask_for_snapshot()
        with once(Serving, "follow", lambda: stopped.enter_context(standing_still(rack.daemon()))):
            rack.world.work()
        assert rack.world.drive.hold.startswith("Storage has not said yet what became of #2.")
        stopped.close()
        rack.settle()
        rack.marks[2] = (low, writer.begun)
        writer.wait_for_next()
        assert rack.world.numbers() in ([1], [2, 1])
        assert writer.errors == []
    rack.assert_nothing_amiss()
    rack.assert_snapshots_kept()


# ── No room ──────────────────────────────────────────────────────────────────


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root may mount a small disk for the test.")
def test_full_disk_loses_no_snapshot_and_nothing_that_was_flushed(
    db: None,
    clock: Clock,  # noqa: F811
    settings: Settings,
    tmp_path: Path,
) -> None:
    pools = tmp_path / "pools"
    pools.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(pools)], check=True)
    try:
        with bed("qcow2", tmp_path) as place, served(clock, settings, place, tmp_path) as rack:
            _fill_and_make_room(rack, pools / "filler")
    finally:
        # What looks at new mounts may have it open for a moment.
        wait_until(lambda: subprocess.run(["umount", str(pools)], check=False).returncode == 0, "umount")


def _fill_and_make_room(rack: Rack, filler: Path) -> None:
    def fill() -> None:
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(64 * 1024))

    with rack.server() as server, Writer(server.disk, stubborn=True) as writer:
        rack.take(writer)
        writer.wait_for_more()
        low = writer.acked
        rack.ask_for_snapshot()
        # What is written from then on needs room that is not there.
        with once(Serving, "follow", fill):
            rack.world.work()
        rack.marks[2] = (low, writer.begun)
        wait_until(lambda: writer.errors, "a write that fails")
        drive = rack.world.drive
        assert drive.head_layer
        with pytest.raises(StorageError, match=r"The storage pool is full\. Nothing on the drive was changed\."):
            driver_of(drive.pool).snapshot(drive.pk, frozen=drive.head_layer, new_layer=drive.next_layer)
        rack.world.clock.advance(60)
        look_and_work(rack.world)
        with pytest.raises(Refused, match="% full"):
            rack.ask_for_snapshot()
        filler.unlink()
        rack.settle()
        writer.wait_for_next()
        rack.take(writer)
    assert rack.world.numbers() == [3, 2, 1]
    rack.assert_nothing_amiss()
    rack.assert_snapshots_kept()


# ── Is it off? ───────────────────────────────────────────────────────────────


def test_server_that_logs_in_before_a_revert_is_named_and_keeps_its_disk(rack: Rack) -> None:
    with rack.server() as server, Writer(server.disk) as writer:
        snapshot = rack.take(writer)
        writer.wait_for_more()
    rack.world.switch_off()
    rack.settle()
    rack.world.revert(snapshot)

    with rack.server() as server:
        rack.world.work()
        assert_holds(server.disk, writer.acked, writer.begun)

        trouble = rack.world.drive.trouble
        assert trouble
        assert f"{rack.export.initiator} is still logged in from 127.0.0.1" in trouble.text
        look_and_work(rack.world)
        with pytest.raises(Refused, match=f"{rack.export.initiator} is still logged in"):
            rack.world.revert(snapshot)


def test_machine_that_lost_its_power_is_logged_out_by_the_target(rack: Rack, monkeypatch: pytest.MonkeyPatch) -> None:
    exports.stop()
    monkeypatch.setattr(tgt_daemon, "NOP_SECONDS", 1)
    monkeypatch.setattr(tgt_daemon, "NOP_COUNT", 1)
    rack.settle()
    with rack.server() as server:
        with Writer(server.disk) as writer:
            snapshot = rack.take(writer)
            writer.wait_for_more()
        server.stand_still()
        rack.world.switch_off()
        look_and_work(rack.world)
        with pytest.raises(Refused, match="is still logged in"):
            rack.world.revert(snapshot)

        wait_until(lambda: not exporter().targets()[rack.export.iqn].sessions, "the session's end")
        look_and_work(rack.world)
        rack.world.revert(snapshot)
        rack.world.work()
        server.end()
    rack.settle()

    with rack.server() as server:
        assert_holds(server.disk, *rack.marks[1])
