"""How BMCs are looked at: how often, what a BMC that hangs, fails or flaps holds up, and when somebody cannot wait."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from editor import actions, bell, entries, inventory, order, pace, power, readings, replacement, servers
from editor import connection as connecting
from editor.models import Event, Instance, Power, Result, Server
from editor.power import Bmc, Description, PowerCommand, PowerDriver, PowerError, PowerState
from editor.reconcile import Job, Lane, Worker
from tests import factories
from tests.clock import Clock, clock  # noqa: F401 - a fixture

WAIT_SECONDS = 20


class FakeBmcs(PowerDriver):
    """BMCs by address: a state, a sentence to fail with, or one that hangs until the test lets it go."""

    def __init__(self) -> None:
        self.says: dict[str, PowerState | PowerError | list[PowerState]] = {}
        self.sent: list[tuple[str, PowerCommand]] = []
        self.reads: list[str] = []
        self.hanging: set[str] = set()
        self.let_go = threading.Event()
        self.hangs_now, self.answers, self.sends = (threading.Semaphore(0) for _ in range(3))

    def read(self, bmc: Bmc) -> PowerState:
        if bmc.address in self.hanging:
            self.hangs_now.release()
            self.let_go.wait(WAIT_SECONDS)
            raise PowerError("The BMC of this server did not answer within 10 seconds.")
        if bmc.address not in self.reads:
            self.answers.release()
        self.reads.append(bmc.address)
        said = self.says.get(bmc.address, PowerState.ON)
        if isinstance(said, list):
            said = said.pop(0) if len(said) > 1 else said[0]
        if isinstance(said, PowerError):
            raise said
        return said

    def send(self, bmc: Bmc, command: PowerCommand) -> None:
        self.sent.append((bmc.address, command))
        self.sends.release()

    def describe(self, bmc: Bmc) -> Description:
        power = self.read(bmc)
        return Description("", "", "", "", (), power, frozenset())


@pytest.fixture
def bmcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBmcs]:
    fake = FakeBmcs()

    def driver(folder: Path, clock: Callable[[], object]) -> PowerDriver:  # noqa: F811
        del folder, clock
        return fake

    monkeypatch.setitem(power._DRIVERS, "simulated", driver)
    yield fake
    fake.let_go.set()


class Slow(FakeBmcs):
    """Answers what it said when it was asked; what comes in between is `meanwhile`, once."""

    meanwhile: Callable[[], object] | None = None

    def read(self, bmc: Bmc) -> PowerState:
        said: PowerState | PowerError
        try:
            said = super().read(bmc)
        except PowerError as error:
            said = error
        if meanwhile := self.meanwhile:
            self.meanwhile = None
            meanwhile()
        if isinstance(said, PowerError):
            raise said
        return said


class Rack:
    """web-1 on a server whose BMC says what the test wants, and a worker that is driven by hand."""

    def __init__(self, clock: Clock, bmcs: FakeBmcs) -> None:  # noqa: F811
        self.clock, self.bmcs = clock, bmcs
        self.operator = factories.make_user("Otto Op")
        self.infrastructure = factories.make_infrastructure(operator=self.operator)
        self.array = factories.make_instance_array(self.infrastructure, count=1, power=Power.ON)
        self.worker = Worker()
        self.look()

    @property
    def instance(self) -> Instance:
        return self.array.instances.select_related("server", "instance_array").get()

    @property
    def server(self) -> Server:
        return Server.objects.get()

    def says(self, *said: PowerState | PowerError) -> None:
        """From now on, in this order; the last one for ever."""
        self.bmcs.says[self.server.address] = said[0] if len(said) == 1 else list(said)  # type: ignore[arg-type]

    def look(self, after_seconds: float = 0) -> None:
        self.clock.advance(after_seconds)
        self.worker.one_pass(self.clock())

    def reads(self, seconds: int, *, passes_per_second: float = 1) -> int:
        """Lets time pass; answers how often the BMC was read meanwhile."""
        before = len(self.bmcs.reads)
        for _ in range(int(seconds * passes_per_second)):
            self.look(1 / passes_per_second)
        return len(self.bmcs.reads) - before


@pytest.fixture
def rack(db: None, clock: Clock, bmcs: FakeBmcs, settings: Settings) -> Rack:  # noqa: F811
    settings.RECONCILE_STEPS = ["editor.servers.jobs"]
    return Rack(clock, bmcs)


SILENT = PowerError("The BMC of this server does not answer.")

# ── How often ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ({}, 10),
        ({"free": True}, 60),
        ({"changes_since": timedelta(seconds=30)}, 0.4),
        ({"changes_since": timedelta(minutes=5)}, 1),
        ({"changes_since": timedelta(hours=5)}, 5),
        ({"changes_since": timedelta(hours=-1)}, 0.4),
        ({"silent_since": timedelta(seconds=3)}, 10),
        ({"silent_since": timedelta(seconds=40)}, 40),
        ({"silent_since": timedelta(hours=40)}, 100),
        ({"silent_since": timedelta(hours=-1), "changes_since": timedelta()}, 10),
    ],
)
def test_pace_fits_what_is_known(asked: dict[str, timedelta], seconds: float) -> None:
    assert pace.pause(**asked) == timedelta(seconds=seconds)  # type: ignore[arg-type]
    assert pace.pause(**asked, chance=1) == timedelta(seconds=seconds) * 0.8  # type: ignore[arg-type]


def test_bmc_is_read_often_while_its_server_changes_and_seldom_otherwise(rack: Rack) -> None:
    steady = rack.reads(60)
    actions.soft_shut_down(rack.instance, by=rack.operator)
    changing = rack.reads(20, passes_per_second=5)

    assert 6 <= steady <= 8
    assert 30 <= changing <= 50


def test_silent_bmc_is_asked_ever_less_often_and_again_as_soon_as_somebody_asks(rack: Rack) -> None:
    rack.says(SILENT)
    first, later = rack.reads(60), rack.reads(600)

    actions.look_now(rack.array, by=rack.operator)
    rack.says(PowerState.OFF)
    rack.look(0.1)

    assert 2 <= first <= 4
    assert 5 <= later <= 9
    assert (rack.server.power, rack.server.look_asked_at) == (Power.OFF, None)


def test_looking_now_wakes_the_pages_even_when_nothing_changed(rack: Rack) -> None:
    actions.look_now(rack.array, by=rack.operator)
    before = Event.objects.count()
    rack.look(0.1)

    news = list(Event.objects.order_by("pk"))[before:]
    assert [(one.result, rack.array.topic in one.topic_list) for one in news] == [(Result.SILENT, True)]
    assert rack.server.power_seen_at == rack.clock()
    assert rack.server.look_asked_at is None


def test_look_that_was_asked_for_outlives_the_worker(rack: Rack) -> None:
    actions.look_now(rack.array, by=rack.operator)
    rack.says(PowerState.OFF)

    Worker().one_pass(rack.clock())

    assert rack.server.power == Power.OFF


def test_reading_that_changes_nothing_asks_the_database_for_nothing_of_its_own(rack: Rack) -> None:
    counts = []
    for more in (1, 20):
        factories.make_instance_array(rack.infrastructure, f"more-{more}", count=more, power=Power.ON)
        rack.look(11)
        with CaptureQueriesContext(connection) as queries:
            rack.look(11)
        counts.append(len(queries))

    assert counts == [3, 3]


# ── What hangs ───────────────────────────────────────────────────────────────


@pytest.mark.django_db(transaction=True)
def test_bmcs_that_hang_hold_up_neither_the_others_nor_other_work(bmcs: FakeBmcs, settings: Settings) -> None:
    """500 servers of which 25 hang: the others are read, a command is sent, and work on drives is done meanwhile."""
    operator = factories.make_user("Otto Op")
    infrastructure = factories.make_infrastructure(operator=operator)
    array = factories.make_instance_array(infrastructure, count=1, power=Power.ON)
    instance = array.instances.select_related("server", "instance_array").get()
    seen = {"power": Power.ON, "power_seen_at": timezone.now()}
    Server.objects.bulk_create(
        Server(server_type=array.server_type, serial=f"R-{one}", address=f"simulated://r-{one}", **seen)
        for one in range(499)
    )
    bmcs.hanging = {f"simulated://r-{one}" for one in range(0, 500, 20)}
    done = threading.Event()
    settings.RECONCILE_STEPS = ["editor.servers.jobs", f"{__name__}.drive_step"]
    waiting[:] = [Job("drive-1", lambda _: done.set())]
    worker = Worker()
    worker.start()
    try:
        for _ in bmcs.hanging:
            assert bmcs.hangs_now.acquire(timeout=WAIT_SECONDS)
        assert done.wait(WAIT_SECONDS)
        actions.hard_power_off(instance, by=operator)
        bell.ring()
        assert bmcs.sends.acquire(timeout=WAIT_SECONDS)
        for _ in range(500 - len(bmcs.hanging)):
            assert bmcs.answers.acquire(timeout=WAIT_SECONDS)
        others = set(bmcs.reads)
        assert not bmcs.let_go.is_set()
    finally:
        waiting.clear()
        bmcs.let_go.set()
        worker.stop()
        gc.collect()  # connections of threads that have ended keep PostgreSQL from dropping the database

    assert len(others) == 475
    assert Server.objects.filter(power=Power.UNKNOWN).count() == 25


@pytest.mark.parametrize("what", ["command", "check", "two readings", "replacement"])
@pytest.mark.django_db(transaction=True)
def test_nobody_keeps_a_connection_to_the_database_while_waiting_for_a_bmc(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bool] = []

    class Watching(FakeBmcs):
        def read(self, bmc: Bmc) -> PowerState:
            kept.append(connection.connection is not None)
            return PowerState.OFF

        def send(self, bmc: Bmc, command: PowerCommand) -> None:
            kept.append(connection.connection is not None)

        def describe(self, bmc: Bmc) -> Description:
            kept.append(connection.connection is not None)
            raise PowerError("The BMC of this server does not answer.")

    monkeypatch.setattr(servers, "driver_of", lambda _: Watching())
    array = factories.make_instance_array(factories.make_infrastructure(), count=1)
    new = factories.make_free_server()
    Server.objects.filter(pk=new.pk).update(replaces=array.instances.get())
    Server.objects.filter(instance__isnull=False).update(power_command="power_on", power_asked_at=timezone.now())
    server = Server.objects.get(instance__isnull=False)
    ask: Callable[[], object] = {
        "command": lambda: servers.attend(server),
        "check": lambda: connecting.check(server.pk),
        "two readings": lambda: servers.read_twice(server.pk),
        "replacement": lambda: replacement.carry_out(new.pk),
    }[what]

    def run() -> None:
        try:
            ask()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result(WAIT_SECONDS)

    assert kept
    assert not any(kept)


waiting: list[Job] = []


def drive_step(*_: object) -> Iterator[Job]:
    yield from list(waiting)


def test_those_that_were_silent_share_threads_only_with_each_other() -> None:
    assert servers.lane_of(Server()) == Lane.LOOK
    assert servers.lane_of(Server(power_command="power_on")) == Lane.ASK
    assert servers.lane_of(Server(power_error="It hangs.", power_command="power_on")) == Lane.SILENT


# ── What is lost ─────────────────────────────────────────────────────────────


def test_soft_shutdown_is_sent_again_until_the_machine_hears_it(rack: Rack) -> None:
    actions.soft_shut_down(rack.instance, by=rack.operator, limit_seconds=60)
    rack.reads(35)
    while_on = [command for _, command in rack.bmcs.sent]
    rack.says(PowerState.OFF)
    rack.reads(30)

    assert while_on == [PowerCommand.SOFT_SHUTDOWN] * 4
    assert [command for _, command in rack.bmcs.sent] == while_on
    assert [one.verb for one in Event.objects.told().order_by("pk")] == ["asked for a soft shutdown of", "shut down"]


def test_soft_shutdown_is_not_sent_again_after_its_time_limit(rack: Rack) -> None:
    actions.soft_shut_down(rack.instance, by=rack.operator, limit_seconds=30)
    rack.reads(100)

    assert len(rack.bmcs.sent) == 3
    assert rack.server.power_overdue


@pytest.mark.parametrize("why", ["no worker", "silent BMC"])
def test_soft_shutdown_is_not_sent_again_to_a_machine_that_may_have_been_started_again(rack: Rack, why: str) -> None:
    actions.soft_shut_down(rack.instance, by=rack.operator, limit_seconds=86400)
    rack.look()
    if why == "silent BMC":
        rack.says(PowerError("The BMC of this server does not answer."))
        rack.reads(300)
        rack.says(PowerState.ON)
    sent = len(rack.bmcs.sent)

    rack.look(600)
    rack.reads(60)

    assert len(rack.bmcs.sent) == sent
    server = rack.server
    assert (server.shown_power, server.power_command) == (Power.ON, "")
    assert server.trouble
    assert (server.trouble.verb, server.trouble.result) == ("could not confirm the Soft Shutdown of", Result.FAILED)
    assert "it may have been started again. Ask again if it is to stop." in server.trouble.text


def test_soft_shutdown_that_was_given_up_is_not_sent_again(rack: Rack) -> None:
    actions.soft_shut_down(rack.instance, by=rack.operator)
    rack.look(0.1)
    seen = rack.server
    actions.leave_on(rack.instance, by=rack.operator)

    servers._send_again(seen, rack.clock())

    assert len(rack.bmcs.sent) == 1


def test_worker_killed_between_two_readings_is_succeeded_by_one_that_sends_again_in_time(rack: Rack) -> None:
    actions.soft_shut_down(rack.instance, by=rack.operator)
    rack.look(0.1)
    rack.worker = Worker()
    rack.look(5)
    too_early = len(rack.bmcs.sent)
    rack.look(5)

    assert (too_early, len(rack.bmcs.sent)) == (1, 2)


def test_reset_that_a_dead_worker_may_have_sent_is_not_sent_twice(rack: Rack) -> None:
    actions.reset(rack.instance, by=rack.operator)
    rack.clock.advance(1)
    rack.worker = Worker()

    rack.look()

    server = rack.server
    assert rack.bmcs.sent == []
    assert server.power_command == ""
    assert server.trouble
    assert server.trouble.text.startswith("It is not known whether it was sent.")


def test_clock_that_is_set_back_gives_a_command_its_whole_time_again_and_no_more(rack: Rack) -> None:
    actions.soft_shut_down(rack.instance, by=rack.operator, limit_seconds=60)
    rack.look(0.1)
    rack.look(-7200)
    asked_at = rack.server.power_asked_at
    rack.reads(59)
    in_time = rack.server.power_overdue
    rack.reads(3)

    assert asked_at == rack.clock() - timedelta(seconds=62)
    assert (in_time, rack.server.power_overdue) == (False, True)
    assert 6 <= len(rack.bmcs.sent) <= 8


def test_time_of_a_reading_is_true_again_after_the_clock_was_set_back(rack: Rack) -> None:
    rack.look(11)
    rack.clock.advance(-7200)
    rack.worker.one_pass(rack.clock())

    assert rack.server.power_seen_at == rack.clock()


# ── What comes late ──────────────────────────────────────────────────────────


@pytest.fixture
def slow(rack: Rack, monkeypatch: pytest.MonkeyPatch) -> Rack:
    """A BMC that takes its time over the next reading."""
    rack.bmcs = Slow()
    monkeypatch.setattr(servers, "driver_of", lambda _: rack.bmcs)
    return rack


@pytest.mark.parametrize("late", [PowerState.ON, SILENT])
@pytest.mark.parametrize("set_back", [0, -3600])
def test_reading_that_hung_leaves_what_was_seen_meanwhile(
    slow: Rack, late: PowerState | PowerError, set_back: int
) -> None:
    slow.says(SILENT if late == PowerState.ON else PowerState.ON)
    slow.look(11)
    before = slow.server.power

    def switched_off_and_seen() -> None:
        slow.says(PowerState.OFF)
        slow.clock.advance(2)
        servers.read(slow.server.pk)
        slow.clock.advance(3 + set_back)

    slow.says(late)
    slow.bmcs.meanwhile = switched_off_and_seen  # type: ignore[attr-defined]
    slow.look(101)

    assert (before, slow.server.power) == (Power.UNKNOWN if late == PowerState.ON else Power.ON, Power.OFF)
    assert slow.server.power_seen_at == slow.clock() - timedelta(seconds=3 + set_back)
    assert slow.server.power_error == ""
    slow.look(3601)
    assert slow.server.power_seen_at == slow.clock()


def test_reading_that_hung_and_says_nothing_new_does_not_make_what_is_stored_look_younger(slow: Rack) -> None:
    def switched_off_and_seen() -> None:
        slow.says(PowerState.OFF)
        servers.read(slow.server.pk)
        slow.clock.advance(5)

    slow.bmcs.meanwhile = switched_off_and_seen  # type: ignore[attr-defined]
    slow.look(11)
    slow.worker.one_pass(slow.clock())

    assert (slow.server.power, slow.server.power_seen_at) == (Power.OFF, slow.clock() - timedelta(seconds=5))


def test_silence_that_began_before_a_reading_without_news_is_left_out(slow: Rack) -> None:
    def seen_as_before() -> None:
        slow.says(PowerState.ON)
        slow.clock.advance(2)
        servers.read(slow.server.pk)
        slow.clock.advance(3)

    slow.says(SILENT)
    slow.bmcs.meanwhile = seen_as_before  # type: ignore[attr-defined]
    slow.look(11)

    assert (slow.server.power, slow.server.power_error) == (Power.ON, "")
    assert not Event.objects.told().exists()


def test_look_that_was_asked_for_is_not_settled_by_a_reading_that_hung(slow: Rack) -> None:
    actions.look_now(slow.array, by=slow.operator)
    row = slow.server
    begun = order.moment()
    Server.objects.update(look_asked_at=None)
    servers.read(row.pk)
    Server.objects.update(look_asked_at=row.look_asked_at)

    readings.settle_reading(row, Power.OFF, "", slow.clock(), begun=begun)
    still_asked = slow.server.look_asked_at
    slow.look(0.1)

    assert (still_asked, slow.server.look_asked_at) == (row.look_asked_at, None)
    assert slow.server.power == Power.ON


# ── What somebody else did ───────────────────────────────────────────────────


def test_machine_that_is_powered_on_by_somebody_else_is_told_once(rack: Rack) -> None:
    rack.says(PowerState.OFF)
    rack.look(11)
    rack.says(PowerState.POWERING_ON)
    rack.look(11)
    rack.says(PowerState.ON)
    rack.look(2)

    assert [(one.verb, one.text) for one in Event.objects.told().order_by("pk")] == [
        ("noticed a change of", "web-1 is off. Nobody asked here."),
        ("noticed a change of", "web-1 is powering on. Nobody asked here."),
    ]
    assert rack.server.power == Power.ON


def test_bmc_that_comes_and_goes_is_told_of_a_few_times_and_shown_all_the_time(rack: Rack) -> None:
    shown = []
    for _ in range(6):
        for said in (SILENT, PowerState.ON):
            rack.says(said)
            rack.look(11)
            shown.append(rack.server.power)
    told = [one.verb for one in Event.objects.told().order_by("pk")]
    rack.reads(11 * 60)
    rack.says(SILENT)
    rack.look(11)

    assert shown == [Power.UNKNOWN, Power.ON] * 6
    assert told == ["lost sight of", "sees again", "lost sight of", "sees again", "cannot rely on the BMC of"]
    assert [one.verb for one in Event.objects.told().order_by("pk")][len(told) :] == ["lost sight of"]


def test_off_is_believed_when_it_was_said_twice(rack: Rack) -> None:
    rack.says(PowerState.OFF, PowerState.ON)
    flapped = servers.read_twice(rack.server.pk)
    rack.says(PowerState.OFF, PowerState.OFF)
    stood_still = servers.read_twice(rack.server.pk)

    assert (flapped, stood_still) == (Power.ON, Power.OFF)


# ── What is refused ──────────────────────────────────────────────────────────

REFUSED = PowerError("The BMC refused the user name or the password. Enter them anew.", permanent=True)


def test_bmc_that_refused_the_password_is_left_alone_for_a_quarter_of_an_hour(rack: Rack) -> None:
    rack.says(REFUSED)
    tries = [rack.reads(seconds, passes_per_second=0.05) for seconds in (60, 13 * 60, 3 * 60)]

    assert tries == [1, 0, 1]
    assert rack.server.power == Power.UNKNOWN
    assert rack.server.power_error == f"{REFUSED} It is tried again every 15 minutes, and when somebody asks."


def test_bmc_that_refused_is_asked_as_soon_as_somebody_asks(rack: Rack) -> None:
    rack.says(REFUSED)
    rack.look(11)

    actions.look_now(rack.array, by=rack.operator)
    asked, later = rack.reads(1), rack.reads(600, passes_per_second=0.05)

    assert (asked, later) == (1, 0)


@pytest.mark.parametrize(
    "change", [{"password": "right"}, {"username": "admin"}, {"trust": "pinned", "certificate": "0" * 64}, None]
)
def test_bmc_that_refused_is_asked_once_when_an_administrator_asks_or_enters_what_it_is_asked_with(
    rack: Rack, settings: Settings, change: dict[str, object] | None
) -> None:
    settings.RECONCILE_STEPS = ["editor.connection.jobs", "editor.servers.jobs"]
    ada = factories.make_admin()
    stated = {name: getattr(rack.server, name) for name in entries.STATED} | {"username": "root", "password": "wrong"}
    rack.says(REFUSED)
    inventory.change(rack.server, entries.Entry(**stated), by=ada)
    rack.look(11)
    before = len(rack.bmcs.reads)

    if change:
        inventory.change(rack.server, entries.Entry(**stated | change), by=ada)
    else:
        inventory.ask_checks(Server.objects.all(), by=ada)
    rack.look()
    refused_again = len(rack.bmcs.reads) - before
    rack.reads(600, passes_per_second=0.05)

    assert (refused_again, len(rack.bmcs.reads) - before) == (1, 1)
    assert rack.server.check_error == str(REFUSED)


def test_right_password_is_seen_to_be_right_at_once(rack: Rack, settings: Settings) -> None:
    settings.RECONCILE_STEPS = ["editor.connection.jobs", "editor.servers.jobs"]
    stated = {name: getattr(rack.server, name) for name in entries.STATED}
    rack.says(REFUSED)
    rack.look(11)
    rack.says(PowerState.ON)

    inventory.change(
        rack.server, entries.Entry(**stated | {"username": "root", "password": "right"}), by=factories.make_admin()
    )
    rack.look(0.1)

    assert (rack.server.power, rack.server.power_error, rack.server.power_seen_at) == (Power.ON, "", rack.clock())
    assert rack.reads(60, passes_per_second=0.1) > 3


def test_command_ends_at_its_time_limit_though_the_bmc_refuses_by_then(rack: Rack) -> None:
    actions.hard_power_off(rack.instance, by=rack.operator)
    rack.look(0.1)
    rack.says(REFUSED)
    rack.reads(110, passes_per_second=0.1)
    running = rack.server.power_command
    tries = rack.reads(30, passes_per_second=0.2)

    assert (running, rack.server.power_command, tries) == (PowerCommand.HARD_POWER_OFF, "", 1)


def test_refusal_is_over_when_the_clock_was_set_back(rack: Rack) -> None:
    rack.says(REFUSED)
    rack.look(11)
    rack.clock.advance(-7200)

    assert rack.reads(10) == 1


def test_password_that_is_locked_up_here_is_tried_at_the_pace_of_silence(rack: Rack) -> None:
    Server.objects.update(username="root", password_sealed="damaged")
    rack.reads(120, passes_per_second=0.05)
    error = rack.server.power_error
    Server.objects.update(username="", password_sealed="")
    rack.reads(120, passes_per_second=0.05)

    assert "tried again" not in error
    assert (rack.server.power, rack.bmcs.reads != []) == (Power.ON, True)
