"""The simulated exporter: the contract, what is its own, and exporters that lie, which the contract must catch."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from editor.iscsi import EXPORTERS, Export, ExportError, Target, exporter_for
from editor.iscsi.simulated import SimulatedExporter
from editor.storage.base import Device

from .iscsi import Disk, ExporterContract, Network, NoDisk, Refused, served

PORTAL = "192.0.2.1:3260"


@dataclass
class SimulatedDisk(Disk):
    exporter: SimulatedExporter
    iqn: str

    @property
    def serial(self) -> str:
        return self._export().serial

    @property
    def device(self) -> str:
        return self._export().device.name

    def _export(self) -> Export:
        there = self.exporter._targets.get(self.iqn)
        if there is None or there.device is None or not there.sessions:
            raise NoDisk
        export = self.exporter.exports[self.iqn]
        return replace(export, device=replace(export.device, name=there.device))


class SimulatedNetwork(Network):
    """Servers that ask the exporter itself whether they may log in."""

    def __init__(self, exporter: SimulatedExporter) -> None:
        self.exporter = self.simulated = exporter

    def make_device(self, name: str) -> Device:
        return Device("file", f"/pool/{name}")

    @contextmanager
    def log_in(self, export: Export) -> Iterator[Disk]:
        there = self.simulated._targets.get(export.iqn)
        asked = (export.initiator, export.user, export.password)
        if there is None or asked != self.admitted(there):
            raise Refused
        self.simulated.log_in(export.iqn)
        try:
            yield SimulatedDisk(self.simulated, export.iqn)
        finally:
            if export.iqn in self.simulated._targets:
                self.simulated.log_out(export.iqn)

    def admitted(self, target: Target) -> tuple[str, str, str]:
        [initiator], [user] = target.initiators, target.users
        password = self.passwords()[user]
        return initiator, user, password

    def passwords(self) -> dict[str, str]:
        """Of each user; the one that was told last counts for all drives."""
        return {export.user: export.password for export in self.simulated.exports.values()}


class TestSimulatedExporter(ExporterContract):
    @pytest.fixture
    def network(self) -> Network:
        return SimulatedNetwork(SimulatedExporter(Path(), PORTAL))


class TestForTests:
    """What the simulated exporter has beyond the seam."""

    def test_failures_come_in_turn_and_change_nothing(self) -> None:
        network = SimulatedNetwork(SimulatedExporter(Path(), PORTAL))
        drive = network.published()
        for sentence in ("Hung.", "Broken."):
            network.simulated.fail_next("withdraw", ExportError(sentence))

        for sentence in ("Hung.", "Broken."):
            with pytest.raises(ExportError, match=sentence):
                network.exporter.withdraw(drive.iqn)
        assert network.exporter.targets() == {drive.iqn: served(drive)}

        network.exporter.withdraw(drive.iqn)
        assert network.simulated.calls.count(("withdraw", drive.iqn)) == 3

    def test_restarted_host_serves_nothing(self) -> None:
        network = SimulatedNetwork(SimulatedExporter(Path(), PORTAL))
        drive = network.published()

        network.simulated.forget()

        assert network.exporter.targets() == {}
        network.assert_refused(drive)


def test_one_exporter_for_an_installation(tmp_path: Path) -> None:
    exporter = exporter_for("simulated", tmp_path, PORTAL)

    assert exporter_for("simulated", tmp_path, PORTAL) is exporter
    assert exporter.portal == PORTAL


def test_unknown_exporter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"Choose one of: {', '.join(EXPORTERS)}"):
        exporter_for("floppy", tmp_path, PORTAL)


class ServesNothing(SimulatedExporter):
    def publish(self, export: Export) -> None: ...


class KeepsTheFirstExport(SimulatedExporter):
    def publish(self, export: Export) -> None:
        if export.iqn not in self.exports:
            super().publish(export)


class EndsSessionsOnPublish(SimulatedExporter):
    def publish(self, export: Export) -> None:
        if export.iqn in self._targets:
            self.log_out(export.iqn)
        super().publish(export)


class ChangesUnderAServer(SimulatedExporter):
    def publish(self, export: Export) -> None:
        there = self._targets.pop(export.iqn, None)
        super().publish(export)
        if there:
            self._targets[export.iqn] = replace(self._targets[export.iqn], sessions=there.sessions)


class ChangesTheSerial(SimulatedExporter):
    def publish(self, export: Export) -> None:
        again = export.iqn in self.exports
        super().publish(replace(export, serial=f"{export.serial}B") if again else export)


class AdmitsTheOldOwnerToo(SimulatedExporter):
    def publish(self, export: Export) -> None:
        there = self._targets.get(export.iqn)
        super().publish(export)
        if there:
            now = self._targets[export.iqn]
            self._targets[export.iqn] = replace(now, initiators=now.initiators | there.initiators)


class WithdrawsInUse(SimulatedExporter):
    def withdraw(self, iqn: str, *, dead: bool = False) -> None:
        super().withdraw(iqn, dead=True)


class NeverWithdrawsInUse(SimulatedExporter):
    def withdraw(self, iqn: str, *, dead: bool = False) -> None:
        super().withdraw(iqn)


class WithdrawsNothing(SimulatedExporter):
    def withdraw(self, iqn: str, *, dead: bool = False) -> None: ...


class WithdrawsTheTarget(SimulatedExporter):
    def withdraw(self, iqn: str, *, dead: bool = False) -> None:
        super().remove(iqn)


class RemovesInUse(SimulatedExporter):
    def _demand_unused(self, iqn: str) -> None: ...


class RemovesTheDiskOnly(SimulatedExporter):
    def remove(self, iqn: str) -> None:
        super().withdraw(iqn)


class RemovesTheUserOfOthers(SimulatedExporter):
    def remove(self, iqn: str) -> None:
        users = self._targets[iqn].users if iqn in self._targets else frozenset()
        super().remove(iqn)
        for other, target in list(self._targets.items()):
            self._targets[other] = replace(target, users=target.users - users)


class StopsInUse(SimulatedExporter):
    def stop(self) -> None:
        self.forget()


class StopsHalf(SimulatedExporter):
    def stop(self) -> None:
        for iqn in list(self._targets):
            self.remove(iqn)


class StopsNothing(SimulatedExporter):
    def stop(self) -> None: ...


class HidesSessions(SimulatedExporter):
    def targets(self) -> dict[str, Target]:
        return {iqn: replace(target, sessions=()) for iqn, target in super().targets().items()}


class SharesSessions(SimulatedExporter):
    def targets(self) -> dict[str, Target]:
        found = super().targets()
        everybody = tuple(session for target in found.values() for session in target.sessions)
        return {iqn: replace(target, sessions=everybody) for iqn, target in found.items()}


class RefusesTheAbsent(SimulatedExporter):
    def withdraw(self, iqn: str, *, dead: bool = False) -> None:
        if iqn not in self._targets:
            raise ExportError("There is no such target.")
        super().withdraw(iqn, dead=dead)


class ToldNothingOfInitiators(SimulatedExporter):
    def targets(self) -> dict[str, Target]:
        return {iqn: replace(target, initiators=frozenset()) for iqn, target in super().targets().items()}


LIARS = [
    *(ServesNothing, KeepsTheFirstExport, EndsSessionsOnPublish, ChangesUnderAServer, ChangesTheSerial),
    *(AdmitsTheOldOwnerToo, WithdrawsInUse, NeverWithdrawsInUse, WithdrawsNothing, WithdrawsTheTarget),
    *(RemovesInUse, RemovesTheDiskOnly, RemovesTheUserOfOthers, StopsInUse, StopsHalf, StopsNothing),
    *(HidesSessions, SharesSessions, RefusesTheAbsent, ToldNothingOfInitiators),
]


class AdmitsAnyone(SimulatedNetwork):
    """Servers of a portal that does not ask enough."""

    def __init__(self, exporter: SimulatedExporter, unasked: int) -> None:
        super().__init__(exporter)
        self.unasked = unasked

    @contextmanager
    def log_in(self, export: Export) -> Iterator[Disk]:
        there = self.simulated._targets.get(export.iqn)
        if there is None:
            raise Refused
        asked = [export.initiator, export.user, export.password]
        asked[self.unasked] = self.admitted(there)[self.unasked]
        initiator, user, password = asked
        with super().log_in(replace(export, initiator=initiator, user=user, password=password)) as disk:
            yield disk


def broken(network_of: type[SimulatedNetwork], *arguments: object, exporter: type[SimulatedExporter]) -> set[str]:
    """The tests of the contract that an exporter fails."""
    failed = set()
    for name, test in inspect.getmembers(ExporterContract, inspect.isfunction):
        marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
        for parameters in [{mark.args[0]: value} for mark in marks for value in mark.args[1]] or [{}]:
            try:
                test(ExporterContract(), network_of(exporter(Path(), PORTAL), *arguments), **parameters)
            except (AssertionError, ExportError, Refused, NoDisk, KeyError, ValueError, pytest.fail.Exception):
                failed.add(name)
    return failed


def test_honest_exporter_breaks_no_promise() -> None:
    assert broken(SimulatedNetwork, exporter=SimulatedExporter) == set()


@pytest.mark.parametrize("liar", LIARS, ids=lambda liar: liar.__name__)
def test_contract_catches_a_lying_exporter(liar: type[SimulatedExporter]) -> None:
    assert broken(SimulatedNetwork, exporter=liar) != set()


@pytest.mark.parametrize("unasked", [0, 1, 2], ids=["initiator", "user", "password"])
def test_contract_catches_an_open_door(unasked: int) -> None:
    assert broken(AdmitsAnyone, unasked, exporter=SimulatedExporter) != set()
