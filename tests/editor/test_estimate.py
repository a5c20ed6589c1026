"""editor.estimate: how long a deploy may take, going by earlier ones; never a number that nobody measured."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from editor.estimate import Estimate, estimate
from editor.models import (
    Deploy,
    DeployItem,
    DeployState,
    DeployStep,
    DriveArray,
    Infrastructure,
    InstanceArray,
    ItemState,
    Power,
    Server,
)
from editor.plan import Kind
from editor.review import review
from tests import factories
from tests.clock import Clock, clock  # noqa: F401 - a fixture
from tests.editor.deploying import make_world

pytestmark = pytest.mark.django_db


def took(
    infrastructure: Infrastructure, kind: Kind, seconds: float, *, items: int = 1, soft: int = 120, asked: bool = True
) -> None:
    """Writes down a step of an earlier deploy that took so long."""
    end = timezone.now()
    begin = end - timedelta(seconds=seconds)
    deploy = Deploy.objects.create(
        infrastructure=infrastructure,
        number=Deploy.objects.count() + 1,
        state=DeployState.DONE,
        started_at=begin,
        review={},
        goal={},
        soft_seconds=soft,
    )
    step = DeployStep.objects.create(
        deploy=deploy, position=1, kind=kind, of="drive-array-1", started_at=begin, ended_at=end
    )
    DeployItem.objects.bulk_create(
        DeployItem(
            step=step,
            number=number,
            state=ItemState.DONE,
            started_at=begin,
            payload={"asked": "soft_shutdown"} if asked else {},
        )
        for number in range(items)
    )


@pytest.fixture
def atlas() -> Infrastructure:
    return factories.make_infrastructure(factories.make_user())


@pytest.fixture
def web(atlas: Infrastructure) -> InstanceArray:
    return factories.make_instance_array(atlas, count=2, power=Power.ON)


@pytest.fixture
def data(atlas: Infrastructure, web: InstanceArray) -> DriveArray:
    """Its drives shall grow."""
    array = factories.make_drive_array(atlas, instance_array=web, count=2)
    array.size_mb *= 2
    array.save()
    return array


def measure_growing(infrastructure: Infrastructure) -> None:
    for kind, seconds in (
        (Kind.SHUT_DOWN, 100),
        (Kind.GROW, 4),
        (Kind.SETTLE, 1),
        (Kind.POWER_ON, 250),
    ):
        took(infrastructure, kind, seconds)


def test_without_a_deploy_before_there_is_no_estimate(atlas: Infrastructure, data: DriveArray) -> None:
    assert estimate(review(atlas)) is None


def test_steps_add_up_but_for_those_side_by_side(atlas: Infrastructure, data: DriveArray) -> None:
    """While servers are powered on again, the design is finished."""
    measure_growing(atlas)

    found = estimate(review(atlas))

    assert found == Estimate(354, waits=True)
    assert found.title == "About 6 min"
    assert found.text == (
        "The time is what such steps took in the latest deploys of this installation. "
        "Operating systems may take longer to shut down."
    )


def test_servers_that_are_off_take_no_time(atlas: Infrastructure, data: DriveArray) -> None:
    measure_growing(atlas)
    Server.objects.update(power=Power.OFF)

    assert estimate(review(atlas)) == Estimate(5)


def test_what_was_never_measured_is_named_and_not_guessed(atlas: Infrastructure, data: DriveArray) -> None:
    took(atlas, Kind.SHUT_DOWN, 20, soft=0)
    took(atlas, Kind.POWER_ON, 0, asked=False)
    took(atlas, Kind.GROW, 38)

    found = estimate(review(atlas))

    assert found == Estimate(38, (Kind.SHUT_DOWN, Kind.SETTLE, Kind.POWER_ON))
    assert found.title == "At least 40 s"
    assert found.text.endswith(
        "How long it takes to shut servers down, finish a design and power servers on is not known: "
        "no deploy has done that here yet."
    )


def test_median_of_the_newest_counts(atlas: Infrastructure, data: DriveArray) -> None:
    Server.objects.update(power=Power.OFF)
    took(atlas, Kind.SETTLE, 0)
    for seconds in (*[900] * 5, 10, 20, 30, 30, 30, 40, 50, 60, 7000):
        took(atlas, Kind.GROW, seconds)

    assert estimate(review(atlas)) == Estimate(30)


def test_drives_are_made_as_many_side_by_side_as_the_worker_does(atlas: Infrastructure) -> None:
    """20 in three rounds of 30 s; earlier, 16 took two rounds."""
    took(atlas, Kind.CREATE, 60, items=16)
    took(atlas, Kind.SETTLE, 0)
    for number in (12, 8):
        DriveArray.objects.create(infrastructure=atlas, label=f"logs-{number}", count=number, size_mb=2048)

    found = estimate(review(atlas))

    assert found == Estimate(90)
    assert found.title == "About 2 min"


@pytest.mark.parametrize("count", [1, 3])
def test_one_query_for_many_as_for_one(count: int, atlas: Infrastructure, django_assert_num_queries: object) -> None:
    web = factories.make_instance_array(atlas, count=count, power=Power.ON)
    array = factories.make_drive_array(atlas, instance_array=web, count=count)
    array.leaves = True
    array.save()
    for _ in range(count):
        measure_growing(atlas)
    found = review(atlas)

    with django_assert_num_queries(1):  # type: ignore[operator]
        assert estimate(found)


def test_second_deploy_of_a_kind_is_estimated_as_the_first_one_went(clock: Clock) -> None:  # noqa: F811
    world = make_world(clock)
    for _ in range(2):
        world.data.size_mb += 1024
        world.data.save()
        found = estimate(review(world.infrastructure))
        deploy = world.deploy()

    assert found
    assert deploy.ended_at
    assert not found.unmeasured
    assert abs(found.seconds - (deploy.ended_at - deploy.started_at).total_seconds()) <= 3


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (3, "A few seconds"),
        (41, "About 50 s"),
        (57, "About 1 min"),
        (355, "About 6 min"),
        (3580, "About 1 h"),
        (7810, "About 2 h 10 min"),
    ],
)
def test_estimates_are_rough(seconds: float, said: str) -> None:
    assert Estimate(seconds).title == said
