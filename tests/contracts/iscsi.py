"""What every iSCSI exporter must do: one class of tests, run against each of them, and against exporters that lie.

An exporter's own test module makes a `network` fixture and subclasses ExporterContract.
"""

from __future__ import annotations

import abc
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest

from editor.iscsi import Export, Exporter, ExportError, Session, Target
from editor.storage.base import Device

PREFIX = "iqn.2026-11.test.example"


class Refused(Exception):
    """A login that the exporter did not admit."""


class NoDisk(Exception):
    """A session that has no disk, or lost it."""


class Disk(abc.ABC):
    """A server's session, as long as it is logged in."""

    @property
    @abc.abstractmethod
    def serial(self) -> str:
        """Raises NoDisk."""

    @property
    @abc.abstractmethod
    def device(self) -> str:
        """The name of the device that the server reads. Raises NoDisk."""


class Network(abc.ABC):
    """An exporter with devices behind it and servers in front."""

    exporter: Exporter

    @abc.abstractmethod
    def make_device(self, name: str) -> Device:
        """A device of that name, which a server can tell from others by reading."""

    @abc.abstractmethod
    def log_in(self, export: Export) -> AbstractContextManager[Disk]:
        """Log in as what `export` says; the session ends with the block. Raises Refused."""

    # What the tests below say

    def export(self, drive: int = 7, *, instance: int = 1, password: str = "correct0horse") -> Export:
        return Export(
            drive=drive,
            iqn=f"{PREFIX}:drive-{drive}",
            serial=f"DRIVE{drive:08d}",
            device=self.make_device(f"drive-{drive}"),
            initiator=f"{PREFIX}:instance-{instance}",
            user=f"instance-{instance}",
            password=password,
        )

    def published(self, drive: int = 7, *, instance: int = 1) -> Export:
        export = self.export(drive, instance=instance)
        self.exporter.publish(export)
        return export

    def finds(self, export: Export) -> str | None:
        """The serial number of the disk that a server finds, None for none. Raises Refused."""
        with self.log_in(export) as disk:
            try:
                return disk.serial
            except NoDisk:
                return None

    def assert_refused(self, export: Export) -> None:
        with pytest.raises(Refused), self.log_in(export):
            pass


def served(export: Export, *sessions: Session) -> Target:
    return Target(
        export.iqn, export.device.name, frozenset([export.initiator]), frozenset([export.user]), tuple(sessions)
    )


