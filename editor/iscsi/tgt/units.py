"""The LUN through which a target of tgtd serves a drive."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path

from editor.iscsi.base import LUN, ExportError
from editor.iscsi.tgt.daemon import ANSWER_SECONDS, Daemon
from editor.iscsi.tgt.names import BACKINGS
from editor.iscsi.tgt.socket import Mode, Op, Said
from editor.storage.base import Device

VENDOR, PRODUCT = "EDITOR", "DRIVE"
OPEN_SECONDS = {"file": ANSWER_SECONDS, "rbd": 30.0}


def add_unit(daemon: Daemon, tid: int, device: Device, serial: str) -> None:
    """Open the device as the LUN of a target that has none. Raises ExportError, saying what keeps it from that."""
    _demand_device(daemon, device)
    options = [*device.options, ("cluster", "ceph")] if device.backing == "rbd" else []
    try:
        daemon.send(
            Mode.DEVICE,
            Op.NEW,
            f"path={device.name},bstype={BACKINGS[device.backing]},bsopts={';'.join(map('='.join, options))}",
            tid=tid,
            lun=LUN,
            seconds=OPEN_SECONDS[device.backing],
        )
    except Said as error:
        raise ExportError(
            "The iSCSI target tgtd could not open the drive's device. The drive is not served. "
            "Check that the storage pool answers, then try again.",
            detail=f"{error}, {device}",
        ) from error
    # Of the disk's two numbers (NAA, page 0x83), tgtd makes the longer from the hexadecimal digits in scsi_id, and
    # the shorter from the number of the target.
    text = (
        f"targetOps scsi_id={VENDOR:8}{hashlib.sha256(serial.encode()).hexdigest()[:24]},scsi_sn={serial},"
        f"vendor_id={VENDOR},product_id={PRODUCT},thin_provisioning={int(_can_unmap(device))},"
    )
    daemon.send(Mode.DEVICE, Op.UPDATE, text, tid=tid, lun=LUN)


def _demand_device(daemon: Daemon, device: Device) -> None:
    if device.backing == "rbd":
        if not re.search(r"^ {4}rbd\b", daemon.ask(Mode.SYSTEM, Op.SHOW), re.MULTILINE):
            raise ExportError(
                "tgtd cannot serve drives of Ceph: its part for that is not installed. The drive is not served. "
                "Install the package tgt-rbd: apt-get install tgt-rbd. Then restart tgtd."
            )
    # Without the right to write, tgtd would serve it read-only.
    elif not os.access(device.name, os.R_OK | os.W_OK):
        raise ExportError(
            "The drive's device is not there or cannot be written to. The drive is not served. "
            "Check that the storage pool is mounted and belongs to this user, then try again.",
            detail=f"{device}",
        )


def _can_unmap(device: Device) -> bool:
    """Whether the device can take UNMAP from tgtd 1.0.85, and reads as zeros after it.

    Block devices need not know how holes are punched. In Ceph it discards, and then tells the server of a hardware
    error: librbd answers the length, where `bs_rbd_request` in usr/bs_rbd.c expects 0.
    """
    return device.backing == "file" and stat.S_ISREG(Path(device.name).stat().st_mode)
