"""Emulated BMCs, the benchmark's own: each on an address of 127.0.0.0/8, over TLS, as much Redfish as power takes.

OpenStack's emulator, which the tests use, is a program for a few machines: five hundred of it would be what is
measured. Every answer takes as long as one of a real BMC does. Each twentieth BMC takes connections and never answers.

Run as a program, `python -m tests.bench.emulated NUMBER CERTIFICATE KEY`, it says its port, and then does what it is
told: "started?" answers when it was first asked anything, "switch 7 Off" has machine 7 be off, "told? 7" answers how
many commands its BMC took.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import sys
import threading
import time
from typing import Any

ANSWER_SECONDS = 0.1
HANGS_EACH = 20
SYSTEM = "/redfish/v1/Systems/1"
RESET = f"{SYSTEM}/Actions/ComputerSystem.Reset"
KINDS = ["On", "ForceOff", "GracefulShutdown", "ForceRestart"]


def host(number: int) -> str:
    """Answers the address of a BMC; the first is 0."""
    return f"127.7.{number // 200}.{number % 200 + 1}"


def hangs(number: int) -> bool:
    return number % HANGS_EACH == HANGS_EACH - 1


class Bmcs:
    """All of them. A command is taken, and nothing comes of it before the bench says so."""

    def __init__(self) -> None:
        self.power: dict[int, str] = {}
        self.told: dict[int, int] = {}
        self.started: float | None = None

    async def serve(self, number: int, port: int, context: ssl.SSLContext) -> None:
        """Never ends."""

        async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._answer(number, reader, writer)
            writer.close()

        server = await asyncio.start_server(meet, host(number), port, ssl=context)
        await server.serve_forever()

    async def _answer(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.started = self.started or time.time()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        method, path, *_ = head.split(" ", 2)
        length = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
        await reader.readexactly(length)
        await asyncio.sleep(ANSWER_SECONDS)
        status, body = self._say(number, method, path)
        content = json.dumps(body).encode() if body else b""
        line = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        writer.write(f"{line}Connection: close\r\n\r\n".encode() + content)
        await writer.drain()

    def _say(self, number: int, method: str, path: str) -> tuple[str, dict[str, Any]]:
        path = path.rstrip("/")
        if method == "post" and path == RESET.lower():
            self.told[number] = self.told.get(number, 0) + 1
            return "204 No Content", {}
        if path == "/redfish/v1":
            return "200 OK", {
                "Id": "RootService",
                "RedfishVersion": "1.6.0",
                "Systems": {"@odata.id": "/redfish/v1/Systems"},
            }
        if path == "/redfish/v1/systems":
            return "200 OK", {"Members": [{"@odata.id": SYSTEM}]}
        if path == SYSTEM.lower():
            reset = {"target": RESET, "ResetType@Redfish.AllowableValues": KINDS}
            power = self.power.get(number, "On")
            return "200 OK", {"Id": "1", "PowerState": power, "Actions": {"#ComputerSystem.Reset": reset}}
        return "404 Not Found", {"error": {"message": "There is nothing."}}

    def obey(self, line: str) -> Any:
        """Does what the bench says, and answers it."""
        match line.split():
            case ["switch", number, power]:
                self.power[int(number)] = power
                return time.time()
            case ["told?", number]:
                return self.told.get(int(number), 0)
            case _:
                return self.started


async def main(number: int, certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server((host(0), 0)) as free:
        port = free.getsockname()[1]
    bmcs, silent, tasks = Bmcs(), [], []
    for one in range(number):
        if hangs(one):
            silent.append(socket.create_server((host(one), port)))
        else:
            tasks.append(asyncio.create_task(bmcs.serve(one, port, context)))
    await asyncio.sleep(1)
    print(port, flush=True)
    over, loop = asyncio.Event(), asyncio.get_running_loop()

    def listen() -> None:
        for line in sys.stdin:
            print(json.dumps(bmcs.obey(line)), flush=True)
        loop.call_soon_threadsafe(over.set)

    threading.Thread(target=listen, daemon=True).start()
    await over.wait()
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
