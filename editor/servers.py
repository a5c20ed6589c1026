"""What the worker does for servers: sends commands to their BMCs, reads them back, and writes down what it saw.

Whether a command came true is only ever told from a reading. A soft shutdown is sent again while the machine is on:
in firmware or a boot loader nobody hears it. BMCs are asked in threads of their own (see editor.reconcile.Lane) that
need the database only for what changed.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from enum import Enum, auto

from django.conf import settings
from django.utils import timezone

from editor import order, pace, power, readings, refusals, sealed
from editor.models import Instance, Power, PowerCommand, Server
from editor.reconcile import Job, Lane
from editor.refusals import refusals_of
from editor.sightings import sightings_of

log = logging.getLogger(__name__)

LATE = timedelta(seconds=60)
"""A command that nobody sent for so long is dropped: the person who gave it has moved on."""
AGAIN = timedelta(seconds=10)
"""How often a soft shutdown is sent."""
MOMENT_SECONDS = 0.05
"""Between the two readings that must both say that a machine is off; a real BMC takes longer to answer one."""
_NOT_SENT = "It waited for a minute and no BMC is known to have taken it. Ask again."
_MAY_BE_SENT = "It is not known whether it was sent. Look whether the server restarts, or ask again."
NO_STATE = "The BMC answers, but does not say whether the server is on."

_chance = random.Random().random  # noqa: S311 - nothing secret: it spreads readings over time


class Step(Enum):
    """What comes next for a server."""

    SEND = auto()
    DROP = auto()
    READ = auto()


def next_step(server: Server, now: datetime, since: datetime | None = None) -> Step:
    """Decides from the row alone. A reset from before `since` may have been sent by another worker, who died over it.

    Any other command that is sent twice does nothing the second time.
    """
    if not server.power_command or server.power_sent_at:
        return Step.READ
    asked_at = server.power_asked_at or now
    may_be_sent = server.power_command == PowerCommand.RESET and since is not None and asked_at < since
    return Step.DROP if may_be_sent or now - asked_at > LATE else Step.SEND


def is_to_hear_again(server: Server, reading: Power, now: datetime) -> bool:
    """Whether a soft shutdown is sent once more: the machine is still on, and the time limit has not passed."""
    if server.power_command != PowerCommand.SOFT_SHUTDOWN or not server.power_sent_at or reading != Power.ON:
        return False
    if server.power_overdue or (server.power_deadline and now > server.power_deadline):
        return False
    if readings.was_out_of_sight(server, now):
        return False
    # A clock that was set back must not make anybody wait.
    return not timedelta() <= now - server.power_sent_at < AGAIN


def jobs(now: datetime, since: datetime) -> Iterator[Job]:
    """A job for each server, which asks for a pause, and one to write when they were seen.

    Those whose BMC refused us have none, unless somebody asks, or waits for a command whose time limit has passed.
    """
    in_use = set(Instance.objects.filter(server__isnull=False).values_list("server_id", flat=True))
    refused = refusals_of(settings.DATA_DIR)
    for server in Server.objects.order_by("pk"):
        at_once = bool(server.power_command and not server.power_sent_at) or server.look_asked_at is not None
        if not at_once and refused.hold(server, now) and not _is_to_end(server, now):
            continue
        yield Job(
            server.topic,
            _attend(server, free=server.pk not in in_use, since=since),
            at_once=at_once,
            lane=lane_of(server),
        )
    # After them: where jobs run one after another, it writes what they saw in the same pass.
    if (sightings := sightings_of(settings.DATA_DIR)).wait():
        yield Job("sightings", sightings.write)


def _is_to_end(server: Server, now: datetime) -> bool:
    """Whether the next reading, whatever it says, ends the running command."""
    is_late = server.power_deadline is not None and now > server.power_deadline
    return bool(server.power_command) and is_late and not server.power_overdue


def lane_of(server: Server) -> Lane:
    """Those that were silent the last time are most likely to hang again: they hold up only each other."""
    if server.power_error:
        return Lane.SILENT
    return Lane.ASK if server.power_command else Lane.LOOK


def _attend(server: Server, *, free: bool, since: datetime) -> Callable[[Callable[[], bool]], timedelta | None]:
    def run(should_stop: Callable[[], bool]) -> timedelta | None:
        del should_stop  # one call to a BMC has its own time limit
        return attend(server, free=free, since=since)

    return run


def attend(server: Server, *, free: bool = False, since: datetime | None = None) -> timedelta | None:
    """Sends a waiting command, reads the BMC, and settles both; answers when to look again.

    `server` is a row that was read a moment ago: what is sent is decided from one that is read now.
    """
    step = next_step(server, timezone.now(), since)
    if step != Step.READ or readings.is_ahead_of_time(server, timezone.now()):
        with readings.at_the_database():
            fresh = readings.in_time(server.pk, timezone.now())
        if fresh is None:
            return None
        server, step = fresh, next_step(fresh, timezone.now(), since)
    if step == Step.DROP:
        is_reset = server.power_command == PowerCommand.RESET
        readings.settle_not_sent(server, _MAY_BE_SENT if is_reset else _NOT_SENT)
    elif step == Step.SEND:
        _send(server)
    if step != Step.READ:
        with readings.at_the_database():
            fresh = Server.objects.filter(pk=server.pk).first()
        if fresh is None:
            return None
        server = fresh
    reading = _read(server)
    now = timezone.now()
    if is_to_hear_again(server, reading, now):
        _send_again(server, now)
    return pause_after(server, reading, now, free=free)


def _send(server: Server) -> None:
    """Has the BMC take the waiting command, and notes whether it did.

    What may have been taken counts as sent: a machine that may be starting must not pass for one that is off.
    """
    try:
        driver_of(server).send(bmc_of(server), power.PowerCommand(server.power_command))
    except power.PowerError as error:
        if not error.unsure or server.power_command == PowerCommand.RESET:
            readings.settle_not_sent(server, str(error), error.detail)
            return
    readings.settle_sent(server)


def pause_after(server: Server, reading: Power, now: datetime, *, free: bool = False) -> timedelta:
    """Answers when to look again at a server whose row was read before this reading."""
    changes_since = None
    if server.power_command:
        changes_since = now - (server.power_asked_at or now)
    elif reading in (Power.POWERING_ON, Power.SHUTTING_DOWN):
        changes_since = pace.UNASKED
    silent_since = now - server.power_seen_at if server.power_seen_at else pace.SILENT_MOST
    return pace.pause(
        changes_since=changes_since,
        silent_since=silent_since if reading == Power.UNKNOWN else None,
        free=free,
        chance=_chance(),
    )


def read(pk: int) -> Power:
    """Asks the BMC now, stores what it says and answers it. Unknown when it does not answer."""
    with readings.at_the_database():
        server = Server.objects.get(pk=pk)
    return _read(server)


def read_twice(pk: int, meanwhile: Callable[[], None] | None = None) -> Power:
    """As `read`, for what must not go wrong: answers off only when the BMC says so twice within a moment.

    A BMC that just restarted, or whose machine is being reset, may say "off" once. Whoever asks has the machine
    held, so that nobody here powers it on meanwhile. `meanwhile` is called once it said so, and may raise; the second
    answer is from after that.
    """
    reading = read(pk)
    if reading != Power.OFF:
        return reading
    over = time.monotonic() + MOMENT_SECONDS
    if meanwhile:
        meanwhile()
    time.sleep(max(0.0, over - time.monotonic()))
    return read(pk)


def _read(server: Server) -> Power:
    """As `read`, of a server whose row was just read."""
    bmc, refused, begun = None, False, order.moment()
    try:
        bmc = bmc_of(server)
        reading = Power(driver_of(server).read(bmc))
    except power.PowerError as error:
        reading, why = Power.UNKNOWN, str(error)
        # While its password is locked up here, no BMC is asked.
        if refused := error.permanent and bmc is not None:
            why = why_refused(error)
    else:
        why = NO_STATE if reading == Power.UNKNOWN else ""
    now = timezone.now()
    refusals_of(settings.DATA_DIR).note(server, now, refused=refused)
    is_news = (reading, why) != (server.power, server.power_error) or server.look_asked_at is not None
    if is_news or readings.judge(server, reading, now, label="") != readings.Outcome():
        readings.settle_reading(server, reading, why, now, begun=begun)
    elif order.take(server.pk, begun) and reading != Power.UNKNOWN:
        sightings_of(settings.DATA_DIR).note(server.pk, now)
    return reading


def why_refused(error: power.PowerError) -> str:
    """Answers what is shown of a server whose BMC is left alone for a while."""
    return f"{str(error)[:240]} {refusals.TRIED_AGAIN}"


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


def _send_again(seen: Server, now: datetime) -> None:
    """Sends a soft shutdown once more, unless somebody gave it up or asked for something else meanwhile."""
    with readings.at_the_database():
        same = Server.objects.filter(
            pk=seen.pk, power_command=PowerCommand.SOFT_SHUTDOWN, power_sent_at=seen.power_sent_at
        )
        is_wanted = same.update(power_sent_at=now)
    if is_wanted:
        try:
            driver_of(seen).send(bmc_of(seen), power.PowerCommand.SOFT_SHUTDOWN)
        except power.PowerError as error:
            # It was taken once; what becomes of the machine is seen by reading.
            log.info("A soft shutdown of %s could not be sent again: %s", seen, error)
