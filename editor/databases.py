"""Copies the database as it is at one moment, and puts such a copy into an empty place. SQLite and PostgreSQL."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection, connections

BUSY_SECONDS = 20

# Asked of a copy, by the driver's own means: the ORM would answer with what is there now.
POOLS = "SELECT id, label, engine, folder FROM editor_storagepool ORDER BY id"
DRIVES = """
    SELECT drive.id, drive.pool_id, drive.head_layer, pool.folder, pool.label, owner.label, drive.number
    FROM editor_drive drive
    JOIN editor_storagepool pool ON pool.id = drive.pool_id
    JOIN editor_drivearray owner ON owner.id = drive.drive_array_id
    WHERE drive.head_layer IS NOT NULL ORDER BY drive.pool_id, drive.id
"""
MIGRATIONS = "SELECT app, name FROM django_migrations ORDER BY app, name"

Ask = Callable[[str], list[tuple[Any, ...]]]


class BackupError(Exception):
    """A backup or restore that was not made. Its text is the sentence for the person who asked."""


@dataclass(frozen=True)
class SavedDrive:
    """A drive as the copied database knows it."""

    pk: int
    pool: int
    head: int
    pool_folder: str
    pool_label: str
    label: str


@dataclass(frozen=True)
class Copy:
    """A database at one moment: a file of it, and what a backup wants to know."""

    path: Path
    pools: list[tuple[int, str, str, str]]
    """Id, label, engine and folder of each."""
    drives: list[SavedDrive]
    """Those whose volume exists."""
    migrations: list[str]


@contextmanager
def copied_database(folder: Path) -> Iterator[Copy]:
    """Gives a copy, in a file that is there as long as the block. Raises BackupError."""
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=".database-")  # mkstemp makes it readable by its owner only
    os.close(descriptor)
    path = Path(name)
    try:
        copy = _copy_postgresql if connection.vendor == "postgresql" else _copy_sqlite
        yield copy(path)
    except (sqlite3.Error, DatabaseError) as error:
        raise BackupError(f"The database could not be copied: {error}. Try again.") from error
    finally:
        path.unlink(missing_ok=True)


def _look(path: Path, ask: Ask) -> Copy:
    drives = [
        SavedDrive(pk, pool, head, folder, pool_label, f"{label}-{number}")
        for pk, pool, head, folder, pool_label, label, number in ask(DRIVES)
    ]
    pools = [(int(pk), str(label), str(engine), str(folder)) for pk, label, engine, folder in ask(POOLS)]
    return Copy(path, pools, drives, [f"{app}.{name}" for app, name in ask(MIGRATIONS)])


# ── SQLite ───────────────────────────────────────────────────────────────────


def _copy_sqlite(path: Path) -> Copy:
    name = str(connection.settings_dict["NAME"])
    with (
        closing(sqlite3.connect(f"file:{quote(name)}?mode=rw", uri=True, timeout=BUSY_SECONDS)) as source,
        closing(sqlite3.connect(path)) as copy,
    ):
        source.backup(copy)  # all pages in one step: one moment
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
        return _look(path, lambda sql: copy.execute(sql).fetchall())


def put_sqlite(path: Path, target: Path) -> None:
    """Makes the copy the database. Raises BackupError when it is damaged."""
    try:
        with closing(sqlite3.connect(path)) as copy:
            (said,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        said = str(error)
    if said != "ok":
        raise BackupError(f"The database in the archive is damaged: {said}.")
    path.replace(target)


# ── PostgreSQL ───────────────────────────────────────────────────────────────


def _copy_postgresql(path: Path) -> Copy:
    program = _program("pg_dump")
    with closing(connections.create_connection("default")) as session, session.cursor() as cursor:
        # The rows below and pg_dump's are of the same moment.
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor.execute("SELECT pg_export_snapshot()")
        (snapshot,) = cursor.fetchone() or ("",)
        _run([program, "--format=custom", f"--snapshot={snapshot}", f"--file={path}"])

        def ask(sql: str) -> list[tuple[Any, ...]]:
            cursor.execute(sql)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

        return _look(path, ask)


def put_postgresql(path: Path) -> None:
    """Fills the empty database from the copy, all or nothing. Raises BackupError."""
    name = str(connection.settings_dict["NAME"])
    _run(
        [_program("pg_restore"), "--no-owner", "--no-privileges", "--single-transaction", f"--dbname={name}", str(path)]
    )


def _program(name: str) -> str:
    found = shutil.which(name)
    if not found:
        raise BackupError(
            f"{name} is missing. Install Debian's package postgresql-client, of your server's version or newer. "
            "Without it: stop the web processes and the worker, save the database with your own tools, copy the "
            f"folders of all storage pools ({settings.DATA_DIR / 'pools'} by default), and start them again."
        )
    return found


def _run(command: list[str]) -> None:
    """Runs one of PostgreSQL's programs on our database; the password is not seen in the list of processes."""
    at = connection.settings_dict
    names = {"PGDATABASE": "NAME", "PGUSER": "USER", "PGPASSWORD": "PASSWORD", "PGHOST": "HOST", "PGPORT": "PORT"}
    env = {variable: str(at[key]) for variable, key in names.items() if at.get(key)}
    options = at.get("OPTIONS", {})
    env |= {f"PG{key.upper()}": str(options[key]) for key in ("sslmode", "sslrootcert", "service") if options.get(key)}
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise BackupError(f"{Path(command[0]).name} did not succeed: {said}")
