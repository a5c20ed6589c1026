"""The tgt exporter when it is killed, when tgtd is, and when the machine does not play along."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from editor.iscsi import Export, ExportError, exporter_for
from editor.iscsi.tgt import TgtExporter, portals
from editor.iscsi.tgt import daemon as tgt_daemon
from editor.iscsi.tgt.socket import FILE, Mode, Op
from editor.storage.base import Device
from tests.killing import Killed
from tests.ports import free_port

from .initiator import Initiator, LoginRefused
from .iscsi import served
from .tgt import WHY_NOT, RealNetwork, network

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=WHY_NOT or "")
__all__ = ["network"]


# Interrupted at any point


def killed_at(network: RealNetwork, number: int, call: Callable[[], object]) -> bool:
    """Whether the call was killed after its n-th request."""
    count = 0
    send = network.tgt.daemon.send

    def counted(*arguments: Any, **more: Any) -> str:
        nonlocal count
        answer = send(*arguments, **more)
        count += 1
        if count >= number:
            raise Killed
        return answer

    network.tgt.daemon.send = counted  # type: ignore[method-assign]
    try:
        call()
    except Killed:
        return True
    finally:
        network.tgt.daemon.send = send  # type: ignore[method-assign]
    return False


def test_interrupted_publishing_lets_nobody_in_and_is_repeated(network: RealNetwork) -> None:
    network.published(1000)
    for number in range(1, 100):
        drive = replace(network.export(number), user=f"instance-{number}")
        killed = killed_at(network, number, partial(network.tgt.publish, drive))
        with Initiator(network.tgt.portal, drive) as stranger, pytest.raises(LoginRefused):
            stranger.name_target("None")

        network.tgt.publish(drive)

        assert network.finds(drive) == drive.serial
        assert network.tgt.targets()[drive.iqn] == served(drive)
        if not killed:
            break
    assert 8 < number < 20


def test_interrupted_changes_are_repeated(network: RealNetwork) -> None:
    first, second = network.export(7), replace(network.export(7, instance=2), device=network.make_device("moved"))
    network.tgt.publish(first)
    for number in range(1, 100):
        killed = killed_at(network, number, partial(network.tgt.publish, second))
        network.tgt.publish(second)
        assert network.finds(second) == second.serial
        assert network.tgt.targets() == {second.iqn: served(second)}
        first, second = second, first
        if not killed:
            break
    assert 8 < number < 30


@pytest.mark.parametrize("verb", ["withdraw", "remove", "stop"])
def test_interrupted_taking_away_is_repeated(network: RealNetwork, verb: str) -> None:
    def call() -> None:
        getattr(network.tgt, verb)(*([] if verb == "stop" else [drive.iqn]))

    for number in range(1, 100):
        drive = network.published()
        killed = killed_at(network, number, call)
        call()
        assert {row.device for row in network.tgt.targets().values()} <= {None}
        network.tgt.publish(drive)
        assert network.finds(drive) == drive.serial
        if not killed:
            break
    assert 2 < number < 20


def test_publishing_mends_what_was_killed_while_stopping(network: RealNetwork) -> None:
    drive = network.published()
    network.tgt.daemon.ask(Mode.SYSTEM, Op.UPDATE, State="offline")
    network.assert_refused(drive)

    network.tgt.publish(drive)

    assert network.finds(drive) == drive.serial


def test_removed_user_is_forgotten(network: RealNetwork) -> None:
    drive = network.published()

    network.tgt.remove(drive.iqn)

    assert drive.user not in network.tgt.daemon.ask(Mode.ACCOUNT, Op.SHOW)


# tgtd and the machine


def test_another_process_finds_what_is_served(network: RealNetwork) -> None:
    drive = network.published()

    later = TgtExporter(network.folder, network.tgt.portal)
    with network.log_in(drive) as disk:
        later.publish(drive)
        assert disk.serial == drive.serial
        with pytest.raises(ExportError, match="still logged in"):
            later.withdraw(drive.iqn)

    assert later.targets() == {drive.iqn: served(drive)}


def test_lost_notes_are_made_anew(network: RealNetwork) -> None:
    drives = [network.published(7), network.published(8)]
    (network.folder / "guard").unlink()
    shutil.rmtree(network.folder / "targets")
    shutil.rmtree(network.folder / "accounts")

    with network.log_in(drives[0]):
        [session] = network.tgt.targets()[drives[0].iqn].sessions
        with pytest.raises(ExportError, match="still logged in"):
            network.tgt.publish(drives[0])
        network.tgt.publish(drives[1])

    network.tgt.publish(drives[0])
    assert session.initiator == drives[0].initiator
    assert network.tgt.targets() == {drive.iqn: served(drive) for drive in drives}
    assert [network.finds(drive) for drive in drives] == [drive.serial for drive in drives]


def publish_elsewhere(network: RealNetwork, drive: Export, *before: str) -> None:
    """In another process, begun by the words `before`."""
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from editor.iscsi import Export\nfrom editor.iscsi.tgt import TgtExporter\n"
        "from editor.storage.base import Device\n"
        f"TgtExporter(Path({str(network.folder)!r}), {network.tgt.portal!r}).publish(\n"
        f"Export({drive.drive}, {drive.iqn!r}, {drive.serial!r}, {drive.device!r}, {drive.initiator!r}, "
        f"{drive.user!r}, {drive.password!r}))"
    )

    subprocess.run([*before, sys.executable, "-c", script], cwd=REPOSITORY, check=True, timeout=30)


def test_tgtd_that_sees_other_mounts_is_left_to_its_servers(network: RealNetwork) -> None:
    """It would find empty files where devices are mounted for us, and servers would lose the disks that work now."""
    if os.geteuid() or shutil.which("unshare") is None:
        pytest.skip("only root may make other mounts for a program, by unshare")
    drive = network.export()
    publish_elsewhere(network, drive, "unshare", "--mount")

    with network.log_in(drive) as disk:
        for attempt in (network.tgt.settle, lambda: network.tgt.publish(drive)):
            with pytest.raises(ExportError, match="other file systems are mounted than here"):
                attempt()
        assert disk.serial == drive.serial

    network.tgt.stop()
    network.tgt.publish(drive)
    assert network.finds(drive) == drive.serial


def test_what_is_served_outlives_the_process(network: RealNetwork) -> None:
    drive = network.export()

    publish_elsewhere(network, drive)

    assert network.finds(drive) == drive.serial
    assert os.getsid(network.pid) == network.pid
    assert Path(f"/proc/{network.pid}/cmdline").read_bytes().startswith(b"/usr/sbin/tgtd\0-f\0")


def test_two_that_start_it_at_once_end_with_one(network: RealNetwork) -> None:
    drives = [network.export(number) for number in range(1, 9)]
    exporters = [TgtExporter(network.folder, network.tgt.portal) for _ in drives]

    with ThreadPoolExecutor(len(drives)) as threads:
        list(threads.map(lambda exporter, drive: exporter.publish(drive), exporters, drives))

    assert network.tgt.targets() == {drive.iqn: served(drive) for drive in drives}
    processes = [link.parent.name for link in Path("/proc").glob("[0-9]*/cwd") if leads_to(link, network.folder)]
    assert processes == [str(network.pid)]


def leads_to(link: Path, folder: Path) -> bool:
    try:
        return link.readlink() == folder
    except OSError:
        return False


def test_crashed_tgtd_is_started_by_the_next_publishing(network: RealNetwork) -> None:
    drives = [network.published(7), network.published(8)]

    network.crash()
    assert network.tgt.targets() == {}
    network.tgt.withdraw(drives[0].iqn)
    network.tgt.remove(drives[1].iqn)
    network.tgt.publish(drives[0])

    assert network.tgt.targets() == {drives[0].iqn: served(drives[0])}
    assert network.finds(drives[0]) == drives[0].serial


@pytest.mark.parametrize("verb", ["targets", "withdraw", "publish", "stop"])
def test_hung_tgtd_is_told_in_bounded_time(network: RealNetwork, verb: str) -> None:
    drive = network.published()
    network.tgt.daemon.seconds = 0.2
    os.kill(network.pid, signal.SIGSTOP)
    given: dict[str, list[Any]] = {"withdraw": [drive.iqn], "publish": [drive]}

    with pytest.raises(ExportError, match="tgtd does not answer") as told:
        getattr(network.tgt, verb)(*given.get(verb, []))
    os.kill(network.pid, signal.SIGCONT)

    assert told.value.permanent is False
    network.tgt.daemon.seconds = 5
    assert network.tgt.targets() == {drive.iqn: served(drive)}


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"", "does not answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not answer"),
        (struct.pack("II", 0, 1 << 31), "does not answer"),
        (struct.pack("II", 0, 8 + 6) + b"hello\0", "cannot be understood"),
        (struct.pack("II", 0, 8 + 30) + b"Target 5: short", "does not answer"),
        (struct.pack("II", 22, 8), "could not do this"),
    ],
)
def test_stranger_on_the_socket_is_no_tgtd(network: RealNetwork, answer: bytes, sentence: str) -> None:
    network.folder.mkdir(parents=True)
    (network.folder / "guard").write_text("guard-0")
    network.tgt.daemon.seconds = 0.5
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(network.folder, os.O_PATH)
        listener.bind(f"/proc/self/fd/{here}/{FILE}")
        os.close(here)
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        with pytest.raises(ExportError, match=sentence):
            network.tgt.targets()
        server.join()


def test_taken_port_is_told_and_nothing_listens_elsewhere(network: RealNetwork) -> None:
    host, _, port = network.tgt.portal.rpartition(":")
    drive = network.export()

    with socket.create_server((host, int(port))):
        with pytest.raises(ExportError, match=f"Another program listens at {network.tgt.portal}, where drives are"):
            network.tgt.publish(drive)
        assert network.tgt.targets() == {}

    network.tgt.publish(drive)
    assert network.finds(drive) == drive.serial


def test_port_that_is_taken_at_the_last_moment_is_told(network: RealNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """tgtd then listens at every address of the machine, which it must not go on doing."""
    host, _, port = network.tgt.portal.rpartition(":")
    monkeypatch.setattr(portals, "demand_free", lambda portal: None)

    with socket.create_server((host, int(port))), pytest.raises(ExportError) as told:
        network.published()

    assert "No drive is served" in str(told.value)
    assert network.tgt.daemon.life() is None


@pytest.mark.parametrize("portal", ["192.0.2.1:13260", "[2001:db8::1]:13260"])
def test_address_of_another_machine_is_told(network: RealNetwork, portal: str) -> None:
    exporter = TgtExporter(network.folder, portal)

    with pytest.raises(ExportError, match=r"cannot listen at .* Set ISCSI_PORTAL to an address of this machine"):
        exporter.publish(network.export())


def test_another_portal_is_taken_also_when_nothing_else_changes(network: RealNetwork) -> None:
    """Pages tell servers to connect there, and no drive needs to be published anew."""
    drive = network.published()
    network.tgt = network.exporter = TgtExporter(network.folder, f"127.0.0.1:{free_port()}")

    network.tgt.settle()

    assert network.finds(drive) == drive.serial


def test_nothing_is_started_to_have_it_listen(network: RealNetwork) -> None:
    network.tgt.settle()

    assert network.tgt.daemon.life() is None


def test_another_portal_is_taken_without_ending_sessions(network: RealNetwork) -> None:
    drive = network.published()

    with network.log_in(drive) as disk:
        old = network.tgt.portal
        network.tgt = network.exporter = TgtExporter(network.folder, f"127.0.0.1:{free_port()}")
        network.tgt.publish(drive)
        assert disk.serial == drive.serial

    assert network.finds(drive) == drive.serial
    with pytest.raises(ConnectionRefusedError):
        Initiator(old, drive)


def test_missing_program_is_told(network: RealNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    assert network.tgt.missing_programs() is None
    monkeypatch.setattr(tgt_daemon, "PROGRAM", "tgtd-of-another-machine")

    assert "apt-get install tgt" in (network.tgt.missing_programs() or "")
    with pytest.raises(ExportError, match="tgtd is not installed"):
        network.published()


def test_tgtd_that_dies_at_its_start_is_told_with_its_last_words(
    network: RealNetwork, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "tgtd"
    program.write_text("#!/bin/sh\necho 'tgtd: no luck today' >&2\nexit 1\n")
    program.chmod(0o700)
    monkeypatch.setattr(tgt_daemon, "PROGRAM", str(program))

    with pytest.raises(ExportError, match="ended as soon as it was started") as told:
        network.published()

    assert "tgtd: no luck today" in told.value.detail


def test_folder_of_another_user_is_refused(network: RealNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    network.folder.mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)

    with pytest.raises(ExportError, match="belongs to another user"):
        network.published()


def test_device_that_is_not_there_is_not_served(network: RealNetwork) -> None:
    drive = network.published(8)
    broken = replace(network.export(), device=Device("file", str(network.pool / "gone")))

    with pytest.raises(ExportError, match="The drive's device is not there"):
        network.tgt.publish(broken)

    network.assert_refused(broken)
    assert network.tgt.targets() == {drive.iqn: served(drive)}


def test_device_that_tgtd_cannot_open_is_not_served(network: RealNetwork) -> None:
    broken = replace(network.export(), device=Device("file", str(network.pool)))

    with pytest.raises(ExportError, match="tgtd could not open the drive's device"):
        network.tgt.publish(broken)

    assert network.tgt.targets() == {}


@pytest.mark.parametrize("path", ["/pool, with commas/drive", "/pool/a;b", "/pool/a\nb"])
def test_path_that_tgtd_would_cut_is_refused(network: RealNetwork, path: str) -> None:
    with pytest.raises(ExportError, match="Rename the folder of the storage pool") as refused:
        network.tgt.publish(replace(network.export(), device=Device("file", path)))

    assert refused.value.permanent is True


def test_log_does_not_grow_without_end(network: RealNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tgt_daemon, "LOG_BYTES", 1000)
    log = network.folder / tgt_daemon.LOG
    drives = [network.published(number) for number in range(1, 20)]

    assert log.stat().st_size < 2000
    assert len(network.tgt.targets()) == len(drives)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user")
def test_ordinary_user_can_serve() -> None:
    nobody = 65534
    with tempfile.TemporaryDirectory() as folder:
        network = RealNetwork(Path(folder))
        drive = network.export()
        for path in [Path(folder), *Path(folder).rglob("*")]:
            os.chown(path, nobody, nobody)

        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(nobody)
                os.setuid(nobody)
                network.tgt.publish(drive)
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)

        try:
            assert status == 0
            assert Path(f"/proc/{network.pid}").stat().st_uid == nobody
            assert network.finds(drive) == drive.serial
        finally:
            network.crash()


def test_it_is_the_exporter_called_tgt(tmp_path: Path) -> None:
    assert isinstance(exporter_for("tgt", tmp_path, "127.0.0.1:13260"), TgtExporter)
