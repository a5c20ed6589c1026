"""A new key to the sealed passwords: as a habit, or because the old one is lost or known to others."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from editor import sealed
from editor.inventory import one_at_a_time
from editor.management.base import PeoplesCommand
from editor.models import Drive, Instance, Server
from editor.words import counted


class Command(PeoplesCommand):
    help = (
        "Makes a new key to the passwords of BMCs and of CHAP, and seals with it all that the old one opens. The old "
        "one stays in the file, for backups that were sealed with it; delete its line when there are none."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--new-chap",
            action="store_true",
            help="make new CHAP passwords where no key opens the old ones; those servers must be given them",
        )

    def handle(self, *args: Any, new_chap: bool, **options: Any) -> None:
        try:
            sealed.make_key()
            key = sealed.Key.read()
        except sealed.SealError as error:
            raise CommandError(f"{error} ({error.detail})") from error
        with transaction.atomic():
            one_at_a_time()
            number, servers = _reseal_servers(key)
            more, instances = _reseal_instances(key)
            if new_chap:
                _forget(instances)
        self.stdout.write(f"{counted(number + more, 'password')} sealed with a new key: {sealed.key_file()}")
        if servers:
            self.stdout.write(
                f"No key opens the passwords of {counted(len(servers), 'server')}. Type them again at /admin/:\n  "
                + "\n  ".join(server.serial for server in servers)
            )
        if instances:
            then = (
                "They get new ones; give them to their servers, as the iSCSI tabs of their drives say"
                if new_chap
                else "Put the old key back, or run this again with --new-chap"
            )
            self.stdout.write(
                f"No key opens the CHAP passwords of {counted(len(instances), 'instance')}. {then}:\n  "
                + "\n  ".join(f"{one.instance_array.infrastructure}/{one.label}" for one in instances)
            )


def _reseal_servers(key: sealed.Key) -> tuple[int, list[Server]]:
    """Answers how many passwords of BMCs are sealed with the new key, and the servers of those that are not."""
    rows, locked = Server.objects.select_for_update(of=("self",)).exclude(password_sealed="").order_by("pk"), []
    for server in rows:
        try:
            server.password_sealed = key.seal(key.unseal(server.password_sealed))
        except sealed.SealError:
            locked.append(server)
        else:
            server.save(update_fields=["password_sealed"])
    return len(rows) - len(locked), locked


def _reseal_instances(key: sealed.Key) -> tuple[int, list[Instance]]:
    """Answers how many CHAP passwords are sealed with the new key, and the instances of those that are not."""
    # All are locked: one that has no password may be getting it just now, sealed with the old key.
    rows = Instance.objects.select_for_update(of=("self",)).select_related("instance_array__infrastructure")
    number, locked = 0, []
    for instance in rows.order_by("pk"):
        if not instance.chap_sealed:
            continue
        try:
            instance.chap_sealed = key.seal(key.unseal(instance.chap_sealed))
        except sealed.SealError:
            locked.append(instance)
        else:
            instance.save(update_fields=["chap_sealed"])
            number += 1
    return number, locked


def _forget(instances: list[Instance]) -> None:
    """Has new passwords made when the drives of these instances are next served."""
    pks = [one.pk for one in instances]
    Instance.objects.filter(pk__in=pks).update(chap_sealed="")
    Drive.objects.filter(instance__in=pks).update(export_due=True)
