"""A BMC that a test makes up answer by answer, to show what real ones do when they are ill, or not BMCs at all."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ROOT = "/redfish/v1/"
SYSTEMS = "/redfish/v1/Systems"
SYSTEM = "/redfish/v1/Systems/1"
RESET = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset"
SESSIONS = "/redfish/v1/SessionService/Sessions"


@dataclass(frozen=True)
class Answer:
    """What comes back: a JSON object, or the bytes as they are."""

    body: Any = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: str


def system(power: Any = "On", **more: Any) -> dict[str, Any]:
    """Answers a well-formed system that offers the usual resets."""
    offered = ["On", "ForceOff", "GracefulShutdown", "ForceRestart"]
    reset = {"target": RESET, "ResetType@Redfish.AllowableValues": offered}
    return {"Id": "1", "PowerState": power, "Actions": {"#ComputerSystem.Reset": reset}, **more}


class Device:
    """Answers from `answers`, by method and path, with an Answer, a JSON object, or what a function writes."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {
            f"GET {ROOT}": {"Id": "RootService", "RedfishVersion": "1.6.0", "Systems": {"@odata.id": SYSTEMS}},
            f"GET {SYSTEMS}": {"Members": [{"@odata.id": SYSTEM}]},
            f"GET {SYSTEM}": system(),
            f"POST {RESET}": Answer(status=204),
        }
        self.requests: list[Request] = []
        self.over = threading.Event()
        self.origin = ""

    def offer_sessions(self, *tokens: str) -> None:
        """Begins a session at each login, with these tokens one after the other."""
        left = iter(tokens)
        self.answers[f"GET {ROOT}"] |= {"Links": {"Sessions": {"@odata.id": SESSIONS}}}
        self.answers[f"POST {SESSIONS}"] = lambda handler: send(
            handler, Answer({}, 201, {"X-Auth-Token": next(left), "Location": f"{SESSIONS}/1"})
        )

    def asked(self) -> list[str]:
        """Answers what was asked, in short."""
        return [f"{one.method} {one.path}" for one in self.requests]


def send(handler: BaseHTTPRequestHandler, answer: Answer | dict[str, Any]) -> None:
    answer = answer if isinstance(answer, Answer) else Answer(answer)
    body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
    handler.send_response(answer.status)
    for name, value in {"Content-Length": str(len(body)), **answer.headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def running(device: Device, context: ssl.SSLContext | None) -> Iterator[None]:
    """Serves the device over TLS, or without it, on `device.origin`."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(length).decode()
            device.requests.append(Request(self.command, self.path, dict(self.headers.items()), body))
            answer = device.answers.get(f"{self.command} {self.path}", Answer(status=404))
            if callable(answer):
                answer(self)
            else:
                send(self, answer)

        do_GET = do_POST = answer  # noqa: N815 - the names that http.server looks for

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A client that hangs up is part of most of these tests."""

    server = Server(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    device.origin = f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=[0.005], daemon=True)
    thread.start()
    try:
        yield
    finally:
        device.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
