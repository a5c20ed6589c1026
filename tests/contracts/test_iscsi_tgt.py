"""The tgt exporter: the contract, what servers have of it, and what strangers try.

tgtd, ports and initiators are real.
"""

from __future__ import annotations

import resource
import shutil
import stat
import subprocess
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from editor.iscsi import Export, ExportError
from editor.iscsi.tgt import daemon as tgt_daemon
from editor.iscsi.tgt.socket import Mode, Op

from .initiator import AUTHENTICATION_FAILED, NOT_FOUND, CheckCondition, Initiator, LoginRefused
from .iscsi import PREFIX, ExporterContract, Refused, served
from .server import Server, wait_until
from .server import why_not as why_no_server
from .tgt import WHY_NOT, RealDisk, RealNetwork, network
from .writer import Writer

pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=WHY_NOT or "")
__all__ = ["network"]


class TestTgtExporter(ExporterContract):
    """It keeps what every exporter promises."""


# What a server has of it


def test_programs_of_others_read_and_write(network: RealNetwork) -> None:
    missing = [name for name in ("iscsi-ls", "iscsi-inq", "qemu-io") if not shutil.which(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed. On Debian: apt-get install libiscsi-bin qemu-block-extra")
    drive = network.published()
    portal = network.tgt.portal

    def qemu_io(export: Export, *commands: str) -> subprocess.CompletedProcess[str]:
        options = {
            "driver": "raw",
            "file.driver": "iscsi",
            "file.transport": "tcp",
            "file.portal": portal,
            "file.target": export.iqn,
            "file.lun": "1",
            "file.user": export.user,
            "file.password": export.password,
            "file.initiator-name": export.initiator,
        }
        given = ",".join(f"{name}={value}" for name, value in options.items())
        words = [word for command in commands for word in ("-c", command)]
        return run("qemu-io", "--image-opts", given, *words)

    url = f"iscsi://{drive.user}%{drive.password}@{portal}"
    listed = run("iscsi-ls", "-i", drive.initiator, url).stdout
    page = run("iscsi-inq", "-i", drive.initiator, "-e", "1", "-c", "128", f"{url}/{drive.iqn}/1").stdout
    written = qemu_io(drive, "write -P 0x5a 64k 64k", "flush", "read -P 0x5a 64k 64k")
    refused = [
        qemu_io(replace(drive, password="another0horse"), "read 0 512").stderr,
        qemu_io(replace(drive, initiator=f"{drive.initiator}0"), "read 0 512").stderr,
    ]

    assert drive.iqn in listed
    assert drive.serial in page
    assert (written.returncode, written.stderr) == (0, "")
    assert Path(drive.device.name).read_bytes()[64 * 1024 : 128 * 1024] == b"\x5a" * 64 * 1024
    assert ["Authentication failure" in refused[0], "Target not found" in refused[1]] == [True, True]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)


def test_disk_says_what_it_is_and_keeps_what_it_is_given(network: RealNetwork) -> None:
    drive = network.published()
    file = Path(drive.device.name)

    with network.initiator(drive) as disk:
        assert disk.inquiry() == f"{'EDITOR':8}{'DRIVE':16}0001"
        # It has a cache, the host's, and empties it when told.
        assert disk.write_cache() is True
        disk.write(b"\x5a" * 4096, 8)
        disk.flush()
        assert file.read_bytes()[4096:8192] == b"\x5a" * 4096
        held = file.stat().st_blocks
        disk.unmap(8, 8)
        assert disk.read(8, 8) == bytes(4096)
    assert file.stat().st_blocks < held


def test_disk_is_the_same_after_everything_that_may_happen(network: RealNetwork) -> None:
    drive = network.published()

    def identity() -> tuple[str, bytes, str]:
        with network.initiator(drive) as disk:
            return disk.serial(), disk.identifiers(), disk.inquiry()

    first = identity()
    network.tgt.withdraw(drive.iqn)
    network.tgt.publish(drive)
    assert identity() == first

    network.crash()
    network.tgt.publish(drive)
    assert identity() == first

    network.tgt.stop()
    network.tgt.publish(drive)
    assert identity() == first


def test_drives_differ(network: RealNetwork) -> None:
    found = set()
    for number in (7, 8, 70000008):
        with network.initiator(network.published(number)) as disk:
            found.add((disk.serial(), disk.identifiers()[-16:]))

    assert len({serial for serial, _ in found}) == len({naa for _, naa in found}) == 3


def test_session_is_told_with_its_address(network: RealNetwork) -> None:
    drive = network.published()

    with network.log_in(drive):
        [session] = network.tgt.targets()[drive.iqn].sessions

    assert (session.initiator, session.address) == (drive.initiator, "127.0.0.1")


@pytest.mark.skipif(why_no_server() is not None, reason=why_no_server() or "")
def test_looks_leave_no_connection_open_that_tgtd_would_read_for_ever(network: RealNetwork, tmp_path: Path) -> None:
    drive = network.published()
    with Server(tmp_path / "server", network.tgt.portal, drive) as server, Writer(server.disk) as writer:
        writer.wait_for_more()
        before = len(network.open_files())
        for _ in range(20):
            network.tgt.settle()
            network.tgt.targets()

        wait_until(lambda: len(network.open_files()) == before, "the end of all connections", seconds=5)


def test_it_may_open_as_many_files_as_the_system_allows(network: RealNetwork) -> None:
    few, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, few), most))
    try:
        network.published()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, most))

    now, at_most = resource.prlimit(network.pid, resource.RLIMIT_NOFILE)
    assert now == at_most >= most


