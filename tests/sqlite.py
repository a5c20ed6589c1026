"""The SQLite database of the tests: migrated once in a run, and copied by each of its processes.

Running all migrations takes as long as fifty tests; each process of pytest-xdist would run them again. It begins before
tests are collected, in a process of its own.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
from pathlib import Path

from django.core.management import call_command
from django.db import connection


def migrate_meanwhile(folder: Path) -> None:
    """Begins to make the database that is copied. Django is set up, and no thread has been started yet."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if child := os.fork():
        atexit.register(os.waitpid, child, 0)
        return
    status = 1
    try:
        _migrated(folder)
        status = 0
    finally:
        os._exit(status)  # what is done when tests end is not for this one to do


def copy_migrated(folder: Path, to: str) -> None:
    """Writes a database in which all migrations ran to `to`."""
    shutil.copyfile(_migrated(folder), to)


def _migrated(folder: Path) -> Path:
    """Where that is, in a folder that keeps it for the next process; made when it is not there."""
    migrated = folder / "migrated.sqlite3"
    with (folder / "migrated.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second finds it
        if not migrated.exists():
            half = folder / "half-migrated.sqlite3"
            connection.settings_dict["NAME"], name = str(half), connection.settings_dict["NAME"]
            try:
                call_command("migrate", verbosity=0, interactive=False)
            finally:
                connection.close()  # the last connection writes into the file itself what is in the log beside it
                connection.settings_dict["NAME"] = name
            half.rename(migrated)
    return migrated
