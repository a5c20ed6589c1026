"""Keys of requests come from browsers: whatever is sent with one, only the very same wish is taken for done before."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from editor import actions, deploys, edits
from editor.models import Event, Infrastructure, Instance, Power, User
from editor.review import review
from snapshots.actions import request_create
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def places(ana: User, wei: User) -> list[Infrastructure]:
    """Two infrastructures of Ana and Wei, each with a running server and its drive."""
    found = []
    for label in ("atlas", "borealis"):
        infrastructure = factories.make_infrastructure(ana, label)
        infrastructure.memberships.create(user=wei, role="owner")
        web = factories.make_instance_array(infrastructure, count=1, power=Power.ON)
        factories.make_drive_array(infrastructure, instance_array=web, count=1)
        found.append(infrastructure)
    return found


def deploy(infrastructure: Infrastructure, by: User, key: UUID) -> None:
    deploys.start(
        infrastructure,
        by=by,
        fingerprint=review(infrastructure).fingerprint,
        destroy=True,
        soft_seconds=0,
        then_hard=False,
        key=key,
    )


def reset(infrastructure: Infrastructure, by: User, key: UUID) -> None:
    instance = Instance.objects.get(instance_array__infrastructure=infrastructure)
    actions.reset(instance, by=by, key=key)


def create_snapshot(infrastructure: Infrastructure, by: User, key: UUID) -> None:
    request_create(infrastructure.drive_arrays.get(label="web-data").drives.get(), by=by, key=key)


WISHES: list[Callable[[Infrastructure, User, UUID], object]] = [
    lambda infrastructure, by, key: edits.add_instance_array(infrastructure, by=by, key=key),
    lambda infrastructure, by, key: edits.copy(infrastructure.drive_arrays.get(label="web-data"), by=by, key=key),
    lambda _, by, key: edits.create_infrastructure(f"new-{by.pk}", by=by, key=key),
    reset,
    create_snapshot,
    deploy,
]


@pytest.mark.parametrize("wish", WISHES)
def test_key_of_another_place_or_person_is_another_wish_and_a_replay_is_none(
    wish: Callable[[Infrastructure, User, UUID], object], places: list[Infrastructure], ana: User, wei: User
) -> None:
    key = uuid4()
    elsewhere, here = places
    edits.add_network(elsewhere, by=ana, key=key)
    edits.add_network(here, by=ana)
    wish(elsewhere, wei, key)
    before = Event.objects.count()
    wish(here, ana, key)
    assert Event.objects.count() == before + 1
    wish(here, ana, key)

    assert Event.objects.count() == before + 1
    assert Event.objects.first().actor == ana
