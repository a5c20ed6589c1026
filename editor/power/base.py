"""What every power driver promises: how a BMC is asked and told.

Drivers get plain values and import no model. The values of PowerState and PowerCommand are the words that
`editor.models` stores.

Errors: PowerError, with `permanent` telling whether trying again can help.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from enum import StrEnum

CALL_SECONDS = 10
"""A driver's call has ended after this time, with an answer or with PowerError."""


class PowerState(StrEnum):
    """What a BMC says of its server."""

    ON = "on"
    """Running, or somewhere on the way down: most BMCs say "on" until the last moment of a shutdown."""
    OFF = "off"
    """Without power: nothing of the server reads or writes any more."""
    POWERING_ON = "powering_on"
    """On the way up, in firmware or boot loader. Some BMCs say "off" or "on" instead."""
    SHUTTING_DOWN = "shutting_down"
    """On the way down, where a BMC can tell."""
    UNKNOWN = "unknown"
    """The BMC answered, but not with a state it could vouch for. A BMC that does not answer is a PowerError."""


class PowerCommand(StrEnum):
    """What a server can be told."""

    SOFT_SHUTDOWN = "soft_shutdown"
    """Asks the operating system to stop. It may take minutes, refuse, or never hear of it."""
    POWER_ON = "power_on"
    """Starts a server that is off."""
    HARD_POWER_OFF = "hard_power_off"
    """Cuts the power. What the server has not written to disk is lost."""
    RESET = "reset"
    """Restarts a running server at once, without a clean shutdown."""


class Trust(StrEnum):
    """What makes a BMC's TLS certificate good."""

    SYSTEM = "system"
    """One of the certificate authorities of the operating system signed it, for this very host."""
    AUTHORITY = "authority"
    """One of the certificate authorities in `Bmc.certificate` (PEM, one or more) signed it, for this very host."""
    PINNED = "pinned"
    """It is the one in `Bmc.certificate`: as PEM, or its SHA-256 fingerprint in hex, with or without colons.

    Its names, dates and signatures do not matter: most BMCs sign their own, for no host in particular.
    """


@dataclass(frozen=True)
class Bmc:
    """Where a BMC is, who asks, and how it is known to be the right one."""

    address: str
    username: str = ""
    password: str = field(default="", repr=False)
    trust: Trust = Trust.SYSTEM
    certificate: str = field(default="", repr=False)
    plain_http: bool = False
    """Whether the address may be http://, where everybody on the way reads the password."""


@dataclass(frozen=True)
class Description:
    """What a BMC says of its server and of itself. What it does not say is empty."""

    manufacturer: str
    model: str
    serial: str
    firmware: str
    """The version of the BMC's own firmware."""
    boot_order: tuple[str, ...]
    """What the server boots from, the first one first, in the BMC's own words."""
    power: PowerState
    commands: frozenset[PowerCommand]
    """What the BMC says that it can be told."""


class PowerError(Exception):
    """A BMC could not be asked or told. The text is the sentence that a user reads.

    `detail` is what the device or library said, for support only: it may hold addresses and paths, never a password.
    `permanent` is true when no later attempt can succeed before somebody changes something. `unsure` is true of a
    command that was on its way and may have been taken all the same: only readings tell.
    """

    def __init__(self, sentence: str, detail: str = "", *, permanent: bool = False, unsure: bool = False) -> None:
        super().__init__(sentence)
        self.detail = detail
        self.permanent = permanent
        self.unsure = unsure


class PowerDriver(abc.ABC):
    """Reaches BMCs of one kind. One instance serves many servers and is called from many threads.

    A call keeps nothing open and ends within CALL_SECONDS, whatever the BMC does.
    """

    @abc.abstractmethod
    def read(self, bmc: Bmc) -> PowerState:
        """Answers what the BMC says now, never a remembered answer.

        Raises PowerError when the BMC does not answer, refuses, or there is no such address. OFF is only
        answered when the server surely has no power: a revert of its drives relies on it.
        """

    @abc.abstractmethod
    def send(self, bmc: Bmc, command: PowerCommand) -> None:
        """Has the BMC accept `command`; what comes of it is seen by `read` later, or never.

        May be repeated: a state that is already there, or on its way, is fine and is not begun again. To a server
        that is off, SOFT_SHUTDOWN, HARD_POWER_OFF and RESET do nothing. A SOFT_SHUTDOWN that reaches a server before
        its operating system runs may be lost without a word. Raises PowerError when the BMC did not take the
        command, or when that is not known: then it is `unsure`.
        """

    @abc.abstractmethod
    def describe(self, bmc: Bmc) -> Description:
        """Answers what there is behind the BMC, and what it can be told. Raises PowerError as `read` does."""
