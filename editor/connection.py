"""What the worker does when an administrator has a server's connection checked: the BMC describes itself.

What came of it is stored with the server, for its page in the administration. No infrastructure is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from editor import order, power, readings, servers
from editor.models import Power, Server
from editor.reconcile import Job
from editor.refusals import refusals_of

SIDE_BY_SIDE = 16
"""So many are in the worker's hands at a time: a thousand that were imported leave threads for everybody else."""


def jobs(now: datetime, since: datetime) -> Iterator[Job]:
    """One job for each server that is to be checked, the oldest wishes first."""
    del now, since  # whoever asked still wants to know
    waiting = Server.objects.filter(check_asked_at__isnull=False).order_by("check_asked_at", "pk")
    for server in waiting[:SIDE_BY_SIDE]:
        yield Job(server.topic, _check(server.pk), at_once=True, lane=servers.lane_of(server))


def _check(pk: int) -> Callable[[Callable[[], bool]], timedelta | None]:
    def run(should_stop: Callable[[], bool]) -> timedelta | None:
        del should_stop  # one call to a BMC has its own time limit
        check(pk)
        return None

    return run


def check(pk: int) -> None:
    """Has the BMC describe itself and stores what it says, or why it does not."""
    with readings.at_the_database():
        server = Server.objects.filter(pk=pk).first()
    if server is None:
        return
    found: dict[str, Any] = {"described": None, "check_error": "", "check_detail": ""}
    reading, why, bmc, refused = None, "", None, False
    begun = order.moment()
    try:
        bmc = servers.bmc_of(server)
        said = servers.driver_of(server).describe(bmc)
    except power.PowerError as error:
        found["check_error"] = str(error)[:300]
        found["check_detail"] = _without_password(error.detail, bmc)
        if refused := error.permanent and bmc is not None:
            reading, why = Power.UNKNOWN, servers.why_refused(error)
    else:
        reading = Power(said.power)
        why = servers.NO_STATE if reading == Power.UNKNOWN else ""
        found["described"] = as_json(said)
    now = timezone.now()
    refusals_of(settings.DATA_DIR).note(server, now, refused=refused)
    with readings.at_the_database():
        # Changed meanwhile, it was asked with what is not true any more: then it is checked again.
        same = Server.objects.filter(pk=pk, revision=server.revision)
        is_same = same.update(check_asked_at=None, checked_at=now, **found)
    # Many a BMC that fails to describe itself still says whether its server is on: it is read right after this. One
    # that refused would count that as another wrong password.
    if is_same and reading is not None:
        readings.settle_reading(server, reading, why, now, begun=begun)


def as_json(said: power.Description) -> dict[str, Any]:
    """Answers a description as it is stored."""
    return {
        "manufacturer": said.manufacturer,
        "model": said.model,
        "serial": said.serial,
        "firmware": said.firmware,
        "boot_order": list(said.boot_order),
        "power": said.power,
        "commands": sorted(said.commands),
    }


def _without_password(detail: str, bmc: power.Bmc | None) -> str:
    """Answers what a library said, in case it said too much."""
    return detail.replace(bmc.password, "(password)") if bmc and bmc.password else detail
