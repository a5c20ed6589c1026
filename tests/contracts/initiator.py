"""An iSCSI initiator in a few lines: it says what tests need, polite or not, and waits for nobody.

One connection, no digests, no errors but the first. (RFC 3720: PDUs in section 10, keys in 11 and 12, CHAP in 11.1.)
"""

from __future__ import annotations

import hashlib
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from editor.iscsi import LUN, Export

SECURITY, OPERATIONAL, FULL_FEATURE = 0, 1, 3
TRANSIT = 0x80
RESERVED = 0xFFFFFFFF


class LoginRefused(Exception):
    """The target said no; `status` is its status class and detail, (2, 1) for a wrong password."""

    def __init__(self, status: tuple[int, int]) -> None:
        super().__init__(f"status {status}")
        self.status = status


AUTHENTICATION_FAILED = (2, 1)
NOT_FOUND = (2, 3)


class HungUp(Exception):
    """The target closed the connection."""


class CheckCondition(Exception):
    """A command that failed; as for a LUN that is not there."""


@dataclass
class Answer:
    """A PDU from the target."""

    head: bytes
    data: bytes

    @property
    def opcode(self) -> int:
        return self.head[0] & 0x3F

    @property
    def keys(self) -> dict[str, str]:
        pairs = (part.decode().partition("=") for part in self.data.split(b"\0") if part)
        return {name: value for name, _, value in pairs}


