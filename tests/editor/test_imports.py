"""Many servers from one file: read as spreadsheets write it, shown line by line, imported all or nothing."""

from __future__ import annotations

import time

import pytest
from cryptography.fernet import Fernet
from django.db import connection
from django.test.utils import CaptureQueriesContext

from editor import entries, imports, inventory, servers, sheets
from editor.imports import Fate
from editor.models import Drive, Event, PowerCommand, Server, ServerType, User
from editor.rules import Refused
from tests import factories

HEAD = "serial,server_type,driver,address,username,password,trust,certificate,plain_http,drained\n"
SECRET = "hunter2;x"


@pytest.fixture
def ada(db: None) -> User:
    return factories.make_admin()


@pytest.fixture
def kind(db: None) -> ServerType:
    return ServerType.objects.create(label="M.16.64", cores=16, ram_gb=64)


def line(serial: str, address: str = "", rest: str = ",,,,,") -> str:
    return f"{serial},M.16.64,simulated,{address or f'simulated://{serial.lower()}'},{rest.lstrip(',') or ',,,,'}\n"


def told(text: str) -> list[tuple[int, str, str, str]]:
    return [(one.line, one.serial, one.fate, one.says) for one in imports.plan(text).lines]


def run(text: str, by: User) -> imports.Imported:
    return imports.carry_out(text, fingerprint=imports.plan(text).fingerprint, by=by)


# ── Files ────────────────────────────────────────────────────────────────────

PLAIN = "serial;server_type;address;password\nR-1;M.16.64;simulated://r-1;pässword\n"


@pytest.mark.parametrize(
    ("data", "guessed"),
    [
        (PLAIN.encode(), False),
        (PLAIN.encode("utf-8-sig"), False),
        (PLAIN.encode("utf-16"), False),
        (PLAIN.replace("\n", "\r\n").encode(), False),
        (PLAIN.replace("\n", "\r").encode(), False),
        (PLAIN.replace(";", ",").encode(), False),
        (PLAIN.replace(";", "\t").encode(), False),
        (("\n;;;\n" + PLAIN + ";;;\n\n").encode(), False),
        (PLAIN.encode("latin-1"), True),
    ],
    ids=["utf-8", "bom", "utf-16", "crlf", "cr", "commas", "tabs", "empty lines", "latin-1"],
)
def test_file_is_read_as_spreadsheets_write_it(data: bytes, guessed: bool) -> None:
    text, remark = sheets.text_of(data)
    (only,) = sheets.lines_of(text)

    assert only.cells == {
        "serial": "R-1",
        "server_type": "M.16.64",
        "address": "simulated://r-1",
        "password": "pässword",
    }
    assert remark.startswith("The file is not UTF-8") is guessed


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "The file is empty."),
        (b"\n , ,\n", "The file is empty."),
        (b"PK\x03\x04\x00\x00", "This is no CSV file."),
        (b"R-1,M.16.64,hunter2\n", "The first line must name the columns, and has no “serial”."),
        (b"serial,passwort\n", "The name of column 2 is not known."),
        (b"serial,address,Serial\n", "Two columns have the same name."),
        (b'serial,password\nR-1,"hunter2\n', "Line 2 cannot be read: a quote is not closed"),
        (b"x" * (sheets.BYTES_MAX + 1), "The file is larger than 2 MB."),
        (b"serial\n" + b"R-1\n" * (sheets.LINES_MAX + 1), "The file has more than 10,000 servers."),
        (b"\xff\xfe\x00", "This is no CSV file."),
    ],
    ids=["empty", "blank", "zip", "no head", "unknown", "twice", "quote", "large", "long", "half utf-16"],
)
def test_file_that_cannot_be_read_says_why_and_repeats_nothing(data: bytes, says: str) -> None:
    with pytest.raises(sheets.SheetError) as error:
        sheets.lines_of(sheets.text_of(data)[0])

    assert says in str(error.value)
    assert "hunter2" not in str(error.value)


def test_line_of_a_cell_over_many_lines_is_its_first() -> None:
    text = 'serial,certificate\n\nR-1,"-----BEGIN\nAAAA\n-----END"\nR-2,\n'

    assert [(one.number, one.cells["serial"]) for one in sheets.lines_of(text)] == [(3, "R-1"), (6, "R-2")]


def test_template_can_be_filled_in(kind: ServerType) -> None:
    text = sheets.template([kind.label], ["redfish", "simulated"])

    assert text.splitlines()[0] + "\n" == HEAD
    assert [one.cells["serial"] for one in sheets.lines_of(text)] == ["EXAMPLE-1", "EXAMPLE-2"]


