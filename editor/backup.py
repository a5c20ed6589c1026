"""Copies an installation into one file while it runs: the database, and the drives as that database knows them.

Nobody is stopped for it, because of what the engine does and does not do (editor.storage.qcow2):

- Creating and reverting only add layers and move the head. Their ids are larger than all that the database gave
  out before. So whatever happens after the database was copied, the layers it names stay, and the head that is
  saved is the one it names, not the one on disk.
- Three things change a layer that exists: merging layers of deleted snapshots, `manage.py drive write`, and servers.
  The first two stay away while a backup is made (`is_running`, `kept_away`), and merges that run are waited for, drive
  by drive. Of a drive that is served, what its head holds at one moment is copied aside first; one that is not served
  begins to be when its head was copied (editor.storage.freeze).
- A snapshot or revert that was in work at that moment is undone by the worker after a restore, and says so.

The archive is a tar: header.json, the database, the layers, and manifest.json last, with a SHA-256 of each. It holds
all that people have stored, and their password hashes; so it is readable by its owner only. The secret that signs
sessions is not in it: after a restore everybody signs in again. Nor is the key to the sealed passwords (editor.sealed):
who finds the archive alone cannot read them.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import secrets
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.db import connection
from django.utils import timezone

from editor.databases import BackupError, Copy, copied_database
from editor.rules import Refused
from editor.storage import StorageError
from editor.storage.freeze import opened
from editor.storage.layers import DriveFolder, fsync, layer_name
from editor.storage.locks import DriveLocks
from editor.storage.programs import Damaged, explained

FORMAT = "infrastructure-editor-backup"
VERSION = 1
ENGINE = "qcow2"
"""The engine whose drives can be copied; others have means of their own."""
COMPRESSION = {".tar": "", ".tar.gz": "gz", ".tgz": "gz"}
LOCK = "backup.lock"
WAIT_SECONDS = 10
MERGE_SECONDS = 60
"""A merge ends within a tenth of a second when asked; a read of a whole drive may take longer."""
CHUNK_BYTES = 1024 * 1024


def is_running() -> bool:
    """Whether a backup is being made: then no layer that exists may be changed or removed."""
    with suppress(FileNotFoundError):
        descriptor = os.open(settings.DATA_DIR / LOCK, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return not _locked(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)
    return False


@contextmanager
def kept_away() -> Iterator[None]:
    """While inside, no backup begins. Raises Refused when one is being made."""
    with _lock(fcntl.LOCK_SH, seconds=0) as mine:
        if not mine:
            raise Refused("A backup is being made. Try again when it is finished.")
        yield


@dataclass
class Summary:
    """What an archive holds."""

    drives: int = 0
    layers: int = 0
    bytes: int = 0
    locked_up: int = 0
    """After a restore: passwords of BMCs and of CHAP that the key here does not open, or no key."""


def save(path: Path, *, tell: Callable[[str], object] = len) -> Summary:
    """Writes the archive, which appears under its name only when it is whole. Raises BackupError with a sentence.

    `tell` is called with the label of each drive before it is copied.
    """
    compression = _compression(path)
    draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    with _lock(fcntl.LOCK_EX, seconds=WAIT_SECONDS) as mine:
        if not mine:
            raise BackupError("Another backup, or a `manage.py drive` command, is at work. Try again when it is done.")
        try:
            with os.fdopen(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w+b") as file:
                # The kind of compression is a part of tarfile's mode, which its types spell out one by one.
                mode: Any = f"w:{compression}"
                with tarfile.open(fileobj=file, mode=mode, format=tarfile.PAX_FORMAT) as tar:
                    summary = _fill(Writer(tar), path.parent, tell)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            fsync(path.parent)
        except OSError as error:
            raise BackupError(f"The backup could not be written: {error.strerror}. Nothing was left behind.") from error
        finally:
            draft.unlink(missing_ok=True)
    return summary


def _compression(path: Path) -> str:
    for suffix, compression in COMPRESSION.items():
        if path.name.endswith(suffix) and path.name != suffix:
            if path.exists():
                raise BackupError(f"{path} exists already. Choose another name.")
            if not path.parent.is_dir():
                raise BackupError(f"There is no folder {path.parent}. Make it first.")
            return compression
    raise BackupError(f"Name the file like backup.tar.gz. What is understood: {', '.join(COMPRESSION)}.")


@dataclass
class Writer:
    """Puts files into an archive and remembers their sums."""

    tar: tarfile.TarFile
    sums: dict[str, str] = field(default_factory=dict)

    def text(self, name: str, content: Any) -> None:
        """Adds a small JSON file."""
        data = json.dumps(content, indent=1, sort_keys=True).encode()
        self._add(name, io.BytesIO(data), len(data))

    def file(self, name: str, path: Path) -> int:
        """Adds a file; answers its size."""
        with path.open("rb") as file:
            return self.opened(name, file)

    def opened(self, name: str, file: IO[bytes]) -> int:
        """Adds a file that is open; answers its size."""
        size = os.fstat(file.fileno()).st_size
        self._add(name, file, size)
        return size

    def _add(self, name: str, file: IO[bytes], size: int) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, 0o600, int(time.time())
        hashing = Hashing(file)
        self.tar.addfile(info, hashing)
        self.sums[name] = hashing.digest.hexdigest()


class Hashing:
    """A file that sums up what is read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


