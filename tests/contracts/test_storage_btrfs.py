"""The btrfs engine: the contract, and what is its own."""

from __future__ import annotations

import pytest

from editor.storage import StorageDriver

from .file_systems import FileSystem, shared
from .storage import StorageContract

system = shared("btrfs")


class TestBtrfsStorage(StorageContract):
    chained = False

    @pytest.fixture
    def driver(self, system: FileSystem) -> StorageDriver:
        return system.driver()
