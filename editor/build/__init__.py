"""What one item of a deploy does: makes a drive, frees a server, and so on for each kind of step.

All can be repeated: a worker that was killed anywhere is succeeded by one that begins the same items again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from editor.build import disks, drawings, machines
from editor.build.items import Failed, begin, settle_failed
from editor.models import DeployItem
from editor.plan import Kind
from editor.storage import StorageError

__all__ = ["run"]

log = logging.getLogger(__name__)

_PREPARE: dict[Kind, Callable[[DeployItem], None]] = {
    Kind.ALLOCATE: machines.demand_quota,
    Kind.CREATE: disks.reserve_drive,
    Kind.GROW: disks.reserve_room,
}
"""Reserves what an item needs, in the transaction in which it begins."""
_WORK: dict[Kind, Callable[[DeployItem], timedelta | None]] = {
    Kind.ALLOCATE: machines.allocate,
    Kind.CREATE: disks.create,
    Kind.SHUT_DOWN: machines.shut_down,
    Kind.DETACH: disks.detach,
    Kind.GROW: disks.grow,
    Kind.ATTACH: disks.attach,
    Kind.DESTROY: disks.destroy,
    Kind.RELEASE: machines.release,
    Kind.SETTLE: drawings.settle_product,
    Kind.REMOVE: drawings.remove_product,
    Kind.POWER_ON: machines.power_on,
}
"""Does an item, settles it, and answers None; or how long to leave it alone, since it waits for something."""


def run(pk: int) -> timedelta | None:
    """Does one item, as far as that goes now; answers how long to leave it alone, if at all."""
    item = DeployItem.objects.select_related("step").get(pk=pk)
    kind = Kind(item.step.kind)
    try:
        begun = begin(item, _PREPARE.get(kind))
        return _WORK[kind](begun) if begun else None
    except Failed as why:
        failure = why
    except StorageError as error:
        failure = Failed(str(error), permanent=error.permanent, detail=error.detail)
    except Exception as fault:
        log.exception("Item %s of a deploy failed.", pk)
        failure = Failed("The editor met a fault, which is in its log.", detail=repr(fault))
    return settle_failed(pk, failure, disks.giving_up(item) if kind == Kind.CREATE else None)