# ── What would happen ────────────────────────────────────────────────────────


def test_each_line_is_told_and_nothing_is_done(ada: User, kind: ServerType) -> None:
    for serial in ("R-1", "R-2"):
        inventory.register(entries.Entry(serial, kind, "simulated", f"simulated://{serial.lower()}"), by=ada)
    text = HEAD + line("R-1") + line("R-2", rest=f"root,{SECRET},,,,yes") + line("R-3") + line("R-4", "", "a,b,,,,")

    assert told(text) == [
        (2, "R-1", Fate.SAME, ""),
        (3, "R-2", Fate.CHANGE, "user name, drained: no → yes, password"),
        (4, "R-3", Fate.ADD, "M.16.64 at simulated://r-3"),
        (5, "R-4", Fate.ADD, "M.16.64 at simulated://r-4, with a password"),
    ]
    assert (Server.objects.count(), Event.objects.count()) == (2, 0)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["R-1,L.1.1,simulated,simulated://r-1,,,,,,"], "There is no such server type."),
        (["R-1,,,,,,,,,"], "It has no server_type and no address."),
        (["R-1,M.16.64,ipmi,simulated://r-1,,,,,,"], "There is no such driver. Known are: "),
        (["R-1,M.16.64,simulated,r-1,,,,,,"], "Write it like simulated://rack-1-07."),
        (["R-1,M.16.64,simulated,simulated://r-1,,hunter2,,,,"], "Name the user that this password belongs to."),
        (["R-1,M.16.64,simulated,simulated://r-1,,,maybe,,,"], "trust is one of: system, authority, pinned."),
        (["R-1,M.16.64,simulated,simulated://r-1,,,pinned,,,"], "Give the certificate, or its fingerprint."),
        (["R-1,M.16.64,simulated,simulated://r-1,,,,,perhaps,"], "plain_http is yes or no."),
        (['"=HYPERLINK(""http://evil"")",M.16.64,simulated,simulated://r-1,,,,,,'], "Look for quotes or formulas"),
        (
            ["R-1,M.16.64,simulated,simulated://r-1,root,hunter2,x,,,,,,surplus"],
            "It has more cells than the 10 columns.",
        ),
        ([line("R-1").strip(), line("R-1", "simulated://r-9").strip()], "Line 2 has this serial already."),
        ([line("R-1").strip(), line("R-2", "simulated://r-1").strip()], "R-1 has this address already."),
        ([line("R-2", "simulated://stored").strip()], "STORED has this address already."),
    ],
    ids=[
        "type",
        "missing",
        "driver",
        "address",
        "user",
        "trust",
        "pin",
        "flag",
        "formula",
        "cells",
        *("serial", "bmc", "stored"),
    ],
)
def test_line_that_is_refused_says_why_and_refuses_all(
    lines: list[str], says: str, ada: User, kind: ServerType
) -> None:
    inventory.register(entries.Entry("STORED", kind, "simulated", "simulated://stored"), by=ada)
    text = HEAD + "\n".join(lines) + "\n" + line("R-77")

    plan = imports.plan(text)

    (refused,) = plan.of(Fate.REFUSE)
    assert says in refused.says
    assert "hunter2" not in repr(plan)
    assert plan.count(Fate.ADD) == len(lines)
    assert plan.why_not == "1 line cannot be imported, so none is. Correct it in the file and choose it again."
    with pytest.raises(Refused, match="so none is"):
        imports.carry_out(text, fingerprint=plan.fingerprint, by=ada)
    assert Server.objects.count() == 1


def test_servers_may_exchange_their_bmcs_in_one_file(ada: User, kind: ServerType) -> None:
    run(HEAD + line("R-1") + line("R-2"), ada)

    run(HEAD + line("R-1", "simulated://r-2") + line("R-2", "simulated://r-1"), ada)

    assert dict(Server.objects.values_list("serial", "address")) == {"R-1": "simulated://r-2", "R-2": "simulated://r-1"}


def test_what_is_in_use_is_refused(ada: User) -> None:
    web = factories.make_instance_array(factories.make_infrastructure(ada), count=1)
    server = Server.objects.get(instance__instance_array=web)
    Server.objects.update(power_command=PowerCommand.RESET)

    ((_, serial, fate, says),) = told(f"serial,address\n{server.serial},simulated://elsewhere\n")

    assert (serial, fate, says) == (server.serial, Fate.REFUSE, f"{server} is waiting for Reset. Try again later.")


