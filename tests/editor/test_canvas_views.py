"""The canvas page, its fragments, and moving cards."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from editor.canvas import BAYS_SHOWN
from editor.models import (
    DriveArray,
    Event,
    Infrastructure,
    Instance,
    InstanceArray,
    Interface,
    Network,
    Power,
    PowerCommand,
    Server,
    ServerType,
    User,
)
from tests import factories
from tests.reading import read

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}
GB = 1024**3


@dataclass
class World:
    """web ×2 with web-data ×2, and spare ×1, which is attached to nothing."""

    owner: User
    viewer: User
    stranger: User
    infrastructure: Infrastructure
    web: InstanceArray
    array: DriveArray
    spare: DriveArray

    def product(self, name: str) -> InstanceArray | DriveArray | Network:
        wan = self.infrastructure.networks.get(kind="wan")
        products: dict[str, InstanceArray | DriveArray | Network] = {
            "instance_array": self.web,
            "drive_array": self.array,
            "network": wan,
        }
        return products[name]


@pytest.fixture
def world(db: None) -> World:
    owner, viewer, stranger = map(factories.make_user, ("Olga Own", "Vera View", "Stan Strange"))
    infrastructure = factories.make_infrastructure(owner, viewer=viewer)
    web = factories.make_instance_array(infrastructure, count=2, power=Power.ON)
    array = factories.make_drive_array(infrastructure, instance_array=web, count=2)
    array.drives.update(used_bytes=18 * GB)
    array.drives.filter(number=2).update(snapshot_count=3)
    spare = factories.make_drive_array(infrastructure, "spare", count=1)
    return World(owner, viewer, stranger, infrastructure, web, array, spare)


@pytest.fixture
def browser(client: Client, world: World) -> Client:
    return signed_in(client, world.owner)


def signed_in(client: Client, user: User) -> Client:
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def text(client: Client, name: str, pk: int, **query: str) -> str:
    response = client.get(reverse(name, args=[pk]), query, headers=PARTIAL)
    assert response.status_code == 200
    return response.content.decode()


def card(html: str, topic: str) -> str:
    """Answers the HTML of one card."""
    found = re.search(rf'<li class="node[^>]*id="node-{topic}".*?(?=<li class="node|</ul>\s*</div>|$)', html, re.DOTALL)
    assert found, f"There is no card of {topic}."
    return found[0]


def page(client: Client, world: World) -> str:
    return client.get(world.infrastructure.get_absolute_url()).content.decode()


# ── What is on it ────────────────────────────────────────────────────────────


def test_cards_are_links_named_by_type_and_label(browser: Client, world: World) -> None:
    names = read(browser.get(world.infrastructure.get_absolute_url())).names("a")

    assert [name for name in names if name.split(" ")[0] in {"WAN", "LAN", "SAN", "InstanceArray", "DriveArray"}] == [
        "WAN network wan",
        "LAN network lan",
        "SAN network san",
        "InstanceArray web",
        "DriveArray web-data",
        "DriveArray spare",
    ]


def test_a_card_says_what_is_in_it(browser: Client, world: World) -> None:
    html = page(browser, world)

    web, data = card(html, world.web.topic), card(html, world.array.topic)
    assert "2 × M.16.64 · 16 cores · 64 GB" in web
    assert web.count('class="bay"') == 2
    assert "web-2, on" in web
    assert "2 × 40 GB · iscsi_ssd" in data
    assert "45 % used" in data
    assert "3 snapshots" in data
    assert "web-data-2: 3 of 5 snapshots, 18 of 40 GB. web-2 is on." in data
    assert ", attached to web" in data


def test_a_drive_array_attached_to_nothing_says_detached(browser: Client, world: World) -> None:
    assert "1 × 40 GB · iscsi_ssd · Detached" in card(page(browser, world), world.spare.topic)


def test_bays_of_a_server_and_its_drive_are_twins(browser: Client, world: World) -> None:
    html = page(browser, world)

    twin = f'data-twin-of="{world.web.topic}:2"'
    assert twin in card(html, world.web.topic)
    assert twin in card(html, world.array.topic)


def test_a_bay_leads_to_the_servers_or_the_snapshots(browser: Client, world: World) -> None:
    html = page(browser, world)

    drive = world.array.drives.get(number=2)
    assert f'href="{reverse("instance_array_instances", args=[world.web.pk])}"' in card(html, world.web.topic)
    assert f'href="{reverse("snapshots:list", args=[drive.pk])}"' in card(html, world.array.topic)


def test_what_waits_for_its_first_deploy_is_marked(browser: Client, world: World) -> None:
    DriveArray.objects.filter(pk=world.array.pk).update(deployed=None)

    data = card(page(browser, world), world.array.topic)

    assert 'data-change="add"' in data
    assert "+ new" in data
    assert "Created on deploy" in data


def test_a_drive_in_work_is_marked(browser: Client, world: World) -> None:
    world.array.drives.filter(number=1).update(hold="Reverting to #10.")

    data = card(page(browser, world), world.array.topic)

    assert "1 in work" in data
    assert "web-data-1: 0 of 5 snapshots, 18 of 40 GB. Reverting to #10. web-1 is on." in data
    assert data.count("data-busy") == 1


def test_a_wish_shows_as_its_transition(browser: Client, world: World) -> None:
    Server.objects.filter(instance__instance_array=world.web, instance__number=1).update(
        power_command=PowerCommand.SOFT_SHUTDOWN
    )

    web = card(page(browser, world), world.web.topic)

    assert "web-1, shutting down" in web
    assert 'data-power="down"' in web


def test_more_bays_than_fit_become_one_that_counts_them(browser: Client, world: World) -> None:
    big = factories.make_instance_array(world.infrastructure, "big", count=BAYS_SHOWN + 6, power=Power.ON)

    html = card(page(browser, world), big.topic)

    assert html.count('class="bay"') == BAYS_SHOWN - 1
    assert "+7" in html


def test_labels_are_escaped(browser: Client, world: World) -> None:
    InstanceArray.objects.filter(pk=world.web.pk).update(label='"><script>x</script>')
    DriveArray.objects.filter(pk=world.array.pk).update(label="<b>&")

    html = page(browser, world)

    assert "<script>x" not in html
    assert "<b>&" not in html
    assert "&lt;b&gt;&amp;" in html


def test_the_page_has_no_style_and_no_script_of_its_own(browser: Client, world: World) -> None:
    html = page(browser, world)

    assert not re.search(r"\sstyle=|<style|\son[a-z]+=", html)
    assert all("src=" in script for script in re.findall(r"<script[^>]*>", html))


def test_an_empty_infrastructure_says_so(browser: Client, world: World) -> None:
    empty = Infrastructure.objects.create(label="sandbox")
    empty.memberships.create(user=world.owner)

    answer = read(browser.get(empty.get_absolute_url()))

    assert "Nothing drawn yet" in answer.words
    assert 'id="empty" hidden' not in browser.get(empty.get_absolute_url()).content.decode()
    assert 'id="empty" hidden' in page(browser, world)


def test_the_footer_counts(browser: Client, world: World) -> None:
    Server.objects.filter(instance__instance_array=world.web, instance__number=1).update(power=Power.UNKNOWN)

    answer = read(browser.get(reverse("infrastructure_status", args=[world.infrastructure.pk]), headers=PARTIAL))

    assert " ".join(answer.words.split()) == "1 on 1 unknown 2 servers · 3 drives · 3 snapshots Deployed"


# ── Live ─────────────────────────────────────────────────────────────────────


def test_parts_listen_to_what_they_show(browser: Client, world: World) -> None:
    html = page(browser, world)

    pk = world.infrastructure.pk
    assert f'hx-trigger="{world.array.topic} from:body delay:200ms"' in card(html, world.array.topic)
    assert f'hx-trigger="wiring-{pk} from:body"' in html
    assert f'hx-trigger="nodes-{pk} from:body, canvas-refresh from:body"' in html
    assert f'hx-trigger="infrastructure-{pk} from:body delay:200ms, canvas-refresh from:body"' in html
    assert f'data-infrastructure="{pk}"' in html


def test_the_page_knows_up_to_which_event_it_is_right(browser: Client, world: World) -> None:
    event = Event.objects.record(world.infrastructure.pk, "looked at", "web", topics=["instance-array-1"])

    assert f'data-event="{event.pk}"' in page(browser, world)


@pytest.mark.parametrize("part", ["instance_array", "drive_array", "network"])
def test_a_card_refreshes_as_it_was_first_drawn(browser: Client, world: World, part: str) -> None:
    product = world.product(part)

    again = text(browser, f"{part}_card", product.pk)

    assert " ".join(again.split()) == " ".join(card(page(browser, world), product.topic).split())


def test_wiring_brings_the_small_map_along(browser: Client, world: World) -> None:
    html = text(browser, "infrastructure_wiring", world.infrastructure.pk)

    assert html.lstrip().startswith('<div id="wiring"')
    assert '<hx-partial hx-target="#minimap" hx-swap="outerMorph">' in html


def test_asked_for_as_a_panel_the_canvas_is_a_closed_panel(browser: Client, world: World) -> None:
    response = browser.get(world.infrastructure.get_absolute_url(), headers=PARTIAL)

    assert response.status_code == 200
    assert response.content == b""
    assert "HX-Request-Type" in response["Vary"]


def test_a_card_that_goes_while_it_is_drawn_is_not_found(
    browser: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deploy removes the array between the two queries."""
    monkeypatch.setattr("editor.views.canvas.draw_cards", lambda *_: [])

    assert browser.get(reverse("drive_array_card", args=[world.array.pk])).status_code == 404


