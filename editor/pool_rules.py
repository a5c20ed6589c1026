"""What may be begun in a storage pool, said once: by its real use, and by whether it is in maintenance.

All of it is decided from the pool's row; lists and rules ask with the pool at hand (select_related), no query.
Sentences begin with "Storage pool"; `after_colon` puts one behind another that names what cannot be done.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from editor.models import StoragePool
from editor.words import age, size_of

WARN_PERCENT = 85
FULL_PERCENT = 95
"""From here on nothing is begun that takes room: what servers write needs the rest."""
OVER_PERCENT = {WARN_PERCENT: 80, FULL_PERCENT: 92}
"""Below this, a warning is over, and told again when it is reached again: nobody reads of each wavering."""
UNREAD = timedelta(minutes=5)
"""After so long without a reading a pool counts as full: a cluster that restarts is back sooner."""
MAKE_ROOM = "Delete snapshots, or ask an administrator for room."
GB = 1024**3
IN_CEPH = frozenset({"rbd"})
"""Engines that keep drives in a cluster instead of a folder."""


@dataclass(frozen=True)
class Fill:
    """How much of a pool is in use."""

    used_bytes: int
    total_bytes: int

    @property
    def percent(self) -> int:
        """Rounded down, so that nothing reads 95 % before it counts as that."""
        return 100 * self.used_bytes // max(1, self.total_bytes)

    @property
    def amount(self) -> str:
        """ "412 of 931 GB"."""
        used, total = size_of(self.used_bytes, self.total_bytes)
        return f"{used} of {total}"


def fills_of(pool: StoragePool) -> list[Fill]:
    """Answers how full it is by its file system or cluster, and by the capacity that its drives may take, if any."""
    fills = []
    if pool.total_bytes is not None and pool.free_bytes is not None:
        fills.append(Fill(max(0, pool.total_bytes - pool.free_bytes), pool.total_bytes))
    if pool.capacity_gb is not None:
        fills.append(Fill(pool.held_bytes, pool.capacity_gb * GB))
    return fills


def fill_of(pool: StoragePool) -> Fill | None:
    """Answers the one that matters: the fuller. None before the first reading."""
    return max(fills_of(pool), key=lambda fill: fill.percent, default=None)


def is_filling(pool: StoragePool) -> bool:
    """Whether people are warned of it."""
    fill = fill_of(pool)
    return fill is not None and fill.percent >= WARN_PERCENT


def is_full(pool: StoragePool) -> bool:
    fill = fill_of(pool)
    return fill is not None and fill.percent >= FULL_PERCENT


def why_not_work(pool: StoragePool) -> str | None:
    """Whether anything may be begun: a drive, a snapshot, a revert, a deletion."""
    if not pool.maintenance:
        return None
    return (
        f"Storage pool {pool} is in maintenance. Nothing new is begun in it; servers go on using its drives. "
        "Try again when an administrator has ended that."
    )


def why_not_fill(pool: StoragePool) -> str | None:
    """Whether something may be begun that takes room: a new drive, a larger one, a snapshot.

    A snapshot itself is tiny, but what is overwritten from then on is kept. Reverting and deleting give room back, and
    are not asked here.
    """
    if reason := why_not_work(pool):
        return reason
    fill = fill_of(pool)
    if fill is not None and fill.percent >= FULL_PERCENT:
        return (
            f"Storage pool {pool} is {fill.percent} % full ({fill.amount}). "
            f"No drives are made or grown in it, and no snapshots created. When nothing is left, servers cannot write. "
            f"{MAKE_ROOM}"
        )
    if unread := _unread(pool):
        return (
            f"Storage pool {pool} {unread}: {pool.usage_error} "
            "Nothing that takes room is begun in it meanwhile. Ask an administrator to check it."
        )
    return None


def hindrance(pool: StoragePool) -> str | None:
    """Answers the same as `why_not_fill` in few words, after the pool's name: "is 96 % full"."""
    if pool.maintenance:
        return "is in maintenance"
    fill = fill_of(pool)
    if fill is not None and fill.percent >= FULL_PERCENT:
        return f"is {fill.percent} % full"
    return _unread(pool)


def _unread(pool: StoragePool) -> str | None:
    """Whether storage has not said for long how full it is. One that was never read is tried: it may be new."""
    if not pool.usage_error or pool.usage_seen_at is None:
        return None
    since = timezone.now() - pool.usage_seen_at
    return None if since < UNREAD else f"has not said for {age(since)} how full it is"


def warning_of(pool: StoragePool) -> str | None:
    """Answers what everybody should know who has drives in it: that it fills up, or stands still."""
    if reason := why_not_fill(pool):
        return reason
    fill = fill_of(pool)
    if fill is None or fill.percent < WARN_PERCENT:
        return None
    return (
        f"Storage pool {pool} is {fill.percent} % full ({fill.amount}). "
        f"From {FULL_PERCENT} % on, no drives are made or grown in it, and no snapshots created. {MAKE_ROOM}"
    )


def told_next(told: int, percent: int) -> int:
    """Answers the highest warning that stands after a reading, in percent, or 0.

    Above `told` it is news. It is over only when the pool is well below it.
    """
    reached = max((level for level in OVER_PERCENT if percent >= level), default=0)
    kept = max((level for level, over in OVER_PERCENT.items() if told >= level and percent >= over), default=0)
    return max(reached, kept)


def after_colon(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
