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
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from editor.iscsi.base import LUN, Export, Exporter, ExportError, Target
from editor.iscsi.tgt.accounts import Accounts
from editor.iscsi.tgt.daemon import Daemon, missing_sentence
from editor.iscsi.tgt.names import BACKINGS, check
from editor.iscsi.tgt.notes import Known, Made, Notes
from editor.iscsi.tgt.replies import Row
from editor.iscsi.tgt.socket import Code, Mode, NotRunning, Op, Said
from editor.iscsi.tgt.targets import Targets
from editor.iscsi.tgt.units import add_unit


class TgtExporter(Exporter):
    """Targets of a tgtd of its own, in `folder`; started when the first drive is published."""

    def __init__(self, folder: Path, portal: str) -> None:
        self.portal = portal
        self.daemon = Daemon(folder, portal)
        self._notes = Notes(self.daemon.folder)
        self._accounts = Accounts(self.daemon, self._notes)
        self._targets = Targets(self.daemon, self._notes, self._accounts)

    # The seam

    def publish(self, export: Export) -> None:
        check(export)
        with self.daemon.explained(), self.daemon.held():
            self._accounts.guard()
            life = self.daemon.run()
            self._accounts.have(self._accounts.guard(), None, life)
            if self._bring_back(export, life):
                return
            row = self._targets.row(export.iqn)
            if row is not None and (not row.guarded or row.initiators - {export.initiator}):
                self._delete(row)
                row = None
            if row is None:
                self._create(export, life)
            else:
                self._change(row, export, life)

    def withdraw(self, iqn: str, *, dead: bool = False) -> None:
        with self.daemon.explained(), self._alone():
            row = self._targets.noted_row(iqn) or self._targets.row_if_any(iqn)
            if row is None:
                return
            if row.lun is None:
                if not dead:
                    self._targets.demand_unused(row)
            else:
                with self._closed(row):
                    self._take_unit(row, dead=dead)
                known = self._notes.known(iqn)
                if known and known.made:
                    self._notes.remember(iqn, replace(known, withdrawn=True))

    def remove(self, iqn: str) -> None:
        with self.daemon.explained(), self._alone():
            rows = self._targets.rows_if_any()
            row = rows.get(iqn)
            if row is None:
                self._notes.forget(iqn)
                return
            self._delete(row)
            for user in row.users:
                if not any(user in other.users for other in rows.values() if other is not row):
                    self._notes.forget_account(user)
                    self.daemon.ask_unless(Code.NO_USER, Mode.ACCOUNT, Op.DELETE, user=user)

    def targets(self) -> dict[str, Target]:
        with self.daemon.explained():
            return {
                row.iqn: Target(
                    iqn=row.iqn,
                    device=row.says("Backing store path"),
                    initiators=row.initiators,
                    users=row.users,
                    sessions=self._targets.sessions(row) if row.sessions is None else row.sessions,
                )
                for row in self._targets.rows_if_any().values()
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
            for row in self._targets.rows().values():
                self._targets.demand_unused(row)
            # From here on tgtd takes no connection; one may have been on its way.
            self.daemon.ask(Mode.SYSTEM, Op.UPDATE, State="offline")
            try:
                rows = list(self._targets.rows().values())
                for row in rows:
                    self._targets.demand_unused(row)
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
            or not self._targets.is_there(known.tid)
        ):
            return False
        self._notes.remember(export.iqn, Known(known.tid, export.device, known.made))
        add_unit(self.daemon, known.tid, export.device, export.serial)
        self.daemon.ask_unless(Code.ACL_EXIST, Mode.TARGET, Op.BIND, tid=known.tid, initiator_name=export.initiator)
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
            row = self._targets.rows().get(export.iqn)
            if row is not None:
                self._delete(row)
            tid = _new_tid()
            self._notes.remember(export.iqn, Known(tid, export.device))
            self.daemon.ask(Mode.TARGET, Op.NEW, tid=tid, targetname=export.iqn)
        try:
            self.daemon.ask(Mode.ACCOUNT, Op.BIND, tid=tid, user=self._accounts.guard())
            self._accounts.have(export.user, export.password, life)
            self.daemon.ask(Mode.ACCOUNT, Op.BIND, tid=tid, user=export.user)
            add_unit(self.daemon, tid, export.device, export.serial)
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
        self._accounts.have(export.user, export.password, life)
        for user in row.users - {export.user}:
            self.daemon.ask(Mode.ACCOUNT, Op.UNBIND, tid=row.tid, user=user)
        if export.user not in row.users:
            self.daemon.ask(Mode.ACCOUNT, Op.BIND, tid=row.tid, user=export.user)
        if row.lun is not None and not self._serves(row, export):
            with self._closed(row):
                self._take_unit(row)
                add_unit(self.daemon, row.tid, export.device, export.serial)
                self._notes.remember(export.iqn, Known(row.tid, export.device))
        elif row.lun is None:
            self._notes.remember(export.iqn, Known(row.tid, export.device))
            add_unit(self.daemon, row.tid, export.device, export.serial)
        if not row.initiators:
            self.daemon.ask_unless(Code.ACL_EXIST, Mode.TARGET, Op.BIND, tid=row.tid, initiator_name=export.initiator)
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
            self.daemon.ask_unless(Code.NO_TARGET, Mode.TARGET, Op.DELETE, tid=row.tid)
        except Said as error:
            if error.code == Code.TARGET_ACTIVE:
                self._targets.demand_unused(row, what=what)
            raise
        if forget:
            self._notes.forget(row.iqn)

    @contextlib.contextmanager
    def _closed(self, row: Row) -> Iterator[None]:
        """Nobody can begin to log in to the target meanwhile."""
        for initiator in row.initiators:
            self.daemon.ask_unless(Code.ACL_NOEXIST, Mode.TARGET, Op.UNBIND, tid=row.tid, initiator_name=initiator)
        try:
            yield
        finally:
            for initiator in row.initiators:
                self.daemon.ask_unless(Code.ACL_EXIST, Mode.TARGET, Op.BIND, tid=row.tid, initiator_name=initiator)

    # LUNs

    def _take_unit(self, row: Row, *, dead: bool = False) -> None:
        """Close the LUN of a target that nobody can begin to log in to."""
        if not dead:
            self._targets.demand_unused(row)
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
            self._targets.demand_unused(row)
        except ExportError:
            known = self._notes.known(row.iqn)
            if known:
                noted = known.made.serial if known.made else ""
                add_unit(self.daemon, row.tid, known.device, row.says("SCSI SN") or noted)
            raise

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Under the lock, unless nothing was ever published."""
        if not self.daemon.folder.exists():
            yield
            return
        with self.daemon.held():
            yield


def _new_tid() -> int:
    """Any of 2^31: one that was used before is not met again."""
    return secrets.randbelow(2**31 - 1) + 1


def _made(export: Export, life: str) -> Made:
    return Made(life, export.initiator, export.user, export.serial)
