"""The worker by itself, for installations whose web processes are without one; and a look at what is amiss."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from editor import audit, cleaning
from editor.lock import worker_lock
from editor.management.base import PeoplesCommand
from editor.reconcile import Worker

STOP_SECONDS = 20


class Command(PeoplesCommand):
    help = "Runs the worker in the foreground, until Ctrl-C or SIGTERM."

    def add_arguments(self, parser: CommandParser) -> None:
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--once", action="store_true", help="do what waits, then end")
        how.add_argument(
            "--audit",
            action="store_true",
            help="change nothing; compare storage with the database, and end with status 1 if anything is amiss",
        )

        how.add_argument(
            "--clean",
            action="store_true",
            help="remove from storage what interrupted work left, and name what may be somebody's data",
        )

    def handle(self, *args: Any, once: bool, audit: bool, clean: bool, **options: Any) -> None:
        if audit:
            self.audit()
        elif clean:
            self.clean()
        elif once:
            self.once()
        else:
            self.work()

    def audit(self) -> None:
        number = 0
        for number, sentence in enumerate(audit.findings(timezone.now()), start=1):  # noqa: B007 - counts
            self.stdout.write(sentence)
        if number:
            raise CommandError("1 thing is amiss." if number == 1 else f"{number} things are amiss.")
        self.stdout.write("Nothing amiss.")

    def clean(self) -> None:
        found = False
        for sentence in cleaning.cleaned():
            found = True
            self.stdout.write(sentence)
        if not found:
            self.stdout.write("Nothing was left over. The worker removes by itself what it finds interrupted.")

    def once(self) -> None:
        lock = worker_lock()
        if lock is None:
            raise CommandError("Another worker is at work already, and does what waits. Nothing was done here.")
        try:
            Worker(since=timezone.now()).run_until_quiet()
        finally:
            lock.release()

    def work(self) -> None:
        """In a thread: setting an event from a signal handler could meet that same event's lock in this thread."""
        worker = Worker()
        thread = threading.Thread(target=worker.run, name="worker", daemon=True)
        signal.signal(signal.SIGTERM, _interrupt)
        self.stdout.write("The worker runs. Stop it with Ctrl-C.")
        thread.start()
        try:
            thread.join()
        except KeyboardInterrupt:
            self.stdout.write("Stopping: what is begun is finished.")
            worker.stop()
            thread.join(STOP_SECONDS)
        else:
            raise CommandError("The worker ended by itself; the reason is above.")


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt
