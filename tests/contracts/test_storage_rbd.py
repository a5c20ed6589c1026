"""The engine in Ceph: the contract, with no more rights than the README gives, on a cluster of one machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from editor.storage.rbd import RbdStorage
from editor.storage.rbd.images import OBJECT_BYTES
from tests.ceph import CephCluster, why_not

from .rbd_images import emptied, engine
from .storage import StorageContract

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CephCluster]:
    cluster = CephCluster(tmp_path_factory.mktemp("ceph"))
    yield cluster
    cluster.stop()


@pytest.fixture
def driver(cluster: CephCluster, tmp_path: Path) -> Iterator[RbdStorage]:
    driver = engine(cluster, tmp_path)
    yield driver
    emptied(driver)


class TestRbdStorage(StorageContract):
    object_bytes = OBJECT_BYTES