class Initiator:
    """A connection to a portal, and the session on it once `log_in` has come through."""

    def __init__(self, portal: str, export: Export, *, alias: str = "") -> None:
        host, _, port = portal.rpartition(":")
        self.export = export
        self.alias = alias
        self.command = 1
        self.status = 0
        self.connection = socket.create_connection((host, int(port)), timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.connection.close()

    # Logging in, in steps that a test may stop between

    def log_in(self) -> Self:
        try:
            self.name_target()
            self.pass_chap()
            self.finish()
        except BaseException:
            self.connection.close()
            raise
        return self

    def name_target(self, methods: str = "CHAP,None") -> dict[str, str]:
        """The first request: after it the target has looked at the initiator's name."""
        keys = {"InitiatorName": self.export.initiator, "TargetName": self.export.iqn, "SessionType": "Normal"}
        if self.alias:
            keys["InitiatorAlias"] = self.alias
        return self.login(SECURITY << 2 | OPERATIONAL | TRANSIT, keys | {"AuthMethod": methods})

    def pass_chap(self) -> None:
        asked = self.login(SECURITY << 2, {"CHAP_A": "5"})
        challenge = bytes.fromhex(asked["CHAP_C"].removeprefix("0x"))
        digest = hashlib.md5(bytes([int(asked["CHAP_I"])]) + self.export.password.encode() + challenge).hexdigest()
        answer = {"CHAP_N": self.export.user, "CHAP_R": f"0x{digest}"}
        self.login(SECURITY << 2 | OPERATIONAL | TRANSIT, answer)

    def finish(self) -> None:
        keys = {"HeaderDigest": "None", "DataDigest": "None", "InitialR2T": "No", "ImmediateData": "Yes"}
        keys |= {"MaxRecvDataSegmentLength": "262144", "FirstBurstLength": "65536"}
        self.login(OPERATIONAL << 2 | FULL_FEATURE | TRANSIT, keys)

    def login(self, stage: int, keys: dict[str, str]) -> dict[str, str]:
        data = b"".join(f"{name}={value}\0".encode() for name, value in keys.items())
        head = struct.pack(">BBHI6sHIHHII", 0x43, stage, 0, len(data), b"\x80test\0", 0, 1, 0, 0, self.command, 0)
        answer = self.exchange(head.ljust(48, b"\0"), data)
        status = (answer.head[36], answer.head[37])
        if status != (0, 0):
            raise LoginRefused(status)
        return answer.keys

    # Using the disk

    def serial(self) -> str:
        page = self.scsi(bytes([0x12, 1, 0x80, 0, 255, 0]), 255)
        return page[4 : 4 + page[3]].decode().strip()

    def identifiers(self) -> bytes:
        return self.scsi(bytes([0x12, 1, 0x83, 0, 255, 0]), 255)

    def inquiry(self) -> str:
        """Vendor, product and revision."""
        return self.scsi(bytes([0x12, 0, 0, 0, 96, 0]), 96)[8:36].decode()

    def write_cache(self) -> bool:
        """Whether the disk says that it has one (WCE in mode page 8)."""
        page = self.scsi(bytes([0x1A, 8, 8, 0, 192, 0]), 192)
        return bool(page[6] & 4)

    def read(self, sector: int = 0, sectors: int = 1) -> bytes:
        return self.scsi(struct.pack(">BBIBHB", 0x28, 0, sector, 0, sectors, 0), 512 * sectors)

    def write(self, data: bytes, sector: int = 0) -> None:
        self.scsi(struct.pack(">BBIBHB", 0x2A, 0, sector, 0, len(data) // 512, 0), data=data)

    def flush(self) -> None:
        self.scsi(bytes([0x35]) + bytes(9))

    def unmap(self, sector: int, sectors: int) -> None:
        text = struct.pack(">HHIQII", 22, 16, 0, sector, sectors, 0)
        self.scsi(struct.pack(">B6xHB", 0x42, len(text), 0), data=text)

    def scsi(self, cdb: bytes, wanted: int = 0, *, data: bytes = b"") -> bytes:
        """Do a command, once more if the target only had something to tell. Raises CheckCondition."""
        for _ in range(3):
            try:
                return self._scsi(cdb, wanted, data)
            except CheckCondition as error:
                if error.args[0] != 6:
                    raise
        raise CheckCondition(6)

    def _scsi(self, cdb: bytes, wanted: int, data: bytes) -> bytes:
        flags = TRANSIT | (0x40 if wanted else 0) | (0x20 if data else 0) | 1
        lun = bytes([0, LUN]) + bytes(6)
        head = struct.pack(
            ">BBHI8sIIII", 1, flags, 0, len(data), lun, 2, wanted or len(data), self.command, self.status
        )
        self.command += 1
        self.send(head + cdb.ljust(16, b"\0"), data)
        got = b""
        while True:
            answer = self.receive()
            if answer.opcode == 0x25:
                got += answer.data
            if answer.opcode == 0x21 or (answer.opcode == 0x25 and answer.head[1] & 1):
                break
        if answer.head[3]:
            raise CheckCondition(answer.data[4] & 0x0F)
        return got

    # PDUs

    def exchange(self, head: bytes, data: bytes) -> Answer:
        self.send(head, data)
        return self.receive()

    def send(self, head: bytes, data: bytes) -> None:
        try:
            self.connection.sendall(head + data + bytes(-len(data) % 4))
        except OSError as error:
            raise HungUp from error

    def receive(self) -> Answer:
        """The next PDU that is no ping; pings are answered."""
        while True:
            head = self._exactly(48)
            length = int.from_bytes(head[5:8], "big")
            data = self._exactly(length + -length % 4)[:length]
            # What the target counts; it is acknowledged with the next request.
            self.status = int.from_bytes(head[24:28], "big") + 1
            ping = head[20:24]
            if head[0] & 0x3F != 0x20 or ping == RESERVED.to_bytes(4, "big"):
                return Answer(head, data)
            pong = struct.pack(">BBHI8sI4sII", 0x40, 0x80, 0, 0, head[8:16], RESERVED, ping, self.command, self.status)
            self.send(pong.ljust(48, b"\0"), b"")

    def _exactly(self, length: int) -> bytes:
        got = b""
        while len(got) < length:
            try:
                part = self.connection.recv(length - len(got))
            except ConnectionError as error:
                raise HungUp from error
            if not part:
                raise HungUp
            got += part
        return got
