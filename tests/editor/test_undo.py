"""Going back: undo and redo of one's own steps, and discarding what waits for a deploy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.utils import timezone

from editor import edits
from editor.changes import changes_of
from editor.design import decisions_in, pending, products
from editor.models import (
    Deploy,
    DesignStep,
    DriveArray,
    Event,
    Infrastructure,
    InstanceArray,
    ServerType,
    User,
)
from tests import factories
from tests.editor.designing import configure, configure_drives, drawn_in, now_is, refused, said

pytestmark = pytest.mark.django_db


def pending_in(infrastructure: Infrastructure) -> dict[str, str]:
    return {row.label: row.change for row in pending(products(infrastructure))}


EDITS: dict[str, Callable[[Infrastructure, InstanceArray, DriveArray, User], object]] = {
    "add instance-array-1": lambda atlas, web, data, by: edits.add_instance_array(atlas, by=by),
    "add drive-array-1": lambda atlas, web, data, by: edits.add_drive_array(atlas, by=by, instance_array=web),
    "add network-1": lambda atlas, web, data, by: edits.add_network(atlas, by=by),
    "web from 4 to 2 servers, drives deleted": lambda atlas, web, data, by: configure(
        web, by=by, count=2, leaving=[2, 3], drives="delete"
    ),
    "web from 4 to 5 servers, renamed to front": lambda atlas, web, data, by: configure(
        web, by=by, count=5, label="front"
    ),
    "web-data from 40 GB to 80 GB, new servers get no drive": lambda atlas, web, data, by: configure_drives(
        data, by=by, size_mb=81920, grows=False
    ),
    "rename web to front": lambda atlas, web, data, by: edits.rename(web, by=by, seen=0, label="front"),
    "delete web": lambda atlas, web, data, by: edits.delete([web], by=by, drives="keep"),
    "delete web and web-data": lambda atlas, web, data, by: edits.delete([web, data], by=by),
    "delete lan": lambda atlas, web, data, by: edits.delete([atlas.networks.get(label="lan")], by=by),
    "detach web-data": lambda atlas, web, data, by: edits.attach(data, None, by=by),
    "connect web to wan": lambda atlas, web, data, by: edits.connect(web, 3, atlas.networks.get(kind="wan"), by=by),
    "copy web": lambda atlas, web, data, by: edits.copy(web, by=by),
}


@pytest.mark.parametrize("title", EDITS)
def test_every_edit_goes_back_and_forth_and_can_be_discarded_and_had_back(
    title: str, atlas: Infrastructure, web: InstanceArray, web_data: DriveArray, ana: User
) -> None:
    before = drawn_in(atlas)
    EDITS[title](atlas, web, web_data, ana)
    after = drawn_in(atlas)
    assert (edits.can_undo(atlas, ana), edits.can_redo(atlas, ana)) == (title, None)

    edits.undo(atlas, by=ana)
    assert (drawn_in(atlas), pending_in(atlas)) == (before, {})
    assert (edits.can_undo(atlas, ana), edits.can_redo(atlas, ana)) == (None, title)
    assert said() == ("undid:", title, "")

    edits.redo(atlas, by=ana)
    assert drawn_in(atlas) == after
    assert said() == ("did again:", title, "")

    edits.discard_all(atlas, by=ana)
    assert (drawn_in(atlas), pending_in(atlas)) == (before, {})

    edits.undo(atlas, by=ana)
    assert drawn_in(atlas) == after

    edits.undo(atlas, by=ana)
    assert (drawn_in(atlas), pending_in(atlas)) == (before, {})


def test_steps_go_back_one_by_one(atlas: Infrastructure, web: InstanceArray, web_data: DriveArray, ana: User) -> None:
    states = [drawn_in(atlas)]
    db = edits.add_instance_array(atlas, by=ana, label="db", count=2)
    states.append(drawn_in(atlas))
    logs = edits.add_drive_array(atlas, by=ana, label="db-logs", instance_array=db)
    states.append(drawn_in(atlas))
    configure(db, by=ana, count=3)
    states.append(drawn_in(atlas))
    edits.delete([db], by=ana)
    states.append(drawn_in(atlas))

    for state in reversed(states[:-1]):
        edits.undo(atlas, by=ana)
        assert drawn_in(atlas) == state
    with refused("There is nothing of yours to undo."):
        edits.undo(atlas, by=ana)
    for state in states[1:]:
        edits.redo(atlas, by=ana)
        assert drawn_in(atlas) == state
    with refused("There is nothing of yours to do again."):
        edits.redo(atlas, by=ana)
    assert now_is(logs).instance_array is None


def test_what_comes_back_has_its_old_place_and_a_new_revision(atlas: Infrastructure, ana: User) -> None:
    array = edits.add_drive_array(atlas, by=ana)
    seen = array.revision
    DriveArray.objects.update(x=960, y=480)

    edits.undo(atlas, by=ana)
    assert not DriveArray.objects.exists()
    edits.redo(atlas, by=ana)

    back = now_is(array)
    assert (back.x, back.y, back.changed_by) == (960, 480, ana)
    assert back.revision > seen


def test_new_edit_drops_what_was_undone(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    edits.rename(web, by=ana, seen=0, label="front")
    edits.undo(atlas, by=ana)

    edits.rename(web, by=ana, seen=None, label="shop")

    assert edits.can_redo(atlas, ana) is None
    assert DesignStep.objects.count() == 1


def test_everybody_undoes_their_own(
    atlas: Infrastructure, web: InstanceArray, web_data: DriveArray, ana: User, wei: User
) -> None:
    edits.rename(web, by=ana, seen=0, label="front")
    edits.rename(web_data, by=wei, seen=0, label="front-data")

    edits.undo(atlas, by=ana)

    assert (now_is(web).label, now_is(web_data).label) == ("web", "front-data")
    assert edits.can_undo(atlas, ana) is None
    assert edits.can_undo(atlas, wei) == "rename web-data to front-data"


def test_undo_is_refused_when_somebody_changed_the_same(
    atlas: Infrastructure, web: InstanceArray, ana: User, wei: User
) -> None:
    edits.rename(web, by=ana, seen=0, label="front")
    configure(web, by=wei, count=6)

    with refused("Wei Chen changed front since. Undo would lose that: change it by hand."):
        edits.undo(atlas, by=ana)

    edits.undo(atlas, by=wei)
    edits.undo(atlas, by=ana)
    edits.rename(web, by=wei, seen=None, label="shop")
    with refused("Wei Chen changed shop since. Redo would lose that"):
        edits.redo(atlas, by=ana)


def test_undo_is_refused_when_somebody_took_it_away(atlas: Infrastructure, ana: User, wei: User) -> None:
    logs = edits.add_drive_array(atlas, by=ana, label="logs")
    edits.delete([logs], by=wei)

    with refused("Wei Chen changed logs since."):
        edits.undo(atlas, by=ana)


def test_undo_is_refused_when_somebody_built_on_it(
    atlas: Infrastructure, web: InstanceArray, web_data: DriveArray, ana: User, wei: User
) -> None:
    edits.attach(web_data, None, by=wei)
    db = edits.add_instance_array(atlas, by=ana, label="db")
    edits.attach(web_data, db, by=wei)
    with refused("web-data is attached to db. Detach it first."):
        edits.undo(atlas, by=ana)

    lan = edits.add_network(atlas, by=ana, label="backup")
    edits.connect(web, 3, lan, by=wei)
    with refused("web is connected to backup by now. Disconnect it first."):
        edits.undo(atlas, by=ana)


def test_undo_is_refused_when_the_label_is_taken(
    atlas: Infrastructure, web: InstanceArray, ana: User, wei: User
) -> None:
    edits.rename(web, by=ana, seen=0, label="front")
    edits.add_drive_array(atlas, by=wei, label="web")

    with refused("web is the label of something else by now. Rename that first."):
        edits.undo(atlas, by=ana)


def test_undo_is_refused_when_what_it_goes_back_to_is_gone(
    atlas: Infrastructure, web: InstanceArray, ana: User, wei: User
) -> None:
    lan = atlas.networks.get(kind="lan")
    edits.connect(web, 1, None, by=ana)
    edits.delete([lan], by=wei)

    with refused("lan, which web goes back to, is deleted. Discard that first."):
        edits.undo(atlas, by=ana)


def test_drives_follow_servers_that_grew_meanwhile(
    atlas: Infrastructure, web: InstanceArray, web_data: DriveArray, ana: User, wei: User
) -> None:
    edits.attach(web_data, None, by=ana)
    configure(web, by=wei, count=6)

    edits.undo(atlas, by=ana)
    assert now_is(web_data).numbers == [1, 2, 3, 4, 5, 6]

    edits.redo(atlas, by=ana)
    assert now_is(web_data).numbers == [1, 2, 3, 4]


def test_what_was_deployed_is_not_undone(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    edits.rename(web, by=ana, seen=0, label="front")
    Deploy.objects.create(infrastructure=atlas, number=1, state="done", started_at=timezone.now(), review={}, goal={})

    assert edits.can_undo(atlas, ana) is None
    with refused("There is nothing of yours to undo since the last deploy."):
        edits.undo(atlas, by=ana)


def test_design_that_is_deployed_is_not_undone_either(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    edits.rename(web, by=ana, seen=0, label="front")
    Deploy.objects.create(infrastructure=atlas, number=1, started_at=timezone.now(), review={}, goal={})

    for go in (edits.undo, edits.redo, edits.discard_all):
        with refused("atlas-prod is being deployed. Editing goes on when that ends."):
            go(atlas, by=ana)


# ── Discarding ───────────────────────────────────────────────────────────────


def test_changed_product_goes_back_to_what_is_real(
    atlas: Infrastructure, web: InstanceArray, web_data: DriveArray, ana: User, wei: User
) -> None:
    edits.rename(web, by=ana, seen=0, label="front")
    edits.connect(web, 3, atlas.networks.get(kind="wan"), by=ana)
    configure_drives(web_data, by=ana, size_mb=81920)

    edits.discard(web, by=wei)

    assert pending_in(atlas) == {"web-data": "edit"}
    assert now_is(web).label == "web"
    assert said() == ("discarded the changes of", "front", "")
    with refused("web has no changes to discard."):
        edits.discard(web, by=wei)


def test_new_product_goes_away(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    logs = edits.add_drive_array(atlas, by=ana, instance_array=web)

    edits.discard(logs, by=ana)

    assert not DriveArray.objects.exists()


def test_what_is_attached_to_a_discarded_array_is_detached(
    atlas: Infrastructure, web: InstanceArray, web_data: DriveArray, ana: User
) -> None:
    db = edits.add_instance_array(atlas, by=ana, label="db", count=3)
    logs = edits.add_drive_array(atlas, by=ana, label="logs", instance_array=db)

    edits.discard(db, by=ana)

    assert (now_is(logs).instance_array, now_is(logs).numbers) == (None, [1, 2, 3])
    edits.undo(atlas, by=ana)
    assert now_is(logs).instance_array == db


def test_discarded_network_lets_its_interfaces_go(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    lan = edits.add_network(atlas, by=ana, label="backup")
    edits.connect(web, 3, lan, by=ana)

    edits.discard(lan, by=ana)

    assert pending_in(atlas) == {}


def test_kept_network_has_its_interfaces_back(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    lan = atlas.networks.get(kind="lan")
    edits.delete([lan], by=ana)

    edits.discard(lan, by=ana)

    assert pending_in(atlas) == {}


@pytest.mark.parametrize("drives", ["keep", "delete"])
def test_kept_servers_have_their_drives_back(
    drives: str, atlas: Infrastructure, web: InstanceArray, web_data: DriveArray, ana: User
) -> None:
    edits.delete([web], by=ana, drives=drives)
    edits.discard(web, by=ana)
    assert pending_in(atlas) == {}

    configure(web, by=ana, count=2, drives=drives)
    edits.discard(web, by=ana)
    assert pending_in(atlas) == {}


@pytest.mark.parametrize("count", [2, 6])
def test_servers_and_their_drives_are_one_decision(
    count: int, atlas: Infrastructure, web: InstanceArray, web_data: DriveArray, ana: User
) -> None:
    configure(web, by=ana, count=count, drives="delete")

    (change,) = changes_of(products(atlas))

    assert (change.topic, change.along) == (web.topic, (web_data.topic,))
    assert [(one.name, one.old, one.new) for one in change.lines] == [
        ("Servers", "4", str(count)),
        ("Drives of web-data", "4", str(count)),
    ]
    assert decisions_in([atlas.pk]) == {atlas.pk: 1}
    edits.discard(web, by=ana)
    assert pending_in(atlas) == {}


def test_drives_that_somebody_changed_besides_are_a_decision_of_their_own(
    atlas: Infrastructure, web: InstanceArray, web_data: DriveArray, ana: User, wei: User
) -> None:
    configure(web, by=ana, count=2, drives="delete")
    configure_drives(web_data, by=wei, size_mb=81920)

    assert [change.label for change in changes_of(products(atlas))] == ["web", "web-data"]
    assert decisions_in([atlas.pk]) == {atlas.pk: 2}
    edits.discard(web, by=ana)
    assert pending_in(atlas) == {"web-data": "edit"}
    assert (now_is(web_data).size_mb, now_is(web_data).numbers) == (81920, [1, 2, 3, 4])


def test_drives_of_discarded_servers_go_with_them(
    atlas: Infrastructure, web: InstanceArray, web_data: DriveArray, ana: User
) -> None:
    configure(web, by=ana, count=9)

    edits.discard(web, by=ana)

    assert pending_in(atlas) == {}


def test_deleted_drives_are_kept_although_their_servers_go(
    atlas: Infrastructure, web: InstanceArray, web_data: DriveArray, ana: User
) -> None:
    configure(web, by=ana, count=2, drives="delete")

    edits.discard(web_data, by=ana)

    assert pending_in(atlas) == {"web": "edit"}


def test_drives_do_not_come_back_to_servers_that_go(
    atlas: Infrastructure, web: InstanceArray, web_data: DriveArray, ana: User
) -> None:
    edits.delete([web, web_data], by=ana)

    with refused("web, which web-data goes back to, is deleted. Discard that first."):
        edits.discard(web_data, by=ana)


def test_discarding_a_rename_is_refused_when_the_label_is_taken(
    atlas: Infrastructure, web: InstanceArray, ana: User
) -> None:
    edits.rename(web, by=ana, seen=0, label="front")
    edits.add_network(atlas, by=ana, label="Web")

    with refused("web is the label of something else by now. Rename that first."):
        edits.discard(web, by=ana)

    edits.discard_all(atlas, by=ana)
    assert pending_in(atlas) == {}


def test_labels_that_were_swapped_are_swapped_back(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    db = factories.make_instance_array(atlas, "db")
    edits.rename(web, by=ana, seen=0, label="third")
    edits.rename(db, by=ana, seen=0, label="web")
    edits.rename(web, by=ana, seen=1, label="db")

    edits.discard_all(atlas, by=ana)

    assert (now_is(web).label, now_is(db).label) == ("web", "db")


def test_label_that_is_new_again_is_had_back(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    edits.rename(web, by=ana, seen=0, label="front")
    edits.add_instance_array(atlas, by=ana, label="web")
    drawn = drawn_in(atlas)

    edits.discard_all(atlas, by=ana)
    edits.undo(atlas, by=ana)

    assert drawn_in(atlas) == drawn


def test_broken_off_deploy_is_not_discarded(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    InstanceArray.objects.update(unsettled=True)

    with refused("A deploy was broken off at web. Deploy again to put that right."):
        edits.discard(web, by=ana)
    with refused("atlas-prod has no changes to discard."):
        edits.discard_all(atlas, by=ana)


def test_large_discard_is_told_as_one(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    InstanceArray.objects.bulk_create(
        InstanceArray(infrastructure=atlas, label=f"a-{number}", server_type=ServerType.objects.get())
        for number in range(300)
    )

    edits.discard_all(atlas, by=ana)

    assert (InstanceArray.objects.count(), said()) == (1, ("discarded all changes of", "atlas-prod", "300 changes."))
    assert len(Event.objects.first().topic_list) < 10
    edits.undo(atlas, by=ana)
    assert InstanceArray.objects.count() == 301
