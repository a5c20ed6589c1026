"""The simulated power driver: the contract, and what is its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from editor import models
from editor.power import Bmc, Description, PowerCommand, PowerDriver, PowerError, PowerState, driver_for
from editor.power.simulated import Delays, SimulatedPower
from tests.clock import Clock

from .power import Bench, PowerContract

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class SimulatedBench(Bench):
    on = Bmc("simulated://web-1")
    off = Bmc("simulated://web-2?start=off")
    stubborn = Bmc("simulated://analytics-3?soft=ignored")
    silent = Bmc("simulated://analytics-4?bmc=silent")
    malformed = Bmc("simulated://")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock(NOON)
        self.driver = self.restarted()

    def wait_until(self, happened: Callable[[], bool]) -> bool:
        for _ in range(60):
            if happened():
                return True
            self.clock.advance(1)
        return False

    def restarted(self) -> PowerDriver:
        return driver_for("simulated", folder=self.folder, clock=self.clock)


@pytest.fixture
def bench(tmp_path: Path) -> SimulatedBench:
    return SimulatedBench(tmp_path)


class TestSimulatedPower(PowerContract):
    pass


class _AnswersAtOnce(SimulatedPower):
    """Says what was asked for as if it had come true: the lie that would cost somebody a drive."""

    def __init__(self, folder: Path, clock: Callable[[], datetime]) -> None:
        super().__init__(folder, clock, Delays(soft_shutdown=0, power_on=0, hard_power_off=0, reset=0))

    def read(self, bmc: Bmc) -> PowerState:
        try:
            return super().read(bmc)
        except PowerError:
            return PowerState.OFF


@pytest.mark.parametrize(
    "promise",
    [
        PowerContract.test_server_that_shuts_down_is_not_called_off_before_it_is,
        PowerContract.test_silent_bmc_is_an_error_that_may_pass,
        PowerContract.test_malformed_address_is_a_permanent_error,
    ],
)
def test_lying_driver_fails_the_contract(
    bench: SimulatedBench, promise: Callable[[PowerContract, Bench], None]
) -> None:
    bench.driver = _AnswersAtOnce(bench.folder, bench.clock)

    with pytest.raises((AssertionError, pytest.fail.Exception)):
        promise(PowerContract(), bench)


def test_words_are_those_that_the_models_store() -> None:
    assert set(PowerState) == set(models.Power.values)
    assert set(PowerCommand) == set(models.PowerCommand.values)


def test_unknown_driver_is_a_permanent_error(tmp_path: Path) -> None:
    with pytest.raises(
        PowerError, match=r"no power driver named 'ipmi'. Choose one of: redfish, simulated\.$"
    ) as refusal:
        driver_for("ipmi", folder=tmp_path, clock=Clock(NOON))

    assert refusal.value.permanent is True


@pytest.mark.parametrize(
    ("command", "seconds", "meanwhile", "after"),
    [
        (PowerCommand.SOFT_SHUTDOWN, 6, PowerState.ON, PowerState.OFF),
        (PowerCommand.HARD_POWER_OFF, 1, PowerState.ON, PowerState.OFF),
        (PowerCommand.RESET, 5, PowerState.POWERING_ON, PowerState.ON),
    ],
    ids=str,
)
def test_command_takes_its_time(
    bench: SimulatedBench, command: PowerCommand, seconds: float, meanwhile: PowerState, after: PowerState
) -> None:
    bench.driver.send(bench.on, command)

    bench.clock.advance(seconds - 0.1)
    just_before = bench.driver.read(bench.on)
    bench.clock.advance(0.1)

    assert [just_before, bench.driver.read(bench.on)] == [meanwhile, after]


def test_power_on_takes_its_time(bench: SimulatedBench) -> None:
    bench.driver.send(bench.off, PowerCommand.POWER_ON)

    bench.clock.advance(3.9)
    just_before = bench.driver.read(bench.off)
    bench.clock.advance(0.1)

    assert [just_before, bench.driver.read(bench.off)] == [PowerState.POWERING_ON, PowerState.ON]


def test_repeated_soft_shutdown_does_not_begin_again(bench: SimulatedBench) -> None:
    bench.driver.send(bench.on, PowerCommand.SOFT_SHUTDOWN)
    bench.clock.advance(5)
    bench.driver.send(bench.on, PowerCommand.SOFT_SHUTDOWN)
    bench.clock.advance(1)

    assert bench.driver.read(bench.on) == PowerState.OFF


def test_soft_shutdown_in_firmware_is_lost(bench: SimulatedBench) -> None:
    bench.driver.send(bench.off, PowerCommand.POWER_ON)
    bench.driver.send(bench.off, PowerCommand.SOFT_SHUTDOWN)
    bench.clock.advance(60)

    assert bench.driver.read(bench.off) == PowerState.ON


def test_change_goes_on_while_no_process_runs(bench: SimulatedBench) -> None:
    bench.driver.send(bench.on, PowerCommand.SOFT_SHUTDOWN)
    bench.clock.advance(3)
    next_process = bench.restarted()
    halfway = next_process.read(bench.on)
    bench.clock.advance(3)

    assert [halfway, next_process.read(bench.on)] == [PowerState.ON, PowerState.OFF]


def test_clock_set_back_does_not_hold_a_machine_in_its_change(bench: SimulatedBench) -> None:
    bench.driver.send(bench.on, PowerCommand.SOFT_SHUTDOWN)
    bench.clock.advance(-3600)

    assert bench.driver.read(bench.on) == PowerState.OFF


def test_moods_belong_to_the_address_not_to_the_machine(bench: SimulatedBench) -> None:
    bench.driver.send(bench.on, PowerCommand.HARD_POWER_OFF)
    bench.clock.advance(1)

    assert bench.driver.read(Bmc(f"{bench.on.address}?soft=ignored")) == PowerState.OFF


def test_delays_are_set_by_the_constructor(tmp_path: Path) -> None:
    clock = Clock(NOON)
    driver = SimulatedPower(tmp_path, clock, Delays(soft_shutdown=90))

    slow = Bmc("simulated://slow")
    driver.send(slow, PowerCommand.SOFT_SHUTDOWN)
    clock.advance(89)
    just_before = driver.read(slow)
    clock.advance(1)

    assert [just_before, driver.read(slow)] == [PowerState.ON, PowerState.OFF]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "web-1",
        "redfish://web-1",
        "simulated://web-1/etc",
        "simulated://web-1?soft=maybe",
        "simulated://web-1?mood=bad",
        "simulated://web-1?bmc",
        "simulated://[web-1",
    ],
)
def test_address_with_a_mistake_is_named_as_such(bench: SimulatedBench, address: str) -> None:
    with pytest.raises(PowerError, match=r"address of this server is not understood\. Write it like") as refusal:
        bench.driver.read(Bmc(address))

    assert (refusal.value.permanent, refusal.value.detail) == (True, f"address: {address!r}")


@pytest.mark.parametrize("name", ["..", "..%2f..%2fetc", "a\\b", "ü" * 500, "CON", "."])
def test_no_name_leaves_the_folder(bench: SimulatedBench, name: str) -> None:
    bench.driver.send(Bmc(f"simulated://{name}"), PowerCommand.HARD_POWER_OFF)

    files = [path for path in bench.folder.rglob("*") if path.is_file() and path.name != ".lock"]
    assert [(path.parent, path.suffix, len(path.stem)) for path in files] == [(bench.folder / "machines", ".json", 32)]


def test_reading_writes_nothing(bench: SimulatedBench) -> None:
    bench.driver.read(bench.on)

    assert list(bench.folder.iterdir()) == []


def test_description_names_the_machine(bench: SimulatedBench) -> None:
    assert bench.driver.describe(bench.off) == Description(
        manufacturer="Infrastructure Editor",
        model="Simulated server",
        serial="web-2",
        firmware="1.0",
        boot_order=("Network", "Disk"),
        power=PowerState.OFF,
        commands=frozenset(PowerCommand),
    )


def test_password_is_not_in_what_is_printed_of_a_bmc() -> None:
    assert "secret" not in repr(Bmc("https://rack-1", username="admin", password="secret", certificate="secret"))


def test_damaged_file_is_an_error_with_a_way_out(bench: SimulatedBench) -> None:
    bench.driver.send(bench.on, PowerCommand.HARD_POWER_OFF)
    (file,) = (bench.folder / "machines").glob("*.json")
    file.write_text('{"state": "on"')

    with pytest.raises(PowerError, match=r"damaged\. Delete its file") as refusal:
        bench.driver.read(bench.on)

    assert refusal.value.permanent is True


def test_folder_that_cannot_be_written_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "machines").write_text("a file where the folder should be")
    driver = SimulatedPower(tmp_path, Clock(NOON))

    with pytest.raises(PowerError, match=r"cannot be kept on disk\. Make room"):
        driver.send(Bmc("simulated://web-1"), PowerCommand.HARD_POWER_OFF)


def test_commands_from_many_threads_leave_a_whole_file(bench: SimulatedBench) -> None:
    """Each thread has a driver of its own, as processes have."""

    def command(number: int) -> None:
        driver = bench.restarted()
        driver.send(bench.on, list(PowerCommand)[number % 4])
        driver.read(bench.on)

    with ThreadPoolExecutor(24) as threads:
        list(threads.map(command, range(24)))

    assert bench.told(bench.on, PowerCommand.HARD_POWER_OFF, PowerState.OFF)
