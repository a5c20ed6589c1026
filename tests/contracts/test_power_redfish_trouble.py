"""The Redfish power driver and BMCs that are ill, hostile, or no BMCs at all: a sentence for each, within the limit."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from editor.power import Bmc, PowerCommand, PowerError, PowerState, Trust
from editor.power.redfish import RedfishPower

from .certificates import Certificate, issue
from .redfish_device import RESET, ROOT, SESSIONS, SYSTEM, SYSTEMS, Answer, Device, running, send, system

PASSWORD = "Gelb: 7 Ähren"
SECONDS = 0.25
"""A call's limit here. Where nothing hangs, none comes near it."""
GARBLED = r"answers what nobody understands\. If that stays so, restart the BMC"
HANGS = r"took the connection, then did not answer in time\."
NOT_REDFISH = r"not a Redfish service\. Check the address and the port"

AUTHORITY = issue("authority")
GOOD = issue("bmc", by=AUTHORITY)


class Rack:
    """Starts made-up devices."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def device(self, certificate: Certificate | None = None) -> Device:
        """With a certificate over TLS; without one in the clear, which is faster."""
        device = Device()
        self._stack.enter_context(running(device, certificate.served() if certificate else None))
        return device

    def silent(self, answer: bytes = b"") -> int:
        """Answers the port of something that takes connections, sends these bytes if any, and hangs."""
        listener = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def serve() -> None:
            with suppress(OSError):  # the test is over
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(answer)
                    while connection.recv(4096):
                        pass

        threading.Thread(target=serve, daemon=True).start()
        return int(listener.getsockname()[1])


@pytest.fixture
def rack() -> Iterator[Rack]:
    with ExitStack() as stack:
        yield Rack(stack)


@pytest.fixture
def device(rack: Rack) -> Device:
    return rack.device()


@pytest.fixture
def driver() -> RedfishPower:
    return RedfishPower()


@pytest.fixture
def hasty() -> RedfishPower:
    return RedfishPower(seconds=SECONDS)


def bmc(device: Device, path: str = "", **changes: Any) -> Bmc:
    good = Bmc(
        f"{device.origin}{path}",
        username="operator",
        password=PASSWORD,
        trust=Trust.AUTHORITY,
        certificate=AUTHORITY.pem,
        plain_http=True,
    )
    return replace(good, **changes)


def refusal(driver: RedfishPower, bmc: Bmc, sentence: str, *, permanent: bool) -> PowerError:
    """Has the driver read; answers the error, of which the sentence and its length are checked."""
    with pytest.raises(PowerError, match=sentence) as told:
        driver.read(bmc)
    _check(told.value)
    assert told.value.permanent is permanent
    return told.value


def _check(error: PowerError) -> None:
    assert len(str(error)) < 300  # as long as what a Server stores of it
    assert str(error).endswith(".")
    assert PASSWORD not in str(error) + error.detail
    assert "127.0.0.1" not in str(error)


# ── Addresses ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "address",
    [
        "",
        "rack-1-07",
        "10.0.0.7:443",
        "redfish://rack-1-07",
        "file:///etc/passwd",
        "https:///redfish/v1",
        "https://rack-1-07:99999",
        "https://rack-1-07:0",
        "https://rack-1-07:https",
        "https://[::1",
        "https://rack 1",
        "https://rack-1\n",
        "https://rack-1\0",
        "https://rack..1",
        f"https://{'a' * 70}",
        "https://rack-1/redfish/v2",
        "https://rack-1/redfish/v1/Systems/1/Actions",
        "https://rack-1/redfish/v1/Systems/..",
        "https://rack-1/?x=1",
        "https://rack-1/#x",
        "https://rack-1\\@evil",
    ],
)
def test_address_with_a_mistake_is_named_as_such(driver: RedfishPower, address: str) -> None:
    refusal(driver, Bmc(address), r"address of this server (is not understood|holds a login)\.", permanent=True)


def test_login_in_the_address_is_not_repeated(driver: RedfishPower) -> None:
    error = refusal(driver, Bmc("https://operator:Gelb@rack-1"), r"holds a login\. Enter user name and", permanent=True)

    assert error.detail == ""


@pytest.mark.parametrize("host", ["rack-1-07.example.org", "Gestell-1.example.org", "bücher.example.org"])
def test_host_that_nobody_knows(driver: RedfishPower, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    def look_up(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)

    refusal(driver, Bmc(f"https://{host}"), r"host name is not known\.", permanent=False)


def test_name_servers_that_hang_cost_no_more_than_the_limit(
    hasty: RedfishPower, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(30) and [])
    start = time.monotonic()

    refusal(hasty, Bmc("https://rack-1-07.example.org"), r"host name is not known\.", permanent=False)
    took = time.monotonic() - start
    over.set()

    assert took < SECONDS + 1


def test_nothing_listens(driver: RedfishPower) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    refusal(driver, Bmc(f"https://127.0.0.1:{port}"), r"Nothing listens where the BMC should be\.", permanent=False)


def test_host_that_swallows_what_is_sent(hasty: RedfishPower, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(self: socket.socket, address: Any) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket.socket, "connect", connect)

    refusal(hasty, Bmc("https://192.0.2.7"), r"does not answer\. Check its address, its network", permanent=False)


@pytest.mark.parametrize("path", ["", "/", "/redfish/v1", "/redfish/v1/", SYSTEM, f"{SYSTEM}/"])
def test_path_is_that_of_the_system_or_is_found(driver: RedfishPower, device: Device, path: str) -> None:
    assert driver.read(bmc(device, path)) == PowerState.ON


def test_several_systems_are_named(driver: RedfishPower, device: Device) -> None:
    device.answers[f"GET {SYSTEMS}"] = {"Members": [{"@odata.id": f"{SYSTEMS}/{name}"} for name in ("blade-1", "2")]}

    refusal(driver, bmc(device), r"has 2 systems: blade-1, 2\. Add one to the address", permanent=True)


def test_hundreds_of_systems_still_fit_a_sentence(driver: RedfishPower, device: Device) -> None:
    members = [{"@odata.id": f"{SYSTEMS}/{'x' * 300}{number}"} for number in range(300)]
    device.answers[f"GET {SYSTEMS}"] = {"Members": members}

    refusal(driver, bmc(device), "has 300 systems: xxx", permanent=True)


def test_bmc_without_a_system(driver: RedfishPower, device: Device) -> None:
    device.answers[f"GET {SYSTEMS}"] = {"Members": []}

    refusal(driver, bmc(device), r"knows of no server behind it\.", permanent=False)


def test_system_whose_name_changed_is_found_again(driver: RedfishPower, device: Device) -> None:
    first = driver.read(bmc(device))
    del device.answers[f"GET {SYSTEM}"]
    device.answers[f"GET {SYSTEMS}/new"] = system("Off")
    device.answers[f"GET {SYSTEMS}"] = {"Members": [{"@odata.id": f"{SYSTEMS}/new"}]}

    assert [first, driver.read(bmc(device))] == [PowerState.ON, PowerState.OFF]


def test_plain_http_only_where_it_was_allowed(driver: RedfishPower, device: Device) -> None:
    refusal(driver, bmc(device, plain_http=False), r"everybody on the way reads the BMC's password\.", permanent=True)
    assert device.requests == []
    assert driver.read(bmc(device)) == PowerState.ON


# ── Certificates ─────────────────────────────────────────────────────────────

ALONE = issue("alone")
EXPIRED = issue("expired", ends_in=timedelta(days=-1), by=AUTHORITY)
OTHER_HOST = issue("other", ip="192.0.2.7", by=AUTHORITY)


@pytest.mark.parametrize(
    ("shown", "trust", "certificate"),
    [
        (GOOD, Trust.AUTHORITY, f"{ALONE.pem}\n{AUTHORITY.pem}"),
        (ALONE, Trust.AUTHORITY, ALONE.pem),
        (ALONE, Trust.PINNED, ALONE.pem),
        (ALONE, Trust.PINNED, ALONE.fingerprint),
        (ALONE, Trust.PINNED, f" {':'.join(ALONE.fingerprint.upper()[at : at + 2] for at in range(0, 64, 2))}\n"),
        (EXPIRED, Trust.PINNED, EXPIRED.pem),
        (OTHER_HOST, Trust.PINNED, OTHER_HOST.fingerprint),
    ],
    ids=["authority", "own", "pinned", "fingerprint", "colons", "pinned-expired", "pinned-other-host"],
)
def test_good_certificate(rack: Rack, driver: RedfishPower, shown: Certificate, trust: Trust, certificate: str) -> None:
    assert driver.read(bmc(rack.device(shown), trust=trust, certificate=certificate)) == PowerState.ON


@pytest.mark.parametrize(
    ("shown", "trust", "certificate", "sentence"),
    [
        (ALONE, Trust.SYSTEM, "", r"No trusted certificate authority has signed"),
        (GOOD, Trust.SYSTEM, AUTHORITY.pem, r"No trusted certificate authority has signed"),
        (ALONE, Trust.AUTHORITY, AUTHORITY.pem, r"No trusted certificate authority has signed"),
        (EXPIRED, Trust.AUTHORITY, AUTHORITY.pem, r"has expired or is not valid yet\."),
        (OTHER_HOST, Trust.AUTHORITY, AUTHORITY.pem, r"is for another host\."),
        (ALONE, Trust.PINNED, GOOD.pem, r"another certificate than the pinned one\."),
        (GOOD, Trust.PINNED, AUTHORITY.fingerprint, r"another certificate than the pinned one\."),
        (GOOD, Trust.PINNED, "", r"pinned for this BMC is not understood\."),
        (GOOD, Trust.PINNED, GOOD.fingerprint[:40], r"pinned for this BMC is not understood\."),
        (GOOD, Trust.PINNED, GOOD.pem.replace("M", "!"), r"pinned for this BMC is not understood\."),
        (GOOD, Trust.AUTHORITY, "", r"authority entered for this BMC is not understood\."),
        (GOOD, Trust.AUTHORITY, "Ähren", r"authority entered for this BMC is not understood\."),
    ],
    ids=[
        *("nobody", "authority-unasked", "other-authority", "expired", "other-host", "other-pin", "other-fingerprint"),
        *("no-pin", "half-a-fingerprint", "damaged-pin", "no-authority", "no-certificate"),
    ],
)
def test_wrong_certificate_gets_no_password(
    rack: Rack, shown: Certificate, trust: Trust, certificate: str, sentence: str
) -> None:
    device = rack.device(shown)

    refusal(RedfishPower(), bmc(device, trust=trust, certificate=certificate), sentence, permanent=True)
    assert device.requests == []


def test_certificate_is_looked_at_in_each_call(rack: Rack, driver: RedfishPower) -> None:
    """A session that is there already makes nothing good."""
    device = rack.device(GOOD)
    first = driver.read(bmc(device))

    assert first == PowerState.ON
    refusal(driver, bmc(device, trust=Trust.PINNED, certificate=ALONE.pem), "than the pinned one", permanent=True)


def test_plain_http_behind_https(driver: RedfishPower, device: Device) -> None:
    secure = device.origin.replace("http:", "https:")

    refusal(driver, bmc(device, address=secure), r"No encrypted connection to the BMC came about\.", permanent=False)


# ── Logins ───────────────────────────────────────────────────────────────────


def test_session_is_used_again(driver: RedfishPower, device: Device) -> None:
    device.offer_sessions("first")
    readings = [driver.read(bmc(device)) for _ in range(3)]

    assert readings == [PowerState.ON] * 3
    assert device.asked() == [f"GET {ROOT}", f"POST {SESSIONS}", f"GET {SYSTEMS}", *[f"GET {SYSTEM}"] * 3]
    assert [one.headers.get("X-Auth-Token") for one in device.requests] == [None, None, *["first"] * 4]
    assert not any("Authorization" in one.headers for one in device.requests)


def test_session_that_ended_is_begun_anew(driver: RedfishPower, device: Device) -> None:
    device.offer_sessions("first", "second")
    first = driver.read(bmc(device))

    def only_second(handler: BaseHTTPRequestHandler) -> None:
        good = handler.headers["X-Auth-Token"] == "second"
        send(handler, system("Off") if good else Answer({"error": {"code": "x"}}, 401))

    device.answers[f"GET {SYSTEM}"] = only_second

    assert [first, driver.read(bmc(device)), driver.read(bmc(device))] == [PowerState.ON, *[PowerState.OFF] * 2]
    assert device.asked().count(f"POST {SESSIONS}") == 2


def test_session_is_kept_while_nothing_else_works(driver: RedfishPower, device: Device) -> None:
    """Some BMCs have no more than four."""
    device.offer_sessions("only")
    device.answers[f"GET {SYSTEMS}"] = Answer(status=503)

    for _ in range(3):
        refusal(driver, bmc(device), "too busy", permanent=False)
    device.answers[f"GET {SYSTEMS}"] = {"Members": [{"@odata.id": SYSTEM}]}

    assert driver.read(bmc(device)) == PowerState.ON
    assert device.asked().count(f"POST {SESSIONS}") == 1


@pytest.mark.parametrize(
    "answer",
    [Answer({}, 201), Answer([], 201), Answer({"error": 5}, 201), Answer(status=503), Answer([], 404), Answer({}, 400)],
)
def test_bmc_that_gives_no_session_is_asked_with_the_password(
    driver: RedfishPower, device: Device, answer: Answer
) -> None:
    device.offer_sessions()
    device.answers[f"POST {SESSIONS}"] = answer

    assert driver.read(bmc(device)) == PowerState.ON
    assert "Authorization" in device.requests[-1].headers


def test_wrong_password_is_tried_once_a_call(driver: RedfishPower, device: Device) -> None:
    """BMCs lock users out."""
    device.offer_sessions()
    device.answers[f"POST {SESSIONS}"] = Answer({"error": {"message": f"no {PASSWORD}"}}, 401)

    error = refusal(driver, bmc(device), r"refused the user name or the password\.", permanent=True)

    assert error.detail == "401: no …"
    assert device.asked() == [f"GET {ROOT}", f"POST {SESSIONS}"]


def test_new_password_is_used_at_once(driver: RedfishPower, device: Device) -> None:
    device.offer_sessions("first", "second")
    driver.read(bmc(device))
    driver.read(bmc(device, password="Rot"))

    assert [one.body.count("Rot") for one in device.requests if one.method == "POST"] == [0, 1]


def test_bmc_that_shows_nothing_without_a_login(driver: RedfishPower, device: Device) -> None:
    root = device.answers[f"GET {ROOT}"]
    device.answers[f"GET {ROOT}"] = lambda handler: send(
        handler, root if "Authorization" in handler.headers else Answer(status=401)
    )

    assert driver.read(bmc(device)) == PowerState.ON
    refusal(driver, bmc(device, username=""), r"asks for a user name and a password\.", permanent=True)


def test_user_without_the_right(driver: RedfishPower, device: Device) -> None:
    device.answers[f"POST {RESET}"] = Answer(status=403)

    with pytest.raises(PowerError, match=r"user may not do this\. Give it the role of an operator") as told:
        driver.send(bmc(device), PowerCommand.HARD_POWER_OFF)

    assert told.value.permanent is True


# ── Answers ──────────────────────────────────────────────────────────────────

GARBAGE = [
    Answer(b""),
    Answer(b"", 204),
    Answer(b"", 302),
    Answer(b"", 304, {"Location": SYSTEM}),
    Answer(b"\x00\xff\xfe garbage"),
    Answer(b"<html>Sign in</html>"),
    Answer(b"[" * 100_000),
    Answer(b'"On"'),
    Answer([system()]),
    Answer(b"{" + b" " * 2_000_000 + b"}"),
    Answer(b"{}", headers={"Content-Length": "99"}),
    Answer({"PowerState": "On", "Actions": "Reset"}),
    Answer({"PowerState": "On", "Actions": {"#ComputerSystem.Reset": {}}}),
    Answer({"PowerState": "On", "Actions": {"#ComputerSystem.Reset": [1]}}),
    Answer(status=302),
    Answer(status=302, headers={"Location": "ftp://rack-1"}),
    Answer(status=302, headers={"Location": "https://["}),
    Answer(status=307, headers={"Location": SYSTEM}),
    Answer(status=418),
    lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n"),
    lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n{}"),
    lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_for_a_system(driver: RedfishPower, device: Device, garbage: object) -> None:
    device.answers[f"GET {SYSTEM}"] = garbage

    refusal(driver, bmc(device), GARBLED, permanent=False)


@pytest.mark.parametrize(
    "page",
    [Answer(b"<html>Sign in</html>"), Answer(b"<html>Not here</html>", 404), Answer({"hello": "world"}), Answer([])],
)
def test_service_that_is_not_redfish(driver: RedfishPower, device: Device, page: Answer) -> None:
    device.answers[f"GET {ROOT}"] = page

    refusal(driver, bmc(device), NOT_REDFISH, permanent=False)


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (503, r"too busy to answer, or still starting\. Try again in a minute\."),
        (429, r"too busy to answer, or still starting\. Try again in a minute\."),
        (500, r"reports a fault of its own\."),
        (502, r"reports a fault of its own\."),
    ],
)
@pytest.mark.parametrize(
    "body", [{"error": {"message": "Wait."}}, ["Wait."], {"error": "Wait."}, "Wait.", b"Wait.\x00"]
)
def test_bmc_in_trouble(driver: RedfishPower, device: Device, status: int, body: object, sentence: str) -> None:
    device.answers[f"GET {SYSTEM}"] = Answer(body, status)

    error = refusal(driver, bmc(device), sentence, permanent=False)

    assert error.detail.startswith(f"{status}: ")
    assert "Wait." in error.detail
    assert device.asked().count(f"GET {SYSTEM}") == 1


def test_bmc_that_is_busy_for_a_minute_is_read_after_it(driver: RedfishPower, device: Device) -> None:
    device.answers[f"GET {ROOT}"], root = Answer(status=503), device.answers[f"GET {ROOT}"]
    refusal(driver, bmc(device), "too busy", permanent=False)
    device.answers[f"GET {ROOT}"] = root

    assert driver.read(bmc(device)) == PowerState.ON


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("On", PowerState.ON),
        ("Off", PowerState.OFF),
        ("PoweringOn", PowerState.POWERING_ON),
        ("PoweringOff", PowerState.SHUTTING_DOWN),
        ("Paused", PowerState.ON),
        (None, PowerState.UNKNOWN),
        ("off", PowerState.UNKNOWN),
        ("Hibernating", PowerState.UNKNOWN),
        (0, PowerState.UNKNOWN),
        (["Off"], PowerState.UNKNOWN),
        ({"Off": "Off"}, PowerState.UNKNOWN),
    ],
)
def test_every_word_for_a_state(driver: RedfishPower, device: Device, word: object, state: PowerState) -> None:
    device.answers[f"GET {SYSTEM}"] = system(word)

    assert driver.read(bmc(device)) == state


def test_system_that_says_nothing_of_its_power_is_not_called_off(driver: RedfishPower, device: Device) -> None:
    device.answers[f"GET {SYSTEM}"] = {"Id": "1"}

    assert driver.read(bmc(device)) == PowerState.UNKNOWN


def test_nonsense_in_fields_that_nobody_needs_does_no_harm(driver: RedfishPower, device: Device) -> None:
    nonsense: dict[str, Any] = {
        "BootProgress": {"LastStateTime": ""},
        "MemorySummary": "much",
        "Boot": {"BootSourceOverrideTarget": 7},
        "@Redfish.Settings": {"SettingsObject": "nowhere", "Messages": 1, "Time": ""},
        "@Redfish.MaintenanceWindow": 1,
    }
    device.answers[f"GET {SYSTEM}"] = system("Off", **nonsense)

    assert driver.read(bmc(device)) == PowerState.OFF
    assert device.asked()[-1] == f"GET {SYSTEM}"


# ── Other hosts ──────────────────────────────────────────────────────────────


def to_other(device: Device, other: Device) -> list[tuple[str, object]]:
    elsewhere = f"{other.origin}{SYSTEM}"
    moved = Answer(status=307, headers={"Location": elsewhere})
    return [
        (f"GET {ROOT}", moved),
        (f"GET {SYSTEM}", moved),
        (f"POST {RESET}", moved),
        (f"GET {SYSTEMS}", {"Members": [{"@odata.id": elsewhere}]}),
        (f"GET {SYSTEM}", system() | {"Actions": {"#ComputerSystem.Reset": {"target": elsewhere}}}),
        (f"POST {SESSIONS}", moved),
    ]


@pytest.mark.parametrize("which", range(6))
@pytest.mark.parametrize("sessions", [False, True])
def test_no_request_goes_to_another_host(rack: Rack, driver: RedfishPower, which: int, sessions: bool) -> None:
    device, other = rack.device(), rack.device()
    if sessions or which == 5:
        device.offer_sessions("token")
    place, answer = to_other(device, other)[which]
    device.answers[place] = answer

    with pytest.raises(PowerError, match=r"points to another host, which the editor does not follow\.") as told:
        driver.send(bmc(device), PowerCommand.HARD_POWER_OFF)

    _check(told.value)
    assert other.requests == []


def test_same_host_with_another_scheme_is_another_host(driver: RedfishPower, device: Device) -> None:
    other = device.origin.replace("http:", "https:")
    device.answers[f"GET {SYSTEM}"] = Answer(status=307, headers={"Location": other})

    refusal(driver, bmc(device), r"points to another host", permanent=False)


def test_redirect_on_the_same_host_is_followed(driver: RedfishPower, device: Device) -> None:
    device.answers[f"GET {SYSTEM}"] = Answer(status=308, headers={"Location": f"{SYSTEM}/"})
    device.answers[f"GET {SYSTEM}/"] = system("Off")

    assert driver.read(bmc(device)) == PowerState.OFF


@pytest.mark.parametrize("status", [301, 302, 303])
def test_command_that_would_be_followed_as_a_question_is_not_taken(
    driver: RedfishPower, device: Device, status: int
) -> None:
    device.answers[f"POST {RESET}"] = Answer(status=status, headers={"Location": SYSTEM})

    with pytest.raises(PowerError, match=GARBLED):
        driver.send(bmc(device), PowerCommand.HARD_POWER_OFF)


def test_environment_has_no_say(
    rack: Rack, driver: RedfishPower, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither a proxy, which would hear of every BMC, nor its own idea of authorities and passwords."""
    for name in ("HTTPS_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    device = rack.device(GOOD)

    assert driver.read(bmc(device, username="")) == PowerState.ON
    assert not any("Authorization" in one.headers for one in device.requests)


# ── Time ─────────────────────────────────────────────────────────────────────


BEGINNING = b'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"PowerState": "Off", '


@pytest.mark.parametrize(
    ("at_once", "drop_by_drop"),
    [(b"", b""), (BEGINNING, b""), (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 600), (BEGINNING, b" " * 600)],
    ids=["at once", "in the body", "drips headers", "drips the body"],
)
def test_bmc_that_hangs_costs_no_more_than_the_limit(
    rack: Rack, hasty: RedfishPower, at_once: bytes, drop_by_drop: bytes
) -> None:
    device = rack.device(GOOD)

    def hang(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(at_once)
        for drop in drop_by_drop:
            handler.wfile.write(bytes([drop]))
            if device.over.wait(0.05):
                return
        device.over.wait(30)

    device.answers[f"GET {SYSTEM}"] = hang
    start = time.monotonic()

    refusal(hasty, bmc(device), HANGS, permanent=False)

    assert time.monotonic() - start < SECONDS + 1


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_port_that_hangs_before_the_first_byte(rack: Rack, hasty: RedfishPower, scheme: str) -> None:
    start = time.monotonic()

    refusal(hasty, Bmc(f"{scheme}://127.0.0.1:{rack.silent()}", plain_http=True), HANGS, permanent=False)

    assert time.monotonic() - start < SECONDS + 1


def test_port_that_speaks_something_else(rack: Rack, driver: RedfishPower) -> None:
    port = rack.silent(b"SSH-2.0-OpenSSH_9.2\r\n")

    refusal(driver, Bmc(f"https://127.0.0.1:{port}"), r"No encrypted connection to the BMC came", permanent=False)


def test_answer_without_end_is_not_waited_for(driver: RedfishPower, device: Device) -> None:
    def pour(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not device.over.is_set():
            handler.wfile.write(b" " * 65536)

    device.answers[f"GET {SYSTEM}"] = pour

    refusal(driver, bmc(device), GARBLED, permanent=False)


def test_bmc_that_hangs_up(driver: RedfishPower, device: Device) -> None:
    device.answers[f"GET {SYSTEM}"] = lambda handler: handler.connection.close()

    with pytest.raises(PowerError, match=rf"broke off the connection\.|{GARBLED}") as told:
        driver.read(bmc(device))

    assert told.value.permanent is False


# ── Commands ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("state", "command", "sent"),
    [
        ("On", PowerCommand.SOFT_SHUTDOWN, "GracefulShutdown"),
        ("On", PowerCommand.HARD_POWER_OFF, "ForceOff"),
        ("On", PowerCommand.RESET, "ForceRestart"),
        ("On", PowerCommand.POWER_ON, ""),
        ("Off", PowerCommand.POWER_ON, "On"),
        ("Off", PowerCommand.SOFT_SHUTDOWN, ""),
        ("Off", PowerCommand.RESET, ""),
        ("Off", PowerCommand.HARD_POWER_OFF, "ForceOff"),
        ("PoweringOff", PowerCommand.SOFT_SHUTDOWN, ""),
        ("PoweringOff", PowerCommand.HARD_POWER_OFF, "ForceOff"),
        ("PoweringOn", PowerCommand.POWER_ON, ""),
        ("PoweringOn", PowerCommand.SOFT_SHUTDOWN, "GracefulShutdown"),
        (None, PowerCommand.HARD_POWER_OFF, "ForceOff"),
    ],
)
def test_what_is_sent(driver: RedfishPower, device: Device, state: object, command: PowerCommand, sent: str) -> None:
    device.answers[f"GET {SYSTEM}"] = system(state)

    driver.send(bmc(device), command)

    posted = [one.body for one in device.requests if one.path == RESET]
    assert posted == ([f'{{"ResetType": "{sent}"}}'] if sent else [])


@pytest.mark.parametrize("where", ["system", "action info"])
def test_device_says_what_it_can_be_told(driver: RedfishPower, device: Device, where: str) -> None:
    words, info = ["ForceOn", "ForceOff", "PowerCycle"], f"{SYSTEM}/ResetActionInfo"
    offer: dict[str, Any] = {"target": RESET}
    offer |= {"ResetType@Redfish.AllowableValues": words} if where == "system" else {"@Redfish.ActionInfo": info}
    device.answers[f"GET {SYSTEM}"] = system() | {"Actions": {"#ComputerSystem.Reset": offer}}
    device.answers[f"GET {info}"] = {"Id": "1", "Parameters": [{"Name": "ResetType", "AllowableValues": words}]}

    offered = {PowerCommand.POWER_ON, PowerCommand.HARD_POWER_OFF, PowerCommand.RESET}
    assert driver.describe(bmc(device)).commands == offered
    driver.send(bmc(device), PowerCommand.RESET)
    assert device.requests[-1].body == '{"ResetType": "PowerCycle"}'
    with pytest.raises(PowerError, match=r"does not offer Soft Shutdown\. Choose another command") as told:
        driver.send(bmc(device), PowerCommand.SOFT_SHUTDOWN)
    assert told.value.permanent is True


def test_device_that_can_be_told_nothing(driver: RedfishPower, device: Device) -> None:
    device.answers[f"GET {SYSTEM}"] = {"Id": "1", "PowerState": "On"}

    assert driver.describe(bmc(device)).commands == frozenset()
    with pytest.raises(PowerError, match=r"does not offer Reset\."):
        driver.send(bmc(device), PowerCommand.RESET)


@pytest.mark.parametrize("status", [400, 409, 500])
def test_no_to_a_command_that_is_obeyed_already_is_fine(driver: RedfishPower, device: Device, status: int) -> None:
    """Between the reading and the command somebody else was faster."""

    def refuse(handler: BaseHTTPRequestHandler) -> None:
        device.answers[f"GET {SYSTEM}"] = system("Off")
        send(handler, Answer({"error": {"message": "Off already."}}, status))

    device.answers[f"POST {RESET}"] = refuse

    driver.send(bmc(device), PowerCommand.SOFT_SHUTDOWN)
    driver.send(bmc(device), PowerCommand.HARD_POWER_OFF)


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (400, r"refused Soft Shutdown\. Look at the machine"),
        (409, r"refused Soft Shutdown\. Look at the machine"),
        (500, r"reports a fault of its own\."),
    ],
)
def test_no_to_a_command_that_is_not_obeyed_is_told(
    driver: RedfishPower, device: Device, status: int, sentence: str
) -> None:
    device.answers[f"POST {RESET}"] = Answer({"error": {"message": "Lid is open."}}, status)

    with pytest.raises(PowerError, match=sentence) as told:
        driver.send(bmc(device), PowerCommand.SOFT_SHUTDOWN)

    assert (told.value.detail, told.value.permanent) == (f"{status}: Lid is open.", False)


