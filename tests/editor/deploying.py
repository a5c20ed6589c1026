"""A world in which designs are deployed: servers with drives, servers that are free, and a worker."""

from __future__ import annotations

from dataclasses import dataclass

from editor import deploys
from editor.design import design_of, products, real_of
from editor.models import (
    Deploy,
    DeployState,
    Drive,
    DriveArray,
    Infrastructure,
    Instance,
    InstanceArray,
    Power,
    Server,
    StoragePool,
    User,
)
from editor.plan import wanted
from editor.reconcile import Worker
from editor.review import review
from editor.storage.simulated import SimulatedStorage
from editor.volumes import driver_of
from tests import factories
from tests.clock import Clock


@dataclass
class World:
    """Three running servers with a drive each, free servers, and a pool."""

    clock: Clock
    owner: User
    infrastructure: Infrastructure
    web: InstanceArray
    data: DriveArray

    def start(self, *, soft_seconds: int = 120, then_hard: bool = False) -> Deploy:
        found = review(self.infrastructure)
        return deploys.start(
            self.infrastructure,
            by=self.owner,
            fingerprint=found.fingerprint,
            destroy=True,
            soft_seconds=soft_seconds,
            then_hard=then_hard,
        )

    def work(self, deploy: Deploy, *, seconds: int = 120, step: int = 1) -> Deploy:
        """Lets the worker work for at most so long, some seconds at a time, until the deploy has ended."""
        worker = Worker(since=self.clock.now)
        for _ in range(0, seconds, step):
            worker.run_until_quiet()
            deploy.refresh_from_db()
            if deploy.state != DeployState.RUNNING:
                break
            self.clock.advance(step)
        return deploy

    def settle(self) -> None:
        """Lets the worker do all that waits, once."""
        Worker(since=self.clock.now).run_until_quiet()

    def deploy(self) -> Deploy:
        return self.work(self.start())

    def is_real(self) -> bool:
        """Whether all that is drawn is real, and nobody holds anything."""
        rows = products(self.infrastructure)
        real = real_of(self.infrastructure, rows)
        held = Drive.objects.exclude(hold="").exists() or Server.objects.exclude(hold="").exists()
        return wanted(design_of(rows), real) == real and not [row for row in rows if row.change] and not held

    def driver(self) -> SimulatedStorage:
        driver = driver_of(StoragePool.objects.get(label="pool-simulated"))
        assert isinstance(driver, SimulatedStorage)
        return driver

    def power(self) -> dict[str, str]:
        instances = Instance.objects.select_related("server", "instance_array").order_by("pk")
        return {one.label: one.server.power for one in instances if one.server}


def make_world(clock: Clock, *, count: int = 3) -> World:
    owner = factories.make_user("Olga Own")
    infrastructure = factories.make_infrastructure(owner)
    web = factories.make_instance_array(infrastructure, count=count, power=Power.ON)
    data = factories.make_drive_array(infrastructure, instance_array=web, count=count, made=False)
    for number in range(3):
        Server.objects.create(
            server_type=web.server_type, serial=f"free-{number}", address=f"simulated://free-{number}?start=off"
        )
    world = World(clock, owner, infrastructure, web, data)
    world.settle()
    return world
