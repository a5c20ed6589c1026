"""Stopping a deploy and going on with it: a stop waits for no operating system, a retry asks all that a start asks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from editor import actions, build, deploys
from editor.models import (
    DeployItem,
    DeployState,
    Drive,
    Event,
    Instance,
    InstanceArray,
    ItemState,
    PowerCommand,
    Server,
    StoragePool,
)
from editor.outcome import how_it_went
from editor.plan import Kind
from editor.rules import Refused
from tests import factories
from tests.clock import Clock, clock  # noqa: F401 - a fixture
from tests.editor.deploying import World, make_world

pytestmark = pytest.mark.django_db

A_DAY_SECONDS = 86400


@pytest.fixture
def world(clock: Clock) -> World:  # noqa: F811
    """All drives grow, so all servers must be off; the operating system of web-1 never stops."""
    world = make_world(clock)
    Server.objects.filter(instance__number=1).update(address="simulated://deaf?soft=ignored")
    world.data.size_mb *= 2
    world.data.save()
    return world


def web(world: World, number: int) -> Instance:
    return world.web.instances.get(number=number)


@pytest.mark.postgres
def test_stop_waits_for_no_operating_system_and_gives_up_all_holds(world: World) -> None:
    deploy = world.start(soft_seconds=A_DAY_SECONDS)
    world.work(deploy, seconds=10)
    with pytest.raises(Refused, match=r"web-1 is being deployed: Deploy 1 needs it off\."):
        actions.hard_power_off(web(world, 1), by=world.owner)

    deploys.stop(deploy, by=world.owner)
    world.settle()

    deploy.refresh_from_db()
    assert deploy.state == DeployState.STOPPED
    shut_down = DeployItem.objects.filter(step__deploy=deploy, step__kind=Kind.SHUT_DOWN).order_by("number")
    assert [item.state for item in shut_down] == [ItemState.STOPPED, ItemState.DONE, ItemState.DONE]
    assert not Server.objects.exclude(hold="").exists()
    assert not Drive.objects.exclude(hold="").exists()
    assert not Server.objects.exclude(power_command="").exists()
    went = how_it_went(deploy)
    assert went.title == "Stopped after 0 of 4 steps. Step 1 is not finished. Steps 2 to 4 did not run."
    assert went.text == (
        "web-1 was asked to shut down and may still go off. What stays on can be switched off by Hard Power Off "
        "before a retry. web-2 and web-3 are still off. Nothing was destroyed."
    )
    assert Event.objects.told().first().verb == "stopped the deploy of"

    actions.hard_power_off(web(world, 1), by=world.owner)
    with pytest.raises(Refused, match=r"web-1 is busy: Hard Power Off is in progress\."):
        deploys.retry(deploy, by=world.owner)
    for _ in range(5):
        world.settle()
        world.clock.advance(1)
    deploys.retry(deploy, by=world.owner)

    assert world.work(deploy).state == DeployState.DONE
    assert world.is_real()
    assert world.power() == {"web-1": "on", "web-2": "on", "web-3": "on"}


@pytest.mark.postgres
def test_stop_asks_no_further_server_to_go_off(world: World) -> None:
    deploy = world.start(soft_seconds=A_DAY_SECONDS)
    first = DeployItem.objects.filter(step__deploy=deploy, step__kind=Kind.SHUT_DOWN).earliest("number")
    build.run(first.pk)  # here the worker was killed

    deploys.stop(deploy, by=world.owner)
    world.work(deploy, seconds=20)

    assert deploy.state == DeployState.STOPPED
    assert world.power() == {"web-1": "on", "web-2": "on", "web-3": "on"}
    assert how_it_went(deploy).text.startswith("web-1 was asked to shut down and may still go off.")


@pytest.mark.postgres
def test_stop_lets_a_hard_power_off_come_true(world: World) -> None:
    deploy = world.start(soft_seconds=0)
    world.settle()
    assert set(Server.objects.exclude(power_command="").values_list("power_command", flat=True)) <= {
        PowerCommand.HARD_POWER_OFF
    }

    deploys.stop(deploy, by=world.owner)

    assert world.work(deploy).state == DeployState.STOPPED
    assert world.power() == {"web-1": "off", "web-2": "off", "web-3": "off"}
    assert how_it_went(deploy).title == "Stopped after 1 of 4 steps. Steps 2 to 4 did not run."


@pytest.mark.postgres
def test_stop_and_retry_in_one_breath_begins_anew(world: World) -> None:
    """The attempt of before the stop is no attempt of the retry."""
    Server.objects.filter(instance__number=1).update(address="simulated://slow")
    deploy = world.start(soft_seconds=A_DAY_SECONDS)
    world.work(deploy, seconds=2)
    deploys.stop(deploy, by=world.owner)
    world.settle()
    deploy.refresh_from_db()

    deploys.retry(deploy, by=world.owner)
    world.settle()

    details = DeployItem.objects.filter(step__deploy=deploy).exclude(state=ItemState.DONE).values_list("detail")
    assert {detail for (detail,) in details} == {""}
    assert world.work(deploy).state == DeployState.DONE
    assert world.is_real()


def test_retry_after_another_end_than_was_seen_does_nothing(world: World) -> None:
    deploy = world.start(soft_seconds=A_DAY_SECONDS)
    deploys.stop(deploy, by=world.owner)
    world.work(deploy)
    seen = deploy.ended_at

    deploys.retry(deploy, by=world.owner, ended_at=seen)
    deploys.retry(deploy, by=world.owner, ended_at=seen)
    deploys.stop(deploy, by=world.owner)
    world.clock.advance(1)
    world.work(deploy)
    deploys.stop(deploy, by=world.owner)
    deploys.retry(deploy, by=world.owner, ended_at=seen)

    deploy.refresh_from_db()
    assert deploy.state == DeployState.STOPPED
    assert Event.objects.filter(verb="goes on with the deploy of").count() == 1


def _lower_quota(world: World) -> None:
    world.owner.server_quota = 3
    world.owner.save()


def _give_free_servers_away() -> None:
    Server.objects.filter(instance=None).delete()


def _fill_pool() -> None:
    StoragePool.objects.update(capacity_gb=120)


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_lower_quota, r"Olga Own may have 3 servers; with this deploy it would be 4\."),
        (lambda _: _give_free_servers_away(), r"1 more server of type M\.16\.64 is needed, none is free\."),
        (lambda _: _fill_pool(), r"logs-1 cannot be created: storage pool"),
    ],
)
def test_retry_asks_again_for_quota_servers_and_room(world: World, change: Callable[[World], None], why: str) -> None:
    world.data.size_mb //= 2
    world.data.save()
    InstanceArray.objects.create(infrastructure=world.infrastructure, label="db", server_type=world.web.server_type)
    logs = world.infrastructure.drive_arrays.create(label="logs", size_mb=10240, count=1)
    deploy = world.start()
    deploys.stop(deploy, by=world.owner)
    world.work(deploy)
    assert not logs.drives.exists()

    change(world)

    with pytest.raises(Refused, match=why):
        deploys.retry(deploy, by=world.owner)
    deploy.refresh_from_db()
    assert deploy.state == DeployState.STOPPED


def test_retry_waits_for_a_power_command_of_a_server_that_only_is_to_be_powered_on(world: World) -> None:
    other = factories.make_drive_array(world.infrastructure, "other", instance_array=world.web, count=3)
    deploy = world.start(soft_seconds=0)
    other.drives.filter(number=1).update(hold="Creating snapshot #3.")
    world.work(deploy, seconds=30)
    deploys.stop(deploy, by=world.owner)
    world.work(deploy, seconds=30)
    assert how_it_went(deploy).title == "Stopped after 3 of 4 steps. Step 4 is not finished."
    other.drives.update(hold="")
    actions.power_on(web(world, 1), by=world.owner)

    with pytest.raises(Refused, match=r"web-1 is busy: Power On is in progress\. Wait until it is done\."):
        deploys.retry(deploy, by=world.owner)

    for _ in range(12):
        world.settle()
        world.clock.advance(1)
    deploys.retry(deploy, by=world.owner)
    assert world.work(deploy).state == DeployState.DONE
