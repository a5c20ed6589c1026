"""The activity log: of an infrastructure, and as a tab."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from editor.models import Drive, DriveArray, Event, Infrastructure, InstanceArray, Result, User
from editor.views.activity import PAGE, log_of
from tests import factories
from tests.reading import Page, read

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}
NOON = datetime(2026, 5, 14, 12, 0, tzinfo=UTC)


@dataclass
class World:
    """web ×2 with web-data ×2, an owner, a viewer, a stranger."""

    owner: User
    viewer: User
    stranger: User
    infrastructure: Infrastructure
    web: InstanceArray
    array: DriveArray

    def drive(self, number: int) -> Drive:
        return self.array.drives.select_related("drive_array").get(number=number)

    def happens(self, verb: str, subject: str, *topics: str, **more: object) -> Event:
        return Event.objects.record(self.infrastructure.pk, verb, subject, topics=topics, **more)  # type: ignore[arg-type]

    @property
    def log(self) -> str:
        return reverse("infrastructure_activity", args=[self.infrastructure.pk])


@pytest.fixture
def world(db: None) -> World:
    owner, viewer, stranger = map(factories.make_user, ("Olga Own", "Vera View", "Stan Strange"))
    infrastructure = factories.make_infrastructure(owner, viewer=viewer)
    web = factories.make_instance_array(infrastructure)
    array = factories.make_drive_array(infrastructure, instance_array=web)
    return World(owner, viewer, stranger, infrastructure, web, array)


@pytest.fixture
def browser(client: Client, world: World) -> Client:
    client.force_login(world.owner, backend="django.contrib.auth.backends.ModelBackend")
    return client


def panel(client: Client, url: str, **query: str | int) -> Page:
    return read(client.get(url, query, headers=PARTIAL))


def told(page: Page) -> list[str]:
    """The entries from top to bottom, as a person reads them; the time is left out."""
    return [words.split(" ", 1)[1] for key, words in page.texts.items() if key.startswith("event-") and "-d" not in key]


# ── What is told ─────────────────────────────────────────────────────────────


def test_entry_tells_who_did_what_to_what_and_how_it_went(browser: Client, world: World) -> None:
    world.happens("created snapshot #13 of", "web-data-2", "drive-2", by=world.owner, text="Before upgrade", url="/d/")

    page = panel(browser, world.log)

    assert told(page) == ["OO Olga Own created snapshot #13 of web-data-2 Before upgrade Done"]
    assert page.control("web-data-2").attributes["href"] == "/d/"


def test_newest_comes_first_and_silent_ones_are_not_told(browser: Client, world: World) -> None:
    world.happens("powered on", "web-1", "server-1", by=world.owner)
    world.happens("", "web-1", "server-1", result=Result.SILENT)
    world.happens("lost sight of", "web-2", "server-2", result=Result.NOTICE)

    assert told(panel(browser, world.log)) == [
        "The editor lost sight of web-2 Notice",
        "OO Olga Own powered on web-1 Done",
    ]


def test_failure_folds_the_words_of_the_device(browser: Client, world: World) -> None:
    event = world.happens(
        "could not send Reset to", "web-1", "server-1", result=Result.FAILED, text="It refused.", detail="HTTP 503"
    )

    page = panel(browser, world.log)

    assert page.texts[f"event-{event.pk}-detail"] == "Details for supportHTTP 503"


def test_days_have_headings() -> None:
    at = {"Today, 14 May": 1, "Yesterday, 13 May": 20, "12 May": 40, "14 May 2025": 365 * 24}

    assert [heading_of(hours) for hours in at.values()] == list(at)


def heading_of(hours: int) -> str:
    from editor.views.activity import _heading

    return _heading((NOON - timedelta(hours=hours)).date(), NOON.date())


def test_empty_log_says_what_will_be_in_it(browser: Client, world: World) -> None:
    page = panel(browser, world.log)

    assert page.texts["nothing"].startswith("Nothing happened yet")


# ── Filters ──────────────────────────────────────────────────────────────────


@pytest.fixture
def busy(world: World) -> World:
    world.happens("created snapshot #1 of", "web-data-1", "drive-1", by=world.owner, text="Nightly")
    world.happens("reverted", "web-data-2", "drive-2", by=world.viewer, result=Result.FAILED)
    world.happens("lost sight of", "web-2", "server-2", result=Result.NOTICE)
    return world


FIRST, SECOND, THIRD = (
    "OO Olga Own created snapshot #1 of web-data-1 Nightly Done",
    "VV Vera View reverted web-data-2 Failed",
    "The editor lost sight of web-2 Notice",
)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"q": "WEB-DATA"}, [SECOND, FIRST]),
        ({"q": "web-data night"}, [FIRST]),
        ({"q": "vera"}, [SECOND]),
        ({"result": "failed"}, [SECOND]),
        ({"result": "notice", "q": "web-2"}, [THIRD]),
        ({"q": "nothing of the kind"}, []),
        ({"result": "no such result"}, []),
        ({"who": "4711"}, []),
        ({"who": "' OR 1=1"}, []),
        ({"who": "9" * 30}, []),
    ],
)
def test_filters_narrow_the_log(browser: Client, busy: World, query: dict[str, str], found: list[str]) -> None:
    assert told(panel(browser, busy.log, **query)) == found


def test_filter_by_person(browser: Client, busy: World) -> None:
    page = panel(browser, busy.log, who=busy.viewer.pk)

    assert told(page) == [SECOND]
    assert f'value="{busy.viewer.pk}" selected' in browser.get(busy.log, {"who": busy.viewer.pk}).content.decode()


def test_filter_that_finds_nothing_offers_all(browser: Client, busy: World) -> None:
    page = panel(browser, busy.log, q="zzz")

    assert "No activity fits this search." in page.words
    assert page.control("Show all").attributes["href"] == busy.log


def test_live_update_keeps_the_filter(browser: Client, busy: World) -> None:
    content = browser.get(busy.log, {"q": "web-data", "who": "", "result": ""}, headers=PARTIAL).content.decode()

    assert f'hx-get="{busy.log}?q=web-data&amp;who=&amp;result="' in content
    assert f'hx-trigger="{busy.infrastructure.topic} from:body' in content


# ── Page by page ─────────────────────────────────────────────────────────────


def test_show_earlier_leads_on_until_the_beginning(browser: Client, world: World) -> None:
    for number in range(2 * PAGE + 1):
        world.happens("powered on", f"web-{number}", "server-1", by=world.owner)

    first = panel(browser, world.log, q="web")
    second = panel(browser, first.control("Show earlier").attributes["href"])
    third = panel(browser, second.control("Show earlier").attributes["href"])

    assert [len(told(page)) for page in (first, second, third)] == [PAGE, PAGE, 1]
    assert told(third) == ["OO Olga Own powered on web-0 Done"]
    assert "Show earlier" not in third.names("a")
    assert "q=web" in second.control("Show earlier").attributes["href"]
    assert second.control("Show latest").attributes["href"] == world.log


def test_earlier_page_is_not_refreshed_by_itself(browser: Client, world: World) -> None:
    event = world.happens("powered on", "web-1", "server-1", by=world.owner)

    content = browser.get(world.log, {"before": event.pk + 1}, headers=PARTIAL).content.decode()

    assert "from:body" not in content


@pytest.mark.parametrize("before", ["x", "-1", "9" * 40, "١٢"])
def test_address_that_makes_no_sense_finds_nothing(browser: Client, world: World, before: str) -> None:
    world.happens("powered on", "web-1", "server-1", by=world.owner)

    assert told(panel(browser, world.log, before=before)) == []


def test_log_costs_the_same_however_long(browser: Client, world: World) -> None:
    world.happens("powered on", "web-1", "server-1", by=world.owner)
    with CaptureQueriesContext(connection) as one:
        panel(browser, world.log)
    for number in range(PAGE):
        world.happens("powered on", f"web-{number}", "server-1", by=world.owner if number % 2 else world.viewer)
    with CaptureQueriesContext(connection) as many:
        panel(browser, world.log)

    assert len(many) == len(one)


def test_page_of_the_log_is_cut_where_the_next_begins(world: World) -> None:
    for number in range(PAGE + 1):
        world.happens("powered on", f"web-{number}", "server-1")
    last_shown = Event.objects.order_by("-pk")[PAGE - 1].pk

    log = log_of(Event.objects.all(), now=NOON)

    assert (sum(len(day.entries) for day in log.days), log.earlier, log.is_latest) == (
        PAGE,
        f"?before={last_shown}",
        True,
    )


# ── As a tab ─────────────────────────────────────────────────────────────────


def test_tab_tells_only_what_is_about_it(browser: Client, world: World) -> None:
    one, two = world.drive(1), world.drive(2)
    world.happens("reverted", "web-data-1", one.topic, world.array.topic)
    world.happens("reverted", "web-data-2", two.topic, world.array.topic)
    world.happens("powered on", "web-1", "server-1", world.web.topic)
    world.happens("reverted", "web-data-11", f"{one.topic}1")

    def of(name: str, pk: int) -> list[str]:
        return told(panel(browser, reverse(name, args=[pk])))

    assert of("drive_activity", one.pk) == ["The editor reverted web-data-1 Done"]
    assert of("drive_array_activity", world.array.pk) == [
        "The editor reverted web-data-2 Done",
        "The editor reverted web-data-1 Done",
    ]
    assert of("instance_array_activity", world.web.pk) == ["The editor powered on web-1 Done"]


@pytest.mark.parametrize(
    ("name", "tabs"),
    [
        ("instance_array_activity", ["Overview", "Instances", "Networks", "Activity"]),
        ("drive_array_activity", ["Overview", "Drives", "Activity"]),
        ("drive_activity", ["Overview", "Snapshots", "Activity"]),
    ],
)
def test_tab_stands_among_the_tabs_of_its_panel(browser: Client, world: World, name: str, tabs: list[str]) -> None:
    pk = {"i": world.web.pk, "d": world.array.pk}[name[0]] if "array" in name else world.drive(1).pk

    page = panel(browser, reverse(name, args=[pk]))

    assert [one for one in page.names("a") if one in tabs] == tabs
    assert page.control("Activity").attributes["aria-current"] == "page"


# ── Who may look ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("infrastructure_activity", "infrastructure"),
        ("instance_array_activity", "web"),
        ("drive_array_activity", "array"),
        ("drive_activity", "drive"),
    ],
)
def test_viewer_reads_it_and_a_stranger_finds_nothing(client: Client, world: World, name: str, of: str) -> None:
    thing = world.drive(1) if of == "drive" else getattr(world, of)
    answers = {}
    for person in (world.viewer, world.stranger):
        client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
        answers[person.name] = client.get(reverse(name, args=[thing.pk]), headers=PARTIAL).status_code

    assert answers == {"Vera View": 200, "Stan Strange": 404}


def test_cold_link_answers_the_whole_page(browser: Client, world: World) -> None:
    world.happens("powered on", "web-1", "server-1", by=world.owner)

    response = browser.get(world.log)

    page = response.content.decode()
    assert page.startswith("<!doctype html>")
    assert page.count('id="panel-title"') == 1
    assert "HX-Request-Type" in response["Vary"]
