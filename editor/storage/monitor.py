"""Commands to a running qemu-storage-daemon, in its QEMU Machine Protocol (QMP). Every call has a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from qemu.qmp import ExecuteError, QMPClient, QMPError

from editor.storage.programs import DaemonMute, ProgramFailed

PROGRAM = "qemu-storage-daemon"
GOODBYE_SECONDS = 1
# How a connection ended is told to whoever waits for an answer; that one ended is nothing to write down.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)

Answer = TypeVar("Answer")


class Monitor:
    """One connection to the socket `name` in `folder`; the daemon talks to one at a time, in the order they came.

    So a command whose answer was not waited for is done, or dropped, before the next connection is greeted.

    Raises DaemonMute when there is no answer within `seconds`, ProgramFailed with the daemon's words when it refuses.
    """

    def __init__(self, folder: Path, name: str, *, seconds: float) -> None:
        self._folder = folder
        self._name = name
        self._seconds = seconds
        self._client = QMPClient(folder.name)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        try:
            self._run(self._client.connect(self._socket()))
        except BaseException:
            self._runner.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # It raises again what ended the connection, which whoever waited for an answer has heard already.
        with contextlib.suppress(Exception):
            self._runner.run(asyncio.wait_for(self._client.disconnect(), GOODBYE_SECONDS))
        self._runner.close()

    def execute(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """The answer to a command."""
        return self._run(self._client.execute(command, arguments))

    def _run(self, call: Coroutine[Any, Any, Answer]) -> Answer:
        try:
            return self._runner.run(asyncio.wait_for(call, self._seconds))
        except ExecuteError as error:
            raise ProgramFailed(PROGRAM, 1, str(error)) from error
        except TimeoutError as error:
            raise DaemonMute(f"no answer within {self._seconds:g} s") from error
        except QMPError as error:
            raise DaemonMute(f"{error} {error.__cause__ or ''}".strip()) from error

    def _socket(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self._seconds)
        folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # A socket's path has at most 107 bytes, a folder's any number.
            connection.connect(f"/proc/self/fd/{folder}/{self._name}")
        except OSError as error:
            connection.close()
            raise DaemonMute(f"no connection: {error}") from error
        finally:
            os.close(folder)
        connection.setblocking(False)  # noqa: FBT003 - as asyncio wants it
        return connection
