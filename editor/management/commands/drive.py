"""A person's hands on the bytes of a drive: to look, to compare, to put something there."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentTypeError, _SubParsersAction
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction
from django.db.models import QuerySet

from editor import backup, exports, servers
from editor.audit import path_of
from editor.management.base import PeoplesCommand
from editor.models import Drive, Event, Power, Result
from editor.pool_rules import why_not_fill
from editor.rules import Refused, why_not_touch_bytes
from editor.storage import StorageDriver, StorageError
from editor.volumes import driver_of
from editor.words import counted, size

SECTOR = 512
CHUNK_BYTES = 16 * 1024 * 1024
"""Of what is read or written at once: bounds memory, and how long the drive's lock is held."""
AMOUNT = re.compile(r"(0x[0-9a-f]+|[0-9]+)([kmgt]?)", re.ASCII | re.IGNORECASE)


def amount(text: str) -> int:
    """Answers a number of bytes: "4096", "0x1000", "4K", "1M", "2G"."""
    match = AMOUNT.fullmatch(text)
    if not match:
        raise ArgumentTypeError(f"{text!r} is not an amount. Write it like 512, 4K, 1M or 2G.")
    number = int(match[1], 16) if match[1].lower().startswith("0x") else int(match[1])
    thousands: int = " kmgt".index(match[2].lower() or " ")
    return int(number * 1024**thousands)


def byte(text: str) -> int:
    """Answers a value from 0 to 255: "171" or "0xab"."""
    value = amount(text)
    if value > 255:
        raise ArgumentTypeError(f"{text!r} is not a byte. Write it like 0 to 255, or 0x00 to 0xff.")
    return value


class Command(PeoplesCommand):
    help = "Lists drives; reads, writes or hashes one whose server is off. A drive is named like atlas-prod/web-data-2."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        verbs.add_parser("list", help="all drives, with ids and paths")
        read = _verb(verbs, "read", "what is there, raw")
        read.add_argument("--offset", type=amount, default=0, help="e.g. 4K or 1M, default: 0")
        read.add_argument("--length", type=amount, default=SECTOR, help="default: %(default)s")
        read.add_argument("--hex", action="store_true", help="as lines of hexadecimal digits")
        write = _verb(verbs, "write", "put bytes there; from standard input unless told otherwise")
        write.add_argument("--offset", type=amount, default=0, help="e.g. 4K or 1M, default: 0")
        what = write.add_mutually_exclusive_group()
        what.add_argument("--text", help="these letters, in UTF-8")
        what.add_argument("--file", type=Path, help="the content of a file")
        what.add_argument("--fill", type=byte, metavar="BYTE", help="one byte again and again, e.g. 0xab")
        write.add_argument("--length", type=amount, help="how much to fill")
        _verb(verbs, "hash", "SHA-256 over size and content; equal for equal contents")

    def handle(self, *args: Any, verb: str, drive: str = "", **options: Any) -> None:
        if verb == "list":
            self.show_all()
            return
        try:
            found = named(drive)
            with backup.kept_away():
                {"read": self.read, "write": self.write, "hash": self.hash}[verb](found, **options)
        except (Refused, StorageError) as error:
            raise CommandError(str(error)) from error

    def show_all(self) -> None:
        for drive in _drives().order_by("pk").iterator(chunk_size=500):
            power = drive.instance.shown_power.label.lower() if drive.instance else "no server"
            made = size(drive.size_bytes) if drive.head_layer else f"{size(drive.size_bytes)}, not deployed"
            snapshots = counted(drive.snapshot_count, "snapshot")
            line = f"{drive.pk}\t{path_of(drive)}\t{made}\t{power}\t{snapshots}\t{drive.hold}"
            self.stdout.write(line.rstrip())

    def read(self, drive: Drive, *, offset: int, length: int, hex: bool, **options: Any) -> None:  # noqa: A002
        check(drive)
        driver = driver_of(drive.pool)
        out = sys.stdout.buffer  # Django's own stdout takes text only
        for at in range(offset, offset + length, CHUNK_BYTES):
            data = read_bytes(driver, drive, at, min(CHUNK_BYTES, offset + length - at))
            if hex:
                for start in range(0, len(data), 16):
                    self.stdout.write(f"{at + start:012x}  {data[start : start + 16].hex(' ')}")
            else:
                out.write(data)
        out.flush()

    def hash(self, drive: Drive, **options: Any) -> None:
        check(drive)
        self.stdout.write(driver_of(drive.pool).sha256(drive.pk))

    def write(self, drive: Drive, *, offset: int, **options: Any) -> None:
        check_writable(drive)
        check_server(drive)
        driver, head, written = driver_of(drive.pool), drive.head_layer, 0
        try:
            for data in source(drive, offset=offset, **options):
                check_still(drive.pk, head)
                write_bytes(driver, drive, offset + written, data)
                written += len(data)
        except (Refused, StorageError) as error:
            said = f" {size(written)} had been written." if written else ""
            raise CommandError(f"{error}{said}") from error
        finally:
            if written:
                tell(drive)
        self.stdout.write(f"Wrote {written} bytes to {path_of(drive)} at {offset}.")


