"""What is stated of a server, alone or in a file: what stands against it, and how it gets into the row.

Passwords are sealed before they are stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from django.utils import timezone

from editor import passwords, sealed
from editor.models import Drive, Power, Server, ServerType, Trust, User
from editor.rules import Refused
from editor.server_rules import (
    bmc_of_address,
    busy_drives,
    clean_address,
    clean_certificate,
    why_not_address,
    why_not_certificate,
    why_not_credentials,
    why_not_move_bmc,
    why_not_serial,
)

MOVED = "The BMC address was changed, and the new one was not read yet."
STATED = ("serial", "server_type", "driver", "address", "username", "trust", "certificate", "plain_http", "drained")


@dataclass(frozen=True)
class Entry:
    """What is stated of a server. `password` null: the one that is kept, if any."""

    serial: str
    server_type: ServerType
    driver: str
    address: str
    username: str = ""
    password: str | None = field(default=None, repr=False)
    trust: str = Trust.SYSTEM
    certificate: str = field(default="", repr=False)
    plain_http: bool = False
    drained: bool = False

    def clean(self) -> Entry:
        """Answers the same, each thing written in the one way."""
        return Entry(
            self.serial.strip(),
            self.server_type,
            self.driver,
            clean_address(self.driver, self.address),
            self.username.strip(),
            self.password or None,
            self.trust,
            clean_certificate(self.certificate),
            self.plain_http,
            self.drained,
        )


class Register:
    """Whose serial and whose BMC is whose, and which server is needed, for looking up one or thousands."""

    def __init__(self) -> None:
        self._serials: set[str] = set()
        self._systems: dict[str, list[tuple[str, str]]] = {}
        self._busy: dict[int, Drive] | None = None

    @classmethod
    def read(cls, *, without: Iterable[int] = ()) -> Register:
        register = cls()
        skipped = set(without)
        for pk, serial, driver, address in Server.objects.values_list("pk", "serial", "driver", "address"):
            if pk not in skipped:
                register.add(serial, driver, address)
        return register

    def add(self, serial: str, driver: str, address: str) -> None:
        self._serials.add(serial)
        bmc, system = bmc_of_address(driver, address)
        self._systems.setdefault(bmc, []).append((system, serial))

    def busy_drive(self, server: int) -> Drive | None:
        """Answers a drive of the server's instance that somebody is at work on."""
        if self._busy is None:
            self._busy = busy_drives()
        return self._busy.get(server)

    def why_not_serial(self, serial: str) -> str | None:
        return "There is a server with this serial already." if serial in self._serials else None

    def why_not_bmc(self, driver: str, address: str) -> str | None:
        """One BMC may serve several systems, when each server names its own."""
        bmc, system = bmc_of_address(driver, address)
        for other_system, serial in self._systems.get(bmc, ()):
            if system == other_system:
                return f"{serial} has this address already. Two servers cannot share a BMC."
            if not system or not other_system:
                return f"{serial} is at this BMC already. If it has several systems, write the path of each."
        return None


def faults(entry: Entry, stored: Server | None, register: Register) -> Iterator[tuple[str, str]]:
    """Answers what stands against an entry, as pairs of the field and a sentence. `register` is without `stored`."""
    checks = [
        ("serial", why_not_serial(entry.serial) if stored is None or stored.serial != entry.serial else None),
        ("serial", register.why_not_serial(entry.serial)),
        ("certificate", why_not_certificate(entry.trust, entry.certificate)),
        ("username", why_not_credentials(entry.username, password=entry.password is not None)),
    ]
    wrong = why_not_address(entry.driver, entry.address, plain_http=entry.plain_http)
    checks.append(("address", wrong or register.why_not_bmc(entry.driver, entry.address)))
    if stored and not wrong:
        if (entry.driver, entry.address) != (stored.driver, stored.address):
            checks.append(("", why_not_move_bmc(stored, register.busy_drive(stored.pk))))
        checks.append(("password", _why_not_send_elsewhere(entry, stored)))
    yield from ((name, sentence) for name, sentence in checks if sentence)


def _why_not_send_elsewhere(entry: Entry, stored: Server) -> str | None:
    """A password that nobody can read must not be sent where somebody could read it."""
    if not stored.password_sealed or entry.password is not None or not entry.username:
        return None
    before, _ = bmc_of_address(stored.driver, stored.address)
    after, _ = bmc_of_address(entry.driver, entry.address)
    if before == after and (stored.plain_http or not entry.plain_http):
        return None
    return "Type the password again: it would be sent to another address, or readably."


# ── Into the row ─────────────────────────────────────────────────────────────


WRITTEN = (
    *STATED,
    *("password_sealed", "revision", "changed_by", "check_asked_at", "checked_at", "check_error", "check_detail"),
    *("described", "power", "power_seen_at", "power_error"),
)
"""The columns that `apply` may write."""


def apply(entry: Entry, server: Server, *, by: User, key: sealed.Key | None = None) -> list[str]:
    """Writes an entry into a row that the caller saves, and answers the names of what became another.

    Raises Refused when the password cannot be sealed. `key` is the one to seal with, when it is at hand.
    """
    changed = changes(entry, server, key=key)
    if not changed and server.pk:
        return []
    was = (server.driver, server.address)
    asked_before = asked_with(server)
    for name in STATED:
        setattr(server, name, getattr(entry, name))
    if not entry.username:
        server.password_sealed = ""
    elif "password" in changed and entry.password is not None:
        server.password_sealed = (key or sealing_key()).seal(entry.password)
    server.revision += 1
    server.changed_by = by
    if not server.pk or asked_before != asked_with(server):
        server.check_asked_at, server.checked_at = timezone.now(), None
        server.check_error, server.check_detail, server.described = "", "", None
    if server.pk and was != (server.driver, server.address):
        # What the old BMC said tells nothing about the machine behind the new one.
        server.power, server.power_seen_at, server.power_error = Power.UNKNOWN, None, MOVED
    return changed


def asked_with(server: Server) -> tuple[object, ...]:
    """Answers what its BMC is reached with: when that changes, what was found with the old says nothing."""
    return (
        *(server.driver, server.address, server.username, server.password_sealed),
        *(server.trust, server.certificate, server.plain_http),
    )


def changes(entry: Entry, server: Server, *, key: sealed.Key | None = None) -> list[str]:
    """Answers the names of what the entry has otherwise than the row."""
    changed = [name for name in STATED if not server.pk or getattr(entry, name) != getattr(server, name)]
    types_again = entry.password is not None and not _is_kept(entry.password, server, key)
    if types_again or (server.password_sealed and not entry.username):
        changed.append("password")
    return changed


def _is_kept(password: str, server: Server, key: sealed.Key | None) -> bool:
    """Whether the row has this very password sealed, as far as the key tells."""
    if not server.password_sealed:
        return False
    try:
        return (key or sealed.Key.read()).unseal(server.password_sealed) == password
    except sealed.SealError:
        return False


def sealing_key() -> sealed.Key:
    """Answers the key; a first one is made only while no password was sealed. Raises Refused."""
    try:
        return passwords.sealing_key()
    except sealed.SealError as error:
        raise Refused(f"{error} It belongs at {sealed.key_file()}; “manage.py rekey” makes a new one.") from error


def label_of(name: str) -> str:
    """Answers how a field is called: "BMC address"."""
    if name == "password":
        return name
    field_of = Server._meta.get_field(name)  # noqa: SLF001 - the public way to a model's fields
    return str(getattr(field_of, "verbose_name", name))