@pytest.mark.parametrize("status", [405, 501])
def test_reset_type_that_the_device_does_not_know_after_all(driver: RedfishPower, device: Device, status: int) -> None:
    device.answers[f"POST {RESET}"] = Answer(status=status)

    with pytest.raises(PowerError, match=r"does not offer Hard Power Off\."):
        driver.send(bmc(device), PowerCommand.HARD_POWER_OFF)


def test_off_while_a_reset_is_sent_is_not_called_off(driver: RedfishPower, device: Device) -> None:
    """Some BMCs answer when the machine runs again; others ask them meanwhile."""
    meanwhile = []

    def restart(handler: BaseHTTPRequestHandler) -> None:
        device.answers[f"GET {SYSTEM}"] = system("Off")
        meanwhile.append(driver.read(bmc(device)))
        send(handler, Answer(status=204))

    device.answers[f"POST {RESET}"] = restart
    driver.send(bmc(device), PowerCommand.RESET)

    assert meanwhile == [PowerState.POWERING_ON]


def test_command_whose_answer_got_lost_may_have_been_taken(driver: RedfishPower, device: Device) -> None:
    device.answers[f"POST {RESET}"] = lambda handler: handler.connection.close()
    with pytest.raises(PowerError) as lost:
        driver.send(bmc(device), PowerCommand.HARD_POWER_OFF)
    device.answers[f"GET {SYSTEM}"] = Answer(status=403)
    with pytest.raises(PowerError) as refused:
        driver.send(bmc(device), PowerCommand.HARD_POWER_OFF)

    assert [lost.value.unsure, refused.value.unsure] == [True, False]


