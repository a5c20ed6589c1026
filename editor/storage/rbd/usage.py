"""Room in a RADOS pool, as the cluster's monitors tell it to a client with no more rights than its images need."""

import json
from typing import Any

from editor.storage.base import StorageError, Usage
from editor.storage.rbd import ceph
from editor.storage.rbd.ceph import Connection


def command(connection: Connection, prefix: str, **arguments: str) -> Any:
    """What the monitors answer to a command. Raises what librados raises."""
    asked = json.dumps({"prefix": prefix, "format": "json", **arguments})
    with connection.handle() as handle:
        status, answer, said = handle.mon_command(asked, b"")
    if status:
        raise ceph.rados().OSError(f"{prefix}: {said}", errno=-status)
    return json.loads(answer)


def usage(connection: Connection) -> Usage:
    """Room in the pool. Raises StorageError while the cluster does not know."""
    name = connection.cluster.pool
    for pool in command(connection, "df", detail="detail")["pools"]:
        if pool["name"] == name and pool["stats"]["max_avail"] + pool["stats"]["stored"] > 0:
            return room(pool["stats"])
    raise StorageError(
        "The Ceph cluster does not tell how much room there is. Nothing was changed. "
        "Check that a manager (ceph-mgr) runs."
    )


def room(stats: dict[str, int]) -> Usage:
    """Usage from what `ceph df detail` says of a pool: bytes of clients, before replication; a quota may bound them."""
    stored, available = stats["stored"], stats["max_avail"]
    if quota := stats.get("quota_bytes", 0):
        available = max(0, min(available, quota - stored))
    return Usage(total_bytes=stored + available, free_bytes=available)
