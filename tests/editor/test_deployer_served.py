"""What a deploy does with drives that are served over iSCSI: nobody loses a disk that is in use."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from editor import exports
from editor.iscsi.simulated import SimulatedExporter
from editor.iscsi_names import initiator_iqn, target_iqn
from editor.models import DeployState, Drive, InstanceArray, Server
from editor.outcome import how_it_went
from tests.clock import Clock, clock  # noqa: F401 - a fixture
from tests.editor.deploying import World, make_world

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(clock: Clock, settings: Settings) -> World:  # noqa: F811
    settings.ISCSI_EXPORTER = "simulated"
    world = make_world(clock)
    look(world)
    assert served() == {"web-data-1", "web-data-2", "web-data-3"}
    return world


def look(world: World) -> None:
    """Some seconds later, the worker has looked and set right what it found."""
    world.clock.advance(5)
    world.settle()


def exporter() -> SimulatedExporter:
    one = exports.exporter()
    assert isinstance(one, SimulatedExporter)
    return one


def served() -> set[str]:
    targets = exporter().targets()
    drives = Drive.objects.select_related("drive_array")
    return {drive.label for drive in drives if target_iqn(drive) in targets and targets[target_iqn(drive)].device}


@pytest.mark.postgres
def test_drive_is_served_before_its_server_is_switched_on(world: World) -> None:
    world.web.numbers = world.data.numbers = [1, 2, 3, 4]
    world.web.save()
    world.data.save()

    world.deploy()

    # Nobody has looked since: the deploy itself did it.
    drive = world.data.drives.select_related("instance").get(number=4)
    assert drive.instance
    assert exporter().targets()[target_iqn(drive)].initiators == {initiator_iqn(drive.instance)}
    assert drive.exported


def test_drive_grows_while_it_is_taken_away_and_comes_back(world: World) -> None:
    world.data.size_mb = 2 * 40960
    world.data.save()
    during: list[set[str]] = []
    world.driver().before("grow", lambda: during.append(served()))

    deploy = world.deploy()

    assert deploy.state == DeployState.DONE
    assert len(during) == 3
    assert all(len(still) < 3 for still in during)
    assert served() == {"web-data-1", "web-data-2", "web-data-3"}


@pytest.mark.postgres
def test_disk_comes_back_while_a_deploy_waits_for_the_server_that_needs_it(world: World) -> None:
    Server.objects.filter(instance__isnull=False).update(address="simulated://deaf?soft=ignored")
    world.data.size_mb *= 2
    world.data.save()
    deploy = world.start(soft_seconds=86400)
    world.work(deploy, seconds=9, step=3)
    assert Drive.objects.exclude(hold="").count() == 3
    exporter().forget()

    world.work(deploy, seconds=9, step=3)

    assert deploy.state == DeployState.RUNNING
    assert served() == {"web-data-1", "web-data-2", "web-data-3"}
    assert all(drive.exported for drive in Drive.objects.all())


@pytest.mark.postgres
def test_detached_and_destroyed_drives_have_no_target_any_more(world: World) -> None:
    gone = target_iqn(world.data.drives.get(number=3))
    world.web.numbers = world.data.numbers = [1, 2]
    world.web.save()
    world.data.save()
    assert world.deploy().state == DeployState.DONE
    assert gone not in exporter().targets()

    array = InstanceArray.objects.get()
    array.leaves = True
    array.save()
    world.data.refresh_from_db()
    world.data.instance_array = None
    world.data.save()
    assert world.deploy().state == DeployState.DONE

    assert exporter().targets() == {}
    assert world.driver().devices() == {}


@pytest.mark.parametrize("change", ["grow", "destroy", "detach"])
def test_drive_that_somebody_is_logged_in_to_is_left_alone(world: World, change: str) -> None:
    drive = world.data.drives.get(number=2)
    exporter().log_in(target_iqn(drive))
    if change == "grow":
        world.data.size_mb *= 2
    elif change == "destroy":
        world.data.numbers = [1, 3]
    else:
        world.data.instance_array = None
    world.data.save()

    deploy = world.deploy()

    assert deploy.state == DeployState.STOPPED
    assert "is still logged in from 192.0.2.7" in how_it_went(deploy).text
    assert world.driver().size_bytes(drive.pk) == 40 * 1024**3
    assert "web-data-2" in served()


@pytest.mark.postgres
def test_server_that_is_replaced_finds_the_same_disk(world: World) -> None:
    before = dict(exporter().exports)
    instance = world.web.instances.get(number=1)
    instance.server = Server.objects.free().first()
    instance.save()

    look(world)

    assert exporter().exports == before
