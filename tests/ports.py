"""Ports for what tests start."""

from __future__ import annotations

import socket
from contextlib import suppress
from random import SystemRandom

PORTS = range(15_000, 30_000)
"""Not of those that systems give away by themselves: what asks for any port would get it before it is used."""


def free_port() -> int:
    """Answers a port of 127.0.0.1 at which nobody listens; tests beside this one hardly ever get the same."""
    chance = SystemRandom()  # another order in each process, also where a test has seeded the other generator
    while True:
        port = chance.choice(PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
