"""Drives in qcow2 files, on a disk that can be filled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clock import clock
from tests.contracts.file_systems import mounted
from tests.lab.faults import DaemonKilled, DaemonStopped, FaultMatrix, PoolFull, TgtdKilled, TgtdStopped, WorkerKilled
from tests.snapshots.beds import Bed, bed

__all__ = ["clock"]


class TestQcow2Faults(FaultMatrix):
    engine = "qcow2"
    faults = (WorkerKilled, TgtdKilled, TgtdStopped, PoolFull, DaemonKilled, DaemonStopped)

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls) -> Iterator[Bed]:
        with mounted("reflink") as system, bed(cls.engine, system.point) as place:
            yield place
