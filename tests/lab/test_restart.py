"""The product is killed while a server writes to its drive: the server notices nothing, and all goes on afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from editor.iscsi import Export
from editor.iscsi.tgt import daemon as tgt_daemon
from editor.iscsi.tgt.socket import peer
from editor.storage import Device
from tests.contracts import server
from tests.contracts.server import Server, wait_until
from tests.contracts.writer import Writer, as_disk, assert_holds
from tests.e2e.hands import Hands, World
from tests.e2e.product import Product

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(tgt_daemon.program_path() is None, reason="tgtd is missing. On Debian: apt-get install tgt"),
    pytest.mark.skipif(server.why_not() is not None, reason=server.why_not() or ""),
]

EXPORT = """
import json
from editor.chap import chap_password
from editor.iscsi_names import chap_user, initiator_iqn, serial_number, target_iqn
from editor.models import Drive
drive = Drive.objects.select_related("instance", "pool").get(pk={drive})
one = drive.instance
print(json.dumps([target_iqn(drive), serial_number(drive), initiator_iqn(one), chap_user(one), chap_password(one),
                  str(drive.pool.path / f"drive-{{drive.pk}}")]))
"""


def test_server_writes_on_while_the_product_is_killed_and_is_served_by_the_same_processes_afterwards(
    product: Product, hands: Hands, tmp_path: Path
) -> None:
    world = hands.make(count=1, power="on")
    drive = world.drives[0]
    said = json.loads(product.manage("shell", "--no-imports", "-c", EXPORT.format(drive=drive)))
    iqn, serial, initiator, user, password, folder = said
    export = Export(drive, iqn, serial, Device("file", ""), initiator, user, password)
    portal = product.environment["ISCSI_PORTAL"]
    wait_until(lambda: f"{world.label}/web-data-1  served" in product.manage("exports"), "an export")

    def processes() -> tuple[int, int]:
        tgtd = peer(Path(product.environment["DATA_DIR"]) / "iscsi", seconds=5)
        return tgtd, int((Path(folder) / "daemon.pid").read_text())

    with Server(tmp_path / "server", portal, export) as logged_in, Writer(logged_in.disk) as writer:
        writer.wait_for_more()
        before = processes()

        product.kill()
        writer.wait_for_more()
        product.start()

        low, high = take(hands, world, writer)
        writer.wait_for_more()
        assert processes() == before
    assert writer.errors == []
    with as_disk(Path(folder) / "layer-1.qcow2") as disk:
        assert_holds(disk, low, high)


def take(hands: Hands, world: World, writer: Writer) -> tuple[int, int]:
    """A snapshot: the last write it must hold, and the last it may hold."""
    drive, low = world.drives[0], writer.acked
    hands.create(drive, by="ana")
    wait_until(lambda: hands.facts(drive)["snapshots"] == [[1, "", "ready"]], "the snapshot")
    return low, writer.begun
