"""Machines that QEMU emulates whole, with OpenStack's emulated BMC in front of them.

    test → product → sushy-tools' emulator → libvirtd → qemu-system-x86_64

libvirtd sees folders of its own where those of the host would be, and processes of its own alone: when it is ended,
the machines end with it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.bmcs import Guard
from tests.lab.guest import ON_DISK, Guest
from tests.ports import free_port

if TYPE_CHECKING:
    import libvirt

WAIT_SECONDS = 60

_QEMU_CONF = """security_driver = "none"
user = "root"
group = "root"
stdio_handler = "file"
cgroup_controllers = [ ]
namespaces = [ ]
remember_owner = 0
"""
_LIBVIRTD_CONF = """auth_unix_rw = "none"
auth_unix_ro = "none"
unix_sock_dir = "{folder}/sockets"
log_outputs = "2:file:{folder}/libvirtd.log"
"""
_IN_A_NAMESPACE = """set -e
mkdir -p /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /etc/libvirt
mount -t tmpfs tmpfs /run/libvirt
mount --bind "$0/etc" /etc/libvirt
for name in passwd group; do mount --bind "$0/$name" /etc/$name; done
for name in lib cache log; do mount --bind "$0/$name" /var/$name/libvirt; done
libvirtd --pid-file "$0/libvirtd.pid" &
wait $!
"""
_DOMAIN = """<domain type="qemu">
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit="MiB">160</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch="x86_64" machine="pc">hvm</type>
    {system}
    <bootmenu enable="{menu}" timeout="{firmware_ms}"/>
  </os>
  <features><acpi/></features>
  <devices>
    <serial type="file"><source path="{console}" append="on"/></serial>
    {disk}
  </devices>
</domain>
"""
_SYSTEM = """<kernel>{guest.kernel}</kernel>
    <initrd>{guest.initrd}</initrd>
    <cmdline>console=ttyS0 mitigations=off panic=5{words}</cmdline>"""
_DISK = """<serial type="unix"><source mode="bind" path="{line}"/></serial>
    <disk type="network" device="disk">
      <driver name="qemu" type="raw" cache="none"/>
      <source protocol="iscsi" name="{disk.target}/{disk.lun}">
        <host name="{disk.address}" port="{disk.port}"/>
        <initiator><iqn name="{disk.initiator}"/></initiator>
        <auth username="{disk.user}"><secret type="iscsi" usage="{name}"/></auth>
      </source>
      <target dev="vda" bus="virtio"/>
    </disk>"""
_SECRET = """<secret ephemeral="yes" private="yes">
  <usage type="iscsi"><target>{name}</target></usage>
