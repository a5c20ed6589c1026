"""The Redfish power driver's contract once more, on machines that QEMU emulates: what they do takes its own time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from editor.power import Bmc, PowerCommand, PowerDriver, PowerError, PowerState, Trust
from editor.power.redfish import RedfishPower
from tests.contracts.power import Bench, PowerContract
from tests.lab.guest import UP
from tests.ports import free_port

if TYPE_CHECKING:
    from tests.lab.machines import Machine, Machines

PATIENCE_SECONDS = 30
"""For what is to happen. It takes two at most, on a busy machine more."""
NEVER_SECONDS = 2
"""For what is not to happen. Who hears a command has obeyed it by then."""


class Rack:
    """Three machines for all tests. Those that a test told something are set back before the next one."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._told: dict[Machine, int] = {}
        self.on = machines.make("on")
        self.off = machines.make("off")
        self.stubborn = machines.make("stubborn", system=False)
        machines.switch_on(self.on)
        self.on.wait_until_it_says(UP)
        machines.keep(self.on)

    def set_back(self) -> None:
        for machine, start in (
            (self.on, self._machines.go_on),
            (self.off, None),
            (self.stubborn, self._machines.switch_on),
        ):
            told = self._machines.told(machine)
            if self._told.get(machine) != told:
                self._machines.switch_off(machine)
                if start:
                    start(machine)
            self._told[machine] = told

    def clear(self) -> None:
        """Leaves nothing that takes up memory or disk."""
        for machine in (self.on, self.off, self.stubborn):
            self._machines.switch_off(machine)
            machine.kept.unlink(missing_ok=True)

    def bmc(self, machine: Machine) -> Bmc:
        fields = self._machines.fields(machine)
        return Bmc(
            fields["address"],
            username=fields["username"],
            password=fields["password"],
            trust=Trust(fields["trust"]),
            certificate=fields["certificate"],
        )


class MachinesBench(Bench):
    def __init__(self, rack: Rack) -> None:
        self.driver = self.restarted()
        self.on, self.off, self.stubborn = (rack.bmc(machine) for machine in (rack.on, rack.off, rack.stubborn))
        self.silent = replace(self.on, address=f"https://127.0.0.1:{free_port()}")
        self.malformed = replace(self.on, address="https://")

    def wait_until(self, happened: Callable[[], bool]) -> bool:
        return _within(PATIENCE_SECONDS, happened)

    def never(self, happened: Callable[[], bool]) -> bool:
        return not _within(NEVER_SECONDS, happened)

    def restarted(self) -> PowerDriver:
        return RedfishPower()

    def reaches(self, bmc: Bmc, state: PowerState) -> bool:
        return self.wait_until(lambda: self._read(bmc) == state)

    def _read(self, bmc: Bmc) -> PowerState | None:
        """None in the moment in which a machine goes off."""
        try:
            return self.driver.read(bmc)
        except PowerError as error:
            if is_going_off(error):
                return None
            raise


def is_going_off(error: PowerError) -> bool:
    """Whether the emulated BMC, asked how a machine is, fails over one that stops running at that moment."""
    return "HTTP GET" in str(error.__cause__) and "domain is not running" in error.detail


def _within(seconds: float, happened: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="module")
def rack(machines: Machines) -> Iterator[Rack]:
    rack = Rack(machines)
    yield rack
    rack.clear()


@pytest.fixture
def bench(rack: Rack) -> MachinesBench:
    rack.set_back()
    return MachinesBench(rack)


class TestRedfishPowerOnMachines(PowerContract):
    pass


def test_soft_shutdown_is_fine_at_the_very_moment_the_machine_goes_off(bench: MachinesBench) -> None:
    """libvirt then knows of no machine any more that its emulated BMC still takes for a running one."""

    def told_once_more_it_is_off() -> bool:
        try:
            bench.driver.send(bench.on, PowerCommand.SOFT_SHUTDOWN)
            return bench.driver.read(bench.on) == PowerState.OFF
        except PowerError as error:
            if is_going_off(error):
                return False
            raise

    assert bench.wait_until(told_once_more_it_is_off)
