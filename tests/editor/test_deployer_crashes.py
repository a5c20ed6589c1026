"""Worker after worker is killed at the effects of a deploy; each next one goes on, and it ends the same.

An effect is a verb of the storage engine or of a BMC (killed before it, and after it did its work but before it
answered), or a transaction (half of one is nothing, so it is killed before each).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

import pytest
from django.db import connection

from editor import deploys
from editor.models import Deploy, DeployState, Drive, DriveArray, Event, InstanceArray, Server
from editor.power.simulated import SimulatedPower
from tests import factories
from tests.clock import Clock, clock  # noqa: F401 - a fixture
from tests.editor.deploying import World, make_world, rolled_back
from tests.killing import Executioner, Killed

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(clock: Clock) -> World:  # noqa: F811
    """Draws one of everything: an array with a drive is new, one drive grows, one parts, one goes with its server."""
    world = make_world(clock, count=2)
    spare = factories.make_drive_array(world.infrastructure, "spare", instance_array=world.web, count=2, made=False)
    world.settle()
    factories.make_snapshots(world.data.drives.get(number=2), 1)
    world.web.numbers = world.data.numbers = [1]
    world.web.save()
    world.data.size_mb *= 2
    world.data.save()
    spare.instance_array = None
    spare.save()
    database = InstanceArray.objects.create(
        infrastructure=world.infrastructure, label="db", server_type=world.web.server_type
    )
    DriveArray.objects.create(infrastructure=world.infrastructure, label="logs", instance_array=database, size_mb=2048)
    return world


class PerTransaction(Executioner):
    """Takes a transaction for one effect, and a statement outside of any for another."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.depth = len(connection.savepoint_ids)

    def on_statement(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        outside = len(connection.savepoint_ids) == self.depth
        if sql.startswith("SAVEPOINT") or (outside and sql.startswith(("INSERT", "UPDATE", "DELETE"))):
            self.effect()
        return execute(sql, params, many, context)


def dies_at(effect: int, world: World, deploy: Deploy) -> bool:
    """Lets a worker work until its n-th effect; answers whether it came that far."""
    executioner = PerTransaction(effect)
    with pytest.MonkeyPatch.context() as patch, executioner.watch_database():
        executioner.watch(world.driver(), ("create_drive", "grow", "delete_drive"), patch)
        patch.setattr(SimulatedPower, "send", executioner.watched(SimulatedPower.send))
        try:
            world.work(deploy, step=3)
        except Killed:
            return True
    return False


def ended(world: World) -> dict[str, Any]:
    """All that a deploy leaves behind, but for ids and times."""
    drives = Drive.objects.select_related("drive_array", "instance__instance_array").order_by("pk")
    return {
        "drives": [(drive.label, str(drive.instance), drive.size_mb, drive.head_layer, drive.hold) for drive in drives],
        "stored": {world.driver().size_bytes(pk) for pk in world.driver().drives()},
        "volumes": world.driver().drives() == {drive.pk for drive in drives},
        "power": world.power(),
        "free": Server.objects.filter(instance=None, hold="").count(),
        "told": [event.verb for event in Event.objects.told().order_by("pk") if "deploy" in event.verb],
        "real": world.is_real(),
    }


@pytest.mark.parametrize(
    "lives", [(2, 3, 4, 5, 6, 7, 8), *(pytest.param(one, marks=pytest.mark.lab) for one in ((3, 5, 7), (4, 8)))]
)
def test_deploy_survives_worker_after_worker(lives: tuple[int, ...], world: World) -> None:
    """No worker gets far: `lives` are their effects, of which the longest is enough for an item and a bit."""
    with rolled_back(world):
        assert world.work(world.start(soft_seconds=0), step=3).state == DeployState.DONE
        expected = ended(world)
    deploy = world.start(soft_seconds=0)
    deaths = 0
    for effect in cycle(lives):
        if not dies_at(effect, world, deploy):
            break
        deaths += 1
        world.clock.advance(1)
        assert deaths < 500, "The deploy does not come forward."

    assert deaths > 10  # Otherwise the workers were not watched at their work.
    assert ended(world) == expected
    assert expected == {
        "drives": [
            ("web-data-1", "web-1", 81920, 1, ""),
            ("spare-1", "None", 40960, 1, ""),
            ("spare-2", "None", 40960, 1, ""),
            ("logs-1", "db-1", 2048, 1, ""),
        ],
        "stored": {80 * 1024**3, 40 * 1024**3, 2 * 1024**3},
        "volumes": True,
        "power": {"web-1": "on", "db-1": "off"},
        "free": 3,
        "told": ["began to deploy", "deployed"],
        "real": True,
    }


@pytest.mark.postgres
def test_stop_survives_worker_after_worker(world: World) -> None:
    Server.objects.filter(instance__isnull=False).update(address="simulated://deaf?soft=ignored")
    deploy = world.start(soft_seconds=86400)
    world.work(deploy, seconds=9, step=3)
    assert Server.objects.filter(power_command="soft_shutdown").count() == 2
    deploys.stop(deploy, by=world.owner)

    deaths = 0
    for effect in cycle((3, 4)):
        if not dies_at(effect, world, deploy):
            break
        deaths += 1
        assert deaths < 50, "The stop does not come forward."

    assert deaths > 1
    assert deploy.state == DeployState.STOPPED
    assert not Server.objects.exclude(hold="", power_command="").exists()
    assert not Drive.objects.exclude(hold="").exists()
