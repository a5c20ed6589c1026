"""What the worker does so that servers reach their drives: serves what should be served, and nothing else.

A drive is served when its volume exists and it belongs to an instance that has a server. `look` compares that every few
seconds with what the exporter and the engines say, and notes the drives that differ; `serve` sets one of them right. So
exports come back by themselves after a restart of the host, of what serves them, or of the worker. Whoever works on
a drive takes it away and brings it back himself (`take_away`, `bring_back`).
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from editor import iscsi
from editor.chap import chap_password
from editor.iscsi import Export, Exporter, ExportError, Target
from editor.iscsi.base import still_open
from editor.iscsi_names import chap_user, initiator_iqn, serial_number, target_iqn
from editor.models import Drive, Event, Result, StoragePool
from editor.news import News
from editor.reconcile import Job, Lane
from editor.rules import why_not_logged_out
from editor.sealed import SealError
from editor.storage import Device, StorageDriver, StorageError, UnknownDrive
from editor.volumes import driver_of
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
OURS = Q(hold="") | Q(hold__startswith="Deploy ")
"""Drives that nobody works on. A deploy holds all of its drives to its end, and may wait for hours for an operating
system that needs its disk; what it does with one of them is a job that takes its turn (editor.deployer)."""
TOPICS = 100
"""In one Event: it is a line of text that browsers take apart."""
PATIENCE_SECONDS = 5
"""With a storage pool; those that do answer take far less."""
RETRY_SECONDS = 0.2
"""With one that did not answer the last time."""
NO_ANSWER = f"The storage pool has not answered within {PATIENCE_SECONDS} seconds. It is asked until it does."
_told = News()


def exporter() -> Exporter | None:
    """Answers the installation's exporter; None when it serves no drives."""
    if settings.ISCSI_EXPORTER == "none":
        return None
    return iscsi.exporter_for(settings.ISCSI_EXPORTER, settings.DATA_DIR / "iscsi", settings.ISCSI_PORTAL)


def _last_exporter() -> Exporter:
    """Answers what serves drives; or what did before that was switched off, and may do so still."""
    return exporter() or iscsi.exporter_for("tgt", settings.DATA_DIR / "iscsi", settings.ISCSI_PORTAL)


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


# ── Looking ──────────────────────────────────────────────────────────────────


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
        by_name[_name_in(found.iqn)].append(found)
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
        of_drive = by_name[_name_in(iqn)]
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


class _Pools(NamedTuple):
    """What storage pools answered, by their ids."""

    devices: dict[int, dict[int, Device]]
    silent: dict[int, str]
    """Why they could not be asked."""
    back: set[int]
    """Those that answer again, since this look."""


