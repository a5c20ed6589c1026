"""A world in which designs are deployed: servers with drives, servers that are free, and a worker."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from hypothesis import strategies as st

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
    ServerType,
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

    def work(self, deploy: Deploy, *, seconds: int = 120, step: int = 2) -> Deploy:
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


def make_world(clock: Clock, *, count: int = 3, free: int = 3) -> World:
    owner = factories.make_user("Olga Own")
    infrastructure = factories.make_infrastructure(owner)
    web = factories.make_instance_array(infrastructure, count=count, power=Power.ON)
    data = factories.make_drive_array(infrastructure, instance_array=web, count=count, made=False)
    Server.objects.bulk_create(
        Server(server_type=web.server_type, serial=f"free-{number}", address=f"simulated://free-{number}?start=off")
        for number in range(free)
    )
    world = World(clock, owner, infrastructure, web, data)
    world.settle()
    return world


@contextmanager
def rolled_back(world: World) -> Iterator[None]:
    """Whatever happens inside, database, drives, machines and clock are afterwards as before."""
    driver = world.driver()
    drives, now = copy.deepcopy(driver._drives), world.clock.now
    try:
        with transaction.atomic():
            yield
            transaction.set_rollback(True)
    finally:
        driver._drives, world.clock.now = drives, now
        # Nobody had switched a machine before: without their files, all are as when first met.
        shutil.rmtree(settings.DATA_DIR / "machines", ignore_errors=True)


def draw_anything(world: World, data: st.DataObject) -> None:
    """Draws any numbers, sizes and attachments of what is there, deletes some of it, and adds some."""
    infrastructure, numbers = world.infrastructure, st.sets(st.integers(1, 4), max_size=3)
    for kind in data.draw(st.lists(st.sampled_from(["instance", "drive"]), max_size=2), "new"):
        label = f"{kind}-{InstanceArray.objects.count() + DriveArray.objects.count()}-{infrastructure.deploys.count()}"
        if kind == "instance":
            InstanceArray.objects.create(
                infrastructure=infrastructure, label=label, server_type=ServerType.objects.get(), count=1
            )
        else:
            DriveArray.objects.create(infrastructure=infrastructure, label=label, size_mb=2048)
    kept = []
    for instance_array in infrastructure.instance_arrays.all():
        instance_array.leaves = data.draw(st.booleans(), f"{instance_array} leaves") and instance_array.is_deployed
        instance_array.numbers = data.draw(numbers, f"{instance_array}'s numbers")
        instance_array.save()
        kept += [] if instance_array.leaves else [instance_array]
    for drive_array in infrastructure.drive_arrays.all():
        drive_array.leaves = data.draw(st.booleans(), f"{drive_array} leaves") and drive_array.is_deployed
        drive_array.numbers = data.draw(numbers, f"{drive_array}'s numbers")
        drive_array.size_mb += data.draw(st.sampled_from([0, 1024]), f"{drive_array} grows")
        drive_array.instance_array = data.draw(st.sampled_from([None, *kept]), f"{drive_array} is attached to")
        drive_array.save()
