"""What the worker does so that servers reach their drives: serves what should be served, and nothing else.

A drive is served when its volume exists and it belongs to an instance that has a server. `serve` sets right a drive of
which editor.export_watch found that it is not. Whoever works on a drive takes it away and brings it back himself
(`take_away`, `bring_back`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from contextlib import suppress

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from editor import iscsi
from editor.chap import chap_password
from editor.iscsi import Export, Exporter, ExportError
from editor.iscsi_names import chap_user, initiator_iqn, serial_number, target_iqn
from editor.models import Drive, Event, Result, StoragePool
from editor.rules import why_not_logged_out
from editor.sealed import SealError
from editor.storage import StorageError, UnknownDrive
from editor.volumes import driver_of

log = logging.getLogger(__name__)

OURS = Q(hold="") | Q(hold__startswith="Deploy ")
"""Drives that nobody works on. A deploy holds all of its drives to its end, and may wait for hours for an operating
system that needs its disk; what it does with one of them is a job that takes its turn (editor.deployer)."""


def exporter() -> Exporter | None:
    """Answers the installation's exporter; None when it serves no drives."""
    if settings.ISCSI_EXPORTER == "none":
        return None
    return iscsi.exporter_for(settings.ISCSI_EXPORTER, settings.DATA_DIR / "iscsi", settings.ISCSI_PORTAL)


def last_exporter() -> Exporter:
    """Answers what serves drives; or what did before that was switched off, and may do so still."""
    return exporter() or iscsi.exporter_for("tgt", settings.DATA_DIR / "iscsi", settings.ISCSI_PORTAL)


def is_wanted(drive: Drive) -> bool:
    """Whether a drive should be served; needs its instance."""
    return drive.head_layer is not None and drive.instance is not None and drive.instance.server_id is not None


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
    one, driver = last_exporter(), driver_of(drive.pool)
    iqn = target_iqn(drive)
    # First, since this has a time limit: what serves all drives would wait for a cluster that is away.
    with suppress(UnknownDrive):
        driver.head(drive.pk)
    _remove_others(one, iqn, one.names())
    # Each asks who is logged in in the very step that takes the LUN away.
    if for_good:
        one.remove(iqn)
    else:
        one.withdraw(iqn)
    driver.deactivate(drive.pk)
    # For work that is done at once, pages and worker need not look up: whoever does it tells what became of it.
    _note(drive, exported=False, tell=for_good)


def _remove_others(one: Exporter, iqn: str, served: Iterable[str]) -> None:
    """Takes away targets that serve the same drive by another name: that of another IQN_PREFIX. Raises ExportError.

    Who is logged in there would be a second writer beside whoever logs in here.
    """
    name = name_in(iqn)
    for other in served:
        if other != iqn and other.endswith(name) and name_in(other) == name:
            one.remove(other)


def name_in(iqn: str) -> str:
    """Answers what stands behind any IQN_PREFIX: "drive-7"."""
    return re.split("[:.]", iqn)[-1]


def why_not_logged_out_now(drives: Iterable[Drive]) -> str | None:
    """As `why_not_logged_out` of the first drive to which an initiator is logged in, asking the target itself."""
    try:
        targets = last_exporter().targets()
    except ExportError as error:
        return f"{error} So it is not known whether a server is logged in to its drives."
    for drive in drives:
        target = targets.get(target_iqn(drive))
        drive.sessions = [[session.initiator, session.address] for session in target.sessions] if target else []
        if reason := why_not_logged_out(drive):
            return reason
    return None


def bring_back_or_note(drive: Drive) -> str:
    """Serves a drive again after work on it; answers why that failed, or "". Then editor.export_watch tries again."""
    try:
        bring_back(drive)
    except StorageError as error:
        note_failure(drive, error)
        return str(error)
    return ""


def note_failure(drive: Drive, error: StorageError) -> None:
    """Writes down why a drive is not served as it should be; it is tried again (editor.export_watch)."""
    text = str(error)[:300]
    with transaction.atomic():
        fresh = Drive.objects.select_for_update(of=("self",)).get(pk=drive.pk)
        Drive.objects.filter(pk=drive.pk).update(export_due=False, export_error=text)
        if fresh.export_error == text:
            return
        log.warning("%s is not served over iSCSI: %s %s", drive.label, error, error.detail)
        infrastructure = drive.drive_array.infrastructure_id
        Event.objects.record(infrastructure, result=Result.SILENT, topics=[drive.topic, drive.drive_array.topic])


def _note(drive: Drive, *, exported: bool, tell: bool = True) -> None:
    with transaction.atomic():
        rows = Drive.objects.filter(pk=drive.pk).exclude(exported=exported, export_error="")
        if rows.update(exported=exported, export_error="") and tell:
            infrastructure = drive.drive_array.infrastructure_id
            Event.objects.record(infrastructure, result=Result.SILENT, topics=[drive.topic, drive.drive_array.topic])


def stop() -> None:
    """Ends serving all drives. Raises ExportError, and serves on, while an initiator is logged in somewhere.

    A pool that cannot be asked keeps no other from being given back; raises StorageError in the end.
    """
    last_exporter().stop()
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