def test_a_panel_opened_cold_marks_its_card(browser: Client, world: World) -> None:
    html = browser.get(world.array.get_absolute_url()).content.decode()

    assert "data-ui-selected" in card(html, world.array.topic)
    assert html.count("data-ui-selected") == 1


# ── Who may ──────────────────────────────────────────────────────────────────

OF_INFRASTRUCTURE = ("infrastructure", "infrastructure_nodes", "infrastructure_wiring", "infrastructure_status")


@pytest.mark.parametrize("name", OF_INFRASTRUCTURE)
def test_strangers_see_nothing(client: Client, world: World, name: str) -> None:
    signed_in(client, world.stranger)

    assert client.get(reverse(name, args=[world.infrastructure.pk])).status_code == 404


@pytest.mark.parametrize("name", ["instance_array", "drive_array", "network"])
def test_strangers_see_and_move_no_card(client: Client, world: World, name: str) -> None:
    signed_in(client, world.stranger)
    product = world.product(name)

    assert client.get(reverse(f"{name}_card", args=[product.pk])).status_code == 404
    assert client.post(reverse(f"{name}_move", args=[product.pk]), {"x": 1, "y": 1}).status_code == 404


def test_cards_of_others_cannot_be_asked_for_by_topic(browser: Client, world: World) -> None:
    other = factories.make_infrastructure(world.stranger, "other")
    secret = factories.make_instance_array(other, "secret", count=1)

    html = text(browser, "infrastructure_nodes", world.infrastructure.pk, of=f"{secret.topic},{world.web.topic}")

    assert "secret" not in html
    assert f'hx-target="#node-{world.web.topic}"' in html


