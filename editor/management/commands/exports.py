"""What is served over iSCSI now, for people at a terminal; and the end of it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from editor import exports
from editor.audit import path_of
from editor.iscsi_names import target_iqn
from editor.lock import worker_lock
from editor.management.base import PeoplesCommand
from editor.models import Drive
from editor.storage import StorageError

OFF = "This installation serves no drives: ISCSI_EXPORTER is none."


class Command(PeoplesCommand):
    help = "Lists the drives that are served over iSCSI and who is logged in; `stop` ends serving all of them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", nargs="?", choices=["list", "stop"], default="list")

    def handle(self, *args: Any, what: str, **options: Any) -> None:
        # What was served before that was switched off can be ended.
        if exports.exporter() is None and what == "list":
            raise CommandError(OFF)
        try:
            self.stop() if what == "stop" else self.list()
        except StorageError as error:
            raise CommandError(str(error)) from error

    def list(self) -> None:
        one = exports.exporter()
        assert one is not None  # handle() made sure
        targets = one.targets()
        self.stdout.write(f"Portal {one.portal}: {len(targets)} targets")
        drives = Drive.objects.select_related("drive_array__infrastructure", "instance__instance_array")
        for drive in drives.order_by("drive_array__infrastructure", "drive_array", "number"):
            target = targets.pop(target_iqn(drive), None)
            if target is None and not exports.is_wanted(drive):
                continue
            state = "served" if target and target.device else f"not served. {drive.export_error}".strip()
            sessions = target.sessions if target else ()
            who = "".join(f"; {session.initiator} is logged in from {session.address}" for session in sessions)
            self.stdout.write(f"{target_iqn(drive)}  {path_of(drive)}  {state}{who}")
        for iqn in targets:
            self.stdout.write(f"{iqn}  belongs to no drive")

    def stop(self) -> None:
        lock = worker_lock()
        if lock is None:
            raise CommandError("The worker is at work and would serve them again. Stop it first.")
        try:
            exports.stop()
        finally:
            lock.release()
        self.stdout.write("Nothing is served any more. The worker serves the drives again when it starts.")
