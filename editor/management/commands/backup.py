"""Database and drives in one file, consistent with each other, while the product runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from editor import backup
from editor.databases import BackupError
from editor.management.base import PeoplesCommand
from editor.words import size


class Command(PeoplesCommand):
    help = "Saves database and drives in one file; people go on working. The secret of DATA_DIR is not in it."

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