def test_a_viewer_is_told_why_nothing_moves(client: Client, world: World) -> None:
    signed_in(client, world.viewer)

    answer = read(client.get(world.infrastructure.get_absolute_url()))

    assert answer.control("Tidy up").unavailable
    assert answer.reason("Tidy up").startswith("You can look but not change anything here.")


# ── Moving ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["instance_array", "drive_array", "network"])
def test_a_dropped_card_stands_on_the_grid_for_everyone(browser: Client, world: World, name: str) -> None:
    product = world.product(name)

    response = browser.post(reverse(f"{name}_move", args=[product.pk]), {"x": "613.7", "y": "-20"})

    product.refresh_from_db()
    assert response.status_code == 204
    assert (product.x, product.y) == (612, -24)
    event = Event.objects.get()
    assert event.topic_list == [product.topic, f"wiring-{world.infrastructure.pk}"]


@pytest.mark.parametrize(
    "place", [{}, {"x": "1"}, {"x": "a", "y": "1"}, {"x": "nan", "y": "1"}, {"x": "inf", "y": "1"}]
)
def test_what_is_no_place_moves_nothing(browser: Client, world: World, place: dict[str, str]) -> None:
    response = browser.post(reverse("instance_array_move", args=[world.web.pk]), place)

    world.web.refresh_from_db()
    assert response.status_code == 400
    assert (world.web.x, world.web.y) == (0, 0)


def test_several_cards_are_moved_together(browser: Client, world: World) -> None:
    elsewhere = factories.make_instance_array(factories.make_infrastructure(world.stranger, "theirs"))
    places = [f"{world.web.topic}:25:-13", f"{world.array.topic}:100.5:0", "network-999:1:1", f"{elsewhere.topic}:9:9"]

    response = browser.post(reverse("infrastructure_move", args=[world.infrastructure.pk]), {"place": places})

    for row in (world.web, world.array, elsewhere):
        row.refresh_from_db()
    assert response.status_code == 204
    assert [(row.x, row.y) for row in (world.web, world.array, elsewhere)] == [(25, -13), (100, 0), (0, 0)]
    event = Event.objects.get()
    assert event.topic_list == [world.web.topic, world.array.topic, f"wiring-{world.infrastructure.pk}"]


def test_many_cards_that_are_moved_are_told_as_one_canvas(browser: Client, world: World) -> None:
    many = make_many(world.owner, 12)
    places = [f"{one.topic}:12:12" for one in many.instance_arrays.all()]
    places += [f"{one.topic}:12:12" for one in many.drive_arrays.all()]

    with CaptureQueriesContext(connection) as queries:
        browser.post(reverse("infrastructure_move", args=[many.pk]), {"place": places})

    assert Event.objects.get().topic_list == [f"nodes-{many.pk}"]
    assert len(queries) <= 18


