"""Drives on XFS."""

from __future__ import annotations

from tests.clock import clock
from tests.lab.faults import FaultMatrix, PoolFull, TgtdKilled, TgtdStopped, WorkerKilled

__all__ = ["clock"]


class TestReflinkFaults(FaultMatrix):
    engine = "reflink"
    faults = (WorkerKilled, TgtdKilled, TgtdStopped, PoolFull)
