"""A drive on a server, seen by an operator: what most tests of snapshots begin with."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from pytest_django import Settings

from editor import exports
from editor.iscsi.simulated import SimulatedExporter
from editor.models import Drive, Instance, Power, Server, User
from editor.reconcile import Worker
from editor.volumes import driver_of
from snapshots import actions
from snapshots.models import Snapshot
from tests import factories
from tests.clock import Clock, clock  # noqa: F401 - a fixture

BLOCK = 4096


@dataclass
class World:
    """One drive, its server, and the people around it."""

    pk: int
    owner: User
    operator: User
    viewer: User
    stranger: User
    clock: Clock
    engine: str

    @property
    def drive(self) -> Drive:
        rows = Drive.objects.select_related("drive_array", "pool", "instance__server", "instance__instance_array")
        return rows.get(pk=self.pk)

    @property
    def instance(self) -> Instance:
        instance = self.drive.instance
        assert instance is not None
        return instance

    @property
    def server(self) -> Server:
        server = self.instance.server
        assert server is not None
        return server

    def work(self, *, restarted: bool = False) -> None:
        """What a worker does with all that waits. A restarted one began only now."""
        if restarted:
            self.clock.advance(1)
        Worker(since=self.clock() if restarted else self.clock.now.replace(year=2000)).run_until_quiet()

    def write(self, content: str) -> None:
        """Puts a state on the drive."""
        driver_of(self.drive.pool).write(self.pk, offset=0, data=content.encode().ljust(BLOCK, b"."))

    def content(self) -> str:
        """The state that is on the drive."""
        return driver_of(self.drive.pool).read(self.pk, offset=0, length=BLOCK).decode().rstrip(".")

    def take(self, content: str, note: str = "") -> Snapshot:
        """Writes a state and takes a snapshot of it."""
        self.write(content)
        oldest = self.numbers()[-1:] if len(self.numbers()) == 5 else []
        expect = self.drive.snapshots.get(number=oldest[0]).pk if oldest else None
        actions.request_create(self.drive, by=self.operator, note=note or content, expect_delete=expect)
        self.work()
        self.clock.advance(60)
        return self.drive.snapshots.newest_first()[0]

    def numbers(self) -> list[int]:
        """Of the drive's snapshots, newest first."""
        return list(self.drive.snapshots.newest_first().values_list("number", flat=True))

    def revert(self, snapshot: Snapshot) -> None:
        """Asks for it, confirming what is there."""
        newer = Snapshot.objects.newer_than(snapshot).values_list("pk", flat=True)
        actions.request_revert(snapshot, by=self.operator, expect=set(newer))

    def switch_off(self) -> None:
        """The server is off, and everybody knows."""
        self.server.refresh_from_db()
        Server.objects.filter(pk=self.server.pk).update(power="off", address=f"simulated://off-{self.pk}?start=off")


def make_world(clock: Clock, engine: str) -> World:  # noqa: F811
    owner, operator, viewer, stranger = map(factories.make_user, ("Olga Own", "Otto Op", "Vera View", "Stan Strange"))
    infrastructure = factories.make_infrastructure(owner, operator=operator, viewer=viewer)
    web = factories.make_instance_array(infrastructure, count=1, power=Power.ON)
    array = factories.make_drive_array(
        infrastructure, instance_array=web, count=1, engine=engine, size_mb=1024, made=False
    )
    world = World(array.drives.get().pk, owner, operator, viewer, stranger, clock, engine)
    world.work()
    return world


@pytest.fixture
def world(db: None, clock: Clock) -> World:  # noqa: F811
    """On the simulated engine: rules and steps, not bytes on disks."""
    return make_world(clock, "simulated")


@pytest.fixture(params=["simulated", "qcow2"])
def any_world(request: pytest.FixtureRequest, db: None, clock: Clock) -> World:  # noqa: F811
    """On each engine in turn."""
    return make_world(clock, request.param)


@pytest.fixture
def served(db: None, clock: Clock, settings: Settings) -> World:  # noqa: F811
    """A drive that its server can reach."""
    settings.ISCSI_EXPORTER = "simulated"
    world = make_world(clock, "simulated")
    look_and_work(world)
    assert world.drive.exported
    return world


def look_and_work(world: World) -> None:
    """Some seconds later, the worker has looked and set right what it found."""
    world.clock.advance(5)
    world.work()


def exporter() -> SimulatedExporter:
    one = exports.exporter()
    assert isinstance(one, SimulatedExporter)
    return one
