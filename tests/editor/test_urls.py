"""Every address of the product, whatever it shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from editor.models import Deploy, Event, Infrastructure, User
from editor.views.page import NEWEST_EVENT
from tests import factories

ABOUT_AN_INFRASTRUCTURE = re.compile(
    'FROM "(editor_(infrastructure|instancearray|drivearray|drive|instance|network|server|deploy)|snapshots_snapshot)"'
)


def addresses(patterns: Iterable[URLPattern | URLResolver], prefix: str = "/") -> Iterator[str]:
    for one in patterns:
        route = prefix + str(one.pattern)
        if isinstance(one, URLPattern):
            yield route
        elif not route.startswith("/admin"):
            yield from addresses(one.url_patterns, route)


ADDRESSES = sorted(addresses(get_resolver().url_patterns))


@pytest.fixture
def client(client: Client, owner: User) -> Client:
    client.force_login(owner)
    return client


@pytest.fixture
def owner(db: None) -> User:
    return factories.make_user("Olga Own")


@pytest.fixture
def infrastructure(owner: User) -> Infrastructure:
    return factories.make_infrastructure(owner)


@pytest.fixture(params=ADDRESSES)
def path(request: pytest.FixtureRequest, owner: User, infrastructure: Infrastructure) -> str:
    web = factories.make_instance_array(infrastructure)
    drives = factories.make_drive_array(infrastructure, instance_array=web)
    drive = drives.drives.all()[0]
    (snapshot,) = factories.make_snapshots(drive, 1, by=owner)
    deploy = Deploy.objects.create(
        infrastructure=infrastructure, number=1, by=owner, started_at=timezone.now(), review={}, goal={}
    )
    route: str = request.param
    thing = {
        "deploys": deploy,
        "infrastructures": infrastructure,
        "instance-arrays": web,
        "drive-arrays": drives,
        "drives": drive,
        "networks": infrastructure.networks.all()[0],
        "snapshots": snapshot,
    }.get(route.split("/")[1])
    # Some pages are about one of many: a card, for instance.
    return route.replace("<int:pk>", str(thing.pk if thing else "")) + f"?from={web.topic}&of={web.topic}"


def test_asking_for_the_head_alone_answers_as_the_page_would(path: str, client: Client) -> None:
    page, head = client.get(path), client.head(path)

    assert (head.status_code, head.content) == (page.status_code, b"")
    assert page.status_code != 404


def test_page_never_passes_for_newer_than_the_first_thing_it_read(
    path: str, client: Client, infrastructure: Infrastructure
) -> None:
    meanwhile: list[Event] = []

    def reads(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        answer = execute(sql, *arguments)
        if ABOUT_AN_INFRASTRUCTURE.search(sql) and not meanwhile:
            meanwhile.append(Event())  # the one that is recorded is no reading
            meanwhile[0] = Event.objects.record(infrastructure.pk, "read", "web-1", topics=["server-1"])
        return answer

    for part in ("whole", "partial"):
        meanwhile.clear()
        with connection.execute_wrapper(reads):
            page = client.get(path, headers={"HX-Request-Type": part})

        known = [int(one) for one in re.findall(r'data-event="(\d+)"', page.content.decode())]
        if NEWEST_EVENT in page.headers:
            known.append(int(page.headers[NEWEST_EVENT]))
        is_live = re.search(r"/\d+/", path) and page.status_code == 200
        assert known or part == "whole" or not is_live
        assert all(one < meanwhile[0].pk for one in known)
