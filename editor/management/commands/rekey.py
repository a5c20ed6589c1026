"""A new key to the BMC passwords: as a habit, or because the old one is lost or known to others."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.db import transaction

from editor import sealed
from editor.inventory import one_at_a_time
from editor.management.base import PeoplesCommand
from editor.models import Server
from editor.words import counted


class Command(PeoplesCommand):
    help = (
        "Makes a new key to the BMC passwords and seals with it all that the old one opens. The old one stays in the "
        "file, for backups that were sealed with it; delete its line when there are none."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            sealed.make_key()
            key = sealed.Key.read()
        except sealed.SealError as error:
            raise CommandError(f"{error} ({error.detail})") from error
        locked = []
        with transaction.atomic():
            one_at_a_time()
            rows = Server.objects.select_for_update(of=("self",)).exclude(password_sealed="").order_by("pk")
            for server in rows:
                try:
                    server.password_sealed = key.seal(key.unseal(server.password_sealed))
                except sealed.SealError:
                    locked.append(server.serial)
                else:
                    server.save(update_fields=["password_sealed"])
            number = len(rows) - len(locked)
        self.stdout.write(f"{counted(number, 'password')} sealed with a new key: {sealed.key_file()}")
        if locked:
            self.stdout.write(
                f"No key opens the passwords of {counted(len(locked), 'server')}. Type them again at /admin/:\n  "
                + "\n  ".join(locked)
            )
