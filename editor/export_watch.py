"""Looks at what is served over iSCSI, every second, and finds what is not as it should be.

`look` compares what the exporter and the storage pools say with the drives that should be served, writes down what is
new, and notes the drives that differ; editor.exports sets them right. So exports come back by themselves after a
restart of the host, of what serves them, or of the worker.
"""

from __future__ import annotations

import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from editor.exports import OURS, exporter, is_wanted, name_in, serve
from editor.iscsi import Exporter, ExportError, Target
from editor.iscsi_names import chap_user, initiator_iqn, target_iqn
from editor.models import Drive, Event, Result, StoragePool
from editor.news import News
from editor.pool_devices import Asking
from editor.reconcile import Job, Lane
from editor.storage import Device
from editor.words import named

log = logging.getLogger(__name__)

LOOK_EVERY = timedelta(seconds=1)
"""Whoever watched a server go off waits so long at most to hear that it has logged out, too."""
LOOK_SHARE = 20
"""Looking takes no more than one part in so many of a processor, however many drives there are. Waiting is not counted:
on a busy machine, what was killed would come back late."""
LOOK_LATEST = timedelta(seconds=10)
FORGET_EVERY = timedelta(minutes=1)
SIDE_BY_SIDE = 16
"""So many drives are in the worker's hands at a time: a snapshot waits for its own at most, also when a host begins."""
AGAIN = 8
"""So many drives that could not be served are tried again at each look, in turns: the others do not wait for them."""
COUNT_EVERY = timedelta(minutes=1)
"""How old the bytes of a drive may be that somebody is writing to."""
TOPICS = 100
"""In one Event: it is a line of text that browsers take apart."""
_told = News()
_asking = Asking()


def jobs(now: datetime, since: datetime) -> Iterator[Job]:
    """One job that looks at all drives, and one for each that is not served as it should be and nobody works on."""
    del now, since  # a drive is to be served whenever it is not
    if exporter() is None:
        yield Job("exports", _forget)
        return
    yield Job("exports", _look, lane=Lane.EXPORT)
    due = Drive.objects.filter(OURS, export_due=True).order_by("pk").values_list("pk", flat=True)
    for pk in due[:SIDE_BY_SIDE]:
        yield Job(f"drive-{pk}", _serve(pk), lane=Lane.EXPORT)


def _look(should_stop: Callable[[], bool]) -> timedelta | None:
    del should_stop  # a few questions, each with a time limit
    began = time.thread_time()
    look()
    busy_seconds = time.thread_time() - began + _asking.busy_seconds
    return min(LOOK_LATEST, max(LOOK_EVERY, LOOK_SHARE * timedelta(seconds=busy_seconds)))


def _forget(should_stop: Callable[[], bool]) -> timedelta | None:
    """Where nothing is served (any more), nobody is logged in to it."""
    del should_stop
    stale = Drive.objects.filter(Q(exported=True) | Q(export_due=True) | ~Q(export_error="") | ~Q(sessions=[]))
    stale.update(exported=False, export_due=False, export_error="", sessions=[])
    return FORGET_EVERY


def _serve(pk: int) -> Callable[[Callable[[], bool]], timedelta | None]:
    def run(should_stop: Callable[[], bool]) -> timedelta | None:
        del should_stop  # half of it is nothing
        serve(pk)
        # Without a pause after a failure, which would hold up snapshots as well: `look` has it tried again.
        return None

    return run


class _Seen(NamedTuple):
    """What a look found of one drive."""

    exported: bool
    due: bool
    sessions: list[list[str]]
    error: str


def look() -> None:
    """Compares what is served with what should be, and writes down what is new."""
    one = exporter()
    if one is None:
        return
    targets, error = _targets(one)
    pools = _asking.ask(StoragePool.objects.order_by("pk"))
    by_name: defaultdict[str, list[Target]] = defaultdict(list)
    for found in (targets or {}).values():
        by_name[name_in(found.iqn)].append(found)
    rows = Drive.objects.select_related("instance", "drive_array").filter(
        Q(instance__server__isnull=False, head_layer__isnull=False)
        | Q(exported=True)
        | Q(pk__in=[pk for active in pools.devices.values() for pk in active])
    )
    known = list(rows.order_by("pk"))
    changed: list[Drive] = []
    again: list[Drive] = []
    logged_out: list[int] = []
    was_due: set[int] = set()
    interrupted: set[int] = set()
    for drive in known:
        iqn = target_iqn(drive)
        of_drive = by_name[name_in(iqn)]
        target = next((one for one in of_drive if one.iqn == iqn), None)
        others = [one for one in of_drive if one.iqn != iqn]
        if drive.pool_id in pools.devices:
            seen = _compare(drive, target, others, pools.devices[drive.pool_id].get(drive.pk), error)
        else:
            seen = _of_silent_pool(drive, of_drive, error or pools.silent.get(drive.pool_id, ""))
        if targets is None:
            seen = seen._replace(sessions=drive.sessions)  # nobody is known to have logged out
        if seen.due and drive.export_error and not drive.export_due and drive.pool_id not in pools.back:
            again.append(drive)
            seen = seen._replace(due=False)
        if seen != (drive.exported, drive.export_due, drive.sessions, drive.export_error):
            logged_out += [drive.pk] if drive.sessions and not seen.sessions else []
            was_due.update({drive.pk} if drive.export_due else ())
            if drive.sessions and drive.exported and not seen.exported and is_wanted(drive) and not error:
                interrupted.add(drive.pk)
            drive.exported, drive.export_due, drive.sessions, drive.export_error = seen
            changed.append(drive)
    _tell(changed, was_due, interrupted)
    turn = random.sample(again, min(AGAIN, len(again)))
    Drive.objects.filter(pk__in=[drive.pk for drive in turn]).update(export_due=True)
    _remove_strangers(one, targets or {})
    long_ago = timezone.now() - COUNT_EVERY
    written = [drive.pk for drive in known if drive.sessions and (drive.observed_at or long_ago) <= long_ago]
    Drive.objects.filter(pk__in=[*written, *logged_out]).update(observe_due=True)


