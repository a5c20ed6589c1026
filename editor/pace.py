"""When a BMC is asked again: often while its server changes, else seldom, and ever more seldom while it is silent."""

from __future__ import annotations

from datetime import timedelta

STEADY = timedelta(seconds=10)
FREE = timedelta(seconds=60)
"""For servers that no instance runs on."""
CHANGING = (
    (timedelta(minutes=2), timedelta(milliseconds=400)),
    (timedelta(minutes=10), timedelta(seconds=1)),
)
"""How often, up to so long after a change began. Most take a minute."""
UNASKED = timedelta(minutes=5)
"""A change that nobody asked for here is looked at as one that has lasted so long: when it began is not known."""
CHANGING_FOR_LONG = timedelta(seconds=5)
"""An operating system that takes an hour to stop is told about soon enough."""
SILENT_LEAST, SILENT_MOST = timedelta(seconds=10), timedelta(seconds=100)
JITTER = 0.2
"""So much of a pause may be left out, by chance: or a thousand BMCs would be asked in the same moment for ever."""


def pause(
    *,
    changes_since: timedelta | None = None,
    silent_since: timedelta | None = None,
    free: bool = False,
    chance: float = 0.0,
) -> timedelta:
    """Answers how long to leave a BMC alone.

    `silent_since` says how long it has not answered, `changes_since` how long its server has been on the way to
    another state; None for not at all. A silent one is left alone as long again as it has been silent. `chance` is
    from 0 to 1. An age below zero, of a clock that was set back, counts as none.
    """
    if silent_since is not None:
        length = min(max(silent_since, SILENT_LEAST), SILENT_MOST)
    elif changes_since is not None:
        length = next((often for until, often in CHANGING if changes_since < until), CHANGING_FOR_LONG)
    else:
        length = FREE if free else STEADY
    return length * (1 - JITTER * chance)
