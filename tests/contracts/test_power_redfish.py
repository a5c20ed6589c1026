"""The Redfish power driver against OpenStack's emulated BMC: the contract, and what an emulator can show of its own."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import bcrypt
import pytest

from editor import sealed, servers
from editor.models import Server
from editor.power import Bmc, Description, PowerCommand, PowerDriver, PowerError, PowerState, Trust, driver_for
from editor.power.redfish import RedfishPower
from tests.clock import Clock

from .certificates import issue
from .power import Bench, PowerContract
from .redfish_emulator import Emulator

PASSWORD = "Gelb: 7 Ähren"


class RedfishBench(Bench):
    """Each with machines of its own; the emulator serves all."""

    numbers = count(1)

    def __init__(self, emulator: Emulator, certificate: str) -> None:
        self.emulator = emulator
        self.driver = self.restarted()
        number = next(self.numbers)
        closed = socket.create_server(("127.0.0.1", 0))
        self.on, self.off, self.stubborn = (
            Bmc(
                f"https://127.0.0.1:{emulator.port}/redfish/v1/Systems/{name}-{number}",
                username="operator",
                password=PASSWORD,
                trust=Trust.AUTHORITY,
                certificate=certificate,
            )
            for name in ("on", "off", "stubborn")
        )
        self.silent = replace(self.on, address=f"https://127.0.0.1:{closed.getsockname()[1]}")
        self.malformed = replace(self.on, address="https://")
        closed.close()

    def wait_until(self, happened: Callable[[], bool]) -> bool:
        for _ in range(4):  # the longest change takes eleven seconds
            if happened():
                return True
            self.emulator.advance(4)
        return False

    def restarted(self) -> PowerDriver:
        return RedfishPower()


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Emulator, str]]:
    folder = tmp_path_factory.mktemp("redfish")
    certificate = issue("bmc")
    certificate.write(folder)
    digest = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (folder / "users").write_text(f"operator:{digest}\n")
    emulator = Emulator(folder)
    yield emulator, certificate.pem
    emulator.stop()


@pytest.fixture
def bench(emulated: tuple[Emulator, str]) -> RedfishBench:
    return RedfishBench(*emulated)


class TestRedfishPower(PowerContract):
    pass


def test_description_says_what_the_device_is(bench: RedfishBench) -> None:
    assert bench.driver.describe(bench.off) == Description(
        manufacturer="Sushy Emulator",
        model="",
        serial="",
        firmware="1.00",
        boot_order=("Hdd",),
        power=PowerState.OFF,
        commands=frozenset(PowerCommand),
    )


def test_wrong_password_is_refused(bench: RedfishBench) -> None:
    with pytest.raises(PowerError, match=r"refused the user name or the password\.") as refusal:
        bench.driver.read(replace(bench.on, password="Rot"))

    assert (refusal.value.permanent, "Rot" in refusal.value.detail) == (True, False)


def test_system_that_is_not_there_is_named_as_such(bench: RedfishBench) -> None:
    with pytest.raises(PowerError, match=r"no system of that name\."):
        bench.driver.read(replace(bench.on, address=bench.on.address.replace("/on-", "/none")))


def test_off_in_the_middle_of_a_reset_is_not_called_off(bench: RedfishBench) -> None:
    """The emulator says "off" for some seconds, as machines do whose reset takes their power away."""
    bench.driver.send(bench.on, PowerCommand.RESET)

    assert bench.restarted().read(bench.on) == PowerState.OFF  # what the BMC says
    assert bench.driver.read(bench.on) == PowerState.POWERING_ON


def test_one_driver_serves_all_calls(tmp_path: Path) -> None:
    """It remembers sessions and resets; a new one for each call would not."""
    one, same = (driver_for("redfish", folder=tmp_path, clock=Clock(datetime.now(UTC))) for _ in range(2))

    assert one is same


def test_server_of_the_inventory_is_asked_with_its_sealed_password(bench: RedfishBench) -> None:
    server = Server(
        driver="redfish",
        address=bench.off.address,
        username=bench.off.username,
        password_sealed=sealed.first_key().seal(PASSWORD),
        trust=bench.off.trust.value,
        certificate=bench.off.certificate,
    )

    assert servers.bmc_of(server) == bench.off
    assert servers.driver_of(server).describe(servers.bmc_of(server)).manufacturer == "Sushy Emulator"
