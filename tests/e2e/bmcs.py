"""Machines behind OpenStack's emulated BMC: over TLS with a certificate of its own, and with a password."""

from __future__ import annotations

import json
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import bcrypt

from tests.contracts.certificates import issue
from tests.contracts.redfish_emulator import Emulator

USER, PASSWORD = "operator", "Gelb: 7 Ähren"
LONGEST_CHANGE = 11
"""In seconds of the emulator's clock."""


class Guard:
    """The certificate and the login of an emulated BMC, in files of its folder."""

    def __init__(self, folder: Path) -> None:
        self._certificate = issue("bmc")
        self._certificate.write(folder)
        digest = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        (folder / "users").write_text(f"{USER}:{digest}\n")

    def fields(self, address: str) -> dict[str, str]:
        """Answers what an administrator enters for a server; the certificate is pinned."""
        login = {"username": USER, "password": PASSWORD}
        return {"address": address, **login, "trust": "pinned", "certificate": self._certificate.fingerprint}

    def ask(self, address: str, words: dict[str, str] | None = None) -> dict[str, Any]:
        """Answers what the BMC says to somebody else than the product."""
        login = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
        body = json.dumps(words).encode() if words else None
        context = ssl.create_default_context(cadata=self._certificate.pem)
        with urlopen(Request(address, body, headers), timeout=10, context=context) as response:
            return dict(json.loads(response.read() or "{}"))


class Bmcs:
    """One emulator with as many systems as are asked for: "on-1" begins on, "off-2" off."""

    def __init__(self, folder: Path) -> None:
        self._guard = Guard(folder)
        self._emulator = Emulator(folder)

    def stop(self) -> None:
        self._emulator.stop()

    def fields(self, system: str) -> dict[str, str]:
        """Answers what an administrator enters for it."""
        return self._guard.fields(self._address(system))

    def switch(self, system: str, kind: str) -> None:
        """Somebody else sends the BMC a reset of this type, and it comes true."""
        self._guard.ask(f"{self._address(system)}/Actions/ComputerSystem.Reset", {"ResetType": kind})
        self._emulator.advance(LONGEST_CHANGE)

    @contextmanager
    def time_passes(self) -> Iterator[None]:
        """Inside, what is asked of machines comes true soon; outside, it does not."""
        over = threading.Event()

        def run() -> None:
            while not over.wait(0.1):
                self._emulator.advance(LONGEST_CHANGE)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def state(self, system: str) -> str:
        """Answers what the BMC says: "On" or "Off"."""
        return str(self._guard.ask(self._address(system))["PowerState"])

    def _address(self, system: str) -> str:
        return f"https://127.0.0.1:{self._emulator.port}/redfish/v1/Systems/{system}"
