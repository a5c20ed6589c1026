"""Several people at the same moment, each in a thread and a database session of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from django.db import connection, connections, transaction

from editor.inventory import one_at_a_time
from editor.models import Drive, Infrastructure, Server, User
from editor.rules import Refused

WAIT_SECONDS = 30


def together(*calls: Callable[[], object]) -> list[str]:
    """Answers how each call ended when all began while nobody could go on: "" or the refusal's sentence.

    Rows of all infrastructures, people, servers and drives, and the inventory, are locked until every call waits for
    one. SQLite has one lock, and no way to ask who waits for it: there the calls begin, and the lock is given up.
    """
    begun = threading.Barrier(len(calls) + 1)

    def run(call: Callable[[], object]) -> str:
        try:
            begun.wait(WAIT_SECONDS)
            call()
        except Refused as refused:
            return str(refused)
        finally:
            connections.close_all()
        return ""

    with ThreadPoolExecutor(len(calls)) as pool:
        with transaction.atomic():
            for model in (Infrastructure, User):
                list(model.objects.select_for_update(no_key=True))
            one_at_a_time()
            list(Server.objects.select_for_update())
            list(Drive.objects.select_for_update())
            futures = [pool.submit(run, call) for call in calls]
            begun.wait(WAIT_SECONDS)
            until_waiting(len(calls), futures)
        return [future.result(WAIT_SECONDS) for future in futures]


def until_waiting(number: int, futures: list[Future[str]]) -> None:
    """Returns when so many sessions wait for locks; fails when a call ends without."""
    if connection.vendor != "postgresql":
        return
    end = time.monotonic() + WAIT_SECONDS
    with connection.cursor() as cursor:
        while True:
            # Not pg_stat_activity: within one transaction it goes on showing what it showed first.
            cursor.execute("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
            (waiting,) = cursor.fetchone()
            if waiting >= number:
                return
            assert not any(future.done() for future in futures), "A call went on although the rows are locked."
            assert time.monotonic() < end, f"Only {waiting} of {number} calls wait for the locked rows."
