"""The tgt exporter: the contract, what strangers try, and what it says when the machine does not play along.

tgtd, ports and initiators are real. Each test has a folder and a port of its own.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from editor.iscsi import Export, ExportError, exporter_for, tgt_daemon
from editor.iscsi.tgt import TgtExporter
from editor.iscsi.tgt_socket import FILE, Mode, Op, TgtError, peer
from editor.storage.base import Device
from tests.e2e.product import free_port
from tests.killing import Killed

from .initiator import AUTHENTICATION_FAILED, NOT_FOUND, CheckCondition, HungUp, Initiator, LoginRefused
from .iscsi import PREFIX, Disk, ExporterContract, Network, NoDisk, Refused, served

MIB = 1024 * 1024
SECTOR = 512
REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    tgt_daemon.program_path() is None, reason="tgtd is missing. On Debian: apt-get install tgt"
)


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


def test_what_is_served_outlives_the_process(network: RealNetwork) -> None:
    drive = network.export()
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from editor.iscsi import Export\nfrom editor.iscsi.tgt import TgtExporter\n"
        "from editor.storage.base import Device\n"
        f"TgtExporter(Path({str(network.folder)!r}), {network.tgt.portal!r}).publish(\n"
        f"Export({drive.drive}, {drive.iqn!r}, {drive.serial!r}, {drive.device!r}, {drive.initiator!r}, "
        f"{drive.user!r}, {drive.password!r}))"
    )

    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True, timeout=30)

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
    monkeypatch.setattr(network.tgt.daemon, "_demand_free_portal", lambda: None)

    with socket.create_server((host, int(port))), pytest.raises(ExportError) as told:
        network.published()

    assert "No drive is served" in str(told.value)
    assert network.tgt.daemon.life() is None


@pytest.mark.parametrize("portal", ["192.0.2.1:13260", "[2001:db8::1]:13260"])
def test_address_of_another_machine_is_told(network: RealNetwork, portal: str) -> None:
    exporter = TgtExporter(network.folder, portal)

    with pytest.raises(ExportError, match=r"cannot listen at .* Set ISCSI_PORTAL to an address of this machine"):
        exporter.publish(network.export())


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
