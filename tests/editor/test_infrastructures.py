"""Whole infrastructures: who may begin one, what it is called, and when it may be deleted."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.utils import timezone

from editor import edits
from editor.design import pending, products
from editor.models import Deploy, Infrastructure, Membership, Role, User
from tests import factories
from tests.editor.designing import refused, said

pytestmark = pytest.mark.django_db


@pytest.fixture
def ana() -> User:
    return factories.make_user("Ana Marin")


def test_new_infrastructure_has_wan_and_san_and_nothing_to_deploy(ana: User) -> None:
    atlas = edits.create_infrastructure("atlas", "Web shop", by=ana)

    assert [(row.label, row.kind) for row in atlas.networks.all()] == [("wan", "wan"), ("san", "san")]
    assert pending(products(atlas)) == []
    assert list(atlas.memberships.values_list("user", "role")) == [(ana.pk, "owner")]
    assert said() == ("created", "atlas", "")


def test_the_same_request_creates_once(ana: User) -> None:
    key = uuid4()

    assert edits.create_infrastructure("atlas", by=ana, key=key) == edits.create_infrastructure(
        "atlas", by=ana, key=key
    )

    assert Infrastructure.objects.count() == 1


def test_quota_says_what_the_limit_is(ana: User) -> None:
    ana.infrastructure_quota = 2
    ana.save()
    for label in ("one", "two"):
        edits.create_infrastructure(label, by=ana)
    other = factories.make_infrastructure(label="other")
    Membership.objects.create(infrastructure=other, user=ana, role=Role.VIEWER)

    sentence = "You may own 2 infrastructures, and you own 2. Delete one, or ask an administrator for more."
    with refused(sentence):
        edits.create_infrastructure("three", by=ana)

    edits.delete_infrastructure(Infrastructure.objects.get(label="one"), by=ana)
    assert edits.create_infrastructure("three", by=ana).label == "three"


@pytest.mark.parametrize(
    ("label", "why"),
    [
        ("Atlas", "You have an infrastructure Atlas already. Choose another label."),
        ("networks", "networks is a reserved word. Choose another label."),
        ("2nd", "Use 1 to 63 letters, digits and hyphens; begin with a letter and end with a letter or digit."),
    ],
)
def test_label_that_cannot_be_is_refused(label: str, why: str, ana: User) -> None:
    edits.create_infrastructure("atlas", by=ana)
    other = edits.create_infrastructure("other", by=ana)

    with refused(why):
        edits.create_infrastructure(label, by=ana)
    with refused(why):
        edits.rename_infrastructure(other, by=ana, label=label, description="")


def test_owner_renames_and_nobody_else(ana: User) -> None:
    wei = factories.make_user("Wei Chen")
    atlas = factories.make_infrastructure(ana, "atlas", operator=wei)

    with refused("Only an owner may do that. Ask one of them."):
        edits.rename_infrastructure(atlas, by=wei, label="mine", description="")
    with refused("Only an owner may do that."):
        edits.delete_infrastructure(atlas, by=wei)
    with refused("You are not a member of this infrastructure."):
        edits.delete_infrastructure(atlas, by=factories.make_user("Sam Stranger"))
    edits.rename_infrastructure(atlas, by=ana, label="atlas-prod", description="")
    assert said() == ("renamed atlas to", "atlas-prod", "")
    edits.rename_infrastructure(atlas, by=ana, label="atlas-prod", description="Web shop")
    assert said() == ("changed the description of", "atlas-prod", "")
    with refused("A description has at most 120 characters, and this one has 121."):
        edits.rename_infrastructure(atlas, by=ana, label="atlas-prod", description="x" * 121)


def test_what_is_real_is_not_deleted(ana: User) -> None:
    atlas = factories.make_infrastructure(ana, "atlas")
    web = factories.make_instance_array(atlas, "web", count=1)
    data = factories.make_drive_array(atlas, "data", instance_array=web, count=2)

    sentence = "atlas has 1 server and 2 drives. Delete all its arrays in the design and deploy that"
    with refused(sentence):
        edits.delete_infrastructure(atlas, by=ana)
    edits.delete([web, data], by=ana)
    with refused(sentence):
        edits.delete_infrastructure(atlas, by=ana)


def test_what_is_only_drawn_is_deleted(ana: User) -> None:
    atlas = edits.create_infrastructure("atlas", by=ana)
    edits.add_drive_array(atlas, by=ana)
    Deploy.objects.create(infrastructure=atlas, number=1, started_at=timezone.now(), review={}, goal={})
    with refused("atlas is being deployed."):
        edits.delete_infrastructure(atlas, by=ana)

    Deploy.objects.update(state="done")
    edits.delete_infrastructure(atlas, by=ana)

    assert not Infrastructure.objects.exists()
