"""The line to a BMC: carries the HTTP requests of one call, to one host, until one moment, and nowhere else.

It stands in for the connections of `requests`, which follow proxies and hints of the environment, trust certificate
authorities of their own, wait for each byte anew, and read whatever size comes.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter

from .base import Bmc, PowerError
from .trust import encrypted

LONGEST_ANSWER = 1024 * 1024
"""In bytes. The description of a whole server takes a tenth of it."""
CONNECT_SECONDS = 4
"""For each network address of a host name. A BMC that is there takes a connection at once, or at its second try."""

SILENT = "The BMC of this server does not answer. Check its address, its network cable, and whether it has power."
REFUSED = "Nothing listens where the BMC should be. Check the address and the port, and whether its Redfish is on."
NO_SUCH_NAME = "The BMC's host name is not known. Correct the address, or add the name to the name servers."
HANGS = "The BMC took the connection, then did not answer in time. If that stays so, restart the BMC."
BROKE_OFF = "The BMC broke off the connection. If that stays so, restart the BMC."
GARBLED = "The BMC answers what nobody understands. If that stays so, restart the BMC or renew its firmware."
ELSEWHERE = "The BMC points to another host, which the editor does not follow. Correct the address."

_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Origin:
    """What a line leads to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """Raises ValueError when there is none."""
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise ValueError("neither https:// nor http:// with a host")
        if parts.port == 0:
            raise ValueError("no port")
        host = parts.hostname.encode("idna").decode()  # UnicodeError is a ValueError: no name server could be asked
        return cls(parts.scheme, host, parts.port or _DEFAULT_PORTS[parts.scheme])

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class Line(BaseAdapter):
    """Answers each request over a connection of its own. Raises PowerError for whatever goes wrong on the way.

    What it answers is a JSON object, or an error whose body is one.
    """

    def __init__(self, bmc: Bmc, origin: Origin, seconds: float) -> None:
        super().__init__()
        self._bmc = bmc
        self._origin = origin
        self._end = time.monotonic() + seconds

    def send(  # noqa: PLR0917 - as the base class has it
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002
        timeout: Any = None,
        verify: Any = True,  # noqa: FBT002
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        del stream, timeout, verify, cert, proxies  # decided by the line
        self._check_destination(request.url or "")
        try:
            with closing(self._connection()) as connection:
                answer = self._exchange(connection, request)
                body = answer.read(LONGEST_ANSWER + 1)
        except TimeoutError as error:
            raise PowerError(HANGS, str(error)) from error
        except OSError as error:
            raise PowerError(BROKE_OFF, str(error)) from error
        except (http.client.HTTPException, ValueError) as error:
            raise PowerError(GARBLED, f"{type(error).__name__}: {error}") from error
        if len(body) > LONGEST_ANSWER:
            raise PowerError(GARBLED, f"an answer of more than {LONGEST_ANSWER} bytes")
        return _response(request, answer, body)

    def close(self) -> None:
        """Nothing is open between requests."""

    def _check_destination(self, url: str) -> None:
        """Whatever the request came from - a redirect, or an address in an answer - it carries the password."""
        try:
            destination = Origin.of(url)
        except ValueError as error:
            raise PowerError(GARBLED, f"an address that is none: {url[:200]!r}") from error
        if destination != self._origin:
            raise PowerError(ELSEWHERE, f"pointed to {destination}")

    def _left(self) -> float:
        """Answers the seconds that are left of the call; raises TimeoutError when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time for the whole call is over")
        return left

    def _connection(self) -> socket.socket:
        plain = self._reached()
        if self._origin.scheme == "http":
            return plain
        plain.settimeout(self._left())
        try:
            return encrypted(self._bmc, plain, self._origin.host)
        except BaseException:
            plain.close()
            raise

    def _reached(self) -> socket.socket:
        """Tries one network address after the other, as long as there is time."""
        why: OSError = TimeoutError("no time left")
        for family, kind, protocol, _, address in self._network_addresses():
            try:
                reached = socket.socket(family, kind, protocol)
            except OSError as error:  # the host name has an IPv6 address, this machine has none
                why = error
                continue
            try:
                reached.settimeout(min(CONNECT_SECONDS, self._left()))
                reached.connect(address)
            except OSError as error:
                reached.close()
                why = error
            else:
                return reached
        raise PowerError(REFUSED if isinstance(why, ConnectionRefusedError) else SILENT, str(why)) from why

    def _network_addresses(self) -> list[Any]:
        """Asks the name servers in a thread of its own: nothing else can put a limit on how long they take."""
        found: list[Any] = []
        failed: list[Exception] = []

        def ask() -> None:
            try:
                found.extend(socket.getaddrinfo(self._origin.host, self._origin.port, type=socket.SOCK_STREAM))
            except (OSError, ValueError) as error:
                failed.append(error)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(self._left())
        if not found:
            detail = str(failed[0]) if failed else "the name servers did not answer in time"
            raise PowerError(NO_SUCH_NAME, detail)
        return found

    def _exchange(self, connection: socket.socket, request: requests.PreparedRequest) -> http.client.HTTPResponse:
        exchange = http.client.HTTPConnection(self._origin.host, self._origin.port)
        exchange.sock = _Timed(connection, self._left)
        headers = {str(name): value for name, value in request.headers.items()}
        headers["Accept-Encoding"] = "identity"  # nothing that unpacks into more than it seems
        body: Any = request.body  # bytes, where there is one
        exchange.request(request.method or "GET", request.path_url, body, headers)
        return exchange.getresponse()


class _Timed:
    """As much of a socket as http.client uses. Every wait ends with the call, however slowly bytes drip in."""

    def __init__(self, connection: socket.socket, left: Callable[[], float]) -> None:
        self._connection = connection
        self._left = left

    def sendall(self, data: bytes) -> None:
        self._connection.settimeout(self._left())
        self._connection.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        del mode  # always "rb"
        return io.BufferedReader(_Incoming(self._connection, self._left))

    def close(self) -> None:
        """The line does that: http.client closes before it has read the body."""


class _Incoming(io.RawIOBase):
    """The bytes of a connection."""

    def __init__(self, connection: socket.socket, left: Callable[[], float]) -> None:
        self._connection = connection
        self._left = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(self._left())
        return self._connection.recv_into(buffer)


def _response(request: requests.PreparedRequest, answer: http.client.HTTPResponse, body: bytes) -> requests.Response:
    redirects = "Location" in answer.headers and answer.status in {301, 302, 303, 307, 308}
    if answer.status >= 400:
        body = _error(body)
    elif request.method != "GET":
        # A command that others follow as a GET would look as if it had been taken.
        if answer.status >= 300 and not (redirects and answer.status in {307, 308}):
            raise PowerError(GARBLED, f"{answer.status} in answer to {request.method}")
        body = b"{}"  # what it says of itself is of no use, and may be anything
    elif not redirects and (answer.length or not isinstance(_parsed(body), dict)):
        raise PowerError(GARBLED, f"{answer.status}: {body[:200]!r}")
    response = requests.Response()
    response.status_code = answer.status
    response.reason = answer.reason
    response.url = request.url or ""
    response.request = request
    response.headers.update(answer.headers.items())
    response.raw = io.BytesIO(body)
    return response


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _error(body: bytes) -> bytes:
    """Answers the error that a BMC told, in the one form that no reader stumbles over."""
    match _parsed(body):
        case {"error": {"@Message.ExtendedInfo": [{"Message": str(message)}, *_]}}:
            pass
        case {"error": {"message": str(message)}}:
            pass
        case _:
            message = body[:200].decode(errors="replace")
    return json.dumps({"error": {"message": message[:500]}}).encode()
