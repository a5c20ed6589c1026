"""The product in one command: what `make run` starts."""

from __future__ import annotations

import fcntl
import io
import os
import re
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from django.utils.module_loading import import_string

from editor import exports, iscsi, storage
from editor.lock import worker_lock
from editor.versions import why_not_use_database

STOP_SECONDS = 3
"""How long open requests may go on after Ctrl-C, before the worker is asked to stop."""

NETWORK_FILE_SYSTEMS = re.compile(
    r"nfs\d?|cifs|smb\w*|9p|afs|ceph|glusterfs|lustre|gpfs|beegfs|ncpfs|davfs2?"
    r"|fuse\.(sshfs|smb.*|nfs.*|ceph.*|glusterfs|rclone|s3fs|gcsfuse|davfs.*|curlftpfs)"
)


def network_file_system(folder: Path, mounts: str) -> str | None:
    """Answers the type of the network file system that holds the folder, or None.

    `mounts` is the text of /proc/mounts, where the last of two mounts on one place counts. Locks and memory
    shared between processes, which SQLite's WAL and the drives' locks need, do not work over a network.
    """
    best, found = "", ""
    for line in mounts.splitlines():
        _, place, kind, *_ = line.split(" ")
        place = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), place)
        if folder.is_relative_to(place) and len(place) >= len(best):
            best, found = place, kind
    return found if NETWORK_FILE_SYSTEMS.fullmatch(found) else None


def why_not_keep_data_in(folder: Path) -> str | None:
    """Whether database and drives can live in the folder."""
    mounts = Path("/proc/mounts")
    kind = network_file_system(folder.resolve(), mounts.read_text()) if mounts.exists() else None
    if kind:
        return f"The folder {folder} is on a network file system ({kind}). Set DATA_DIR to a folder on a local disk."
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"The folder {folder} cannot be written to: {error.strerror}. Set DATA_DIR to a folder you may write to."


class Server(uvicorn.Server):
    """Says so when it takes requests."""

    def __init__(self, config: uvicorn.Config, *, started: Callable[[], None]) -> None:
        super().__init__(config)
        self.say_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.say_started()


class Command(BaseCommand):
    help = "Starts the product: pages, live updates and worker, in one process. Loads the demo when nobody is there."
    requires_system_checks = ()  # each costs time at every start, and none finds what `make check` did not

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=settings.PORT, help="default: PORT of the environment, or 8000")
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on, default: %(default)s")

    def handle(self, *args: Any, host: str, port: int, **options: Any) -> None:
        if reason := why_not_keep_data_in(settings.DATA_DIR):
            raise CommandError(reason)
        if missing := storage.driver_for("qcow2", settings.DATA_DIR / "pools").missing_programs():
            raise CommandError(missing)
        # Held from here on: what follows takes a moment, and the port must still be free then.
        with self.listen(host, port) as listener:
            try:
                self.prepare()
            except DatabaseError as error:
                raise CommandError(
                    f"The database could not be used: {str(error).strip()}. "
                    "Look whether its disk is full and its file whole, then start again."
                ) from error
            except storage.StorageError as error:
                raise CommandError(f"The demo could not be loaded. {error} Starting again loads it anew.") from error
            address = settings.PUBLIC_URL if port == settings.PORT else f"http://{host}:{port}"
            sign_in = import_string(settings.DEMO_SIGN_IN)()
            self.serve(listener, "\n".join(filter(None, (f"Ready: {address}", sign_in, "Stop with Ctrl-C."))))

    def say(self, text: str) -> None:
        """At once, also to a program that reads along."""
        self.stdout.write(text)
        self.stdout.flush()

    def prepare(self) -> None:
        """Brings the database up to date, and fills it on the very first start. Two at once wait for each other."""
        with (settings.DATA_DIR / "start.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if reason := why_not_use_database():
                raise CommandError(reason)
            call_command("migrate", interactive=False, verbosity=0)
            if not get_user_model().objects.exists() or (settings.DATA_DIR / "demo_unfinished").exists():
                self.say("Loading the demo, once.")
                call_command("demo", stdout=io.StringIO())

    def listen(self, host: str, port: int) -> socket.socket:
        """Answers a socket that already takes connections; raises CommandError when the port is taken."""
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            listener = socket.create_server((host, port), family=family, backlog=128)
            # Connections inherit it. Without it, which asyncio sets on sockets of its own only, the body of an answer
            # waits 40 ms for the browser to acknowledge the head.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (OSError, OverflowError) as error:
            # create_server() puts the address into the error's own text once more.
            number = getattr(error, "errno", None) or 0
            reason = os.strerror(number) if number > 0 else str(error)
            raise CommandError(
                f"Cannot listen on {host} port {port}: {reason}. Choose another one, for example: "
                f"make run PORT={port + 1 if port < 65535 else 8001}"
            ) from error
        return listener

    def serve(self, listener: socket.socket, greeting: str) -> None:
        """Runs until Ctrl-C or SIGTERM; greets once it takes requests."""
        settings.EMBEDDED_WORKER = True
        server = Server(
            uvicorn.Config(
                "editor.asgi:application",
                log_config=None,
                log_level="warning",
                access_log=False,
                lifespan="on",
                ws_per_message_deflate=False,  # messages are a few dozen bytes
                proxy_headers=bool(settings.FORWARDED_ALLOW_IPS),
                forwarded_allow_ips=settings.FORWARDED_ALLOW_IPS,
                server_header=False,
                timeout_graceful_shutdown=STOP_SECONDS,
            ),
            started=lambda: self.say(greeting),
        )
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:
            self.stdout.write("Stopped.")
        if not server.started:
            raise CommandError("The server did not start; the reason is above.")
        self.stop_exports()

    def stop_exports(self) -> None:
        """Drives that nobody uses are not served without the product; a server that runs keeps its disk."""
        lock = worker_lock()
        if lock is None:
            # Another process has taken over, or our own has not come to its end.
            self.stdout.write("Drives are still served over iSCSI: a worker is at work.")
            return
        try:
            exports.stop()
        except iscsi.ExportError as error:
            self.stdout.write(
                f"Drives are still served over iSCSI, and go on being: {error} "
                "To end that afterwards: manage.py exports stop"
            )
        except storage.StorageError as error:
            self.stdout.write(str(error))
        finally:
            lock.release()