</secret>"""
_EMULATOR_CONF = """SUSHY_EMULATOR_LISTEN_IP = "127.0.0.1"
SUSHY_EMULATOR_LISTEN_PORT = {port}
SUSHY_EMULATOR_SSL_CERT = "{folder}/certificate.pem"
SUSHY_EMULATOR_SSL_KEY = "{folder}/key.pem"
SUSHY_EMULATOR_AUTH_FILE = "{folder}/users"
SUSHY_EMULATOR_STATE_DIR = "{folder}"
SUSHY_EMULATOR_LIBVIRT_URI = "{uri}"
"""


@dataclass(frozen=True)
class IscsiDisk:
    """What a server must know to reach its drive."""

    target: str
    lun: int
    address: str
    port: int
    initiator: str
    user: str
    password: str


class Machine:
    """One of them, as somebody sees it who stands in front."""

    def __init__(self, folder: Path, name: str, number: int) -> None:
        self.name = name
        self.uuid = f"00000000-0000-4000-8000-{number:012d}"
        self.console = folder / f"{name}.console"
        self.console.touch()
        self.kept = folder / f"{name}.kept"
        self.line = folder / f"{name}.line"

    @property
    def said(self) -> str:
        """What came over the serial line since the machine exists."""
        return self.console.read_text(errors="replace")

    def wait_until_it_says(self, text: str, *, times: int = 1) -> None:
        end = time.monotonic() + WAIT_SECONDS
        while self.said.count(text) < times:
            assert time.monotonic() < end, f"{self.name} has not said {text!r} {times} times:\n{self.said[-2000:]}"
            time.sleep(0.05)

    def tell(self, text: str) -> None:
        """Types a line at a machine whose system is on its disk."""
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self.line))
            line.sendall(f"{text}\n".encode())


class Machines:
    """libvirt, the machines and their BMC. All of it ends with `stop`, and what it wrote is in one folder."""

    def __init__(self, folder: Path, guest: Guest) -> None:
        self._folder, self._guest = folder, guest
        self._processes: list[subprocess.Popen[bytes]] = []
        self.port = free_port()
        self._guard = Guard(folder)
        self._made = 0
        try:
            self._connection = self._start_libvirt()
            self._start_emulator()
        except BaseException:
            self.stop()
            raise

    def make(self, name: str, *, firmware_ms: int = 0, system: bool = True) -> Machine:
        """A machine that is off. Its firmware waits for so long before it starts the operating system.

        Without a system it stays in the firmware, where nobody hears the power button.
        """
        self._made += 1
        machine = Machine(self._folder, name, self._made)
        self._define(machine, system=_SYSTEM.format(guest=self._guest, words="") if system else "", menu=firmware_ms)
        return machine

    def give_disk(self, machine: Machine, disk: IscsiDisk) -> None:
        """From now on the machine's only disk is on the network, and its system is on that."""
        secret = self._connection.secretDefineXML(_SECRET.format(name=machine.name))
        secret.setValue(disk.password.encode())
        system = _SYSTEM.format(guest=self._guest, words=f" {ON_DISK}")
        self._define(machine, system=system, disk=_DISK.format(disk=disk, name=machine.name, line=machine.line))

    def _define(self, machine: Machine, *, system: str, disk: str = "", menu: int = 0) -> None:
        self._connection.defineXML(
            _DOMAIN.format(
                name=machine.name,
                uuid=machine.uuid,
                system=system,
                console=machine.console,
                disk=disk,
                menu="yes" if menu else "no",
                firmware_ms=menu,
            )
        )

    def fields(self, machine: Machine) -> dict[str, str]:
        """Answers what an administrator enters for it; the certificate is pinned."""
        return self._guard.fields(f"https://127.0.0.1:{self.port}/redfish/v1/Systems/{machine.uuid}")

    def told(self, machine: Machine) -> int:
        """Answers how many commands its BMC has taken."""
        return self._log("emulator.out").count(f"POST /redfish/v1/Systems/{machine.uuid}/Actions/ComputerSystem.Reset ")

    def wait_until_told(self, machine: Machine, *, times: int) -> None:
        """Returns once its BMC has taken so many commands."""
        end = time.monotonic() + WAIT_SECONDS
        while self.told(machine) < times:
            assert time.monotonic() < end, f"The BMC of {machine.name} was not told anything {times} times."
            time.sleep(0.05)

    # What follows goes past the BMC, which is not told of it.

    def is_running(self, machine: Machine) -> bool:
        return bool(self._domain(machine).isActive())

    def switch_on(self, machine: Machine) -> None:
        self._domain(machine).create()

    def switch_off(self, machine: Machine) -> None:
        if self.is_running(machine):
            self._domain(machine).destroy()

    def keep(self, machine: Machine) -> None:
        """Writes down the memory of a machine that runs, which ends it, for `go_on`."""
        self._domain(machine).save(str(machine.kept))

    def go_on(self, machine: Machine) -> None:
        """Has a machine that is off run from where it was kept, any number of times: faster than booting it."""
        self._connection.restore(str(machine.kept))

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.kill()  # nothing of theirs is needed again, and unshare hears nothing else
            process.wait()
        self._processes = []

    def _domain(self, machine: Machine) -> libvirt.virDomain:
        return self._connection.lookupByUUIDString(machine.uuid)

    def _start_libvirt(self) -> libvirt.virConnect:
        import libvirt  # only there where machines are, while this module is read everywhere

        for name in ("etc", "lib", "cache", "log", "sockets"):
            (self._folder / name).mkdir()
        (self._folder / "etc/qemu.conf").write_text(_QEMU_CONF)
        (self._folder / "etc/libvirtd.conf").write_text(_LIBVIRTD_CONF.format(folder=self._folder))
        # libvirtd looks up a user that Debian makes for it, though it is told not to become it.
        for name, line in (("passwd", "libvirt-qemu:x:64055:64055::/:/bin/false"), ("group", "libvirt-qemu:x:64055:")):
            (self._folder / name).write_text(f"{Path('/etc', name).read_text()}{line}\n")
        # Processes of its own: whatever becomes of it, the kernel ends the machines with it.
        self._run(
            *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("sh", "-c", _IN_A_NAMESPACE, str(self._folder)),
            log="libvirtd.out",
        )
        self._uri = f"qemu+unix:///system?socket={self._folder}/sockets/libvirt-sock"
        libvirt.registerErrorHandler(lambda *_: None, None)  # it would print what is raised as well
        self._wait_for(self._folder / "sockets/libvirt-sock", log="libvirtd.out")
        return libvirt.open(self._uri)

    def _start_emulator(self) -> None:
        conf = self._folder / "emulator.conf"
        conf.write_text(_EMULATOR_CONF.format(port=self.port, folder=self._folder, uri=self._uri))
        self._run(sys.executable, "-m", "sushy_tools.emulator.main", "--config", str(conf), log="emulator.out")
        self._wait_for(("127.0.0.1", self.port), log="emulator.out")

    def _wait_for(self, place: Path | tuple[str, int], *, log: str) -> None:
        """Returns once somebody listens there."""
        family = socket.AF_UNIX if isinstance(place, Path) else socket.AF_INET
        end = time.monotonic() + WAIT_SECONDS
        while True:
            with socket.socket(family) as line:
                if line.connect_ex(str(place) if isinstance(place, Path) else place) == 0:
                    return
            assert time.monotonic() < end, f"Nobody listens at {place}:\n{self._log(log)[-2000:]}"
            time.sleep(0.05)

    def _run(self, *command: str, log: str) -> None:
        """Starts a program that the kernel ends with the tests, should nobody be left to do so."""
        with (self._folder / log).open("wb") as out:
            self._processes.append(
                subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", *command],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env=os.environ | {"LC_ALL": "C"},
                )
            )

    def _log(self, name: str) -> str:
        return (self._folder / name).read_text(errors="replace")