class _Asking:
    """Asks each storage pool on a thread of its own.

    One that does not answer is waited for once. From then on it is asked beside the looks, until it answers: the
    drives of others are looked at as often as ever.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=SIDE_BY_SIDE, thread_name_prefix="devices")
        self._silent: dict[int, Future[dict[int, Device]]] = {}
        self.busy_seconds = 0.0
        """Of the processor, on the threads that answered in the last round."""

    def ask(self, pools: Iterable[StoragePool]) -> _Pools:
        self.busy_seconds = 0.0
        answers = _Pools({}, {}, set())
        asked: list[tuple[StoragePool, Future[dict[int, Device]], float]] = []
        for pool in pools:
            before = self._silent.get(pool.pk)
            if before and not before.done():
                answers.silent[pool.pk] = _told.last(pool.pk)
                continue
            # What was said after a while is about a while ago: it tells only that the pool answers again.
            patience = RETRY_SECONDS if before and before.exception() else PATIENCE_SECONDS
            asked.append((pool, self._threads.submit(self._devices, driver_of(pool)), time.monotonic() + patience))
        for pool, future, until in asked:
            try:
                answers.devices[pool.pk] = future.result(max(0, until - time.monotonic()))
            except TimeoutError:
                self._is_silent(pool, StorageError(NO_ANSWER), future, answers)
            except StorageError as error:
                self._is_silent(pool, error, future, answers)
            else:
                self._silent.pop(pool.pk, None)
                if _told.is_new(pool.pk, ""):
                    answers.back.add(pool.pk)
                    log.info("What is active in pool %s can be read again.", pool)
        return answers

    def _devices(self, driver: StorageDriver) -> dict[int, Device]:
        began = time.thread_time()
        try:
            return driver.devices()
        finally:
            self.busy_seconds += time.thread_time() - began

    def _is_silent(
        self, pool: StoragePool, error: StorageError, future: Future[dict[int, Device]], answers: _Pools
    ) -> None:
        self._silent[pool.pk] = future
        if str(error) == NO_ANSWER and _told.last(pool.pk):
            error = StorageError(_told.last(pool.pk))  # it says more
        answers.silent[pool.pk] = str(error)[:300]
        if _told.is_new(pool.pk, str(error)):
            log.warning("What is active in pool %s could not be read: %s %s", pool, error, error.detail)


_asking = _Asking()


def is_wanted(drive: Drive) -> bool:
    """Whether a drive should be served; needs its instance."""
    return drive.head_layer is not None and drive.instance is not None and drive.instance.server_id is not None


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


# ── Setting right ────────────────────────────────────────────────────────────


def serve(pk: int) -> None:
    """Serves a drive, or ends that, as it should be."""
    # First, so that what is asked for meanwhile is done afterwards.
    Drive.objects.filter(OURS, pk=pk).update(export_due=False)
    drive = Drive.objects.select_related("pool", "drive_array", "instance").filter(OURS, pk=pk).first()
    if drive is None:
        return
    try:
        if is_wanted(drive):
            bring_back(drive)
        else:
            take_away(drive, for_good=True)
    except StorageError as error:
        note_failure(drive, error)


def bring_back(drive: Drive) -> None:
    """Serves a drive to its instance, if it should be served. Repeatable; raises StorageError.

    Whoever holds the drive calls this, or nobody does.
    """
    one = exporter()
    instance = drive.instance
    if one is None or instance is None or not is_wanted(drive):
        return
    driver, iqn = driver_of(drive.pool), target_iqn(drive)
    one.settle()  # or it cannot be told from here which devices are dead
    if driver.device(drive.pk) is None:
        # What the target has open, if anything, is dead: it would go on failing for the server.
        one.withdraw(iqn, dead=True)
    try:
        password = chap_password(instance)
    except SealError as error:
        raise ExportError(f"{error} {drive.label} is not served until then.", detail=error.detail) from error
    device = driver.activate(drive.pk)
    _remove_others(one, iqn, one.names())
    one.publish(
        Export(
            drive=drive.pk,
            iqn=iqn,
            serial=serial_number(drive),
            device=device,
            initiator=initiator_iqn(instance),
            user=chap_user(instance),
            password=password,
        )
    )
    _note(drive, exported=True)


def take_away(drive: Drive, *, for_good: bool = False) -> None:
    """Ends serving a drive, so that nobody writes to it. Repeatable.

    Raises ExportError, naming it, when an initiator is logged in: whatever a BMC says, its server is not off. Then
    nothing was changed. `for_good` also gives up the target's name.
    """
    one, driver = _last_exporter(), driver_of(drive.pool)
    iqn = target_iqn(drive)
    # First, since this has a time limit: what serves all drives would wait for a cluster that is away.
    with suppress(UnknownDrive):
        driver.head(drive.pk)
    targets = one.targets()
    _remove_others(one, iqn, targets)
    # Whatever the exporter has noted of it; it looks once more in the step in which it takes the LUN away.
    for session in targets[iqn].sessions if iqn in targets else ():
        raise still_open(session)
    if for_good:
        one.remove(iqn)
    else:
        one.withdraw(iqn)
    driver.deactivate(drive.pk)
    _note(drive, exported=False)


def _remove_others(one: Exporter, iqn: str, served: Iterable[str]) -> None:
    """Takes away targets that serve the same drive by another name: that of another IQN_PREFIX. Raises ExportError.

    Who is logged in there would be a second writer beside whoever logs in here.
    """
    for other in served:
        if other != iqn and _name_in(other) == _name_in(iqn):
            one.remove(other)


def _name_in(iqn: str) -> str:
    """What stands behind any IQN_PREFIX: "drive-7"."""
    return re.split("[:.]", iqn)[-1]


def why_not_logged_out_now(drives: Iterable[Drive]) -> str | None:
    """As `why_not_logged_out` of the first drive to which an initiator is logged in, asking the target itself."""
    try:
        targets = _last_exporter().targets()
    except ExportError as error:
        return f"{error} So it is not known whether a server is logged in to its drives."
    for drive in drives:
        target = targets.get(target_iqn(drive))
        drive.sessions = [[session.initiator, session.address] for session in target.sessions] if target else []
        if reason := why_not_logged_out(drive):
            return reason
    return None


def bring_back_or_note(drive: Drive) -> str:
    """Serves a drive again after work on it; answers why that failed, or "". Then it is tried again (`look`)."""
    try:
        bring_back(drive)
    except StorageError as error:
        note_failure(drive, error)
        return str(error)
    return ""


def note_failure(drive: Drive, error: StorageError) -> None:
    """Writes down why a drive is not served as it should be; `look` has it tried again."""
    text = str(error)[:300]
    with transaction.atomic():
        fresh = Drive.objects.select_for_update(of=("self",)).get(pk=drive.pk)
        Drive.objects.filter(pk=drive.pk).update(export_due=False, export_error=text)
        if fresh.export_error == text:
            return
        log.warning("%s is not served over iSCSI: %s %s", drive.label, error, error.detail)
        infrastructure = drive.drive_array.infrastructure_id
        Event.objects.record(infrastructure, result=Result.SILENT, topics=[drive.topic, drive.drive_array.topic])


def _note(drive: Drive, *, exported: bool) -> None:
    with transaction.atomic():
        rows = Drive.objects.filter(pk=drive.pk).exclude(exported=exported, export_error="")
        if rows.update(exported=exported, export_error=""):
            infrastructure = drive.drive_array.infrastructure_id
            Event.objects.record(infrastructure, result=Result.SILENT, topics=[drive.topic, drive.drive_array.topic])


# ── Ending ───────────────────────────────────────────────────────────────────


def stop() -> None:
    """Ends serving all drives. Raises ExportError, and serves on, while an initiator is logged in somewhere.

    A pool that cannot be asked keeps no other from being given back; raises StorageError in the end.
    """
    _last_exporter().stop()
    silent = []
    for pool in StoragePool.objects.order_by("pk"):
        driver = driver_of(pool)
        try:
            for pk in driver.devices():
                driver.deactivate(pk)
        except StorageError as error:
            silent.append(f"{pool}: {error}")
    if silent:
        raise StorageError(
            "Nothing is served any more, but not all storage pools could be told so. Repeating this is safe. "
            + " ".join(silent)
        )
