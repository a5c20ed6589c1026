"""A thousand drives with five snapshots each in one pool: looking, counting, auditing, serving, and fifty at once.

A process of its own, with the worker in it: `python -m tests.bench.scale ENGINE FOLDER DRIVES SERVED AT_ONCE`. Answers
on standard output, as JSON, {what: figure}; progress goes to standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "editor.settings"
django.setup()

from django.conf import settings  # noqa: E402 - only now
from django.db import connections  # noqa: E402
from django.utils import timezone  # noqa: E402

from editor import bell, export_watch, exports  # noqa: E402
from editor.design import mark_deployed  # noqa: E402
from editor.models import Drive  # noqa: E402
from editor.reconcile import THREADS, Lane, Worker  # noqa: E402
from editor.storage import StorageError  # noqa: E402
from snapshots import actions  # noqa: E402
from snapshots.models import Snapshot, State  # noqa: E402
from tests.bench import memory, seed  # noqa: E402
from tests.bench.drives import make_pool, served, timed, wait_for  # noqa: E402
from tests.bench.engines import Bed, bed  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOTS = 5
SIZE_MB = 40 * 1024
SERVERS_EACH = 10
LOOK_SECONDS = 20
REPEATS = 9

Found = dict[str, float | str]


class Scale:
    """What is measured of one engine. Times in ms unless a name says otherwise."""

    def __init__(self, where: Bed, *, drives: int, served: int, at_once: int) -> None:
        self._where, self._driver = where, where.driver
        self._owner = seed.make_owner()
        self._pool = make_pool(where)
        self._drives, self._served, self._at_once = drives, served, at_once
        self.found: Found = {"drives": drives}

    def measure(self) -> Found:
        self._note("rows", self._make_rows)
        self.found["made, s"] = self._note("volumes and snapshots", self._make_volumes) / 1000
        self._look_at_all()
        self._audit()
        with served():
            self._serve()
            self._measure_at_once()
        return self.found

    def _note(self, what: str, call: Callable[[], object]) -> float:
        taken = timed(call)
        print(f"{self._where.engine}: {what}: {taken:.0f} ms", file=sys.stderr, flush=True)
        return taken

    def _measure(self, what: str, call: Callable[[], object], *, times: int = 1) -> None:
        """As median and 95th percentile where it is called several times."""
        try:
            taken = [self._note(what, call) for _ in range(times)]
            self.found[what] = taken[0] if times == 1 else json.dumps(taken)
        except StorageError as error:
            self.found[what] = str(error)

    # Making

    def _make_rows(self) -> None:
        """Servers that are off, ten in an InstanceArray, each with a drive; nothing is to be done for any of them."""
        infrastructure, networks = seed.make_infrastructure(self._owner, f"scale-{self._where.engine}")
        for first in range(0, self._drives, SERVERS_EACH):
            array = seed.make_instance_array(networks, f"web-{first}", count=min(SERVERS_EACH, self._drives - first))
            drive_array = seed.make_drive_array(array, f"web-{first}-data", size_mb=SIZE_MB)
            Drive.objects.bulk_create(
                Drive(
                    drive_array=drive_array,
                    number=instance.number,
                    instance=instance,
                    pool=self._pool,
                    size_mb=SIZE_MB,
                    head_layer=SNAPSHOTS + 1,
                    next_layer=SNAPSHOTS + 2,
                    snapshot_count=SNAPSHOTS,
                    next_snapshot_number=SNAPSHOTS + 1,
                )
                for instance in array.instances.all()
            )
        mark_deployed(infrastructure)
        now = timezone.now()
        Snapshot.objects.bulk_create(
            Snapshot(
                drive=drive,
                number=number,
                state=State.READY,
                layer=number,
                new_layer=number + 1,
                requested_at=now,
                taken_at=now,
                created_by=self._owner,
                requested_by=self._owner,
            )
            for drive in Drive.objects.all()
            for number in range(1, SNAPSHOTS + 1)
        )

    def _make_volumes(self) -> None:
        """By as many threads as the worker has."""
        with ThreadPoolExecutor(THREADS[Lane.WORK]) as threads:
            list(threads.map(self._make_volume, self._pks()))

    def _make_volume(self, pk: int) -> None:
        self._driver.create_drive(pk, layer=1, size_bytes=SIZE_MB * seed.MIB)
        for layer in range(1, SNAPSHOTS + 1):
            self._driver.snapshot(pk, frozen=layer, new_layer=layer + 1)

    def _pks(self) -> list[int]:
        return list(Drive.objects.order_by("pk").values_list("pk", flat=True))

    # Looking

    def _look_at_all(self) -> None:
        pks, driver = self._pks(), self._driver
        layers = list(range(1, SNAPSHOTS + 1))
        self._measure("head, all drives", lambda: [driver.head(pk) for pk in pks])
        self._measure("layers, all drives", lambda: [driver.layers(pk) for pk in pks])
        self._measure("written_since, all drives", lambda: [driver.written_since(pk, layers) for pk in pks])
        self._measure("used_bytes, all drives", lambda: [driver.used_bytes(pk) for pk in pks])
        self._measure("usage", driver.usage, times=REPEATS)

    def _audit(self) -> None:
        self._measure("audit of the pool", self._driver.audit, times=REPEATS)
        self._measure("reconcile --audit", self._audit_by_command)

    def _audit_by_command(self) -> None:
        # Served by nobody yet: without an exporter, or each drive would be amiss.
        environment = {**os.environ, "ISCSI_EXPORTER": "none"}
        command = [sys.executable, "manage.py", "reconcile", "--audit"]
        subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)

    # Serving

    def _serve(self) -> None:
        """The first drives; the servers of the others are taken away, so that nobody wants them served."""
        wanted = self._pks()[: self._served]
        Drive.objects.exclude(pk__in=wanted).update(instance=None)
        first = min(100, len(wanted))
        with self._working():
            wait_for(lambda: self._number_served() >= first, seconds=600)
            wait_for(lambda: self._number_served() == len(wanted), seconds=1800)
        begun = self._restart(first)
        self.found[f"{first} drives after a restart of the host, s"] = begun[0]
        self.found["served"] = len(wanted)
        self.found["all of them after that restart, s"] = begun[1]
        self._look_at_served()
        self._count_memory()

    def _restart(self, first: int) -> tuple[float, float]:
        """As after a restart of the host: nothing runs; a worker begins. Seconds until so many and all are served."""
        exports.stop()
        Drive.objects.update(exported=False)
        begin = time.monotonic()
        with self._working():
            wait_for(lambda: self._number_served() >= first, seconds=1800)
            some = time.monotonic() - begin
            wait_for(lambda: self._number_served() == self._served, seconds=1800)
        print(f"{self._where.engine}: served again: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
        return some, time.monotonic() - begin

    def _number_served(self) -> int:
        return Drive.objects.filter(exported=True).count()

    def _look_at_served(self) -> None:
        one = exports.exporter()
        assert one is not None
        self._measure("devices", self._driver.devices, times=REPEATS)
        self._measure("targets", one.targets, times=REPEATS)
        self._measure("a look at all exports", export_watch.look, times=REPEATS)
        with self._working():
            time.sleep(2)
            used, begin = memory.processor_seconds(os.getpid()), time.monotonic()
            time.sleep(LOOK_SECONDS)
            share = (memory.processor_seconds(os.getpid()) - used) / (time.monotonic() - begin)
        self.found["processor, idle worker, %"] = 100 * share

    def _count_memory(self) -> None:
        folders = (str(self._where.folder), str(settings.DATA_DIR))
        helpers = memory.processes_in(*folders)
        self.found |= memory.of(helpers, drives=self._served)

    # Many at once

    def _measure_at_once(self) -> None:
        chosen = list(Drive.objects.filter(exported=True).order_by("pk")[: self._at_once])
        for drive in chosen:
            self._make_room(drive)
        with self._working():
            self._wait_for_quiet()
            created = self._at_once_until_settled(chosen, self._create)
            self._wait_for_quiet()
            reverted = self._at_once_until_settled(chosen, self._revert)
        for what, times in (("creates", created), ("reverts", reverted)):
            self.found[f"{len(chosen)} {what} at once"] = json.dumps(times)

    def _make_room(self, drive: Drive) -> None:
        """For a sixth snapshot without an eviction."""
        oldest = drive.snapshots.order_by("number")[0]
        actions.delete(oldest, by=self._owner)

    def _create(self, drive: Drive) -> None:
        actions.request_create(drive, by=self._owner)

    def _revert(self, drive: Drive) -> None:
        newest, onto = drive.snapshots.order_by("-number")[:2]
        actions.request_revert(onto, by=self._owner, expect=[newest.pk])

    def _at_once_until_settled(self, drives: Iterable[Drive], ask: Callable[[Drive], None]) -> list[float]:
        """Asks for all of them one after the other; answers how many ms each took until it was settled."""
        asked: dict[int, float] = {}
        settled: dict[int, float] = {}
        rung = threading.Event()
        silence = bell.listen(rung.set)
        for drive in drives:
            asked[drive.pk] = time.perf_counter()
            ask(drive)

        def all_settled() -> bool:
            free = Drive.objects.filter(pk__in=asked.keys() - settled.keys(), hold="").values_list("pk", flat=True)
            settled.update(dict.fromkeys(free, time.perf_counter()))
            return len(settled) == len(asked)

        try:
            wait_for(all_settled, rung, seconds=600)
        finally:
            silence()
        for drive in Drive.objects.filter(pk__in=asked, trouble__isnull=False).select_related("trouble"):
            assert drive.trouble  # as was asked for
            print(f"{drive.pk}: {drive.trouble.text}", file=sys.stderr, flush=True)
            self.found["of these undone"] = self.found.get("of these undone", 0) + 1  # type: ignore[operator]
        return [(settled[pk] - asked[pk]) * 1000 for pk in asked]

    def _wait_for_quiet(self) -> None:
        wait_for(lambda: not Drive.objects.filter(reclaim_due=True).exists(), seconds=600)
        wait_for(lambda: not Drive.objects.filter(observe_due=True).exists(), seconds=600)

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        worker = Worker(since=timezone.now())
        worker.start()
        try:
            yield
        finally:
            worker.stop(60)
            connections.close_all()


def main(engine: str, folder: str, *numbers: str) -> Found:
    drives, served_drives, at_once = map(int, numbers)
    with bed(engine, Path(folder)) as where:
        return Scale(where, drives=drives, served=served_drives, at_once=at_once).measure()


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
