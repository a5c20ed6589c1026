"""Whatever is drawn over whatever is real, and however a deploy is broken off: what is drawn becomes real."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from editor import deploys
from editor.models import DeployState, Drive
from editor.review import review
from tests.clock import Clock, clock  # noqa: F401 - a fixture
from tests.editor.deploying import World, draw_anything, make_world, rolled_back

pytestmark = pytest.mark.django_db


@pytest.fixture
def rich_world(clock: Clock) -> World:  # noqa: F811
    """So many servers are free that no drawing asks for more."""
    return make_world(clock, free=30)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_design_becomes_real(data: st.DataObject, rich_world: World) -> None:
    world = rich_world
    with rolled_back(world):
        for _ in range(data.draw(st.integers(1, 2), "deploys")):
            draw_anything(world, data)
            if not review(world.infrastructure).steps:
                continue
            deploy = world.start(soft_seconds=0)
            world.work(deploy, seconds=data.draw(st.sampled_from([1, 6, 200]), "seconds before it is stopped"), step=3)
            if deploy.state == DeployState.RUNNING:
                deploys.stop(deploy, by=world.owner)
                world.work(deploy, step=3)
        if review(world.infrastructure).steps:
            assert world.work(world.start(soft_seconds=0), step=3).state == DeployState.DONE

        assert world.is_real()
        assert world.driver().drives() == set(Drive.objects.values_list("pk", flat=True))