class ExporterContract:
    """What every exporter promises."""

    def test_nothing_is_served_at_first(self, network: Network) -> None:
        network.assert_refused(network.export())
        assert network.exporter.targets() == {}

    def test_published_drive_is_found_by_its_server(self, network: Network) -> None:
        drives = [network.published(7), network.published(8, instance=2)]

        assert [network.finds(drive) for drive in drives] == [drive.serial for drive in drives]
        assert network.exporter.targets() == {drive.iqn: served(drive) for drive in drives}

    @pytest.mark.parametrize("field", ["initiator", "user", "password"])
    def test_nobody_else_is_admitted(self, network: Network, field: str) -> None:
        mine = network.published(7)
        others = replace(network.published(8, instance=2), password="another0horse")
        wrong: dict[str, Any] = {field: getattr(others, field)}

        network.assert_refused(replace(mine, **wrong))

        assert network.finds(mine) == mine.serial

    def test_server_does_not_find_drives_of_others(self, network: Network) -> None:
        mine = network.published(7)
        others = network.published(8, instance=2)

        network.assert_refused(replace(mine, iqn=others.iqn))

    def test_session_is_told_with_its_initiator(self, network: Network) -> None:
        mine, other = network.published(7), network.published(8)

        with network.log_in(mine):
            told = network.exporter.targets()

        [session] = told[mine.iqn].sessions
        assert (session.initiator, bool(session.address)) == (mine.initiator, True)
        assert told == {mine.iqn: served(mine, session), other.iqn: served(other)}
        assert network.exporter.targets()[mine.iqn].sessions == ()

    def test_publishing_again_leaves_sessions_alone(self, network: Network) -> None:
        drive = network.published()

        with network.log_in(drive) as disk:
            network.exporter.publish(drive)
            assert (disk.serial, disk.device) == (drive.serial, drive.device.name)
            assert len(network.exporter.targets()[drive.iqn].sessions) == 1

    def test_withdrawn_drive_is_a_target_without_disk(self, network: Network) -> None:
        drive = network.published()

        network.exporter.withdraw(drive.iqn)
        network.exporter.withdraw(drive.iqn)

        assert network.finds(drive) is None
        assert network.exporter.targets() == {drive.iqn: replace(served(drive), device=None)}

    def test_withdrawn_drive_comes_back_as_it_was(self, network: Network) -> None:
        drive = network.published()

        network.exporter.withdraw(drive.iqn)
        network.exporter.publish(drive)

        assert network.finds(drive) == drive.serial
        assert network.exporter.targets() == {drive.iqn: served(drive)}

    def test_server_that_waited_without_disk_finds_it(self, network: Network) -> None:
        drive = network.published()
        network.exporter.withdraw(drive.iqn)

        with network.log_in(drive) as disk:
            network.exporter.publish(drive)
            assert disk.serial == drive.serial

    @pytest.mark.parametrize("verb", ["withdraw", "remove"])
    def test_drive_in_use_is_not_taken_away(self, network: Network, verb: str) -> None:
        drive = network.published()

        with network.log_in(drive) as disk:
            with pytest.raises(ExportError, match=f"{drive.initiator} is still logged in from ") as refused:
                getattr(network.exporter, verb)(drive.iqn)
            assert disk.device == drive.device.name
        assert "Nothing was changed." in str(refused.value)
        assert network.exporter.targets() == {drive.iqn: served(drive)}
        assert network.finds(drive) == drive.serial

    def test_drive_on_a_dead_device_is_taken_away_though_in_use(self, network: Network) -> None:
        drive = network.published()

        with network.log_in(drive) as disk:
            network.exporter.withdraw(drive.iqn, dead=True)
            with pytest.raises(NoDisk):
                assert disk.device

    def test_removed_drive_is_gone(self, network: Network) -> None:
        drive, other = network.published(7), network.published(8)

        network.exporter.remove(drive.iqn)
        network.exporter.remove(drive.iqn)

        network.assert_refused(drive)
        assert network.finds(other) == other.serial
        assert network.exporter.targets() == {other.iqn: served(other)}

    def test_names_are_those_of_all_targets(self, network: Network) -> None:
        drives = [network.published(number) for number in (7, 8)]
        assert set(network.exporter.names()) == {drive.iqn for drive in drives}

        network.exporter.withdraw(drives[0].iqn)
        network.exporter.remove(drives[1].iqn)

        assert set(network.exporter.names()) == {drives[0].iqn}

    def test_removed_drive_can_be_published_again(self, network: Network) -> None:
        drive = network.published()

        network.exporter.remove(drive.iqn)
        network.exporter.publish(drive)

        assert network.finds(drive) == drive.serial

    def test_absent_target_is_fine(self, network: Network) -> None:
        drive = network.export()

        network.exporter.withdraw(drive.iqn)
        network.exporter.remove(drive.iqn)
        network.exporter.stop()

        assert network.exporter.targets() == {}

    def test_another_device_takes_the_place_of_the_first(self, network: Network) -> None:
        drive = network.published()
        moved = replace(drive, device=network.make_device("moved"))

        network.exporter.publish(moved)

        with network.log_in(drive) as disk:
            assert disk.device == moved.device.name
        assert network.exporter.targets() == {drive.iqn: served(moved)}

    @pytest.mark.parametrize("change", ["device", "initiator"])
    def test_neither_device_nor_owner_changes_under_a_server(self, network: Network, change: str) -> None:
        drive = network.published()
        other = replace(network.export(8, instance=2), iqn=drive.iqn, serial=drive.serial)

        with network.log_in(drive) as disk:
            with pytest.raises(ExportError, match="still logged in"):
                network.exporter.publish(replace(drive, **{change: getattr(other, change)}))
            assert disk.device == drive.device.name
        assert network.exporter.targets() == {drive.iqn: served(drive)}

    def test_new_owner_is_admitted_and_the_old_one_is_not(self, network: Network) -> None:
        old = network.published(7, instance=1)
        new = network.export(7, instance=2)

        network.exporter.publish(new)

        network.assert_refused(old)
        assert network.finds(new) == new.serial
        assert network.exporter.targets() == {new.iqn: served(new)}

    def test_new_password_counts_for_all_drives_of_its_user(self, network: Network) -> None:
        drives = [network.published(7), network.published(8)]
        changed = [replace(drive, password="another0horse") for drive in drives]

        with network.log_in(drives[0]) as disk:
            for drive in changed:
                network.exporter.publish(drive)
            assert disk.serial == drives[0].serial

        for drive in drives:
            network.assert_refused(drive)
        assert [network.finds(drive) for drive in changed] == [drive.serial for drive in drives]

    def test_password_can_be_changed_back(self, network: Network) -> None:
        drive = network.published()

        network.exporter.publish(replace(drive, password="another0horse"))
        network.exporter.publish(drive)

        assert network.finds(drive) == drive.serial

    def test_nothing_is_stopped_while_one_is_in_use(self, network: Network) -> None:
        drives = [network.published(7), network.published(8, instance=2)]

        with network.log_in(drives[1]), pytest.raises(ExportError, match="still logged in"):
            network.exporter.stop()

        assert network.exporter.targets() == {drive.iqn: served(drive) for drive in drives}
        assert [network.finds(drive) for drive in drives] == [drive.serial for drive in drives]

    def test_stopped_exporter_serves_again(self, network: Network) -> None:
        drive = network.published()

        network.exporter.stop()
        network.exporter.stop()
        assert network.exporter.targets() == {}
        network.assert_refused(drive)

        network.exporter.publish(drive)
        assert network.finds(drive) == drive.serial