def test_off_after_a_reset_whose_answer_got_lost_is_not_called_off(driver: RedfishPower, device: Device) -> None:
    device.answers[f"POST {RESET}"] = lambda handler: handler.connection.close()
    with pytest.raises(PowerError):
        driver.send(bmc(device), PowerCommand.RESET)
    device.answers[f"GET {SYSTEM}"] = system("Off")

    assert driver.read(bmc(device)) == PowerState.POWERING_ON


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(400, r"refused Reset\."), (409, r"refused Reset\."), (500, r"reports a fault of its own\.")],
)
def test_off_after_a_reset_that_failed_is_off(driver: RedfishPower, device: Device, status: int, sentence: str) -> None:
    device.answers[f"POST {RESET}"] = Answer({"error": {"message": "No."}}, status)
    with pytest.raises(PowerError, match=sentence):
        driver.send(bmc(device), PowerCommand.RESET)
    device.answers[f"GET {SYSTEM}"] = system("Off")

    assert driver.read(bmc(device)) == PowerState.OFF


def test_refused_second_reset_does_not_end_the_first(driver: RedfishPower, device: Device) -> None:
    driver.send(bmc(device), PowerCommand.RESET)
    device.answers[f"POST {RESET}"] = Answer({"error": {"message": "In progress."}}, 409)
    with pytest.raises(PowerError):
        driver.send(bmc(device), PowerCommand.RESET)
    device.answers[f"GET {SYSTEM}"] = system("Off")

    assert driver.read(bmc(device)) == PowerState.POWERING_ON


