"""Compares what is stored with what the database says, and finds what nobody is at. Only reads.

The product may be running meanwhile: what looks strange is looked at twice, and told only when both looks agree.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.utils.module_loading import import_string

from editor import exports
from editor.iscsi_names import target_iqn
from editor.models import Drive, Instance, Server, StoragePool
from editor.storage import Found, StorageDriver, StorageError
from editor.volumes import driver_of

TOO_LONG = timedelta(minutes=5)
"""The worker finishes in seconds what is asked for; after this nobody is at it."""
ROWS = 500

Look = Callable[[Drive, Found, datetime], Iterable[str]]
"""Answers a sentence for each thing that is amiss with a drive; settings.AUDIT_STEPS lists such functions."""


def findings(now: datetime) -> Iterator[str]:
    """Answers a sentence for each thing that is amiss, pool by pool, then servers."""
    looks: list[Look] = [import_string(dotted) for dotted in settings.AUDIT_STEPS]
    for pool in StoragePool.objects.order_by("pk"):
        try:
            yield from _of_pool(pool, looks, now)
        except StorageError as error:
            yield f"The pool {pool} could not be read. {error}"
    yield from _of_exports()
    yield from _of_servers(now)


def _of_pool(pool: StoragePool, looks: list[Look], now: datetime) -> Iterator[str]:
    driver = driver_of(pool)
    stored = {found.drive: found for found in driver.audit()}
    rows = Drive.objects.filter(pool=pool).select_related("drive_array__infrastructure").order_by("pk")
    for drive in rows.iterator(chunk_size=ROWS):
        found = stored.pop(drive.pk, None)
        if said := _of_drive(drive, found, looks, now):
            again = _once_more(driver, drive, found, looks, now)
            for sentence in said:
                if sentence in again:
                    yield f"{path_of(drive)}: {sentence}"
    for found in stored.values():
        for sentence in found.strange if found.drive is None else ():
            yield f"Pool {pool}: {sentence}"
        # Asked only now: a drive may have been added since the rows were read.
        if found.drive is not None and not Drive.objects.filter(pk=found.drive, pool=pool).exists():
            yield f"Pool {pool}: drive-{found.drive} is stored, but belongs to no drive."


def _of_drive(drive: Drive, found: Found | None, looks: list[Look], now: datetime) -> list[str]:
    if drive.head_layer is None:
        return []  # its volume is still to be made, or half made
    if found is None:
        return ["its volume is missing in storage. Restore it from a backup."]
    said = list(found.strange)
    if found.head is not None and found.head != drive.head_layer and not drive.hold:
        said.append(f"storage is at layer {found.head}, the database says {drive.head_layer}.")
    for look in looks:
        said += look(drive, found, now)
    return said


def _once_more(driver: StorageDriver, drive: Drive, found: Found | None, looks: list[Look], now: datetime) -> list[str]:
    fresh = Drive.objects.select_related("drive_array__infrastructure").filter(pk=drive.pk).first()
    if fresh is None:
        return []
    # What is damaged, or not there, raises: then the first look stands.
    with contextlib.suppress(StorageError):
        found = Found(drive.pk, driver.head(drive.pk), driver.layers(drive.pk), found.strange if found else ())
    return _of_drive(fresh, found, looks, now)


def path_of(drive: Drive) -> str:
    """Answers "atlas-prod/web-data-2"."""
    return f"{drive.drive_array.infrastructure}/{drive}"


def _of_exports() -> Iterator[str]:
    """Drives that their servers cannot reach, and targets that lead nowhere."""
    one = exports.exporter()
    if one is None:
        return
    try:
        targets = one.targets()
    except StorageError as error:
        yield f"What is served over iSCSI could not be read. {error}"
        return
    rows = Drive.objects.select_related("drive_array__infrastructure", "instance").order_by("pk")
    for drive in rows.iterator(chunk_size=ROWS):
        target = targets.pop(target_iqn(drive), None)
        if exports.is_wanted(drive) and not (target and target.device) and not drive.hold:
            yield f"{path_of(drive)}: is not served over iSCSI. {drive.export_error}".strip()
    for iqn in targets:
        yield f"The target {iqn} is served over iSCSI, but belongs to no drive."


def _of_servers(now: datetime) -> Iterator[str]:
    waiting = Server.objects.exclude(power_command="").filter(power_sent_at=None, power_asked_at__lt=now - TOO_LONG)
    for server in waiting.order_by("pk").iterator(chunk_size=ROWS):
        instance = Instance.objects.select_related("instance_array").filter(server=server).first()
        yield (
            f"{instance or server}: {server.get_power_command_display()} waits to be sent since "
            f"{server.power_asked_at:%Y-%m-%d %H:%M}. Is a worker running?"
        )
