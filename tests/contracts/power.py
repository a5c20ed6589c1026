"""What every power driver must do: one class of tests, run against each of them.

A driver's own test module makes a `bench` fixture and subclasses PowerContract.
"""

from __future__ import annotations

import abc
from collections.abc import Callable

import pytest

from editor.power import PowerCommand, PowerDriver, PowerError, PowerState


class Bench(abc.ABC):
    """Servers to try a driver on."""

    driver: PowerDriver
    on: str
    """Address of a server that is on."""
    off: str
    """Address of a server that is off."""
    stubborn: str
    """Address of a server that is on and ignores soft shutdowns."""
    silent: str
    """Address of a BMC that does not answer."""
    malformed: str
    """An address that no BMC can have."""

    @abc.abstractmethod
    def wait_until(self, happened: Callable[[], bool]) -> bool:
        """Lets time pass until `happened()` is true; answers false when it did not within the bench's patience."""

    @abc.abstractmethod
    def restarted(self) -> PowerDriver:
        """Answers the driver as the next process finds it."""

    def reaches(self, address: str, state: PowerState) -> bool:
        return self.wait_until(lambda: self.driver.read(address) == state)

    def told(self, address: str, command: PowerCommand, state: PowerState) -> bool:
        """Sends the command and answers whether the state came."""
        self.driver.send(address, command)
        return self.reaches(address, state)


class PowerContract:
    """Promises of PowerDriver."""

    def test_reading_changes_nothing(self, bench: Bench) -> None:
        readings = [bench.driver.read(address) for address in (bench.on, bench.off) for _ in range(3)]

        assert readings == [PowerState.ON] * 3 + [PowerState.OFF] * 3

    def test_soft_shutdown_ends_in_off(self, bench: Bench) -> None:
        assert bench.told(bench.on, PowerCommand.SOFT_SHUTDOWN, PowerState.OFF)

    def test_server_that_shuts_down_is_not_called_off_before_it_is(self, bench: Bench) -> None:
        bench.driver.send(bench.on, PowerCommand.SOFT_SHUTDOWN)

        assert bench.driver.read(bench.on) in {PowerState.ON, PowerState.SHUTTING_DOWN}

    def test_ignored_soft_shutdown_is_accepted_and_leaves_the_server_on(self, bench: Bench) -> None:
        assert not bench.told(bench.stubborn, PowerCommand.SOFT_SHUTDOWN, PowerState.OFF)
        assert bench.driver.read(bench.stubborn) == PowerState.ON

    def test_hard_power_off_stops_a_server_that_ignores_soft_shutdown(self, bench: Bench) -> None:
        bench.driver.send(bench.stubborn, PowerCommand.SOFT_SHUTDOWN)

        assert bench.told(bench.stubborn, PowerCommand.HARD_POWER_OFF, PowerState.OFF)

    def test_hard_power_off_during_a_soft_shutdown_ends_in_off(self, bench: Bench) -> None:
        bench.driver.send(bench.on, PowerCommand.SOFT_SHUTDOWN)

        assert bench.told(bench.on, PowerCommand.HARD_POWER_OFF, PowerState.OFF)

    def test_hard_power_off_of_a_starting_server_ends_in_off(self, bench: Bench) -> None:
        bench.driver.send(bench.off, PowerCommand.POWER_ON)

        assert bench.told(bench.off, PowerCommand.HARD_POWER_OFF, PowerState.OFF)

    def test_power_on_ends_in_on(self, bench: Bench) -> None:
        assert bench.told(bench.off, PowerCommand.POWER_ON, PowerState.ON)

    def test_reset_ends_in_on_without_being_called_off(self, bench: Bench) -> None:
        bench.driver.send(bench.on, PowerCommand.RESET)

        assert bench.driver.read(bench.on) in {PowerState.ON, PowerState.POWERING_ON}
        assert bench.reaches(bench.on, PowerState.ON)

    def test_off_and_on_again(self, bench: Bench) -> None:
        assert bench.told(bench.on, PowerCommand.SOFT_SHUTDOWN, PowerState.OFF)
        assert bench.told(bench.on, PowerCommand.POWER_ON, PowerState.ON)
        assert bench.told(bench.on, PowerCommand.HARD_POWER_OFF, PowerState.OFF)

    def test_power_on_of_a_running_server_changes_nothing(self, bench: Bench) -> None:
        bench.driver.send(bench.on, PowerCommand.POWER_ON)

        assert bench.driver.read(bench.on) == PowerState.ON

    @pytest.mark.parametrize(
        "command", [PowerCommand.SOFT_SHUTDOWN, PowerCommand.HARD_POWER_OFF, PowerCommand.RESET], ids=str
    )
    def test_server_that_is_off_stays_off(self, bench: Bench, command: PowerCommand) -> None:
        bench.driver.send(bench.off, command)

        assert not bench.wait_until(lambda: bench.driver.read(bench.off) != PowerState.OFF)

    @pytest.mark.parametrize(
        ("command", "outcome"),
        [
            (PowerCommand.SOFT_SHUTDOWN, PowerState.OFF),
            (PowerCommand.HARD_POWER_OFF, PowerState.OFF),
            (PowerCommand.RESET, PowerState.ON),
        ],
        ids=str,
    )
    def test_repeated_command_is_fine(self, bench: Bench, command: PowerCommand, outcome: PowerState) -> None:
        bench.driver.send(bench.on, command)
        bench.driver.send(bench.on, command)

        assert bench.told(bench.on, command, outcome)

    def test_servers_do_not_touch_each_other(self, bench: Bench) -> None:
        assert bench.told(bench.on, PowerCommand.HARD_POWER_OFF, PowerState.OFF)

        assert bench.driver.read(bench.stubborn) == PowerState.ON

    def test_state_survives_a_restart_of_the_process(self, bench: Bench) -> None:
        assert bench.told(bench.on, PowerCommand.HARD_POWER_OFF, PowerState.OFF)
        assert bench.told(bench.off, PowerCommand.POWER_ON, PowerState.ON)

        bench.driver = bench.restarted()

        assert [bench.driver.read(bench.on), bench.driver.read(bench.off)] == [PowerState.OFF, PowerState.ON]

    def test_silent_bmc_is_an_error_that_may_pass(self, bench: Bench) -> None:
        with pytest.raises(PowerError) as reading:
            bench.driver.read(bench.silent)
        with pytest.raises(PowerError) as telling:
            bench.driver.send(bench.silent, PowerCommand.HARD_POWER_OFF)

        assert [reading.value.permanent, telling.value.permanent] == [False, False]
        assert all(str(error.value).endswith(".") for error in (reading, telling))

    def test_malformed_address_is_a_permanent_error(self, bench: Bench) -> None:
        with pytest.raises(PowerError) as reading:
            bench.driver.read(bench.malformed)
        with pytest.raises(PowerError) as telling:
            bench.driver.send(bench.malformed, PowerCommand.POWER_ON)

        assert [reading.value.permanent, telling.value.permanent] == [True, True]
