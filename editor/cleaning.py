"""Has storage remove what interrupted work left, and names what it leaves, since it may be somebody's data.

The worker finishes or undoes by itself what it finds begun, and removes what was left of it. What is found here is what
nobody asks for any more: an attempt to make a drive that was given up, what was renamed or thrown away and not removed
when the process was killed, files of a command that was. The product may be running meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from editor.models import Drive, StoragePool
from editor.storage import StorageDriver, StorageError
from editor.volumes import driver_of


def cleaned() -> Iterator[str]:
    """Answers a sentence for each thing that was removed, or is left, pool by pool; does it while it is iterated."""
    for pool in StoragePool.objects.order_by("pk"):
        if pool.maintenance:
            yield f"Pool {pool} is in maintenance: nothing was removed from it."
            continue
        try:
            for sentence in _of_pool(pool):
                yield f"Pool {pool}: {sentence}"
        except StorageError as error:
            yield f"Pool {pool} could not be cleaned to the end. {error}"


def _of_pool(pool: StoragePool) -> Iterator[str]:
    driver = driver_of(pool)
    in_work = set(Drive.objects.filter(pool=pool).exclude(hold="").values_list("pk", flat=True))
    for thing in driver.clean(spare=in_work):
        yield f"removed {thing}."
    for found in driver.audit():
        if found.drive is None:
            going = tuple(f"deleted-{pk} " for pk in in_work)  # a deploy is at it
            for sentence in found.strange:
                if not sentence.startswith(going):
                    yield f"{sentence} It was left; move it away if nobody needs it there."
        # A row is there before anything is stored, and no number is given twice: without one, none will come.
        elif not Drive.objects.filter(pk=found.drive, pool=pool).exists():
            yield _of_nobody(pool, driver, found.drive)


def _of_nobody(pool: StoragePool, driver: StorageDriver, drive: int) -> str:
    with suppress(StorageError):
        if driver.clear(drive):
            return f"removed drive-{drive}, which was never made whole."
    where = f"its images in the Ceph pool {pool.ceph_pool}" if pool.ceph_pool else f"{pool.path}/drive-{drive}"
    return (
        f"drive-{drive} is stored, but belongs to no drive. It was left: it may be somebody's data. "
        f"If another database knows it, restore that one; if nobody needs it, remove {where} by hand."
    )
