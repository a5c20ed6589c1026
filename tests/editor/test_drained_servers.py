"""Deploys take no server that is drained or promised, and reviews do not count it."""

from __future__ import annotations

import pytest

from editor import inventory
from editor.models import Instance, Server
from editor.review import review
from tests import factories
from tests.clock import Clock, clock  # noqa: F401 - a fixture
from tests.editor.deploying import World, make_world
from tests.editor.designing import configure

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(clock: Clock) -> World:  # noqa: F811
    return make_world(clock, count=1, free=2)


def test_drained_server_is_left_out(world: World) -> None:
    first, second = Server.objects.filter(serial__startswith="free-")
    inventory.set_drained(first, drained=True, by=factories.make_admin())
    configure(world.web, by=world.owner, count=2)

    world.deploy()

    assert Instance.objects.get(number=2).server == second
    assert world.is_real()


def test_review_says_how_many_are_left(world: World) -> None:
    first, second = Server.objects.filter(serial__startswith="free-")
    ada = factories.make_admin()
    configure(world.web, by=world.owner, count=3)
    assert not review(world.infrastructure).reasons

    inventory.set_drained(first, drained=True, by=ada)
    (reason,) = review(world.infrastructure).reasons
    assert reason.startswith("2 more servers of type M.16.64 are needed, 1 is free.")

    Server.objects.filter(pk=second.pk).update(replaces=Instance.objects.get())
    (reason,) = review(world.infrastructure).reasons
    assert reason.startswith("2 more servers of type M.16.64 are needed, none is free.")
