"""What the worker does for servers: sends commands to their BMCs, reads them back, and writes down what it saw.

A command is sent once; whether it came true is only ever told from a reading.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from editor import power, sealed
from editor.actions import power_topics
from editor.models import Event, Instance, Power, PowerCommand, Result, Server
from editor.reconcile import Job

IDLE = timedelta(seconds=10)
IN_TRANSITION = timedelta(milliseconds=400)
AFTER_SILENCE = timedelta(seconds=10)
LATE = timedelta(seconds=60)
"""A command that nobody sent for so long is dropped: the person who gave it has moved on."""
RESET_SECONDS = 3
"""A machine that was only ever seen on is looked at for so long after a reset: it may be too quick to be seen off."""


class Step(Enum):
    """What comes next for a server."""

    SEND = auto()
    DROP = auto()
    READ = auto()


def next_step(server: Server, now: datetime) -> Step:
    """Decides from the row alone."""
    if not server.power_command or server.power_sent_at:
        return Step.READ
    asked_at = server.power_asked_at or now
    return Step.DROP if now - asked_at > LATE else Step.SEND


@dataclass(frozen=True)
class Outcome:
    """What a reading means for a running command. `verb` and `text` become the Event; no verb: nothing to tell."""

    ended: bool = False
    overdue: bool = False
    verb: str = ""
    text: str = ""
    result: Result = Result.DONE


def judge(server: Server, reading: Power, now: datetime, *, label: str) -> Outcome:
    """Decides what a reading says about the command in progress, if any, and about surprises. Pure.

    `server` is the row before the reading.
    """
    if server.power_command and server.power_sent_at:
        return _judge_command(server, reading, now, label=label)
    if reading == Power.UNKNOWN and server.power != Power.UNKNOWN:
        return Outcome(verb="lost sight of", text=server.power_error, result=Result.NOTICE)
    if not server.power_seen_at or server.power == reading or server.power_command:
        return Outcome()
    if server.power == Power.UNKNOWN:
        return Outcome(verb="sees again", text=f"{label} is {reading.label.lower()}.", result=Result.NOTICE)
    return Outcome(
        verb="noticed a change of", text=f"{label} is {reading.label.lower()}. Nobody asked here.", result=Result.NOTICE
    )


def _judge_command(server: Server, reading: Power, now: datetime, *, label: str) -> Outcome:
    command = PowerCommand(server.power_command)
    asked_at, sent_at = server.power_asked_at or now, server.power_sent_at or now
    took = clock_time(now - asked_at)
    wanted = Power.ON if command in (PowerCommand.POWER_ON, PowerCommand.RESET) else Power.OFF
    was_away = server.power in (Power.OFF, Power.POWERING_ON, Power.SHUTTING_DOWN)
    if command == PowerCommand.RESET and reading == wanted and not was_away:
        if (now - sent_at).total_seconds() < RESET_SECONDS:
            return Outcome()
        text = f"Its BMC took it, and {label} is on after {took}. Nobody saw it restart in between."
        return Outcome(ended=True, verb="sent a reset to", text=text)
    if reading == wanted:
        verb = {
            PowerCommand.SOFT_SHUTDOWN: "shut down",
            PowerCommand.POWER_ON: "powered on",
            PowerCommand.HARD_POWER_OFF: "forced off",
            PowerCommand.RESET: "reset",
        }[command]
        return Outcome(ended=True, verb=verb, text=f"{label} is {reading.label.lower()} after {took}.")
    if server.power_deadline is None or now <= server.power_deadline or server.power_overdue:
        return Outcome()
    if reading == Power.UNKNOWN:
        return Outcome(
            ended=True,
            verb=f"could not confirm the {command.label} of",
            text=f"The BMC took the command, then stopped answering. Whether {label} obeyed is not known.",
            result=Result.FAILED,
        )
    if command == PowerCommand.SOFT_SHUTDOWN:
        return Outcome(
            overdue=True,
            verb="still waits for",
            text=f"{label} is still on after {took}. The operating system has not finished stopping.",
            result=Result.NOTICE,
        )
    return Outcome(
        ended=True,
        verb=f"saw no effect of {command.label} on",
        text=f"The BMC took the command, but {label} is {reading.label.lower()} after {took}. Look at the machine.",
        result=Result.FAILED,
    )


def clock_time(duration: timedelta) -> str:
    """ "0:47", "12:03", "1:00:09"."""
    minutes, seconds = divmod(max(0, int(duration.total_seconds())), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def jobs(now: datetime, since: datetime) -> Iterator[Job]:
    """A job for each server that an instance runs on, which asks for a pause, and one to write when they were seen."""
    del now, since  # a server is looked at again and again, whoever asked and when
    rows = Server.objects.filter(instance__isnull=False).values_list("pk", "power_command", "power_sent_at")
    for pk, command, sent_at in rows.order_by("pk"):
        yield Job(f"server-{pk}", _attend(pk), at_once=bool(command) and sent_at is None)
    # After them: where jobs run one after another, it writes what they saw in the same pass.
    if (sightings := _sightings(settings.DATA_DIR)).wait():
        yield Job("sightings", sightings.write)


def _attend(pk: int) -> Callable[[Callable[[], bool]], timedelta | None]:
    def run(should_stop: Callable[[], bool]) -> timedelta | None:
        del should_stop  # one call to a BMC has its own time limit
        return attend(pk)

    return run


def attend(pk: int) -> timedelta | None:
    """Sends a waiting command, reads the BMC, and settles both; answers when to look again."""
    server = Server.objects.get(pk=pk)
    step = next_step(server, timezone.now())
    if step == Step.DROP:
        _settle_not_sent(server, "It waited for a minute and no BMC is known to have taken it. Ask again.")
    elif step == Step.SEND:
        try:
            driver_of(server).send(bmc_of(server), power.PowerCommand(server.power_command))
        except power.PowerError as error:
            _settle_not_sent(server, str(error), error.detail)
        else:
            _settle_sent(server)
    reading = _read(server) if step == Step.READ else read(pk)
    if reading == Power.UNKNOWN:
        return AFTER_SILENCE
    return IN_TRANSITION if server.power_command and step != Step.DROP else IDLE


def read(pk: int) -> Power:
    """Asks the BMC now, stores what it says and answers it. Unknown when it does not answer."""
    return _read(Server.objects.get(pk=pk))


def _read(server: Server) -> Power:
    """As `read`, of a server whose row was just read."""
    why = ""
    try:
        reading = Power(driver_of(server).read(bmc_of(server)))
    except power.PowerError as error:
        reading, why = Power.UNKNOWN, str(error)
    if not server.power_command and (reading, why) == (server.power, server.power_error):
        if reading != Power.UNKNOWN:
            _sightings(settings.DATA_DIR).note(server.pk, timezone.now())
    else:
        _settle_reading(server, reading, why, timezone.now())
    return reading


def driver_of(server: Server) -> power.PowerDriver:
    """Answers the driver that reaches a server's BMC."""
    return power.driver_for(server.driver, folder=settings.DATA_DIR, clock=timezone.now)


