"""Servers' power: one driver for each kind of BMC."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from .base import CALL_SECONDS, Bmc, Description, PowerCommand, PowerDriver, PowerError, PowerState, Trust
from .redfish import RedfishPower
from .simulated import SimulatedPower

__all__ = [
    "CALL_SECONDS",
    "NAMES",
    "Bmc",
    "Description",
    "PowerCommand",
    "PowerDriver",
    "PowerError",
    "PowerState",
    "Trust",
    "driver_for",
]


@functools.cache
def _redfish(folder: Path) -> PowerDriver:
    """One for each data folder: what it remembers of BMCs spares them most of the work."""
    del folder
    return RedfishPower()


_DRIVERS: dict[str, Callable[[Path, Callable[[], datetime]], PowerDriver]] = {
    "redfish": lambda folder, _: _redfish(folder),
    "simulated": SimulatedPower,
}
NAMES = tuple(sorted(_DRIVERS))
"""What `Server.driver` can be."""


def driver_for(name: str, *, folder: Path, clock: Callable[[], datetime]) -> PowerDriver:
    """Answers a driver by its name, as `Server.driver` stores it.

    `folder` is where a driver may keep what it must remember; `clock` answers the present moment, with time zone.
    Raises PowerError (permanent) for a name that no driver has.
    """
    if name not in _DRIVERS:
        raise PowerError(
            f"There is no power driver named {name!r}. Choose one of: {', '.join(sorted(_DRIVERS))}.", permanent=True
        )
    return _DRIVERS[name](folder, clock)