def _verb(verbs: _SubParsersAction[Any], name: str, said: str) -> Any:
    parser = verbs.add_parser(name, help=said)
    parser.add_argument("drive", help="a path like atlas-prod/web-data-2, or an id; see `list`")
    return parser


def _drives() -> QuerySet[Drive]:
    return Drive.objects.select_related(
        "drive_array__infrastructure", "pool", "instance__instance_array", "instance__server"
    )


def named(text: str) -> Drive:
    """Answers the drive of an id or a path; raises Refused when there is none, or more than one."""
    if text.isascii() and text.isdigit():
        found = list(_drives().filter(pk=int(text)))
    else:
        infrastructure, _, label = text.rpartition("/")
        array, _, number = label.rpartition("-")
        rows = _drives().filter(drive_array__label=array, number=int(number) if number.isdecimal() else 0)
        found = list(rows.filter(drive_array__infrastructure__label=infrastructure) if infrastructure else rows)
    if not found:
        raise Refused(f"There is no drive {text}. See `manage.py drive list`.")
    if len(found) > 1:
        ids = ", ".join(f"{drive.pk} ({path_of(drive)})" for drive in found)
        raise Refused(f"There are several drives {text}. Use an id: {ids}.")
    return found[0]


def check(drive: Drive) -> None:
    """Raises Refused while the drive is held, or its server is not known to be off."""
    if reason := why_not_touch_bytes(drive):
        raise Refused(reason)


def check_writable(drive: Drive) -> None:
    """Raises Refused, too, when nothing may be begun that takes room in the drive's pool."""
    check(drive)
    if reason := why_not_fill(drive.pool):
        raise Refused(reason)


def check_still(pk: int, head: int | None) -> None:
    """Raises Refused when somebody has taken the drive, or its server, into use since the writing began."""
    drive = named(str(pk))
    check_writable(drive)
    if drive.head_layer != head:
        raise Refused(f"{drive} got a snapshot, or was reverted, meanwhile.")


def check_server(drive: Drive) -> None:
    """Asks BMC and target themselves: what is stored may be seconds old. Raises Refused unless the server is off."""
    instance = drive.instance
    if instance and instance.server_id and (power := servers.read_twice(instance.server_id)) != Power.OFF:
        raise Refused(f"{instance} is {power.label.lower()}, says its BMC now. Nothing was written.")
    if reason := exports.why_not_logged_out_now([drive]):
        raise Refused(f"{reason} Nothing was written.")


def source(drive: Drive, *, offset: int, text: str | None, file: Path | None, **options: Any) -> Iterator[bytes]:
    """Answers what to write, in pieces. Raises Refused with a sentence."""
    fill, length = options["fill"], options["length"]
    if (fill is None) != (length is None):
        raise Refused("--fill and --length belong together.")
    if text is not None:
        yield text.encode()
    elif fill is not None:
        if offset + length > drive.size_bytes:
            raise Refused(f"{drive} ends at {drive.size_bytes} bytes. Nothing was written.")
        for at in range(0, length, CHUNK_BYTES):
            yield bytes([fill]) * min(CHUNK_BYTES, length - at)
    elif file is not None:
        try:
            with file.open("rb") as stream:
                yield from pieces(stream)
        except OSError as error:
            raise Refused(f"{file} could not be read: {error.strerror}.") from error
    else:
        yield from pieces(sys.stdin.buffer)


def pieces(stream: IO[bytes]) -> Iterator[bytes]:
    """Answers a stream in pieces of a bounded size."""
    while data := stream.read(CHUNK_BYTES):
        yield data


def read_bytes(driver: StorageDriver, drive: Drive, offset: int, length: int) -> bytes:
    """Reads any window: engines know whole sectors only."""
    first = offset // SECTOR * SECTOR
    last = -(-(offset + length) // SECTOR) * SECTOR
    return driver.read(drive.pk, offset=first, length=last - first)[offset - first :][:length]


def write_bytes(driver: StorageDriver, drive: Drive, offset: int, data: bytes) -> None:
    """Writes any window; what else is in its first and last sector stays."""
    before, after = offset % SECTOR, -(offset + len(data)) % SECTOR
    if before:
        data = read_bytes(driver, drive, offset - before, before) + data
    if after:
        data += read_bytes(driver, drive, offset - before + len(data), after)
    driver.write(drive.pk, offset=offset - before, data=data)


def tell(drive: Drive) -> None:
    """Has the worker count again, and open pages look again."""
    with transaction.atomic():
        Drive.objects.filter(pk=drive.pk).update(observe_due=True)
        infrastructure = drive.drive_array.infrastructure_id
        topics = [drive.topic, drive.drive_array.topic, f"infrastructure-{infrastructure}"]
        Event.objects.record(infrastructure, "wrote to", drive.label, result=Result.SILENT, topics=topics)
