"""Every engine on walks through its verbs, in any order, beside a model of what must come of them."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from editor.storage import StorageDriver
from editor.storage.base import MAX_DEPTH
from editor.storage.qcow2 import Qcow2Storage
from editor.storage.simulated import SimulatedStorage

from .file_systems import KINDS, mounted
from .storage_model import walk


def test_simulated() -> None:
    walk(SimulatedStorage, times=50, steps=MAX_DEPTH - 5)


def test_qcow2(tmp_path: Path) -> None:
    numbers = count()

    def empty() -> StorageDriver:
        pool = tmp_path / f"pool-{next(numbers)}"
        pool.mkdir()
        return Qcow2Storage(pool)

    walk(empty, times=10, steps=20)


@pytest.mark.parametrize("kind", KINDS)
def test_engines_that_copy(kind: str) -> None:
    with mounted(kind) as system:
        walk(system.driver, times=20, steps=20)