def test_bmc_of_a_server_whose_drive_is_busy_stays(ada: User) -> None:
    infrastructure = factories.make_infrastructure(ada)
    web = factories.make_instance_array(infrastructure, count=2)
    factories.make_drive_array(infrastructure, instance_array=web, count=2)
    busy = Drive.objects.select_related("instance__server").get(instance__number=2)
    Drive.objects.filter(pk=busy.pk).update(hold="It is being reverted.")

    serials = web.instances.order_by("number").values_list("server__serial", flat=True)
    lines = told("serial,address\n" + "".join(f"{one},simulated://new-{one}\n" for one in serials))

    assert [fate for _, _, fate, _ in lines] == [Fate.CHANGE, Fate.REFUSE]
    assert lines[1][3] == f"{busy} is busy: It is being reverted. Try again in a moment."


# ── Doing it ─────────────────────────────────────────────────────────────────


def test_import_adds_changes_and_leaves_what_is_empty(ada: User, kind: ServerType) -> None:
    run(HEAD + line("R-1", rest=f"root,{SECRET},,,,"), ada)

    done = run("serial,address,drained,server_type\nR-1,,yes,\nR-2,simulated://r-2,,m.16.64\n", ada)

    first, second = Server.objects.all()
    assert ([one.serial for one in done.added], [one.serial for one in done.changed]) == (["R-2"], ["R-1"])
    assert (first.drained, first.revision, first.address) == (True, 2, "simulated://r-1")
    assert (servers.bmc_of(first).username, servers.bmc_of(first).password) == ("root", SECRET)
    assert (second.server_type, second.driver, second.changed_by) == (kind, "simulated", ada)
    assert second.check_asked_at


def test_same_password_changes_nothing_and_another_one_is_told_without_it(ada: User, kind: ServerType) -> None:
    text = HEAD + line("R-1", rest=f"root,{SECRET},,,,")
    run(text, ada)

    assert told(text) == [(2, "R-1", Fate.SAME, "")]
    assert told(text.replace(SECRET, "another")) == [(2, "R-1", Fate.CHANGE, "password")]
    with pytest.raises(Refused, match="There is nothing to do"):
        run(text, ada)


def test_change_of_a_server_in_use_is_told_to_its_infrastructure(ada: User) -> None:
    web = factories.make_instance_array(factories.make_infrastructure(ada), count=1)
    server = Server.objects.get(instance__instance_array=web)

    run(f"serial,username,password\n{server.serial},root,{SECRET}\n", ada)

    event = Event.objects.told()[0]
    assert (event.verb, event.subject, event.text) == ("changed", server.serial, "user name, password")


def test_what_changed_since_it_was_looked_at_is_shown_again(ada: User, kind: ServerType) -> None:
    text = HEAD + line("R-1")
    seen = imports.plan(text).fingerprint
    inventory.register(entries.Entry("R-1", kind, "simulated", "simulated://r-9"), by=ada)

    with pytest.raises(imports.Changed) as no:
        imports.carry_out(text, fingerprint=seen, by=ada)

    assert [one.fate for one in no.value.plan.lines] == [Fate.CHANGE]
    assert Server.objects.get().address == "simulated://r-9"


def test_file_travels_unreadably_and_for_its_reader_only(ada: User) -> None:
    token = imports.packed(SECRET, "f", ada)

    assert SECRET not in token
    assert imports.unpacked(token, ada) == (SECRET, "f")
    late = imports._fernet().encrypt_at_time(b"x", int(time.time()) - imports.KEPT_SECONDS - 1).decode()
    for other, by in ((token, factories.make_admin("Bea Min")), (token[:-3] + "AAA", ada), ("", ada), (late, ada)):
        with pytest.raises(Refused, match="The file was chosen too long ago"):
            imports.unpacked(other, by)
    with pytest.raises(Refused):
        imports.unpacked(Fernet(Fernet.generate_key()).encrypt(b"{}").decode(), ada)


def test_import_of_hundreds_takes_few_queries(ada: User, kind: ServerType) -> None:
    serials = [f"R-{number}" for number in range(300)]

    with CaptureQueriesContext(connection) as adding:
        run(HEAD + "".join(line(serial, rest="root,same,,,,") for serial in serials), ada)
    with CaptureQueriesContext(connection) as changing:
        run("serial,drained\n" + "".join(f"{serial},yes\n" for serial in serials), ada)

    with CaptureQueriesContext(connection) as moving:
        run(HEAD + "".join(line(one, f"simulated://moved-{one}", "root,same,,,,") for one in serials), ada)

    assert Server.objects.filter(drained=True, address__contains="moved").count() == len(serials)
    assert max(len(adding), len(changing), len(moving)) < 40
