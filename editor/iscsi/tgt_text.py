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
    lun: dict[str, str] | None
    """What it says of our LUN, e.g. "Backing store path"; None without that LUN."""
    guarded: bool
    users: frozenset[str]
    """Without the guard."""
    initiators: frozenset[str]
    sessions: tuple[Session, ...] | None
    """None when an alias makes them unreadable: ask for the target's connections, which are shown without."""


LINES = r"((?: {8}.*\n)*)"
HEAD = re.compile(rf"Target (\d+): (\S+)\n {{4}}System information:\n{LINES} {{4}}I_T nexus information:\n")
LUNS = " " * 4 + "LUN information:\n"
TAIL = re.compile(rf"{LUNS}{LINES} {{4}}Account information:\n{LINES} {{4}}ACL information:\n{LINES}")
UNIT = re.compile(rf"^ {{8}}LUN: {LUN}\n((?: {{12}}.*\n)*)", re.MULTILINE)
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
        luns = head.end()
        if not text.startswith(LUNS, luns):
            # Sessions. They end before the last list of LUNs above the guard.
            end = text.find(f"        {guard}\n", luns)
            luns = text.rfind(LUNS, luns, end) if end >= 0 else -1
        tail = TAIL.match(text, luns) if luns >= 0 else None
        if tail is None:
            raise Unreadable(f"expected LUNs after {text[head.start() : head.start() + 300]!r}")
        unit = UNIT.search(tail[1])
        users = frozenset(_entries(tail[2]))
        yield Row(
            tid=int(head[1]),
            iqn=head[2],
            lun=_named(unit[1]) if unit else None,
            guarded=guard in users,
            users=users - {guard},
            initiators=frozenset(_entries(tail[3])),
            sessions=_sessions(NEXUS, text[head.end() : luns]),
        )
        here = tail.end()


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


def _entries(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


def _named(text: str) -> dict[str, str]:
    pairs = (line.strip().partition(": ") for line in text.splitlines())
    return {name: value for name, _, value in pairs}
