"""Database and drives in one file, consistent with each other, while the product runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from editor import backup, passwords, sealed
from editor.databases import BackupError
from editor.management.base import PeoplesCommand
from editor.words import size


class Command(PeoplesCommand):
    help = "Saves database and drives in one file; people go on working. The secrets of DATA_DIR are not in it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help=f"a new file ending in {', '.join(backup.COMPRESSION)}")

    def handle(self, *args: Any, file: Path, verbosity: int, **options: Any) -> None:
        try:
            saved = backup.save(file.absolute(), tell=self.stdout.write if verbosity > 1 else len)
        except BackupError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"Saved the database and {saved.drives} drives with {saved.layers} layers, {size(saved.bytes)}: {file}"
        )
        if passwords.any_sealed():
            self.stdout.write(
                f"The key to the passwords in it is not: keep a copy of {sealed.key_file()} somewhere else."
            )
