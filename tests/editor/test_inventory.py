"""Servers are registered, changed and drained by administrators; credentials go in and never come out."""

from __future__ import annotations

import io
import logging
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.utils import timezone

from editor import entries, inventory, sealed, servers
from editor.models import Event, Power, PowerCommand, Server, ServerType, Trust, User
from editor.power import Bmc, PowerError
from editor.power import Trust as DriverTrust
from editor.reconcile import Worker
from editor.rules import Refused
from editor.server_rules import clean_address, why_not_address, why_not_certificate, why_not_serial
from tests import factories

pytestmark = pytest.mark.django_db

SECRET = "correct horse; battery"
FINGERPRINT = ":".join(["AB"] * 32)


@pytest.fixture
def ada() -> User:
    return factories.make_admin()


@pytest.fixture
def entry() -> entries.Entry:
    server_type = ServerType.objects.create(label="M.16.64", cores=16, ram_gb=64)
    return entries.Entry("R-7", server_type, "simulated", "simulated://r-7", "root", SECRET)


@pytest.fixture
def stored(entry: entries.Entry, ada: User) -> Server:
    return inventory.register(entry, by=ada)


# ── Credentials ──────────────────────────────────────────────────────────────


def test_driver_gets_what_was_stated(entry: entries.Entry, ada: User) -> None:
    entry = replace(entry, trust=Trust.PINNED, certificate=FINGERPRINT.lower().replace(":", ""), plain_http=True)

    server = inventory.register(entry, by=ada)

    expected = Bmc("simulated://r-7", "root", SECRET, DriverTrust.PINNED, FINGERPRINT, plain_http=True)
    assert servers.bmc_of(Server.objects.get(pk=server.pk)) == expected