def test_server_that_lost_its_power_is_logged_out(network: RealNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tgt_daemon, "NOP_SECONDS", 1)
    monkeypatch.setattr(tgt_daemon, "NOP_COUNT", 1)
    drive = network.published()

    with network.initiator(drive) as dead:
        # It reads what comes and answers nothing.
        while dead.connection.recv(4096):
            pass

    network.tgt.withdraw(drive.iqn)


# What strangers try


def test_login_that_waited_half_way_finds_no_withdrawn_disk(network: RealNetwork) -> None:
    drive = network.published()

    with closing(network.half_way(drive).connection), network.half_way(drive) as waiting:
        network.tgt.withdraw(drive.iqn)
        waiting.pass_chap()
        waiting.finish()
        with pytest.raises(CheckCondition):
            waiting.read()


def test_login_that_ends_while_the_disk_is_taken_away_is_noticed(
    network: RealNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the sessions and the end of the LUN it could have read, and would keep what it read."""
    drive = network.published()
    waiting = network.half_way(drive)
    send = network.tgt.daemon.send

    def finish_before_deletion(mode: Mode, op: Op, *arguments: Any, **more: Any) -> str:
        if (mode, op) == (Mode.DEVICE, Op.DELETE):
            waiting.pass_chap()
            waiting.finish()
        return send(mode, op, *arguments, **more)

    with waiting, monkeypatch.context() as patch:
        patch.setattr(network.tgt.daemon, "send", finish_before_deletion)
        with pytest.raises(ExportError, match="still logged in"):
            network.tgt.withdraw(drive.iqn)
        assert RealDisk(waiting).serial == drive.serial

    assert network.tgt.targets() == {drive.iqn: served(drive)}
    assert network.finds(drive) == drive.serial


def test_nobody_can_begin_to_log_in_while_the_disk_is_taken_away(
    network: RealNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = network.published()
    send = network.tgt.daemon.send

    def log_in_before_deletion(mode: Mode, op: Op, *arguments: Any, **more: Any) -> str:
        if (mode, op) == (Mode.DEVICE, Op.DELETE):
            network.assert_refused(drive)
        return send(mode, op, *arguments, **more)

    monkeypatch.setattr(network.tgt.daemon, "send", log_in_before_deletion)
    network.tgt.withdraw(drive.iqn)

    assert network.tgt.targets() == {drive.iqn: replace(served(drive), device=None)}


def test_disk_in_use_is_not_even_touched(network: RealNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    drive = network.published()
    asked = record(network, monkeypatch)

    with network.log_in(drive), pytest.raises(ExportError, match="still logged in"):
        network.tgt.withdraw(drive.iqn)

    assert (Mode.DEVICE, Op.DELETE) not in asked


def test_drive_is_taken_away_and_brought_back_without_reading_all_others(
    network: RealNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive, other = network.published(7), network.published(8)
    asked = record(network, monkeypatch)

    network.tgt.withdraw(drive.iqn)
    network.tgt.withdraw(drive.iqn)
    network.tgt.publish(drive)

    assert (Mode.TARGET, Op.SHOW) not in asked
    assert network.tgt.targets() == {one.iqn: served(one) for one in (drive, other)}
    with network.log_in(drive) as disk:
        assert (disk.serial, disk.device) == (drive.serial, drive.device.name)


def test_withdrawn_target_in_which_somebody_is_logged_in_is_in_use_whatever_is_noted(network: RealNetwork) -> None:
    drive = network.published()
    network.tgt.withdraw(drive.iqn)

    with network.initiator(drive), pytest.raises(ExportError, match="still logged in"):
        network.tgt.withdraw(drive.iqn)


def test_withdrawn_target_that_is_to_be_served_otherwise_is_not_brought_back_as_it_was(network: RealNetwork) -> None:
    drive = network.published(7, instance=1)
    network.tgt.withdraw(drive.iqn)
    now = network.export(7, instance=2)

    network.tgt.publish(now)

    assert network.tgt.targets() == {now.iqn: served(now)}
    with pytest.raises(Refused):
        network.initiator(drive)


def test_notes_of_an_earlier_tgtd_are_not_believed(network: RealNetwork) -> None:
    drive, other = network.published(7), network.published(8)
    network.tgt.withdraw(drive.iqn)
    network.crash()

    network.tgt.publish(other)
    network.tgt.withdraw(drive.iqn)  # there is none
    network.tgt.publish(drive)

    assert network.tgt.targets() == {one.iqn: served(one) for one in (drive, other)}


def test_target_that_is_gone_though_it_is_noted_is_made_anew(network: RealNetwork) -> None:
    drive = network.published()
    network.tgt.withdraw(drive.iqn)
    known = network.tgt._notes.known(drive.iqn)
    assert known
    network.tgt.daemon.ask(Mode.TARGET, Op.DELETE, tid=known.tid)

    network.tgt.publish(drive)

    assert network.tgt.targets() == {drive.iqn: served(drive)}


def test_device_that_is_reached_in_another_way_is_opened_anew(
    network: RealNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = network.published()
    asked = record(network, monkeypatch)

    network.tgt.publish(drive)
    assert (Mode.DEVICE, Op.NEW) not in asked

    network.tgt.publish(replace(drive, device=replace(drive.device, options=(("conf", "/etc/ceph/other.conf"),))))
    assert asked.index((Mode.DEVICE, Op.DELETE)) < asked.index((Mode.DEVICE, Op.NEW))


def record(network: RealNetwork, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Mode, Op]]:
    """What tgtd is asked from now on."""
    asked: list[tuple[Mode, Op]] = []
    send = network.tgt.daemon.send

    def recorded(mode: Mode, op: Op, *arguments: Any, **more: Any) -> str:
        asked.append((mode, op))
        return send(mode, op, *arguments, **more)

    monkeypatch.setattr(network.tgt.daemon, "send", recorded)
    return asked


@pytest.mark.parametrize("steps", [0, 1])
def test_former_owner_that_waited_half_way_does_not_get_in(network: RealNetwork, steps: int) -> None:
    drive = network.published(7, instance=1)
    waiting = network.half_way(drive)
    if steps:
        waiting.pass_chap()

    network.tgt.publish(network.export(7, instance=2))

    with waiting, pytest.raises(LoginRefused):
        finish_login(waiting, steps)
    assert network.tgt.targets()[drive.iqn].sessions == ()


def finish_login(waiting: Initiator, steps: int) -> None:
    if not steps:
        waiting.pass_chap()
    waiting.finish()


def test_login_to_a_target_that_was_removed_does_not_end_in_its_successor(network: RealNetwork) -> None:
    drive = network.published()
    waiting = network.half_way(drive)
    waiting.pass_chap()

    network.tgt.remove(drive.iqn)
    network.tgt.publish(drive)

    with waiting, pytest.raises(LoginRefused):
        waiting.finish()
    assert network.tgt.targets()[drive.iqn].sessions == ()


def test_target_never_goes_without_password(network: RealNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while accounts change either: each request is followed by a login without one."""
    drive = network.published()
    network.published(8)
    tries: list[tuple[int, int] | str] = []
    send = network.tgt.daemon.send

    def look(mode: Mode, op: Op, *arguments: Any, **more: Any) -> str:
        try:
            return send(mode, op, *arguments, **more)
        finally:
            with Initiator(network.tgt.portal, drive) as stranger:
                try:
                    stranger.name_target("None")
                    stranger.finish()
                    tries.append("in")
                except LoginRefused as refused:
                    tries.append(refused.status)

    monkeypatch.setattr(network.tgt.daemon, "send", look)
    network.tgt.publish(replace(drive, password="another0horse"))
    network.tgt.publish(replace(drive, user="instance-2"))
    network.tgt.withdraw(drive.iqn)
    network.tgt.publish(drive)
    network.tgt.publish(network.export(7, instance=2))
    network.tgt.remove(drive.iqn)

    assert len(tries) > 30
    assert set(tries) == {AUTHENTICATION_FAILED, NOT_FOUND}


@pytest.mark.parametrize(
    "alias",
    [
        f"x\n        I_T nexus: 1\nTarget 5: {PREFIX}:drive-8",
        f"x\n    LUN information:\n    Account information:\n    ACL information:\nTarget 5: {PREFIX}:fake",
        "x" * 250,
        "%s%n",
    ],
)
def test_server_cannot_write_targets_or_hide_by_its_alias(network: RealNetwork, alias: str) -> None:
    drives = [network.published(7), network.published(8, instance=2)]

    with network.initiator(drives[0], alias=alias):
        told = network.tgt.targets()
        with pytest.raises(ExportError, match="still logged in"):
            network.tgt.withdraw(drives[0].iqn)

    [session] = told[drives[0].iqn].sessions
    assert told == {drives[0].iqn: served(drives[0], session), drives[1].iqn: served(drives[1])}
    assert (session.initiator, session.address) == (drives[0].initiator, "127.0.0.1")


def test_password_is_nowhere_to_be_read(network: RealNetwork) -> None:
    drive = network.published()
    secret = drive.password.encode()
    network.tgt.publish(replace(drive, password="another0horse"))
    network.tgt.publish(drive)
    with pytest.raises(Refused):
        network.initiator(replace(drive, password="another0horse"))

    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            assert secret not in (process / "cmdline").read_bytes()
    with pytest.raises(ExportError) as refused:
        network.tgt.publish(replace(drive, iqn="no name"))

    assert secret not in (Path("/proc") / str(network.pid) / "environ").read_bytes()
    assert secret not in b"".join(file.read_bytes() for file in network.folder.rglob("*") if file.is_file())
    assert drive.password not in f"{drive!r}{refused.value!r}{refused.value.detail}"


def test_nobody_else_can_reach_it(network: RealNetwork) -> None:
    network.folder.mkdir(parents=True, mode=0o755)
    network.published()

    for path in [network.folder, *network.folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name
