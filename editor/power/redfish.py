"""Real servers, whose BMC speaks Redfish: https://<host>[:<port>][/redfish/v1/Systems/<id>].

Without a path it is the only system of the BMC. Nothing that is told to people holds an address or a password.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager

from sushy import exceptions
from sushy.resources.constants import PowerState as RedfishState
from sushy.resources.constants import ResetType

from .base import CALL_SECONDS, Bmc, Description, PowerCommand, PowerDriver, PowerError, PowerState
from .line import GARBLED
from .service import Service, System, text

OFF_IN_RESET_SECONDS = 20
"""A BMC that says "off" so soon after a reset speaks of a machine that is about to start."""

NO_LOGIN = "The BMC asks for a user name and a password. Enter them."
WRONG_LOGIN = "The BMC refused the user name or the password. Enter them anew."
NOT_ALLOWED = "The BMC's user may not do this. Give it the role of an operator, or enter another user."
WRONG_SYSTEM = "The BMC has no system of that name. Correct the end of its address, or leave out all after the host."
BUSY = "The BMC is too busy to answer, or still starting. Try again in a minute."
FAULTY = "The BMC reports a fault of its own. If that stays so, restart the BMC."

_STATES = {
    RedfishState.ON: PowerState.ON,
    RedfishState.OFF: PowerState.OFF,
    RedfishState.POWERING_ON: PowerState.POWERING_ON,
    RedfishState.POWERING_OFF: PowerState.SHUTTING_DOWN,
    RedfishState.PAUSED: PowerState.ON,  # it has power, and may go on at any moment
    None: PowerState.UNKNOWN,  # null, nothing, or a word that no version of Redfish knows
}

# In the order of preference: the first one that the device offers is sent.
_RESET_TYPES = {
    PowerCommand.SOFT_SHUTDOWN: (ResetType.GRACEFUL_SHUTDOWN,),
    PowerCommand.POWER_ON: (ResetType.ON, ResetType.FORCE_ON),
    PowerCommand.HARD_POWER_OFF: (ResetType.FORCE_OFF,),
    PowerCommand.RESET: (ResetType.FORCE_RESTART, ResetType.POWER_CYCLE),
}

# Nothing is sent to a server in these states: some BMCs would begin again, or switch a server on to restart it.
_NOTHING_TO_DO = {
    PowerCommand.SOFT_SHUTDOWN: {PowerState.OFF, PowerState.SHUTTING_DOWN},
    PowerCommand.POWER_ON: {PowerState.ON, PowerState.POWERING_ON},
    PowerCommand.HARD_POWER_OFF: set[PowerState](),  # a BMC may say "off" of a server that is about to start
    PowerCommand.RESET: {PowerState.OFF, PowerState.POWERING_ON},
}
_OBEYED = _NOTHING_TO_DO | {PowerCommand.HARD_POWER_OFF: {PowerState.OFF}}

# Answers of a BMC that could not obey, or that had obeyed already: OpenStack's emulated one in front of libvirt says
# 500 at the moment when a machine goes off. A reset that fails like that may leave the machine off: it is told.
_MAY_BE_OBEYED = {command: {400, 409, 500} for command in PowerCommand} | {PowerCommand.RESET: {400, 409}}


class RedfishPower(PowerDriver):
    """Remembers sessions and resets: one for all servers."""

    def __init__(self, seconds: float = CALL_SECONDS - 0.5) -> None:
        self._service = Service(seconds)
        self._resets: dict[str, float] = {}

    def read(self, bmc: Bmc) -> PowerState:
        with _sentences(bmc):
            return self._state(bmc, self._service.system(bmc))

    def send(self, bmc: Bmc, command: PowerCommand) -> None:
        with _sentences(bmc, command):
            system = self._service.system(bmc)
            if self._state(bmc, system) in _NOTHING_TO_DO[command]:
                return
            offered = system.offered()
            kind = next((kind for kind in _RESET_TYPES[command] if kind in offered), None)
            if kind is None:
                detail = f"offered: {', '.join(sorted(one.value for one in offered))}"
                raise PowerError(_not_offered(command), detail, permanent=True)
            earlier = self._resets.get(bmc.address, 0)
            if command == PowerCommand.RESET:
                # Before it is sent: others read meanwhile, and the BMC's answer may get lost.
                self._resets[bmc.address] = time.monotonic() + OFF_IN_RESET_SECONDS
            try:
                system.reset_system(kind)
            except exceptions.HTTPError as error:
                if command == PowerCommand.RESET:
                    self._resets[bmc.address] = earlier
                if error.status_code not in _MAY_BE_OBEYED[command]:
                    raise
                system.refresh()
                if self._state(bmc, system) not in _OBEYED[command]:
                    raise
            except PowerError as error:
                error.unsure = True
                raise
            if command == PowerCommand.HARD_POWER_OFF:
                self._resets.pop(bmc.address, None)  # this "off" will be one

    def describe(self, bmc: Bmc) -> Description:
        with _sentences(bmc):
            system = self._service.system(bmc)
            offered = system.offered()
            return Description(
                manufacturer=text(system.manufacturer),
                model=text(system.model),
                serial=text(system.serial_number),
                firmware=system.firmware(),
                boot_order=system.boot_order(),
                power=self._state(bmc, system),
                commands=frozenset(command for command, kinds in _RESET_TYPES.items() if offered & set(kinds)),
            )

    def _state(self, bmc: Bmc, system: System) -> PowerState:
        state = _STATES[system.power_state]
        if state == PowerState.OFF and time.monotonic() < self._resets.get(bmc.address, 0):
            return PowerState.POWERING_ON
        return state


@contextmanager
def _sentences(bmc: Bmc, command: PowerCommand | None = None) -> Iterator[None]:
    """Turns whatever goes wrong into a PowerError that holds no password."""
    try:
        yield
    except PowerError as error:
        error.detail = _without_secrets(bmc, error.detail)
        raise
    except exceptions.HTTPError as error:
        sentence, permanent = _refusal(bmc, command, error.status_code)
        detail = _without_secrets(bmc, f"{error.status_code}: {error.detail}")
        raise PowerError(sentence, detail, permanent=permanent) from error
    except (exceptions.SushyError, AttributeError, LookupError, TypeError, ValueError) as error:
        # sushy takes what comes for what the standard says, and stumbles over the rest in all these ways.
        raise PowerError(GARBLED, _without_secrets(bmc, f"{type(error).__name__}: {error}")) from error


def _refusal(bmc: Bmc, command: PowerCommand | None, status: int) -> tuple[str, bool]:
    """Answers the sentence for an HTTP status, and whether it is permanent."""
    match status:
        case 401:
            return WRONG_LOGIN if bmc.username else NO_LOGIN, True
        case 403:
            return NOT_ALLOWED, True
        case 404 if "/Systems/" in bmc.address:
            return WRONG_SYSTEM, False  # many BMCs have none until they have started
        case 429 | 503:
            return BUSY, False
        case 405 | 501 if command:
            return _not_offered(command), True
        case _ if status >= 500:
            return FAULTY, False
        case _ if command:
            return f"The BMC refused {_label(command)}. Look at the machine, or try again in a minute.", False
        case _:
            return GARBLED, False


def _not_offered(command: PowerCommand) -> str:
    return f"The BMC of this server does not offer {_label(command)}. Choose another command, or renew its firmware."


def _label(command: PowerCommand) -> str:
    return command.replace("_", " ").title()


def _without_secrets(bmc: Bmc, detail: str) -> str:
    """Some devices repeat a request in their answer."""
    basic = b64encode(f"{bmc.username}:{bmc.password}".encode()).decode()
    for secret in filter(None, (bmc.password, json.dumps(bmc.password)[1:-1], basic)):
        detail = detail.replace(secret, "…")
    return text(detail, longest=500)
