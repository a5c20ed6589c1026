"""An exporter without a network, for unit tests and fault injection. It behaves as the real one does."""

import threading
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from editor.iscsi.base import Export, Exporter, Session, Target, still_open


class SimulatedExporter(Exporter):
    """Targets in memory."""

    def __init__(self, folder: Path, portal: str) -> None:
        del folder  # nothing to keep
        self.portal = portal
        self.exports: dict[str, Export] = {}
        """What was published and not removed, by IQN."""
        self.calls: list[tuple[str, str]] = []
        """The verb and the IQN it was about, in order, failed calls included."""
        self._targets: dict[str, Target] = {}
        self._failures: defaultdict[str, list[Exception]] = defaultdict(list)
        self._lock = threading.RLock()

    # For tests

    def fail_next(self, verb: str, error: Exception) -> None:
        """Let the next call of a verb raise, having done nothing. Several are raised in turn."""
        self._failures[verb].append(error)

    def log_in(self, iqn: str, address: str = "192.0.2.7") -> None:
        """What the server does that the target is for."""
        with self._lock:
            target = self._targets[iqn]
            (initiator,) = target.initiators
            self._targets[iqn] = replace(target, sessions=(*target.sessions, Session(initiator, address)))

    def log_out(self, iqn: str) -> None:
        """Ends all sessions of a target."""
        with self._lock:
            self._targets[iqn] = replace(self._targets[iqn], sessions=())

    def forget(self) -> None:
        """What a restart of the host does."""
        with self._lock:
            self._targets.clear()
            self.exports.clear()

    # The seam

    def publish(self, export: Export) -> None:
        with self._lock:
            self._called("publish", export.iqn)
            there = self._targets.get(export.iqn)
            if there and (there.device not in {None, export.device.name} or there.initiators != {export.initiator}):
                self._demand_unused(export.iqn)
            sessions = there.sessions if there else ()
            self.exports[export.iqn] = export
            self._targets[export.iqn] = Target(
                export.iqn,
                export.device.name,
                frozenset([export.initiator]),
                frozenset([export.user]),
                sessions,
            )

    def withdraw(self, iqn: str, *, dead: bool = False) -> None:
        with self._lock:
            self._called("withdraw", iqn)
            if iqn in self._targets:
                if not dead:
                    self._demand_unused(iqn)
                self._targets[iqn] = replace(self._targets[iqn], device=None)

    def remove(self, iqn: str) -> None:
        with self._lock:
            self._called("remove", iqn)
            if iqn in self._targets:
                self._demand_unused(iqn)
                del self._targets[iqn], self.exports[iqn]

    def targets(self) -> dict[str, Target]:
        with self._lock:
            self._called("targets", "")
            return dict(self._targets)

    def settle(self) -> None:
        """It listens nowhere."""

    def stop(self) -> None:
        with self._lock:
            self._called("stop", "")
            for iqn in self._targets:
                self._demand_unused(iqn)
            self._targets.clear()
            self.exports.clear()

    def _called(self, verb: str, iqn: str) -> None:
        self.calls.append((verb, iqn))
        if self._failures[verb]:
            raise self._failures[verb].pop(0)

    def _demand_unused(self, iqn: str) -> None:
        for session in self._targets[iqn].sessions:
            raise still_open(session)
