"""Serves drives with tgtd, which needs no kernel module and no rights.

What keeps strangers out, in tgtd's own order: a login names its target; the initiator must be in the target's list; if
the target has an account, CHAP must be passed; then there is a session. A login that has come half-way knows its
target by number and is not checked again. Hence:

- a target without initiators admits nobody; ours get theirs last and lose them first;
- a target without accounts asks nobody for a password: ours have a *guard* from their first moment, an account
  with a password nobody knows, while those of instances come and go;
- the number of a target that was taken away is never given again, and another initiator gets a new target: a login
  that was half-way ends nowhere.

(`login_start`, `text_scan_security` and `login_finish` in usr/iscsi/iscsid.c, `account_lookup` and
`tgt_target_destroy` in usr/target.c of https://github.com/fujita/tgt, 1.0.85.) The guard is also the first account of
each target, and instances' are never two: `tgt_target_show_all` reads the first n of an account list that may have
gaps, and tgtd dies of one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from editor.iscsi import tgt_text
from editor.iscsi.base import LUN, Export, Exporter, ExportError, Session, Target, still_open
from editor.iscsi.tgt_daemon import ANSWER_SECONDS, Daemon, missing_sentence
from editor.iscsi.tgt_names import BACKINGS, GUARD, check
from editor.iscsi.tgt_notes import Known, Made, Notes
from editor.iscsi.tgt_socket import Code, Mode, NotRunning, Op, Said
from editor.iscsi.tgt_text import Row
from editor.storage.base import Device

VENDOR, PRODUCT = "EDITOR", "DRIVE"
OPEN_SECONDS = {"file": ANSWER_SECONDS, "rbd": 30.0}


class TgtExporter(Exporter):
    """Targets of a tgtd of its own, in `folder`; started when the first drive is published."""

    def __init__(self, folder: Path, portal: str) -> None:
        self.portal = portal
        self.daemon = Daemon(folder, portal)
        self._notes = Notes(self.daemon.folder)

    # The seam

    def publish(self, export: Export) -> None:
        check(export)
        with self.daemon.explained(), self.daemon.held():
            self._guard()
            life = self.daemon.run()
            self._have_account(self._guard(), None, life)
            if self._bring_back(export, life):
                return
            row = self._row(export.iqn)
            if row is not None and (not row.guarded or row.initiators - {export.initiator}):
                self._delete(row)
                row = None
            if row is None:
                self._create(export, life)
            else:
                self._change(row, export, life)

    def withdraw(self, iqn: str, *, dead: bool = False) -> None:
        with self.daemon.explained(), self._alone():
            row = self._noted_row(iqn) or self._row_if_any(iqn)
            if row is None:
                return
            if row.lun is None:
                if not dead:
                    self._demand_unused(row)
            else:
                with self._closed(row):
                    self._take_unit(row, dead=dead)
                known = self._notes.known(iqn)
                if known and known.made:
                    self._notes.remember(iqn, replace(known, withdrawn=True))

    def remove(self, iqn: str) -> None:
        with self.daemon.explained(), self._alone():
            rows = self._rows_if_any()
            row = rows.get(iqn)
            if row is None:
                self._notes.forget(iqn)
                return
            self._delete(row)
            for user in row.users:
                if not any(user in other.users for other in rows.values() if other is not row):
                    self._notes.forget_account(user)
                    self._ask_unless(Code.NO_USER, Mode.ACCOUNT, Op.DELETE, user=user)

    def targets(self) -> dict[str, Target]:
        with self.daemon.explained():
            return {
                row.iqn: Target(
                    iqn=row.iqn,
                    device=row.says("Backing store path"),
                    initiators=row.initiators,
                    users=row.users,
                    sessions=self._sessions(row) if row.sessions is None else row.sessions,
                )
                for row in self._rows_if_any().values()
            }

    def names(self) -> Iterable[str]:
        with self.daemon.explained():
            return self._notes.names()

    def settle(self) -> None:
        with self.daemon.explained():
            if not self.daemon.is_settled(self.daemon.life()):
                with self.daemon.held(), contextlib.suppress(NotRunning):
                    self.daemon.run()

    def stop(self) -> None:
        with self.daemon.explained(), self._alone(), contextlib.suppress(NotRunning):
            for row in self._rows().values():
                self._demand_unused(row)
            # From here on tgtd takes no connection; one may have been on its way.
            self.daemon.ask(Mode.SYSTEM, Op.UPDATE, State="offline")
            try:
                rows = list(self._rows().values())
                for row in rows:
                    self._demand_unused(row)
                for row in rows:
                    self._delete(row, forget=False, what="Drives that no server uses are not served for the moment.")
                self.daemon.end()
            except BaseException:
                with contextlib.suppress(NotRunning):
                    self.daemon.ask(Mode.SYSTEM, Op.UPDATE, State="ready")
                raise

    def missing_programs(self) -> str | None:
        return missing_sentence()

    # Targets

    def _bring_back(self, export: Export, life: str) -> bool:
        """Serve again a target whose LUN was withdrawn, without reading all others; False when it may be another."""
        known = self._notes.known(export.iqn)
        if (
            known is None
            or not known.withdrawn
            or known.made != _made(export, life)
            or not self._notes.was_told(export.user, export.password, life)
            or not self._is_there(known.tid)
        ):
            return False
        self._notes.remember(export.iqn, Known(known.tid, export.device, known.made))
        self._add_unit(known.tid, export.device, export.serial)
        self._ask_unless(Code.ACL_EXIST, Mode.TARGET, Op.BIND, tid=known.tid, initiator_name=export.initiator)
        return True

    def _create(self, export: Export, life: str) -> None:
        known = self._notes.known(export.iqn)
        tid = known.tid if known else _new_tid()
        self._notes.remember(export.iqn, Known(tid, export.device))
        try:
            self.daemon.ask(Mode.TARGET, Op.NEW, tid=tid, targetname=export.iqn)
        except Said as error:
            if error.code != Code.TARGET_EXIST:
                raise
            # The number is another's, or the folder was emptied and the target is there.
            row = self._rows().get(export.iqn)
            if row is not None:
                self._delete(row)
            tid = _new_tid()
            self._notes.remember(export.iqn, Known(tid, export.device))
            self.daemon.ask(Mode.TARGET, Op.NEW, tid=tid, targetname=export.iqn)
        try:
            self.daemon.ask(Mode.ACCOUNT, Op.BIND, tid=tid, user=self._guard())
            self._have_account(export.user, export.password, life)
            self.daemon.ask(Mode.ACCOUNT, Op.BIND, tid=tid, user=export.user)
            self._add_unit(tid, export.device, export.serial)
            self.daemon.ask(Mode.TARGET, Op.BIND, tid=tid, initiator_name=export.initiator)
            self._notes.remember(export.iqn, Known(tid, export.device, _made(export, life)))
        except BaseException:
            with contextlib.suppress(Exception):
                self.daemon.ask(Mode.TARGET, Op.DELETE, tid=tid)
                self._notes.forget(export.iqn)
            raise

    def _change(self, row: Row, export: Export, life: str) -> None:
        known = self._notes.known(export.iqn)
        right = Known(row.tid, export.device, _made(export, life))
        if known and known != right:
            self._notes.remember(export.iqn, replace(known, made=None))
        self._have_account(export.user, export.password, life)
        for user in row.users - {export.user}:
            self.daemon.ask(Mode.ACCOUNT, Op.UNBIND, tid=row.tid, user=user)
        if export.user not in row.users:
            self.daemon.ask(Mode.ACCOUNT, Op.BIND, tid=row.tid, user=export.user)
        if row.lun is not None and not self._serves(row, export):
            with self._closed(row):
                self._take_unit(row)
                self._add_unit(row.tid, export.device, export.serial)
                self._notes.remember(export.iqn, Known(row.tid, export.device))
        elif row.lun is None:
            self._notes.remember(export.iqn, Known(row.tid, export.device))
            self._add_unit(row.tid, export.device, export.serial)
        if not row.initiators:
            self._ask_unless(Code.ACL_EXIST, Mode.TARGET, Op.BIND, tid=row.tid, initiator_name=export.initiator)
        if known != right:
            self._notes.remember(export.iqn, right)

    def _serves(self, row: Row, export: Export) -> bool:
        """Whether the LUN is this device, writable and by its serial number."""
        known = self._notes.known(export.iqn)
        return (
            known is not None
            and (known.tid, known.device) == (row.tid, export.device)
            and row.says("Backing store type") == BACKINGS[export.device.backing]
            and row.says("Backing store path") == export.device.name
            and (row.says("Online"), row.says("Readonly")) == ("Yes", "No")
            and row.says("SCSI SN") == export.serial
        )

    def _delete(self, row: Row, *, forget: bool = True, what: str = "Nothing was changed.") -> None:
        """Take a target away whole. tgtd refuses while there is a session, in the same step."""
        try:
            self._ask_unless(Code.NO_TARGET, Mode.TARGET, Op.DELETE, tid=row.tid)
        except Said as error:
            if error.code == Code.TARGET_ACTIVE:
                self._demand_unused(row, what=what)
            raise
        if forget:
            self._notes.forget(row.iqn)

    @contextlib.contextmanager
    def _closed(self, row: Row) -> Iterator[None]:
        """Nobody can begin to log in to the target meanwhile."""
        for initiator in row.initiators:
            self._ask_unless(Code.ACL_NOEXIST, Mode.TARGET, Op.UNBIND, tid=row.tid, initiator_name=initiator)
        try:
            yield
        finally:
            for initiator in row.initiators:
                self._ask_unless(Code.ACL_EXIST, Mode.TARGET, Op.BIND, tid=row.tid, initiator_name=initiator)

    # LUNs

    def _take_unit(self, row: Row, *, dead: bool = False) -> None:
        """Close the LUN of a target that nobody can begin to log in to."""
        if not dead:
            self._demand_unused(row)
        try:
            self.daemon.send(Mode.DEVICE, Op.DELETE, "", tid=row.tid, lun=LUN)
        except Said as error:
            if error.code == Code.LUN_ACTIVE:
                raise ExportError(
                    "Reads or writes of this drive are still under way. Nothing was changed. Try again in a minute.",
                    detail=str(error),
                ) from error
            if error.code != Code.NO_LUN:
                raise
        if dead:
            return
        try:
            # A login that was half-way may have ended in a session, which may have read or written already.
            self._demand_unused(row)
        except ExportError:
            known = self._notes.known(row.iqn)
            if known:
                noted = known.made.serial if known.made else ""
                self._add_unit(row.tid, known.device, row.says("SCSI SN") or noted)
            raise

    def _add_unit(self, tid: int, device: Device, serial: str) -> None:
        self._demand_device(device)
        options = [*device.options, ("cluster", "ceph")] if device.backing == "rbd" else []
        try:
            self.daemon.send(
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
        self.daemon.send(Mode.DEVICE, Op.UPDATE, text, tid=tid, lun=LUN)

    def _demand_device(self, device: Device) -> None:
        if device.backing == "rbd":
            if not re.search(r"^ {4}rbd\b", self.daemon.ask(Mode.SYSTEM, Op.SHOW), re.MULTILINE):
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

    # Accounts

    def _have_account(self, user: str, password: str | None, life: str) -> None:
        """Let tgtd know this user by this password; None is one that nobody knows, made once in tgtd's life.

        tgtd tells no password and changes none, so it is noted what it was told.
        """
        if self._notes.was_told(user, password or "", life):
            return
        self._notes.forget_account(user)
        secret = password or secrets.token_hex(8)
        try:
            self.daemon.ask(Mode.ACCOUNT, Op.NEW, user=user, password=secret)
        except Said as error:
            if error.code != Code.USER_EXIST:
                raise
            if password is not None:
                self._make_anew(user, password)
        self._notes.is_told(user, password or "", life)

    def _make_anew(self, user: str, password: str) -> None:
        rows = [row for row in self._rows().values() if user in row.users]
        self.daemon.ask(Mode.ACCOUNT, Op.DELETE, user=user)
        self.daemon.ask(Mode.ACCOUNT, Op.NEW, user=user, password=password)
        for row in rows:
            self.daemon.ask(Mode.ACCOUNT, Op.BIND, tid=row.tid, user=user)

    def _guard(self) -> str:
        """The name of the guard in this folder, made when it is first asked for."""
        name = self._notes.guard
        if name is None:
            # The note may be lost while tgtd runs.
            told = []
            with contextlib.suppress(NotRunning):
                told = re.findall(rf"^ +({GUARD}\S+)$", self.daemon.ask(Mode.ACCOUNT, Op.SHOW), re.MULTILINE)
            self._notes.guard = name = told[0] if told else f"{GUARD}{secrets.token_hex(16)}"
        return name

    # What there is

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Under the lock, unless nothing was ever published."""
        if not self.daemon.folder.exists():
            yield
            return
        with self.daemon.held():
            yield

    def _rows(self) -> dict[str, Row]:
        text = self.daemon.ask(Mode.TARGET, Op.SHOW)
        return {row.iqn: row for row in tgt_text.targets(text, self._guard())}

    def _rows_if_any(self) -> dict[str, Row]:
        """As `_rows`; none when no tgtd runs."""
        try:
            return self._rows()
        except NotRunning:
            return {}

    def _noted_row(self, iqn: str) -> Row | None:
        """The target of this name as it was made in this life of tgtd, without reading all others; None if unsure."""
        known = self._notes.known(iqn)
        if known is None or known.made is None:
            return None
        try:
            if self.daemon.life() != known.made.life or not self._is_there(known.tid):
                return None
        except NotRunning:
            return None
        return Row(
            tid=known.tid,
            iqn=iqn,
            lun=None if known.withdrawn else "",
            guarded=True,
            users=frozenset({known.made.user}),
            initiators=frozenset({known.made.initiator}),
            sessions=None,
        )

    def _is_there(self, tid: int) -> bool:
        try:
            self.daemon.ask(Mode.CONNECTION, Op.SHOW, tid=tid)
        except Said as error:
            if error.code != Code.NO_TARGET:
                raise
            return False
        return True

    def _row_if_any(self, iqn: str) -> Row | None:
        """The target of this name; of one whose number is noted and that is gone, without reading all others.

        So it is with each of a thousand drives after the machine was started anew.
        """
        try:
            return self._row(iqn) if self._notes.known(iqn) else self._rows().get(iqn)
        except NotRunning:
            return None

    def _row(self, iqn: str) -> Row | None:
        """The target of this name, without reading all of them when it is not known."""
        known = self._notes.known(iqn)
        if known is None:
            return None
        try:
            self.daemon.ask(Mode.TARGET, Op.SHOW, tid=known.tid)
        except Said as error:
            if error.code == Code.NO_TARGET:
                return None
            raise
        return self._rows().get(iqn)

    def _sessions(self, row: Row) -> tuple[Session, ...]:
        try:
            return tgt_text.sessions(self.daemon.ask(Mode.CONNECTION, Op.SHOW, tid=row.tid))
        except Said as error:
            if error.code != Code.NO_TARGET:
                raise
            return ()

    def _demand_unused(self, row: Row, *, what: str = "Nothing was changed.") -> None:
        for session in self._sessions(row):
            raise still_open(session, what=what)

    def _ask_unless(self, fine: Code, mode: Mode, op: Op, *, tid: int = 0, **parameters: str) -> None:
        """Ask; the answer that it is so already is fine."""
        try:
            self.daemon.ask(mode, op, tid=tid, **parameters)
        except Said as error:
            if error.code != fine:
                raise


def _new_tid() -> int:
    """Any of 2^31: one that was used before is not met again."""
    return secrets.randbelow(2**31 - 1) + 1


def _made(export: Export, life: str) -> Made:
    return Made(life, export.initiator, export.user, export.serial)


def _can_unmap(device: Device) -> bool:
    """Whether the device can take UNMAP from tgtd 1.0.85, and reads as zeros after it.

    Block devices need not know how holes are punched. In Ceph it discards, and then tells the server of a hardware
    error: librbd answers the length, where `bs_rbd_request` in usr/bs_rbd.c expects 0.
    """
    return device.backing == "file" and stat.S_ISREG(Path(device.name).stat().st_mode)
