"""When servers were last seen, of readings that changed nothing else."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from django.db.models import Q
from django.utils import timezone

from editor.models import Power, Server

TOGETHER = timedelta(seconds=1)


class Sightings:
    """Times that wait to be written.

    Written together: a thousand writes of their own every few seconds would leave the database to nobody else.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at: dict[int, datetime] = {}

    def note(self, server: int, at: datetime) -> None:
        with self._lock:
            self._at[server] = at

    def wait(self) -> bool:
        """Whether there is something to write."""
        return bool(self._at)

    def write(self, should_stop: Callable[[], bool]) -> timedelta:
        """Writes what was noted since the last time, and answers how long to let more come together.

        For each server it is the oldest time of all: never later than true.
        """
        del should_stop  # one statement takes no time worth stopping
        with self._lock:
            noted, self._at = self._at, {}
        if noted:
            at = min(noted.values())
            # A reading of another thread may be newer. One from the future was written before the clock was set back.
            newer = Q(power_seen_at__gt=at, power_seen_at__lte=max(timezone.now(), *noted.values()))
            # One whose BMC was moved since is not known to have been seen there.
            known = Server.objects.filter(pk__in=noted).exclude(power=Power.UNKNOWN, power_seen_at=None)
            known.exclude(newer).update(power_seen_at=at)
        return TOGETHER


@functools.cache
def sightings_of(folder: Path) -> Sightings:
    """One for each data folder, as drivers are."""
    del folder
    return Sightings()
