"""Drawing by forms: configuration tabs, what goes when arrays get smaller, deleting, discarding, undoing, adding."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from editor import edits
from editor.canvas import CARD_W
from editor.models import Deploy, DriveArray, Infrastructure, InstanceArray, Network, Power, User
from tests import factories
from tests.editor.designing import configure, configure_drives, now_is
from tests.reading import Page, read

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}
CANVAS = {"Accept": "text/plain"}


@dataclass
class World:
    """web ×3 with web-data ×3, whose second drive has two snapshots; spare ×1, attached to nothing."""

    client: Client
    owner: User
    operator: User
    viewer: User
    stranger: User
    infrastructure: Infrastructure
    web: InstanceArray
    data: DriveArray
    spare: DriveArray

    def sign_in(self, user: User) -> None:
        self.client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")

    def get(self, name: str, thing: Any, **query: str) -> Page:
        response = self.client.get(reverse(name, args=[thing.pk]), query, headers=PARTIAL)
        assert response.status_code == 200
        return read(response)

    def post(self, name: str, thing: Any, *, headers: dict[str, str] | None = None, **fields: Any) -> HttpResponse:
        answer = self.client.post(
            reverse(name, args=[thing.pk]), fields, headers=PARTIAL if headers is None else headers
        )
        assert isinstance(answer, HttpResponse)
        return answer

    def servers(self, **fields: Any) -> HttpResponse:
        """Sends the form of web as its page has it, with some fields changed."""
        web = now_is(self.web)
        form: dict[str, Any] = {
            "label": web.label,
            "server_type": web.server_type_id,
            "count": web.count,
            "seen": web.revision,
        }
        return self.post("instance_array_configure", web, **(form | fields))

    def drives(self, **fields: Any) -> HttpResponse:
        """Sends the form of spare as its page has it, with some fields changed."""
        spare = now_is(self.spare)
        form: dict[str, Any] = {
            "label": spare.label,
            "size_gb": spare.size_mb / 1024,
            "storage_type": spare.storage_type,
            "count": spare.count,
            "grows": "on",
            "seen": spare.revision,
        }
        return self.post("drive_array_configure", spare, **(form | fields))


@pytest.fixture
def world(db: None, client: Client) -> World:
    names = ("Olga Own", "Otto Operate", "Vera View", "Stan Strange")
    owner, operator, viewer, stranger = map(factories.make_user, names)
    infrastructure = factories.make_infrastructure(owner, operator=operator, viewer=viewer)
    web = factories.make_instance_array(infrastructure, count=3, power=Power.ON)
    data = factories.make_drive_array(infrastructure, instance_array=web, count=3)
    factories.make_snapshots(data.drives.get(number=2), 2, by=owner)
    spare = factories.make_drive_array(infrastructure, "spare", count=1)
    world = World(client, owner, operator, viewer, stranger, infrastructure, web, data, spare)
    world.sign_in(operator)
    return world


# ── The Configuration tab ────────────────────────────────────────────────────


def test_a_form_is_saved_to_the_draft_and_says_what_is_deployed(world: World) -> None:
    page = read(world.servers(label="front", count=5))

    web = now_is(world.web)
    assert (web.label, web.count, web.deployed and web.deployed["label"]) == ("front", 5, "web")
    assert "Waits for Deploy" in page.words
    assert "+2 servers" in page.words
    assert "~ renamed" in page.words
    assert "Deployed: web" in page.words
    assert "Deployed: 3" in page.words
    assert page.value("id_label") == "front"


def test_without_htmx_saving_leads_back_to_the_tab(world: World) -> None:
    response = world.post(
        "drive_array_configure",
        world.spare,
        headers={},
        label="spare",
        size_gb="80",
        storage_type="iscsi_ssd",
        count=1,
        seen=0,
    )

    assert (response.status_code, response["Location"]) == (302, f"/drive-arrays/{world.spare.pk}/configure/")
    assert now_is(world.spare).size_mb == 80 * 1024


@pytest.mark.parametrize(
    ("fields", "field", "sentence"),
    [
        ({"label": "no good"}, "label", "Use 1 to 63 letters, digits and hyphens"),
        ({"label": ""}, "label", "Use 1 to 63 letters, digits and hyphens"),
        ({"label": "WEB-data"}, "label", "WEB-data is taken in this infrastructure."),
        ({"label": "drives"}, "label", "drives is a reserved word."),
        ({"count": "many"}, "count", "Type a whole number."),
        ({"count": "-1"}, "count", "Type a whole number."),
        ({"count": "1001"}, "count", "An array has 0 to 1000 servers, not 1001."),
        ({"server_type": "0"}, "server_type", "There is no such server type."),
    ],
)
def test_what_cannot_be_is_said_at_its_field(world: World, fields: dict[str, str], field: str, sentence: str) -> None:
    response = world.servers(**fields)

    assert response.status_code == 422
    page = read(response)
    assert page.texts[f"id_{field}_error"].startswith(sentence)
    assert f'id="id_{field}"' in response.content.decode()
    assert now_is(world.web).revision == 0


@pytest.mark.parametrize(
    ("fields", "field", "sentence"),
    [
        ({"size_gb": "20"}, "size_gb", "Drives only grow, and those of spare have 40 GB."),
        ({"size_gb": "9999"}, "size_gb", "A drive has 1 GB to 1999 GB."),
        ({"size_gb": "big"}, "size_gb", "Type a size in GB"),
        ({"storage_type": "iscsi_hdd"}, "storage_type", "spare is deployed: its storage class stays."),
        ({"storage_type": "tape"}, "storage_type", "There is no such class of storage."),
    ],
)
def test_what_drives_cannot_be_is_said_at_its_field(
    world: World, fields: dict[str, str], field: str, sentence: str
) -> None:
    response = world.drives(**fields)

    assert response.status_code == 422
    assert read(response).texts[f"id_{field}_error"].startswith(sentence)


def test_who_saves_after_somebody_else_sees_both(world: World) -> None:
    seen = world.web.revision
    configure(world.web, by=world.owner, label="front")

    response = world.servers(label="mine", seen=seen)

    page = read(response)
    assert response.status_code == 409
    assert "Olga Own changed front meanwhile." in page.words
    assert "Label front mine" in page.words
    assert page.value("id_label") == "mine"
    assert page.control("Take theirs").attributes["href"] == f"/instance-arrays/{world.web.pk}/configure/"
    assert now_is(world.web).label == "front"


def test_saving_mine_means_sending_the_same_form_again(world: World) -> None:
    configure(world.web, by=world.owner, label="front")
    world.servers(label="mine", seen=0)

    response = world.servers(label="mine")

    assert response.status_code == 200
    assert now_is(world.web).label == "mine"


@pytest.mark.parametrize("name", ["instance_array_configure", "drive_array_configure", "network_configure"])
def test_a_viewer_sees_the_form_and_why_it_is_fixed(world: World, name: str) -> None:
    world.sign_in(world.viewer)
    thing = {"instance": world.web, "drive": world.spare}.get(name.partition("_")[0])
    thing = thing or world.infrastructure.networks.get(kind="lan")

    page = world.get(name, thing)

    label = next(one for one in page.controls if one.attributes.get("id") == "id_label")
    assert "disabled" in label.attributes
    assert page.control("Save to draft").unavailable
    assert page.reason("Save to draft").startswith("You can look but not change anything here.")


def test_while_a_deploy_runs_the_form_stands_still(world: World) -> None:
    running(world)

    page, refused = world.get("instance_array_configure", world.web), world.servers(label="front")

    assert page.reason("Save to draft") == "atlas-prod is being deployed. Editing goes on when that ends."
    assert refused.status_code == 409
    assert now_is(world.web).label == "web"


def test_a_network_is_renamed_in_its_tab(world: World) -> None:
    lan = world.infrastructure.networks.get(kind="lan")

    refused = world.post("network_configure", lan, label="web", seen=0)
    done = world.post("network_configure", lan, label="backstage", seen=0)

    assert (refused.status_code, done.status_code) == (422, 200)
    assert now_is(lan).label == "backstage"


def test_an_interface_is_put_on_a_network_by_its_form(world: World) -> None:
    lan = world.infrastructure.networks.get(kind="lan")

    page = world.get("instance_array_networks", world.web)
    done = world.post("instance_array_connect", world.web, index=2, network=lan.pk, seen=0)

    assert [name for name in page.names() if name.startswith("Set")] == [f"Set if{index}" for index in range(4)]
    assert done.status_code == 204
    assert now_is(world.web).drawn()["interfaces"][2] == lan.pk
    assert "waits for Deploy" in world.get("instance_array_networks", world.web).words


# ── When an array gets smaller ───────────────────────────────────────────────


def test_fewer_servers_ask_which_and_what_becomes_of_their_drives(world: World) -> None:
    response = world.servers(count=1, label="front")

    html, page = response.content.decode(), read(response)
    assert (response.status_code, response["HX-Retarget"]) == (200, "#dialog")
    assert "Which 2 servers of web go?" in page.words
    assert [f'value="{number}" checked' in html for number in (1, 2, 3)] == [False, True, True]
    assert "web-data-2, 0 B written, 2 snapshots" in page.words
    assert "Keep them, detached" in page.words
    assert '<input type="hidden" name="label" value="front">' in html
    assert now_is(world.web).count == 3


def test_chosen_servers_go_and_their_drives_stay(world: World) -> None:
    response = world.servers(count=2, asked="yes", leaving=[1], drives="keep")

    assert response.status_code == 200
    assert response["HX-Trigger"] == "close-dialog"
    assert now_is(world.web).numbers == [2, 3]
    assert now_is(world.data).numbers == [1, 2, 3]


def test_chosen_servers_go_with_their_drives(world: World) -> None:
    world.servers(count=2, asked="yes", leaving=[1], drives="delete")

    assert now_is(world.web).numbers == [2, 3]
    assert now_is(world.data).numbers == [2, 3]


@pytest.mark.parametrize(
    ("tab", "thing", "goes", "comes"),
    [
        ("instance_array_instances", "web", "− goes", "web-4 and web-5"),
        ("instance_array", "web", "web-1, On, goes", "web-4 and web-5"),
        ("drive_array_drives", "data", "− goes", "web-data-4 and web-data-5"),
        ("drive_array", "data", "web-data-1, goes", "web-data-4 and web-data-5"),
    ],
)
def test_lists_say_in_place_what_goes_and_what_comes_with_the_next_deploy(
    world: World, tab: str, thing: str, goes: str, comes: str
) -> None:
    array = getattr(world, thing)
    before = world.get(tab, array)

    world.servers(count=2, asked="yes", leaving=[1], drives="delete")
    fewer = world.get(tab, array)
    edits.undo(world.infrastructure, by=world.operator)
    world.servers(count=5, seen=2)
    more = world.get(tab, array)

    assert "with the next deploy" not in before.words
    assert fewer.words.count("with the next deploy") == 1
    assert f"{goes} with the next deploy" in fewer.words
    assert more.words.count("with the next deploy") == 1
    assert f"+2 with the next deploy: {comes}" in more.words


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"leaving": [1, 2], "drives": "keep"}, "web gets from 3 to 2: choose exactly 1 of them to go."),
        ({"leaving": [1]}, "1 drive belongs to a server that goes."),
    ],
)
def test_a_choice_that_does_not_fit_is_asked_again(world: World, choice: dict[str, Any], sentence: str) -> None:
    response = world.servers(count=2, asked="yes", **choice)

    assert (response.status_code, response["HX-Retarget"]) == (422, "#dialog")
    assert sentence in read(response).words
    assert now_is(world.web).count == 3


def test_without_htmx_the_choice_is_a_page(world: World) -> None:
    form = {"label": "web", "server_type": world.web.server_type_id, "count": 2, "seen": 0}

    page = read(world.post("instance_array_configure", world.web, headers={}, **form))

    assert "Which 1 server of web goes?" in page.words
    assert "Tidy up" in page.names()


def test_what_was_never_made_goes_without_a_question(world: World) -> None:
    InstanceArray.objects.filter(pk=world.web.pk).update(deployed=None)
    world.data.delete()
    world.web.instances.all().delete()

    response = world.servers(count=1)

    assert response.status_code == 200
    assert now_is(world.web).count == 1


def test_fewer_drives_ask_which(world: World) -> None:
    two = configure_drives(world.spare, by=world.owner, count=2)
    two.deployed = two.drawn()
    two.save()

    asked, done = world.drives(count=1), world.drives(count=1, asked="yes", leaving=[1])

    assert "Which 1 drive of spare goes?" in read(asked).words
    assert done.status_code == 200
    assert now_is(world.spare).numbers == [2]


# ── Delete ───────────────────────────────────────────────────────────────────


def test_deleting_names_what_goes_and_asks_about_its_drives(world: World) -> None:
    page = world.get("instance_array_delete", world.web)

    assert "Delete InstanceArray web?" in page.words
    assert "web-data-2, 0 B written, 2 snapshots" in page.words
    assert "What becomes of their drives?" in page.words
    assert "Nothing is destroyed before the next deploy." in page.words


def test_drives_that_go_along_are_those_drawn_there(world: World) -> None:
    """The choice is about what is attached in the design, whatever is attached so far."""
    DriveArray.objects.filter(pk=world.data.pk).update(instance_array=None)
    DriveArray.objects.filter(pk=world.spare.pk).update(instance_array=world.web)

    page = world.get("instance_array_delete", world.web)

    label = world.spare.drives.get(number=1).label
    assert f"{label}, 0 B written" in page.words
    assert "web-data-2" not in page.words


def test_deleting_without_a_choice_asks_again(world: World) -> None:
    response = world.post("instance_array_delete", world.web)

    assert response.status_code == 422
    assert "3 drives belong to servers that go." in read(response).words
    assert not now_is(world.web).leaves


def test_what_is_deployed_stays_until_the_next_deploy(world: World) -> None:
    response = world.post("instance_array_delete", world.web, drives="delete")

    assert response.status_code == 204
    assert json.loads(response["HX-Trigger"]) == {"close-dialog": ""}
    assert [now_is(world.web).change, now_is(world.data).change] == ["del", "del"]
    page = world.get("instance_array_configure", world.web)
    assert page.reason("Save to draft") == "web is deleted by the next deploy. Discard that to keep it."
    assert "Keep web…" in page.names("a")


def test_what_was_never_deployed_is_gone_and_its_panel_closes(world: World) -> None:
    DriveArray.objects.filter(pk=world.spare.pk).update(deployed=None)
    world.spare.drives.all().delete()

    response = world.post("drive_array_delete", world.spare)

    assert json.loads(response["HX-Location"])["path"] == world.infrastructure.get_absolute_url()
    assert not DriveArray.objects.filter(pk=world.spare.pk).exists()


def test_wan_and_san_stay(world: World) -> None:
    page = world.get("network_delete", world.infrastructure.networks.get(kind="san"))

    assert "san is the SAN of this infrastructure. It stays." in page.words
    assert not [name for name in page.names() if name.startswith("Delete")]


def test_several_are_deleted_together(world: World) -> None:
    topics = [world.spare.topic, world.data.topic, "drive-array-99999", "nonsense"]

    page = world.get("infrastructure_delete_selected", world.infrastructure, of=",".join(topics))
    response = world.post("infrastructure_delete_selected", world.infrastructure, headers=CANVAS, of=topics)

    assert "Delete 2 products?" in page.words
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/plain")
    assert [now_is(one).leaves for one in (world.spare, world.data, world.web)] == [True, True, False]


def test_nothing_of_others_can_be_named(world: World) -> None:
    other = factories.make_infrastructure(world.stranger, "other")
    secret = factories.make_drive_array(other, "secret")

    page = world.get("infrastructure_delete_selected", world.infrastructure, of=secret.topic)
    response = world.post("infrastructure_delete_selected", world.infrastructure, of=secret.topic)

    assert "secret" not in page.words
    assert response.status_code == 409
    assert not now_is(secret).leaves


# ── Discard, undo, redo ──────────────────────────────────────────────────────


def test_one_change_is_discarded(world: World) -> None:
    configure(world.web, by=world.owner, label="front")

    page = world.get("instance_array_discard", world.web)
    response = world.post("instance_array_discard", world.web)

    assert "Discard changes to front?" in page.words
    assert "~ renamed" in page.words
    assert response.status_code == 204
    assert now_is(world.web).label == "web"


def test_all_changes_are_discarded(world: World) -> None:
    configure(world.web, by=world.owner, label="front")
    configure_drives(world.spare, by=world.owner, size_mb=81920)

    page = world.get("infrastructure_discard", world.infrastructure)
    response = world.post("infrastructure_discard", world.infrastructure)

    assert "Discard 2 changes?" in page.words
    assert response.status_code == 204
    assert [now_is(world.web).change, now_is(world.spare).change] == ["", ""]


def test_discarding_fewer_servers_says_that_their_drives_stay_as_well(world: World) -> None:
    configure(world.web, by=world.owner, count=2, drives="delete")

    page = world.get("instance_array_discard", world.web)
    world.post("instance_array_discard", world.web)

    assert "web InstanceArray −1 server −1 drive" in page.words
    assert [now_is(row).change for row in (world.web, world.data)] == ["", ""]


def test_with_nothing_to_discard_there_is_no_button(world: World) -> None:
    page = world.get("infrastructure_discard", world.infrastructure)

    assert "Nothing waits for a deploy." in page.words
    assert page.names() == ["Cancel"]


def test_the_last_step_is_undone_and_done_again(world: World) -> None:
    configure(world.web, by=world.operator, label="front")
    header = world.get("infrastructure_draft", world.infrastructure)

    undone = world.post("infrastructure_undo", world.infrastructure, headers=CANVAS)
    label = now_is(world.web).label
    redone = world.post("infrastructure_redo", world.infrastructure)

    assert "Undo: rename web to front" in header.names()
    assert (undone.content.decode(), label) == ("Undone: rename web to front.", "web")
    assert json.loads(redone["HX-Trigger"])["said"] == {"sentence": "Done again: rename web to front."}
    assert now_is(world.web).label == "front"


def test_with_nothing_to_undo_a_sentence_says_so(world: World) -> None:
    for headers in (CANVAS, PARTIAL, {}):
        response = world.post("infrastructure_undo", world.infrastructure, headers=headers)

        assert response.status_code == 409
        assert response.content


# ── Add and copy ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "model", "page"),
    [
        ("add_instance_array", InstanceArray, "/instance-arrays/{}/configure/"),
        ("add_drive_array", DriveArray, "/drive-arrays/{}/configure/"),
        ("add_network", Network, "/networks/{}/"),
    ],
)
def test_what_is_added_opens_its_panel(world: World, name: str, model: type[InstanceArray], page: str) -> None:
    response = world.post(name, world.infrastructure)

    new = model.objects.latest("pk")
    assert json.loads(response["HX-Location"]) == {
        "path": page.format(new.pk),
        "target": "#panel",
        "swap": "innerHTML",
    }
    assert new.change == "add"


def test_a_script_is_told_what_was_added_and_where(world: World) -> None:
    response = world.post("add_instance_array", world.infrastructure, headers=CANVAS, x="240", y="360")

    new = InstanceArray.objects.latest("pk")
    assert response.content.decode() == f"{new.label} added to the draft."
    assert (response["X-Topics"], new.x, new.y) == (new.topic, 240, 360)


def test_network_stands_where_there_is_room_whatever_place_was_sent(world: World) -> None:
    response = world.post("add_network", world.infrastructure, headers=CANVAS, x="240", y="360")

    assert response.content.decode() == f"{Network.objects.latest('pk').label} added to the draft."


def test_the_same_wish_twice_adds_once(world: World) -> None:
    key = "9b6a7f8e-0000-4000-8000-000000000001"
    for _ in range(2):
        world.post("add_drive_array", world.infrastructure, key=key)

    assert DriveArray.objects.count() == 3


def test_copies_stand_beside_their_originals(world: World) -> None:
    response = world.post("infrastructure_copy", world.infrastructure, headers=CANVAS, of=world.spare.topic)

    new = DriveArray.objects.latest("pk")
    assert response["X-Topics"] == new.topic
    assert (new.size_mb, new.change) == (world.spare.size_mb, "add")


def test_copies_stand_where_they_are_pasted_or_in_the_next_free_place(world: World) -> None:
    InstanceArray.objects.filter(pk=world.web.pk).update(x=0, y=0)
    DriveArray.objects.filter(pk=world.data.pk).update(x=24, y=240)
    both = f"{world.web.topic},{world.data.topic}"

    world.post("infrastructure_copy", world.infrastructure, headers=CANVAS, of=both, x="1205", y="2404")
    world.post("infrastructure_copy", world.infrastructure, headers=CANVAS, of=both, x="1205", y="2404")

    places = [list(model.objects.order_by("-pk").values_list("x", "y")[:2]) for model in (InstanceArray, DriveArray)]
    assert [pasted for _, pasted in places] == [(1200, 2400), (1224, 2640)]
    assert all(y == beside_y and CARD_W < beside_x - x < 2 * CARD_W for (beside_x, beside_y), (x, y) in places)


# ── On the canvas ────────────────────────────────────────────────────────────


def test_cards_show_what_the_next_deploy_changes(world: World) -> None:
    configure(world.web, by=world.owner, count=2, leaving=[2], drives="delete")
    configure_drives(world.spare, by=world.owner, size_mb=200 * 1024, label="more")

    html = world.client.get(world.infrastructure.get_absolute_url()).content.decode()

    assert html.count("−1 server<") == 1
    assert html.count("−1 drive<") == 1
    assert "~ 200 GB" in html
    assert ", ~ renamed" in html
    assert "web-2, on, destroyed on deploy" in html
    assert "web-data-2: 2 of 5 snapshots, 0 of 40 GB. web-2 is on. Destroyed on deploy." in html
    assert html.count('data-change="del"') >= 4
    assert "Deploy (2" in html


def test_new_servers_are_bays_that_are_created_on_deploy(world: World) -> None:
    configure(world.web, by=world.owner, count=5)

    html = world.client.get(world.infrastructure.get_absolute_url()).content.decode()

    assert "+2 servers" in html
    assert "web-5, created on deploy" in html
    assert "web-data-5, created on deploy" in html


def test_a_viewer_finds_nothing_to_add_or_undo(world: World) -> None:
    world.sign_in(world.viewer)

    page = read(world.client.get(world.infrastructure.get_absolute_url()))

    assert page.control("Add").unavailable
    assert "Undo" not in page.names()


# ── Who may, and how much it costs ───────────────────────────────────────────

ADDRESSES = [
    *((name, "web") for name in ("instance_array_configure", "instance_array_delete", "instance_array_discard")),
    *((name, "spare") for name in ("drive_array_configure", "drive_array_delete", "drive_array_discard")),
    *((name, "lan") for name in ("network_configure", "network_delete", "network_discard")),
    *(
        (f"infrastructure_{name}", "infrastructure")
        for name in ("draft", "discard", "delete_selected", "deploy", "deploys", "settings", "delete")
    ),
]
POSTS = [
    *("add_instance_array", "add_drive_array", "add_network", "infrastructure_copy"),
    *("infrastructure_undo", "infrastructure_redo", "infrastructure_discard", "infrastructure_deploy"),
]


def thing_of(world: World, what: str) -> Any:
    return world.infrastructure.networks.get(kind="lan") if what == "lan" else getattr(world, what)


@pytest.mark.parametrize(("name", "what"), ADDRESSES)
def test_strangers_find_nothing(world: World, name: str, what: str) -> None:
    world.sign_in(world.stranger)
    address = reverse(name, args=[thing_of(world, what).pk])

    assert world.client.get(address).status_code == 404
    assert world.client.post(address).status_code in {404, 405}


@pytest.mark.parametrize("name", POSTS)
def test_viewers_change_nothing_and_strangers_find_nothing(world: World, name: str) -> None:
    address = reverse(name, args=[world.infrastructure.pk])
    world.sign_in(world.viewer)
    as_viewer = world.client.post(address, {"of": world.spare.topic, "fingerprint": "x"}, headers=PARTIAL)
    world.sign_in(world.stranger)
    as_stranger = world.client.post(address)

    assert (as_viewer.status_code, as_stranger.status_code) == (409, 404)


@pytest.mark.parametrize(("name", "what"), ADDRESSES)
def test_every_address_is_a_page_of_its_own(world: World, name: str, what: str) -> None:
    response = world.client.get(reverse(name, args=[thing_of(world, what).pk]))

    assert response.status_code == 200
    if name != "infrastructure_draft":
        assert "<!doctype html>" in response.content.decode()


@pytest.mark.parametrize(
    "name", ["infrastructure_draft", "infrastructure_discard", "infrastructure_deploy", "infrastructure_settings"]
)
def test_queries_do_not_grow_with_the_design(world: World, name: str) -> None:
    few, many = drafts(world, 3), drafts(world, 300)
    world.sign_in(world.owner)

    def queries(infrastructure: Infrastructure) -> int:
        with CaptureQueriesContext(connection) as found:
            assert world.client.get(reverse(name, args=[infrastructure.pk]), headers=PARTIAL).status_code == 200
        return len(found)

    assert queries(few) == queries(many) <= 24


@pytest.mark.parametrize("name", ["instance_array_configure", "instance_array_networks", "instance_array_delete"])
def test_queries_do_not_grow_with_the_servers(world: World, name: str) -> None:
    big = factories.make_instance_array(world.infrastructure, "big", count=40)
    factories.make_drive_array(world.infrastructure, "big-data", instance_array=big, count=40)

    def queries(array: InstanceArray) -> int:
        with CaptureQueriesContext(connection) as found:
            assert world.client.get(reverse(name, args=[array.pk]), headers=PARTIAL).status_code == 200
        return len(found)

    assert queries(world.web) == queries(big) <= 16


def test_queries_do_not_grow_with_what_is_deleted_together(world: World) -> None:
    more = [factories.make_drive_array(world.infrastructure, f"more-{number}") for number in range(8)]

    def queries(*topics: str) -> int:
        with CaptureQueriesContext(connection) as found:
            world.get("infrastructure_delete_selected", world.infrastructure, of=",".join(topics))
        return len(found)

    assert queries(world.spare.topic, more[0].topic) == queries(*(one.topic for one in more)) <= 16


def drafts(world: World, arrays: int) -> Infrastructure:
    """An infrastructure with so many arrays that wait for their first deploy."""
    infrastructure = factories.make_infrastructure(world.owner, f"drafts-{arrays}")
    InstanceArray.objects.bulk_create(
        InstanceArray(infrastructure=infrastructure, label=f"web-{number}", server_type=world.web.server_type)
        for number in range(arrays)
    )
    return infrastructure


def running(world: World) -> Deploy:
    return Deploy.objects.create(
        infrastructure=world.infrastructure, number=1, by=world.owner, started_at=timezone.now(), review={}, goal={}
    )


# ── Infrastructures ──────────────────────────────────────────────────────────


def test_a_new_infrastructure_begins_with_its_networks(world: World) -> None:
    response = world.client.post(reverse("infrastructure_new"), {"label": "fresh", "description": "To try"})

    fresh = Infrastructure.objects.get(label="fresh")
    assert (response.status_code, response["Location"]) == (302, fresh.get_absolute_url())
    assert sorted(fresh.networks.values_list("kind", flat=True)) == ["san", "wan"]
    assert "Nothing drawn yet" in read(world.client.get(fresh.get_absolute_url())).words


def test_a_bad_label_and_a_full_quota_are_said(world: World) -> None:
    bad = world.client.post(reverse("infrastructure_new"), {"label": "not good"})
    User.objects.filter(pk=world.operator.pk).update(infrastructure_quota=0)
    full = world.client.post(reverse("infrastructure_new"), {"label": "fresh"})

    assert (bad.status_code, full.status_code) == (422, 409)
    assert read(bad).texts["id_label_error"].startswith("Use 1 to 63 letters")
    assert read(full).control("Create infrastructure").unavailable


def test_an_owner_renames_and_an_operator_reads(world: World) -> None:
    page = world.get("infrastructure_settings", world.infrastructure)
    refused = world.post("infrastructure_settings", world.infrastructure, label="other", description="")
    world.sign_in(world.owner)
    done = world.post("infrastructure_settings", world.infrastructure, label="other", description="More")

    assert page.reason("Save").startswith("Only an owner may do that.")
    assert (refused.status_code, done.status_code) == (409, 200)
    world.infrastructure.refresh_from_db()
    assert (world.infrastructure.label, world.infrastructure.description) == ("other", "More")


def test_only_what_is_empty_can_be_deleted(world: World) -> None:
    world.sign_in(world.owner)
    empty = factories.make_infrastructure(world.owner, "empty")

    refused = world.post("infrastructure_delete", world.infrastructure)
    done = world.post("infrastructure_delete", empty)

    assert refused.status_code == 409
    assert "atlas-prod has 3 servers and 4 drives." in read(refused).words
    assert done["HX-Redirect"] == "/infrastructures/"
    assert not Infrastructure.objects.filter(pk=empty.pk).exists()


def test_the_list_says_what_waits_and_what_runs(world: World) -> None:
    configure(world.web, by=world.owner, label="front")
    draft = read(world.client.get(reverse("infrastructures"))).words
    running(world)
    busy = read(world.client.get(reverse("infrastructures"))).words

    assert "Draft · 1 change" in draft
    assert "Deploying" in busy
