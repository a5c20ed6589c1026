"""Several people draw at the same moment: nothing is lost, and no rule is got around."""

from __future__ import annotations

from uuid import uuid4

import pytest

from editor import edits
from editor.models import DesignStep, DriveArray, Event, Infrastructure, InstanceArray, Network, User
from tests import factories
from tests.editor.designing import drawn_in
from tests.together import together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]


@pytest.fixture
def web(atlas: Infrastructure) -> InstanceArray:
    return factories.make_instance_array(atlas, "web", count=2)


def test_of_two_with_the_same_label_one_is_refused(
    atlas: Infrastructure, web: InstanceArray, ana: User, wei: User
) -> None:
    ended = together(
        lambda: edits.add_network(atlas, by=ana, label="logs"),
        lambda: edits.add_drive_array(atlas, by=wei, label="Logs"),
    )

    (sentence,) = filter(None, ended)
    assert sentence.endswith("is taken in this infrastructure. Choose another label.")
    assert Network.objects.filter(label="logs").count() + DriveArray.objects.count() == 1


def test_of_two_saves_of_one_form_one_is_stale(web: InstanceArray, ana: User, wei: User) -> None:
    ended = together(
        lambda: edits.rename(web, by=ana, seen=0, label="front"),
        lambda: edits.rename(web, by=wei, seen=0, label="shop"),
    )

    web.refresh_from_db()
    who, other = ("Ana Marin", "shop") if web.label == "front" else ("Wei Chen", "front")
    (sentence,) = filter(None, ended)
    assert sentence == f"{who} changed {web.label} meanwhile. Look at both, then save what it shall be."
    assert (web.revision, DesignStep.objects.count()) == (1, 1)
    assert not InstanceArray.objects.filter(label=other).exists()


def test_defaults_at_once_get_labels_and_places_of_their_own(
    atlas: Infrastructure, web: InstanceArray, ana: User, wei: User
) -> None:
    ended = together(*(lambda by=by: edits.add_instance_array(atlas, by=by) for by in (ana, wei, ana)))

    assert ended == ["", "", ""]
    assert {array.label for array in InstanceArray.objects.all()} == {
        "web",
        "instance-array-1",
        "instance-array-2",
        "instance-array-3",
    }
    assert len({(array.x, array.y) for array in InstanceArray.objects.exclude(pk=web.pk)}) == 3


def test_same_form_sent_twice_at_once_adds_one(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    key = uuid4()

    ended = together(*[lambda: edits.add_drive_array(atlas, by=ana, key=key, instance_array=web)] * 2)

    assert ended == ["", ""]
    assert (DriveArray.objects.count(), Event.objects.count()) == (1, 1)


def test_quota_holds_when_two_begin_at_once(ana: User) -> None:
    ana.infrastructure_quota = 1
    ana.save()

    ended = together(*(lambda label=label: edits.create_infrastructure(label, by=ana) for label in ("one", "two")))

    (sentence,) = filter(None, ended)
    assert sentence.startswith("You may own 1 infrastructure, and you own 1.")
    assert Infrastructure.objects.count() == 1


def test_growing_and_attaching_at_once_leaves_no_server_without_a_drive(
    atlas: Infrastructure, web: InstanceArray, ana: User, wei: User
) -> None:
    data = edits.add_drive_array(atlas, by=ana)

    ended = together(
        lambda: edits.configure_instance_array(web, by=ana, seen=0, label="web", server_type=web.server_type, count=5),
        lambda: edits.attach(data, web, by=wei),
    )

    assert ended == ["", ""]
    assert drawn_in(atlas)[data.topic][0]["numbers"] == [1, 2, 3, 4, 5]


def test_undo_twice_at_once_takes_two_steps_back(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    before = drawn_in(atlas)
    edits.rename(web, by=ana, seen=0, label="front")
    edits.rename(web, by=ana, seen=1, label="shop")

    assert together(*[lambda: edits.undo(atlas, by=ana)] * 2) == ["", ""]

    assert drawn_in(atlas) == before
