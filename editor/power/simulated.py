"""Servers that exist only as small files, with the delays and the moods of real ones.

An address is `simulated://<name>`, with options:

- `soft=ignored`: accepts a soft shutdown and never stops
- `bmc=silent`: the BMC does not answer
- `start=off`: off when first met (otherwise on)
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from .base import Bmc, Description, PowerCommand, PowerDriver, PowerError, PowerState

_OPTIONS = {"soft": {"ignored", "obeyed"}, "bmc": {"silent", "answers"}, "start": {"on", "off"}}


@dataclass(frozen=True)
class Delays:
    """How long each command takes, in seconds."""

    soft_shutdown: float = 6
    power_on: float = 4
    hard_power_off: float = 1
    reset: float = 5


class _Change(StrEnum):
    """What a machine is in the middle of."""

    NONE = ""
    STARTING = "starting"
    STOPPING = "stopping"
    FORCED_OFF = "forced_off"
    RESETTING = "resetting"


# What the BMC says meanwhile: a machine on the way down is "on" to most BMCs until it is off.
_MEANWHILE = {
    _Change.STARTING: PowerState.POWERING_ON,
    _Change.STOPPING: PowerState.ON,
    _Change.FORCED_OFF: PowerState.ON,
    _Change.RESETTING: PowerState.POWERING_ON,
}


@dataclass(frozen=True)
class _Machine:
    """A machine at rest (`change` is empty), or changing from `since` to `until` and in `state` after that."""

    state: PowerState
    change: _Change = _Change.NONE
    since: datetime | None = None
    until: datetime | None = None

    def at(self, now: datetime) -> _Machine:
        """Answers the machine as it is at `now`: at rest once its change is over.

        A clock that was set back to before the change ends it too, so that nobody waits for hours.
        """
        if self.since is None or self.until is None or self.since <= now < self.until:
            return self
        return _Machine(self.state)

    def told(self, command: PowerCommand, now: datetime, delays: Delays) -> _Machine:
        """Answers the machine after a command; itself, when the command changes nothing."""
        running = self.state == PowerState.ON and self.change == _Change.NONE
        match command:
            case PowerCommand.POWER_ON:
                off = self.state == PowerState.OFF and self.change == _Change.NONE
                return _changing(PowerState.ON, _Change.STARTING, now, delays.power_on) if off else self
            case PowerCommand.SOFT_SHUTDOWN:
                # In firmware nobody listens to the power button yet: accepted, and lost.
                return _changing(PowerState.OFF, _Change.STOPPING, now, delays.soft_shutdown) if running else self
            case PowerCommand.HARD_POWER_OFF:
                if self.change == _Change.FORCED_OFF or self == _Machine(PowerState.OFF):
                    return self
                return _changing(PowerState.OFF, _Change.FORCED_OFF, now, delays.hard_power_off)
            case PowerCommand.RESET:
                if running or self.change == _Change.STOPPING:
                    return _changing(PowerState.ON, _Change.RESETTING, now, delays.reset)
                return self


def _changing(state: PowerState, change: _Change, now: datetime, seconds: float) -> _Machine:
    return _Machine(state, change, now, now + timedelta(seconds=seconds))


@dataclass(frozen=True)
class _Address:
    """An address taken apart: which machine, and its moods."""

    name: str
    ignores_soft: bool
    silent: bool
    starts: PowerState


def _parsed(address: str) -> _Address:
    try:
        parts = urlsplit(address)
        options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        well_formed = (
            parts.scheme == "simulated"
            and bool(parts.netloc)
            and parts.path in {"", "/"}
            and not parts.fragment
            and all(value in _OPTIONS.get(name, set()) for name, value in options.items())
        )
    except ValueError:
        well_formed = False
    if not well_formed:
        raise PowerError(
            "The BMC address of this server is not understood. Write it like simulated://rack-1-07.",
            f"address: {address!r}",
            permanent=True,
        )
    return _Address(
        name=parts.netloc,
        ignores_soft=options.get("soft") == "ignored",
        silent=options.get("bmc") == "silent",
        starts=PowerState(options.get("start", "on")),
    )


class SimulatedPower(PowerDriver):
    """Keeps one small file for each machine in the folder `machines` under `folder`.

    Machines live on while nobody runs: the time that passes on `clock` is all that moves them.
    """

    def __init__(self, folder: Path, clock: Callable[[], datetime], delays: Delays | None = None) -> None:
        self._folder = folder / "machines"
        self._clock = clock
        self._delays = delays or Delays()

    def read(self, bmc: Bmc) -> PowerState:
        parsed = self._reached(bmc)
        machine = self._load(parsed).at(self._clock())
        return _MEANWHILE.get(machine.change, machine.state)

    def send(self, bmc: Bmc, command: PowerCommand) -> None:
        parsed = self._reached(bmc)
        if command == PowerCommand.SOFT_SHUTDOWN and parsed.ignores_soft:
            return
        with self._locked():
            now = self._clock()
            machine = self._load(parsed).at(now)
            after = machine.told(command, now, self._delays)
            if after != machine:
                self._save(parsed, after)

    def describe(self, bmc: Bmc) -> Description:
        return Description(
            manufacturer="Infrastructure Editor",
            model="Simulated server",
            serial=self._reached(bmc).name,
            firmware="1.0",
            boot_order=("Network", "Disk"),
            power=self.read(bmc),
            commands=frozenset(PowerCommand),
        )

    def _reached(self, bmc: Bmc) -> _Address:
        parsed = _parsed(bmc.address)
        if parsed.silent:
            raise PowerError("The BMC of this server does not answer.", f"{parsed.name}: no route to host")
        return parsed

    def _path(self, parsed: _Address) -> Path:
        # A digest: no address, however it is written, can name a file elsewhere.
        return self._folder / f"{hashlib.sha256(parsed.name.encode()).hexdigest()[:32]}.json"

    def _load(self, parsed: _Address) -> _Machine:
        try:
            text = self._path(parsed).read_text()
        except FileNotFoundError:
            return _Machine(parsed.starts)
        except OSError as error:
            raise _disk_error(error) from error
        try:
            saved = json.loads(text)
            return _Machine(
                PowerState(saved["state"]),
                _Change(saved["change"]),
                datetime.fromisoformat(saved["since"]) if saved["since"] else None,
                datetime.fromisoformat(saved["until"]) if saved["until"] else None,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise PowerError(
                "What is kept of this simulated server is damaged. Delete its file; it is then as when first met.",
                f"{self._path(parsed).name}: {error}",
                permanent=True,
            ) from error

    def _save(self, parsed: _Address, machine: _Machine) -> None:
        """Replaces the machine's file at once: whoever reads sees the old text or the new one, never half."""
        path = self._path(parsed)
        draft = path.with_suffix(".new")
        text = json.dumps(
            {
                "name": parsed.name,
                "state": machine.state,
                "change": machine.change,
                "since": machine.since.isoformat() if machine.since else None,
                "until": machine.until.isoformat() if machine.until else None,
            }
        )
        try:
            with draft.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            raise _disk_error(error) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One command at a time, also between processes: a command is a read and a write."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _disk_error(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _disk_error(error: OSError) -> PowerError:
    return PowerError(
        "The simulated servers cannot be kept on disk. Make room, or make the data folder writable.", str(error)
    )