def _targets(one: Exporter) -> tuple[dict[str, Target] | None, str]:
    """What is served by IQN, None when that is not known; and why nothing can be, or ""."""
    try:
        one.settle()
        targets = one.targets()
    except ExportError as error:
        if _told.is_new("targets", str(error)):
            log.warning("What is served over iSCSI could not be read: %s %s", error, error.detail)
        return None, str(error)
    if _told.is_new("targets", ""):
        log.info("What is served over iSCSI can be read again.")
    return targets, one.missing_programs() or ""


def _compare(drive: Drive, target: Target | None, others: list[Target], device: Device | None, error: str) -> _Seen:
    """`others` are the drive's targets by names of other times (see `_remove_others`)."""
    of_drive = [target, *others] if target else others
    sessions = [[session.initiator, session.address] for one in of_drive for session in one.sessions]
    served = target is not None and device is not None and target.device == device.name
    if not is_wanted(drive):
        return _Seen(served, target is not None or device is not None, sessions, "")
    assert drive.instance is not None  # it is wanted
    right = (
        served
        and not others
        and target is not None
        and target.initiators == {initiator_iqn(drive.instance)}
        and target.users == {chap_user(drive.instance)}
    )
    if error:
        return _Seen(exported=False, due=False, sessions=sessions, error=error)
    return _Seen(served, drive.export_due or not right, sessions, "" if right else drive.export_error)


def _of_silent_pool(drive: Drive, targets: list[Target], why: str) -> _Seen:
    """What is known when its pool cannot be asked: what a target has open it goes on serving, as well as it can."""
    sessions = [[session.initiator, session.address] for one in targets for session in one.sessions]
    if any(one.device for one in targets) or not is_wanted(drive):
        return _Seen(drive.exported, drive.export_due, sessions, drive.export_error)
    return _Seen(exported=False, due=False, sessions=sessions, error=why)


def _tell(changed: list[Drive], was_due: Collection[int], interrupted: Container[int]) -> None:
    """Writes down what is new, unless somebody works on the drive: it is in his hands, and he says how it ends.

    What became due since the look began (`was_due` were so then) stays due. `interrupted` are drives whose servers were
    logged in when what serves them ended by itself.
    """
    if not changed:
        return
    topics: defaultdict[int, list[str]] = defaultdict(list)
    lost: defaultdict[int, list[Drive]] = defaultdict(list)
    with transaction.atomic():
        free = Drive.objects.select_for_update(of=("self",)).filter(OURS, pk__in=[drive.pk for drive in changed])
        due_now = dict(free.order_by("pk").values_list("pk", "export_due"))
        told = [drive for drive in changed if drive.pk in due_now]
        for drive in told:
            drive.export_due = drive.export_due or (due_now[drive.pk] and drive.pk not in was_due)
        Drive.objects.bulk_update(told, ["exported", "export_due", "sessions", "export_error"], batch_size=100)
        for drive in told:
            topics[drive.drive_array.infrastructure_id].append(drive.topic)
            if drive.pk in interrupted:
                lost[drive.drive_array.infrastructure_id].append(drive)
        for infrastructure, names in topics.items():
            for start in range(0, len(names), TOPICS):
                Event.objects.record(infrastructure, result=Result.SILENT, topics=names[start : start + TOPICS])
        for infrastructure, drives in lost.items():
            _tell_interruption(infrastructure, drives)


def _tell_interruption(infrastructure: int, drives: list[Drive]) -> None:
    """Tells people what their servers may have noticed."""
    labels = named([drive.label for drive in drives])
    log.warning("Serving %s was interrupted while servers were logged in. It begins again.", labels)
    Event.objects.record(
        infrastructure,
        "noticed an interruption in serving",
        labels,
        text="Servers were logged in: what they read or wrote just then may have failed. See their own logs.",
        url=drives[0].get_absolute_url() if len(drives) == 1 else "",
        result=Result.NOTICE,
        topics=[*(drive.topic for drive in drives[:TOPICS]), f"infrastructure-{infrastructure}"],
    )


def _remove_strangers(one: Exporter, targets: Iterable[str]) -> None:
    """Takes away targets of ours whose drive is gone. Others' are left alone."""
    ours = {iqn: pk for iqn in targets if (pk := _drive_of(iqn)) is not None}
    known = set(Drive.objects.filter(pk__in=ours.values()).values_list("pk", flat=True))
    for iqn, pk in ours.items():
        if pk not in known:
            try:
                one.remove(iqn)
            except ExportError as error:
                log.warning("The target %s belongs to no drive and could not be removed: %s", iqn, error)


def _drive_of(iqn: str) -> int | None:
    """The drive that a target of ours is for."""
    _, _, number = iqn.rpartition("-")
    return int(number) if number.isdecimal() and target_iqn(Drive(pk=int(number))) == iqn else None
