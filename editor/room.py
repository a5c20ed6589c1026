"""Storage pools and the room in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Sum

from editor.models import DeployItem, ItemState, StoragePool
from editor.plan import Kind
from editor.words import size

MB_PER_GB = 1024


@dataclass
class Pool:
    """A pool and what its drives take of it, by their sizes."""

    row: StoragePool
    used_mb: int

    @property
    def free_mb(self) -> int | None:
        """Null without a limit."""
        if self.row.capacity_gb is None:
            return None
        return max(0, self.row.capacity_gb * MB_PER_GB - self.used_mb)

    def why_not_take(self, more_mb: int) -> str | None:
        """Whether there is room for so much more, as a sentence that can stand after a colon."""
        free = self.free_mb
        if free is None or free >= more_mb:
            return None
        return f"storage pool {self.row} has {_gb(free)} free, {_gb(more_mb)} are needed."


def pools_with_room() -> dict[int, Pool]:
    """Answers all pools by id, with what their drives take, and what those take that grow just now; two queries."""
    rows = StoragePool.objects.annotate(drives_mb=Sum("drives__size_mb")).order_by("pk")
    pools = {pool.pk: Pool(pool, pool.drives_mb or 0) for pool in rows}
    growing = DeployItem.objects.filter(step__kind=Kind.GROW, state=ItemState.RUNNING)
    for payload in growing.values_list("payload", flat=True):
        if payload.get("pool") in pools:
            pools[payload["pool"]].used_mb += payload["more_mb"]
    return pools


def choose_pool(pools: Iterable[Pool], storage_type: str, size_mb: int) -> Pool | str:
    """Answers the pool of this class that has room and holds least, or why there is none."""
    of_class = [pool for pool in pools if pool.row.storage_type == storage_type]
    if not of_class:
        return f"there is no storage pool of class {storage_type}. Ask an administrator for one."
    with_room = [pool for pool in of_class if pool.why_not_take(size_mb) is None]
    if with_room:
        return min(with_room, key=lambda pool: (pool.used_mb, pool.row.pk))
    most = max(of_class, key=lambda pool: pool.free_mb or 0)
    return most.why_not_take(size_mb) or ""


def _gb(size_mb: int) -> str:
    return size(size_mb * 1024 * 1024)
