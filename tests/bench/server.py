"""Starts the product as people start it, on a port and a data folder of its own, and fills it through the ORM.

The process that drives the browser never touches the database: Playwright and Django do not share a thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 30
# What a developer may have exported for another installation.
FOREIGN = (
    *("ALLOWED_HOSTS", "DATABASE_URL", "DEBUG", "EMBEDDED_WORKER", "EVENT_DAYS", "FORWARDED_ALLOW_IPS"),
    *("PUBLIC_URL", "SECRET_KEY", "SHUTDOWN_SECONDS", "DJANGO_SETTINGS_MODULE"),
    *("ISCSI_EXPORTER", "ISCSI_PORTAL", "IQN_PREFIX", "SECRETS_KEY_FILE"),
)


@dataclass(frozen=True)
class Installation:
    """A data folder and the ports that its server and its iSCSI target will listen on."""

    folder: Path
    port: int
    iscsi_port: int | None
    """None: it serves no drives."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        mine = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        iscsi = {"ISCSI_EXPORTER": "none"}
        if self.iscsi_port:
            iscsi = {"ISCSI_EXPORTER": "tgt", "ISCSI_PORTAL": f"127.0.0.1:{self.iscsi_port}"}
        return mine | iscsi | {"DATA_DIR": str(self.folder), "PORT": str(self.port)}


def new_installation(folder: Path, *, iscsi: bool = False) -> Installation:
    """Answers an installation in `folder`, which is made, with free ports."""
    folder.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return Installation(folder, one.getsockname()[1], other.getsockname()[1] if iscsi else None)


@contextlib.contextmanager
def installation(folder: Path, *, iscsi: bool = False) -> Iterator[Installation]:
    """Gives a new installation; afterwards it serves no drive any more."""
    where = new_installation(folder, iscsi=iscsi)
    try:
        yield where
    finally:
        if iscsi:
            stop = [sys.executable, "manage.py", "exports", "stop"]
            subprocess.run(stop, cwd=ROOT, env=where.environment, stdout=subprocess.DEVNULL, check=False)


def seed(where: Installation, *what: str) -> Any:
    """Runs `python -m tests.bench.seed` on the installation and answers what it printed, from JSON."""
    return ask(where, "seed", *what)


def ask(where: Installation, module: str, *arguments: str) -> Any:
    """Runs `python -m tests.bench.MODULE` on the installation and answers what it printed last, from JSON."""
    command = [sys.executable, "-m", f"tests.bench.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=where.environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@contextlib.contextmanager
def running(where: Installation, *, log: Path) -> Iterator[int]:
    """Runs `manage.py serve` on the installation; gives its process id once it takes requests.

    Raises RuntimeError with what it said when it does not start.
    """
    command = [sys.executable, "manage.py", "serve", "--port", str(where.port)]
    with log.open("a") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, env=where.environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        assert process.stdout
        if not any(line.startswith("Ready:") for line in process.stdout):
            raise RuntimeError(f"The server did not start:\n{log.read_text()[-2000:]}")
        yield process.pid
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
