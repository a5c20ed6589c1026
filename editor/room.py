"""Storage pools and the room that is promised in them, by the sizes of drives; how full they are is pool_rules'."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Sum

from editor.models import MB, DeployItem, ItemState, StoragePool
from editor.plan import Kind
from editor.pool_rules import after_colon, hindrance, is_filling, why_not_fill
from editor.words import size, size_of

MB_PER_GB = 1024
MORE_ROOM = "Ask an administrator for room."


@dataclass
class Pool:
    """A pool and what its drives take of it, by their sizes."""

    row: StoragePool
    used_mb: int

    @property
    def limit_mb(self) -> int | None:
        """What drives may add up to; null without a limit."""
        if self.row.capacity_gb is None:
            return None
        return self.row.capacity_gb * MB_PER_GB * self.row.overcommit_percent // 100

    @property
    def free_mb(self) -> int | None:
        """Null without a limit."""
        return None if self.limit_mb is None else max(0, self.limit_mb - self.used_mb)

    @property
    def share(self) -> float | None:
        """How much of it is promised, 1 being all; of its file system without a limit, null when that is not known."""
        whole_mb = self.limit_mb if self.limit_mb is not None else (self.row.total_bytes or 0) // MB
        return self.used_mb / whole_mb if whole_mb else None

    def why_not_take(self, more_mb: int) -> str | None:
        """Whether there is room for so much more, as a sentence that can stand after a colon."""
        if reason := why_not_fill(self.row):
            return after_colon(reason)
        lack = self._lack(more_mb)
        return f"storage pool {self.row} {lack}. {MORE_ROOM}" if lack else None

    def hindrance(self, more_mb: int) -> str:
        """Answers the same in few words: "ssd-1 is in maintenance"; for those that do not take it."""
        return f"{self.row} {hindrance(self.row) or self._lack(more_mb)}"

    def _lack(self, more_mb: int) -> str | None:
        free = self.free_mb
        if free is None or free >= more_mb:
            return None
        left = "free" if self.row.overcommit_percent == 100 else "left to promise"
        return f"has {_gb(free)} {left}, {_gb(more_mb)} are needed"


def pools_with_room() -> dict[int, Pool]:
    """Answers all pools by id, with what their drives take, and what those take that grow just now; two queries."""
    rows = StoragePool.objects.annotate(drives_mb=Sum("drives__size_mb")).order_by("pk")
    pools = {pool.pk: Pool(pool, pool.drives_mb or 0) for pool in rows}
    growing = DeployItem.objects.filter(step__kind=Kind.GROW, state=ItemState.RUNNING)
    for payload in growing.values_list("payload", flat=True):
        if payload.get("pool") in pools:
            pools[payload["pool"]].used_mb += payload["more_mb"]
    return pools


def promised_of(pool: StoragePool, drives_mb: int) -> str:
    """Answers "1.2 of 1.8 TB": the sizes of its drives, of what they may add up to; "1.2 TB" without a limit."""
    limit_mb = Pool(pool, drives_mb).limit_mb
    if limit_mb is None:
        return size(drives_mb * MB)
    part, whole = size_of(drives_mb * MB, limit_mb * MB)
    return f"{part} of {whole}"


def choose_pool(pools: Iterable[Pool], storage_type: str, size_mb: int) -> Pool | str:
    """Answers the pool of this class that has room and promised least of what it has, or why there is none.

    One that people are warned of is taken only when there is no other.
    """
    of_class = [pool for pool in pools if pool.row.storage_type == storage_type]
    if not of_class:
        return f"there is no storage pool of class {storage_type}. Ask an administrator for one."
    with_room = [pool for pool in of_class if pool.why_not_take(size_mb) is None]
    if with_room:
        return min(with_room, key=_preference)
    if len(of_class) == 1:
        return of_class[0].why_not_take(size_mb) or ""
    said = "; ".join(pool.hindrance(size_mb) for pool in of_class)
    return f"no storage pool of class {storage_type} takes it: {said}. {MORE_ROOM}"


def _preference(pool: Pool) -> tuple[bool, bool, float, int, int]:
    """Sorts what to take first to the front; one of unknown size comes last."""
    share = pool.share
    return is_filling(pool.row), share is None, share or 0.0, pool.used_mb, pool.row.pk


def _gb(size_mb: int) -> str:
    return size(size_mb * MB)
