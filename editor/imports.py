"""Many servers from one file: what an import would do, line by line, and doing exactly that, all or nothing.

Between the two the file travels with the person who looks at it, encrypted: nothing of it is kept here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.db import transaction

from editor import bell, power, sealed
from editor.actions import demand
from editor.entries import WRITTEN, Entry, Register, apply, changes, faults, label_of, sealing_key
from editor.inventory import one_at_a_time, record
from editor.models import Instance, Server, ServerType, Trust, User
from editor.rules import Refused
from editor.server_rules import why_not_administer, why_not_serial
from editor.sheets import NEEDED, Line, lines_of, yes_or_no
from editor.words import counted

KEPT_SECONDS = 3600
"""How long somebody may look at what an import would do."""
BATCH = 500
_OPEN = {"server_type", "driver", "address", "trust", "plain_http", "drained"}
"""What is only taken when it is one of a few words, or a well-formed address."""


class Fate(StrEnum):
    """What becomes of a line."""

    ADD = "add"
    CHANGE = "change"
    SAME = "same"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Planned:
    """What would become of one line. `says` is why, or what changes; never what a cell holds."""

    line: int
    serial: str
    fate: Fate
    says: str = ""
    entry: Entry | None = field(default=None, repr=False)
    server: Server | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Plan:
    """What would become of all lines, in their order."""

    lines: tuple[Planned, ...]

    def of(self, fate: Fate) -> list[Planned]:
        return [line for line in self.lines if line.fate == fate]

    def count(self, fate: Fate) -> int:
        return len(self.of(fate))

    @property
    def why_not(self) -> str | None:
        """Whether it can be carried out as a whole."""
        if refused := self.count(Fate.REFUSE):
            return (
                f"{counted(refused, 'line')} cannot be imported, so none is. Correct "
                f"{'it' if refused == 1 else 'them'} in the file and choose it again."
            )
        if not self.count(Fate.ADD) and not self.count(Fate.CHANGE):
            return "There is nothing to do: every server in the file is here as it is there."
        return None

    @property
    def fingerprint(self) -> str:
        said = [(one.line, one.serial, one.fate, one.says, one.server.pk if one.server else 0) for one in self.lines]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


class Changed(Refused):
    """What was looked at is not what would be done now; `plan` is, of the same `text`. Nothing was imported."""

    def __init__(self, plan: Plan, text: str) -> None:
        super().__init__("What this import would do has changed while you were reading. Look at it again.")
        self.plan, self.text = plan, text


# ── What would be done ───────────────────────────────────────────────────────


def plan(text: str) -> Plan:
    """Answers what an import of a file's text would do now. Raises SheetError when it cannot be read as a whole."""
    return _plan(lines_of(text), Server.objects.select_related("server_type"))


def _plan(lines: list[Line], stored: Iterable[Server]) -> Plan:
    reader = _Reader({server.serial: server for server in stored}, lines)
    return Plan(tuple(reader.planned(line) for line in lines))


class _Reader:
    """Goes through the lines, knowing what earlier ones said."""

    def __init__(self, stored: dict[str, Server], lines: Iterable[Line]) -> None:
        self._stored = stored
        self._types = {server_type.label.lower(): server_type for server_type in ServerType.objects.all()}
        self._seen: dict[str, int] = {}
        self._register = Register()
        named = {line.cells.get("serial", "") for line in lines}
        for server in stored.values():
            if server.serial not in named:
                self._register.add(server.serial, server.driver, server.address)
        try:
            self._key: sealed.Key | None = sealed.Key.read()
        except sealed.SealError:
            self._key = None

    def planned(self, line: Line) -> Planned:
        if line.wrong:
            # Its cells may stand under the wrong names: none is repeated.
            return Planned(line.number, "", Fate.REFUSE, line.wrong)
        serial = line.cells.get("serial", "")
        shown = "" if why_not_serial(serial) and serial not in self._stored else serial
        if first := self._seen.get(serial):
            return Planned(line.number, shown, Fate.REFUSE, f"Line {first} has this serial already.")
        self._seen[serial] = line.number
        server = self._stored.get(serial)
        entry = self._entry(line.cells, server)
        if isinstance(entry, str):
            return Planned(line.number, shown, Fate.REFUSE, entry)
        wrong = [sentence for _, sentence in faults(entry, server, self._register)]
        self._register.add(entry.serial, entry.driver, entry.address)
        if wrong:
            return Planned(line.number, shown, Fate.REFUSE, " ".join(wrong))
        if server is None:
            return Planned(line.number, serial, Fate.ADD, _told(entry), entry)
        if changed := changes(entry, server, key=self._key):
            return Planned(line.number, serial, Fate.CHANGE, _told_change(entry, server, changed), entry, server)
        return Planned(line.number, serial, Fate.SAME)

    def _entry(self, cells: dict[str, str], server: Server | None) -> Entry | str:
        """Answers what a line states over what is stored already, where an empty cell leaves that; or what is wrong."""
        wrong = []
        if server is None and (missing := [name for name in NEEDED if name not in cells]):
            wrong.append(f"It has no {' and no '.join(missing)}.")
        label = cells.get("server_type", server.server_type.label if server else "")
        server_type = self._types.get(label.lower())
        if label and server_type is None:
            wrong.append("There is no such server type.")
        address = cells.get("address", server.address if server else "")
        driver = cells.get("driver", server.driver if server else _driver_for(address)).lower()
        if driver not in power.NAMES:
            wrong.append(f"There is no such driver. Known are: {', '.join(power.NAMES)}.")
        trust = cells.get("trust", server.trust if server else Trust.SYSTEM).lower()
        if trust not in Trust.values:
            wrong.append(f"trust is one of: {', '.join(Trust.values)}.")
        flags: dict[str, bool] = {}
        for name in ("plain_http", "drained"):
            said = yes_or_no(cells[name]) if name in cells else bool(server and getattr(server, name))
            if said is None:
                wrong.append(f"{name} is yes or no.")
            flags[name] = bool(said)
        if wrong or server_type is None:
            return " ".join(wrong)
        kept = server.certificate if server and trust == server.trust else ""
        entry = Entry(
            cells["serial"],
            server_type,
            driver,
            address,
            cells.get("username", server.username if server else ""),
            cells.get("password"),
            trust,
            cells.get("certificate", kept),
            **flags,
        )
        return entry.clean()


