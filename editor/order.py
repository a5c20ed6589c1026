"""Which readings of a server are newer than others: counted, since a clock may be set back."""

from __future__ import annotations

import itertools
import threading

_moments = itertools.count(1)
_lock = threading.Lock()
_taken: dict[int, int] = {}


def moment() -> int:
    """Answers a number that is larger than all before: taken when a BMC begins to be asked."""
    return next(_moments)


def take(server: int, begun: int) -> bool:
    """Whether a reading that was begun then counts: not when another one, of later, was taken while it was on its way.

    All readings are the worker's, so that nothing of this needs to be stored.
    """
    with _lock:
        if begun < _taken.get(server, 0):
            return False
        _taken[server] = next(_moments)
    return True