def test_password_is_in_no_column_no_text_and_no_log(
    stored: Server, ada: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    web = factories.make_instance_array(factories.make_infrastructure(ada), count=1)
    server = Server.objects.get(instance__instance_array=web)
    entry = entries.Entry(server.serial, server.server_type, "simulated", server.address, "root", SECRET)

    inventory.change(server, entry, by=ada)
    Worker().one_pass(timezone.now())

    written = [*Server.objects.values_list(), *Event.objects.values_list(), *LogEntry.objects.values_list()]
    assert "battery" not in f"{written} {caplog.text} {entry!r} {servers.bmc_of(stored)!r}"
    assert Event.objects.told().order_by("pk")[0].text == "user name, password"


def test_password_that_is_not_typed_is_kept(stored: Server, entry: entries.Entry, ada: User) -> None:
    inventory.change(stored, replace(entry, password=None, username="admin"), by=ada)

    bmc = servers.bmc_of(Server.objects.get())
    assert (bmc.username, bmc.password) == ("admin", SECRET)


def test_password_goes_with_its_user(stored: Server, entry: entries.Entry, ada: User) -> None:
    inventory.change(stored, replace(entry, password=None, username=""), by=ada)

    assert Server.objects.get().password_sealed == ""


@pytest.mark.parametrize(
    "change", [{"address": "simulated://elsewhere"}, {"plain_http": True}], ids=["address", "plain http"]
)
def test_kept_password_is_not_sent_where_others_could_read_it(
    change: dict[str, Any], stored: Server, entry: entries.Entry, ada: User
) -> None:
    with pytest.raises(Refused, match="Type the password again"):
        inventory.change(stored, replace(entry, password=None, **change), by=ada)

    inventory.change(stored, replace(entry, **change), by=ada)
    assert servers.bmc_of(Server.objects.get()).password == SECRET


def test_lost_key_is_an_error_of_power_and_the_worker_goes_on(stored: Server, ada: User) -> None:
    other = factories.make_free_server()
    sealed.key_file().unlink()
    Server.objects.update(check_asked_at=None)

    with pytest.raises(PowerError) as error:
        servers.bmc_of(stored)
    for server in (stored, other):
        servers.read(server.pk)

    assert error.value.permanent
    stored.refresh_from_db()
    other.refresh_from_db()
    assert stored.power_error == "The key to the sealed passwords is missing. An administrator must put it back."
    assert (stored.power, other.power, other.power_error) == (Power.UNKNOWN, Power.OFF, "")


def test_lost_key_is_not_silently_replaced(stored: Server, entry: entries.Entry, ada: User) -> None:
    sealed.key_file().rename(sealed.key_file().with_suffix(".away"))

    with pytest.raises(Refused, match=r"is missing.*It belongs at .*secrets\.key; “manage\.py rekey” makes a new one"):
        inventory.change(stored, replace(entry, password="another"), by=ada)

    sealed.key_file().with_suffix(".away").rename(sealed.key_file())
    assert servers.bmc_of(Server.objects.get()).password == SECRET


def test_rekey_seals_what_it_can_open_and_names_the_rest(stored: Server, entry: entries.Entry, ada: User) -> None:
    out = io.StringIO()
    before = Server.objects.get().password_sealed

    call_command("rekey", stdout=out)
    after = Server.objects.get().password_sealed
    sealed.key_file().write_text(sealed.key_file().read_text().split()[0])

    assert out.getvalue().startswith("1 password sealed with a new key: ")
    assert after != before
    assert servers.bmc_of(Server.objects.get()).password == SECRET

    sealed.key_file().unlink()
    call_command("rekey", stdout=out)

    assert out.getvalue().endswith("No key opens the passwords of 1 server. Type them again at /admin/:\n  R-7\n")
    inventory.change(stored, replace(entry, password="another"), by=ada)
    assert servers.bmc_of(Server.objects.get()).password == "another"


# ── What may be stated ───────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("address", "plain_http", "says"),
    [
        ("https://bmc-7.example.org", False, None),
        ("https://[2001:db8::7]:8443/redfish/v1/Systems/System.Embedded.1", False, None),
        ("https://bmc-7/redfish/v1/Systems/..", False, "only the path of a system may follow"),
        ("http://bmc-7", True, None),
        ("http://bmc-7", False, "http:// sends the password readably."),
        ("https://root:hunter2@bmc-7", False, "Leave user name and password out of the address"),
        ("https://bmc-7/redfish/v1/Chassis/1", False, "only the path of a system may follow"),
        ("https://bmc-7?debug=1", False, "only the path of a system may follow"),
        ("https://bmc-7:99999", False, "Write it like https://bmc-7.example.org"),
        ("https://bmc 7", False, "Write it like"),
        ("ftp://bmc-7", False, "Write it like"),
        ("bmc-7", False, "Write it like"),
        ("https://" + "b" * 200, False, "at most 200"),
        ("", False, "Say where the BMC is."),
    ],
)
def test_redfish_address(address: str, plain_http: bool, says: str | None) -> None:
    answer = why_not_address("redfish", address, plain_http=plain_http)

    assert (answer is None) if says is None else (says in (answer or ""))
    assert "hunter2" not in (answer or "")


def test_address_of_one_bmc_is_written_in_one_way() -> None:
    ways = [" https://BMC-7.example.org", "https://bmc-7.example.org:443/", "https://bmc-7.example.org./redfish/v1/"]

    assert {clean_address("redfish", way) for way in ways} == {"https://bmc-7.example.org"}


@pytest.mark.parametrize(
    ("trust", "certificate", "says"),
    [
        (Trust.SYSTEM, "", None),
        (Trust.SYSTEM, FINGERPRINT, "Choose what this certificate is for"),
        (Trust.PINNED, FINGERPRINT, None),
        (Trust.PINNED, f"SHA256 Fingerprint={FINGERPRINT}", None),
        (Trust.PINNED, "AB" * 20, "no SHA-256 fingerprint of 64 hex digits"),
        (Trust.PINNED, "", "Give the certificate, or its fingerprint."),
        (Trust.AUTHORITY, FINGERPRINT, "This is no certificate in PEM form"),
        (Trust.AUTHORITY, "-----BEGIN PRIVATE KEY-----", "This holds a private key"),
    ],
)
def test_certificate(trust: Trust, certificate: str, says: str | None) -> None:
    answer = why_not_certificate(trust, certificate)

    assert (answer is None) if says is None else (says in (answer or ""))


