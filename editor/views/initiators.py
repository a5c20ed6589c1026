"""What a server must be told to log in to a drive, as commands to copy. None of them holds the password.

A shell reads a subshell, in parentheses, whole before it runs it: so `read` asks the person, and does not take the next
pasted line for the password.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from editor.iscsi import LUN
from editor.iscsi_names import chap_user, initiator_iqn, serial_number, target_iqn
from editor.models import Drive, Instance


@dataclass(frozen=True)
class Recipe:
    """One way to log in. `steps` are typed as they are; `before` and `after` say what one must know."""

    key: str
    name: str
    before: str
    steps: str
    after: str = ""


def recipes(drive: Drive, instance: Instance) -> tuple[Recipe, ...]:
    """Answers the ways for Linux, QEMU and iPXE."""
    return (open_iscsi(drive, instance), qemu(drive, instance), ipxe(drive, instance))


def open_iscsi(drive: Drive, instance: Instance) -> Recipe:
    """For a running Linux; sources: iscsiadm(8), and open-iscsi's README, section "Adding custom iSCSI portal".

    The 1 behind the portal is the portal group, which tgt and LIO number so.
    """
    target, portal = target_iqn(drive), settings.ISCSI_PORTAL
    steps = f"""\
( set -eu
target={target}
portal={portal},1
echo InitiatorName={initiator_iqn(instance)} \\
  > /etc/iscsi/initiatorname.iscsi
systemctl restart iscsid
read -rsp 'CHAP password: ' password; echo
iscsiadm -m node -T $target -p $portal -o new
iscsiadm -m node -T $target -p $portal -o update \\
  -n node.session.auth.authmethod -v CHAP \\
  -n node.session.auth.username -v {chap_user(instance)} \\
  -n node.session.auth.password -v "$password" \\
  -n node.startup -v automatic
iscsiadm -m node -T $target -p $portal --login
)
"""
    return Recipe(
        "open-iscsi",
        "Linux, open-iscsi",
        f"In a root shell on {instance.label}. It asks for the password, which stays out of the shell's history.",
        steps,
        f"The disk is then /dev/disk/by-path/ip-{portal}-iscsi-{target}-lun-{LUN}, also after the next start.",
    )


def qemu(drive: Drive, instance: Instance) -> Recipe:
    """For a virtual machine; source: BlockdevOptionsIscsi in QEMU's QMP reference."""
    file, node = f"{instance.label}.chap", f"drive-{drive.pk}"
    steps = f"""\
( set -eu
umask 077
read -rsp 'CHAP password: ' password; echo
printf %s "$password" > {file}
qemu-system-x86_64 -m 1G \\
  -object secret,id=chap,file={file} \\
  -blockdev driver=iscsi,node-name={node},transport=tcp\\
,portal={settings.ISCSI_PORTAL}\\
,target={target_iqn(drive)},lun={LUN}\\
,initiator-name={initiator_iqn(instance)}\\
,user={chap_user(instance)},password-secret=chap \\
  -device virtio-blk-pci,drive={node},serial={serial_number(drive)}
)
"""
    return Recipe(
        "qemu",
        "QEMU",
        f"The password is kept in the file {file}, which only you can read.",
        steps,
    )


def ipxe(drive: Drive, instance: Instance) -> Recipe:
    """For firmware; source: ipxe.org/cmd/sanboot and ipxe.org/sanuri."""
    address, _, port = settings.ISCSI_PORTAL.rpartition(":")
    steps = f"""\
#!ipxe
set initiator-iqn {initiator_iqn(instance)}
set username {chap_user(instance)}
set password the-CHAP-password
sanboot iscsi:{address}::{port}:{LUN:x}:{target_iqn(drive)}
"""
    return Recipe(
        "ipxe",
        "iPXE",
        f"A script for the firmware of {instance.label}. Put the password in, and let nobody else fetch it.",
        steps,
    )
