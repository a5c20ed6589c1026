"""Two administrators, or an administrator and somebody else, at the same moment: exactly one gets through."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections, transaction

from editor import actions, entries, imports, inventory, replacement
from editor.models import Instance, PowerCommand, Server, ServerType, User
from editor.rules import Refused
from tests import factories
from tests.together import WAIT_SECONDS, together, until_waiting

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]


@pytest.fixture
def ada() -> User:
    return factories.make_admin()


@pytest.fixture
def kind() -> ServerType:
    return ServerType.objects.create(label="M.16.64", cores=16, ram_gb=64)


def test_two_servers_do_not_get_one_bmc(ada: User, kind: ServerType) -> None:
    bea = factories.make_admin("Bea Min")
    first = entries.Entry("R-1", kind, "simulated", "simulated://rack-7")
    text = "serial,server_type,address\nR-2,M.16.64,simulated://rack-7\n"
    seen = imports.plan(text).fingerprint

    ended = together(
        lambda: inventory.register(first, by=ada),
        lambda: imports.carry_out(text, fingerprint=seen, by=bea),
    )

    assert Server.objects.count() == 1
    assert sorted(map(bool, ended)) == [False, True]


def test_of_two_imports_of_one_file_one_is_done(ada: User, kind: ServerType) -> None:
    text = "serial,server_type,address\nR-1,M.16.64,simulated://r-1\n"
    seen = imports.plan(text).fingerprint

    def run() -> Any:
        return imports.carry_out(text, fingerprint=seen, by=ada)

    ended = together(run, run)

    assert sorted(ended) == ["", "What this import would do has changed while you were reading. Look at it again."]
    assert Server.objects.get().revision == 1


@pytest.mark.parametrize("first", ["replace", "power on"])
def test_of_a_replacement_and_a_power_on_one_gets_through(first: str, ada: User) -> None:
    olga = factories.make_user("Olga Own")
    factories.make_instance_array(factories.make_infrastructure(olga), count=1)
    instance, new = Instance.objects.get(), factories.make_free_server()
    calls: list[Callable[[], object]] = [
        lambda: inventory.ask_replace(instance, new, by=ada, drain=True),
        lambda: actions.power_on(instance, by=olga),
    ]

    ended = together(*(calls if first == "replace" else reversed(calls)))

    new.refresh_from_db()
    old = Server.objects.get(instance=instance)
    assert sorted(map(bool, ended)) == [False, True]
    assert (new.replaces_id is None) is (old.power_command == PowerCommand.POWER_ON)


def test_server_that_is_being_replaced_is_not_powered_on_afterwards(ada: User) -> None:
    olga = factories.make_user("Olga Own")
    factories.make_instance_array(factories.make_infrastructure(olga), count=1)
    instance, new = Instance.objects.get(), factories.make_free_server()
    old = Server.objects.get(instance=instance)
    inventory.ask_replace(instance, new, by=ada, drain=True)

    def power_on() -> str:
        try:
            actions.power_on(instance, by=olga)
        except Refused as refused:
            return str(refused)
        finally:
            connections.close_all()
        return ""

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            list(Server.objects.select_for_update())
            waiting = pool.submit(power_on)
            until_waiting(1, [waiting])
            replacement.carry_out(new.pk)
        waiting.result(WAIT_SECONDS)

    old.refresh_from_db()
    assert Instance.objects.get().server == new
    assert old.power_command == ""


def test_one_free_server_replaces_one_only(ada: User) -> None:
    factories.make_instance_array(factories.make_infrastructure(ada), count=2)
    first, second = Instance.objects.all()
    new = factories.make_free_server()

    ended = together(
        lambda: inventory.ask_replace(first, new, by=ada, drain=True),
        lambda: inventory.ask_replace(second, new, by=ada, drain=True),
    )

    assert sorted(ended) == ["", f"{new} is not free any more. Choose another one."]
    assert Server.objects.exclude(hold="").count() == 1
