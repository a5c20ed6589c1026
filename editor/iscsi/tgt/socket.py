"""Talks to tgtd's management socket: the same requests as tgtadm, without a process for each.

tgtadm takes passwords on its command line, where everybody on the machine can read them.

A request is `struct tgtadm_req` and a text of "name=value" that ends with a zero byte; the answer is `struct
tgtadm_rsp` and a text. One connection carries one request. (Layout and numbers: usr/tgtadm.h and usr/tgtadm_error.h of
https://github.com/fujita/tgt, the same in 1.0.85 and 1.0.97; how they are read: usr/mgmt.c.)

Exceptions:

    TgtError            anything below
      NotRunning        nobody listens there
      NoAnswer          somebody does, and does not answer in time or not so
        HungUp          it ended the connection instead
      Said              tgtd refused, with a code
"""

from __future__ import annotations

import enum
import errno
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SOCKET = "socket"
"""What tgtd is told; it appends the number of its control port."""
FILE = f"{SOCKET}.0"

ALL_TARGETS, NO_TARGET = -1, 0
ISCSI = b"iscsi"
REQUEST = struct.Struct("@II64sIiQQIIIIII")
ANSWER = struct.Struct("@II")
CREDENTIALS = struct.Struct("@iII")
MAX_REQUEST_BYTES = 8 * 1024  # MAX_MGT_BUFSIZE in usr/mgmt.c
MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""Far above what all targets take: 1.2 KiB each."""


class Mode(enum.IntEnum):
    SYSTEM = 0
    TARGET = 1
    DEVICE = 2
    PORTAL = 3
    CONNECTION = 6
    ACCOUNT = 7


class Op(enum.IntEnum):
    NEW = 0
    DELETE = 1
    SHOW = 2
    BIND = 3
    UNBIND = 4
    UPDATE = 5


class Code(enum.IntEnum):
    """The answers that mean something here; there are more."""

    NO_TARGET = 4
    NO_LUN = 5
    TARGET_EXIST = 9
    LUN_EXIST = 10
    ACL_EXIST = 12
    ACL_NOEXIST = 13
    USER_EXIST = 14
    NO_USER = 15
    TARGET_ACTIVE = 19
    LUN_ACTIVE = 20


class TgtError(Exception):
    """A request that was not done, or of which nobody knows whether it was."""


class NotRunning(TgtError):
    """Nobody listens on the socket."""


class NoAnswer(TgtError):
    """Whoever listens did not answer in time, or not as tgtd does."""


class HungUp(NoAnswer):
    """The connection ended without an answer: process `pid` has ended, or does not talk to this user."""

    def __init__(self, pid: int, message: str) -> None:
        super().__init__(message)
        self.pid = pid


class Said(TgtError):
    """tgtd refused; `code` is one of `Code` or another number."""

    def __init__(self, code: int, request: str) -> None:
        super().__init__(f"tgtd answered {code} to {request}")
        self.code = code


def send(folder: Path, mode: Mode, op: Op, text: str, *, tid: int = ALL_TARGETS, lun: int = 0, seconds: float) -> str:
    """Do one request with the tgtd whose socket is in `folder`, and answer its text. Raises TgtError.

    `text` is what tgtd reads, mostly "name=value,name=value". It is in no message: it may hold a password.
    """
    body = text.encode() + b"\0" if text else b""
    if len(body) > MAX_REQUEST_BYTES:
        raise NoAnswer(f"a request of {len(body)} bytes is too long for tgtd")
    with connected(folder, seconds=seconds) as connection:
        try:
            connection.sendall(_request(mode, op, body, tid=tid, lun=lun))
            answer = _read(connection, seconds)
        except TimeoutError as error:
            raise NoAnswer(f"no answer within {seconds:g} s") from error
        except OSError as error:
            raise HungUp(_peer(connection), f"the connection broke: {error}") from error
    code, length = ANSWER.unpack(answer[: ANSWER.size])
    if code:
        raise Said(code, f"{mode.name} {op.name} tid {tid} lun {lun}")
    return answer[ANSWER.size : length].rstrip(b"\0").decode(errors="replace")


def _request(mode: Mode, op: Op, body: bytes, *, tid: int, lun: int = 0) -> bytes:
    return REQUEST.pack(mode, op, ISCSI, REQUEST.size + len(body), tid, 0, lun, 0, 0, 0, 0, 0, 0) + body


def _read(connection: socket.socket, seconds: float) -> bytes:
    """All of an answer, within `seconds` in all."""
    end = time.monotonic() + seconds
    answer = bytearray()
    wanted = ANSWER.size
    while len(answer) < wanted:
        connection.settimeout(max(0.001, end - time.monotonic()))
        part = connection.recv(min(wanted - len(answer), 1024 * 1024))
        if not part:
            raise HungUp(_peer(connection), "it hung up before it had answered")
        answer += part
        if len(answer) == ANSWER.size:
            _, wanted = ANSWER.unpack(answer)
            if not ANSWER.size <= wanted <= MAX_ANSWER_BYTES:
                raise NoAnswer(f"an answer of {wanted} bytes is none of tgtd's")
    return bytes(answer)


@contextmanager
def connected(folder: Path, *, seconds: float) -> Iterator[socket.socket]:
    """A connection to the socket in `folder`. Raises NotRunning or NoAnswer."""
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotRunning(f"there is no folder {folder}") from error
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(seconds)
            # An address holds 107 bytes; a folder may lie deeper than that.
            _connect(connection, f"/proc/self/fd/{descriptor}/{FILE}", seconds)
            yield connection
    finally:
        os.close(descriptor)


def _connect(connection: socket.socket, address: str, seconds: float) -> None:
    try:
        connection.connect(address)
    except (TimeoutError, BlockingIOError) as error:
        # Its queue is full of others that wait.
        raise NoAnswer(f"no connection within {seconds:g} s") from error
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ECONNREFUSED}:
            raise NotRunning(str(error)) from error
        raise NoAnswer(f"no connection: {error}") from error


def peer(folder: Path, *, seconds: float) -> int:
    """The id of the process that listens, as the kernel knows it. Raises NotRunning or NoAnswer.

    It is asked something, though nobody waits for the answer: of a connection that ends without a request tgtd does
    not let go while it has sessions. It takes the end for "nothing yet", by the `errno` of what it did before, and
    reads again and again, for ever (`mtask_received` in usr/mgmt.c).
    """
    with connected(folder, seconds=seconds) as connection:
        with suppress(OSError):  # one of another user hangs up
            connection.sendall(_request(Mode.TARGET, Op.SHOW, b"", tid=NO_TARGET))
        return _peer(connection)


def _peer(connection: socket.socket) -> int:
    pid: int = CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))[0]
    return pid
