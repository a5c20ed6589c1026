"""Whether the database is of this version of the product, or of a newer one that this one must leave alone."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder


def newest_unknown(migrations: Iterable[str]) -> str | None:
    """Answers one of these, e.g. "editor.0006_pools_and_exports", that this version lacks; None if it has all."""
    known = {".".join(key) for key in MigrationLoader(None).disk_migrations or {}}
    return max(set(migrations) - known, default=None)


def why_not_use_database() -> str | None:
    """Whether this version knows all that is in the database. Django goes on where it does not.

    A version that no longer has one of the apps must have its migrations forgotten, or it refuses here.
    """
    applied = MigrationRecorder(connection).applied_migrations()
    unknown = newest_unknown(".".join(key) for key in applied)
    return unknown and (
        f"The database is of a newer version of the editor, with {unknown}. Nothing was changed. "
        "Start that version; or restore a backup that this one made, into an empty DATA_DIR and database."
    )
