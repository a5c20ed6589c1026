"""The panel of an InstanceArray: what is shown to whom, and what its instances are told to do."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from editor.models import Event, Instance, InstanceArray, Power, PowerCommand, Result, Server, User
from tests import factories
from tests.clock import Clock, clock  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Response

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}


class World:
    """web-1 and web-2 with a drive each, and the people around them."""

    def __init__(self, power: Power = Power.ON, count: int = 2) -> None:
        names = ("Olga Own", "Otto Op", "Vera View", "Stan Strange")
        self.owner, self.operator, self.viewer, self.stranger = map(factories.make_user, names)
        self.infrastructure = factories.make_infrastructure(self.owner, operator=self.operator, viewer=self.viewer)
        self.array = factories.make_instance_array(self.infrastructure, count=count, power=power)
        self.drives = factories.make_drive_array(self.infrastructure, instance_array=self.array, count=count)

    def instance(self, number: int) -> Instance:
        return self.array.instances.select_related("server", "instance_array").get(number=number)

    def set_server(self, number: int, **fields: object) -> None:
        Server.objects.filter(instance=self.instance(number)).update(**fields)

    def server(self, number: int) -> Server:
        return Server.objects.get(instance=self.instance(number))

    def url(self, name: str) -> str:
        return reverse(name, args=[self.array.pk])

    def get(self, name: str, by: User, *, partial: bool = True, **query: Any) -> Response:
        return self._client(by).get(self.url(name), query, headers=PARTIAL if partial else {})

    def tell(
        self, command: str, *numbers: int, by: User | None = None, partial: bool = True, **fields: object
    ) -> Response:
        data = {"command": command, "instances": [self.instance(number).pk for number in numbers], **fields}
        client = self._client(by or self.operator)
        return client.post(self.url("instance_array_power"), data, headers=PARTIAL if partial else {})

    def _client(self, by: User) -> Client:
        client = Client()
        client.force_login(by)
        return client


@pytest.fixture
def world(db: None, clock: Clock) -> World:  # noqa: F811
    return World()


def text_of(response: Response) -> str:
    """What a person reads, on one line."""
    page = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", response.content.decode(), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def button(response: Response, name: str) -> str:
    """The whole opening tag of the button with this accessible name."""
    page = response.content.decode()
    for tag, content in re.findall(r"(<button\b[^>]*>)(.*?)</button>", page, flags=re.DOTALL):
        label = re.search(r'aria-label="([^"]*)"', tag)
        heard = re.sub(r'<(\w+)\b[^>]*aria-hidden="true"[^>]*>.*?</\1>', "", content, flags=re.DOTALL)
        said = label[1] if label else " ".join(re.sub(r"<[^>]+>", "", heard).split())
        if said == name:
            return str(tag)
    raise AssertionError(f"no button {name!r}")


TABS = ("instance_array", "instance_array_instances", "instance_array_networks", "instance_array_activity")


# ── Who sees what ────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", TABS)
def test_strangers_get_404_and_members_both_fragment_and_page(world: World, name: str) -> None:
    assert world.get(name, world.stranger).status_code == 404
    fragment, page = world.get(name, world.viewer), world.get(name, world.viewer, partial=False)

    assert (fragment.status_code, page.status_code) == (200, 200)
    assert "<html" not in fragment.content.decode()
    assert "<html" in page.content.decode()
    assert "HX-Request-Type" in page["Vary"]


def test_strangers_cannot_switch(world: World) -> None:
    assert world.tell("power_on", 1, by=world.stranger).status_code == 404
    assert not Event.objects.exists()


@pytest.mark.parametrize(
    ("name", "current"), list(zip(TABS, ("Overview", "Instances", "Networks", "Activity"), strict=True))
)
def test_tabs_are_named_exactly_and_their_counts_are_not_part_of_the_name(
    world: World, name: str, current: str
) -> None:
    page = world.get(name, world.viewer).content.decode()
    nav = re.search(r'<nav class="tabs".*?</nav>', page, flags=re.DOTALL)
    assert nav is not None

    tabs = re.findall(r"<a ([^>]*)>([^<]*)", nav[0])

    assert [said for _, said in tabs] == ["Overview", "Instances", "Networks", "Configuration", "Activity"]
    assert [said for attributes, said in tabs if "aria-current" in attributes] == [current]
    assert re.findall(r'<span class="count" aria-hidden="true">(\d+)</span>', nav[0]) == ["2", "2"]


# ── Overview and networks ────────────────────────────────────────────────────


def test_overview_pairs_servers_with_their_drives_and_mentions_local_disks(world: World) -> None:
    said = text_of(world.get("instance_array", world.viewer))

    assert "InstanceArray, 2 × M.16.64: 16 cores, 64 GB" in said
    assert re.search(r"web-1 , On web-data-1 0/5 snapshots web-2 , On web-data-2", said)
    assert "Local disks of a server are managed by nobody here, so they are not shown." in said


def test_networks_lists_interfaces_in_order(world: World) -> None:
    page = world.get("instance_array_networks", world.viewer).content.decode()

    assert re.findall(r'<th scope="row">(if\d)</th>', page) == ["if0", "if1", "if2", "if3"]
    assert re.findall(r'data-net="(\w+)"', page) == ["san", "lan"]


# ── The list of instances ────────────────────────────────────────────────────


def test_each_row_has_its_check_box_power_age_and_drive(world: World) -> None:
    world.set_server(1, power_seen_at=timezone.now() - timedelta(minutes=3))
    world.array.instances.filter(number=1).update(address="10.20.0.11")

    response = world.get("instance_array_instances", world.viewer)

    page, said = response.content.decode(), text_of(response)
    names = re.findall(r'<input class="check"[^>]*aria-label="([^"]*)"', page)
    assert names == ["Select all instances", "Select web-1", "Select web-2"]
    assert f'data-seen="{world.server(1).topic}" data-clock="seen">3 min ago</time>' in page
    assert "web-1 On seen 3 min ago by its BMC 10.20.0.11 web-data-1 0 of 5 snapshots" in said
    assert f'hx-trigger="{world.array.topic} from:body' in page
    assert "autofocus" not in page


def test_row_carries_the_reasons_of_the_rules(world: World) -> None:
    world.set_server(2, power=Power.OFF)

    page = world.get("instance_array_instances", world.operator).content.decode()

    tags = re.findall(r'<input class="check"[^>]*name="instances"[^>]*>', page)
    assert [sorted(re.findall(r'data-why-not-(\w+)="([^"]*)"', tag)) for tag in tags] == [
        [("power_on", "web-1 is already on.")],
        [
            ("hard_power_off", "web-2 is already off."),
            ("reset", "web-2 is off. Power it on instead."),
            ("soft_shutdown", "web-2 is already off."),
        ],
    ]


def test_viewer_sees_the_buttons_unavailable_and_why(world: World) -> None:
    response = world.get("instance_array_instances", world.viewer)

    assert "You can look but not change anything here. Ask an owner to make you an operator." in text_of(response)
    for name in ("Soft Shutdown", "Power On", "Reset…", "Hard Power Off…"):
        assert 'aria-disabled="true"' in button(response, name)
        assert 'aria-describedby="why-not-operate"' in button(response, name)


def test_operator_sees_the_buttons_available(world: World) -> None:
    response = world.get("instance_array_instances", world.operator)

    for name in ("Soft Shutdown", "Power On", "Reset…", "Hard Power Off…"):
        assert "aria-disabled" not in button(response, name)


def test_array_that_is_not_deployed_says_so(world: World) -> None:
    empty = InstanceArray.objects.create(
        infrastructure=world.infrastructure, label="new", server_type=world.array.server_type, count=3
    )
    client = Client()
    client.force_login(world.operator)

    said = text_of(client.get(reverse("instance_array_instances", args=[empty.pk]), headers=PARTIAL))

    assert "No servers yet. They are taken when new is deployed." in said


def test_instance_without_server_is_off_and_cannot_be_switched(world: World) -> None:
    Instance.objects.create(instance_array=world.array, number=3)

    response = world.tell("power_on", 3)

    assert response.status_code == 409
    assert "web-3 has no server yet. Deploy it first." in text_of(response)


# ── Commands ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("power", "command", "shown"),
    [
        (Power.ON, PowerCommand.SOFT_SHUTDOWN, "Shutting down"),
        (Power.OFF, PowerCommand.POWER_ON, "Powering on"),
    ],
)
def test_command_is_asked_for_and_shown_at_once(world: World, power: Power, command: PowerCommand, shown: str) -> None:
    world.set_server(1, power=power)
    world.set_server(2, power=power)

    response = world.tell(command, 1, 2)

    assert response.status_code == 200
    assert text_of(response).count(shown) == 2
    assert f"{command.label} asked of web-1 and web-2." in text_of(response)
    assert [world.server(number).power_command for number in (1, 2)] == [command, command]


def test_each_instance_acts_by_itself_and_refusals_stand_in_their_row(world: World) -> None:
    world.set_server(2, power=Power.OFF)

    response = world.tell("soft_shutdown", 1, 2)

    assert response.status_code == 200
    said = re.findall(r'<small class="said"[^>]*>([^<]*)</small>', response.content.decode())
    assert said == ["", "web-2 is already off."]
    assert "Soft Shutdown asked of web-1. web-2 is already off." in text_of(response)
    assert [world.server(number).power_command for number in (1, 2)] == ["soft_shutdown", ""]


def test_refusal_keeps_its_place_through_live_updates(world: World) -> None:
    world.set_server(2, power=Power.OFF)

    page = world.tell("soft_shutdown", 1, 2).content.decode()

    assert re.findall(r'<small class="said" id="said-(\d+)" hx-morph-skip', page) == [str(world.instance(2).pk)]
    assert "hx-morph-skip data-said>" not in world.get("instance_array_instances", world.operator).content.decode()


def test_all_refused_is_409(world: World) -> None:
    response = world.tell("power_on", 1, 2)

    assert response.status_code == 409
    assert "web-1 is already on. web-2 is already on." in text_of(response)
    assert not Event.objects.exists()


def test_viewer_is_refused_with_the_reason(world: World) -> None:
    response = world.tell("soft_shutdown", 1, 2, by=world.viewer)

    assert response.status_code == 409
    assert "You can look but not change anything here." in text_of(response)
    assert world.server(1).power_command == ""


def test_power_on_is_refused_while_a_drive_is_held(world: World) -> None:
    world.set_server(1, power=Power.OFF)
    world.drives.drives.filter(number=1).update(hold="reverting to #2.")

    response = world.tell("power_on", 1)

    assert response.status_code == 409
    assert "web-data-1 is in work" in text_of(response)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"command": "soft_shutdown"}, "Select at least one instance."),
        ({"command": "explode", "instances": "1"}, "There is no such power command."),
        ({"command": "power_on", "instances": "nonsense"}, "An instance of the list is not there any more."),
        ({"command": "power_on", "instances": "999999"}, "An instance of the list is not there any more."),
    ],
)
def test_what_cannot_be_read_is_422_with_a_sentence(world: World, data: dict[str, str], sentence: str) -> None:
    client = Client()
    client.force_login(world.operator)

    response = client.post(world.url("instance_array_power"), data, headers=PARTIAL)

    assert response.status_code == 422
    assert sentence in text_of(response)


def test_instances_of_another_array_are_not_switched(world: World) -> None:
    other = factories.make_instance_array(world.infrastructure, "db", count=1, power=Power.ON)
    client = Client()
    client.force_login(world.operator)

    response = client.post(
        world.url("instance_array_power"), {"command": "soft_shutdown", "instances": other.instances.get().pk}
    )

    assert response.status_code == 422
    assert Server.objects.get(instance=other.instances.get()).power_command == ""


def test_same_form_sent_twice_is_one_wish(world: World) -> None:
    key = str(uuid4())

    answers = [world.tell("soft_shutdown", 1, 2, key=key) for _ in range(2)]

    assert [one.status_code for one in answers] == [200, 200]
    assert Event.objects.filter(verb="asked for a soft shutdown of").count() == 2


def test_without_javascript_a_command_ends_in_a_redirect_and_a_refusal_on_the_page(world: World) -> None:
    done = world.tell("soft_shutdown", 1, partial=False)
    refused = world.tell("power_on", 2, partial=False)

    assert (done.status_code, done["Location"]) == (302, world.url("instance_array_instances"))
    assert refused.status_code == 409
    assert "<html" in refused.content.decode()
    assert "web-2 is already on." in text_of(refused)


# ── What is asked first ──────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("command", "numbers", "title", "name"),
    [
        ("hard_power_off", (2,), "Hard Power Off web-2?", "Hard Power Off web-2"),
        ("hard_power_off", (1, 2), "Hard Power Off 2 servers?", "Hard Power Off 2 servers"),
        ("reset", (2,), "Reset web-2?", "Reset web-2"),
    ],
)
def test_confirmation_names_the_servers_and_what_is_lost(
    world: World, command: str, numbers: tuple[int, ...], title: str, name: str
) -> None:
    ids = [world.instance(number).pk for number in numbers]

    response = world.get("instance_array_power", world.operator, command=command, instances=ids)

    said = text_of(response)
    assert title in said
    assert "not yet written to disk is lost" in said
    assert all(f"web-{number}" in said for number in numbers)
    assert "btn--danger" in button(response, name)
    assert "data-first" in button(response, "Cancel")
    posted = re.findall(r'name="instances" value="(\d+)"', response.content.decode())
    assert [int(one) for one in posted] == ids
    assert not Event.objects.exists()


def test_confirmation_leaves_out_who_cannot_and_says_why(world: World) -> None:
    world.set_server(1, power=Power.OFF)
    ids = [world.instance(number).pk for number in (1, 2)]

    response = world.get("instance_array_power", world.operator, command="hard_power_off", instances=ids)

    assert "Hard Power Off web-2?" in text_of(response)
    assert "Left out: web-1 is already off." in text_of(response)
    assert re.findall(r'name="instances" value="(\d+)"', response.content.decode()) == [str(ids[1])]


@pytest.mark.parametrize("partial", [True, False])
def test_confirmation_of_nothing_possible_has_no_button(world: World, partial: bool) -> None:
    world.set_server(1, power=Power.OFF)

    response = world.get(
        "instance_array_power",
        world.operator,
        partial=partial,
        command="hard_power_off",
        instances=world.instance(1).pk,
    )

    assert "web-1 is already off." in text_of(response)
    assert "btn--danger" not in response.content.decode()


def test_viewer_gets_no_button_in_the_confirmation(world: World) -> None:
    response = world.get("instance_array_power", world.viewer, command="hard_power_off", instances=world.instance(1).pk)

    assert "You can look but not change anything here." in text_of(response)
    assert "btn--danger" not in response.content.decode()


@pytest.mark.parametrize("command", ["hard_power_off", "reset"])
def test_dangerous_command_without_its_confirmation_leads_to_it(world: World, command: str) -> None:
    response = world.tell(command, 1, partial=False)

    assert response.status_code == 302
    assert response["Location"].endswith(f"/power/?command={command}&instances={world.instance(1).pk}")
    assert world.server(1).power_command == ""


@pytest.mark.parametrize("command", ["hard_power_off", "reset"])
def test_confirmed_command_is_done_and_closes_the_dialog(world: World, command: str) -> None:
    response = world.tell(command, 1, confirmed="yes", key=str(uuid4()))

    assert response.status_code == 200
    assert response["HX-Trigger"] == "close-dialog"
    assert world.server(1).power_command == command
    assert [event.result for event in Event.objects.told()] == [Result.FORCED]


@pytest.mark.parametrize("partial", [True, False])
def test_confirmation_and_its_answer_keep_how_far_back_the_history_goes(world: World, partial: bool) -> None:
    chosen = {"instances": str(world.instance(1).pk)}
    headers = PARTIAL if partial else {}
    client = Client()
    client.force_login(world.operator)
    shown = world.get("instance_array_instances", world.operator, history="7d")

    if partial:
        (asks,) = re.findall(r'hx-get="([^"]*)"', button(shown, "Reset…"))
        dialog = client.get(asks, {"command": "reset", **chosen, "history": "7d"}, headers=headers)
        assert asks.endswith("/power/?history=7d")
    else:
        (sends,) = re.findall(r'action="([^"]*/power/[^"]*)"', shown.content.decode())
        dialog = client.post(sends, {"command": "reset", **chosen}, follow=True)
    (confirms,) = re.findall(r' action="([^"]*/power/[^"]*)"', dialog.content.decode())
    answer = client.post(confirms, {"command": "reset", "confirmed": "yes", **chosen}, headers=headers, follow=True)

    assert f'{world.url("instance_array_instances")}?history=7d"' in dialog.content.decode()  # where Cancel leads
    assert re.findall(r'aria-current="page">([^<]*days|[^<]*hours)<', answer.content.decode()) == ["7 days"]
    assert world.server(1).power_command == "reset"


# ── What is going on ─────────────────────────────────────────────────────────


def test_running_soft_shutdown_shows_its_time(world: World, clock: Clock) -> None:  # noqa: F811
    world.tell("soft_shutdown", 2)
    clock.advance(47)

    response = world.get("instance_array_instances", world.viewer)

    said = text_of(response)
    assert "Waiting for the operating system to stop 0:47 of 2:00" in said
    assert "Usually about a minute. If it is still on at 2:00, you can force it off." in said
    assert 'value="47" max="120" aria-label="Soft shutdown of web-2"' in response.content.decode()


def test_texts_print_the_time_limit_of_this_installation(world: World, settings: Settings) -> None:
    settings.SHUTDOWN_SECONDS = 300
    world.tell("soft_shutdown", 2)

    said = text_of(world.get("instance_array_instances", world.viewer))

    assert "0:00 of 5:00" in said
    assert "If it is still on at 5:00, you can force it off." in said


def test_each_request_has_its_own_time_limit_and_the_next_the_installations_again(
    world: World,
    clock: Clock,  # noqa: F811
) -> None:
    asked = world.tell("soft_shutdown", 1, limit="3600")
    clock.advance(121)

    said = text_of(world.get("instance_array_instances", world.operator))
    assert "Waiting for the operating system to stop 2:01 of 1:00:00" in said
    assert "If it is still on at 1:00:00, you can force it off." in said
    assert re.search(r'<input[^>]*name="limit"[^>]*>', asked.content.decode())
    assert all('value="120"' in one for one in re.findall(r'<input[^>]*name="limit"[^>]*>', asked.content.decode()))

    clock.advance(3600)
    world.set_server(1, power_overdue=True)
    assert "web-1 is still on after 1:00:00" in text_of(world.get("instance_array_instances", world.operator))
    world.tell("keep_waiting", 1)
    assert "0:00 of 1:00:00" in text_of(world.get("instance_array_instances", world.operator))


@pytest.mark.parametrize(
    ("limit", "sentence"),
    [
        ("29", "Give the servers 30 to 86400 seconds."),
        ("86401", "Give the servers 30 to 86400 seconds."),
        ("-30", "Give the servers 30 to 86400 seconds."),
        ("two minutes", "Type a whole number of seconds."),
        ("9" * 5000, "Type a whole number of seconds."),
    ],
)
def test_time_limit_out_of_range_is_refused_at_its_field(world: World, limit: str, sentence: str) -> None:
    response = world.tell("soft_shutdown", 1, limit=limit)

    assert response.status_code == 422
    error = re.search(r'<small class="error" id="id_limit_error" role="alert"[^>]*>([^<]*)<', response.content.decode())
    assert error
    assert error[1] == sentence
    assert "Nothing was switched" not in text_of(response)
    assert world.server(1).power_command == ""


def test_time_limit_beside_another_command_is_no_matter_of_that(world: World) -> None:
    world.set_server(1, power=Power.OFF)

    assert world.tell("power_on", 1, limit="nonsense").status_code == 200
    assert world.server(1).power_command == "power_on"


def test_anybody_who_sees_the_array_can_have_its_bmcs_read_now(world: World) -> None:
    client = world._client(world.viewer)
    url = reverse("instance_array_look", args=[world.array.pk])

    one = client.post(url, {"instances": world.instance(2).pk}, headers=PARTIAL)
    asked = [world.server(number).look_asked_at is not None for number in (1, 2)]
    everyone = client.post(url, headers=PARTIAL)

    assert (one.status_code, asked) == (200, [False, True])
    assert "Asking the BMC of web-2." in text_of(one)
    assert "Asking 2 BMCs." in text_of(everyone)
    assert "web-1 On checking… by its BMC" in text_of(everyone)
    assert [world.server(number).look_asked_at is not None for number in (1, 2)] == [True, True]
    assert not Event.objects.told().exists()
    assert world._client(world.stranger).post(url).status_code == 404


def test_instances_of_another_array_are_not_read(world: World) -> None:
    other = factories.make_instance_array(world.infrastructure, "db", count=1, power=Power.ON)
    url = reverse("instance_array_look", args=[world.array.pk])

    answer = world._client(world.viewer).post(url, {"instances": other.instances.get().pk}, headers=PARTIAL)

    assert answer.status_code == 422
    assert not Server.objects.exclude(look_asked_at=None).exists()


def test_overdue_soft_shutdown_offers_the_ways_out(world: World, clock: Clock) -> None:  # noqa: F811
    world.tell("soft_shutdown", 2)
    world.set_server(2, power_overdue=True)
    clock.advance(132)

    response = world.get("instance_array_instances", world.operator)

    said = text_of(response)
    assert "web-2 is still on after 2:00" in said
    assert "The operating system has not finished stopping. Keep waiting if it may be saving data." in said
    assert "2:12 elapsed" in said
    one = f'form="one-{world.instance(2).pk}"'
    for name in ("Keep waiting", "Leave it on"):
        assert one in button(response, name)
    assert "btn--warn" in response.content.decode()


def test_confirmation_during_a_soft_shutdown_offers_to_keep_waiting(world: World, clock: Clock) -> None:  # noqa: F811
    world.tell("soft_shutdown", 2)
    clock.advance(132)

    response = world.get(
        "instance_array_power", world.operator, command="hard_power_off", instances=world.instance(2).pk
    )

    assert "Soft shutdown has been running for 2:12" in text_of(response)
    assert "data-first" in button(response, "Keep waiting")


def test_keep_waiting_starts_another_limit(world: World, clock: Clock) -> None:  # noqa: F811
    world.tell("soft_shutdown", 2)
    clock.advance(132)
    world.set_server(2, power_overdue=True)

    response = world.tell("keep_waiting", 2)

    assert response.status_code == 200
    assert "0:00 of 2:00" in text_of(response)
    assert world.server(2).power_overdue is False


def test_leave_on_gives_up_the_shutdown(world: World) -> None:
    world.tell("soft_shutdown", 2)
    world.set_server(2, power_overdue=True)

    response = world.tell("leave_on", 2)

    assert "No longer waiting for web-2." in text_of(response)
    assert (world.server(2).power_command, world.server(2).power_overdue) == ("", False)
    assert world.tell("leave_on", 2).status_code == 409


def test_unknown_power_says_why(world: World) -> None:
    world.set_server(
        1,
        power=Power.UNKNOWN,
        power_error="The BMC does not answer.",
        power_seen_at=timezone.now() - timedelta(hours=2),
    )

    said = text_of(world.get("instance_array_instances", world.viewer))

    assert "Power state of web-1 is unknown The BMC does not answer. Last reading 2 h ago ." in said


def test_failure_is_told_in_its_row_until_it_is_dismissed(world: World) -> None:
    event = Event.objects.record(
        world.infrastructure.pk,
        "could not send Power On to",
        "web-1",
        topics=[world.array.topic],
        text="The BMC refused the command.",
        detail="HTTP 503",
        result=Result.FAILED,
    )
    world.set_server(1, trouble=event)

    shown = text_of(world.get("instance_array_instances", world.operator))
    refused = world.tell("dismiss", 1, by=world.viewer)
    dismissed = world.tell("dismiss", 1)

    assert "Command not sent The BMC refused the command. Copy details Dismiss Details for support" in shown
    assert "HTTP 503" in shown
    assert refused.status_code == 409
    assert dismissed.status_code == 200
    assert "Command not sent" not in text_of(dismissed)
    assert Event.objects.told().count() == 1


# ── Cost ─────────────────────────────────────────────────────────────────────


@pytest.mark.django_db
def test_a_thousand_instances_can_be_ticked_at_once() -> None:
    world = World(count=1)
    Instance.objects.bulk_create(Instance(instance_array=world.array, number=number) for number in range(2, 1001))
    ids = list(world.array.instances.values_list("pk", flat=True))

    response = world.get("instance_array_power", world.operator, command="hard_power_off", instances=ids)

    said = text_of(response)
    assert "Hard Power Off web-1?" in said
    assert "Left out: web-2 has no server yet. Deploy it first." in said
    assert "And 996 more." in said


@pytest.mark.parametrize("name", TABS)
@pytest.mark.django_db
def test_queries_do_not_grow_with_the_instances(name: str) -> None:
    small, large = World(count=1), World.__new__(World)
    large.viewer = small.viewer
    large.array = factories.make_instance_array(small.infrastructure, "farm", count=100, power=Power.ON)
    factories.make_drive_array(small.infrastructure, "farm-data", instance_array=large.array, count=100)
    Server.objects.update(power_command="soft_shutdown", power_asked_at=timezone.now(), power_overdue=True)
    client = Client()
    client.force_login(small.viewer)

    counts = []
    for world in (small, large):
        with CaptureQueriesContext(connection) as queries:
            assert client.get(world.url(name), headers=PARTIAL).status_code == 200
        counts.append(len(queries))

    assert counts[0] == counts[1]
    assert counts[0] <= 10
