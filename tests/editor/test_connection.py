"""Checking a connection: the worker has the BMC describe itself, and stores that or the reason."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from editor import connection, entries, inventory, servers
from editor.models import Event, Power, Server, User
from editor.power import Bmc, Description, PowerError
from editor.reconcile import Worker
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return factories.make_admin()


def look() -> None:
    Worker(since=timezone.now() - timedelta(days=1)).run_until_quiet()


def test_free_server_is_described_and_read(ada: User) -> None:
    server = factories.make_free_server("S-7")

    inventory.ask_checks(Server.objects.all(), by=ada)
    look()

    server.refresh_from_db()
    assert server.described == connection.as_json(servers.driver_of(server).describe(servers.bmc_of(server)))
    assert (server.power, server.check_error, server.check_asked_at) == (Power.OFF, "", None)
    assert server.checked_at
    assert not Event.objects.exists()


def test_silent_bmc_says_why(ada: User) -> None:
    server = factories.make_free_server(options="bmc=silent")

    inventory.ask_checks(Server.objects.all(), by=ada)
    look()

    server.refresh_from_db()
    assert (server.check_error, server.described) == ("The BMC of this server does not answer.", None)
    assert (server.power, server.power_error) == (Power.UNKNOWN, server.check_error)
    assert "no route to host" in server.check_detail


def test_bmc_that_cannot_describe_itself_is_still_believed_about_power(
    ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = factories.make_instance_array(factories.make_infrastructure(), count=1, power=Power.ON)
    server = Server.objects.get(instance__instance_array=array)

    class Taciturn:
        def describe(self, bmc: Bmc) -> Description:
            raise PowerError("The BMC did not answer in time.")

    inventory.ask_checks(Server.objects.all(), by=ada)
    with monkeypatch.context() as patched:
        patched.setattr(servers, "driver_of", lambda _: Taciturn())
        connection.check(server.pk)

    server.refresh_from_db()
    assert (server.check_error, server.check_asked_at) == ("The BMC did not answer in time.", None)
    assert (server.power, server.power_error) == (Power.ON, "")
    assert not Event.objects.told().exists()


def test_what_is_said_of_a_password_is_left_out(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = factories.make_free_server().server_type
    entry = entries.Entry("R-7", kind, "simulated", "simulated://r-7", "root", "hunter2")
    server = inventory.register(entry, by=ada)

    class Talkative:
        def describe(self, bmc: Bmc) -> Description:
            raise PowerError("The BMC refused.", f"401 for root:{bmc.password}@r-7")

    monkeypatch.setattr(servers, "driver_of", lambda _: Talkative())
    connection.check(server.pk)

    server.refresh_from_db()
    assert server.check_detail == "401 for root:(password)@r-7"


def test_server_that_was_changed_meanwhile_is_checked_again(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    server = factories.make_free_server("S-7")
    driver = servers.driver_of(server)
    entry = entries.Entry("S-7", server.server_type, "simulated", "simulated://elsewhere")

    class Slow:
        def describe(self, bmc: Bmc) -> Description:
            inventory.change(server, entry, by=ada)
            return driver.describe(bmc)

    with monkeypatch.context() as patched:
        patched.setattr(servers, "driver_of", lambda _: Slow())
        connection.check(server.pk)
    server.refresh_from_db()
    assert (server.described, server.power) == (None, Power.UNKNOWN)
    assert server.check_asked_at

    look()

    server.refresh_from_db()
    assert server.described
    assert server.check_asked_at is None


def test_many_that_wait_do_not_take_all_threads(ada: User) -> None:
    for _ in range(connection.SIDE_BY_SIDE + 3):
        factories.make_free_server()
    inventory.ask_checks(Server.objects.all(), by=ada)

    assert len(list(connection.jobs(timezone.now(), timezone.now()))) == connection.SIDE_BY_SIDE
    look()

    assert not Server.objects.filter(checked_at=None).exists()
