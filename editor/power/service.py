"""A BMC's Redfish service: where it is, how one gets in, and the system behind it, read anew at each call.

`sushy` knows Redfish and what its makers make of it; `line` carries what it asks.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import sushy
from sushy import exceptions
from sushy.auth import AuthBase
from sushy.connector import Connector
from sushy.resources.constants import ResetType
from sushy.resources.system.system import System as AnySystem

from .base import Bmc, PowerError
from .line import GARBLED, Line, Origin

# What it has to say comes as an error; its log would repeat it at each reading, with addresses and whole answers.
logging.getLogger("sushy").setLevel(logging.CRITICAL + 1)

EXAMPLE = "Write it like https://rack-1-07.example.org or https://192.0.2.7/redfish/v1/Systems/1."
BAD_ADDRESS = f"The BMC address of this server is not understood. {EXAMPLE}"
LOGIN_IN_ADDRESS = "The BMC address of this server holds a login. Enter user name and password in their own fields."
NO_PLAIN_HTTP = (
    "Over http:// everybody on the way reads the BMC's password. Write https://, or allow it for this server."
)
NOT_REDFISH = (
    "What answers is not a Redfish service. Check the address and the port, and whether the BMC has Redfish on."
)
NO_SYSTEM = "The BMC knows of no server behind it. If it was just switched on, wait a few minutes."

_PATH = re.compile(r"(/redfish(/v1(/Systems/(?!\.+$)[^/]+)?)?)?")


class System(AnySystem):  # type: ignore[misc]  # sushy comes without types
    """A server, without the fields that are not needed: real devices write nonsense into them, or ask for more."""

    identity = boot = boot_progress = memory_summary = maintenance_window = _settings = None

    def offered(self) -> set[ResetType]:
        """Answers what the device says that it can be told; everything, when it does not say."""
        try:
            return set(self.get_allowed_reset_system_values())
        except exceptions.MissingActionError:
            return set()

    def firmware(self) -> str:
        """Answers the version of the BMC's firmware; empty when the system does not say which BMC it has."""
        try:
            return text(self._conn.get(self.json["Links"]["ManagedBy"][0]["@odata.id"]).json()["FirmwareVersion"])
        except (PowerError, exceptions.SushyError, LookupError, TypeError):
            return ""

    def boot_order(self) -> tuple[str, ...]:
        """Answers what comes before the order, then the order: in the words of the BMC's setup, where it has some."""
        boot = self.json.get("Boot") or {}
        order = [text(one) for one in boot.get("BootOrder") or ()]
        names: dict[str, str] = {}
        if order:
            try:
                options = self._conn.get(boot["BootOptions"]["@odata.id"] + "?$expand=.($levels=1)").json()["Members"]
                names = {text(one["BootOptionReference"]): text(one.get("DisplayName")) for one in options}
            except (PowerError, exceptions.SushyError, LookupError, TypeError, AttributeError):
                pass  # not all BMCs have names, or tell all of them at once
        target, lasting = text(boot.get("BootSourceOverrideTarget")), boot.get("BootSourceOverrideEnabled")
        first = [f"{target} (once)" if lasting == "Once" else target] if lasting in {"Once", "Continuous"} else []
        return tuple(name for name in [*first, *(names.get(one) or one for one in order)] if name not in {"", "None"})


class _Later(AuthBase):  # type: ignore[misc]
    """The service root is read by everybody; the login comes after it."""

    def _do_authenticate(self) -> None:
        pass

    def can_refresh_session(self) -> bool:
        return False


class _Connector(Connector):  # type: ignore[misc]
    """Asks over a line, and once: whoever polls tries again."""

    def __init__(self, line: Line, origin: Origin) -> None:
        super().__init__(str(origin))
        self._session.trust_env = False  # no proxies, and no passwords from ~/.netrc
        self._session.max_redirects = 3
        self._session.adapters.clear()
        self._session.mount("https://", line)
        self._session.mount("http://", line)
        self.origin = str(origin)

    def resume(self, known: _Known) -> None:
        """Goes on as an earlier call did."""
        if known.token:
            self.set_http_session_auth(known.token)
        else:
            self.log_in_each_time(known.bmc)

    def log_in_each_time(self, bmc: Bmc) -> None:
        """Basic authentication, where there is somebody to log in."""
        if bmc.username:
            self.set_http_basic_auth(bmc.username.encode(), bmc.password.encode())


@dataclass(frozen=True)
class _Place:
    """An address taken apart."""

    origin: Origin
    path: str
    """Of the system; empty for the only one."""


@dataclass(frozen=True)
class _Known:
    """What the first call to a BMC found out. Later ones ask it a third as much, and log in no more."""

    bmc: Bmc
    path: str
    """Of the system; empty while it was not found."""
    token: str = field(repr=False)
    """Of the session; empty for basic authentication."""


