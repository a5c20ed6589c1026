"""What every power driver must do: one class of tests, run against each of them.

A driver's own test module makes a `bench` fixture and subclasses PowerContract.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from editor.power import Bmc, PowerCommand, PowerDriver, PowerError, PowerState


class Bench(abc.ABC):
    """Servers to try a driver on."""

    driver: PowerDriver
    on: Bmc
    """Of a server that is on."""
    off: Bmc
    """Of a server that is off."""
    stubborn: Bmc
    """Of a server that is on and ignores soft shutdowns."""
    silent: Bmc
    """One that does not answer."""
    malformed: Bmc
    """With an address that no BMC can have."""

    @abc.abstractmethod
    def wait_until(self, happened: Callable[[], bool]) -> bool:
        """Lets time pass until `happened()` is true; answers false when it did not within the bench's patience."""

    def never(self, happened: Callable[[], bool]) -> bool:
        """Lets as much time pass and answers whether `happened()` stayed false. Where time is real, less will do."""
        return not self.wait_until(happened)

    @abc.abstractmethod
    def restarted(self) -> PowerDriver:
        """Answers the driver as the next process finds it."""

    def reaches(self, bmc: Bmc, state: PowerState) -> bool:
        return self.wait_until(lambda: self.driver.read(bmc) == state)

    def told(self, bmc: Bmc, command: PowerCommand, state: PowerState) -> bool:
        """Sends the command and answers whether the state came."""
        self.driver.send(bmc, command)
        return self.reaches(bmc, state)


class PowerContract:
    """Promises of PowerDriver."""

    def test_reading_changes_nothing(self, bench: Bench) -> None:
        readings = [bench.driver.read(bmc) for bmc in (bench.on, bench.off) for _ in range(3)]

        assert readings == [PowerState.ON] * 3 + [PowerState.OFF] * 3

    def test_soft_shutdown_ends_in_off(self, bench: Bench) -> None:
        assert bench.told(bench.on, PowerCommand.SOFT_SHUTDOWN, PowerState.OFF)

    def test_server_that_shuts_down_is_not_called_off_before_it_is(self, bench: Bench) -> None:
        bench.driver.send(bench.on, PowerCommand.SOFT_SHUTDOWN)

        assert bench.driver.read(bench.on) in {PowerState.ON, PowerState.SHUTTING_DOWN}

    def test_ignored_soft_shutdown_is_accepted_and_leaves_the_server_on(self, bench: Bench) -> None:
        bench.driver.send(bench.stubborn, PowerCommand.SOFT_SHUTDOWN)

        assert bench.never(lambda: bench.driver.read(bench.stubborn) == PowerState.OFF)
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

    def test_server_is_not_called_off_while_a_reset_is_sent(self, bench: Bench) -> None:
        with ThreadPoolExecutor(1) as thread:
            sending = thread.submit(bench.driver.send, bench.on, PowerCommand.RESET)
            readings = {bench.driver.read(bench.on)}
            while not sending.done():
                with suppress(PowerError):  # a BMC that has no answer now calls nothing off
                    readings.add(bench.driver.read(bench.on))
        sending.result()

        assert readings <= {PowerState.ON, PowerState.POWERING_ON}

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

        assert bench.never(lambda: bench.driver.read(bench.off) != PowerState.OFF)

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

    def test_description_says_the_same_power_as_a_reading(self, bench: Bench) -> None:
        descriptions = [bench.driver.describe(bmc) for bmc in (bench.on, bench.off)]

        assert [one.power for one in descriptions] == [PowerState.ON, PowerState.OFF]
        assert all(one.manufacturer for one in descriptions)
        assert [one.commands for one in descriptions] == [set(PowerCommand)] * 2

    def test_silent_bmc_is_an_error_that_may_pass(self, bench: Bench) -> None:
        with pytest.raises(PowerError) as reading:
            bench.driver.read(bench.silent)
        with pytest.raises(PowerError) as telling:
            bench.driver.send(bench.silent, PowerCommand.HARD_POWER_OFF)
        with pytest.raises(PowerError) as describing:
            bench.driver.describe(bench.silent)

        errors = [reading.value, telling.value, describing.value]
        assert [error.permanent for error in errors] == [False] * 3
        assert all(str(error).endswith(".") for error in errors)

    def test_malformed_address_is_a_permanent_error(self, bench: Bench) -> None:
        with pytest.raises(PowerError) as reading:
            bench.driver.read(bench.malformed)
        with pytest.raises(PowerError) as telling:
            bench.driver.send(bench.malformed, PowerCommand.POWER_ON)
        with pytest.raises(PowerError) as describing:
            bench.driver.describe(bench.malformed)

        assert [error.value.permanent for error in (reading, telling, describing)] == [True] * 3
