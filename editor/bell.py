"""Wakes this process's threads when something was committed, so that nobody waits for the next poll.

A bell only ever shortens a wait: whoever listens also looks by himself from time to time, since other
processes ring other bells.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

_listeners: list[Callable[[], None]] = []
_lock = threading.Lock()


def listen(ring: Callable[[], None]) -> Callable[[], None]:
    """Has `ring` called after each commit that recorded an Event; answers what ends it. `ring` must not block."""
    with _lock:
        _listeners.append(ring)

    def stop() -> None:
        with _lock:
            _listeners.remove(ring)

    return stop


def ring() -> None:
    """Tells all listeners of this process that there may be work or news."""
    with _lock:
        listeners = tuple(_listeners)
    for call in listeners:
        call()