class Service:
    """Leads to systems. Keeps no connection open; remembers sessions, which a BMC ends itself when it hears nothing."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._known: dict[str, _Known] = {}

    def system(self, bmc: Bmc) -> System:
        """Reads the system now, over a session that is there already or a new one."""
        place = _place(bmc)
        line = Line(bmc, place.origin, self._seconds)
        known = self._known.get(bmc.address)
        if known is None or known.bmc != bmc:
            return self._met(_Connector(line, place.origin), bmc, place.path)
        connector = _Connector(line, place.origin)
        connector.resume(known)
        try:
            return System(connector, known.path) if known.path else self._met(connector, bmc, "", known)
        except exceptions.HTTPError as error:
            session_is_over = known.token and error.status_code == 401
            system_is_renamed = known.path and not place.path and error.status_code == 404
            if not session_is_over and not system_is_renamed:
                raise
            self._known.pop(bmc.address, None)
            return self._met(_Connector(line, place.origin), bmc, place.path)

    def _met(self, connector: _Connector, bmc: Bmc, path: str, known: _Known | None = None) -> System:
        """Reads the system of a BMC of which at most the session is known."""
        root = _root(bmc, connector)
        token = known.token if known else _logged_in(bmc, root, connector)
        # Kept before all is well: a session for each attempt, and soon the BMC has none left.
        self._known[bmc.address] = _Known(bmc, path, token)
        path = path or _only_system(root)
        system = System(connector, path)
        self._known[bmc.address] = _Known(bmc, path, token)
        return system


def _place(bmc: Bmc) -> _Place:
    address = bmc.address
    if "@" in address:
        raise PowerError(LOGIN_IN_ADDRESS, permanent=True)
    not_understood = PowerError(BAD_ADDRESS, f"address: {address!r}", permanent=True)
    try:
        origin, path = Origin.of(address), urlsplit(address).path.rstrip("/")
    except ValueError as error:
        raise not_understood from error
    if not address.isprintable() or re.search(r"[\s\\?#]", address) or not _PATH.fullmatch(path):
        raise not_understood
    if origin.scheme == "http" and not bmc.plain_http:
        raise PowerError(NO_PLAIN_HTTP, permanent=True)
    return _Place(origin, path if "/Systems/" in path else "")


def _root(bmc: Bmc, connector: _Connector) -> sushy.Sushy:
    """Reads the service root: without a login, as the standard has it, unless the BMC insists."""
    try:
        try:
            root = sushy.Sushy(connector.origin, auth=_Later(), connector=connector)
        except exceptions.AccessError:
            if not bmc.username:
                raise
            connector.log_in_each_time(bmc)
            root = sushy.Sushy(connector.origin, auth=_Later(), connector=connector)
    except (exceptions.MissingAttributeError, exceptions.MalformedAttributeError) as error:
        raise PowerError(NOT_REDFISH, str(error)) from error
    except exceptions.HTTPError as error:
        if error.status_code not in {404, 405}:
            raise
        raise PowerError(NOT_REDFISH, f"{error.status_code}: {error.detail}") from error
    except PowerError as error:
        if str(error) != GARBLED:
            raise
        raise PowerError(NOT_REDFISH, error.detail) from error
    return root


def _logged_in(bmc: Bmc, root: sushy.Sushy, connector: _Connector) -> str:
    """Begins a session and answers its token; empty where the BMC has no sessions, or none left.

    A wrong password is tried once: BMCs lock a user out after a few.
    """
    if not bmc.username:
        return ""
    try:
        root.get_sessions_path()
        token, _ = root.create_session(bmc.username, bmc.password)
    except exceptions.SushyError as error:
        if isinstance(error, exceptions.AccessError) and error.status_code == 401:
            raise
        connector.log_in_each_time(bmc)
        return ""
    connector.set_http_session_auth(token)
    return str(token)


def _only_system(root: sushy.Sushy) -> str:
    systems: tuple[str, ...] = root.get_system_collection().members_identities or ()
    if not systems:
        raise PowerError(NO_SYSTEM)
    if len(systems) > 1:
        names = ", ".join(text(system.rpartition("/")[2]) for system in systems)
        names = names if len(names) < 120 else f"{names[:120]}…"
        raise PowerError(
            f"The BMC has {len(systems)} systems: {names}. Add one to the address, as in /redfish/v1/Systems/{{name}}.",
            permanent=True,
        )
    return systems[0]


def text(value: object, longest: int = 100) -> str:
    """What a device wrote, fit to be stored and shown: databases refuse some characters."""
    return "".join(one for one in value if one.isprintable()).strip()[:longest] if isinstance(value, str) else ""
