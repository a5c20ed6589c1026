"""Every address of the product, whatever it shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from editor.models import Deploy
from tests import factories


def addresses(patterns: Iterable[URLPattern | URLResolver], prefix: str = "/") -> Iterator[str]:
    for one in patterns:
        route = prefix + str(one.pattern)
        if isinstance(one, URLPattern):
            yield route
        elif not route.startswith("/admin"):
            yield from addresses(one.url_patterns, route)


ADDRESSES = sorted(addresses(get_resolver().url_patterns))


@pytest.mark.django_db
@pytest.mark.parametrize("route", ADDRESSES)
def test_asking_for_the_head_alone_answers_as_the_page_would(route: str, client: Client) -> None:
    owner = factories.make_user("Olga Own")
    infrastructure = factories.make_infrastructure(owner)
    web = factories.make_instance_array(infrastructure)
    drives = factories.make_drive_array(infrastructure, instance_array=web)
    drive = drives.drives.all()[0]
    (snapshot,) = factories.make_snapshots(drive, 1, by=owner)
    deploy = Deploy.objects.create(
        infrastructure=infrastructure, number=1, by=owner, started_at=timezone.now(), review={}, goal={}
    )
    thing = {
        "deploys": deploy,
        "infrastructures": infrastructure,
        "instance-arrays": web,
        "drive-arrays": drives,
        "drives": drive,
        "networks": infrastructure.networks.all()[0],
        "snapshots": snapshot,
    }.get(route.split("/")[1])
    path = route.replace("<int:pk>", str(thing.pk if thing else ""))
    client.force_login(owner)

    # Some pages are about one of many: a card, for instance.
    path += f"?from={web.topic}&of={web.topic}"
    page, head = client.get(path), client.head(path)

    assert (head.status_code, head.content) == (page.status_code, b"")
    assert page.status_code != 404
