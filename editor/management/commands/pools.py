"""How full storage pools are, for people at a terminal, and whether they work."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import Count, Sum
from django.utils import timezone

from editor import pools
from editor.management.base import PeoplesCommand
from editor.models import StoragePool
from editor.pool_rules import fill_of, warning_of
from editor.room import promised_of
from editor.words import ago, counted


class Command(PeoplesCommand):
    help = "Lists storage pools with the room in them, as the worker last read it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--check",
            action="store_true",
            help="try now, from here, what each pool needs, and end with status 1 if anything is wrong; only reads",
        )

    def handle(self, *args: Any, check: bool, **options: Any) -> None:
        rows = StoragePool.objects.annotate(drives_in_all=Count("drives"), drives_mb=Sum("drives__size_mb"))
        wrong = 0
        for pool in rows.order_by("label"):
            fill = fill_of(pool)
            used = f"{fill.amount} used, {fill.percent} %" if fill else "not read yet"
            seen = f", read {ago(timezone.now() - pool.usage_seen_at)}" if pool.usage_seen_at else ""
            promised = f"{promised_of(pool, pool.drives_mb or 0)} promised to {counted(pool.drives_in_all, 'drive')}"
            self.stdout.write(f"{pool}  {pool.engine}  {pool.storage_type}  {used}{seen}  {promised}")
            if warning := warning_of(pool):
                self.stdout.write(f"  {warning}")
            elif pool.usage_error and not check:
                self.stdout.write(f"  {pool.usage_error}")
            wrong += self.check_now(pool) if check else 0
        if wrong:
            raise CommandError("1 thing is wrong." if wrong == 1 else f"{wrong} things are wrong.")

    def check_now(self, pool: StoragePool) -> int:
        """Tries what the pool needs and says it line by line; answers how much of it is wrong."""
        reading = pools.read(pool, check=True)
        found = reading.checked or []
        if reading.error and (("Storage", reading.error) not in found):
            found = [*found, ("Room", reading.error)]
        for what, wrong in found:
            self.stdout.write(f"  {what}: {wrong or 'works'}")
        return sum(bool(wrong) for _, wrong in found)
