"""What commands for people have in common."""

from __future__ import annotations

import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError

from editor.versions import why_not_use_database


class PeoplesCommand(BaseCommand):
    """Ends with a sentence, not a traceback, when it cannot use the database; and quietly when nobody reads on."""

    requires_system_checks = ()
    uses_database = True
    """Not of a command that makes it: merely asking makes SQLite's."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            if self.uses_database and (reason := why_not_use_database()):
                raise CommandError(reason)
            return super().execute(*args, **options)
        except DatabaseError as error:
            raise CommandError(
                f"The database could not be used: {error}. If it is new or of an older version, run: manage.py migrate"
            ) from error
        except BrokenPipeError:
            # As in `drive list | head`. What is still in the buffer goes nowhere, or Python would complain at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
