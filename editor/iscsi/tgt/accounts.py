"""The accounts of a tgtd: an instance's, and the guard of all targets (see editor.iscsi.tgt)."""

from __future__ import annotations

import contextlib
import re
import secrets

from editor.iscsi.tgt import replies
from editor.iscsi.tgt.daemon import Daemon
from editor.iscsi.tgt.names import GUARD
from editor.iscsi.tgt.notes import Notes
from editor.iscsi.tgt.socket import Code, Mode, NotRunning, Op, Said


class Accounts:
    """Who may log in, by which password."""

    def __init__(self, daemon: Daemon, notes: Notes) -> None:
        self._daemon = daemon
        self._notes = notes

    def have(self, user: str, password: str | None, life: str) -> None:
        """Let tgtd know this user by this password; None is one that nobody knows, made once in tgtd's life.

        tgtd tells no password and changes none, so it is noted what it was told.
        """
        if self._notes.was_told(user, password or "", life):
            return
        self._notes.forget_account(user)
        secret = password or secrets.token_hex(8)
        try:
            self._daemon.ask(Mode.ACCOUNT, Op.NEW, user=user, password=secret)
        except Said as error:
            if error.code != Code.USER_EXIST:
                raise
            if password is not None:
                self._make_anew(user, password)
        self._notes.is_told(user, password or "", life)

    def _make_anew(self, user: str, password: str) -> None:
        text = self._daemon.ask(Mode.TARGET, Op.SHOW)
        rows = [row for row in replies.targets(text, self.guard()) if user in row.users]
        self._daemon.ask(Mode.ACCOUNT, Op.DELETE, user=user)
        self._daemon.ask(Mode.ACCOUNT, Op.NEW, user=user, password=password)
        for row in rows:
            self._daemon.ask(Mode.ACCOUNT, Op.BIND, tid=row.tid, user=user)

    def guard(self) -> str:
        """The name of the guard in this folder, made when it is first asked for."""
        name = self._notes.guard
        if name is None:
            # The note may be lost while tgtd runs.
            told = []
            with contextlib.suppress(NotRunning):
                told = re.findall(rf"^ +({GUARD}\S+)$", self._daemon.ask(Mode.ACCOUNT, Op.SHOW), re.MULTILINE)
            self._notes.guard = name = told[0] if told else f"{GUARD}{secrets.token_hex(16)}"
        return name
