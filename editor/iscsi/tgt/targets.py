"""What targets a tgtd has, asking for as little as possible: telling all of a thousand takes it a second."""

from __future__ import annotations

from editor.iscsi.base import Session, still_open
from editor.iscsi.tgt import replies
from editor.iscsi.tgt.accounts import Accounts
from editor.iscsi.tgt.daemon import Daemon
from editor.iscsi.tgt.notes import Notes
from editor.iscsi.tgt.replies import Row
from editor.iscsi.tgt.socket import Code, Mode, NotRunning, Op, Said


class Targets:
    """The targets there are, and who is logged in to them."""

    def __init__(self, daemon: Daemon, notes: Notes, accounts: Accounts) -> None:
        self._daemon = daemon
        self._notes = notes
        self._accounts = accounts

    def rows(self) -> dict[str, Row]:
        """All, by name. Raises TgtError, as all of these do."""
        text = self._daemon.ask(Mode.TARGET, Op.SHOW)
        return {row.iqn: row for row in replies.targets(text, self._accounts.guard())}

    def rows_if_any(self) -> dict[str, Row]:
        """As `rows`; none when no tgtd runs."""
        try:
            return self.rows()
        except NotRunning:
            return {}

    def noted_row(self, iqn: str) -> Row | None:
        """The target of this name as it was made in this life of tgtd, without reading all others; None if unsure."""
        known = self._notes.known(iqn)
        if known is None or known.made is None:
            return None
        try:
            if self._daemon.life() != known.made.life or not self.is_there(known.tid):
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

    def is_there(self, tid: int) -> bool:
        """Whether there is a target of this number."""
        try:
            self._daemon.ask(Mode.CONNECTION, Op.SHOW, tid=tid)
        except Said as error:
            if error.code != Code.NO_TARGET:
                raise
            return False
        return True

    def row_if_any(self, iqn: str) -> Row | None:
        """The target of this name; of one whose number is noted and that is gone, without reading all others.

        So it is with each of a thousand drives after the machine was started anew.
        """
        try:
            return self.row(iqn) if self._notes.known(iqn) else self.rows().get(iqn)
        except NotRunning:
            return None

    def row(self, iqn: str) -> Row | None:
        """The target of this name, without reading all of them when it is not known."""
        known = self._notes.known(iqn)
        if known is None:
            return None
        try:
            self._daemon.ask(Mode.TARGET, Op.SHOW, tid=known.tid)
        except Said as error:
            if error.code == Code.NO_TARGET:
                return None
            raise
        return self.rows().get(iqn)

    def sessions(self, row: Row) -> tuple[Session, ...]:
        """Who is logged in to it; nobody is to one that has gone."""
        try:
            return replies.sessions(self._daemon.ask(Mode.CONNECTION, Op.SHOW, tid=row.tid))
        except Said as error:
            if error.code != Code.NO_TARGET:
                raise
            return ()

    def demand_unused(self, row: Row, *, what: str = "Nothing was changed.") -> None:
        """Raises ExportError when somebody is logged in; it says `what` has become of what was asked."""
        for session in self.sessions(row):
            raise still_open(session, what=what)
