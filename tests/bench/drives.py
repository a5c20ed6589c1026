"""What the verbs of one engine take on drives of several sizes, each beside the engine's plainest means.

A process of its own, with the worker in it: `python -m tests.bench.drives ENGINE FOLDER ROUNDS WARM_UP SIZES`. Answers
on standard output, as JSON, {size: {what: {"bare" | "ours" | "step": [ms]}}}.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "editor.settings"
django.setup()

from django.utils import timezone  # noqa: E402 - only now

from editor import bell, exports  # noqa: E402
from editor.design import mark_deployed  # noqa: E402
from editor.models import Drive, StoragePool, User  # noqa: E402
from editor.reconcile import Worker  # noqa: E402
from editor.volumes import driver_of  # noqa: E402
from snapshots import actions  # noqa: E402
from tests.bench import seed  # noqa: E402
from tests.bench.bare import bare  # noqa: E402
from tests.bench.engines import GIB, Bed, Disk, bed  # noqa: E402
from tests.bench.load import writing  # noqa: E402

KIB = 1024
STANDING = 3
"""Snapshots that a drive has at the beginning of a round."""
FIRST_PK = 1_000_000
"""Of drives that only the driver knows."""
SETTLE_SECONDS = 120
LOAD_SECONDS = 0.3
"""Of writing, before a snapshot."""

Times = defaultdict[str, defaultdict[str, list[float]]]


class Driven:
    """A drive that only the driver and the plain means are asked about."""

    def __init__(self, pool: Bed, pk: int, *, size_bytes: int, scattered: int) -> None:
        self.pk = pk
        self._driver = pool.driver
        self._size_bytes, self._scattered = size_bytes, scattered
        self._chance = random.Random(pk)
        self._driver.create_drive(pk, layer=1, size_bytes=size_bytes)
        self._device = self._driver.activate(pk)
        self._bare = bare(pool, pk)
        self._kept: list[int] = []
        self._head, self._next = 1, 2
        self._write(scattered * STANDING)

    def one_round(self, times: Times, *, ours_first: bool) -> None:
        def both(what: str, plain: Callable[[], None], ours: Callable[[], None]) -> None:
            calls = {"bare": plain, "ours": ours}
            for name in sorted(calls, reverse=ours_first):
                times[what][name].append(timed(calls[name]))

        while len(self._kept) < STANDING:
            self._write(self._scattered // 10)
            self._snapshot()
        self._write(self._scattered // 10)
        both("create", self._bare.create, self._snapshot)
        with writing(self._device):
            time.sleep(LOAD_SECONDS)
            both("loaded", self._bare.create, self._snapshot)

        self._write(self._scattered // 10)
        self._bare.prepare(self._kept[0])
        both("evict", self._evict_plainly, self._evict)
        self._bare.prepare(self._kept[-2])
        both("delete", self._bare.delete, self._delete)

        self._bare.tidy()
        self._driver.deactivate(self.pk)
        both("revert", lambda: self._bare.revert(self._kept[-2]), self._revert)
        self._bare.tidy()
        self._device = self._driver.activate(self.pk)
        self._reclaim()

    def end(self) -> None:
        self._driver.deactivate(self.pk)
        self._driver.delete_drive(self.pk)

    def _snapshot(self) -> None:
        self._driver.snapshot(self.pk, frozen=self._head, new_layer=self._next)
        self._kept.append(self._head)
        self._head, self._next = self._next, self._next + 1

    def _evict(self) -> None:
        self._snapshot()
        self._kept.pop(0)
        self._reclaim()

    def _evict_plainly(self) -> None:
        self._bare.create()
        self._bare.delete()

    def _delete(self) -> None:
        self._kept.pop(-2)
        self._reclaim()

    def _revert(self) -> None:
        self._kept.pop()
        self._driver.revert(self.pk, onto=self._kept[-1], new_layer=self._next)
        self._head, self._next = self._next, self._next + 1

    def _reclaim(self) -> None:
        while not self._driver.reclaim(self.pk, keep=self._kept, head=self._head):
            pass

    def _write(self, scattered: int) -> None:
        write(Disk(self._device), self._size_bytes, scattered, self._chance)


def write(disk: Disk, size_bytes: int, scattered: int, chance: random.Random) -> None:
    """Writes so often, all over the drive; 1 MiB in one place of one that is not fragmented. Closes the disk."""
    for _ in range(scattered):
        kilobytes = chance.choice((4, 8, 16, 32, 64))
        offset = chance.randrange(size_bytes // (64 * KIB) - 2) * 64 * KIB + chance.choice((0, 4 * KIB))
        disk.write(offset, chance.randbytes(kilobytes * KIB))
    if not scattered:
        disk.write(chance.randrange(64) * 1024 * KIB, chance.randbytes(1024 * KIB))
    disk.flush()
    disk.close()


class Stepped:
    """A drive that people ask the worker about, served to a server that is off."""

    def __init__(self, drive: Drive, owner: User) -> None:
        self._drive, self._owner = drive, owner

    def one_round(self, times: Times) -> None:
        while self._drive.snapshots.count() < STANDING:
            self._create()
        self._wait_for_quiet()
        times["create"]["step"].append(timed(self._create))
        self._wait_for_quiet()
        times["revert"]["step"].append(timed(self._revert))
        self._wait_for_quiet()

    def _create(self) -> None:
        self._settled(lambda: actions.request_create(self._drive, by=self._owner))

    def _revert(self) -> None:
        newest, onto = self._drive.snapshots.order_by("-number")[:2]
        self._settled(lambda: actions.request_revert(onto, by=self._owner, expect=[newest.pk]))

    def _settled(self, ask: Callable[[], None]) -> None:
        """Asks, and waits until the worker has written down how it ended."""
        rung = threading.Event()
        silence = bell.listen(rung.set)
        try:
            ask()
            wait_for(lambda: Drive.objects.filter(pk=self._drive.pk, hold="").exists(), rung)
        finally:
            silence()
        self._drive.refresh_from_db()
        if self._drive.trouble:
            raise RuntimeError(self._drive.trouble.text)

    def _wait_for_quiet(self) -> None:
        quiet = Drive.objects.filter(pk=self._drive.pk, reclaim_due=False, observe_due=False, export_due=False)
        wait_for(quiet.filter(exported=True).exists)


def wait_for(
    ready: Callable[[], bool], rung: threading.Event | None = None, *, seconds: float = SETTLE_SECONDS
) -> None:
    """Returns as soon as that is so; raises TimeoutError."""
    rung, end = rung or threading.Event(), time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError("The worker did not come to an end.")
        rung.wait(0.05)
        rung.clear()


def timed(call: Callable[[], object]) -> float:
    """How many ms a call takes."""
    begin = time.perf_counter()
    call()
    return (time.perf_counter() - begin) * 1000


@contextlib.contextmanager
def served() -> Iterator[None]:
    """Whatever is served inside is not afterwards."""
    try:
        yield
    finally:
        exports.stop()


def make_pool(where: Bed) -> StoragePool:
    """The row of a pool."""
    place = {"folder": str(where.folder)}
    if where.cluster:
        place |= {"ceph_conf": where.cluster.conf, "ceph_user": where.cluster.user, "ceph_pool": where.cluster.pool}
    return StoragePool.objects.create(label=f"Bench {where.engine}", engine=where.engine, **place)


def make_drives(pool: StoragePool, owner: User, sizes_mb: list[int]) -> list[Drive]:
    """One server, off, with a drive of each size, each in an array of its own; a worker makes and serves them."""
    infrastructure, networks = seed.make_infrastructure(owner, f"bench-{pool.engine}")
    array = seed.make_instance_array(networks, f"bench-{pool.engine}", count=1)
    made = []
    for number, size_mb in enumerate(sizes_mb, 1):
        drive_array = seed.make_drive_array(array, f"drive-{number}", size_mb=size_mb)
        instance = array.instances.get()
        made.append(
            Drive.objects.create(drive_array=drive_array, number=1, instance=instance, pool=pool, size_mb=size_mb)
        )
    mark_deployed(infrastructure)
    return made


def measure(where: Bed, *, rounds: int, warm_up: int, sizes: int) -> dict[str, Times]:
    """Goes round the drives, so that what else the machine does meets all of them."""
    owner = seed.make_owner()
    kinds = seed.DRIVES[:sizes]
    found: dict[str, Times] = {name: defaultdict(lambda: defaultdict(list)) for name, _, _ in kinds}
    pool = make_pool(where)
    rows = make_drives(pool, owner, [size_mb for _, size_mb, _ in kinds])
    worker = Worker(since=timezone.now())
    worker.start()
    driven: list[Driven] = []
    try:
        wait_for(lambda: Drive.objects.filter(exported=True).count() == len(rows))
        for row, (name, size_mb, scattered) in zip(rows, kinds, strict=True):
            size_bytes = size_mb * GIB // 1024
            driven.append(Driven(where, FIRST_PK + row.pk, size_bytes=size_bytes, scattered=scattered))
            device = driver_of(pool).devices()[row.pk]
            write(Disk(device), size_bytes, scattered * STANDING, random.Random(name))
        stepped = [Stepped(row, owner) for row in rows]
        for turn in range(warm_up + rounds):
            for (name, _, _), one, other in zip(kinds, driven, stepped, strict=True):
                times = found[name] if turn >= warm_up else defaultdict(lambda: defaultdict(list))
                one.one_round(times, ours_first=turn % 2 == 1)
                other.one_round(times)
    finally:
        worker.stop()
        for drive in driven:
            drive.end()
    return found


def main(engine: str, folder: str, *numbers: str) -> dict[str, Times]:
    rounds, warm_up, sizes = map(int, numbers)
    with bed(engine, Path(folder)) as where, served():
        return measure(where, rounds=rounds, warm_up=warm_up, sizes=sizes)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
