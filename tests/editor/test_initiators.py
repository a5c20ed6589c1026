"""The commands that a drive's page offers do what they say: bash runs them, and a real target lets QEMU in."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from editor.iscsi import Export
from editor.iscsi.tgt import TgtExporter
from editor.iscsi_names import chap_user, initiator_iqn, serial_number, target_iqn
from editor.models import Drive, Instance, InstanceArray
from editor.storage import Device
from editor.views import initiators
from tests.ports import free_port

PASSWORD = "abcdEFGH12345678"
QEMU = "qemu-system-x86_64"

DRIVE = Drive(pk=7)
INSTANCE = Instance(pk=12, number=2, instance_array=InstanceArray(label="web"))


def run(steps: str, folder: Path, *, password: str = PASSWORD) -> subprocess.CompletedProcess[str]:
    """Types the steps into bash, and the password when it asks; what is in folder/bin stands in for other programs."""
    environment = os.environ | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-c", steps],
        input=f"{password}\n",
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def put(folder: Path, name: str, script: str) -> None:
    """Puts a program in front of the one of that name."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bin" / name).chmod(0o755)


def test_open_iscsi_is_told_names_and_password_and_logs_in(tmp_path: Path, settings: Settings) -> None:
    settings.ISCSI_PORTAL = "10.0.0.5:3260"
    for name in ("systemctl", "iscsiadm"):
        put(tmp_path, name, f'echo {name} "$@" >> said')

    done = run(initiators.open_iscsi(DRIVE, INSTANCE).steps.replace("/etc/iscsi/", ""), tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "initiatorname.iscsi").read_text() == f"InitiatorName={initiator_iqn(INSTANCE)}\n"
    chap = "-n node.session.auth.authmethod -v CHAP -n node.session.auth.username -v instance-12"
    password = f"-n node.session.auth.password -v {PASSWORD}"
    node = f"iscsiadm -m node -T {target_iqn(DRIVE)} -p 10.0.0.5:3260,1"
    assert (tmp_path / "said").read_text().splitlines() == [
        "systemctl restart iscsid",
        f"{node} -o new",
        f"{node} -o update {chap} {password} -n node.startup -v automatic",
        f"{node} --login",
    ]


def test_open_iscsi_ends_at_the_first_command_that_fails(tmp_path: Path) -> None:
    put(tmp_path, "systemctl", "exit 0")
    put(tmp_path, "iscsiadm", 'echo "$@" >> said; exit 7')

    done = run(initiators.open_iscsi(DRIVE, INSTANCE).steps.replace("/etc/iscsi/", ""), tmp_path)

    assert done.returncode == 7
    assert len((tmp_path / "said").read_text().splitlines()) == 1


@pytest.fixture
def served(tmp_path: Path, settings: Settings) -> Iterator[None]:
    """The drive, full of Z, served to its instance alone."""
    settings.ISCSI_PORTAL = f"127.0.0.1:{free_port()}"
    exporter = TgtExporter(tmp_path / "iscsi", settings.ISCSI_PORTAL)
    missing = exporter.missing_programs()
    if missing or not shutil.which(QEMU):
        pytest.skip(missing or f"{QEMU} is not installed. On Debian: apt install qemu-system-x86 qemu-block-extra")
    disk = tmp_path / "disk"
    disk.write_bytes(b"Z" * 1024 * 1024)
    export = Export(
        drive=DRIVE.pk,
        iqn=target_iqn(DRIVE),
        serial=serial_number(DRIVE),
        device=Device("file", str(disk)),
        initiator=initiator_iqn(INSTANCE),
        user=chap_user(INSTANCE),
        password=PASSWORD,
    )
    try:
        exporter.publish(export)
        yield
    finally:
        exporter.stop()


@pytest.mark.usefixtures("served")
def test_qemu_logs_in_with_the_password_in_a_file_of_ones_own(tmp_path: Path) -> None:
    real = shutil.which("qemu-system-x86_64")
    asks = r"qemu-io drive-7 \"read -P 0x5a 0 4k\"\nquit\n"
    put(
        tmp_path,
        "qemu-system-x86_64",
        f'printf "{asks}" | {real} "$@" -nodefaults -display none -S -monitor stdio',
    )
    steps = initiators.qemu(DRIVE, INSTANCE).steps

    done = run(steps, tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert "read 4096/4096 bytes at offset 0" in done.stdout
    assert "Pattern verification failed" not in done.stdout
    assert (tmp_path / "web-2.chap").stat().st_mode & 0o777 == 0o600
    assert "Authentication failure" in run(steps, tmp_path, password="wrong-wrong-wrong").stderr
