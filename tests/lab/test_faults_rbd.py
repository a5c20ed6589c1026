"""Drives in Ceph."""

from __future__ import annotations

from tests.clock import clock
from tests.lab.faults import FaultMatrix, OsdKilled, OsdStopped, TgtdKilled, TgtdStopped, WorkerKilled

__all__ = ["clock"]


class TestRbdFaults(FaultMatrix):
    engine = "rbd"
    faults = (WorkerKilled, TgtdKilled, TgtdStopped, OsdKilled, OsdStopped)
