"""An infrastructure of Ana, in which Wei draws, too: what most tests of designing begin with."""

from __future__ import annotations

import pytest

from editor.models import DriveArray, Infrastructure, InstanceArray, User
from tests import factories


@pytest.fixture
def ana() -> User:
    return factories.make_user("Ana Marin")


@pytest.fixture
def wei() -> User:
    return factories.make_user("Wei Chen")


@pytest.fixture
def atlas(ana: User, wei: User) -> Infrastructure:
    return factories.make_infrastructure(ana, operator=wei)


@pytest.fixture
def web(atlas: Infrastructure) -> InstanceArray:
    return factories.make_instance_array(atlas, "web", count=4)


@pytest.fixture
def web_data(atlas: Infrastructure, web: InstanceArray) -> DriveArray:
    return factories.make_drive_array(atlas, "web-data", instance_array=web, count=4)
