"""Real machines under the product, where they can be had: QEMU emulates them, and `make lab` installs what it takes.

The product, the browser and the people at it are those of the other tests in a browser.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ceph import CephCluster
from tests.ceph import why_not as why_no_ceph
from tests.e2e.conftest import browser, hands, people, profiles, pytest_runtest_makereport
from tests.e2e.product import ROOT, Product
from tests.lab.guest import Guest
from tests.ports import free_port

if TYPE_CHECKING:
    from tests.lab.machines import Machines

__all__ = ["browser", "hands", "people", "profiles", "pytest_runtest_makereport"]

KERNEL = ROOT / ".lab/kernel"
PACKAGES = {
    "qemu-system-x86_64": "qemu-system-x86",
    "libvirtd": "libvirt-daemon",
    "virt-qemu-run": "libvirt-daemon-driver-qemu",
    "busybox": "busybox-static",
    "tgtd": "tgt",
    "qemu-storage-daemon": "qemu-system-common",
    "fusermount3": "fuse3",
}
"""What Debian calls the packages of the programs."""


def why_not() -> str | None:
    path = f"{os.environ['PATH']}:/usr/sbin"
    missing = [package for program, package in PACKAGES.items() if not shutil.which(program, path=path)]
    if missing:
        return f"No QEMU machines here: Debian's packages {', '.join(missing)} are missing. As root: make lab"
    if not importlib.util.find_spec("libvirt") or not KERNEL.exists():
        return "No QEMU machines here: Python's libvirt, or a kernel for the machines, is missing. As root: make lab"
    if os.geteuid() != 0:
        return "No QEMU machines here: only root may give libvirtd folders of its own. As root: make lab"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = why_not()
    for item in items:
        # The others say themselves what they need.
        if reason and "machines" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason=reason))


class Ceph:
    """A cluster that is started when the first test asks for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cluster: CephCluster | None = None

    def place(self) -> dict[str, str]:
        """What an administrator enters for a pool in it. Skips where none can be had."""
        if reason := why_no_ceph():
            pytest.skip(reason)
        self._cluster = self._cluster or CephCluster(self._folder)
        place = self._cluster.cluster()
        return {"ceph_conf": place.conf, "ceph_user": place.user, "ceph_pool": place.pool}

    def stop(self) -> None:
        if self._cluster:
            self._cluster.stop()


@pytest.fixture(scope="package")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    ceph = Ceph(tmp_path_factory.mktemp("ceph"))
    yield ceph
    ceph.stop()


@pytest.fixture(scope="package")
def product(tmp_path_factory: pytest.TempPathFactory, ceph: Ceph) -> Iterator[Product]:
    """As people run it: drives are served over iSCSI. A cluster outlives it."""
    del ceph
    product = Product(tmp_path_factory.mktemp("product"))
    product.environment |= {"ISCSI_EXPORTER": "tgt", "ISCSI_PORTAL": f"127.0.0.1:{free_port()}"}
    product.start()
    yield product
    product.stop()
    product.manage("exports", "stop")


@pytest.fixture(scope="package")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    # Imports libvirt, which is only there where machines are.
    from tests.lab.machines import Machines

    machines = Machines(tmp_path_factory.mktemp("machines"), Guest(KERNEL, tmp_path_factory.mktemp("guest")))
    yield machines
    machines.stop()
