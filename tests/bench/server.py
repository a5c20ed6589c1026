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
)


@dataclass(frozen=True)
class Installation:
    """A data folder and the port that its server will listen on."""

    folder: Path
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        mine = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        return mine | {"DATA_DIR": str(self.folder), "PORT": str(self.port)}


def installation(folder: Path) -> Installation:
    """Answers a new installation in `folder`, which is made, with a free port."""
    folder.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return Installation(folder, listener.getsockname()[1])


def seed(where: Installation, *what: str) -> Any:
    """Runs `python -m tests.bench.seed` on the installation and answers what it printed, from JSON."""
    command = [sys.executable, "-m", "tests.bench.seed", *what]
    done = subprocess.run(command, cwd=ROOT, env=where.environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


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
