"""OpenStack's emulated BMC in a process of its own, on a clock that tests advance: `python redfish_emulator.py FOLDER`.

Its own clock would have each change of power take one to eleven seconds, at random.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class Emulator:
    """A running emulator, from the outside.

    There is a system for each name that begins with `on-`, `off-` or `stubborn-`: on, off, or on and deaf to soft
    shutdowns.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` holds certificate.pem, key.pem and a file of users, as the emulator wants them."""
        self._now = 1_000_000
        self._clock = folder / "clock"
        self.advance(0)
        command = [sys.executable, __file__, str(folder)]
        self._log = (folder / "log").open("w")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        assert self.process.stdout
        self.port = int(self.process.stdout.readline() or "0")
        assert self.port, (folder / "log").read_text()

    def advance(self, seconds: int) -> None:
        self._now += seconds
        draft = self._clock.with_suffix(".new")
        draft.write_text(str(self._now))
        draft.replace(self._clock)

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate()
        self._log.close()


def _serve(folder: Path) -> None:
    import threading  # only the emulator's own process needs what follows, and half a second to load it

    from sushy_tools.emulator.main import app
    from sushy_tools.emulator.resources.systems import fakedriver
    from werkzeug.serving import make_server

    class Machines(fakedriver.FakeDriver):  # type: ignore[misc]
        def _get(self, identity: str) -> Any:
            kind, _, number = identity.partition("-")
            if number and identity not in self._systems:
                state = "Off" if kind == "off" else "On"
                system = {"uuid": identity, "name": identity, "power_state": state, "nics": []}
                self._systems[identity] = system | {"external_notifier": False}
            return super()._get(identity)

        def set_power_state(self, identity: str, state: str) -> None:
            if identity.startswith("stubborn-") and state == "GracefulShutdown":
                return
            if state == "ForceOff":
                self._update(identity, pending_power=None)  # a real machine that is cut off does not start after all
            super().set_power_state(identity, state)

    fakedriver.FakeDriver = Machines
    fakedriver.time = SimpleNamespace(time=lambda: int((folder / "clock").read_text()))
    app.configure(
        extra_config={
            "SUSHY_EMULATOR_AUTH_FILE": str(folder / "users"),
            "SUSHY_EMULATOR_FAKE_DRIVER": True,
            "SUSHY_EMULATOR_FAKE_SYSTEMS": [],
            "SUSHY_EMULATOR_STATE_DIR": str(folder),
        }
    )
    files = (str(folder / "certificate.pem"), str(folder / "key.pem"))
    server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=files)

    def end_with_the_tests() -> None:
        sys.stdin.read()
        server.shutdown()

    threading.Thread(target=end_with_the_tests, daemon=True).start()
    print(server.port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