@pytest.mark.parametrize("place", ["", "web:1:1", "drive-array-1:1", "drive-array-1:a:1", "drive-array-1:nan:1"])
def test_one_place_that_is_none_moves_no_card(browser: Client, world: World, place: str) -> None:
    address = reverse("infrastructure_move", args=[world.infrastructure.pk])

    response = browser.post(address, {"place": [f"{world.web.topic}:12:12", place]})

    world.web.refresh_from_db()
    assert response.status_code == 400
    assert (world.web.x, world.web.y) == (0, 0)


def test_a_viewer_moves_nothing(client: Client, world: World) -> None:
    signed_in(client, world.viewer)

    moved = client.post(reverse("instance_array_move", args=[world.web.pk]), {"x": "12", "y": "12"})
    tidied = client.post(reverse("infrastructure_tidy", args=[world.infrastructure.pk]))
    places = {"place": f"{world.web.topic}:12:12"}
    together = client.post(reverse("infrastructure_move", args=[world.infrastructure.pk]), places)

    world.web.refresh_from_db()
    assert (moved.status_code, tidied.status_code, together.status_code) == (409, 409, 409)
    assert moved.content.decode().startswith("You can look but not change anything here.")
    assert (world.web.x, world.web.y) == (0, 0)


def test_tidy_up_puts_drives_below_their_servers(browser: Client, world: World) -> None:
    html = browser.post(reverse("infrastructure_tidy", args=[world.infrastructure.pk]), headers=PARTIAL)

    world.web.refresh_from_db()
    world.array.refresh_from_db()
    assert html.status_code == 200
    assert (world.web.x, world.web.y) == (200, 176)
    assert (world.array.x, world.array.y) == (200, 424)
    assert 'data-y="424"' in card(html.content.decode(), world.array.topic)


@pytest.mark.parametrize("name", ["instance_array_move", "infrastructure_move", "infrastructure_tidy"])
def test_looking_moves_nothing(browser: Client, world: World, name: str) -> None:
    assert browser.get(reverse(name, args=[1])).status_code == 405


# ── Size ─────────────────────────────────────────────────────────────────────


def make_many(owner: User, arrays: int) -> Infrastructure:
    """An infrastructure with so many arrays, half of them InstanceArrays with their drives."""
    infrastructure = factories.make_infrastructure(owner, f"many-{arrays}")
    networks = {network.kind: network for network in infrastructure.networks.all()}
    server_type = ServerType.objects.get()
    owners = InstanceArray.objects.bulk_create(
        InstanceArray(
            infrastructure=infrastructure, label=f"web-{number}", server_type=server_type, count=1, deployed={}
        )
        for number in range(arrays - arrays // 2)
    )
    Interface.objects.bulk_create(
        Interface(instance_array=one, index=index, network=networks[kind])
        for one in owners
        for index, kind in enumerate(("san", "lan"))
    )
    Instance.objects.bulk_create(Instance(instance_array=one, number=1) for one in owners)
    DriveArray.objects.bulk_create(
        DriveArray(infrastructure=infrastructure, instance_array=one, label=f"data-{one.label}", count=1, deployed={})
        for one in owners[: arrays // 2]
    )
    return infrastructure


@pytest.mark.parametrize("name", [*OF_INFRASTRUCTURE, "infrastructure_tidy"])
def test_queries_do_not_grow_with_the_canvas(browser: Client, world: World, name: str) -> None:
    few, many = make_many(world.owner, 3), make_many(world.owner, 300)

    def queries(infrastructure: Infrastructure) -> int:
        ask = browser.post if name == "infrastructure_tidy" else browser.get
        with CaptureQueriesContext(
            connection,
        ) as found:
            assert ask(reverse(name, args=[infrastructure.pk])).status_code == 200
        return len([one for one in found.captured_queries if not one["sql"].startswith(("UPDATE", "SAVEPOINT"))])

    assert queries(few) == queries(many) <= 20


def test_one_card_costs_the_same_on_a_large_canvas(browser: Client, world: World) -> None:
    many = make_many(world.owner, 300)

    with CaptureQueriesContext(connection) as queries:
        text(browser, "instance_array_card", many.instance_arrays.all()[0].pk)

    assert len(queries) <= 9


def test_a_large_canvas_comes_without_bays_and_hands_them_out_later(browser: Client, world: World) -> None:
    many = make_many(world.owner, 110)
    one, two, *_ = many.instance_arrays.all()

    whole = browser.get(many.get_absolute_url()).content.decode()
    some = text(browser, "infrastructure_nodes", many.pk, of=f"{one.topic},{two.topic},nonsense,instance-array-x")

    assert 'class="bay' not in whole
    assert whole.count("data-plain") == 110
    assert "data-many" in whole
    assert some.count("<hx-partial") == 2
    assert some.count('class="bay"') == 2
    assert "data-plain" not in some
