"""What is drawn: added, changed, attached and taken away by people, each time for everyone and with a way back."""

from __future__ import annotations

from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from editor import edits
from editor.models import (
    Deploy,
    DesignStep,
    Drive,
    DriveArray,
    Event,
    Infrastructure,
    InstanceArray,
    Membership,
    Network,
    Role,
    ServerType,
    User,
)
from tests import factories
from tests.editor.designing import configure, configure_drives, now_is, refused, said

pytestmark = pytest.mark.django_db


# ── Adding ───────────────────────────────────────────────────────────────────


def test_new_instance_array_has_sensible_defaults(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    array = edits.add_instance_array(atlas, by=ana)

    array = now_is(array)
    networks = [one.network.kind if one.network else "" for one in array.interfaces.select_related("network")]
    assert (array.label, array.count, array.server_type, array.change) == (
        "instance-array-1",
        1,
        web.server_type,
        "add",
    )
    assert networks == ["san", "wan", "", ""]
    assert (array.changed_by, array.revision) == (ana, 1)
    assert said() == ("added InstanceArray", "instance-array-1", "")


def test_new_drive_array_has_a_drive_for_each_server(atlas: Infrastructure, web: InstanceArray, wei: User) -> None:
    attached = edits.add_drive_array(atlas, by=wei, instance_array=web)
    alone = edits.add_drive_array(atlas, by=wei)

    assert now_is(attached).drawn() == {
        "label": "drive-array-1",
        "storage_type": "iscsi_ssd",
        "size_mb": 40960,
        "numbers": [1, 2, 3, 4],
        "instance_array": web.pk,
        "grows": True,
    }
    assert (alone.label, alone.numbers, alone.instance_array) == ("drive-array-2", [1], None)


def test_new_network_is_a_lan(atlas: Infrastructure, ana: User) -> None:
    network = edits.add_network(atlas, by=ana, label="backup")

    assert (network.kind, network.label, network.change) == ("lan", "backup", "add")


def test_nothing_new_stands_on_something_else(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    made: list[Any] = [edits.add_instance_array(atlas, by=ana) for _ in range(3)]
    made += [edits.add_drive_array(atlas, by=ana, instance_array=made[0]) for _ in range(2)]

    places = {(array.x, array.y) for array in made}
    assert len(places) == 5
    columns = sorted(x for x, y in places if y == made[0].y)
    assert all(right - left >= 252 for left, right in pairwise(columns))


def test_the_same_request_adds_once(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    key = uuid4()

    first = edits.add_drive_array(atlas, by=ana, key=key, instance_array=web)
    again = edits.add_drive_array(atlas, by=ana, key=key, instance_array=web)

    assert again == first
    assert (DriveArray.objects.count(), DesignStep.objects.count()) == (1, 1)


@pytest.mark.parametrize(
    ("label", "why"),
    [
        ("web", "web is taken in this infrastructure. Choose another label."),
        ("WEB", "WEB is taken in this infrastructure. Choose another label."),
        ("san", "san is taken in this infrastructure. Choose another label."),
        ("drives", "drives is a reserved word. Choose another label."),
        ("If7", "If7 is a reserved word. Choose another label."),
        ("my_array", "Use 1 to 63 letters, digits and hyphens; begin with a letter and end with a letter or digit."),
    ],
)
def test_label_that_cannot_be_is_refused(
    label: str, why: str, atlas: Infrastructure, web: InstanceArray, ana: User
) -> None:
    adding = (edits.add_instance_array, edits.add_drive_array, edits.add_network)
    for add in adding:
        with refused(why):
            add(atlas, by=ana, label=label)

    assert not DesignStep.objects.exists()


def test_label_of_another_infrastructure_is_free(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    other = factories.make_infrastructure(ana, "other")

    assert edits.add_instance_array(other, by=ana, label="web").label == "web"


@pytest.mark.parametrize(
    ("design", "why"),
    [
        ({"count": 1001}, "An array has 0 to 1000 drives, not 1001."),
        ({"size_mb": 1023}, "A drive has 1 GB to 1999 GB."),
        ({"size_mb": 2046977}, "A drive has 1 GB to 1999 GB."),
    ],
)
def test_amount_beyond_the_limits_is_refused(design: dict, why: str, atlas: Infrastructure, ana: User) -> None:
    with refused(why):
        edits.add_drive_array(atlas, by=ana, **design)


# ── Who may, and when ────────────────────────────────────────────────────────


def test_viewers_and_strangers_design_nothing(atlas: Infrastructure, web: InstanceArray) -> None:
    vera, stranger = factories.make_user("Vera Lindt"), factories.make_user("Sam Stranger")
    Membership.objects.create(infrastructure=atlas, user=vera, role=Role.VIEWER)

    with refused("You can look but not change anything here"):
        edits.rename(web, by=vera, seen=0, label="front")
    with refused("You are not a member"):
        edits.delete([web], by=stranger)


def test_design_stands_still_while_it_is_deployed(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    Deploy.objects.create(infrastructure=atlas, number=1, started_at=timezone.now(), review={}, goal={})

    with refused("atlas-prod is being deployed. Editing goes on when that ends."):
        edits.rename(web, by=ana, seen=0, label="front")

    Deploy.objects.update(state="stopped")
    assert edits.rename(web, by=ana, seen=0, label="front").label == "front"


# ── Renaming, and two people at once ─────────────────────────────────────────


def test_renamed_array_waits_for_a_deploy(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    edits.rename(web, by=ana, seen=0, label="front")

    web = now_is(web)
    assert web.deployed
    assert (web.label, web.change, web.deployed["label"], web.revision) == ("front", "edit", "web", 1)
    assert said() == ("renamed web to", "front", "")


def test_only_the_case_of_a_label_can_change(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    assert edits.rename(web, by=ana, seen=0, label="Web").label == "Web"


def test_save_of_a_stale_form_shows_theirs_and_yours(
    web: InstanceArray, web_data: DriveArray, ana: User, wei: User
) -> None:
    edits.rename(web, by=wei, seen=0, label="front")

    with pytest.raises(edits.Stale) as refused:
        edits.configure_instance_array(web, by=ana, seen=0, label="web", server_type=web.server_type, count=6)

    assert str(refused.value) == "Wei Chen changed front meanwhile. Look at both, then save what it shall be."
    assert refused.value.theirs == {"label": "front", "count": "4 servers"}
    assert refused.value.yours == {"label": "web", "count": "6 servers"}
    assert now_is(web).count == 4


def test_stale_form_that_wants_what_is_there_changes_nothing(web: InstanceArray, ana: User, wei: User) -> None:
    edits.rename(web, by=wei, seen=0, label="front")

    edits.rename(web, by=ana, seen=0, label="front")

    assert now_is(web).revision == 1


def test_product_that_is_gone_says_who_took_it_away(atlas: Infrastructure, ana: User, wei: User) -> None:
    logs = edits.add_drive_array(atlas, by=ana, label="logs")
    edits.delete([logs], by=wei)

    with refused("logs was deleted by Wei Chen meanwhile."):
        edits.rename(logs, by=ana, seen=1, label="log-files")


def test_saving_without_a_change_is_no_step(web: InstanceArray, ana: User) -> None:
    configure(web, by=ana)

    assert (now_is(web).revision, DesignStep.objects.count(), Event.objects.count()) == (0, 0, 0)


# ── Growing and shrinking ────────────────────────────────────────────────────


def test_drives_grow_with_their_servers(web: InstanceArray, web_data: DriveArray, ana: User) -> None:
    configure(web, by=ana, count=6)

    assert (now_is(web).numbers, now_is(web_data).numbers) == ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6])
    assert (now_is(web).change, now_is(web_data).change) == ("edit", "edit")
    assert said() == ("changed", "web", "4 servers → 6 servers")


def test_drives_that_do_not_grow_stay_as_many(web: InstanceArray, web_data: DriveArray, ana: User) -> None:
    configure_drives(web_data, by=ana, grows=False)

    configure(web, by=ana, count=6)

    assert now_is(web_data).numbers == [1, 2, 3, 4]


def test_shrinking_asks_what_becomes_of_drives(web: InstanceArray, web_data: DriveArray, ana: User) -> None:
    with refused("2 drives belong to servers that go.", edits.Undecided):
        configure(web, by=ana, count=2)

    assert now_is(web).count == 4


def test_kept_drives_wait_for_the_next_growth(web: InstanceArray, web_data: DriveArray, ana: User) -> None:
    configure(web, by=ana, count=2, leaving=[1, 3], drives="keep")
    assert (now_is(web).numbers, now_is(web_data).numbers) == ([2, 4], [1, 2, 3, 4])

    configure(web, by=ana, count=3)
    assert (now_is(web).numbers, now_is(web_data).numbers) == ([1, 2, 4], [1, 2, 3, 4])


def test_deleted_drives_go_with_their_servers(web: InstanceArray, web_data: DriveArray, ana: User) -> None:
    configure(web, by=ana, count=2, drives="delete")

    assert (now_is(web).numbers, now_is(web_data).numbers) == ([1, 2], [1, 2])
    assert said() == ("changed", "web", "4 servers → 2 servers. web-3 and web-4 go, their drives are deleted.")
    assert Drive.objects.count() == 4


def test_drives_that_were_never_made_go_without_a_question(web: InstanceArray, web_data: DriveArray, ana: User) -> None:
    configure(web, by=ana, count=6)

    configure(web, by=ana, count=4)

    assert (now_is(web).change, now_is(web_data).change) == ("", "")


def test_as_many_go_as_are_too_many(web: InstanceArray, ana: User) -> None:
    for leaving in ([1], [1, 2, 3], [1, 9]):
        with refused("web gets from 4 to 2: choose exactly 2 of them to go."):
            configure(web, by=ana, count=2, leaving=leaving)


def test_array_can_be_empty(web: InstanceArray, ana: User) -> None:
    assert configure(web, by=ana, count=0).numbers == []


def test_drives_for_each_server_cannot_be_fewer(web: InstanceArray, web_data: DriveArray, ana: User) -> None:
    with refused("web-data grows with web: each of its 4 servers needs a drive."):
        configure_drives(web_data, by=ana, count=3)

    configure_drives(web_data, by=ana, count=3, grows=False, leaving=[2])
    assert now_is(web_data).numbers == [1, 3, 4]

    configure_drives(web_data, by=ana, grows=True)
    assert now_is(web_data).numbers == [1, 2, 3, 4]


def test_drives_without_a_server_go_first(web: InstanceArray, web_data: DriveArray, ana: User) -> None:
    configure(web, by=ana, count=3, leaving=[2], drives="keep")

    configure_drives(web_data, by=ana, count=3)

    assert now_is(web_data).numbers == [1, 3, 4]


def test_drives_only_grow(web_data: DriveArray, ana: User) -> None:
    configure_drives(web_data, by=ana, size_mb=61440)

    with refused("Drives only grow, and those of web-data have 40 GB. Choose that or more."):
        configure_drives(web_data, by=ana, size_mb=20480)

    assert configure_drives(web_data, by=ana, size_mb=40960).change == ""


def test_new_drives_may_become_smaller(atlas: Infrastructure, ana: User) -> None:
    array = edits.add_drive_array(atlas, by=ana)

    assert configure_drives(array, by=ana, size_mb=20480, storage_type="iscsi_hdd").size_mb == 20480


def test_what_is_deployed_keeps_its_type(web: InstanceArray, web_data: DriveArray, ana: User) -> None:
    large = ServerType.objects.create(label="L.64.512", cores=64, ram_gb=512)

    with refused("web is deployed: its server type stays."):
        configure(web, by=ana, server_type=large)
    with refused("web-data is deployed: its storage class stays."):
        configure_drives(web_data, by=ana, storage_type="iscsi_hdd")


# ── Attaching and connecting ─────────────────────────────────────────────────


def test_detached_drives_are_given_to_other_servers(
    atlas: Infrastructure, web: InstanceArray, web_data: DriveArray, ana: User
) -> None:
    db = factories.make_instance_array(atlas, "db", count=5)

    with refused("web-data is attached to web. Detach it there first."):
        edits.attach(web_data, db, by=ana)
    edits.attach(web_data, None, by=ana)
    assert said() == ("detached", "web-data", "It was attached to web.")
    edits.attach(web_data, db, by=ana)

    assert (now_is(web_data).instance_array, now_is(web_data).numbers) == (db, [1, 2, 3, 4, 5])
    assert said() == ("attached web-data to", "db", "")


def test_nothing_reaches_into_another_infrastructure(web: InstanceArray, ana: User) -> None:
    other = factories.make_infrastructure(ana, "other")
    logs = edits.add_drive_array(other, by=ana, label="logs")

    with refused("web is in another infrastructure. Nothing reaches across."):
        edits.attach(logs, web, by=ana)
    with refused("lan is in another infrastructure. Nothing reaches across."):
        edits.connect(web, 2, other.networks.get(kind="lan"), by=ana)


def test_interface_leaves_one_network_for_another(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    wan = atlas.networks.get(kind="wan")

    edits.connect(web, 1, wan, by=ana)
    assert said() == ("connected if1 of web to", "wan", "It was on lan.")
    edits.connect(web, 3, wan, by=ana)
    edits.connect(web, 1, None, by=ana)

    san = atlas.networks.get(kind="san")
    assert now_is(web).drawn()["interfaces"] == [san.pk, None, None, wan.pk]
    assert said() == ("disconnected if1 of", "web", "It was on wan.")


def test_first_interface_carries_the_drives(
    atlas: Infrastructure, web: InstanceArray, web_data: DriveArray, ana: User
) -> None:
    lan, san = atlas.networks.get(kind="lan"), atlas.networks.get(kind="san")

    with refused("if0 carries the drives: it takes the SAN only. Choose if1 to if3 for lan."):
        edits.connect(web, 0, lan, by=ana)
    with refused("The SAN carries the drives: it takes if0 only, not if2."):
        edits.connect(web, 2, san, by=ana)
    with refused("A server has the interfaces if0 to if3."):
        edits.connect(web, 4, lan, by=ana)
    with refused("web reaches the drives of web-data through if0. Detach web-data first."):
        edits.connect(web, 0, None, by=ana)
    edits.attach(web_data, None, by=ana)
    edits.connect(web, 0, None, by=ana)
    with refused("web is not on the SAN, which carries the drives. Connect its if0 first."):
        edits.attach(web_data, web, by=ana)


# ── Deleting ─────────────────────────────────────────────────────────────────


def test_what_was_never_deployed_is_gone_at_once(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    logs = edits.add_drive_array(atlas, by=ana, instance_array=web, label="logs")

    edits.delete([logs], by=ana)

    assert not DriveArray.objects.exists()
    assert said() == ("removed", "logs", "")


def test_what_is_deployed_leaves_by_the_next_deploy(web_data: DriveArray, ana: User, wei: User) -> None:
    edits.delete([web_data], by=ana)

    assert (now_is(web_data).change, Drive.objects.count()) == ("del", 4)
    assert said() == ("marked for deletion", "web-data", "")
    with refused("web-data is deleted by the next deploy. Discard that to keep it."):
        configure_drives(web_data, by=wei, size_mb=81920)


def test_wan_and_san_stay(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    san = atlas.networks.get(kind="san")

    with refused("san is the SAN of this infrastructure. It stays."):
        edits.delete([web, san], by=ana)

    assert not now_is(web).leaves


def test_drives_of_deleted_servers_are_kept_or_deleted(web: InstanceArray, web_data: DriveArray, ana: User) -> None:
    with refused("4 drives belong to servers that go.", edits.Undecided):
        edits.delete([web], by=ana)

    edits.delete([web], by=ana, drives="keep")

    assert (now_is(web_data).instance_array, now_is(web_data).numbers) == (None, [1, 2, 3, 4])


def test_drives_are_deleted_with_their_servers(web: InstanceArray, web_data: DriveArray, ana: User) -> None:
    edits.delete([web], by=ana, drives="delete")

    assert (now_is(web).change, now_is(web_data).change) == ("del", "del")


def test_deleting_both_asks_nothing(web: InstanceArray, web_data: DriveArray, ana: User) -> None:
    edits.delete([web, web_data], by=ana)

    assert (now_is(web).change, now_is(web_data).change) == ("del", "del")
    assert said() == ("marked for deletion", "web and web-data", "")


def test_drives_without_a_server_survive_its_array(web: InstanceArray, web_data: DriveArray, ana: User) -> None:
    configure(web, by=ana, count=3, drives="keep")

    edits.delete([web], by=ana, drives="delete")

    assert (now_is(web_data).change, now_is(web_data).numbers) == ("edit", [4])


def test_deleted_network_lets_its_interfaces_go(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    lan = atlas.networks.get(kind="lan")

    edits.delete([lan], by=ana)

    assert (now_is(lan).change, now_is(web).change) == ("del", "edit")
    assert lan.pk not in now_is(web).drawn()["interfaces"]
    with refused("lan is deleted by the next deploy."):
        edits.connect(web, 2, lan, by=ana)


# ── Copying ──────────────────────────────────────────────────────────────────


def test_copy_is_drawn_alike(atlas: Infrastructure, web: InstanceArray, web_data: DriveArray, ana: User) -> None:
    configure(web, by=ana, count=3, leaving=[2], drives="keep")

    copies: list[Any] = [edits.copy(web, by=ana), edits.copy(web, by=ana), edits.copy(web_data, by=ana)]
    lan = edits.copy(atlas.networks.get(kind="lan"), by=ana)

    assert [one.label for one in copies] == ["web-copy", "web-copy-2", "web-data-copy"]
    assert now_is(copies[0]).drawn() == now_is(web).drawn() | {"label": "web-copy", "numbers": [1, 2, 3]}
    assert now_is(copies[2]).drawn() == now_is(web_data).drawn() | {"label": "web-data-copy"}
    assert (lan.label, lan.kind) == ("lan-copy", "lan")
    assert not copies[2].drives.exists()
    with refused("san exists once in an infrastructure. Only a LAN can be copied."):
        edits.copy(atlas.networks.get(kind="san"), by=ana)


def test_copies_of_several_belong_together(
    atlas: Infrastructure, web: InstanceArray, web_data: DriveArray, ana: User
) -> None:
    lan = atlas.networks.get(kind="lan")
    configure(web, by=ana, count=3, leaving=[2], drives="keep")
    key = uuid4()

    data, servers, office = edits.copy_all([web_data, web, lan], by=ana, key=key)
    again = edits.copy_all([web_data, web, lan], by=ana, key=key)

    assert {one.topic for one in again} == {data.topic, servers.topic, office.topic}
    assert (data.label, servers.label, office.label) == ("web-data-copy", "web-copy", "lan-copy")
    assert now_is(data).drawn() == now_is(web_data).drawn() | {"label": "web-data-copy", "instance_array": servers.pk}
    assert now_is(servers).drawn()["interfaces"][1] == office.pk
    assert said() == ("copied web-data, web and lan to", "web-data-copy, web-copy and lan-copy", "")
    edits.undo(atlas, by=ana)
    assert DriveArray.objects.count() == 1
    with refused("san exists once in an infrastructure."):
        edits.copy_all([web, atlas.networks.get(kind="san")], by=ana)
    assert InstanceArray.objects.count() == 1


def test_copy_of_a_long_label_has_a_valid_one(atlas: Infrastructure, web: InstanceArray, ana: User) -> None:
    array = edits.add_instance_array(atlas, by=ana, label="a" * 63)

    assert edits.copy(array, by=ana).label == "a" * 54 + "-copy"


# ── Telling ──────────────────────────────────────────────────────────────────


def test_everybody_concerned_looks_again(
    atlas: Infrastructure, web: InstanceArray, web_data: DriveArray, ana: User
) -> None:
    here = {f"infrastructure-{atlas.pk}", f"wiring-{atlas.pk}", f"design-{atlas.pk}"}

    edits.rename(web, by=ana, seen=0, label="front")
    assert set(Event.objects.first().topic_list) == {web.topic, *here}

    configure(web, by=ana, count=7)
    assert set(Event.objects.first().topic_list) == {web.topic, web_data.topic, f"nodes-{atlas.pk}", *here}

    lan = edits.add_network(atlas, by=ana)
    assert set(Event.objects.first().topic_list) == {lan.topic, f"nodes-{atlas.pk}", *here}


def test_one_edit_costs_the_same_in_a_large_design(
    atlas: Infrastructure, web: InstanceArray, web_data: DriveArray, ana: User
) -> None:
    def edit() -> None:
        edits.configure_instance_array(
            now_is(web), by=ana, seen=None, label="web", server_type=web.server_type, count=now_is(web).count + 1
        )
        edits.add_drive_array(atlas, by=ana, instance_array=web)

    with CaptureQueriesContext(connection) as few:
        edit()
    InstanceArray.objects.bulk_create(
        InstanceArray(infrastructure=atlas, label=f"a-{number}", server_type=web.server_type, x=number * 300, y=176)
        for number in range(1000)
    )
    Network.objects.bulk_create(Network(infrastructure=atlas, label=f"n-{number}", kind="lan") for number in range(50))

    with CaptureQueriesContext(connection) as many:
        edit()

    assert len(many) == len(few)
