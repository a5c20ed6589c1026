"""The pages of servers in the administration: write-only passwords, imports, checks, draining and replacing."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from editor import entries, imports, inventory, sealed, servers, sheets
from editor.models import Event, Instance, Power, Server, ServerType, User
from tests import factories

pytestmark = pytest.mark.django_db

SECRET = "hunter2 &<x>"
LIST = "/admin/editor/server/"
IMPORT = f"{LIST}import/"


@pytest.fixture
def ada() -> User:
    return factories.make_admin()


@pytest.fixture
def site(client: Client, ada: User) -> Client:
    client.force_login(ada)
    return client


@pytest.fixture
def kind() -> ServerType:
    return ServerType.objects.create(label="M.16.64", cores=16, ram_gb=64)


def form(kind: ServerType, **changes: object) -> dict[str, object]:
    stated = {"serial": "R-7", "server_type": kind.pk, "driver": "simulated", "address": "simulated://r-7"}
    return stated | {"username": "root", "password": SECRET, "trust": "system"} | changes


def page(server: Server, verb: str = "change") -> str:
    if verb in ("change", "delete", "history"):
        return reverse(f"admin:editor_server_{verb}", args=[server.pk])
    return f"{LIST}{server.pk}/{verb}/"


def text_of(response: Any) -> str:
    text: str = response.content.decode()
    return text


# ── One server ───────────────────────────────────────────────────────────────


def test_password_goes_in_and_never_comes_out(site: Client, kind: ServerType) -> None:
    site.post(f"{LIST}add/", form(kind))
    server = Server.objects.get()
    site.post(page(server), form(kind, password="another secret", seen=1))
    site.post(page(server), form(kind, password="", drained="on", seen=2))

    server.refresh_from_db()
    assert (servers.bmc_of(server).password, server.drained) == ("another secret", True)
    pages = [site.get(address) for address in (LIST, page(server), page(server, "history"), page(server, "connection"))]
    wrong = site.post(page(server), form(kind, address="", password="third secret"))
    shown = "".join(text_of(response) for response in (*pages, wrong))
    assert "One is kept, and cannot be shown. Leave this empty to keep it." in shown
    assert not re.search(r"hunter2|another secret|third secret", f"{shown} {list(LogEntry.objects.values())}")
    assert server.password_sealed not in shown


def test_refusals_stand_at_their_fields(site: Client, kind: ServerType) -> None:
    factories.make_free_server("TAKEN")
    wrong = form(kind, serial="=1+1", address="simulated://taken", username="", certificate="x")

    response = site.post(f"{LIST}add/", wrong)

    errors = response.context["adminform"].form.errors
    assert {name: texts[0][:38] for name, texts in errors.items()} == {
        "serial": "A serial has at most 40 letters, digit",
        "address": "TAKEN has this address already. Two se",
        "username": "Name the user that this password belon",
        "certificate": "Choose what this certificate is for, o",
    }
    assert Server.objects.count() == 1


def test_of_two_who_save_at_once_the_second_reads_what_the_first_wrote(site: Client, kind: ServerType) -> None:
    site.post(f"{LIST}add/", form(kind))
    server = Server.objects.get()
    bea = factories.make_admin("Bea Min")
    entry = entries.Entry("R-7", kind, "simulated", "simulated://r-8", "root", SECRET)
    inventory.change(server, entry, by=bea)

    stale = site.post(page(server), form(kind, address="simulated://r-9", seen=1))

    server.refresh_from_db()
    assert server.address == "simulated://r-8"
    said = (
        "Bea Min changed R-7 meanwhile. Stored now is BMC address: simulated://r-8. Save again to write what is below."
    )
    assert said in text_of(stale)
    assert 'name="seen" value="2"' in text_of(stale)

    site.post(page(server), form(kind, address="simulated://r-9", seen=2))
    server.refresh_from_db()
    assert server.address == "simulated://r-9"


def test_lost_key_is_told_at_the_password(site: Client, kind: ServerType) -> None:
    site.post(f"{LIST}add/", form(kind))
    sealed.key_file().unlink()

    response = site.post(page(Server.objects.get()), form(kind, password="another", seen=1))

    (error,) = response.context["adminform"].form.errors["password"]
    assert error.startswith("The key to the sealed passwords is missing.")
    assert str(sealed.key_file()) in error


def test_server_of_an_instance_is_not_deleted(site: Client, ada: User) -> None:
    factories.make_instance_array(factories.make_infrastructure(ada), count=1)
    used, free = Server.objects.get(), factories.make_free_server()

    refused = site.post(page(used, "delete"), {"post": "yes"})
    site.post(page(free, "delete"), {"post": "yes"})

    assert f"{used} runs web-1. Replace it there first" in text_of(refused)
    assert list(Server.objects.all()) == [used]


def test_staff_who_may_only_look_see_no_buttons_and_no_password(client: Client, kind: ServerType) -> None:
    inventory.register(
        entries.Entry("R-7", kind, "simulated", "simulated://r-7", "root", SECRET), by=factories.make_admin()
    )
    server = Server.objects.get()
    sam = User.objects.create_user("sam@example.org", name="Sam", is_staff=True)
    sam.user_permissions.set(Permission.objects.filter(codename="view_server"))
    client.force_login(sam)

    shown = client.get(page(server))
    refused = [
        client.post(page(server, verb), {"do": "drain"}).status_code for verb in ("connection", "replace", "change")
    ]

    assert shown.status_code == 200
    assert not re.search("hunter2|Check connection|Drain</button>", text_of(shown))
    assert server.password_sealed not in text_of(shown)
    assert refused == [403, 404, 403]
    assert client.get(page(server, "connection")).status_code == 200


# ── Connection ───────────────────────────────────────────────────────────────


def test_check_is_asked_for_and_followed(site: Client) -> None:
    server = factories.make_free_server()

    answer = site.post(page(server, "connection"), {"do": "check"}, headers={"HX-Request": "true"})
    without_script = site.post(page(server, "connection"), {"do": "check"})

    assert ("Checking…" in text_of(answer), 'hx-trigger="every 1s"' in text_of(answer)) == (True, True)
    assert (without_script.status_code, without_script["Location"]) == (302, page(server))

    Server.objects.update(check_asked_at=timezone.now() - timedelta(minutes=1))
    assert "Is a worker running?" in text_of(site.get(page(server, "connection")))

    Server.objects.update(
        check_asked_at=None, checked_at=timezone.now(), described={"model": "R740", "boot_order": ["Pxe", "Hdd"]}
    )
    done = text_of(site.get(page(server, "connection")))
    assert all(words in done for words in ("Reached just now.", "R740", "Pxe, then Hdd", "not said"))
    assert "hx-trigger" not in done


def test_many_are_checked_drained_and_returned(site: Client) -> None:
    chosen = {"_selected_action": [factories.make_free_server().pk for _ in range(3)]}

    says = [
        text_of(site.post(LIST, chosen | {"action": action}, follow=True))
        for action in ("check_selected", "drain_selected", "return_selected")
    ]

    assert "The connection of 3 servers is being checked." in says[0]
    assert "3 servers drained. Instances on them stay." in says[1]
    assert "3 servers returned to the pool." in says[2]
    assert Server.objects.free().filter(check_asked_at__isnull=False).count() == 3


def test_draining_many_is_in_the_history_of_each_that_was_changed(site: Client, ada: User) -> None:
    first, second, drained = (factories.make_free_server(serial) for serial in ("S-1", "S-2", "S-3"))
    inventory.set_drained(drained, drained=True, by=ada)
    chosen = {"_selected_action": [first.pk, second.pk, drained.pk]}

    for action in ("drain_selected", "return_selected"):
        site.post(LIST, chosen | {"action": action})

    written = LogEntry.objects.order_by("pk").values_list("user", "object_repr", "change_message")
    assert list(written) == [
        (ada.pk, "S-1", "Drained."),
        (ada.pk, "S-2", "Drained."),
        (ada.pk, "S-1", "Returned to the pool."),
        (ada.pk, "S-2", "Returned to the pool."),
        (ada.pk, "S-3", "Returned to the pool."),
    ]


def test_draining_one_is_in_its_history(site: Client) -> None:
    server = factories.make_free_server()

    for what in ("drain", "drain", "return"):
        site.post(page(server, "connection"), {"do": what})

    assert list(LogEntry.objects.order_by("pk").values_list("change_message", flat=True)) == [
        "Drained.",
        "Returned to the pool.",
    ]


# ── Replacing ────────────────────────────────────────────────────────────────


def test_replacing_is_asked_for_on_a_page_of_its_own(site: Client, ada: User) -> None:
    factories.make_instance_array(factories.make_infrastructure(ada), count=1)
    old, new = Server.objects.get(), factories.make_free_server()

    nothing = site.post(page(old, "replace"), {})
    asked = site.post(page(old, "replace"), {"server": new.pk, "drain": "on"}, follow=True)

    assert (nothing.status_code, "This field is required." in text_of(nothing)) == (422, True)
    assert f"Replacing {old} by {new} as soon as it is surely off." in text_of(asked)
    assert Server.objects.get(pk=new.pk).replaces == Instance.objects.get()
    assert f"is held: {new} is taking its place." in text_of(site.get(page(old, "replace")))


def test_running_server_is_not_replaced(site: Client, ada: User) -> None:
    factories.make_instance_array(factories.make_infrastructure(ada), count=1, power=Power.ON)
    old, new = Server.objects.get(), factories.make_free_server()

    shown = site.get(page(old, "replace"))
    asked = site.post(page(old, "replace"), {"server": new.pk})

    assert ("web-1 is on. Shut it down first." in text_of(shown), asked.status_code) == (True, 409)
    assert Server.objects.get(pk=new.pk).replaces is None


def test_silent_server_needs_a_word(site: Client, ada: User) -> None:
    factories.make_instance_array(factories.make_infrastructure(ada), count=1, power=Power.UNKNOWN)
    old, new = Server.objects.get(), factories.make_free_server()

    refused = site.post(page(old, "replace"), {"server": new.pk})
    site.post(page(old, "replace"), {"server": new.pk, "vouched": "on"})

    assert refused.status_code == 409
    assert f"I have made sure that {old} has no power" in text_of(refused)
    assert Server.objects.get(pk=new.pk).replace_vouched


# ── Import ───────────────────────────────────────────────────────────────────

FILE = f'serial,server_type,address,username,password\nR-1,M.16.64,simulated://r-1,root,"{SECRET}"\n'


FORM = "application/x-www-form-urlencoded"


def upload(site: Client, text: str | bytes) -> Any:
    data = text.encode() if isinstance(text, str) else text
    response: Any = site.post(IMPORT, {"file": SimpleUploadedFile("servers.csv", data, "text/csv")})
    return response


def confirmed(response: Any) -> dict[str, str]:
    (packed,) = re.findall(r'name="confirmed" value="([^"]+)"', text_of(response))
    return {"confirmed": packed}


def test_file_is_looked_at_then_imported_once(site: Client, ada: User, kind: ServerType) -> None:
    looked = upload(site, FILE)
    assert "Would be added: 1" in text_of(looked)
    assert 'value="Add 1 server"' in text_of(looked)
    assert not Server.objects.exists()

    done = site.post(IMPORT, confirmed(looked), follow=True)
    again = site.post(IMPORT, confirmed(looked))

    server = Server.objects.get()
    assert "1 server added. Their connections are being checked." in text_of(done)
    assert servers.bmc_of(server).password == SECRET
    assert "hunter2" not in text_of(looked) + text_of(done) + text_of(again)
    assert list(LogEntry.objects.values_list("user", "object_repr", "change_message")) == [
        (ada.pk, "R-1", "Imported from a file.")
    ]
    assert (again.status_code, "What this import would do has changed" in text_of(again)) == (409, True)


def test_file_with_a_line_that_is_refused_cannot_be_imported(site: Client, kind: ServerType) -> None:
    response = upload(site, FILE + 'R-2,L.1.1,simulated://r-2,"hunter2",\n')

    assert "There is no such server type." in text_of(response)
    assert "1 line cannot be imported, so none is." in text_of(response)
    assert ('name="confirmed"' in text_of(response), "hunter2" in text_of(response)) == (False, False)


@pytest.mark.parametrize(
    ("send", "status", "says"),
    [
        (lambda site: site.post(IMPORT, {}), 422, "Choose a CSV file of at most 2 MB."),
        (lambda site: upload(site, b"x" * (sheets.BYTES_MAX + 1)), 422, "The file is larger than 2 MB."),
        (lambda site: upload(site, b"x" * 3_000_000), 422, "Choose a CSV file of at most 2 MB."),
        (lambda site: site.post(IMPORT, {"file": "x" * 3_000_000}), 422, "What was sent is larger than 2 MB."),
        (
            lambda site: site.post(IMPORT, f"confirmed={'x' * 3_000_000}", FORM),
            422,
            "What was sent is larger than 2 MB.",
        ),
        (lambda site: upload(site, b"\x89PNG\x00"), 422, "This is no CSV file."),
        (lambda site: site.post(IMPORT, {"confirmed": "x"}), 409, "The file was chosen too long ago."),
    ],
    ids=["none", "large", "huge", "pasted", "confirmed", "picture", "forged"],
)
def test_what_is_no_file_is_told(send: Callable[[Client], Any], status: int, says: str, site: Client) -> None:
    response = send(site)

    assert (response.status_code, says in text_of(response)) == (status, True)
    at_its_field = re.search(r'id="file_error" role="alert">\s*<li>([^<]*)<', text_of(response))
    assert says in at_its_field[1] if at_its_field else status == 409


def test_import_is_for_those_who_may_add_and_change(client: Client, ada: User) -> None:
    assert client.get(IMPORT)["Location"].startswith("/sign-in/")
    client.force_login(User.objects.create_user("sam@example.org", name="Sam", is_staff=True))

    too_large = client.post(IMPORT, {"file": "x" * 3_000_000})
    assert [client.get(IMPORT).status_code, client.post(IMPORT, {"confirmed": "x"}).status_code] == [403, 403]
    assert too_large.status_code == 403


def test_import_that_another_site_sends_is_refused(ada: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(ada)

    response = strict.post(IMPORT, {"confirmed": imports.packed(FILE, "x", ada)})

    assert (response.status_code, Server.objects.count()) == (403, 0)


def test_template_is_a_file_that_can_be_sent_back(site: Client, kind: ServerType) -> None:
    response = site.get(f"{IMPORT}template.csv")

    assert response["Content-Disposition"] == 'attachment; filename="servers.csv"'
    assert response.content.startswith(b"\xef\xbb\xbfserial,server_type,")
    assert "Would be added: " in text_of(upload(site, response.content))


def test_new_pages_have_no_inline_script_or_style(site: Client, ada: User, kind: ServerType) -> None:
    factories.make_instance_array(factories.make_infrastructure(ada), count=1)
    server = Server.objects.all()[0]
    pages = [site.get(IMPORT), upload(site, FILE), site.get(page(server, "replace")), site.get(page(server))]

    inline = r"<style|\sstyle=|\son[a-z]+=\"|<script(?![^>]*\ssrc=)(?![^>]*application/json)[^>]*>"
    assert [re.findall(inline, text_of(response)) for response in pages] == [[], [], [], []]


def test_history_of_events_names_what_changed_only(site: Client, ada: User) -> None:
    factories.make_instance_array(factories.make_infrastructure(ada), count=1)
    server = Server.objects.get()

    site.post(page(server), form(server.server_type, serial=server.serial, address=server.address, seen=0))

    event = Event.objects.told()[0]
    assert (event.verb, event.subject, event.text) == ("changed", server.serial, "user name, password")
