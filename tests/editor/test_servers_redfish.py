"""Instances on servers whose BMC speaks Redfish: from what somebody asks to what the BMC is sent, and back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from editor import actions, sealed
from editor.models import Event, Instance, Power, Server
from editor.reconcile import Worker
from tests import factories
from tests.clock import Clock, clock  # noqa: F401 - a fixture
from tests.contracts.certificates import issue
from tests.contracts.redfish_device import RESET, SESSIONS, SYSTEM, Answer, Device, running, system

PASSWORD = "Gelb: 7 Ähren"

pytestmark = pytest.mark.django_db


class Rack:
    """One instance, whose server is a made-up device behind TLS."""

    def __init__(self, device: Device, fingerprint: str, clock: Clock) -> None:  # noqa: F811
        self.device = device
        self.clock = clock
        self.owner = factories.make_user("Olga Own")
        array = factories.make_instance_array(factories.make_infrastructure(self.owner), count=1, power=Power.ON)
        self.pk = array.instances.get().pk
        Server.objects.update(
            driver="redfish",
            address=device.origin,
            username="operator",
            password_sealed=sealed.first_key().seal(PASSWORD),
            trust="pinned",
            certificate=fingerprint,
        )
        self.worker = Worker()

    @property
    def instance(self) -> Instance:
        return Instance.objects.select_related("server", "instance_array").get(pk=self.pk)

    def look(self, power: object) -> Power:
        """Has the BMC say so from now on, lets a minute pass and the worker look; answers what people are shown."""
        self.device.answers[f"GET {SYSTEM}"] = system(power)
        self.clock.advance(59)
        self.worker.one_pass(self.clock())
        return self.instance.shown_power


@pytest.fixture
def rack(clock: Clock) -> Iterator[Rack]:  # noqa: F811
    device, certificate = Device(), issue("bmc")
    with running(device, certificate.served()):
        yield Rack(device, certificate.fingerprint, clock)


def test_command_reaches_the_bmc_and_ends_when_the_bmc_says_so(rack: Rack) -> None:
    before = rack.look("On")
    actions.hard_power_off(rack.instance, by=rack.owner)
    meanwhile, after = rack.look("On"), rack.look("Off")

    assert [before, meanwhile, after] == [Power.ON, Power.SHUTTING_DOWN, Power.OFF]
    assert [one.body for one in rack.device.requests if one.path == RESET] == ['{"ResetType": "ForceOff"}']
    assert Event.objects.told().order_by("pk").last().verb == "forced off"


def test_command_whose_answer_got_lost_is_waited_for(rack: Rack) -> None:
    rack.look("Off")
    rack.device.answers[f"POST {RESET}"] = lambda handler: handler.connection.close()
    actions.power_on(rack.instance, by=rack.owner)
    meanwhile = rack.look("Off")
    command = Server.objects.get().power_command
    after = rack.look("On")

    assert [meanwhile, command, after] == [Power.POWERING_ON, "power_on", Power.ON]
    assert Event.objects.told().order_by("pk").last().verb == "powered on"


def test_bmc_that_answers_without_a_state_says_so(rack: Rack) -> None:
    before, after = rack.look("On"), rack.look(None)

    assert [before, after] == [Power.ON, Power.UNKNOWN]
    assert Server.objects.get().power_error == "The BMC answers, but does not say whether the server is on."


def test_password_stays_between_the_bmc_and_the_worker(rack: Rack, caplog: pytest.LogCaptureFixture) -> None:
    rack.look("On")
    del rack.device.answers[f"POST {RESET}"]
    actions.reset(rack.instance, by=rack.owner)
    rack.look("On")

    kept = [*Event.objects.values(), *Server.objects.values()]
    assert any("Authorization" in one.headers for one in rack.device.requests)
    assert Event.objects.filter(verb="could not send Reset to").exists()
    assert not any(PASSWORD in f"{row}" for row in kept)
    assert PASSWORD not in caplog.text


def test_wrong_password_is_tried_once_in_a_quarter_of_an_hour(rack: Rack) -> None:
    """BMCs lock users out."""
    rack.device.offer_sessions()
    rack.device.answers[f"POST {SESSIONS}"] = Answer({}, 401)

    shown = {rack.look("On") for _ in range(15)}
    tries = rack.device.asked().count(f"POST {SESSIONS}")
    rack.look("On")
    rack.look("On")

    assert (shown, tries, rack.device.asked().count(f"POST {SESSIONS}")) == ({Power.UNKNOWN}, 1, 2)
