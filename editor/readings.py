"""What a reading of a BMC means: whether a command has come true, and what of it is news; and writing that down."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.utils import timezone

from editor import order
from editor.actions import power_topics
from editor.models import Event, Instance, Power, PowerCommand, Result, Server, Told
from editor.words import elapsed

RESET_SECONDS = 3
"""A machine that was only ever seen on is looked at for so long after a reset: it may be too quick to be seen off."""
OUT_OF_SIGHT = timedelta(seconds=60)
"""A machine that nobody saw for longer may have gone off and been started again by somebody."""
WRITERS = 4
"""So many threads that ask BMCs are at the database at a time: each has a connection of its own while it is there."""

LOST, FOUND, FLAPS = "lost sight of", "sees again", "cannot rely on the BMC of"
FLAPPING = timedelta(minutes=10)
"""A BMC that goes silent for the third time within so long is told of once more, then not until it was steady."""
FLAPS_TOLD = 3

_turn = threading.BoundedSemaphore(WRITERS)
_ON_THE_WAY = {Power.POWERING_ON: Power.ON, Power.SHUTTING_DOWN: Power.OFF}


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
        return Outcome(verb=LOST, text=server.power_error, result=Result.NOTICE)
    if not server.power_seen_at or server.power == reading or server.power_command:
        return Outcome()
    if _ON_THE_WAY.get(Power(server.power)) == reading:
        return Outcome()  # that it went there was the news
    if server.power == Power.UNKNOWN:
        return Outcome(verb=FOUND, text=f"{label} is {reading.label.lower()}.", result=Result.NOTICE)
    return Outcome(
        verb="noticed a change of", text=f"{label} is {reading.label.lower()}. Nobody asked here.", result=Result.NOTICE
    )


def was_out_of_sight(server: Server, now: datetime) -> bool:
    """Whether a machine that is to shut down may be another run of it than the one that was asked.

    One that a deploy holds is that deploy's until it is off.
    """
    times = [at for at in (server.power_seen_at, server.power_sent_at) if at is not None]
    return not server.hold and bool(times) and now - max(times) > OUT_OF_SIGHT


def _judge_command(server: Server, reading: Power, now: datetime, *, label: str) -> Outcome:
    command = PowerCommand(server.power_command)
    asked_at, sent_at = server.power_asked_at or now, server.power_sent_at or now
    took = elapsed(now - asked_at)
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
    is_late = server.power_deadline is not None and now > server.power_deadline
    is_unclear = command == PowerCommand.SOFT_SHUTDOWN and reading == Power.ON and was_out_of_sight(server, now)
    if server.power_overdue or not (is_late or is_unclear):
        return Outcome()
    if reading == Power.UNKNOWN or not is_late:
        text = f"The BMC took the command, then stopped answering. Whether {label} obeyed is not known."
        if is_unclear:
            text = (
                f"{label} is on, but for more than a minute nobody could see it: it may have been started again. "
                "Ask again if it is to stop."
            )
        return Outcome(ended=True, verb=f"could not confirm the {command.label} of", text=text, result=Result.FAILED)
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


# ── What is written ──────────────────────────────────────────────────────────


@contextmanager
def at_the_database() -> Iterator[None]:
    """One of the few turns at the database of threads that ask BMCs.

    The connection ends with the turn: nobody keeps one while waiting for a BMC.
    """
    with _turn:
        try:
            yield
        finally:
            if threading.current_thread() is not threading.main_thread() and not connection.in_atomic_block:
                connection.close()


def is_ahead_of_time(server: Server, now: datetime) -> bool:
    """Whether the running command was asked for later than now: the clock was set back since."""
    return bool(server.power_command and server.power_asked_at and server.power_asked_at > now)


def in_time(pk: int, now: datetime) -> Server | None:
    """Reads a server anew; None when it is gone. After the clock was set back, a command has its whole time again."""
    with transaction.atomic():
        server = Server.objects.select_for_update().filter(pk=pk).first()
        if server and is_ahead_of_time(server, now) and server.power_asked_at:
            limit = server.power_deadline - server.power_asked_at if server.power_deadline else None
            server.power_asked_at, server.power_deadline = now, now + limit if limit else None
            server.save(update_fields=["power_asked_at", "power_deadline"])
    return server


def settle_sent(seen: Server) -> None:
    """Notes that the BMC took the command, unless somebody gave another one meanwhile."""
    with at_the_database():
        Server.objects.filter(pk=seen.pk, power_command=seen.power_command, power_asked_at=seen.power_asked_at).update(
            power_sent_at=timezone.now()
        )


def settle_not_sent(seen: Server, why: str, detail: str = "") -> None:
    with at_the_database(), transaction.atomic():
        server = Server.objects.select_for_update().filter(pk=seen.pk).first()
        asked = (seen.power_command, seen.power_asked_at)
        if server is None or (server.power_command, server.power_asked_at) != asked:
            return
        before = server.shown_power
        command = PowerCommand(server.power_command)
        server.power_command = ""
        server.power_overdue = False
        server.trouble = _tell(
            server, f"could not send {command.label} to", before=before, text=why, detail=detail, result=Result.FAILED
        )
        server.save(update_fields=["power_command", "power_overdue", "trouble"])


def settle_reading(seen: Server, reading: Power, why: str, now: datetime, *, begun: int) -> None:
    """Stores a reading and what follows from it. A reading that changes nothing writes no Event.

    One that hung, so that what is stored was seen after it had `begun` (see editor.order), is left out.
    """
    with at_the_database(), transaction.atomic():
        server = Server.objects.select_for_update().filter(pk=seen.pk).first()
        # What was said at another address is about another machine.
        is_moved = server is not None and (server.driver, server.address) != (seen.driver, seen.address)
        if server is None or is_moved or not order.take(server.pk, begun):
            return
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
        # Who asks while this reading is on its way may have done so after the BMC answered: it is asked again.
        was_asked = server.look_asked_at is not None and server.look_asked_at == seen.look_asked_at
        if was_asked:
            server.look_asked_at = None
        if outcome.ended:
            server.power_command = ""
            server.power_overdue = False
        if outcome.overdue:
            server.power_overdue = True
        if outcome.verb in (LOST, FOUND):
            outcome = _damped(outcome, server, now)
        if outcome.verb:
            # What becomes of a deploy's command is told by that deploy.
            quiet = server.hold and (outcome.overdue or (outcome.ended and outcome.result == Result.DONE))
            result = Result.SILENT if quiet else outcome.result
            event = _tell(server, outcome.verb, before=shown, text=outcome.text, result=result, by_asker=by is not None)
            if outcome.result == Result.FAILED:
                server.trouble = event
        elif was_asked or shown != server.shown_power or server_before_error != why:
            _tell(server, "", before=shown, result=Result.SILENT)
        server.save(
            update_fields=[
                *("power", "power_seen_at", "power_error", "power_command", "power_overdue"),
                *("look_asked_at", "trouble"),
            ]
        )


def _damped(outcome: Outcome, server: Server, now: datetime) -> Outcome:
    """Answers what is told of a BMC that comes and goes. Its state is shown as it is all the time."""
    lately = Event.objects.filter(instance__server=server, at__gt=now - FLAPPING, verb__in=(LOST, FLAPS)).count()
    times = lately + (outcome.verb == LOST)
    if times < FLAPS_TOLD:
        return outcome
    if times == FLAPS_TOLD and outcome.verb == LOST:
        minutes = int(FLAPPING.total_seconds() // 60)
        text = (
            f"It went silent {times} times within {minutes} minutes. Have somebody look at it. "
            f"Until it has been steady for {minutes} minutes, its silences are not listed here."
        )
        return replace(outcome, verb=FLAPS, text=text)
    return replace(outcome, result=Result.SILENT)


def _tell(
    server: Server,
    verb: str,
    *,
    before: Power,
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
        told=Told(instance.pk, before, server.shown_power),
    )
