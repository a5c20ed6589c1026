"""Drives on btrfs."""

from __future__ import annotations

from tests.clock import clock
from tests.lab.faults import FaultMatrix, PoolFull, TgtdKilled, TgtdStopped, WorkerKilled

__all__ = ["clock"]


class TestBtrfsFaults(FaultMatrix):
    engine = "btrfs"
    faults = (WorkerKilled, TgtdKilled, TgtdStopped, PoolFull)
