"""A backup, put into an empty installation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from editor import restore, sealed
from editor.databases import BackupError
from editor.management.base import PeoplesCommand
from editor.words import counted, size


class Command(PeoplesCommand):
    help = "Restores a backup into an empty DATA_DIR, and an empty database. Everybody signs in again."
    uses_database = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="what `manage.py backup` wrote")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        if not file.is_file():
            raise CommandError(f"There is no file {file}.")
        try:
            found = restore.load(file)
        except BackupError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"Restored the database and {found.drives} drives with {found.layers} layers, {size(found.bytes)}.\n"
            "Start the product; it first brings the database up to date."
        )
        if found.locked_up:
            self.stdout.write(
                f"{counted(found.locked_up, 'password')} cannot be read. Put the key that was kept elsewhere to "
                f"{sealed.key_file()}; or run “manage.py rekey”, which says what to do without it."
            )