def test_reset_that_leaves_the_server_off_is_told(driver: RedfishPower, device: Device) -> None:
    def fail(handler: BaseHTTPRequestHandler) -> None:
        device.answers[f"GET {SYSTEM}"] = system("Off")
        send(handler, Answer({"error": {"message": "No memory."}}, 500))

    device.answers[f"POST {RESET}"] = fail

    with pytest.raises(PowerError, match=r"reports a fault of its own\."):
        driver.send(bmc(device), PowerCommand.RESET)


def test_hard_power_off_after_a_reset_is_off(driver: RedfishPower, device: Device) -> None:
    driver.send(bmc(device), PowerCommand.RESET)
    device.answers[f"GET {SYSTEM}"] = system("Off")
    in_reset = driver.read(bmc(device))
    driver.send(bmc(device), PowerCommand.HARD_POWER_OFF)

    assert [in_reset, driver.read(bmc(device))] == [PowerState.POWERING_ON, PowerState.OFF]


# ── Description ──────────────────────────────────────────────────────────────


def test_description_names_boot_options_and_firmware(driver: RedfishPower, device: Device) -> None:
    options = f"{SYSTEM}/BootOptions"
    boot = {
        "BootSourceOverrideEnabled": "Once",
        "BootSourceOverrideTarget": "Pxe",
        "BootOrder": ["Boot0001", "Boot0002"],
        "BootOptions": {"@odata.id": options},
    }
    links = {"ManagedBy": [{"@odata.id": "/redfish/v1/Managers/1"}]}
    device.answers[f"GET {SYSTEM}"] = system(
        Manufacturer=" Dell Inc.", Model="R650\x00\ud800", SerialNumber=7, Boot=boot, Links=links
    )
    device.answers[f"GET {options}?$expand=.($levels=1)"] = {
        "Members": [{"BootOptionReference": "Boot0001", "DisplayName": "NVMe in bay 1"}]
    }
    device.answers["GET /redfish/v1/Managers/1"] = {"FirmwareVersion": "7.10.30"}

    said = driver.describe(bmc(device))

    assert (said.manufacturer, said.model, said.serial, said.firmware) == ("Dell Inc.", "R650", "", "7.10.30")
    assert said.boot_order == ("Pxe (once)", "NVMe in bay 1", "Boot0002")


