"""The list of infrastructures."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from editor.models import Event, Infrastructure, Membership, Network, Power, Result, Server, User
from editor.views.infrastructures import BAR_PX, bar_of, when
from tests import factories
from tests.reading import Page, read


@pytest.fixture
def owner(db: None) -> User:
    return factories.make_user("Olga Own")


@pytest.fixture
def browser(client: Client, owner: User) -> Client:
    client.force_login(owner, backend="django.contrib.auth.backends.ModelBackend")
    return client


def listed(client: Client, **query: str) -> Page:
    return read(client.get(reverse("infrastructures"), query))


def row(page: Page, infrastructure: Infrastructure) -> str:
    return page.texts[infrastructure.topic]


# ── Who sees what ────────────────────────────────────────────────────────────


def test_one_sees_those_one_is_a_member_of(browser: Client, owner: User) -> None:
    other = factories.make_user("Tom Other")
    factories.make_infrastructure(owner, "atlas-prod")
    factories.make_infrastructure(other, "billing", viewer=owner)
    factories.make_infrastructure(other, "secret-plan")

    page = listed(browser)

    assert [name for name in page.names("a") if "-" in name or name == "billing"] == ["atlas-prod", "billing"]
    assert "secret-plan" not in page.words


def test_without_any_it_says_who_can_give_access(browser: Client) -> None:
    page = listed(browser)

    assert "No infrastructures yet" in page.words
    assert "ask an owner to add olga.own@example.org." in page.words
    assert "Filter by name" not in page.words


def test_staff_see_no_more_in_the_list(client: Client, db: None) -> None:
    factories.make_infrastructure(factories.make_user("Tom Other"), "secret-plan")
    admin = User.objects.create_superuser("admin@example.org", "correct horse battery", name="Ada Admin")
    client.force_login(admin, backend="django.contrib.auth.backends.ModelBackend")

    page = listed(client)

    assert "secret-plan" not in page.words


# ── What a row says ──────────────────────────────────────────────────────────


def test_row_tells_servers_drives_state_and_what_happened_last(browser: Client, owner: User) -> None:
    infrastructure = factories.make_infrastructure(owner, "atlas-prod")
    infrastructure.description = "Web and database"
    infrastructure.save()
    web = factories.make_instance_array(infrastructure, "web", count=3, power=Power.ON)
    factories.make_drive_array(infrastructure, instance_array=web, count=2, size_mb=40 * 1024)
    Server.objects.filter(instance__number=2).update(power_command="soft_shutdown")
    Server.objects.filter(instance__number=3).update(power=Power.UNKNOWN)
    event = Event.objects.record(infrastructure.pk, "powered on", "web-1", topics=["server-1"], by=owner)
    Event.objects.record(infrastructure.pk, topics=["server-1"], result=Result.SILENT)

    said = row(listed(browser), infrastructure)

    assert said == (
        "atlas-prod Web and database 3 · 1 on, 1 shutting down, 1 unknown Drives 2 · 80 GB Deployed "
        f"powered on web-1 Olga Own · {event.at:%H:%M}"
    )


def test_servers_of_one_state_are_summed_up(browser: Client, owner: User) -> None:
    infrastructure = factories.make_infrastructure(owner)
    factories.make_instance_array(infrastructure, count=2, power=Power.OFF)

    assert "2 all off" in row(listed(browser), infrastructure)


def test_empty_infrastructure_was_never_deployed(browser: Client, owner: User) -> None:
    infrastructure = Infrastructure.objects.create(label="sandbox")
    Membership.objects.create(infrastructure=infrastructure, user=owner)

    assert row(listed(browser), infrastructure) == "sandbox Servers none yet Drives 0 Never deployed Activity none yet"


def test_what_the_worker_did_is_told_without_a_name(browser: Client, owner: User) -> None:
    infrastructure = factories.make_infrastructure(owner)
    Event.objects.record(infrastructure.pk, "lost sight of", "web-1", topics=["server-1"])

    assert "lost sight of web-1 The editor ·" in row(listed(browser), infrastructure)


def test_drawing_has_a_line_for_each_kind_of_network(browser: Client, owner: User) -> None:
    infrastructure = factories.make_infrastructure(owner)
    web = factories.make_instance_array(infrastructure)
    web.interfaces.create(index=2, network=Network.objects.get(kind="wan"))
    factories.make_drive_array(infrastructure, instance_array=web)

    page = browser.get(reverse("infrastructures")).content.decode()

    drawing = page[page.index('<svg class="thumb"') :].partition("</svg>")[0]
    kinds = Counter(part.partition('"')[0] for part in drawing.split('data-net="')[1:])
    assert set(kinds) == {"wan", "lan", "san"}
    assert drawing.count("<rect") == 2


# ── Filter ───────────────────────────────────────────────────────────────────


def test_filter_finds_parts_of_names(browser: Client, owner: User) -> None:
    for label in ("atlas-prod", "atlas-staging", "billing"):
        factories.make_infrastructure(owner, label)

    page = listed(browser, q="ATLAS")

    assert [name for name in page.names("a") if "atlas" in name] == ["atlas-prod", "atlas-staging"]
    assert page.texts["found"] == "2"
    assert page.value("q") == "ATLAS"
    assert "billing" not in page.words


def test_filter_that_finds_nothing_offers_all(browser: Client, owner: User) -> None:
    factories.make_infrastructure(owner)

    page = listed(browser, q="<zzz>")

    assert "No infrastructure of yours has “<zzz>” in its name." in page.words
    assert page.control("Show all").attributes["href"] == reverse("infrastructures")


# ── Cost ─────────────────────────────────────────────────────────────────────


def test_thirty_cost_as_many_queries_as_one(browser: Client, owner: User) -> None:
    def fill(number: int) -> None:
        infrastructure = factories.make_infrastructure(owner, f"place-{number}")
        web = factories.make_instance_array(infrastructure, power=Power.ON)
        factories.make_drive_array(infrastructure, instance_array=web)
        Event.objects.record(infrastructure.pk, "powered on", "web-1", topics=["server-1"], by=owner)

    fill(1)
    with CaptureQueriesContext(
        connection,
    ) as one:
        listed(browser)
    for number in range(2, 31):
        fill(number)
    with CaptureQueriesContext(connection) as thirty:
        page = listed(browser)

    assert page.texts["found"] == "30"
    assert len(thirty) == len(one)


# ── Pure parts ───────────────────────────────────────────────────────────────


def test_power_bar_is_shared_out_and_full() -> None:
    pieces = bar_of(Counter({Power.ON: 2, Power.SHUTTING_DOWN: 1, Power.POWERING_ON: 1, Power.OFF: 4}))

    assert [(piece.kind, piece.x, piece.width) for piece in pieces] == [
        ("on", 0, 39),
        ("busy", 41, 39),
        ("off", 82, 78),
    ]
    assert pieces[-1].end == BAR_PX


def test_power_bar_without_servers_is_empty() -> None:
    assert bar_of(Counter()) == ()


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (timedelta(minutes=5), "11:55"),
        (timedelta(hours=13), "Yesterday 23:00"),
        (timedelta(days=2), "12 May"),
        (timedelta(days=200), "26 Oct 2025"),
    ],
)
def test_time_is_said_as_short_as_it_is_clear(before: timedelta, said: str) -> None:
    now = datetime(2026, 5, 14, 12, 0, tzinfo=UTC)

    assert when(now - before, now) == said