def _driver_for(address: str) -> str:
    scheme = address.partition("://")[0].lower()
    return scheme if scheme in power.NAMES else "redfish"


def _told(entry: Entry) -> str:
    said = [f"{entry.server_type} at {entry.address}"]
    said += ["with a password"] * bool(entry.password) + ["drained"] * entry.drained
    return ", ".join(said)


def _told_change(entry: Entry, server: Server, changed: Iterable[str]) -> str:
    """Names what changes; from what to what only where nobody can have written a password by mistake."""
    said = []
    for name in changed:
        values = [getattr(one, name, None) for one in (server, entry)] if name in _OPEN else []
        words = ["yes" if value is True else "no" if value is False else str(value) for value in values]
        said.append(": ".join(filter(None, [label_of(name), " → ".join(words)])))
    return ", ".join(said)


# ── Doing it ─────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Imported:
    """The servers that an import wrote."""

    added: list[Server]
    changed: list[Server]


def carry_out(text: str, *, fingerprint: str, by: User) -> Imported:
    """Does what was looked at, all or nothing. Raises Changed when it would do something else now, or Refused."""
    lines = lines_of(text)
    with transaction.atomic():
        one_at_a_time()
        stored = Server.objects.select_for_update(of=("self",)).select_related("server_type").order_by("pk")
        now = _plan(lines, stored)
        if now.fingerprint != fingerprint:
            raise Changed(now, text)
        demand(now.why_not)
        adding, changing = now.of(Fate.ADD), now.of(Fate.CHANGE)
        demand(why_not_administer(by, "add_server") if adding else None)
        demand(why_not_administer(by, "change_server") if changing else None)
        entries = [one.entry for one in (*adding, *changing) if one.entry]
        key = sealing_key() if any(entry.password for entry in entries) else None
        added, changed = [], []
        for one in adding:
            assert one.entry is not None
            server = Server()
            apply(one.entry, server, by=by, key=key)
            added.append(server)
        for one in changing:
            assert one.entry is not None
            assert one.server is not None
            apply(one.entry, one.server, by=by, key=key)
            changed.append(one.server)
        Server.objects.bulk_create(added, batch_size=BATCH)
        # As rows that are there already: SQLite takes a hundred times longer over a `bulk_update`.
        Server.objects.bulk_create(
            changed, batch_size=BATCH, update_conflicts=True, unique_fields=["id"], update_fields=WRITTEN
        )
        in_use = set(Instance.objects.filter(server__isnull=False).values_list("server_id", flat=True))
        for one in changing:
            if one.server is None or one.server.pk not in in_use:
                continue
            record(one.server, "changed", by=by, text=one.says)
        transaction.on_commit(bell.ring)
    return Imported(added, changed)


# ── Between the two ──────────────────────────────────────────────────────────


def packed(text: str, fingerprint: str, by: User) -> str:
    """Answers a file as it may stand in a page for an hour: nobody can read or change it there."""
    content = json.dumps({"text": text, "fingerprint": fingerprint, "by": by.pk})
    return _fernet().encrypt(zlib.compress(content.encode())).decode()


def unpacked(token: str, by: User) -> tuple[str, str]:
    """Answers text and fingerprint. Raises Refused when they were packed too long ago, or for somebody else."""
    try:
        content: dict[str, Any] = json.loads(zlib.decompress(_fernet().decrypt(token, ttl=KEPT_SECONDS)))
    except InvalidToken:
        content = {}
    if content.get("by") != by.pk:
        raise Refused("The file was chosen too long ago. Choose it again.")
    return content["text"], content["fingerprint"]


def _fernet() -> Fernet:
    # Not the key of stored passwords: looking at a file must not need one yet.
    digest = hashlib.sha256(b"import of servers " + settings.SECRET_KEY.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(digest))