@pytest.mark.parametrize("serial", ["=1+1", "-7", "@x", "R\t7", '"R-7"', "", " ", "R" * 41, "Ä-7"])
def test_serial_is_no_formula(serial: str) -> None:
    assert "A serial has at most 40" in (why_not_serial(serial) or "")


def test_systems_of_one_bmc_are_several_servers() -> None:
    register = entries.Register()
    register.add("A-1", "redfish", "https://bmc/redfish/v1/Systems/1")

    says = [
        register.why_not_bmc("redfish", f"https://bmc{path}")
        for path in ("/redfish/v1/Systems/2", "/redfish/v1/Systems/1", "", ":8443")
    ]

    assert says == [
        None,
        "A-1 has this address already. Two servers cannot share a BMC.",
        "A-1 is at this BMC already. If it has several systems, write the path of each.",
        None,
    ]


def test_serial_and_bmc_are_one_servers(stored: Server, entry: entries.Entry, ada: User) -> None:
    with pytest.raises(Refused, match=r"There is a server with this serial already\. R-7 has this address already\."):
        inventory.register(entry, by=ada)


def test_only_administrators_keep_servers(entry: entries.Entry, stored: Server) -> None:
    wei = factories.make_user("Wei Chen")

    for act in (
        lambda: inventory.register(entry, by=wei),
        lambda: inventory.change(stored, entry, by=wei),
        lambda: inventory.set_drained(stored, drained=True, by=wei),
        lambda: inventory.ask_checks(Server.objects.all(), by=wei),
    ):
        with pytest.raises(Refused, match=r"Only administrators keep servers\. Ask one\."):
            act()


def test_bmc_stays_where_something_waits_for_it(ada: User) -> None:
    web = factories.make_instance_array(factories.make_infrastructure(ada), count=1)
    server = Server.objects.get(instance__instance_array=web)
    entry = entries.Entry(server.serial, server.server_type, "simulated", "simulated://elsewhere")
    Server.objects.update(power_command=PowerCommand.SOFT_SHUTDOWN)

    with pytest.raises(Refused, match=r"is waiting for Soft Shutdown\. Try again later\."):
        inventory.change(server, entry, by=ada)


def test_answer_from_an_old_address_is_dropped(
    stored: Server, entry: entries.Entry, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = servers.driver_of(stored)

    class Slow:
        def read(self, bmc: Bmc) -> object:
            inventory.change(stored, replace(entry, address="simulated://elsewhere"), by=ada)
            return driver.read(bmc)

    monkeypatch.setattr(servers, "driver_of", lambda _: Slow())
    servers.read(stored.pk)

    stored.refresh_from_db()
    assert (stored.power, stored.power_error) == (Power.UNKNOWN, entries.MOVED)


# ── Drained ──────────────────────────────────────────────────────────────────


def test_drained_server_is_not_free_and_the_instance_on_it_stays(ada: User) -> None:
    web = factories.make_instance_array(factories.make_infrastructure(ada), count=1)
    free, used = factories.make_free_server(), Server.objects.get(instance__instance_array=web)

    assert [inventory.set_drained(one, drained=True, by=ada) for one in (free, free, used)] == [True, False, True]

    assert not Server.objects.free().exists()
    assert web.instances.get().server == used
    assert list(Event.objects.told().values_list("verb", "subject")) == [("drained", used.serial)]

    inventory.set_drained(free, drained=False, by=ada)
    assert list(Server.objects.free()) == [free]