@pytest.mark.parametrize("boot", [None, {}, {"BootOrder": None}, {"BootSourceOverrideEnabled": "Disabled"}])
def test_description_of_a_taciturn_device(driver: RedfishPower, device: Device, boot: object) -> None:
    device.answers[f"GET {SYSTEM}"] = system(Boot=boot)

    assert (driver.describe(bmc(device)).boot_order, driver.describe(bmc(device)).firmware) == ((), "")


def test_what_a_device_garbles_is_missing_in_its_description_only(driver: RedfishPower, device: Device) -> None:
    options, manager = f"{SYSTEM}/BootOptions", "/redfish/v1/Managers/1"
    boot = {"BootOrder": ["Boot0001"], "BootOptions": {"@odata.id": options}}
    device.answers[f"GET {SYSTEM}"] = system(Model="R650", Boot=boot, Links={"ManagedBy": [{"@odata.id": manager}]})
    for path in (f"{options}?$expand=.($levels=1)", manager):
        device.answers[f"GET {path}"] = Answer(b"<html>")

    said = driver.describe(bmc(device))

    assert (said.model, said.firmware, said.boot_order) == ("R650", "", ("Boot0001",))


def test_nothing_is_logged(driver: RedfishPower, device: Device, caplog: pytest.LogCaptureFixture) -> None:
    """At each reading, for each BMC: and sushy would add whole answers, with whatever is in them."""
    device.answers[f"GET {SYSTEM}"] = Answer({"error": {"message": "Who are you?"}}, 401)
    refusal(driver, bmc(device), "refused the user name", permanent=True)

    assert caplog.text == ""
