"""The panel of a network."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from editor.models import Infrastructure, Network, User
from tests import factories

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Response

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}


@pytest.fixture
def viewer(db: None) -> User:
    return factories.make_user("Vera View")


@pytest.fixture
def infrastructure(viewer: User) -> Infrastructure:
    return factories.make_infrastructure(viewer=viewer)


def show(network: Network, by: User) -> Response:
    client = Client()
    client.force_login(by)
    return client.get(reverse("network", args=[network.pk]), headers=PARTIAL)


def text_of(response: Response) -> str:
    page = re.sub(r"<svg\b.*?</svg>", " ", response.content.decode(), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_stranger_gets_404(infrastructure: Infrastructure) -> None:
    network = infrastructure.networks.get(kind="san")

    assert show(network, factories.make_user("Stan Strange")).status_code == 404


def test_kind_addresses_and_connected_arrays_are_shown(infrastructure: Infrastructure, viewer: User) -> None:
    factories.make_instance_array(infrastructure, "web", count=4)
    factories.make_instance_array(infrastructure, "db", count=1)
    lan = infrastructure.networks.get(kind="lan")
    Network.objects.filter(pk=lan.pk).update(addresses="10.20.0.0/22")

    said = text_of(show(lan, viewer))

    assert "LAN network, 10.20.0.0/22" in said
    assert "Kind LAN InstanceArrays 2 Servers 5" in said
    assert "db if1 1 server web if1 4 servers" in said


def test_san_names_the_drives_that_it_carries(infrastructure: Infrastructure, viewer: User) -> None:
    web = factories.make_instance_array(infrastructure, "web", count=1)
    factories.make_drive_array(infrastructure, "web-data", instance_array=web, count=1)
    factories.make_drive_array(infrastructure, "spare", count=1)

    said = text_of(show(infrastructure.networks.get(kind="san"), viewer))

    assert "Drives reached over it 1 web web-data" in said
    assert "spare" not in said


def test_network_without_arrays_says_so(infrastructure: Infrastructure, viewer: User) -> None:
    said = text_of(show(infrastructure.networks.get(kind="wan"), viewer))

    assert "No InstanceArray is connected to wan." in said


def test_whole_page_for_a_cold_link(infrastructure: Infrastructure, viewer: User) -> None:
    client = Client()
    client.force_login(viewer)

    response = client.get(infrastructure.networks.get(kind="lan").get_absolute_url())

    assert response.status_code == 200
    assert "<html" in response.content.decode()


def test_queries_do_not_grow_with_the_arrays(infrastructure: Infrastructure, viewer: User) -> None:
    lan = infrastructure.networks.get(kind="san")
    client = Client()
    client.force_login(viewer)
    counts = []

    for number in (1, 30):
        for index in range(number):
            web = factories.make_instance_array(infrastructure, f"web{number}-{index}", count=1)
            factories.make_drive_array(infrastructure, f"data{number}-{index}", instance_array=web, count=1)
        with CaptureQueriesContext(connection) as queries:
            assert client.get(lan.get_absolute_url(), headers=PARTIAL).status_code == 200
        counts.append(len(queries))

    assert counts[0] == counts[1]
