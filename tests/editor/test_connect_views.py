"""What can be joined to what on the canvas, and joining it."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from editor.models import Deploy, DeployState, DriveArray, Event, Infrastructure, InstanceArray, Network, User
from tests import factories
from tests.reading import Page, read

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}
CANVAS = {"Accept": "text/plain"}


@dataclass
class World:
    """web with web-data; db without drives; spare, which is attached to nothing; WAN, LAN and SAN."""

    owner: User
    viewer: User
    stranger: User
    infrastructure: Infrastructure
    web: InstanceArray
    db: InstanceArray
    data: DriveArray
    spare: DriveArray

    def network(self, kind: str) -> Network:
        return self.infrastructure.networks.get(kind=kind)


@pytest.fixture
def world(db: None) -> World:
    owner, viewer, stranger = map(factories.make_user, ("Olga Own", "Vera View", "Stan Strange"))
    infrastructure = factories.make_infrastructure(owner, viewer=viewer)
    web = factories.make_instance_array(infrastructure, "web")
    data = factories.make_drive_array(infrastructure, "web-data", instance_array=web)
    return World(
        owner,
        viewer,
        stranger,
        infrastructure,
        web,
        factories.make_instance_array(infrastructure, "db"),
        data,
        factories.make_drive_array(infrastructure, "spare"),
    )


@pytest.fixture
def browser(client: Client, world: World) -> Client:
    return signed_in(client, world.owner)


def signed_in(client: Client, user: User) -> Client:
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def targets(client: Client, world: World, topic: str) -> dict[str, dict[str, str]]:
    response = client.get(reverse("infrastructure_targets", args=[world.infrastructure.pk]), {"from": topic})
    assert response.status_code == 200
    answer: dict[str, dict[str, str]] = response.json()
    return answer


def reasons(client: Client, world: World, topic: str) -> dict[str, str]:
    return {to: said["why"] for to, said in targets(client, world, topic).items()}


def listed(client: Client, world: World, **query: str) -> Page:
    address = reverse("infrastructure_connect", args=[world.infrastructure.pk])
    return read(client.get(address, {"from": world.spare.topic, **query}, headers=PARTIAL))


def test_among_many_one_looks_for_a_name(browser: Client, world: World) -> None:
    few = listed(browser, world)
    for number in range(20):
        factories.make_instance_array(world.infrastructure, f"shop-{number}")

    many, found, none = (listed(browser, world, **query) for query in ({}, {"find": "SHOP-1 "}, {"find": "nowhere"}))

    assert "Filter by name" not in [one.attributes.get("aria-label") for one in few.controls]
    assert "Filter by name" in [one.attributes.get("aria-label") for one in many.controls]
    assert found.names() == [f"InstanceArray shop-{number}" for number in (1, *range(10, 20))]
    assert "11 of 26 cards" in found.words
    assert "Nothing that spare could be connected to is called like that." in none.words


# ── Targets ──────────────────────────────────────────────────────────────────


def test_targets_of_drives_say_why_not(browser: Client, world: World) -> None:
    found = reasons(browser, world, world.data.topic)

    assert found == {
        world.web.topic: "web-data is attached to web already.",
        world.db.topic: "web-data is attached to web. Detach it there first.",
        world.spare.topic: "Both are DriveArrays. Drives are attached to an InstanceArray.",
        **{
            network.topic: f"web-data belongs to web. Connect that to {network.label} instead."
            for network in world.infrastructure.networks.all()
        },
    }


def test_a_target_says_what_is_sent_to_join_it(browser: Client, world: World) -> None:
    found = targets(browser, world, world.spare.topic)

    assert found[world.db.topic] == {
        "why": "",
        "url": f"/drive-arrays/{world.spare.pk}/attach/",
        "field": "instance_array",
        "value": str(world.db.pk),
    }


def test_drives_that_belong_to_nobody_are_reached_by_no_network(browser: Client, world: World) -> None:
    found = reasons(browser, world, world.network("lan").topic)

    assert found[world.spare.topic] == "spare is reached over the SAN of its InstanceArray. Attach it to one."


def test_servers_and_networks_are_joined_from_either_end(browser: Client, world: World) -> None:
    wan, lan, san = (world.network(kind) for kind in ("wan", "lan", "san"))
    there = {"why": "", "url": f"/instance-arrays/{world.web.pk}/connect/", "field": "network", "value": str(wan.pk)}

    servers, network = targets(browser, world, world.web.topic), targets(browser, world, wan.topic)

    assert servers[wan.topic] == network[world.web.topic] == there
    assert servers[lan.topic]["why"] == "web is on lan already, by if1."
    assert servers[san.topic]["why"] == "web is on san already, by if0."
    assert servers[world.db.topic]["why"] == "Both are InstanceArrays. Put them on the same network to join them."
    assert network[lan.topic]["why"] == "Both are networks. They meet only in the servers that are on both."


def test_servers_without_a_free_interface_join_no_network(browser: Client, world: World) -> None:
    for number in (2, 3):
        lan = Network.objects.create(infrastructure=world.infrastructure, kind="lan", label=f"lan-{number}")
        world.web.interfaces.create(index=number, network=lan)

    found = reasons(browser, world, world.network("wan").topic)

    assert found[world.web.topic] == "if1 to if3 of web are all in use. Disconnect one of them first."
    assert found[world.db.topic] == ""


def test_viewers_and_a_running_deploy_make_all_targets_impossible(client: Client, world: World) -> None:
    looking = set(reasons(signed_in(client, world.viewer), world, world.spare.topic).values())
    Deploy.objects.create(
        infrastructure=world.infrastructure,
        number=1,
        state=DeployState.RUNNING,
        started_at=timezone.now(),
        review={},
        goal={},
        soft_seconds=120,
    )
    deploying = set(reasons(signed_in(client, world.owner), world, world.spare.topic).values())

    assert "You can look but not change anything here. Ask an owner to make you an operator." in looking
    assert "atlas-prod is being deployed. Editing goes on when that ends." in deploying
    assert "" not in looking | deploying


@pytest.mark.parametrize("topic", ["", "drive-array-999", "server-1", "drive-array-x"])
def test_a_cable_from_nowhere_is_not_found(browser: Client, world: World, topic: str) -> None:
    response = browser.get(reverse("infrastructure_targets", args=[world.infrastructure.pk]), {"from": topic})

    assert response.status_code == 404


@pytest.mark.parametrize("name", ["infrastructure_targets", "infrastructure_connect"])
def test_strangers_learn_of_no_target(client: Client, world: World, name: str) -> None:
    address = reverse(name, args=[world.infrastructure.pk])

    assert signed_in(client, world.stranger).get(address, {"from": world.web.topic}).status_code == 404


@pytest.mark.parametrize("name", ["infrastructure_targets", "infrastructure_connect"])
def test_queries_do_not_grow_with_the_cards(browser: Client, world: World, name: str) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as found:
            browser.get(reverse(name, args=[world.infrastructure.pk]), {"from": world.web.topic}, headers=PARTIAL)
        return len(found)

    few = queries()
    for number in range(20):
        more = factories.make_instance_array(world.infrastructure, f"more-{number}", count=1)
        factories.make_drive_array(world.infrastructure, f"data-{number}", instance_array=more, count=1)
        factories.make_drive_array(world.infrastructure, f"on-web-{number}", instance_array=world.web, count=1)

    assert queries() == few <= 14


# ── The dialog ───────────────────────────────────────────────────────────────


def test_the_dialog_offers_what_is_possible_and_explains_the_rest(browser: Client, world: World) -> None:
    address = reverse("infrastructure_connect", args=[world.infrastructure.pk])

    answer = read(browser.get(address, {"from": world.web.topic}, headers=PARTIAL))

    possible = answer.control("DriveArray spare")
    assert (possible.attributes["name"], possible.attributes["value"]) == ("instance_array", str(world.web.pk))
    assert possible.attributes["hx-post"] == f"/drive-arrays/{world.spare.pk}/attach/"
    assert not possible.unavailable
    assert answer.control("InstanceArray db").unavailable
    assert answer.reason("InstanceArray db") == "Both are InstanceArrays. Put them on the same network to join them."


def test_the_dialog_takes_apart_what_is_joined(browser: Client, world: World) -> None:
    address = reverse("infrastructure_connect", args=[world.infrastructure.pk])

    answer = read(browser.get(address, {"from": world.web.topic}, headers=PARTIAL))

    assert answer.control("Detach web-data").attributes["value"] == ""
    assert answer.control("Disconnect lan by if1 of web").attributes["value"] == "1"
    assert answer.reason("Disconnect san by if0 of web") == (
        "web reaches the drives of web-data through if0. Detach web-data first."
    )


# ── Joining ──────────────────────────────────────────────────────────────────


def test_drives_are_attached_and_detached(browser: Client, world: World) -> None:
    address = reverse("drive_array_attach", args=[world.spare.pk])

    attached = browser.post(address, {"instance_array": world.db.pk}, headers=CANVAS)
    world.spare.refresh_from_db()
    owner = world.spare.instance_array
    detached = browser.post(address, {"instance_array": ""}, headers=PARTIAL)
    world.spare.refresh_from_db()

    assert (attached.status_code, attached.content.decode()) == (200, "spare is attached to db. It waits for Deploy.")
    assert (owner, world.spare.instance_array) == (world.db, None)
    assert detached.status_code == 204
    assert json.loads(detached["HX-Trigger"])["said"] == {"sentence": "spare is detached. It waits for Deploy."}


def test_among_many_the_label_is_typed_to_attach_to(
    browser: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    form, address = (reverse(f"drive_array_{name}", args=[world.spare.pk]) for name in ("configure", "attach"))
    listed_ones = read(browser.get(form, headers=PARTIAL))
    monkeypatch.setattr("editor.views.configure.LISTED", 1)

    typed = read(browser.get(form, headers=PARTIAL))
    wrong = browser.post(address, {"label": "nowhere"}, headers=PARTIAL)
    nothing = browser.post(address, {"label": ""}, headers=CANVAS)
    world.spare.refresh_from_db()
    still = world.spare.instance_array
    right = browser.post(address, {"label": " db "}, headers=CANVAS)
    world.spare.refresh_from_db()

    assert "Label of the InstanceArray to attach to" not in listed_ones.words
    assert "Label of the InstanceArray to attach to" in typed.words
    assert (wrong.status_code, nothing.status_code, still) == (409, 409, None)
    assert "There is no InstanceArray with the label “nowhere”." in wrong.content.decode()
    assert right.content.decode() == "spare is attached to db. It waits for Deploy."
    assert world.spare.instance_array == world.db


def test_a_network_comes_to_the_first_free_interface(browser: Client, world: World) -> None:
    wan = world.network("wan")
    address = reverse("instance_array_connect", args=[world.web.pk])

    response = browser.post(address, {"network": wan.pk}, headers=CANVAS)

    assert response.content.decode() == "if2 of web is connected to wan. It waits for Deploy."
    assert world.web.interfaces.get(index=2).network == wan


def test_an_interface_is_disconnected(browser: Client, world: World) -> None:
    response = browser.post(reverse("instance_array_connect", args=[world.web.pk]), {"index": 1}, headers=CANVAS)

    assert response.content.decode() == "if1 of web is disconnected. It waits for Deploy."
    assert [one.index for one in world.web.interfaces.all() if one.network_id] == [0]


def test_a_refusal_says_why_on_the_canvas_and_in_the_dialog(browser: Client, world: World) -> None:
    address = reverse("drive_array_attach", args=[world.data.pk])
    sentence = "web-data is attached to web. Detach it there first."
    wish = {"instance_array": world.db.pk}

    canvas = browser.post(address, wish, headers=CANVAS)
    dialog = browser.post(address, wish | {"from": world.data.topic}, headers=PARTIAL)
    panel = browser.post(address, wish, headers=PARTIAL)
    plain = browser.post(address, wish)

    assert [one.status_code for one in (canvas, dialog, panel, plain)] == [409] * 4
    assert canvas.content.decode() == sentence
    assert (dialog["HX-Retarget"], sentence in dialog.content.decode()) == ("#dialog", True)
    assert (panel["HX-Retarget"], sentence in panel.content.decode()) == ("#dialog", True)
    assert sentence in plain.content.decode()
    assert Event.objects.count() == 0


@pytest.mark.parametrize("wish", [{"instance_array": "999"}, {"instance_array": "x"}])
def test_what_is_gone_is_not_joined(browser: Client, world: World, wish: dict[str, str]) -> None:
    response = browser.post(reverse("drive_array_attach", args=[world.spare.pk]), wish, headers=CANVAS)

    assert response.status_code == 409
    assert response.content.decode() == "That InstanceArray is gone. Choose another one."


def test_strangers_and_viewers_join_nothing(client: Client, world: World) -> None:
    attach = reverse("drive_array_attach", args=[world.spare.pk])
    connect = reverse("instance_array_connect", args=[world.web.pk])
    codes = {}
    for name, who in (("stranger", world.stranger), ("viewer", world.viewer)):
        signed_in(client, who)
        codes[name] = [
            client.post(attach, {"instance_array": world.db.pk}).status_code,
            client.post(connect, {"index": 1}).status_code,
        ]

    assert codes == {"stranger": [404, 404], "viewer": [409, 409]}
    assert Event.objects.count() == 0


# ── Renaming ─────────────────────────────────────────────────────────────────


def test_a_card_is_renamed_in_its_place(browser: Client, world: World) -> None:
    address = reverse("instance_array_rename", args=[world.web.pk])
    form = read(browser.get(address, headers=PARTIAL))

    response = browser.post(address, {"label": "front", "seen": world.web.revision}, headers=PARTIAL)

    world.web.refresh_from_db()
    assert form.control("New label of web").attributes["value"] == "web"
    assert (response.status_code, world.web.label) == (204, "front")
    assert json.loads(response["HX-Trigger"])["said"] == {"sentence": "web is called front now. It waits for Deploy."}


@pytest.mark.parametrize(
    ("label", "why"),
    [
        ("", "Use 1 to 63 letters, digits and hyphens; begin with a letter and end with a letter or digit."),
        ("web_data", "Use 1 to 63 letters, digits and hyphens; begin with a letter and end with a letter or digit."),
        ("drives", "drives is a reserved word. Choose another label."),
        ("DB", "DB is taken in this infrastructure. Choose another label."),
    ],
)
def test_a_label_that_cannot_be_is_explained_at_its_field(browser: Client, world: World, label: str, why: str) -> None:
    address = reverse("instance_array_rename", args=[world.web.pk])

    response = browser.post(address, {"label": label, "seen": 0}, headers=PARTIAL)

    world.web.refresh_from_db()
    assert (response.status_code, world.web.label) == (422, "web")
    assert why in read(response).words


def test_a_label_that_somebody_changed_meanwhile_is_shown(browser: Client, world: World) -> None:
    InstanceArray.objects.filter(pk=world.web.pk).update(label="theirs", revision=5)
    address = reverse("instance_array_rename", args=[world.web.pk])

    refused = browser.post(address, {"label": "ours", "seen": 0}, headers=PARTIAL)
    again = browser.post(address, {"label": "ours", "seen": 5}, headers=PARTIAL)

    assert (refused.status_code, again.status_code) == (409, 204)
    assert "It is called theirs now." in read(refused).words
    assert 'name="seen" value="5"' in refused.content.decode()