def bmc_of(server: Server) -> power.Bmc:
    """Answers where a server's BMC is, and with what it is asked. Raises PowerError when its password is locked up."""
    try:
        password = sealed.Key.read().unseal(server.password_sealed) if server.password_sealed else ""
    except sealed.SealError as error:
        raise power.PowerError(str(error), error.detail, permanent=True) from error
    return power.Bmc(
        address=server.address,
        username=server.username,
        password=password,
        trust=power.Trust(server.trust),
        certificate=server.certificate,
        plain_http=server.plain_http,
    )


class Sightings:
    """When servers were seen whose reading changed nothing.

    Written together: a thousand writes of their own every five seconds would leave the database to nobody else.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at: dict[int, datetime] = {}

    def note(self, server: int, at: datetime) -> None:
        with self._lock:
            self._at[server] = at

    def wait(self) -> bool:
        """Whether there is something to write."""
        return bool(self._at)

    def write(self, should_stop: Callable[[], bool]) -> None:
        """Writes what was noted since the last time. For each server the oldest time of all: never later than true."""
        del should_stop  # one statement takes no time worth stopping
        with self._lock:
            noted, self._at = self._at, {}
        if noted:
            at = min(noted.values())
            # A reading of another thread may be newer.
            Server.objects.filter(pk__in=noted).exclude(power_seen_at__gt=at).update(power_seen_at=at)


@functools.cache
def _sightings(folder: Path) -> Sightings:
    """One for each data folder, as drivers are."""
    del folder
    return Sightings()


def _settle_sent(seen: Server) -> None:
    """Notes that the BMC took the command, unless somebody gave another one meanwhile."""
    Server.objects.filter(pk=seen.pk, power_command=seen.power_command, power_asked_at=seen.power_asked_at).update(
        power_sent_at=timezone.now()
    )


def _settle_not_sent(seen: Server, why: str, detail: str = "") -> None:
    with transaction.atomic():
        server = Server.objects.select_for_update().get(pk=seen.pk)
        if (server.power_command, server.power_asked_at) != (seen.power_command, seen.power_asked_at):
            return
        command = PowerCommand(server.power_command)
        server.power_command = ""
        server.power_overdue = False
        server.trouble = _tell(
            server, f"could not send {command.label} to", text=why, detail=detail, result=Result.FAILED
        )
        server.save(update_fields=["power_command", "power_overdue", "trouble"])


def _settle_reading(seen: Server, reading: Power, why: str, now: datetime) -> None:
    """Stores a reading and what follows from it. A reading that changes nothing writes no Event."""
    with transaction.atomic():
        server = Server.objects.select_for_update().get(pk=seen.pk)
        label = str(Instance.objects.select_related("instance_array").filter(server=server).first() or server)
        shown = server.shown_power
        server_before_error, server.power_error = server.power_error, why
        # A command given or sent since the BMC was asked is not judged by this reading.
        same = (server.power_command, server.power_sent_at) == (seen.power_command, seen.power_sent_at)
        outcome = judge(server, reading, now, label=label) if same else Outcome()
        by = server.power_asked_by if outcome.ended else None
        server.power = reading
        if reading != Power.UNKNOWN:
            server.power_seen_at = now
        if outcome.ended:
            server.power_command = ""
            server.power_overdue = False
        if outcome.overdue:
            server.power_overdue = True
        if outcome.verb:
            # What becomes of a deploy's command is told by that deploy.
            quiet = server.hold and (outcome.overdue or (outcome.ended and outcome.result == Result.DONE))
            result = Result.SILENT if quiet else outcome.result
            event = _tell(server, outcome.verb, text=outcome.text, result=result, by_asker=by is not None)
            if outcome.result == Result.FAILED:
                server.trouble = event
        elif shown != server.shown_power or server_before_error != why:
            _tell(server, "", result=Result.SILENT)
        server.save(
            update_fields=["power", "power_seen_at", "power_error", "power_command", "power_overdue", "trouble"]
        )


def _tell(
    server: Server,
    verb: str,
    *,
    text: str = "",
    detail: str = "",
    result: Result = Result.DONE,
    by_asker: bool = True,
) -> Event | None:
    instance = Instance.objects.select_related("instance_array").filter(server=server).first()
    if instance is None:
        return None
    return Event.objects.record(
        instance.instance_array.infrastructure_id,
        verb,
        instance.label,
        by=server.power_asked_by if by_asker and result != Result.SILENT else None,
        text=text,
        detail=detail,
        url=instance.get_absolute_url(),
        result=result,
        topics=power_topics(instance),
    )
