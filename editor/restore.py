"""Puts a backup into an empty installation. Nothing is there until all of it is known to be whole."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tarfile
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.db import connection

from editor import sealed
from editor.backup import CHUNK_BYTES, FORMAT, VERSION, Summary
from editor.databases import BackupError, put_postgresql, put_sqlite
from editor.models import Deploy, DeployItem, DeployState, DeployStep, Instance, ItemState, Server
from editor.plan import DESTROYING
from editor.storage.layers import fsync, layer_name
from editor.versions import newest_unknown

# A new installation makes these by itself.
EXPECTED = {"secret_key", "start.lock", "worker.lock", "backup.lock", "secrets.key"}
LAYER = re.compile(r"pools/([1-9][0-9]*)/(drive-[1-9][0-9]*)/(layer-[1-9][0-9]*\.(?:qcow2|merging))", re.ASCII)
DRIVE = re.compile(r"pools/([1-9][0-9]*)/(drive-[1-9][0-9]*)", re.ASCII)
DAMAGED = "The archive is damaged. Nothing was restored. Use another one."


def load(archive: Path) -> Summary:
    """Restores drives and database. Raises BackupError with a sentence; everything is as before then."""
    database = None if connection.vendor == "postgresql" else Path(str(connection.settings_dict["NAME"]))
    connection.close()
    restore = Restore(database)
    try:
        # Held until the end: `serve` makes a database where there is none.
        with (settings.DATA_DIR / "start.lock").open("w") as lock, tarfile.open(archive) as tar:
            fcntl.flock(lock, fcntl.LOCK_EX)
            restore.check_empty()
            restore.read(tar)
            restore.finish()
            _hold_deploys_back()
            restore.summary.locked_up = _locked_up()
    except BaseException as error:
        restore.undo()
        if isinstance(error, (tarfile.TarError, EOFError, zlib.error, ValueError, KeyError, TypeError)):
            raise BackupError(DAMAGED) from error
        if isinstance(error, OSError):
            # gzip's own errors are these as well, without a number.
            raise BackupError(f"Nothing was restored: {error.strerror}." if error.errno else DAMAGED) from error
        raise
    return restore.summary


def _hold_deploys_back() -> None:
    """A deploy that ran when the backup was made goes on when somebody wants it to: servers may be others by now."""
    # A backup may be older than deploys are.
    if "editor_deploy" in connection.introspection.table_names():
        running = Deploy.objects.filter(state=DeployState.RUNNING)
        running.update(stop_asked=True)
        # What a stop would let end destroys drives that were just restored: that begins anew, when somebody wants it.
        steps = DeployStep.objects.filter(deploy__in=running, kind__in=DESTROYING)
        DeployItem.objects.filter(step__in=steps, state=ItemState.RUNNING).update(state=ItemState.WAITING)
        steps.update(started_at=None)


def _locked_up() -> int:
    """Answers how many sealed passwords cannot be read here."""
    texts: list[str] = []
    # A backup may be older than these are.
    if "password_sealed" in _columns("editor_server"):
        texts += Server.objects.exclude(password_sealed="").values_list("password_sealed", flat=True)
    if "chap_sealed" in _columns("editor_instance"):
        texts += Instance.objects.exclude(chap_sealed="").values_list("chap_sealed", flat=True)
    return sum(not sealed.is_open(text) for text in texts)


def _columns(table: str) -> set[str]:
    with connection.cursor() as cursor:
        return {column.name for column in connection.introspection.get_table_description(cursor, table)}


@dataclass
class Restore:
    """One attempt, and what it has made so far."""

    database: Path | None
    """Where SQLite's goes; None for PostgreSQL."""
    summary: Summary = field(default_factory=Summary)
    folders: dict[str, Path] = field(default_factory=dict)
    made: list[Path] = field(default_factory=list)
    heads: dict[str, int] = field(default_factory=dict)
    done: bool = False

    @property
    def draft(self) -> Path:
        """Where the copy of the database waits until all else is in place."""
        return (self.database.parent if self.database else settings.DATA_DIR) / ".restoring-database"

    def check_empty(self) -> None:
        """Raises BackupError when somebody's data is here."""
        names = {path.name for path in settings.DATA_DIR.iterdir()} - EXPECTED
        if self.database and self.database.exists() and self.database.stat().st_size:
            names.add(self.database.name)
        elif self.database:
            names.discard(self.database.name)
        if names:
            raise BackupError(
                f"{settings.DATA_DIR} is not empty: {', '.join(sorted(names)[:3])}. Restore into an empty DATA_DIR."
            )
        if self.database is None and connection.introspection.table_names():
            raise BackupError("The database has tables already. Restore into an empty one.")

    def read(self, tar: tarfile.TarFile) -> None:
        """Unpacks everything and compares it with the sums that come last."""
        sums: dict[str, str] = {}
        manifest: dict[str, Any] | None = None
        for position, member in enumerate(tar):
            file = tar.extractfile(member)
            if file is None or manifest is not None:
                raise BackupError(DAMAGED)
            if position == 0:
                sums[member.name] = self._header(member.name, file.read(CHUNK_BYTES))
            elif member.name == "manifest.json":
                manifest = json.loads(file.read())
            else:
                sums[member.name] = self._unpack(self._place(member.name), file, member.size)
        if manifest is None or manifest["sums"] != sums:
            raise BackupError(DAMAGED)
        self.heads = manifest["heads"]

    def _header(self, name: str, data: bytes) -> str:
        header = json.loads(data) if name == "header.json" else {}
        if header.get("format") != FORMAT:
            raise BackupError("This is not a backup of the infrastructure editor.")
        if header["version"] != VERSION:
            raise BackupError(f"This backup has version {header['version']}; what is understood here is {VERSION}.")
        if header["database"] != connection.vendor:
            raise BackupError(f"This backup is of {header['database']}, the database here is {connection.vendor}.")
        if unknown := newest_unknown(header["migrations"]):
            raise BackupError(f"This backup is of a newer version of the editor, with {unknown}. Update first.")
        for pool, folder in header["pools"].items():
            path = Path(folder) if folder else settings.DATA_DIR / "pools" / str(int(pool))
            if path.is_dir() and any(path.iterdir()):
                raise BackupError(f"The storage pool's folder {path} is not empty. Move away what is there.")
            self.folders[pool] = path
        return hashlib.sha256(data).hexdigest()

    def _place(self, name: str) -> Path:
        """Answers where a file goes; only names that a backup writes are taken."""
        if name == "database":
            return self.draft
        match = LAYER.fullmatch(name)
        if not match or match[1] not in self.folders:
            raise BackupError(DAMAGED)
        self.summary.layers += name.endswith(".qcow2")
        return self._drive(match[1], match[2]) / match[3]

    def _drive(self, pool: str, name: str) -> Path:
        folder = self.folders[pool] / name
        if not folder.is_dir():
            # From the top: undoing must remove what is made here, and nothing else.
            for path in (*reversed(folder.parents), folder):
                if not path.is_dir():
                    path.mkdir(mode=0o700)
                    self.made.append(path)
            self.summary.drives += 1
        return folder

    def _unpack(self, path: Path, file: IO[bytes], size: int) -> str:
        """Writes a file durably, zeros as holes; answers its sum."""
        digest = hashlib.sha256()
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as out:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                for start in range(0, len(chunk), 4096):
                    block = chunk[start : start + 4096]
                    if block.count(0) == len(block):
                        out.seek(len(block), os.SEEK_CUR)
                    else:
                        out.write(block)
            out.truncate(size)
            out.flush()
            os.fsync(out.fileno())
        self.summary.bytes += size
        return digest.hexdigest()

    def finish(self) -> None:
        """Points each drive at its head; the database comes last, since with it the installation is there."""
        for name, head in self.heads.items():
            match = DRIVE.fullmatch(name)
            if not match:
                raise BackupError(DAMAGED)
            folder = self._drive(match[1], match[2])
            if not (folder / layer_name(int(head))).is_file():
                raise BackupError(DAMAGED)
            (folder / "head").symlink_to(layer_name(int(head)))
        for path in self.made:
            fsync(path)
            fsync(path.parent)
        if self.database:
            put_sqlite(self.draft, self.database)
            self.done = True
            fsync(self.database.parent)
        else:
            put_postgresql(self.draft)
            self.done = True
            self.draft.unlink()

    def undo(self) -> None:
        """Removes what was made, unless all of it is in place."""
        if self.done:
            return
        self.draft.unlink(missing_ok=True)
        for path in self.made:
            with suppress(OSError):
                shutil.rmtree(path)
