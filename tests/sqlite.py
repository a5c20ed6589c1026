"""The SQLite database of the tests: migrated once in a run, and copied by each of its processes.

Running all migrations takes as long as fifty tests; each process of pytest-xdist would run them again.
"""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

from django.core.management import call_command
from django.db import connection


def copy_migrated(folder: Path, to: str) -> None:
    """Writes a database in which all migrations ran to `to`; the folder keeps it for the next process."""
    migrated = folder / "migrated.sqlite3"
    with (folder / "migrated.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second copies
        if not migrated.exists():
            half = folder / "half-migrated.sqlite3"
            connection.settings_dict["NAME"], name = str(half), connection.settings_dict["NAME"]
            try:
                call_command("migrate", verbosity=0, interactive=False)
            finally:
                connection.close()  # the last connection writes into the file itself what is in the log beside it
                connection.settings_dict["NAME"] = name
            half.rename(migrated)
    shutil.copyfile(migrated, to)
