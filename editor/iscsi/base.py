"""What every iSCSI exporter promises.

Each drive is a target of its own, with one LUN. Only the initiator of the instance that the drive belongs to may log
in, with the CHAP password of that instance. Names, LUN and serial number of a drive never change, so that a server
finds after a revert what it knew before. (Names: RFC 3720, section 3.2.6. CHAP: RFC 3720, section 11.1.)

Sessions of machines that lost their power end by themselves: a target asks its initiators every few seconds (NOP-In,
RFC 3720, section 10.19) and drops those that do not answer. Otherwise a dead server would block a revert for ever.

What is served goes on being served when this process ends. Nothing an exporter knows outlives a restart of the host:
whoever uses one compares `targets` with what should be served, and publishes what is missing.
"""

import abc
from collections.abc import Iterable
from dataclasses import dataclass, field

from editor.storage.base import Device, StorageError

LUN = 1
"""Of every drive. LUN 0 is the controller of tgt."""


class ExportError(StorageError):
    """An exporter's verb that failed. A StorageError, since who waits for a drive need not know which part failed."""


@dataclass(frozen=True)
class Export:
    """A drive as it is to be served."""

    drive: int
    iqn: str
    serial: str
    """What the server sees as the disk's serial number; at most 16 characters."""
    device: Device
    initiator: str
    """The only IQN that may log in."""
    user: str
    password: str = field(repr=False)
    """CHAP; 12 to 16 letters and digits, which every initiator takes."""


@dataclass(frozen=True)
class Session:
    """An initiator that is logged in."""

    initiator: str
    address: str


@dataclass(frozen=True)
class Target:
    """A target as it is served now."""

    iqn: str
    device: str | None
    """The `name` of the device behind its LUN; None while the LUN is withdrawn."""
    initiators: frozenset[str]
    users: frozenset[str]
    sessions: tuple[Session, ...]


def still_open(session: Session, *, what: str = "Nothing was changed.") -> ExportError:
    """What to raise when a target is in use that was to be taken away."""
    return ExportError(
        f"{session.initiator} is still logged in from {session.address}, so its server is not off. {what} "
        "Shut that server down, then try again.",
        detail=f"{session}",
    )


class Exporter(abc.ABC):
    """Serves drives over iSCSI. Thread-safe. Every verb raises ExportError and nothing else, and may be repeated."""

    portal: str
    """ "address:port" that initiators connect to."""

    @abc.abstractmethod
    def publish(self, export: Export) -> None:
        """Serve a drive as described: only this initiator, this user and this password, this device.

        Starts what serves, when it does not run. What is served so already is left alone, with its sessions. One that
        is served otherwise is changed: a LUN with another device is taken away first. Refused (`still_open`) while a
        session is open under which device or initiator would change.
        """

    @abc.abstractmethod
    def withdraw(self, iqn: str, *, dead: bool = False) -> None:
        """Take the LUN away and close its device; the target stays, so that a login finds no disk. Absent is fine.

        Refused, naming it, while a session is open (`still_open`); not when the device is `dead`, since then nobody
        can use it, and it must be closed before it can be brought back.
        """

    @abc.abstractmethod
    def remove(self, iqn: str) -> None:
        """Take the target away altogether, with its account. Absent is fine. Refused while a session is open."""

    @abc.abstractmethod
    def targets(self) -> dict[str, Target]:
        """What is served now, by IQN; nothing when nothing runs that could serve. Quick with a thousand targets."""

    def names(self) -> Iterable[str]:
        """The IQNs of all targets, and maybe of some that are gone; quicker than `targets` where that is possible."""
        return self.targets()

    @abc.abstractmethod
    def settle(self) -> None:
        """Let what runs already listen at `portal`, and nowhere else; sessions go on. Quick when it does.

        Refused, with nothing changed, when what runs does not see the devices that this process sees.
        """

    @abc.abstractmethod
    def stop(self) -> None:
        """Take all targets away and end what serves. Refused, with nothing changed, while any session is open."""

    def missing_programs(self) -> str | None:
        """The sentence naming what must be installed before this exporter works, or None."""
        return None