def _fill(writer: Writer, scratch: Path, tell: Callable[[str], object]) -> Summary:
    summary = Summary()
    with copied_database(scratch) as copy:
        pools = {str(pk): folder for pk, _, _, folder in copy.pools}
        for _, label, engine, _ in copy.pools:
            if engine != ENGINE and any(drive.pool_label == label for drive in copy.drives):
                raise BackupError(
                    f"The pool {label} is kept by the engine {engine}, whose drives cannot be copied here. "
                    "Back them up by that engine's own means."
                )
        writer.text(
            "header.json",
            {
                "format": FORMAT,
                "version": VERSION,
                "made_at": timezone.now().isoformat(timespec="seconds"),
                "database": connection.vendor,
                "migrations": copy.migrations,
                "pools": pools,
            },
        )
        summary.bytes += writer.file("database", copy.path)
    heads = _copy_drives(writer, copy, summary, tell)
    writer.text("manifest.json", {"sums": dict(writer.sums), "heads": heads})
    return summary


def _copy_drives(writer: Writer, copy: Copy, summary: Summary, tell: Callable[[str], object]) -> dict[str, int]:
    heads: dict[str, int] = {}
    locks = DriveLocks(MERGE_SECONDS)
    for drive in copy.drives:
        tell(drive.label)
        pool = Path(drive.pool_folder) if drive.pool_folder else settings.DATA_DIR / "pools" / str(drive.pool)
        folder = DriveFolder(pool, drive.pk)
        name = f"pools/{drive.pool}/{folder.path.name}"
        try:
            with locks.held(folder.path):
                pass  # whoever merged has ended, and nobody begins again
            chain = [layer.id for layer in folder.chain(drive.head)]
            with explained():
                head = opened(folder, drive.head, locks)
            with head:
                summary.bytes += writer.opened(f"{name}/{layer_name(drive.head)}", head)
            for layer in chain:
                if layer != drive.head:
                    summary.bytes += writer.file(f"{name}/{layer_name(layer)}", folder.file(layer))
                if folder.is_merging(layer):
                    writer.file(f"{name}/layer-{layer}.merging", folder.path / f"layer-{layer}.merging")
        except (Damaged, StorageError, FileNotFoundError) as error:
            raise BackupError(
                f"{drive.label} could not be copied, so no backup was made. Look at it: manage.py reconcile --audit "
                f"({error})"
            ) from error
        heads[name] = drive.head
        summary.drives += 1
        summary.layers += len(chain)
    return heads


@contextmanager
def _lock(kind: int, *, seconds: float) -> Iterator[bool]:
    """Gives whether the lock could be had in time; it ends with the process, however that ends."""
    descriptor = os.open(settings.DATA_DIR / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = time.monotonic() + seconds
        while not (mine := _locked(descriptor, kind)) and time.monotonic() < end:
            time.sleep(0.05)
        yield mine
    finally:
        os.close(descriptor)


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
