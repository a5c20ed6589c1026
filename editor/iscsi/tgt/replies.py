"""Reads what tgtd says of its targets, which is made for people.

Initiators choose a part of it: a session's alias is printed as it came, line ends included, so a server could print
targets of its own. What cannot be printed by one is the name of the *guard*, an account that every target of ours has
and nobody outside knows. Sessions stand before it, everything else that is read is next to it. (Printed by
`tgt_target_show_all` in usr/target.c and `session_create` in usr/iscsi/session.c of https://github.com/fujita/tgt.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from editor.iscsi.base import LUN, Session


class Unreadable(Exception):
    """Text that is not as tgtd prints it."""


@dataclass(frozen=True)
class Row:
    """A target as tgtd prints it."""

    tid: int
    iqn: str
    lun: str | None
    """What it says of our LUN; None without that LUN."""
    guarded: bool
    users: frozenset[str]
    """Without the guard."""
    initiators: frozenset[str]
    sessions: tuple[Session, ...] | None
    """None when an alias makes them unreadable: ask for the target's connections, which are shown without."""

    def says(self, name: str) -> str | None:
        """A word about our LUN, e.g. "Backing store path"."""
        _, found, rest = (self.lun or "").partition(f"\n            {name}: ")
        return rest.partition("\n")[0] if found else None


HEAD = re.compile(r"Target (\d+): (\S+)\n {4}System information:\n")
NEXUSES, LUNS, ACCOUNTS, INITIATORS = (f"    {what} information:\n" for what in ("I_T nexus", "LUN", "Account", "ACL"))
UNIT = f"        LUN: {LUN}\n"
NEXUS = re.compile(
    r" {8}I_T nexus: \d+\n {12}Initiator: (\S*) alias: .*\n {12}Connection: \d+\n {16}(?:IP Address: (\S*))?\n"
)
CONNECTION = re.compile(r"Session: \d+\n {4}Connection: \d+\n {8}Initiator: (\S*)\n {8}(?:IP Address: (\S*))?\n")
UNKNOWN = "an unknown address"


def targets(text: str, guard: str) -> Iterator[Row]:
    """The targets in what tgtd shows of all of them. Raises Unreadable."""
    here = 0
    while here < len(text):
        head = HEAD.match(text, here)
        if head is None:
            raise Unreadable(f"expected a target at {text[here : here + 100]!r}")
        sessions = _after(text, NEXUSES, head.end())
        luns = sessions
        if not text.startswith(LUNS, sessions):
            # They end before the last list of LUNs above the guard.
            luns = text.rfind(LUNS, sessions, _after(text, f"        {guard}\n", sessions))
        accounts = _after(text, ACCOUNTS, _after(text, LUNS, luns))
        initiators = _after(text, INITIATORS, accounts)
        here = text.find("\nTarget ", initiators - 1) + 1 or len(text)
        unit = text.find(UNIT, luns, accounts)
        users = frozenset(text[accounts : initiators - len(INITIATORS)].split())
        yield Row(
            tid=int(head[1]),
            iqn=head[2],
            lun=text[unit:accounts] if unit >= 0 else None,
            guarded=guard in users,
            users=users - {guard},
            initiators=frozenset(text[initiators:here].split()),
            sessions=_sessions(NEXUS, text[sessions:luns]),
        )


def _after(text: str, what: str, start: int) -> int:
    """Where `what` ends, the first one from `start` on."""
    found = text.find(what, start) if start >= 0 else -1
    if found < 0:
        raise Unreadable(f"expected {what!r} after {text[max(0, start) :][:300]!r}")
    return found + len(what)


def sessions(text: str) -> tuple[Session, ...]:
    """The sessions in what tgtd shows of one target's connections. Raises Unreadable."""
    found = _sessions(CONNECTION, text)
    if found is None:
        raise Unreadable(f"expected sessions in {text[:300]!r}")
    return found


def portals(text: str) -> frozenset[str]:
    """The "address:port" in what tgtd shows of its portals."""
    return frozenset(re.findall(r"^Portal: (.+),\d+$", text, re.MULTILINE))


def _sessions(pattern: re.Pattern[str], text: str) -> tuple[Session, ...] | None:
    found = []
    here = 0
    while here < len(text):
        match = pattern.match(text, here)
        if match is None:
            return None
        found.append(Session(match[1], match[2] or UNKNOWN))
        here = match.end()
    return tuple(found)
