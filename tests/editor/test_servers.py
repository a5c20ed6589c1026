"""Power: what is asked, what a BMC says, and what a person is told, with a clock that tests set."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from editor import actions, readings, servers
from editor.entries import MOVED
from editor.models import Event, Instance, Power, Server, User
from editor.power import PowerCommand
from editor.reconcile import Worker
from editor.rules import Refused
from editor.sightings import Sightings
from tests import factories
from tests.clock import Clock, clock  # noqa: F401 - a fixture


class Rack:
    """One instance on one simulated server, and a worker that is driven by hand."""

    def __init__(self, clock: Clock, options: str = "") -> None:  # noqa: F811
        self.clock = clock
        self.operator: User = factories.make_user("Otto Op")
        self.viewer: User = factories.make_user("Vera View")
        self.infrastructure = factories.make_infrastructure(operator=self.operator, viewer=self.viewer)
        array = factories.make_instance_array(self.infrastructure, count=1, power=Power.ON, options=options)
        self.pk = array.instances.get().pk
        self.worker = Worker()
        self.look()

    @property
    def instance(self) -> Instance:
        return Instance.objects.select_related("server", "instance_array").get(pk=self.pk)

    def server(self) -> Server:
        server = self.instance.server
        assert server is not None
        return server

    def shown(self) -> Power:
        return self.instance.shown_power

    def look(self, after_seconds: float = 0) -> None:
        """Lets time pass, then lets the worker look once."""
        self.clock.advance(after_seconds)
        self.worker.one_pass(self.clock())

    def told(self) -> list[tuple[str, str]]:
        """The Events a person reads, oldest first."""
        return [(event.verb, event.text) for event in Event.objects.told().order_by("pk")]


@pytest.fixture
def rack(db: None, clock: Clock) -> Rack:  # noqa: F811
    return Rack(clock)


def test_soft_shutdown_goes_from_on_over_shutting_down_to_off(rack: Rack) -> None:
    assert rack.shown() == Power.ON

    actions.soft_shut_down(rack.instance, by=rack.operator)
    assert rack.shown() == Power.SHUTTING_DOWN
    rack.look(0.1)
    rack.look(2)
    assert rack.shown() == Power.SHUTTING_DOWN
    rack.look(6)

    assert (rack.shown(), rack.server().power_command) == (Power.OFF, "")
    assert rack.told() == [("asked for a soft shutdown of", ""), ("shut down", "web-1 is off after 0:08.")]


def test_power_on_goes_from_off_over_powering_on_to_on(db: None, clock: Clock) -> None:  # noqa: F811
    rack = Rack(clock)
    actions.hard_power_off(rack.instance, by=rack.operator)
    rack.look(0.1)
    rack.look(2)
    assert rack.shown() == Power.OFF

    actions.power_on(rack.instance, by=rack.operator)
    assert rack.shown() == Power.POWERING_ON
    rack.look(0.1)
    assert rack.shown() == Power.POWERING_ON
    rack.look(5)

    assert rack.shown() == Power.ON


def test_reset_ends_when_the_machine_is_back(rack: Rack) -> None:
    actions.reset(rack.instance, by=rack.operator)
    rack.look(0.1)
    assert rack.shown() == Power.POWERING_ON
    rack.look(11)

    assert (rack.shown(), rack.server().power_command) == (Power.ON, "")
    assert rack.told()[-1] == ("reset", "web-1 is on after 0:11.")


def test_reset_that_nobody_saw_is_not_called_a_restart(clock: Clock) -> None:  # noqa: F811
    sent = Server(power=Power.ON, power_command=PowerCommand.RESET, power_asked_at=clock(), power_sent_at=clock())

    at_once = readings.judge(sent, Power.ON, clock() + timedelta(seconds=1), label="web-1")
    later = readings.judge(sent, Power.ON, clock() + timedelta(seconds=4), label="web-1")

    assert at_once == readings.Outcome()
    assert later == readings.Outcome(
        ended=True,
        verb="sent a reset to",
        text="Its BMC took it, and web-1 is on after 0:04. Nobody saw it restart in between.",
    )


def test_ignored_soft_shutdown_says_so_and_is_never_forced(db: None, clock: Clock) -> None:  # noqa: F811
    rack = Rack(clock, "soft=ignored")
    actions.soft_shut_down(rack.instance, by=rack.operator)
    rack.look(0.1)
    rack.look(60)
    rack.look(59)
    assert not rack.server().power_overdue

    rack.look(2)

    assert (rack.server().power_overdue, rack.server().power) == (True, "on")
    assert rack.told()[-1] == (
        "still waits for",
        "web-1 is still on after 2:01. The operating system has not finished stopping.",
    )
    rack.look(3600)
    assert (rack.server().power, len(rack.told())) == ("on", 2)


def test_overdue_shutdown_can_be_given_time_forced_or_given_up(db: None, clock: Clock) -> None:  # noqa: F811
    rack = Rack(clock, "soft=ignored")
    actions.soft_shut_down(rack.instance, by=rack.operator)
    rack.look(0.1)
    rack.look(121)

    actions.keep_waiting(rack.instance, by=rack.operator)
    assert not rack.server().power_overdue
    rack.look(0.1)
    rack.look(121)
    assert rack.server().power_overdue
    actions.leave_on(rack.instance, by=rack.operator)
    assert (rack.shown(), rack.server().power_command) == (Power.ON, "")
    with pytest.raises(Refused, match="web-1 is not shutting down any more"):
        actions.keep_waiting(rack.instance, by=rack.operator)
    actions.soft_shut_down(rack.instance, by=rack.operator)
    actions.hard_power_off(rack.instance, by=rack.operator)
    rack.look(0.1)
    rack.look(3)

    assert rack.shown() == Power.OFF


def test_silent_bmc_shows_unknown_with_the_reason_and_blocks(db: None, clock: Clock) -> None:  # noqa: F811
    rack = Rack(clock)
    seen_at = rack.server().power_seen_at
    Server.objects.update(address=rack.server().address + "&bmc=silent")

    rack.look(11)

    assert rack.shown() == Power.UNKNOWN
    assert rack.server().power_error == "The BMC of this server does not answer."
    assert rack.server().power_seen_at == seen_at
    for act in (actions.soft_shut_down, actions.power_on, actions.hard_power_off, actions.reset):
        with pytest.raises(Refused, match=r"Power state of web-1 is unknown\. The BMC of this server does not answer"):
            act(rack.instance, by=rack.operator)


def test_command_a_bmc_does_not_take_is_told_in_place(rack: Rack) -> None:
    actions.soft_shut_down(rack.instance, by=rack.operator)
    Server.objects.update(address=rack.server().address + "&bmc=silent")

    rack.look(0.1)

    trouble = rack.server().trouble
    assert trouble is not None
    assert (trouble.verb, trouble.text) == (
        "could not send Soft Shutdown to",
        "The BMC of this server does not answer.",
    )
    assert rack.server().power_command == ""


def test_command_whose_effect_nobody_can_see_is_not_called_done(rack: Rack) -> None:
    actions.soft_shut_down(rack.instance, by=rack.operator)
    rack.look(0.1)
    Server.objects.update(address=rack.server().address + "&bmc=silent")
    rack.look(1)
    assert rack.shown() == Power.UNKNOWN

    rack.look(200)

    trouble = rack.server().trouble
    assert trouble is not None
    assert trouble.text.endswith("Whether web-1 obeyed is not known.")


def test_switch_at_the_machine_is_noticed(rack: Rack) -> None:
    servers.driver_of(rack.server()).send(servers.bmc_of(rack.server()), PowerCommand.HARD_POWER_OFF)

    rack.look(11)

    assert rack.shown() == Power.OFF
    assert rack.told() == [("noticed a change of", "web-1 is off. Nobody asked here.")]


def test_reading_that_changes_nothing_writes_no_event(rack: Rack) -> None:
    before = Event.objects.count()

    for _ in range(5):
        rack.look(11)

    assert Event.objects.count() == before
    assert rack.server().power_seen_at == rack.clock()


def test_readings_that_change_nothing_are_written_together(rack: Rack) -> None:
    factories.make_instance_array(rack.infrastructure, "many", count=20, power=Power.ON)
    rack.look(11)

    with CaptureQueriesContext(connection) as queries:
        rack.look(11)

    writes = [query["sql"] for query in queries if not query["sql"].startswith("SELECT")]
    assert [sql.partition(" SET ")[0] for sql in writes] == ['UPDATE "editor_server"']
    assert set(Server.objects.values_list("power_seen_at", flat=True)) == {rack.clock()}


def test_time_stored_for_readings_written_together_is_never_ahead(rack: Rack) -> None:
    factories.make_instance_array(rack.infrastructure, "other", count=1, power=Power.ON)
    first, second = Server.objects.order_by("pk")
    start = rack.clock()
    rack.clock.advance(6)
    sightings = Sightings()

    sightings.note(first.pk, start + timedelta(seconds=5))
    sightings.note(second.pk, start + timedelta(seconds=6))
    sightings.write(lambda: False)
    sightings.note(first.pk, start + timedelta(seconds=4))
    sightings.write(lambda: False)

    assert set(Server.objects.values_list("power_seen_at", flat=True)) == {start + timedelta(seconds=5)}


def test_bmc_that_was_moved_counts_as_never_seen_until_the_new_one_answers(rack: Rack) -> None:
    sightings = Sightings()
    sightings.note(rack.server().pk, rack.clock())
    moved = {"power": Power.UNKNOWN, "power_seen_at": None, "power_error": MOVED, "address": "simulated://elsewhere"}
    Server.objects.update(**moved)

    sightings.write(lambda: False)

    assert rack.server().power_seen_at is None


def test_command_nobody_could_send_in_time_is_dropped(rack: Rack) -> None:
    actions.soft_shut_down(rack.instance, by=rack.operator)

    rack.look(61)

    assert (rack.shown(), rack.server().power_command) == (Power.ON, "")
    trouble = rack.server().trouble
    assert trouble is not None
    assert trouble.text.startswith("It waited for a minute and no BMC is known to have taken it.")


@pytest.mark.parametrize(
    ("fields", "refusals"),
    [
        ({"power": "on"}, {"power_on": "web-1 is already on."}),
        (
            {"power": "off"},
            {
                "soft_shut_down": "web-1 is already off.",
                "hard_power_off": "web-1 is already off.",
                "reset": "web-1 is off. Power it on instead.",
            },
        ),
        (
            {"power": "on", "power_command": "soft_shutdown"},
            {
                "soft_shut_down": "web-1 is shutting down already.",
                "power_on": "web-1 is shutting down. Wait until that is done.",
                "reset": "web-1 is shutting down. Wait until that is done.",
            },
        ),
        (
            {"power": "off", "power_command": "power_on"},
            {
                "soft_shut_down": "web-1 is powering on. Wait until that is done.",
                "power_on": "web-1 is powering on. Wait until that is done.",
                "reset": "web-1 is powering on. Wait until that is done.",
            },
        ),
        (
            {"power": "on", "power_command": "hard_power_off"},
            {
                "soft_shut_down": "web-1 is being forced off. Wait until that is done.",
                "power_on": "web-1 is being forced off. Wait until that is done.",
                "hard_power_off": "web-1 is being forced off. Wait until that is done.",
                "reset": "web-1 is being forced off. Wait until that is done.",
            },
        ),
    ],
)
def test_what_can_be_asked_in_which_state(rack: Rack, fields: dict[str, str], refusals: dict[str, str]) -> None:
    found = {}
    for name in ("soft_shut_down", "power_on", "hard_power_off", "reset"):
        Server.objects.update(**{"power_command": "", **fields})
        try:
            getattr(actions, name)(rack.instance, by=rack.operator)
        except Refused as refusal:
            found[name] = str(refusal)

    assert found == refusals


def test_viewer_switches_nothing(rack: Rack) -> None:
    with pytest.raises(Refused, match="You can look but not change anything here"):
        actions.soft_shut_down(rack.instance, by=rack.viewer)

    assert rack.server().power_command == ""


def test_same_form_asks_once(rack: Rack) -> None:
    key = uuid4()
    actions.reset(rack.instance, by=rack.operator, key=key)
    rack.look(0.1)
    rack.look(11)

    actions.reset(rack.instance, by=rack.operator, key=key)

    assert rack.server().power_command == ""


def test_double_click_on_the_answer_to_an_overdue_shutdown_does_nothing_twice(db: None, clock: Clock) -> None:  # noqa: F811
    rack = Rack(clock, "soft=ignored")
    actions.soft_shut_down(rack.instance, by=rack.operator)
    rack.look(0.1)
    rack.look(121)

    actions.keep_waiting(rack.instance, by=rack.operator)
    rack.look(0.1)
    once = rack.server()
    actions.keep_waiting(rack.instance, by=rack.operator)
    twice = rack.server()
    actions.leave_on(rack.instance, by=rack.operator)
    with pytest.raises(Refused, match="web-1 is not shutting down any more"):
        actions.leave_on(rack.instance, by=rack.operator)

    assert (twice.power_asked_at, twice.power_sent_at) == (once.power_asked_at, once.power_sent_at)
    assert once.power_sent_at is not None
    assert [verb for verb, _ in rack.told()][-2:] == ["keeps waiting for", "stopped waiting for"]


def test_double_click_on_dismiss_is_told_once(rack: Rack) -> None:
    Server.objects.update(address=rack.server().address + "&bmc=silent")
    actions.soft_shut_down(rack.instance, by=rack.operator)
    rack.look(0.1)
    assert rack.server().trouble is not None
    before = Event.objects.count()

    actions.dismiss_trouble(rack.instance, by=rack.operator)
    actions.dismiss_trouble(rack.instance, by=rack.operator)

    assert rack.server().trouble is None
    assert Event.objects.count() == before + 1
